//! SIGHUP: what is taken over, and what is said of the rest.

use std::fs;

use crate::unit::{Unit, golden};

#[test]
fn a_reload_takes_over_origins_hosts_rates_and_level_and_names_what_it_cannot() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    fs::write(&file, "[api]\ncors_origins = [\"https://old.example\"]\n").unwrap();
    let unit = Unit::with(&[("--config", file.to_str().unwrap())]);
    let preflight = |origin: &str| {
        let headers = [("Origin", origin), ("Access-Control-Request-Method", "POST")];
        unit.send_with("OPTIONS", "/api/vehicle/classify", "", &headers, Vec::new())
    };
    let allowed = preflight("https://old.example");
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (204, Some("https://old.example")));
    assert_eq!(allowed.header("vary"), Some("Origin"));
    assert_eq!(preflight("https://new.example").error_code(), "AUTHORIZATION_ERROR");
    assert_eq!(preflight("null").error_code(), "AUTHORIZATION_ERROR");

    let changed = "[api]\ncors_origins = [\"https://new.example\"]\ntrusted_hosts = [\"127.0.0.1\"]\nidle_timeout_ms = 9000\n\
                   [log]\nlevel = \"debug\"\n";
    fs::write(&file, changed).unwrap();
    unit.signal("HUP");
    unit.log.wait_for("reloaded: api.cors_origins, api.trusted_hosts, log.level");
    unit.log.wait_for("these need a restart: api.idle_timeout_ms");
    assert_eq!(preflight("https://old.example").status, 403);
    assert_eq!(preflight("https://new.example").status, 204);
    let foreign = unit.send_with("GET", "/health", "", &[("Host", "evil.example")], Vec::new());
    assert_eq!(foreign.error_code(), "VALIDATION_ERROR");
    unit.log.wait_for("DEBUG");

    fs::write(&file, "[api]\ncors_origins = [\"*\"]\n").unwrap();
    unit.signal("HUP");
    unit.log.wait_for("nothing was reloaded");
    assert_eq!(preflight("https://new.example").status, 204, "what could not be used changed nothing");

    fs::write(&file, "[api]\nrequests_per_minute_max = 1\n").unwrap();
    unit.signal("HUP");
    unit.log.wait_for("api.requests_per_minute_max");
    // Slower than any machine.
    assert!((0..40).any(|_| unit.get("/health/live", "").status == 429), "the new rate holds");
}

#[test]
fn a_reload_takes_over_another_model_and_keeps_the_old_one_when_it_fails() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    fs::write(&file, "").unwrap();
    let unit = Unit::with(&[("--config", file.to_str().unwrap())]);
    let admin = unit.account("alma", "admin");
    let named = || unit.get("/api/models/metadata", &admin).json()["data"]["name"].as_str().unwrap().to_owned();
    let answering =
        || unit.classify(&admin, "golden.jpg", &golden()).json()["data"]["model"].as_str().unwrap().to_owned();
    let first = named();
    let other = ["imagenet-vehicles", "vehicle-type"].into_iter().find(|other| *other != first).unwrap();
    assert_eq!(answering(), first);

    let activated = unit.command(&["model", "activate", other], "");
    assert!(activated.status.success(), "{}", String::from_utf8_lossy(&activated.stderr));
    assert_eq!((named(), answering()), (first.clone(), first.clone()), "not before the reload");
    unit.signal("HUP");
    unit.log.wait_for(&format!("model: {other}@1.0.0 answers now"));
    assert_eq!((named(), answering()), (other.to_owned(), other.to_owned()));
    assert_eq!(unit.get(&format!("/v2/models/{first}/ready"), &admin).status, 404);
    assert_eq!(unit.get(&format!("/v2/models/{other}/ready"), &admin).status, 200);
    let metrics = unit.get("/metrics", &admin).text();
    let told: Vec<_> = metrics.lines().filter(|line| line.starts_with("vehicle_classifier_model_info{")).collect();
    assert!(told.len() == 1 && told[0].contains(other), "{told:?}");

    fs::write(&file, "[classifier]\nmodel = \"no-such-model\"\n[log]\nlevel = \"debug\"\n").unwrap();
    unit.signal("HUP");
    unit.log.wait_for("nothing was reloaded");
    assert_eq!(answering(), other);
    fs::write(&file, format!("[classifier]\nmodel = \"{first}\"\n")).unwrap();
    unit.signal("HUP");
    unit.log.wait_for("reloaded: classifier.model");
    assert_eq!((named(), answering()), (first.clone(), first));
}
