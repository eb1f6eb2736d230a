//! The example of `docs/examples` against a real server.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use rusqlite::Connection;

use super::server::Server;
use super::{Outbox, PATIENCE, UNIT, redis_settings, runtime, until};

fn consumer(server: &Server, database: &Path) -> Child {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples/consumer.py");
    Command::new("python3")
        .args([script, &server.url()])
        .arg(database)
        .arg("--once")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("python3 is installed")
}

fn stored(database: &Path) -> Vec<(i64, String)> {
    let Ok(connection) = Connection::open(database) else { return Vec::new() };
    let Ok(mut statement) = connection.prepare("SELECT id, data FROM events WHERE unit = ?1 ORDER BY id") else {
        return Vec::new();
    };
    let rows = statement.query_map([UNIT], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn the_example_consumer_stores_each_event_once_though_it_is_killed_and_redis_flushed() {
    let server = Server::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("central.db");
    let (mut outbox, runtime) = (Outbox::new(), runtime());
    let sync = outbox.deliver(&runtime, redis_settings(&server.url()));
    outbox.record(3_000);
    outbox.settle(PATIENCE);
    let mut first = consumer(&server, &database);
    until("it has stored something", || !stored(&database).is_empty());
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(consumer(&server, &database).wait().unwrap().success());
    assert_eq!(stored(&database).len(), 3_000);
    let _: () = server.ask(&["FLUSHALL"]);
    outbox.pass(10);
    until("filled again", || server.length() == 3_010);
    // The list of units went too; it is written with each connection.
    let _: () = server.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
    until("listed again", || !server.ask::<Vec<String>>(&["SMEMBERS", "vc:units"]).is_empty());
    assert!(consumer(&server, &database).wait().unwrap().success());
    runtime.block_on(sync.stop(PATIENCE));
    let found = stored(&database);
    let ids: Vec<_> = found.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, (1..=3_010).collect::<Vec<i64>>());
    for ((_, data), body) in found.iter().zip(outbox.bodies()) {
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(data).unwrap(), body["data"]);
    }
    let connection = Connection::open(&database).unwrap();
    let passed: (i64, String) = connection
        .query_row("SELECT count(*), min(class) FROM passages", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!(passed, (10, "car".to_owned()));
}
