//! The first start: one admin, a password that is told once, and nothing open before it is changed.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::unit::{Unit, golden};

#[test]
fn the_first_password_opens_only_its_own_change() {
    let unit = Unit::start();
    let file = unit.state_directory().join("initial-admin-password");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let password = unit.first_password();
    assert!(unit.log.text().contains("initial-admin-password") && !unit.log.text().contains(&password));

    let token = unit.token("admin", &password);
    let refused = unit.classify(&token, "golden.jpg", &golden());
    assert_eq!((refused.status, refused.error_code().as_str()), (403, "AUTHORIZATION_ERROR"));
    assert!(refused.text().contains("/auth/password"), "{}", refused.text());

    let weak =
        unit.post_json("/auth/password", &token, &json!({ "current_password": password, "new_password": "short" }));
    assert_eq!(weak.status, 400, "{}", weak.text());
    let wrong = json!({ "current_password": "not the password", "new_password": "a quiet evening at home" });
    assert_eq!(unit.post_json("/auth/password", &token, &wrong).status, 401);
    let right = json!({ "current_password": password, "new_password": "a quiet evening at home" });
    assert_eq!(unit.post_json("/auth/password", &token, &right).status, 204);

    assert_eq!(unit.classify(&token, "golden.jpg", &golden()).status, 201);
    assert_eq!(unit.log_in("admin", &password).status, 401);
}

#[test]
fn a_second_start_makes_no_second_admin_and_keeps_what_was_changed() {
    let unit = Unit::start();
    let token = unit.admin();
    let first = unit.first_password();
    let unit = unit.stop_and_restart();
    assert_eq!(unit.first_password(), first);
    assert_eq!(unit.log_in("admin", &first).status, 401);
    assert_eq!(unit.get("/api/models/metadata", &token).status, 200, "the token outlives a restart");
}

#[test]
fn a_changed_password_voids_every_other_token_and_a_logout_its_own() {
    let unit = Unit::start();
    let kept = unit.account("ann", "user");
    let other = unit.token("ann", crate::unit::PASSWORD);
    let change = json!({ "current_password": crate::unit::PASSWORD, "new_password": "a quiet evening at home" });
    assert_eq!(unit.post_json("/auth/password", &kept, &change).status, 204);
    assert_eq!(unit.get("/api/models/metadata", &other).status, 401);
    assert_eq!(unit.get("/api/models/metadata", &kept).status, 200);
    assert_eq!(unit.post_json("/auth/logout", &kept, &json!({})).status, 204);
    assert_eq!(unit.get("/api/models/metadata", &kept).status, 401);
    let unit = unit.stop_and_restart();
    assert_eq!(unit.get("/api/models/metadata", &kept).status, 401, "a logout outlives a restart");
}
