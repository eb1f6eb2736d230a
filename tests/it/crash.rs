//! kill -9 during uploads: what was acknowledged is there afterwards.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::Connection;

use crate::unit::{Unit, golden};

const KILLS: usize = 8;
/// Acknowledged uploads of each life before the kill; it comes at once when the last one is counted, in mid-work of others.
const ACKNOWLEDGED_BEFORE_KILL: [usize; KILLS] = [1, 3, 7, 2, 12, 5, 9, 4];
const CLIENTS: usize = 4;

/// Uploads from several clients until the unit is gone; the ids that were acknowledged.
fn upload_until_killed(unit: &Unit, token: &str, kill_after: usize) -> Vec<String> {
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let picture = golden();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let agent = ureq::Agent::new_with_defaults();
                    let mut ids = Vec::new();
                    loop {
                        let sent = agent
                            .post(unit.url("/api/vehicle/classify"))
                            .header("Authorization", format!("Bearer {token}"))
                            .header("Content-Type", "image/jpeg")
                            .send(&picture[..]);
                        // Refused, reset or cut off in mid-answer: not acknowledged.
                        let Ok(mut answer) = sent else { return ids };
                        let Ok(body) = answer.body_mut().read_json::<serde_json::Value>() else { return ids };
                        assert_eq!(answer.status(), 201);
                        ids.push(body["data"]["classification_id"].as_str().unwrap().to_owned());
                        if acknowledged.fetch_add(1, Ordering::SeqCst) + 1 == kill_after {
                            unit.signal("KILL");
                        }
                    }
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

#[test]
fn nothing_acknowledged_is_lost_by_kills() {
    let mut unit = Unit::start();
    let token = unit.account("ann", "user");
    let mut acknowledged = HashSet::new();
    for kill_after in ACKNOWLEDGED_BEFORE_KILL {
        let ids = upload_until_killed(&unit, &token, kill_after);
        assert!(ids.len() >= kill_after);
        acknowledged.extend(ids);
        unit = unit.kill_and_restart();
        let database = Connection::open(unit.state_directory().join("unit.db")).unwrap();
        let mut statement = database.prepare("SELECT uuid FROM classifications").unwrap();
        let stored: HashSet<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let lost: Vec<_> = acknowledged.difference(&stored).collect();
        assert!(lost.is_empty(), "lost {lost:?}");
        let audited: i64 = database
            .query_row("SELECT count(*) FROM audit_log WHERE action = 'vehicle.classify'", [], |row| row.get(0))
            .unwrap();
        assert_eq!(audited as usize, stored.len(), "each classification has its audit row, and no other");
        for check in [["store", "check"], ["audit", "verify"]] {
            let output = unit.command(&check, "");
            assert!(output.status.success(), "{check:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
