//! A server that loses what it had.

use super::proxy::Proxy;
use super::server::{Server, key};
use super::{Outbox, PATIENCE, UNIT, redis_settings, runtime, until};

#[test]
fn a_flushed_server_gets_everything_again() {
    let server = Server::start(&[]);
    let (mut outbox, runtime) = (Outbox::new(), runtime());
    let sync = outbox.deliver(&runtime, redis_settings(&server.url()));
    outbox.record(250);
    outbox.settle(PATIENCE);
    let _: () = server.ask(&["FLUSHALL"]);
    // Nothing new need happen: the next sign of life notices.
    until("everything is there again", || server.length() == 250);
    let _: () = server.ask(&["FLUSHALL"]);
    let _: () = server.ask(&["XGROUP", "CREATE", &key("events"), "central", "0", "MKSTREAM"]);
    outbox.record(10);
    until("and once more, behind a consumer's back", || server.length() == 260);
    runtime.block_on(sync.stop(PATIENCE));
    assert!(server.bodies() == outbox.bodies(), "other events, or another order");
    assert!(outbox.metrics.sync.rewinds.get() >= 2);
    assert_eq!(outbox.metrics.sync.forks.get(), 0);
}

#[test]
fn a_flushed_server_lists_the_connected_unit_again() {
    let server = Server::start(&[]);
    let (mut outbox, runtime) = (Outbox::new(), runtime());
    let sync = outbox.deliver(&runtime, redis_settings(&server.url()));
    outbox.record(5);
    outbox.settle(PATIENCE);
    let is_listed = || {
        let units: Vec<String> = server.ask(&["SMEMBERS", "vc:units"]);
        let heartbeat: Option<String> = server.ask(&["HGET", &key("state"), "heartbeat"]);
        units == [UNIT] && heartbeat.is_some()
    };
    until("the unit is listed", is_listed);
    let connection = unit_connection(&server);
    let _: () = server.ask(&["FLUSHALL"]);
    until("the unit is listed again", is_listed);
    until("its events are there again", || server.length() == 5);
    assert_eq!(unit_connection(&server), connection, "the unit must not reconnect for it");
    runtime.block_on(sync.stop(PATIENCE));
}

/// Id of the unit's connection.
fn unit_connection(server: &Server) -> Option<String> {
    let clients: String = server.ask(&["CLIENT", "LIST", "TYPE", "normal"]);
    let unit = clients.lines().find(|line| !line.contains("cmd=client"))?;
    unit.split(' ').next().map(str::to_owned)
}

#[test]
fn a_server_put_back_to_an_old_snapshot_gets_what_it_lost() {
    let mut server = Server::start(&["--appendonly", "no"]);
    let proxy = Proxy::to(server.port);
    let (mut outbox, runtime) = (Outbox::new(), runtime());
    let sync = outbox.deliver(&runtime, redis_settings(&proxy.url()));
    outbox.record(120);
    outbox.settle(PATIENCE);
    let _: () = server.ask(&["SAVE"]);
    outbox.record(130);
    outbox.settle(PATIENCE);
    server.kill();
    server.restart();
    until("what was lost is there again", || server.length() == 250);
    runtime.block_on(sync.stop(PATIENCE));
    assert!(server.bodies() == outbox.bodies(), "other events, or another order");
}

#[test]
fn entries_that_a_consumer_deletes_are_not_sent_again() {
    let server = Server::start(&[]);
    let (mut outbox, runtime) = (Outbox::new(), runtime());
    let sync = outbox.deliver(&runtime, redis_settings(&server.url()));
    outbox.record(50);
    outbox.settle(PATIENCE);
    let _: () = server.ask(&["XTRIM", &key("events"), "MAXLEN", "0"]);
    outbox.record(5);
    outbox.settle(PATIENCE);
    runtime.block_on(sync.stop(PATIENCE));
    assert!(server.bodies() == outbox.bodies()[50..], "old events came back");
}
