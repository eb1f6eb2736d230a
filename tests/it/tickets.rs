//! Tickets: what a browser opens a stream with.

use serde_json::json;

use crate::live::Open;
use crate::unit::Unit;

#[test]
fn a_ticket_opens_one_stream_once_and_nothing_else() {
    let unit = Unit::with(&[("LOG__LEVEL", "debug")]);
    let token = unit.account("ann", "user");
    let ask = || {
        let answer = unit.post_json("/api/events/ticket", &token, &json!({})).json();
        assert_eq!(answer["expires_in"], 30);
        answer["ticket"].as_str().unwrap().to_owned()
    };
    let open = |path: &str, ticket: &str| unit.get(&format!("{path}?ticket={ticket}"), "").status;

    let ticket = ask();
    for path in ["/api/users/me", "/api/traffic/counts", "/api/diagnostics", "/metrics"] {
        assert_eq!(open(path, &ticket), 401, "{path}");
    }
    assert_eq!(Open::get(&unit, &format!("/api/events?ticket={ticket}"), "", "").status(), 200);
    assert_eq!(open("/api/events", &ticket), 401, "a second time");
    // There is no camera: whoever is let in hears that.
    for path in ["/api/camera/snapshot", "/api/camera/stream"] {
        let ticket = ask();
        assert_eq!((open(path, &ticket), open(path, &ticket)), (404, 401), "{path}");
    }
    assert_eq!(open("/api/events", "made-up"), 401);
    let last = ask();
    assert!(unit.command(&["user", "disable", "ann"], "").status.success());
    assert_eq!(open("/api/events", &last), 401, "a ticket outlives nobody");
    for ticket in [ticket, last] {
        assert!(!unit.log.text().contains(&ticket), "a ticket is never logged");
    }
}

#[test]
fn unused_tickets_are_bounded() {
    let unit = Unit::start();
    let token = unit.account("ann", "user");
    let ask = || unit.post_json("/api/events/ticket", &token, &json!({})).json()["ticket"].as_str().unwrap().to_owned();
    let first = ask();
    (0..64).for_each(|_| drop(ask()));
    assert_eq!(unit.get(&format!("/api/events?ticket={first}"), "").status, 401, "the oldest gave way");
}

#[test]
fn a_dashboard_of_another_origin_sees_how_old_a_picture_is() {
    let unit = Unit::with(&[("API__CORS_ORIGINS", "https://dashboard.example")]);
    let reply = unit.send_with("GET", "/health", "", &[("Origin", "https://dashboard.example")], Vec::new());
    assert!(reply.header("access-control-expose-headers").unwrap().contains("X-Frame-Age-Ms"));
}
