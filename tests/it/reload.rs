//! SIGHUP: what is taken over, and what is said of the rest.

use std::fs;

use crate::unit::Unit;

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

    fs::write(&file, "[api]\nrequests_per_minute_max = 60\n").unwrap();
    unit.signal("HUP");
    unit.log.wait_for("api.requests_per_minute_max");
    assert!((0..40).any(|_| unit.get("/health/live", "").status == 429), "the new rate holds");
}
