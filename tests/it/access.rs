//! Every endpoint with every kind of caller, in one table.

use serde_json::json;

use crate::unit::{PASSWORD, Part, Unit, golden, multipart};

/// What each caller gets, in the order of [`CALLERS`].
type Row = (&'static str, &'static str, [u16; 9]);

const CALLERS: [&str; 9] =
    ["none", "user", "admin", "disabled", "expired", "revoked", "garbage", "metrics token", "classify token"];

const TABLE: [Row; 36] = [
    ("GET", "/", [200; 9]),
    ("GET", "/health", [200; 9]),
    ("GET", "/health/live", [200; 9]),
    ("GET", "/health/ready", [200; 9]),
    ("GET", "/docs", [200; 9]),
    ("GET", "/api/openapi.json", [200; 9]),
    ("GET", "/nowhere", [404; 9]),
    ("DELETE", "/health", [405; 9]),
    ("POST", "/auth/token", [401; 9]),
    ("GET", "/api/models/metadata", [401, 200, 200, 401, 401, 401, 401, 403, 403]),
    ("POST", "/api/vehicle/classify", [401, 201, 201, 401, 401, 401, 401, 403, 201]),
    ("POST", "/api/vehicle/classify-batch", [401, 201, 201, 401, 401, 401, 401, 403, 201]),
    ("POST", "/api/vehicle/report", [401, 201, 201, 401, 401, 401, 401, 403, 201]),
    ("GET", "/api/vehicle/report/V-1", [401, 200, 200, 401, 401, 401, 401, 403, 403]),
    ("GET", "/favicon.ico", [200; 9]),
    ("GET", "/api/vehicle/reports", [401, 200, 200, 401, 401, 401, 401, 403, 403]),
    ("GET", "/api/vehicle/classifications", [401, 200, 200, 401, 401, 401, 401, 403, 403]),
    ("GET", "/api/vehicle/classifications/x", [401, 404, 404, 401, 401, 401, 401, 403, 403]),
    ("GET", "/api/statistics", [401, 200, 200, 401, 401, 401, 401, 403, 403]),
    ("GET", "/api/traffic/passages/x", [401, 404, 404, 401, 401, 401, 401, 403, 403]),
    ("GET", "/api/diagnostics", [401, 200, 200, 401, 401, 401, 401, 403, 403]),
    ("GET", "/api/users", [401, 403, 200, 401, 401, 401, 401, 403, 403]),
    ("GET", "/api/users/me", [401, 200, 200, 401, 401, 401, 401, 403, 403]),
    ("GET", "/api/users/ursula", [401, 403, 200, 401, 401, 401, 401, 403, 403]),
    ("GET", "/metrics", [401, 403, 200, 401, 401, 401, 401, 200, 403]),
    ("GET", "/api/audit", [401, 403, 200, 401, 401, 401, 401, 403, 403]),
    ("GET", "/api/traffic/passages", [401, 200, 200, 401, 401, 401, 401, 403, 403]),
    ("GET", "/api/traffic/passages/x/crop", [401, 404, 404, 401, 401, 401, 401, 403, 403]),
    ("GET", "/api/traffic/counts", [401, 200, 200, 401, 401, 401, 401, 403, 403]),
    ("GET", "/api/traffic/validations", [401, 200, 200, 401, 401, 401, 401, 403, 403]),
    ("POST", "/api/traffic/validations", [401, 201, 201, 401, 401, 401, 401, 403, 403]),
    ("GET", "/api/events", [401, 200, 200, 401, 401, 401, 401, 403, 403]),
    ("POST", "/api/events/ticket", [401, 200, 200, 401, 401, 401, 401, 403, 403]),
    ("GET", "/api/camera/snapshot", [401, 404, 404, 401, 401, 401, 401, 403, 403]),
    ("GET", "/api/camera/stream", [401, 404, 404, 401, 401, 401, 401, 403, 403]),
    ("POST", "/auth/password", [401, 401, 401, 401, 401, 401, 401, 403, 403]),
];

fn callers(unit: &Unit) -> [String; 9] {
    let disabled = unit.account("dora", "user");
    assert!(unit.command(&["user", "disable", "dora"], "").status.success());
    let revoked = unit.account("rita", "user");
    assert_eq!(unit.post_json("/auth/logout", &revoked, &json!({})).status, 204);
    [
        String::new(),
        unit.account("ursula", "user"),
        unit.account("alma", "admin"),
        disabled,
        expired(unit),
        revoked,
        "eyJhbGciOiJub25lIn0.e30.".to_owned(),
        unit.service_token("prometheus", "metrics"),
        unit.service_token("gate", "classify"),
    ]
}

/// A token of the unit's own key whose time is over.
fn expired(unit: &Unit) -> String {
    use jsonwebtoken::{Algorithm, EncodingKey, Header};
    let valid = unit.token("ursula-before", PASSWORD);
    let payload = jsonwebtoken::dangerous::insecure_decode::<serde_json::Value>(&valid).unwrap();
    let mut claims = payload.claims;
    claims["exp"] = (claims["iat"].as_i64().unwrap() - 1).into();
    let key = std::fs::read(unit.state_directory().join("token.key")).unwrap();
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(&key)).unwrap()
}

fn status(unit: &Unit, method: &str, path: &str, token: &str) -> u16 {
    let picture = golden();
    let body = match path {
        "/api/vehicle/classify" => multipart(&[Part::file("file", "a.jpg", &picture)]),
        "/api/vehicle/classify-batch" => multipart(&[Part::file("files", "a.jpg", &picture)]),
        "/api/vehicle/report" => multipart(&[Part::file("file", "a.jpg", &picture), Part::text("vehicle_id", "V-1")]),
        "/auth/token" => return unit.post_json(path, token, &json!({ "username": "x", "password": "y" })).status,
        "/auth/password" => {
            let wrong = json!({ "current_password": "wrong", "new_password": "a quiet evening at home" });
            return unit.post_json(path, token, &wrong).status;
        }
        "/api/traffic/validations" if method == "POST" => {
            let nothing = json!({ "from": "2026-05-04T12:00:00Z", "to": "2026-05-04T12:15:00Z", "counts": [] });
            return unit.post_json(path, token, &nothing).status;
        }
        // It never ends: its head must do.
        "/api/events" => return crate::live::Open::get(unit, path, token, "").status(),
        _ if method == "GET" => return unit.get(path, token).status,
        _ => Vec::new(),
    };
    unit.send(method, path, token, "multipart/form-data; boundary=XbX", body).status
}

#[test]
fn every_endpoint_answers_every_caller_as_the_contract_says() {
    let unit = Unit::with(&[("AUTH__LOGIN_FAILURES_MAX", "1000")]);
    // So that there is something to compare a manual count with.
    crate::traffic::seen(&unit.store());
    unit.account("ursula-before", "user");
    let tokens = callers(&unit);
    let mut wrong = Vec::new();
    for (method, path, expected) in TABLE {
        for ((caller, token), expected) in CALLERS.iter().zip(&tokens).zip(expected) {
            let found = status(&unit, method, path, token);
            if found != expected {
                wrong.push(format!("{method} {path} as {caller}: {found}, expected {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_changed_role_and_a_deleted_account_count_at_the_next_request() {
    let unit = Unit::start();
    let token = unit.account("ann", "admin");
    assert_eq!(unit.get("/api/audit", &token).status, 200);
    assert!(unit.command(&["user", "set-role", "ann", "user"], "").status.success());
    assert_eq!(unit.get("/api/audit", &token).status, 403);
    assert!(unit.command(&["user", "delete", "ann"], "").status.success());
    assert_eq!(unit.get("/api/models/metadata", &token).status, 401);
    unit.account("ann", "admin");
    assert_eq!(unit.get("/api/audit", &token).status, 401, "a later account of the same name is another one");
}

#[test]
fn guessing_passwords_is_slowed_down_and_tells_nothing() {
    let unit = Unit::with(&[("AUTH__LOGIN_FAILURES_MAX", "3")]);
    unit.account("ann", "user");
    let known = unit.log_in("ann", "wrong");
    let unknown = unit.log_in("nobody", "wrong");
    assert_eq!((known.status, unknown.status), (401, 401));
    assert_eq!(known.json()["message"], unknown.json()["message"]);
    let limited =
        (0..20).map(|_| unit.log_in("ann", "wrong")).find(|reply| reply.status == 429).expect("never slowed down");
    assert_eq!(limited.error_code(), "RATE_LIMIT_ERROR");
    assert!(limited.header("retry-after").is_some());
}
