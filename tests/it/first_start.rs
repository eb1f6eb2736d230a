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
    assert!(!file.exists(), "it opens nothing any more");
    unit.log.wait_for("the first password was changed");
}

#[test]
fn the_first_password_goes_whoever_changes_it() {
    let change = |unit: &Unit, arguments: &[&str]| {
        let done = unit.command(arguments, "a walk in the park\n");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let file = |unit: &Unit| unit.state_directory().join("initial-admin-password");

    let unit = Unit::start();
    unit.account("ann", "admin");
    change(&unit, &["user", "set-password", "ann", "--password-stdin"]);
    assert!(file(&unit).exists(), "another account's");
    let unit = unit.stop_and_restart();
    assert!(file(&unit).exists(), "not changed yet");
    change(&unit, &["user", "set-password", "admin", "--password-stdin"]);
    assert!(!file(&unit).exists());

    // A power cut between the change and the end of the file.
    std::fs::write(file(&unit), "left\n").unwrap();
    let unit = unit.kill_and_restart();
    assert!(!file(&unit).exists());

    let unit = Unit::start();
    let ann = unit.account("ann", "admin");
    assert_eq!(unit.send("DELETE", "/api/users/admin", &ann, "", Vec::new()).status, 204);
    assert!(!file(&unit).exists());
}

#[test]
fn what_every_account_can_change_is_told_in_log_health_and_doctor() {
    let unit = Unit::start();
    let exposed = || unit.get("/health", "").json()["reasons"].to_string().contains("Every account of this machine");
    let doctor = || String::from_utf8(unit.command(&["doctor"], "").stdout).unwrap();
    assert!(!exposed() && doctor().contains("the unit's and root's alone"), "{}", doctor());
    let database = unit.state_directory().join("unit.db");
    std::fs::set_permissions(&database, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert!(exposed());
    assert!(doctor().contains(&format!("chmod o-w {}", database.display())), "{}", doctor());
    let unit = unit.stop_and_restart();
    assert!(unit.log.text().contains(&format!("can write to {}", database.display())), "{}", unit.log.text());
}

#[test]
fn a_configuration_that_every_account_can_change_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    std::fs::write(&file, "[unit]\nsite = \"bridge\"\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o646)).unwrap();
    let unit = Unit::with(&[("--config", file.to_str().unwrap())]);
    assert!(unit.log.text().contains(&format!("can write to {}", file.display())), "{}", unit.log.text());
}

#[test]
fn a_second_start_makes_no_second_admin_and_keeps_what_was_changed() {
    let unit = Unit::start();
    let first = unit.first_password();
    let token = unit.admin();
    let unit = unit.stop_and_restart();
    assert!(!unit.state_directory().join("initial-admin-password").exists());
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
