//! The real unit with a real server: what is uploaded arrives, kills change nothing, health and metrics tell the truth.

use std::sync::Arc;

use serde_json::{Value, json};

use super::server::{Server, key};
use super::{Outbox, PATIENCE, UNIT, asked, until};
use crate::unit::{Part, Unit, golden};

/// Events in a unit's store before each kill.
const EVENTS_A_LIFE: usize = 400;

fn settings(url: &str) -> Vec<(&str, &str)> {
    vec![
        ("SYNC__REDIS_URL", url),
        ("UNIT__ID", UNIT),
        ("SYNC__BACKOFF_MS_MAX", "50"),
        ("SYNC__HEALTH_INTERVAL_MS", "200"),
        ("SYNC__CONNECT_TIMEOUT_MS", "20000"),
        ("SYNC__RESPONSE_TIMEOUT_MS", "20000"),
        ("SYNC__BATCH_EVENTS_MAX", "20"),
        ("SYNC__STREAM_EVENTS_MAX", "0"),
    ]
}

#[test]
fn what_is_uploaded_reaches_the_central_site_and_health_says_so() {
    let server = Server::start(&[]);
    let url = server.url();
    let mut unit = Unit::with(&settings(&url));
    let (token, admin) = (unit.account("ann", "user"), unit.admin());
    let classified = unit.classify(&token, "golden.jpg", &golden()).json();
    let picture = golden();
    let parts = [Part::file("file", "golden.jpg", &picture), Part::text("vehicle_id", "V-1")];
    let reported = unit.upload("/api/vehicle/report", &token, &parts).json();
    until("three events", || server.bodies().len() == 3);
    let events: Vec<Value> = server.bodies().iter().map(|body| serde_json::from_str(body).unwrap()).collect();
    let kinds: Vec<_> = events.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["classification", "classification", "report"]);
    assert_eq!(events[0]["data"]["id"], classified["data"]["classification_id"]);
    for fact in ["report_id", "vehicle_id", "report_date", "model", "image", "metadata"] {
        assert_eq!(events[2]["data"][fact], reported["data"][fact]);
    }
    assert!(events.iter().all(|event| event["unit"] == UNIT && event["v"] == 1));
    // The cached report, for an hour.
    let cached: String = server.ask(&["GET", &key("report:V-1")]);
    assert_eq!(serde_json::from_str::<Value>(&cached).unwrap(), events[2]["data"]);
    let left: i64 = server.ask(&["TTL", &key("report:V-1")]);
    assert!((3_500..=3_600).contains(&left), "{left}");
    // State and list of units.
    assert_eq!(server.ask::<Vec<String>>(&["SMEMBERS", "vc:units"]), [UNIT]);
    until("a sign of life with the last id", || {
        server
            .ask::<Option<String>>(&["HGET", &key("state"), "delivered_id"])
            .is_some_and(|id| id.split('-').next().and_then(|row| row.parse::<u32>().ok()).is_some_and(|row| row >= 3))
    });
    until("it lives for a second at most", || {
        let left: i64 = server.ask(&["PTTL", &key("state")]);
        assert!(left <= 1_000 && left != -1, "{left}");
        // A busy machine may be late with the next one.
        left > 0
    });
    assert_eq!(unit.get("/health", "").json()["redis_connected"], json!(true));
    assert_eq!(unit.metric(&admin, "vehicle_classifier_redis_connections"), 1.0);
    assert_eq!(unit.metric(&admin, "vehicle_classifier_sync_state{state=\"connected\"}"), 1.0);
    // At full five minutes the unit tells by itself that it has no camera: counted too.
    until("everything that arrived is counted", || {
        unit.metric(&admin, "vehicle_classifier_sync_events_total") == server.length() as f64
    });
    assert_eq!(server.bodies().len(), 3);
    unit.signal("TERM");
    assert!(unit.wait().success(), "{}", unit.log.to_end());
}

#[test]
fn without_redis_a_unit_works_says_what_is_wrong_and_delivers_later() {
    let mut server = Server::start(&["--requirepass", "right"]);
    let with_password = format!("redis://:right@127.0.0.1:{}", server.port);
    let unit = Unit::with(&settings(&with_password));
    server.kill();
    let (token, admin) = (unit.account("ann", "user"), unit.admin());
    until("health tells", || unit.get("/health", "").text().contains("Redis does not answer"));
    let health = unit.get("/health", "").json();
    assert_eq!((&health["status"], &health["redis_connected"]), (&json!("degraded"), &json!(false)), "{health}");
    assert_eq!(unit.classify(&token, "golden.jpg", &golden()).status, 201);
    assert_eq!(unit.metric(&admin, "vehicle_classifier_sync_state{state=\"down\"}"), 1.0);
    // One, and what the unit tells at full five minutes of having no camera.
    let outbox = Outbox::on(unit.state.clone(), UNIT);
    assert_eq!(outbox.bodies().len(), 1);
    until("the backlog is measured", || {
        unit.metric(&admin, "vehicle_classifier_sync_outbox_rows") == outbox.waiting() as f64
    });
    assert!(outbox.waiting() >= 1);
    server.restart();
    until("delivered", || {
        let head = outbox.store.outbox_head().wait().unwrap();
        unit.get("/health", "").json()["redis_connected"] == json!(true)
            && head.waiting() == 0
            && unit.metric(&admin, "vehicle_classifier_sync_events_total") == head.newest as f64
    });
    assert!(!unit.log.text().contains("right@"), "{}", unit.log.text());
}

#[test]
fn kills_of_the_unit_lose_double_and_swap_nothing() {
    let server = Server::start(&[]);
    let url = server.url();
    let mut unit = Unit::with(&settings(&url));
    let mut outbox = Outbox::on(unit.state.clone(), UNIT);
    let (mut expected, mut arrived, mut last) = (0, 0, "0".to_owned());
    for life in 0..asked("SYNC_KILLS", 4) {
        outbox.record(EVENTS_A_LIFE);
        // Somewhere in the middle of what it has to deliver, each time elsewhere.
        let enough = expected + (life * 67) % EVENTS_A_LIFE;
        expected += EVENTS_A_LIFE;
        until("some of it is delivered", || {
            // Only what is new: the whole stream, again and again, would be most of what the server does.
            let new = server.after(&last);
            arrived += new.len();
            last = new.last().map_or_else(|| last.clone(), |(id, _)| id.clone());
            arrived >= enough
        });
        unit = unit.kill_and_restart();
    }
    outbox.settle(PATIENCE);
    assert_eq!(server.bodies().len(), expected);
    assert!(server.bodies() == outbox.bodies(), "other events, or another order");
}

#[test]
fn a_unit_restored_from_a_backup_goes_on_under_new_numbers() {
    let server = Server::start(&[]);
    let url = server.url();
    let mut unit = Unit::with(&settings(&url));
    let mut outbox = Outbox::on(unit.state.clone(), UNIT);
    outbox.record(30);
    outbox.settle(PATIENCE);
    let backup = unit.state_directory().join("backup.db");
    let done = unit.command(&["backup", backup.to_str().unwrap()], "");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    outbox.record(20);
    outbox.settle(PATIENCE);
    let mut expected = outbox.bodies();
    outbox.store.close();
    unit.signal("TERM");
    assert!(unit.wait().success());
    for rest in ["unit.db-wal", "unit.db-shm"] {
        let _ = std::fs::remove_file(unit.state_directory().join(rest));
    }
    std::fs::rename(&backup, unit.state_directory().join("unit.db")).unwrap();
    let unit = unit.kill_and_restart();
    let mut outbox = Outbox::on(Arc::clone(&unit.state), UNIT);
    outbox.record(5);
    outbox.settle(PATIENCE);
    expected.extend(outbox.bodies().split_off(30));
    assert_eq!(server.bodies().len(), 55);
    assert!(server.bodies() == expected, "other events, or another order");
    unit.log.wait_for("restored from a backup");
}

#[test]
fn doctor_looks_at_redis() {
    let mut server = Server::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let configuration = directory.path().join("config.toml");
    let text = format!(
        "[sync]\nconnect_timeout_ms = 20000\nresponse_timeout_ms = 20000\nredis_url = \"redis://x:hidden@127.0.0.1:{}\"\n",
        server.port
    );
    std::fs::write(&configuration, text).unwrap();
    let look = || {
        let output = crate::unit::run(directory.path(), &["doctor", "--config", configuration.to_str().unwrap()], "");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.contains("hidden"), "{text}");
        text.lines().find(|line| line.contains(" redis ")).unwrap().to_owned()
    };
    let _: () = server.ask(&["ACL", "SETUSER", "x", "on", ">hidden", "~*", "+@all"]);
    assert!(look().starts_with("ok"), "{}", look());
    let _: () = server.ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    assert!(look().contains("noeviction"), "{}", look());
    server.kill();
    let line = look();
    assert!(line.starts_with("WARN") && line.contains("Redis does not answer"), "{line}");
}
