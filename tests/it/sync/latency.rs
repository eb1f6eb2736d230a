//! What a backlog for the central site costs the people who upload meanwhile: two units, one with a central site and one
//! without, asked in turn. The figures of `docs/CENTRAL.md`; small by default, so that it stays runnable.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use vehicle_classifierd::clock::{Clock, SystemClock};
use vehicle_classifierd::record::Event;
use vehicle_classifierd::sync::example;

use super::server::{Server, key};
use super::{PATIENCE, UNIT, asked, passage, until};
use crate::unit::{Unit, golden};

/// Uploads of each unit whose 99th percentiles are compared by themselves.
const BLOCK: usize = 250;

struct Side {
    unit: Unit,
    token: String,
    took: Vec<Duration>,
}

impl Side {
    fn new(settings: &[(&str, &str)]) -> Self {
        let settings =
            [&[("CLASSIFIER__WORKERS", "1"), ("API__REQUESTS_PER_MINUTE_MAX", "1000000")], settings].concat();
        let unit = Unit::with(&settings);
        let token = unit.account("ann", "user");
        Self { unit, token, took: Vec::new() }
    }

    fn upload(&mut self, picture: &[u8]) {
        let started = Instant::now();
        let reply = self.unit.send("POST", "/api/vehicle/classify", &self.token, "image/jpeg", picture.to_vec());
        self.took.push(started.elapsed());
        assert_eq!(reply.status, 201, "{}", reply.text());
    }
}

fn percentile(times: &[Duration], share: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let place = ((sorted.len() - 1) as f64 * share) as usize;
    sorted[place].as_secs_f64() * 1e3
}

/// With a central site the median upload may take this many times as long, and this much, as without one.
const DELAY_RATIO_MAX: f64 = 1.5;
const DELAY_MS_MAX: f64 = 25.0;
/// Uploads of each side from which their medians say something.
const TURNS_MIN: usize = 5;

/// Uploads in turn, until it is enough.
fn compare(what: &str, sides: &mut [Side; 2], mut enough: impl FnMut(usize) -> bool) {
    let picture = golden();
    sides.iter_mut().for_each(|side| side.took.clear());
    let (mut turns, mut most) = (0, 0);
    // A unit may be through before anybody looks.
    while turns == 0 || !enough(turns) {
        sides[turns % 2].upload(&picture);
        sides[(turns + 1) % 2].upload(&picture);
        most = most.max(sides[0].unit.resident_kilobytes());
        turns += 1;
    }
    let [with, without] = sides;
    let at = |share| (percentile(&with.took, share), percentile(&without.took, share));
    let ((with50, without50), (with99, without99)) = (at(0.5), at(0.99));
    println!(
        "{what}: {turns} uploads each; with p50 {with50:.1} p99 {with99:.1} ms, without p50 {without50:.1} p99 {without99:.1} ms; \
         ratio p50 {:.3} p99 {:.3}; memory at most {most} kB",
        with50 / without50,
        with99 / without99
    );
    let blocks = with.took.chunks(BLOCK).zip(without.took.chunks(BLOCK));
    let ratios: Vec<_> = blocks
        .filter(|(with, _)| with.len() == BLOCK)
        .map(|(with, without)| format!("{:.3}", percentile(with, 0.99) / percentile(without, 0.99)))
        .collect();
    println!("    p99 of blocks of {BLOCK}: {}", ratios.join(" "));
    // Both sides upload in turn, so that a busy machine is slow for both; fewer turns are chance.
    let delayed = with50 > DELAY_RATIO_MAX * without50 + DELAY_MS_MAX;
    assert!(turns < TURNS_MIN || !delayed, "{what}: {with50:.1} ms instead of {without50:.1}");
}

/// As a week without a central site leaves them.
fn leave_waiting(unit: &Unit, events: usize) {
    let body = example(UNIT, &Event::Passage(&passage(SystemClock::new().now())));
    let database = Connection::open(unit.state_directory().join("unit.db")).unwrap();
    database.busy_timeout(PATIENCE).unwrap();
    let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
        INSERT INTO outbox (kind, body, created_at) SELECT 'passage', ?2, ?3 FROM n";
    for done in (0..events).step_by(20_000) {
        let now = SystemClock::new().now().at.as_microsecond();
        database.execute(sql, rusqlite::params![(events - done).min(20_000) as i64, body, now]).unwrap();
    }
}

#[test]
fn a_backlog_delays_no_upload() {
    let (events, uploads) = (asked("SYNC_BACKLOG", 2_000), asked("SYNC_UPLOADS", 10));
    let mut server = Server::start(&[]);
    let url = server.url();
    let central = [("SYNC__REDIS_URL", url.as_str()), ("UNIT__ID", UNIT), ("SYNC__STREAM_EVENTS_MAX", "0")];
    let quick = [("SYNC__BACKOFF_MS_MAX", "2000"), ("STORE__OUTBOX_BYTES_MAX", "4000000000")];
    server.kill();
    let mut sides = [Side::new(&[central.as_slice(), &quick].concat()), Side::new(&[])];
    leave_waiting(&sides[0].unit, events);
    compare("an outage, a backlog waits", &mut sides, |turns| turns >= uploads);
    let before = sides[0].unit.resident_kilobytes();
    server.restart();
    let mut connection = server.connect();
    let mut length = move || -> usize { redis::cmd("XLEN").arg(key("events")).query(&mut connection).unwrap() };
    until("the backlog begins to drain", || length() > 0);
    let (started, first) = (Instant::now(), length());
    compare("the backlog drains", &mut sides, |_| length() >= events);
    let (took, drained) = (started.elapsed().as_secs_f64(), length() - first);
    let after = sides[0].unit.resident_kilobytes();
    println!(
        "{drained} events in {took:.1} s, {:.0} a second; memory {before} kB before, {after} after",
        drained as f64 / took
    );
    assert!(after < before + 64 * 1_024, "the backlog was taken into memory");
    compare("connected, nothing waits", &mut sides, |turns| turns >= uploads);
}
