//! Redis servers that live as long as a test.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

use redis::{Connection, FromRedisValue};
use tempfile::TempDir;

use super::{PATIENCE, UNIT, until};

pub struct Server {
    child: Option<Child>,
    pub port: u16,
    directory: TempDir,
    arguments: Vec<String>,
}

/// Redis cannot choose a port by itself. These are below the ones that the kernel gives to whoever listens anywhere or connects,
/// also while a server is away for a moment; a Cluster's nodes also take the port as far above as there are of them.
const PORTS_FROM: u16 = 10_000;
const PORTS: u16 = 10_000;

/// A port that nobody else has; each is given to one test only.
pub fn free_port() -> u16 {
    // Another run of the tests beside this one begins elsewhere.
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(rand::random()));
    let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let port = PORTS_FROM + NEXT.fetch_add(1, Ordering::Relaxed) % PORTS;
        if is_free(port) && is_free(port + PORTS) {
            return port;
        }
    }
}

impl Server {
    /// It writes what it takes to disk at once, so that nothing acknowledged is lost when it is killed.
    pub fn start(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut server = Self { child: None, port: free_port(), directory: TempDir::new().unwrap(), arguments };
        server.restart();
        server
    }

    pub fn sentinel(configuration: &str) -> Self {
        let mut server =
            Self { child: None, port: free_port(), directory: TempDir::new().unwrap(), arguments: Vec::new() };
        let path = server.directory.path().join("sentinel.conf");
        std::fs::write(&path, configuration).unwrap();
        let mut child = Command::new("redis-server");
        child.arg(&path).arg("--sentinel").arg("--port").arg(server.port.to_string());
        server.child = Some(quiet(&mut child));
        server.answers();
        server
    }

    pub fn restart(&mut self) {
        self.launch(&[]);
        self.answers();
    }

    /// Starts it with more arguments and does not wait until it works.
    pub fn launch(&mut self, arguments: &[&str]) {
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--dir"]).arg(self.directory.path());
        command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "no", "--enable-debug-command", "local"]);
        command.args(&self.arguments).args(arguments);
        self.child = Some(quiet(&mut command));
    }

    fn answers(&mut self) {
        until("redis-server started", || {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "redis-server on port {} ended by itself: {ended:?}", self.port);
            self.try_connect().is_some()
        });
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").arg(format!("-{name}")).arg(pid).status().unwrap().success());
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn try_connect(&self) -> Option<Connection> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        let mut connection = client.get_connection_with_timeout(PATIENCE).ok()?;
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        // That a password is asked for is an answer too.
        let pong = redis::cmd("PING").query::<redis::Value>(&mut connection);
        let answered = pong.map_or_else(|error| error.code() == Some("NOAUTH"), |_| true);
        answered.then_some(connection)
    }

    pub fn connect(&self) -> Connection {
        self.try_connect().expect("redis-server answers")
    }

    pub fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut connection = self.connect();
        redis::cmd(words[0]).arg(&words[1..]).query(&mut connection).unwrap()
    }

    /// Bodies of a unit's stream, oldest first.
    pub fn bodies(&self) -> Vec<String> {
        self.after("0").into_iter().map(|(_, body)| body).collect()
    }

    /// Ids and bodies of a unit's stream after that id, oldest first.
    pub fn after(&self, id: &str) -> Vec<(String, String)> {
        let found: redis::Value = self.ask(&["XRANGE", &key("events"), &format!("({id}"), "+"]);
        entries(&found).into_iter().filter(|(_, body)| !is_own_watch(body)).collect()
    }

    pub fn length(&self) -> usize {
        self.ask(&["XLEN", &key("events")])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A unit without a camera says so by itself now and then.
pub fn is_own_watch(body: &str) -> bool {
    body.contains("\"gap\":\"off\"")
}

fn quiet(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("redis-server is installed")
}

pub fn key(name: &str) -> String {
    format!("vc:{{{UNIT}}}:{name}")
}

/// Ids and bodies of a range of a stream.
pub fn entries(range: &redis::Value) -> Vec<(String, String)> {
    let redis::Value::Array(found) = range else { panic!("{range:?}") };
    let parse = |entry: &redis::Value| -> (String, Vec<String>) { redis::from_redis_value(entry.clone()).unwrap() };
    found.iter().map(parse).map(|(id, fields)| (id, fields[3].clone())).collect()
}
