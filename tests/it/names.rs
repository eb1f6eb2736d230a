//! Filters and ranges: what nothing has ever carried is refused, and both ways out of the ledger say the same.

use serde_json::{Value, json};

use crate::traffic::{intervals, passage, watched};
use crate::unit::{Unit, run};

const LINES: &str = "[[traffic.lines]]\nname = \"gate\"\nfrom = [0.0, 0.5]\nto = [1.0, 0.5]\nforward = \"north\"\nbackward = \"south\"\n
[unit]\ntimezone = \"Asia/Kolkata\"\n";
const RANGE: &str = "from=2026-05-04T12:00:00Z&to=2026-05-04T14:00:00Z";

fn with_lines() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    std::fs::write(&file, LINES).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (directory, file)
}

#[test]
fn an_unknown_name_is_refused_with_a_suggestion_on_every_list() {
    let (_kept, file) = with_lines();
    let unit = Unit::with(&[("--config", &file)]);
    let admin = unit.account("alma", "admin");
    // A line of an earlier configuration.
    let mut old = passage("a", 10, "tram", "inbound");
    old.line = Some("bridge".into());
    unit.store().record_passage(old).wait().unwrap();
    for (query, part) in [
        ("/api/traffic/counts?line=gat", "Did you mean \"gate\"?"),
        ("/api/traffic/counts?scheme=tls8", "tls8+1"),
        ("/api/traffic/passages?line=brige", "Did you mean \"bridge\"?"),
        ("/api/traffic/passages?direction=nort", "Did you mean \"north\"?"),
        ("/api/traffic/passages?class=buss", "Did you mean \"bus\"?"),
        ("/api/vehicle/reports?class=buss", "Did you mean \"bus\"?"),
        ("/api/vehicle/reports?from=yesterday", "2026-05-01"),
        ("/api/audit?outcome=denid", "success, denied or failure"),
    ] {
        let refused = unit.get(query, &admin);
        assert_eq!((refused.status, refused.error_code().as_str()), (400, "VALIDATION_ERROR"), "{query}");
        assert!(refused.json()["message"].as_str().unwrap().contains(part), "{query}: {}", refused.text());
    }
    for known in
        ["line=bridge", "line=gate", "direction=inbound", "direction=south", "class=tram", "class=unclassified"]
    {
        assert_eq!(unit.get(&format!("/api/traffic/passages?{known}"), &admin).status, 200, "{known}");
    }
    for form in [
        json!({ "line": "gat", "counts": [] }),
        json!({ "counts": [{ "class": "car", "direction": "nort", "count": 1 }] }),
        json!({ "counts": [{ "class": "buss", "count": 1 }] }),
        json!({ "scheme": "euro13", "counts": [] }),
    ] {
        let mut form = form;
        form["from"] = "2026-05-04T12:00:00Z".into();
        form["to"] = "2026-05-04T12:15:00Z".into();
        assert_eq!(unit.post_json("/api/traffic/validations", &admin, &form).status, 400, "{form}");
    }
    for wrong in [&["--scheme", "tls"][..], &["--interval", "2h"], &["--from", "yesterday"]] {
        let mut command = vec!["export", "counts", "--to", "2026-05-05"];
        if wrong[0] != "--from" {
            command.extend(["--from", "2026-05-04"]);
        }
        let refused = run(unit.state_directory(), &[&command[..], wrong].concat(), "");
        assert_eq!(refused.status.code(), Some(2), "{wrong:?}: {}", String::from_utf8_lossy(&refused.stderr));
    }
}

#[test]
fn a_cursor_of_another_list_is_refused_and_a_plus_may_be_unescaped() {
    let unit = Unit::start();
    let admin = unit.account("alma", "admin");
    for n in 0..3 {
        unit.store().record_passage(passage(&format!("p{n}"), n, "car", "north")).wait().unwrap();
    }
    let cursor =
        |path: &str| -> String { unit.get(path, &admin).json()["data"]["next_cursor"].as_str().unwrap().to_owned() };
    let (passages, audit) = (cursor("/api/traffic/passages?limit=1"), cursor("/api/audit?limit=1"));
    for (list, own, foreign) in [
        ("/api/traffic/passages", &passages, &audit),
        ("/api/audit", &audit, &passages),
        ("/api/vehicle/reports", &String::new(), &passages),
        ("/api/traffic/validations", &String::new(), &audit),
    ] {
        assert_eq!(unit.get(&format!("{list}?cursor={foreign}"), &admin).status, 400, "{list}");
        assert!(own.is_empty() || unit.get(&format!("{list}?cursor={own}"), &admin).status == 200, "{list}");
        assert_eq!(unit.get(&format!("{list}?limit=1000"), &admin).status, 200, "{list}: one page limit");
        assert_eq!(unit.get(&format!("{list}?limit=1001"), &admin).status, 400, "{list}: one page limit");
    }
    for from in ["2026-05-04T13:00:00+01:00", "2026-05-04T13:00:00%2B01:00", "2026-05-04T12:00:00Z", "2026-05-04"] {
        let found = unit.get(&format!("/api/traffic/passages?from={from}"), &admin).json();
        assert_eq!(found["data"]["passages"].as_array().unwrap().len(), 3, "{from}");
    }
}

#[test]
fn export_counts_equals_the_api_in_every_row() {
    let (_kept, file) = with_lines();
    let unit = Unit::with(&[("--config", &file)]);
    let token = unit.account("ann", "user");
    let store = unit.store();
    store.record_coverage(vec![watched(0, 5_400, None)]).wait().unwrap();
    let mut old = passage("b", 4_000, "tram", "inbound");
    old.line = Some("bridge".into());
    for found in [passage("a", 10, "car", "north"), old] {
        store.record_passage(found).wait().unwrap();
    }
    for (interval, scheme) in [("15m", "native"), ("1h", "tls8+1"), ("1d", "coba"), ("5m", "native")] {
        let query = format!("{RANGE}&interval={interval}&scheme={}", scheme.replace('+', "%2B"));
        let answered = unit.get(&format!("/api/traffic/counts?{query}&format=csv"), &token).text();
        let export = |format: &str| {
            let command = [
                "export",
                "counts",
                "--from",
                "2026-05-04T12:00:00Z",
                "--to",
                "2026-05-04T14:00:00Z",
                "--interval",
                interval,
                "--scheme",
                scheme,
                "--format",
                format,
                "--config",
                &file,
            ];
            let output = run(unit.state_directory(), &command, "");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(export("csv"), answered, "{interval} {scheme}");
        let rows: Vec<Value> = export("json").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows, intervals(&unit, &token, &query), "{interval} {scheme}");
        assert!(answered.contains(",gate,south,"), "a direction that nobody took: {answered}");
    }
    let hours = intervals(&unit, &token, &format!("{RANGE}&interval=1h"));
    assert_eq!(hours[0]["from"], "2026-05-04T11:30:00Z", "hours of Kolkata begin at half past in UTC");
    let day = intervals(&unit, &token, "from=2026-05-04&to=2026-05-05&interval=1h");
    assert_eq!(day.len(), 24);
}

#[test]
fn a_validation_of_time_that_was_not_watched_is_refused() {
    let unit = Unit::start();
    let token = unit.account("ann", "user");
    let store = unit.store();
    store.record_coverage(vec![watched(0, 900, None)]).wait().unwrap();
    let counted = |from: &str, to: &str| {
        let form = json!({ "from": from, "to": to, "counts": [{ "class": "car", "count": 5 }] });
        unit.post_json("/api/traffic/validations", &token, &form)
    };
    let refused = counted("2026-05-04T14:00:00Z", "2026-05-04T14:15:00Z");
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(refused.json()["message"].as_str().unwrap().contains("not watching"), "{}", refused.text());
    let watched = counted("2026-05-04T12:00:00Z", "2026-05-04T12:15:00Z");
    assert_eq!(watched.status, 201, "{}", watched.text());
    assert_eq!(watched.json()["data"]["total"]["error_ratio"], -1.0, "watched, and nobody was counted");
}
