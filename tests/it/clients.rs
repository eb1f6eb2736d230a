//! What the unit owes every client: HEAD, readable hints, and errors that say what is expected.

use std::net::TcpStream;

use serde_json::json;

use crate::browser::Browser;
use crate::unit::{PASSWORD, Part, Unit, golden};
use crate::waiting::until;

/// Their GET never ends, or needs a camera.
const ENDLESS: [&str; 2] = ["/api/events", "/api/camera/stream"];

#[test]
fn head_is_answered_wherever_get_is_and_without_a_body() {
    let unit = Unit::start();
    let admin = unit.account("alma", "admin");
    let description = unit.get("/api/openapi.json", "").json();
    let described = description["paths"].as_object().unwrap().iter();
    let readable = described.filter(|(path, item)| item["get"].is_object() && !path.contains('{'));
    let paths = readable.map(|(path, _)| path.as_str()).chain(["/", "/docs", "/favicon.ico", "/page/page.css"]);
    let mut seen = 0;
    for path in paths.filter(|path| !ENDLESS.contains(path)) {
        let got = unit.get(path, &admin);
        let head = unit.send_with("HEAD", path, &admin, &[], Vec::new());
        assert_eq!(head.status, got.status, "{path}");
        assert_eq!(head.header("content-type"), got.header("content-type"), "{path}");
        assert!(head.body.is_empty() && head.header("x-request-id").is_some(), "{path}");
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
    for path in ENDLESS {
        let head = unit.send_with("HEAD", path, &admin, &[], Vec::new());
        assert!([200, 404].contains(&head.status) && head.body.is_empty(), "{path}: {}", head.status);
    }
    assert_eq!(unit.send_with("HEAD", "/api/users", "", &[], Vec::new()).status, 401);
    assert_eq!(unit.send_with("HEAD", "/auth/token", "", &[], Vec::new()).status, 405);
}

#[test]
fn a_wrong_form_field_says_which_one_is_expected() {
    let unit = Unit::start();
    let token = unit.account("ann", "user");
    let picture = golden();
    for (path, name) in
        [("/api/vehicle/classify", "file"), ("/api/vehicle/classify-batch", "files"), ("/api/vehicle/report", "file")]
    {
        let refused = unit.upload(path, &token, &[Part::file("image", "a.jpg", &picture)]);
        assert_eq!((refused.status, refused.error_code().as_str()), (400, "VALIDATION_ERROR"), "{path}");
        let body = refused.json();
        let message = body["message"].as_str().unwrap();
        assert!(message.contains("image") && message.contains(&format!("`{name}`")), "{message}");
        assert_eq!(body["details"]["field"], "image");
    }
}

#[test]
fn unknown_fields_are_refused_in_every_kind_of_form() {
    let unit = Unit::start();
    let token = unit.account("ann", "user");
    let picture = golden();
    let parts = [Part::file("file", "a.jpg", &picture), Part::text("vehicel_id", "V-1")];
    let report = unit.upload("/api/vehicle/report", &token, &parts);
    assert_eq!(report.error_code(), "VALIDATION_ERROR");
    assert!(report.json()["message"].as_str().unwrap().contains("vehicle_id"), "{}", report.text());
    let form = |text: &str| {
        unit.send("POST", "/auth/token", "", "application/x-www-form-urlencoded", text.as_bytes().to_vec())
    };
    let login = format!("username=ann&password={}", PASSWORD.replace(' ', "+"));
    // What OAuth2 clients send.
    assert_eq!(form(&format!("{login}&grant_type=password&scope=&client_id=&client_secret=")).status, 200);
    for wrong in ["remember=true", "grant_type=client_credentials"] {
        assert_eq!(form(&format!("{login}&{wrong}")).error_code(), "VALIDATION_ERROR", "{wrong}");
    }
    let json = json!({ "username": "ann", "password": PASSWORD, "remember": true });
    assert_eq!(unit.post_json("/auth/token", "", &json).error_code(), "VALIDATION_ERROR");
    let change = json!({ "current_password": "x", "new_password": "y", "user": "ann" });
    assert_eq!(unit.post_json("/auth/password", &token, &change).error_code(), "VALIDATION_ERROR");
}

#[test]
fn a_batch_of_only_bad_files_is_an_error_that_tells_each_result() {
    let unit = Unit::start();
    let token = unit.account("ann", "user");
    let text: &[u8] = b"no picture";
    let bad = [Part::file("files", "a.jpg", text), Part::file("files", "b.jpg", text)];
    let refused = unit.upload("/api/vehicle/classify-batch", &token, &bad);
    let details = refused.json()["details"].clone();
    assert!((400..500).contains(&refused.status), "{}", refused.text());
    assert_eq!(refused.error_code(), details["results"][0]["error"]["error_code"].as_str().unwrap());
    assert_eq!((&details["summary"]["total_files"], &details["summary"]["failed"]), (&json!(2), &json!(2)));
    assert_eq!(details["results"][1]["file_name"], "b.jpg");
    let picture = golden();
    let mixed = [Part::file("files", "a.jpg", text), Part::file("files", "b.jpg", &picture)];
    assert_eq!(unit.upload("/api/vehicle/classify-batch", &token, &mixed).status, 201);
}

#[test]
fn the_hint_of_a_401_can_be_read() {
    let unit = Unit::start();
    let refused = unit.get("/api/diagnostics", "").json();
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("Authorization: Bearer <token>") && !message.contains("***"), "{message}");
}

#[test]
fn connecting_is_refused_as_soon_as_the_unit_stops() {
    let unit = Unit::start();
    let admin = unit.account("alma", "admin");
    // An upload that never ends keeps the unit from being gone before anybody looks.
    let _stalled = crate::drain::begun(&unit, &admin, &golden());
    crate::drain::wait_for_active(&unit, &admin, 1.0);
    unit.signal("TERM");
    unit.log.wait_for("stopping");
    until("the listener is closed", || TcpStream::connect(&unit.address).is_err());
    assert!(!unit.log.text().contains("stopped"), "the unit was still at work");
}

#[test]
fn swagger_ui_logs_in_with_name_and_password_and_every_operation_takes_it() {
    let unit = Unit::start();
    unit.account("ann", "user");
    let description = unit.get("/api/openapi.json", "").json();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let schemes: Vec<_> = operation["security"].as_array().unwrap().iter().map(ToString::to_string).collect();
            let open = schemes == ["{}"];
            let both = schemes == [r#"{"bearer":[]}"#, r#"{"login":[]}"#];
            assert!(open || both, "{method} {path}: {schemes:?}");
        }
    }
    let browser = Browser::start();
    browser.open(&unit.url("/docs"));
    browser.click("button.authorize");
    let (name, password) = ("#oauth_username", "#oauth_password");
    browser.type_into(name, "ann");
    browser.type_into(password, PASSWORD);
    browser.script("document.querySelector('#oauth_username').closest('.auth-container').querySelector('button.authorize').click()");
    browser.until("[...document.querySelectorAll('.auth-container h6')].some(line => line.innerText === 'Authorized')");
    browser.script("document.querySelector('.close-modal').click()");
    let of_me = "[...document.querySelectorAll('.opblock')].find(block => block.id.endsWith('get_users_me'))";
    browser.until(of_me);
    browser.script(&format!("{of_me}.querySelector('.opblock-summary-control').click()"));
    browser.until(&format!("{of_me}.querySelector('.try-out__btn')"));
    browser.script(&format!("{of_me}.querySelector('.try-out__btn').click()"));
    browser.until(&format!("{of_me}.querySelector('.execute')"));
    browser.script(&format!("{of_me}.querySelector('.execute').click()"));
    browser.until(&format!("{of_me}.querySelector('.live-responses-table')?.innerText.includes('\"name\": \"ann\"')"));
}
