//! Sentinel, Cluster and TLS, each with real servers.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use vehicle_classifierd::sync::{RedisSettings, SyncStatus, Trouble};

use super::server::{Server, free_port};
use super::{Outbox, PATIENCE, redis_settings, runtime, until};

#[test]
fn a_failover_of_sentinel_loses_and_doubles_nothing() {
    let mut master = Server::start(&[]);
    let replica = Server::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    until("the replica follows", || replica.ask::<String>(&["INFO", "replication"]).contains("master_link_status:up"));
    // Times longer than a busy machine holds up a server that is well, here and in the cluster.
    let sentinel = Server::sentinel(&format!(
        "sentinel monitor vc 127.0.0.1 {} 1\nsentinel down-after-milliseconds vc 2000\nsentinel failover-timeout vc 3000\n",
        master.port
    ));
    until("the sentinel knows the replica", || sentinel.ask::<String>(&["INFO", "sentinel"]).contains("slaves=1"));
    let (mut outbox, runtime) = (Outbox::new(), runtime());
    let redis = RedisSettings {
        sentinel_master: Some("vc".into()),
        ..redis_settings(&format!("redis://127.0.0.1:{}", sentinel.port))
    };
    let sync = outbox.deliver(&runtime, redis);
    outbox.record(300);
    outbox.settle(PATIENCE);
    outbox.record(300);
    master.kill();
    outbox.record(300);
    outbox.settle(PATIENCE);
    // What the replica had not got when the master died is noticed at the latest by the next sign of life.
    until("all of it on the new master", || replica.length() == 900);
    runtime.block_on(sync.stop(PATIENCE));
    assert!(replica.bodies() == outbox.bodies(), "other events, or another order");
}

fn cluster() -> Vec<Server> {
    let nodes: Vec<_> =
        (0..3).map(|_| Server::start(&["--cluster-enabled", "yes", "--cluster-node-timeout", "4000"])).collect();
    let addresses = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
    let made = Command::new("redis-cli")
        .args(["--cluster", "create"])
        .args(addresses)
        .arg("--cluster-yes")
        .stdin(Stdio::null())
        .output()
        .expect("redis-cli is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    until("the cluster works", || {
        nodes.iter().all(|node| node.ask::<String>(&["CLUSTER", "INFO"]).contains("cluster_state:ok"))
    });
    nodes
}

#[test]
fn a_cluster_is_found_from_any_node() {
    let mut nodes = cluster();
    let (mut outbox, runtime) = (Outbox::new(), runtime());
    let url = format!("redis://127.0.0.1:{},127.0.0.1:{},127.0.0.1:{}", nodes[0].port, nodes[1].port, nodes[2].port);
    outbox.record(150);
    let sync = outbox.deliver(&runtime, redis_settings(&url));
    outbox.settle(PATIENCE);
    let home = |nodes: &[Server]| {
        let mut connection = nodes[0].connect();
        let slot: u16 =
            redis::cmd("CLUSTER").arg("KEYSLOT").arg(super::server::key("events")).query(&mut connection).unwrap();
        usize::from(slot / 5_462)
    };
    let home = home(&nodes);
    assert_eq!(nodes[home].length(), 150);
    until("the list of units, wherever it lies", || {
        nodes.iter().any(|node| {
            let asked = redis::cmd("SMEMBERS").arg("vc:units").query::<Vec<String>>(&mut node.connect());
            asked.is_ok_and(|units| units == [super::UNIT])
        })
    });
    // The node goes and comes back.
    nodes[home].kill();
    outbox.record(50);
    nodes[home].restart();
    outbox.settle(PATIENCE);
    // Another node goes: the Cluster does not cover all its keys any more, and says so to everybody.
    let other = (home + 1) % nodes.len();
    nodes[other].kill();
    let watch = sync.status_reader();
    until("the cluster is down", || watch.status() == SyncStatus::Trouble(Trouble::FailingOver));
    nodes[other].restart();
    outbox.record(50);
    outbox.settle(PATIENCE);
    runtime.block_on(sync.stop(PATIENCE));
    assert!(nodes[home].bodies() == outbox.bodies(), "other events, or another order");
}

/// An authority and a server certificate for 127.0.0.1, as PEM files.
struct Authority {
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

fn openssl(directory: &Path, arguments: &str) {
    let made = Command::new("openssl")
        .current_dir(directory)
        .args(arguments.split(' '))
        .stdin(Stdio::null())
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn authority(directory: &Path) -> Authority {
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    openssl(directory, &format!("req -x509 {new} -keyout ca.key -out ca.pem -subj /CN=test-authority"));
    openssl(directory, &format!("req {new} -keyout server.key -out server.csr -subj /CN=redis"));
    std::fs::write(directory.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(
        directory,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
    );
    let at = |name| directory.join(name);
    Authority { ca: at("ca.pem"), certificate: at("server.pem"), key: at("server.key") }
}

#[test]
fn tls_trusts_the_given_authority_and_no_other() {
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (right, wrong) = (authority(directory.path()), authority(other.path()));
    let port = free_port().to_string();
    let path = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let server = Server::start(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &path(&right.certificate),
        "--tls-key-file",
        &path(&right.key),
        "--tls-ca-cert-file",
        &path(&right.ca),
        "--tls-auth-clients",
        "no",
    ]);
    let with = |ca: &PathBuf| RedisSettings {
        ca: Some(std::fs::read(ca).unwrap()),
        ..redis_settings(&format!("rediss://127.0.0.1:{port}"))
    };
    let (mut outbox, runtime) = (Outbox::new(), runtime());
    outbox.record(20);
    let sync = outbox.deliver(&runtime, with(&wrong.ca));
    let watch = sync.status_reader();
    until("refused", || watch.status() == SyncStatus::Trouble(Trouble::Tls));
    runtime.block_on(sync.stop(PATIENCE));
    assert_eq!((server.length(), outbox.waiting()), (0, 20));
    let problem = vehicle_classifierd::sync::probe(with(&wrong.ca)).unwrap().unwrap_err().to_string();
    assert!(problem.contains("invalid peer certificate") && problem.contains("sync.ca_file"), "{problem}");
    let sync = outbox.deliver(&runtime, with(&right.ca));
    outbox.settle(PATIENCE);
    runtime.block_on(sync.stop(PATIENCE));
    assert!(server.bodies() == outbox.bodies(), "other events, or another order");
}
