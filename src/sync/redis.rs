//! The uplink over Redis: the only place that talks to it.
//!
//! A unit has one connection. A batch is one transaction (`MULTI`/`EXEC`) under a `WATCH` of the stream that was set before
//! the stream was last looked at: Redis takes all of it or nothing, and nothing when anybody touched the stream since.
//! All keys of a unit share a hash tag and so lie on one node of a Cluster; that is why a Cluster needs no client of its own
//! here, only to go where `MOVED` points, and why a thousand units do not open a thousand connections to every node.

use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Pipeline, RedisConnectionInfo, Value, pipe};
use tokio_rustls::TlsConnector;

use crate::config::{RedisAddress, RedisServer};
use crate::error::Result;
use crate::metrics::Metrics;
use crate::sync::redis::replies::{answers, exec, last_process, problem_of, top_of};
use crate::sync::uplink::{Entry, Problem, Published, Pulse, Top, Trim, Trouble, Uplink, UplinkState};

mod bounded;
mod dial;
mod replies;

use bounded::Bounded;

/// Redirections followed by one connection attempt.
const MOVES_MAX: usize = 5;
/// All units, for whoever looks for them. The only key outside a unit's hash tag.
const UNITS: &str = "vc:units";

/// Where Redis is and how to talk to it.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    pub address: RedisAddress,
    /// Goes before one in the address.
    pub password: Option<String>,
    /// Name of the master, when the servers of the address are sentinels.
    pub sentinel_master: Option<String>,
    pub sentinel_password: Option<String>,
    /// PEM of the authorities to trust instead of the system's.
    pub ca: Option<Vec<u8>>,
    pub connect_timeout: Duration,
    /// How long an answer may take.
    pub response_timeout: Duration,
    /// The unit's id.
    pub unit: String,
}

/// The connection to Redis.
pub struct RedisUplink {
    settings: RedisSettings,
    metrics: Arc<Metrics>,
    /// Only with TLS.
    tls: Option<TlsConnector>,
    connection: Option<MultiplexedConnection>,
    /// Where a Cluster last sent us.
    moved_to: Option<RedisServer>,
    /// Of the server to try first.
    first_server: usize,
}

impl RedisUplink {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// Config, when the authorities cannot be read.
    pub fn new(settings: RedisSettings, metrics: Arc<Metrics>) -> Result<Self> {
        let tls = if settings.address.tls { Some(dial::tls(settings.ca.as_deref())?) } else { None };
        Ok(Self { settings, metrics, tls, connection: None, moved_to: None, first_server: 0 })
    }

    fn key(&self, name: &str) -> String {
        format!("vc:{{{}}}:{name}", self.settings.unit)
    }

    fn credentials(&self, sentinel: bool) -> RedisConnectionInfo {
        let settings = &self.settings;
        let mut info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let (user, password, database) = if sentinel {
            (None, settings.sentinel_password.as_ref(), 0)
        } else {
            let address = &settings.address;
            (address.user.as_ref(), settings.password.as_ref().or(address.password.as_ref()), address.database)
        };
        if let Some(user) = user {
            info = info.set_username(user);
        }
        if let Some(password) = password {
            info = info.set_password(password);
        }
        info.set_db(database)
    }

    async fn open(&self, server: &RedisServer, sentinel: bool) -> Result<MultiplexedConnection, Problem> {
        // Time limits are ours, around everything: the client's own leave a connection behind that still waits.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let opening = async {
            let stream = dial::open(server, sentinel, self.tls.as_ref()).await;
            let stream = Bounded::new(stream.map_err(|cause| replies::problem_of_stream(&cause))?);
            let opened = MultiplexedConnection::new_with_config(&self.credentials(sentinel), stream, config).await;
            let (mut connection, driver) = opened.map_err(|cause| problem_of(&cause))?;
            // Ends with the last handle of the connection.
            tokio::spawn(driver);
            replies::greeted(&mut connection).await.map(|()| connection)
        };
        match tokio::time::timeout(self.settings.connect_timeout, opening).await {
            Ok(opened) => {
                opened.map_err(|Problem { trouble, detail }| Problem::new(trouble, format!("{server}: {detail}")))
            }
            Err(_) => Err(Problem::new(Trouble::Down, format!("{server}: no connection in time"))),
        }
    }

    /// Opens the connection wherever the unit's keys are, and watches the stream.
    async fn reach(&mut self) -> Result<Option<Top>, Problem> {
        let mut server = match (&self.settings.sentinel_master, &self.moved_to) {
            (Some(master), _) => self.ask_sentinels(&master.clone()).await?,
            (None, Some(moved_to)) => moved_to.clone(),
            (None, None) => self.settings.address.servers[self.first_server].clone(),
        };
        for _ in 0..MOVES_MAX {
            let connection = self.open(&server, false).await?;
            self.hold(connection);
            match self.look().await {
                Err(problem) if problem.moved_to().is_some() => {
                    let Some(target) = problem.moved_to() else { break };
                    server = resolved(target, &server);
                    self.moved_to = Some(server.clone());
                }
                looked => return looked,
            }
        }
        Err(Problem::new(Trouble::FailingOver, "the nodes of the Cluster send us round in circles"))
    }

    async fn ask_sentinels(&mut self, master: &str) -> Result<RedisServer, Problem> {
        let server = self.settings.address.servers[self.first_server].clone();
        let mut connection = self.open(&server, true).await?;
        let mut question = pipe();
        question.cmd("SENTINEL").arg("get-master-addr-by-name").arg(master);
        let mut found = answers(self.settings.response_timeout, &mut connection, &question).await?;
        match found.pop() {
            Some(Value::Array(place)) => replies::server(&place)
                .ok_or_else(|| Problem::new(Trouble::Garbage, format!("the sentinel {server} names no address"))),
            Some(Value::Nil) => {
                let detail = format!("the sentinel {server} knows no master called {master:?}");
                Err(Problem::new(Trouble::FailingOver, detail))
            }
            _ => Err(Problem::new(Trouble::Garbage, format!("the sentinel {server} does not answer as one"))),
        }
    }

    /// Watches the stream, then looks at it: what happens to it from here on makes the next transaction fail.
    async fn look(&mut self) -> Result<Option<Top>, Problem> {
        let stream = self.key("events");
        let mut pipeline = pipe();
        pipeline.cmd("UNWATCH").cmd("WATCH").arg(&stream).cmd("XINFO").arg("STREAM").arg(&stream);
        let found = self.ask(&pipeline).await?;
        if let [_, watched, top] = &found[..] {
            replies::accepted(watched)?;
            return top_of(top);
        }
        Err(Problem::new(Trouble::Garbage, "too few answers"))
    }

    async fn ask(&mut self, pipeline: &Pipeline) -> Result<Vec<Value>, Problem> {
        let timeout = self.settings.response_timeout;
        let Some(connection) = &mut self.connection else {
            return Err(Problem::new(Trouble::Down, "not connected"));
        };
        answers(timeout, connection, pipeline).await
    }

    fn hold(&mut self, connection: MultiplexedConnection) {
        self.connection = Some(connection);
        self.metrics.redis_connections.set(1);
    }

    /// Looks at the stream and at how much memory there is.
    pub(super) async fn probe(&mut self) -> Result<String, Problem> {
        self.close();
        let found = match self.reach().await? {
            None => "there are none yet".to_owned(),
            Some(top) => format!("the newest is {}-0", top.id),
        };
        let mut pipeline = pipe();
        pipeline.cmd("ROLE").cmd("CONFIG").arg("GET").arg("maxmemory-policy");
        let answers = self.ask(&pipeline).await?;
        self.close();
        replies::judged(&answers)?;
        Ok(found)
    }

    /// Enters the unit into the list of all units, which in a Cluster may lie elsewhere.
    async fn enlist(&mut self) -> Result<(), Problem> {
        let mut pipeline = pipe();
        pipeline.cmd("SADD").arg(UNITS).arg(&self.settings.unit);
        let refused = match self.ask(&pipeline).await?.first().map(replies::accepted) {
            Some(Err(problem)) => problem,
            _ => return Ok(()),
        };
        let Some(target) = refused.moved_to() else { return Err(refused) };
        let here = self.moved_to.clone().or_else(|| self.settings.address.servers.first().cloned());
        let server = here.map_or(target.clone(), |here| resolved(target, &here));
        let mut connection = self.open(&server, false).await?;
        answers(self.settings.response_timeout, &mut connection, &pipeline).await.map(|_| ())
    }

    fn add(&self, pipeline: &mut Pipeline, entries: &[Entry], trim: Trim) {
        let stream = self.key("events");
        for (number, entry) in entries.iter().enumerate() {
            let command = pipeline.cmd("XADD").arg(&stream);
            // Once a batch is often enough.
            if number == 0 && trim.entries_max > 0 {
                command.arg("MAXLEN").arg("~").arg(trim.entries_max);
            }
            command.arg(format!("{}-0", entry.id)).arg("kind").arg(&entry.kind).arg("event").arg(&entry.body);
        }
        if let Some(before) = trim.before {
            pipeline.cmd("XTRIM").arg(&stream).arg("MINID").arg("~").arg(format!("{before}-0"));
        }
        for report in entries.iter().filter_map(|entry| entry.cached.as_ref()) {
            let key = self.key(&format!("report:{}", report.vehicle_id));
            pipeline.cmd("SET").arg(key).arg(&report.body).arg("EX").arg(report.seconds);
        }
    }
}

impl Uplink for RedisUplink {
    async fn connect(&mut self) -> Result<Option<Top>, Problem> {
        self.close();
        let servers = self.settings.address.servers.len();
        let mut last = Problem::new(Trouble::Down, "no server is named");
        for _ in 0..servers {
            match self.reach().await {
                Ok(top) => return Ok(top),
                Err(problem) => last = problem,
            }
            self.close();
            if self.moved_to.take().is_none() {
                self.first_server = (self.first_server + 1) % servers;
            }
        }
        Err(last)
    }

    async fn top(&mut self) -> Result<Option<Top>, Problem> {
        self.look().await
    }

    async fn body(&mut self, id: u64) -> Result<Option<String>, Problem> {
        let (stream, id) = (self.key("events"), format!("{id}-0"));
        let mut pipeline = pipe();
        pipeline.cmd("XRANGE").arg(stream).arg(&id).arg(&id);
        let mut found = self.ask(&pipeline).await?;
        match found.pop() {
            Some(Value::Array(mut entries)) => Ok(entries.pop().and_then(|entry| replies::entry_body(&entry))),
            Some(other) => replies::accepted(&other).map(|()| None),
            None => Ok(None),
        }
    }

    async fn publish(&mut self, entries: &[Entry], trim: Trim) -> Result<Published, Problem> {
        let stream = self.key("events");
        let mut pipeline = pipe();
        pipeline.cmd("MULTI");
        self.add(&mut pipeline, entries, trim);
        pipeline.cmd("EXEC").cmd("WATCH").arg(&stream).cmd("XINFO").arg("STREAM").arg(&stream);
        let mut found = self.ask(&pipeline).await?;
        let (Some(top), Some(watched)) = (found.pop(), found.pop()) else {
            return Err(Problem::new(Trouble::Garbage, "too few answers"));
        };
        let published = exec(&found, entries.len())?;
        replies::accepted(&watched)?;
        // Between the transaction and the new watch somebody may have been faster.
        let last = entries.last().map_or(0, |entry| entry.id);
        if published == Published::Added && top_of(&top)?.is_none_or(|top| top.id != last) {
            return Ok(Published::Changed);
        }
        Ok(published)
    }

    async fn beat(&mut self, state: &UplinkState) -> Result<Pulse, Problem> {
        let (key, stream) = (self.key("state"), self.key("events"));
        let mut pipeline = pipe();
        pipeline.cmd("PING").cmd("HGET").arg(&key).arg("process").cmd("HSET").arg(&key);
        pipeline.arg("process").arg(&state.process);
        for (field, value) in &state.fields {
            pipeline.arg(*field).arg(value);
        }
        pipeline.cmd("EXPIRE").arg(&key).arg(state.seconds).cmd("XINFO").arg("STREAM").arg(&stream);
        let found = self.ask(&pipeline).await?;
        let [pong, process, set, expire, top] = &found[..] else {
            return Err(Problem::new(Trouble::Garbage, "too few answers"));
        };
        for answer in [pong, set, expire] {
            replies::accepted(answer)?;
        }
        let pulse = Pulse { top: top_of(top)?, last_process: last_process(process)? };
        // With every heartbeat: a server that lost its data while connected lost the list too.
        self.enlist().await?;
        Ok(pulse)
    }

    fn close(&mut self) {
        self.connection = None;
        self.metrics.redis_connections.set(0);
    }
}

/// A node that does not know its own name sends us to another port of the same host.
fn resolved(target: RedisServer, here: &RedisServer) -> RedisServer {
    match (target, here) {
        (RedisServer::Tcp { host, port }, RedisServer::Tcp { host: same, .. }) if host.is_empty() => {
            RedisServer::Tcp { host: same.clone(), port }
        }
        (target, _) => target,
    }
}
