//! Accounts over HTTP: making, changing and deleting them, and what that does to their tokens.

use serde_json::{Value, json};

use crate::unit::{PASSWORD, Reply, Unit};

fn send(unit: &Unit, method: &str, path: &str, token: &str, body: &Value) -> Reply {
    unit.send(method, path, token, "application/json", body.to_string().into_bytes())
}

fn ada() -> Value {
    json!({ "name": "ada", "role": "user", "password": PASSWORD })
}

#[test]
fn an_account_is_made_used_changed_and_deleted() {
    let unit = Unit::start();
    let admin = unit.account("alma", "admin");
    let made = unit.post_json("/api/users", &admin, &ada());
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!((&made.json()["data"]["name"], &made.json()["data"]["role"]), (&json!("ada"), &json!("user")));
    assert!(!made.text().contains("argon2"), "{}", made.text());

    // The password was given by somebody else: it opens nothing but its own change and the own account.
    let token = unit.token("ada", PASSWORD);
    assert_eq!(unit.get("/api/models/metadata", &token).status, 403);
    assert_eq!(unit.get("/api/users/me", &token).json()["data"]["must_change_password"], true);
    let change = json!({ "current_password": PASSWORD, "new_password": "a quiet evening at home" });
    assert_eq!(unit.post_json("/auth/password", &token, &change).status, 204);
    assert_eq!(unit.get("/api/models/metadata", &token).status, 200);

    assert_eq!(unit.get("/api/users", &token).status, 403);
    let promoted = send(&unit, "PATCH", "/api/users/ADA", &admin, &json!({ "role": "admin" }));
    assert_eq!((promoted.status, &promoted.json()["data"]["role"]), (200, &json!("admin")));
    assert_eq!(unit.get("/api/users", &token).status, 200, "a role counts at the next request");

    let disabled = send(&unit, "PATCH", "/api/users/ada", &admin, &json!({ "enabled": false, "role": "user" }));
    assert_eq!(disabled.json()["data"]["enabled"], false);
    assert_eq!(unit.get("/api/users/me", &token).status, 401);
    assert_eq!(send(&unit, "PATCH", "/api/users/ada", &admin, &json!({ "enabled": true })).status, 200);
    assert_eq!(unit.get("/api/users/me", &token).status, 401, "a token that was void stays so");

    assert_eq!(send(&unit, "DELETE", "/api/users/ada", &admin, &Value::Null).status, 204);
    assert_eq!(unit.get("/api/users/ada", &admin).error_code(), "NOT_FOUND");
    let actions: Vec<_> = unit.get("/api/audit?user=alma", &admin).json()["data"]["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["action"].as_str().unwrap().to_owned())
        .filter(|action| action.starts_with("user."))
        .collect();
    assert_eq!(actions, ["user.delete", "user.change", "user.change", "user.change", "user.add"]);
}

#[test]
fn an_admin_s_password_voids_tokens_and_must_be_changed() {
    let unit = Unit::start();
    let admin = unit.account("alma", "admin");
    let token = unit.account("bob", "user");
    let reset = send(&unit, "PATCH", "/api/users/bob", &admin, &json!({ "password": "the river by a long walk" }));
    assert_eq!((reset.status, &reset.json()["data"]["must_change_password"]), (200, &json!(true)));
    assert_eq!(unit.get("/api/users/me", &token).status, 401);
    let login = unit.log_in("bob", "the river by a long walk").json();
    assert_eq!(login["must_change_password"], true);
    let unit = unit.kill_and_restart();
    assert_eq!(unit.get("/api/users/me", &token).status, 401, "void also after a restart");
}

#[test]
fn the_last_administrator_stays() {
    let unit = Unit::start();
    let admin = unit.admin();
    for change in [json!({ "role": "user" }), json!({ "enabled": false })] {
        assert_eq!(send(&unit, "PATCH", "/api/users/admin", &admin, &change).error_code(), "CONFLICT_ERROR");
    }
    assert_eq!(send(&unit, "DELETE", "/api/users/admin", &admin, &Value::Null).error_code(), "CONFLICT_ERROR");
    let audit = unit.get("/api/audit?outcome=denied", &admin).json();
    assert_eq!(audit["data"]["events"].as_array().unwrap().len(), 3, "{audit}");
    unit.account("alma", "admin");
    assert_eq!(send(&unit, "DELETE", "/api/users/admin", &admin, &Value::Null).status, 204);
}

#[test]
fn what_cannot_be_an_account_or_a_change_is_refused() {
    let unit = Unit::start();
    let admin = unit.account("alma", "admin");
    assert_eq!(unit.post_json("/api/users", &admin, &ada()).status, 201);
    let twice = json!({ "name": "ADA", "role": "user", "password": PASSWORD });
    assert_eq!(unit.post_json("/api/users", &admin, &twice).error_code(), "CONFLICT_ERROR");
    for (name, value) in [
        ("name", json!("../admin")),
        ("name", json!("=cmd")),
        ("name", json!("me")),
        ("name", json!("a\r\nb")),
        ("password", json!("short")),
        ("role", json!("root")),
        ("is_superuser", json!(true)),
    ] {
        let mut form = json!({ "name": "eve", "role": "user", "password": PASSWORD });
        form[name] = value;
        assert_eq!(unit.post_json("/api/users", &admin, &form).error_code(), "VALIDATION_ERROR", "{form}");
    }
    for patch in [json!({}), json!({ "name": "eve" }), json!({ "must_change_password": false }), json!({ "role": 1 })] {
        assert_eq!(send(&unit, "PATCH", "/api/users/ada", &admin, &patch).error_code(), "VALIDATION_ERROR", "{patch}");
    }
    assert_eq!(
        send(&unit, "PATCH", "/api/users/nobody", &admin, &json!({ "enabled": true })).error_code(),
        "NOT_FOUND"
    );
    let service = unit.service_token("reader", "read,classify,metrics");
    assert_eq!(unit.get("/api/users/me", &service).status, 403, "a machine has no account");
    let me = send(&unit, "DELETE", "/api/users/me", &admin, &Value::Null);
    assert_eq!((me.status, me.header("allow")), (405, Some("GET, HEAD")), "`me` is no account's name");
}
