//! What Redis's answers mean.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{ErrorKind, Pipeline, RedisError, ServerError, ServerErrorKind, Value};

use crate::config::RedisServer;
use crate::sync::redis::bounded::TooLarge;
use crate::sync::uplink::{Problem, Published, Top, Trouble};

/// What `XADD` says to an id that is not above the stream's newest.
const NOT_ABOVE: &str = "equal or smaller";
const NO_SUCH_KEY: &str = "no such key";
const MOVED: &str = "MOVED ";

/// Says hello by itself: to a lone question the client tells an answer that is no Redis's from a closed connection.
pub(super) async fn greeted(connection: &mut MultiplexedConnection) -> Result<(), Problem> {
    let answer = connection.send_packed_command(&::redis::cmd("PING")).await;
    answer.map_err(|cause| problem_of(&cause)).and_then(|answer| accepted(&answer))
}

/// All answers to a pipeline, errors of the server among them.
pub(super) async fn answers(
    timeout: Duration,
    connection: &mut MultiplexedConnection,
    pipeline: &Pipeline,
) -> Result<Vec<Value>, Problem> {
    let asked = connection.send_packed_commands(pipeline, 0, pipeline.len());
    match tokio::time::timeout(timeout, asked).await {
        Ok(found) => found.map_err(|cause| problem_of(&cause)),
        Err(_) => Err(Problem::new(Trouble::Down, "no answer in time")),
    }
}

/// What became of the transaction: `MULTI`, the queued commands, `EXEC`.
pub(super) fn exec(found: &[Value], entries: usize) -> Result<Published, Problem> {
    let Some((outcome, queued)) = found.split_last() else {
        return Err(Problem::new(Trouble::Garbage, "too few answers"));
    };
    // Why a command was not even queued says more than that the transaction was given up.
    queued.iter().try_for_each(accepted)?;
    let done = match outcome {
        Value::Nil => return Ok(Published::Changed),
        Value::Array(done) => done,
        other => {
            accepted(other)?;
            return Err(Problem::new(Trouble::Garbage, "EXEC answers with something strange"));
        }
    };
    let mut published = Published::Added;
    for (number, answer) in done.iter().enumerate() {
        match answer {
            Value::ServerError(error) if number < entries && says(error, NOT_ABOVE) => published = Published::Refused,
            other => accepted(other)?,
        }
    }
    Ok(published)
}

/// Nothing, unless it is an error.
pub(super) fn accepted(answer: &Value) -> Result<(), Problem> {
    match answer {
        Value::ServerError(error) => Err(server_problem(error)),
        _ => Ok(()),
    }
}

/// From `XINFO STREAM`.
pub(super) fn top_of(answer: &Value) -> Result<Option<Top>, Problem> {
    let strange = || Problem::new(Trouble::Garbage, "XINFO STREAM answers with something strange");
    let Value::Array(parts) = answer else {
        return match answer {
            Value::ServerError(error) if says(error, NO_SUCH_KEY) => Ok(None),
            other => accepted(other).and_then(|()| Err(strange())),
        };
    };
    let part = |name: &str| {
        let mut pairs = parts.chunks_exact(2);
        pairs.find(|pair| text(&pair[0]).as_deref() == Some(name)).map(|pair| &pair[1])
    };
    let id = part("last-generated-id").and_then(text).and_then(|id| number(&id)).ok_or_else(strange)?;
    let last = part("last-entry").filter(|last| entry_id(last) == Some(id));
    Ok(Some(Top { id, body: last.and_then(entry_body) }))
}

fn number(id: &str) -> Option<u64> {
    id.split('-').next()?.parse().ok()
}

fn entry_id(entry: &Value) -> Option<u64> {
    let Value::Array(parts) = entry else { return None };
    number(&text(parts.first()?)?)
}

/// The event of an entry; none in an entry that is not of ours, which compares as different from anything.
pub(super) fn entry_body(entry: &Value) -> Option<String> {
    let Value::Array(parts) = entry else { return None };
    let Value::Array(fields) = parts.get(1)? else { return None };
    let found = fields.chunks_exact(2).find(|pair| text(&pair[0]).as_deref() == Some("event"));
    Some(found.and_then(|pair| text(&pair[1])).unwrap_or_default())
}

pub(super) fn last_process(answer: &Value) -> Result<Option<String>, Problem> {
    accepted(answer)?;
    Ok(text(answer))
}

/// From a sentinel's host and port.
pub(super) fn server(place: &[Value]) -> Option<RedisServer> {
    let [host, port] = place else { return None };
    Some(RedisServer::Tcp { host: text(host)?, port: Some(text(port)?.parse().ok()?) })
}

/// Whether the server keeps what it takes, as far as it says: by `ROLE` and `CONFIG GET maxmemory-policy`, which an ACL may
/// forbid.
pub(super) fn judged(answers: &[Value]) -> Result<(), Problem> {
    if let Some(Value::Array(role)) = answers.first()
        && role.first().and_then(text).is_some_and(|role| role != "master")
    {
        return Err(Problem::new(Trouble::ReadOnly, "it says that it is no master"));
    }
    if let Some(Value::Array(policy)) = answers.get(1)
        && let Some(policy) = policy.get(1).and_then(text).filter(|policy| policy.starts_with("allkeys"))
    {
        let detail = format!("maxmemory-policy {policy} would drop whole streams; set noeviction there");
        return Err(Problem::new(Trouble::Refused, detail));
    }
    Ok(())
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

fn says(error: &ServerError, words: &str) -> bool {
    error.details().is_some_and(|details| details.contains(words))
}

fn server_problem(error: &ServerError) -> Problem {
    let detail = format!("{} {}", error.code(), error.details().unwrap_or_default());
    Problem::new(trouble_of(error.code()), detail.trim_end())
}

/// By the word an error of Redis begins with.
fn trouble_of(code: &str) -> Trouble {
    match code {
        "OOM" => Trouble::OutOfMemory,
        "READONLY" => Trouble::ReadOnly,
        "LOADING" => Trouble::Loading,
        "MASTERDOWN" | "CLUSTERDOWN" | "MOVED" | "ASK" | "TRYAGAIN" | "UNBLOCKED" => Trouble::FailingOver,
        "NOAUTH" | "WRONGPASS" | "NOPERM" => Trouble::Credentials,
        _ => Trouble::Refused,
    }
}

/// A failure of the connection, or of the greeting on it.
pub(super) fn problem_of(cause: &RedisError) -> Problem {
    let trouble = match cause.kind() {
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Trouble::Garbage,
        ErrorKind::AuthenticationFailed => Trouble::Credentials,
        ErrorKind::Io => beneath(cause).map_or(Trouble::Down, trouble_of_stream),
        ErrorKind::Server(ServerErrorKind::ExecAbort) => Trouble::Refused,
        _ => cause.code().map_or(Trouble::Refused, trouble_of),
    };
    Problem::new(trouble, cause.to_string())
}

/// A failure to open the stream.
pub(super) fn problem_of_stream(cause: &std::io::Error) -> Problem {
    Problem::new(trouble_of_stream(cause), cause.to_string())
}

fn trouble_of_stream(cause: &std::io::Error) -> Trouble {
    match cause.get_ref() {
        Some(inner) if inner.is::<rustls::Error>() => Trouble::Tls,
        Some(inner) if inner.is::<TooLarge>() => Trouble::Garbage,
        _ => Trouble::Down,
    }
}

/// The error of the stream beneath: the client wraps it.
fn beneath(cause: &RedisError) -> Option<&std::io::Error> {
    type Shared = Arc<dyn Error + Send + Sync>;
    let shared = cause.source().and_then(|source| source.downcast_ref::<Shared>());
    shared.and_then(|shared| (**shared).downcast_ref::<std::io::Error>())
}

impl Problem {
    /// Where a Cluster's node sends us: `MOVED slot host:port`.
    pub(super) fn moved_to(&self) -> Option<RedisServer> {
        RedisServer::from_host_port(self.detail.strip_prefix(MOVED)?.split(' ').nth(1)?)
    }
}

#[cfg(test)]
mod tests;
