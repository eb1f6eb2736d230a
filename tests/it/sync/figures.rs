//! How much one server takes, and how fast a backlog drains: the figures of `docs/CENTRAL.md`. Small by default, so that
//! they stay runnable.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vehicle_classifierd::clock::{Clock, SystemClock};
use vehicle_classifierd::metrics::Metrics;
use vehicle_classifierd::record::Event;
use vehicle_classifierd::sync::uplink::{Entry, Published, Trim, Uplink};
use vehicle_classifierd::sync::{RedisSettings, RedisUplink, backoff, example};

use super::server::Server;
use super::{Outbox, asked, passage, redis_settings, runtime, within};

const BATCH: u64 = 50;
const BATCHES: u64 = 10;
const ALONE_VARIABLE: &str = "VEHICLE_CLASSIFIER_TEST_ALONE";

fn entries(from: u64) -> Vec<Entry> {
    let clock = SystemClock::new();
    (from..from + BATCH)
        .map(|id| {
            let passage = passage(clock.now());
            let body = example(super::UNIT, &Event::Passage(&passage));
            Entry { id, kind: "passage".into(), body, cached: None }
        })
        .collect()
}

fn memory(server: &Server) -> u64 {
    let facts: String = server.ask(&["INFO", "memory"]);
    facts.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().parse().unwrap()
}

/// Tries until the batch is in, as a unit does; how many connections that took.
async fn insist(uplink: &mut RedisUplink, batch: &[Entry]) -> u32 {
    let mut failures = 0;
    loop {
        if let Ok(top) = uplink.connect().await {
            if top.is_some_and(|top| top.id >= batch[batch.len() - 1].id) {
                return failures + 1;
            }
            if uplink.publish(batch, Trim::default()).await == Ok(Published::Added) {
                return failures + 1;
            }
        }
        uplink.close();
        failures += 1;
        let wait = backoff::delay(failures, Duration::from_mins(1));
        let _ = tokio::time::timeout(wait, std::future::pending::<()>()).await;
    }
}

#[test]
fn a_fleet_shares_one_server() {
    let units = asked("SYNC_UNITS", 20) as u64;
    let mut server = Server::start(&["--maxclients", "20000", "--tcp-backlog", "511"]);
    let empty = memory(&server);
    let runtime = runtime();
    let started = Instant::now();
    let fleet: Vec<_> = (0..units)
        .map(|number| {
            let settings = RedisSettings { unit: format!("unit-{number}"), ..redis_settings(&server.url()) };
            runtime.spawn(async move {
                let mut uplink = RedisUplink::new(settings, Arc::new(Metrics::new().unwrap())).unwrap();
                let mut late = insist(&mut uplink, &entries(1)).await - 1;
                for batch in 1..BATCHES {
                    let entries = entries(1 + batch * BATCH);
                    if uplink.publish(&entries, Trim::default()).await != Ok(Published::Added) {
                        late += insist(&mut uplink, &entries).await;
                    }
                }
                (uplink, late)
            })
        })
        .collect();
    let (fleet, late): (Vec<_>, Vec<_>) = fleet.into_iter().map(|unit| runtime.block_on(unit).unwrap()).unzip();
    let (took, events) = (started.elapsed(), units * BATCH * BATCHES);
    let (rate, late) = (events as f64 / took.as_secs_f64(), late.into_iter().sum::<u32>());
    println!(
        "{units} units: {events} events in {took:.2?}, {rate:.0} a second; {late} batches sent again after a late answer"
    );
    let used = memory(&server) - empty;
    println!("memory: {} bytes an event with {} connections open", used / events, units);
    server.kill();
    let again: Vec<_> = fleet
        .into_iter()
        .map(|mut uplink| runtime.spawn(async move { insist(&mut uplink, &entries(1 + BATCHES * BATCH)).await }))
        .collect();
    // Everybody has noticed by now or does soon.
    std::thread::park_timeout(Duration::from_millis(500));
    server.restart();
    let back = Instant::now();
    let tries: Vec<u32> = again.into_iter().map(|unit| runtime.block_on(unit).unwrap()).collect();
    println!(
        "after a restart: all {units} units delivered again after {:.2?}; {} connections, at most {} a unit",
        back.elapsed(),
        tries.iter().sum::<u32>(),
        tries.iter().max().unwrap()
    );
    let lengths = (0..units).map(|unit| server.ask::<u64>(&["XLEN", &format!("vc:{{unit-{unit}}}:events")]));
    assert!(lengths.into_iter().all(|length| length == (BATCHES + 1) * BATCH));
}

fn resident_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}

/// In a process of its own, whose memory is not also that of the tests beside it.
#[test]
fn a_backlog_drains_in_constant_memory() {
    if std::env::var_os(ALONE_VARIABLE).is_some() {
        return drain_a_backlog();
    }
    let mut alone = Command::new(std::env::current_exe().unwrap());
    alone.args(["sync::figures::a_backlog_drains_in_constant_memory", "--exact", "--nocapture"]);
    let output = alone.env(ALONE_VARIABLE, "1").output().unwrap();
    let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{complaint}");
    println!("{said}");
}

fn drain_a_backlog() {
    let events = asked("SYNC_BACKLOG", 2_000);
    let outbox = Outbox::new();
    for _ in 0..events / 500 {
        outbox.pass(500);
    }
    let size = |name| std::fs::metadata(outbox.directory.path().join(name)).map_or(0, |found| found.len());
    let bytes = size("unit.db") + size("unit.db-wal");
    println!("{events} passages wait: {} bytes each in the database, passage and event", bytes / events as u64);
    let server = Server::start(&[]);
    let runtime = runtime();
    let (before, started) = (resident_kilobytes(), Instant::now());
    let sync = outbox.deliver(&runtime, redis_settings(&server.url()));
    let mut most = before;
    within(Duration::from_mins(30), "drained", || {
        most = most.max(resident_kilobytes());
        outbox.waiting() == 0
    });
    let took = started.elapsed();
    println!(
        "drained in {took:.2?}, {:.0} a second; memory {before} kB before, at most {most} kB",
        events as f64 / took.as_secs_f64()
    );
    assert!(most < before + 64 * 1_024, "the backlog was taken into memory");
    runtime.block_on(sync.stop(super::PATIENCE));
    assert_eq!(server.length(), events);
}
