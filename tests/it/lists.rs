//! Lists in pages, as JSON and as CSV, and the technician's page of facts.

use serde_json::json;

use crate::unit::{Part, Unit, golden};

fn ids(unit: &Unit, token: &str, query: &str) -> Vec<String> {
    let page = unit.get(&format!("/api/vehicle/reports?{query}"), token);
    assert_eq!(page.status, 200, "{}", page.text());
    let reports = page.json()["data"]["reports"].as_array().unwrap().clone();
    reports.iter().map(|report| report["vehicle_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn reports_are_listed_in_pages_by_filter_and_as_a_table() {
    let unit = Unit::start();
    let token = unit.account("ann", "user");
    let picture = golden();
    for vehicle in ["V-1", "V-2", "V-3", "-4"] {
        let parts = [Part::file("file", "golden.jpg", &picture), Part::text("vehicle_id", vehicle)];
        assert_eq!(unit.upload("/api/vehicle/report", &token, &parts).status, 201);
    }
    assert_eq!(ids(&unit, &token, ""), ["-4", "V-3", "V-2", "V-1"]);
    assert_eq!(ids(&unit, &token, "vehicle_id=V-2"), ["V-2"]);
    assert_eq!(ids(&unit, &token, "to=2020-01-01T00:00:00Z").len(), 0);
    assert_eq!(ids(&unit, &token, "min_confidence=0&from=2020-01-01T00:00:00Z").len(), 4);
    assert_eq!(ids(&unit, &token, "class=unclassified").len(), 0);

    let first = unit.get("/api/vehicle/reports?limit=3", &token).json();
    let cursor = first["data"]["next_cursor"].as_str().unwrap().to_owned();
    // A report that comes between two pages moves nothing.
    let parts = [Part::file("file", "golden.jpg", &picture), Part::text("vehicle_id", "V-5")];
    assert_eq!(unit.upload("/api/vehicle/report", &token, &parts).status, 201);
    assert_eq!(ids(&unit, &token, &format!("limit=3&cursor={cursor}")), ["V-1"]);
    let last = unit.get(&format!("/api/vehicle/reports?limit=1&cursor={cursor}"), &token).json();
    assert!(last["data"]["next_cursor"].is_null(), "{last}");

    let table = unit.get("/api/vehicle/reports?format=csv&limit=2", &token);
    assert!(table.header("content-type").unwrap().starts_with("text/csv"));
    assert!(table.header("content-disposition").unwrap().contains("reports.csv"));
    let lines: Vec<_> = table.text().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].starts_with("report_id,vehicle_id,") && lines[1].contains(",V-5,"), "{lines:?}");
    assert!(lines[2].contains(",'-4,"), "a formula must be text: {lines:?}");
    let link = table.header("link").unwrap().split(['<', '>']).nth(1).unwrap().to_owned();
    assert!(link.starts_with('?'), "relative, for proxies that put a path before the unit's: {link}");
    let next = format!("/api/vehicle/reports{link}");
    assert!(unit.get(&next, &token).text().contains(",V-3,"), "{next}");

    for bad in ["limit=0", "limit=1001", "min_confidence=2", "min_confidence=NaN", "cursor=x", "format=xml", "sort=id"]
    {
        let refused = unit.get(&format!("/api/vehicle/reports?{bad}"), &token);
        assert_eq!(refused.error_code(), "VALIDATION_ERROR", "{bad}");
    }
    let backwards = "from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z";
    assert_eq!(unit.get(&format!("/api/vehicle/reports?{backwards}"), &token).error_code(), "VALIDATION_ERROR");
}

#[test]
fn the_audit_trail_tells_the_state_of_its_chain() {
    let unit = Unit::start();
    let admin = unit.account("alma", "admin");
    let chain = |query: &str| unit.get(&format!("/api/audit{query}"), &admin).json()["data"]["chain"].clone();
    let head = chain("");
    assert!(head["rows"].as_u64().unwrap() > 0 && head["intact"].is_null(), "{head}");
    assert_eq!(head["head_hash"].as_str().unwrap().len(), 64);
    assert_eq!(chain("?verify=true")["intact"], true);
    let database = rusqlite::Connection::open(unit.state_directory().join("unit.db")).unwrap();
    database.execute("UPDATE audit_log SET user_id = 'nobody' WHERE id = 2", []).unwrap();
    let broken = chain("?verify=true");
    assert_eq!((&broken["intact"], &broken["first_broken"]), (&json!(false), &json!(2)));
}

#[test]
fn diagnostics_tell_a_technician_what_there_is_and_no_secret() {
    let unit = Unit::with(&[
        ("CAPTURE__SOURCE", "replay:/nonexistent"),
        ("UNIT__SITE", "Depot 7"),
        ("AUTH__SECRET_KEY", "0123456789abcdef0123456789abcdef"),
    ]);
    let token = unit.account("ann", "user");
    let page = unit.get("/api/diagnostics", &token);
    assert_eq!(page.status, 200, "{}", page.text());
    let facts = &page.json()["data"];
    assert_eq!(facts["unit"]["site"], "Depot 7");
    assert_eq!(facts["camera"]["state"], "disconnected");
    assert_eq!(facts["health"]["status"], "degraded");
    assert_eq!(facts["camera"]["frames"]["captured"], 0);
    assert!(facts["model"]["sha256"].as_str().unwrap().len() == 64);
    assert!(facts["store"]["audit_rows"].as_u64().unwrap() > 0 && facts["store"]["healthy"] == true);
    assert!(facts["disk"]["free_bytes"].as_u64().unwrap() > 0);
    // What was written is noted when the unit stops, at the latest.
    assert_eq!(facts["disk"]["written"], json!([]));
    let unit = unit.stop_and_restart();
    let noted = unit.get("/api/diagnostics", &token).json()["data"]["disk"]["written"].clone();
    assert!(noted[0]["commits"].as_u64().unwrap() > 0 && noted[0]["bytes"].is_u64(), "{noted}");
    assert_eq!(noted[0]["day"].as_str().unwrap().len(), "2026-01-01".len(), "{noted}");
    assert!(facts["pipeline"]["limit_hits"]["login_rate"] == 0, "{facts}");
    assert!(facts["versions"]["sqlite"].as_str().unwrap().starts_with("3."));
    assert!(!page.text().contains("0123456789abcdef0123456789abcdef"));
}

#[test]
fn a_browser_finds_its_icon() {
    let unit = Unit::start();
    for path in ["/favicon.ico", "/page/icon.svg"] {
        let icon = unit.get(path, "");
        assert_eq!((icon.status, icon.header("content-type")), (200, Some("image/svg+xml")), "{path}");
    }
}
