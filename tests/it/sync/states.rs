//! What is wrong with Redis is told apart.

use std::io::{Read, Write};
use std::net::TcpListener;

use vehicle_classifierd::sync::{RedisSettings, SyncStatus, Trouble};

use super::server::{Server, free_port};
use super::{Outbox, PATIENCE, redis_settings, runtime, until};

fn comes_to(redis: RedisSettings, trouble: Trouble, meanwhile: impl FnOnce()) {
    let (mut outbox, runtime) = (Outbox::new(), runtime());
    outbox.record(1);
    let sync = outbox.deliver(&runtime, redis);
    meanwhile();
    let watch = sync.status_reader();
    until(trouble.name(), || watch.status() == SyncStatus::Trouble(trouble));
    runtime.block_on(sync.stop(PATIENCE));
    assert!(outbox.metrics.sync.failures.with_label_values(&[trouble.name()]).get() > 0);
}

#[test]
fn nobody_listens() {
    comes_to(redis_settings(&format!("redis://127.0.0.1:{}", free_port())), Trouble::Down, || {});
}

#[test]
fn somebody_else_listens() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 1_024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        }
    });
    comes_to(redis_settings(&format!("redis://127.0.0.1:{port}")), Trouble::Garbage, || {});
}

#[test]
fn a_wrong_password_a_missing_one_and_too_few_rights() {
    let server = Server::start(&["--requirepass", "right"]);
    let wrong = RedisSettings { password: Some("wrong".into()), ..redis_settings(&server.url()) };
    comes_to(wrong, Trouble::Credentials, || {});
    comes_to(redis_settings(&server.url()), Trouble::Credentials, || {});
    let open = Server::start(&[]);
    let _: () = open.ask(&["ACL", "SETUSER", "unit", "on", ">secret", "~*", "+@connection", "+@read", "+@transaction"]);
    let url = format!("redis://unit:secret@127.0.0.1:{}", open.port);
    comes_to(redis_settings(&url), Trouble::Credentials, || {});
}

#[test]
fn a_user_with_the_rights_of_the_documentation_is_enough() {
    let server = Server::start(&[]);
    let documented = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CENTRAL.md")).unwrap();
    let line = documented.lines().find(|line| line.contains("ACL SETUSER")).expect("docs/CENTRAL.md gives the ACL");
    let line = line.replace("'", "").replace("UNIT", super::UNIT).replace("PASSWORD", "secret");
    let words: Vec<_> = line.split_whitespace().skip_while(|word| *word != "ACL").collect();
    let _: () = server.ask(&words);
    let url = format!("redis://{}:secret@127.0.0.1:{}", super::UNIT, server.port);
    let (mut outbox, runtime) = (Outbox::new(), runtime());
    outbox.record(3);
    let sync = outbox.deliver(&runtime, redis_settings(&url));
    outbox.settle(PATIENCE);
    until("connected", || sync.status_reader().status() == SyncStatus::Connected);
    runtime.block_on(sync.stop(PATIENCE));
    assert_eq!(server.length(), 3);
}

#[test]
fn read_only_and_out_of_memory() {
    let server = Server::start(&["--maxmemory-policy", "noeviction"]);
    let _: () = server.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    comes_to(redis_settings(&server.url()), Trouble::ReadOnly, || {});
    let _: () = server.ask(&["REPLICAOF", "NO", "ONE"]);
    let _: () = server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    comes_to(redis_settings(&server.url()), Trouble::OutOfMemory, || {});
}

#[test]
fn a_server_that_loads_its_data_and_one_that_has_lost_its_master() {
    // It loads for longer than anybody takes to ask, and answers whoever does in between.
    let mut server = Server::start(&["--appendonly", "no", "--loading-process-events-interval-bytes", "1024"]);
    let _: () = server.ask(&["DEBUG", "POPULATE", "4000", "filling", "100"]);
    let _: () = server.ask(&["SAVE"]);
    server.kill();
    server.launch(&["--key-load-delay", "20000"]);
    comes_to(redis_settings(&server.url()), Trouble::Loading, || {});
    server.kill();
    server.restart();
    let _: () = server.ask(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    let _: () = server.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    comes_to(redis_settings(&server.url()), Trouble::FailingOver, || {});
}

#[test]
fn a_server_that_is_handed_over_loses_nothing() {
    let (master, replica) = (Server::start(&[]), Server::start(&[]));
    let port = |server: &Server| server.port.to_string();
    let _: () = replica.ask(&["REPLICAOF", "127.0.0.1", &port(&master)]);
    until("the replica follows", || {
        let state: redis::Value = master.ask(&["INFO", "replication"]);
        redis::from_redis_value::<String>(state).unwrap().contains("state=online")
    });
    let (mut outbox, runtime) = (Outbox::new(), runtime());
    let sync = outbox.deliver(&runtime, redis_settings(&master.url()));
    outbox.record(200);
    // The master takes no writes until the replica has all of it, and is a replica itself from then on.
    let _: () = master.ask(&["FAILOVER", "TO", "127.0.0.1", &port(&replica)]);
    outbox.record(200);
    let watch = sync.status_reader();
    until("it is told", || watch.status() == SyncStatus::Trouble(Trouble::ReadOnly));
    runtime.block_on(sync.stop(PATIENCE));
    let sync = outbox.deliver(&runtime, redis_settings(&replica.url()));
    outbox.settle(PATIENCE);
    runtime.block_on(sync.stop(PATIENCE));
    assert!(replica.bodies() == outbox.bodies(), "other events, or another order");
}

#[test]
fn two_units_with_one_id_are_told() {
    let server = Server::start(&[]);
    let (mut first, mut second, runtime) = (Outbox::new(), Outbox::new(), runtime());
    let syncs = [&first, &second].map(|outbox| outbox.deliver(&runtime, redis_settings(&server.url())));
    let twins = |outbox: &Outbox| outbox.metrics.sync.failures.with_label_values(&["twin"]).get();
    until("one of them notices", || {
        first.record(1);
        second.record(1);
        twins(&first) + twins(&second) > 0
    });
    for sync in syncs {
        runtime.block_on(sync.stop(PATIENCE));
    }
}
