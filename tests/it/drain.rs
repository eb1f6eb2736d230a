//! Stopping: requests in flight are finished, new ones are not begun, and a second signal does not wait.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::unit::{Unit, golden};
use crate::waiting::until;

/// A stop takes less than this, whatever is in flight, and whatever this machine takes for one with nothing in flight.
const STOP_MAX: Duration = Duration::from_secs(10);

fn stop_max() -> Duration {
    let mut unit = Unit::start();
    let stopped = Instant::now();
    unit.signal("TERM");
    assert!(unit.wait().success(), "{}", unit.log.to_end());
    STOP_MAX + stopped.elapsed()
}

/// An upload of which everything but the last byte has been sent.
pub fn begun(unit: &Unit, token: &str, picture: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(&unit.address).unwrap();
    let head = format!(
        "POST /api/vehicle/classify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n",
        picture.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&picture[..picture.len() - 1]).unwrap();
    stream
}

/// Waits until the unit works on as many requests, besides the one that asks.
pub fn wait_for_active(unit: &Unit, admin: &str, requests: f64) {
    until("the unit is at work", || unit.metric(admin, "vehicle_classifier_active_requests") >= requests + 1.0);
}

#[test]
fn requests_in_flight_are_finished_and_stored() {
    let mut unit = Unit::start();
    let admin = unit.account("alma", "admin");
    let picture = golden();
    let mut streams: Vec<_> = (0..3).map(|_| begun(&unit, &admin, &picture)).collect();
    wait_for_active(&unit, &admin, 3.0);
    let stopped = Instant::now();
    unit.signal("TERM");
    unit.log.wait_for("stopping");
    for stream in &mut streams {
        stream.write_all(&picture[picture.len() - 1..]).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }
    assert!(unit.wait().success(), "{}", unit.log.to_end());
    let took = stopped.elapsed();
    assert!(took < stop_max(), "{took:?}");
    assert!(!unit.state_directory().join("unit.db-wal").exists(), "the log is moved into the database");
    let database = rusqlite::Connection::open(unit.state_directory().join("unit.db")).unwrap();
    let stored: i64 = database.query_row("SELECT count(*) FROM classifications", [], |row| row.get(0)).unwrap();
    assert_eq!(stored, 3);
}

#[test]
fn a_client_that_never_ends_its_upload_does_not_hold_the_stop_up() {
    let mut unit = Unit::start();
    let admin = unit.account("alma", "admin");
    let _stalled = begun(&unit, &admin, &golden());
    wait_for_active(&unit, &admin, 1.0);
    let stopped = Instant::now();
    unit.signal("INT");
    assert!(unit.wait().success(), "{}", unit.log.to_end());
    let took = stopped.elapsed();
    assert!(took < stop_max(), "{took:?}");
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut unit = Unit::start();
    let admin = unit.account("alma", "admin");
    let _stalled = begun(&unit, &admin, &golden());
    wait_for_active(&unit, &admin, 1.0);
    unit.signal("TERM");
    unit.log.wait_for("stopping");
    unit.signal("TERM");
    assert_eq!(unit.wait().code(), Some(1), "{}", unit.log.to_end());
}
