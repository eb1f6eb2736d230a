//! What a caller may do is asked once more when it is written: a body may come long after its head.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::traffic::seen;
use crate::unit::{PASSWORD, Part, Unit, golden, multipart};
use crate::waiting::PATIENCE;

const NEW_PASSWORD: &str = "a quiet evening at home";

/// A request whose handler waits for the last byte of its body.
struct Halfway {
    what: String,
    stream: TcpStream,
    last: u8,
}

impl Halfway {
    fn send(unit: &Unit, method: &str, path: &str, token: &str, content_type: &str, body: &[u8]) -> Self {
        let mut stream = TcpStream::connect(&unit.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: {content_type}\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // The server asks for the body when the handler does: behind the gate.
        let mut answer = [0; 25];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n", "{method} {path}");
        let (last, first) = body.split_last().unwrap();
        stream.write_all(first).unwrap();
        Self { what: format!("{method} {path}"), stream, last: *last }
    }

    /// Sends the rest; the status of the answer.
    fn finish(mut self) -> (String, u16) {
        self.stream.write_all(&[self.last]).unwrap();
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).unwrap();
        (self.what, answer.split(' ').nth(1).unwrap().parse().unwrap())
    }
}

/// A request that would succeed, for an operation that takes a body; none for what nobody has to be logged in for.
fn request(method: &str, path: &str, name: &str) -> Option<(String, &'static str, Vec<u8>)> {
    const FORM: &str = "multipart/form-data; boundary=XbX";
    const JSON: &str = "application/json";
    let picture = golden();
    let json = |value: Value| Some((path.to_owned(), JSON, value.to_string().into_bytes()));
    match (method, path) {
        ("POST", "/auth/token") => None,
        ("POST", "/auth/password") => json(json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD })),
        ("POST", "/api/users") => {
            json(json!({ "name": format!("planted-by-{name}"), "role": "admin", "password": NEW_PASSWORD }))
        }
        ("PATCH", "/api/users/{name}") => {
            let change = json!({ "role": "admin" }).to_string().into_bytes();
            Some(("/api/users/accomplice".into(), JSON, change))
        }
        ("POST", "/api/vehicle/classify") => {
            Some((path.into(), FORM, multipart(&[Part::file("file", "a.jpg", &picture)])))
        }
        ("POST", "/api/vehicle/classify-batch") => {
            Some((path.into(), FORM, multipart(&[Part::file("files", "a.jpg", &picture)])))
        }
        ("POST", "/api/vehicle/report") => {
            let parts = [Part::file("file", "a.jpg", &picture), Part::text("vehicle_id", name)];
            Some((path.into(), FORM, multipart(&parts)))
        }
        ("POST", "/api/traffic/validations") => {
            json(json!({ "from": "2026-05-04T12:00:00Z", "to": "2026-05-04T12:15:00Z", "counts": [] }))
        }
        ("POST", infer) if infer.ends_with("/infer") => {
            let model = crate::unit::newest_model();
            let title = model.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
            let version = model.file_name().unwrap().to_str().unwrap().to_owned();
            let input = json!({ "name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 3], "data": vec![7; 192] });
            let path = infer.replace("{model}", &title).replace("{version}", &version);
            Some((path, JSON, json!({ "inputs": [input] }).to_string().into_bytes()))
        }
        _ => panic!("{method} {path} takes a body: say here what one that succeeds looks like"),
    }
}

/// Every operation of the unit's own description that takes a body.
fn operations(unit: &Unit) -> Vec<(String, String)> {
    let description = unit.get("/api/openapi.json", "").json();
    let mut found = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation.get("requestBody").is_some() {
                found.push((method.to_uppercase(), path.clone()));
            }
        }
    }
    assert!(found.len() > 8, "{found:?}");
    found
}

fn halfway(unit: &Unit, name: &str, token: &str) -> Vec<Halfway> {
    let requests =
        operations(unit).into_iter().filter_map(|(method, path)| Some((request(&method, &path, name)?, method)));
    requests
        .map(|((path, content_type, body), method)| Halfway::send(unit, &method, &path, token, content_type, &body))
        .collect()
}

/// Successes of that account in the audit trail after its login.
fn successes(unit: &Unit, admin: &str, name: &str) -> Vec<String> {
    let page = unit.get(&format!("/api/audit?user={name}&outcome=success"), admin).json();
    let rows = page["data"]["events"].as_array().unwrap().clone();
    let actions = rows.iter().map(|row| row["action"].as_str().unwrap().to_owned());
    actions.filter(|action| !["auth.token", "auth.logout"].contains(&action.as_str())).collect()
}

fn command(unit: &Unit, arguments: &[&str], stdin: &str) {
    let done = unit.command(arguments, stdin);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// What is done to an account of that name, given its token.
type Revocation<'a> = (&'static str, &'a dyn Fn(&str));

#[test]
fn no_writing_endpoint_outlives_its_callers_authority() {
    let unit = Unit::start();
    // So that there is something to compare a manual count with.
    seen(&unit.store());
    let admin = unit.account("overseer", "admin");
    unit.account("accomplice", "user");
    let revocations: [Revocation<'_>; 4] = [
        ("deleted", &|_| command(&unit, &["user", "delete", "deleted"], "")),
        ("disabled", &|_| command(&unit, &["user", "disable", "disabled"], "")),
        ("reset", &|_| command(&unit, &["user", "set-password", "reset", "--password-stdin"], "a walk in the park\n")),
        ("left", &|token| assert_eq!(unit.post_json("/auth/logout", token, &json!({})).status, 204)),
    ];
    for (name, revoke) in revocations {
        let token = unit.account(name, "admin");
        let waiting = halfway(&unit, name, &token);
        revoke(&token);
        for (what, status) in waiting.into_iter().map(Halfway::finish) {
            assert_eq!(status, 401, "{what} by an account that was {name}");
        }
        assert_eq!(successes(&unit, &admin, name), [""; 0], "{name}");
        assert_eq!(unit.get(&format!("/api/users/planted-by-{name}"), &admin).status, 404);
    }
    assert_eq!(unit.get("/api/users/accomplice", &admin).json()["data"]["role"], "user");
    assert_eq!(unit.log_in("reset", "a walk in the park").status, 200, "the reset stands");
}

#[test]
fn an_administrator_who_is_one_no_more_makes_no_accounts() {
    let unit = Unit::start();
    // So that there is something to compare a manual count with.
    seen(&unit.store());
    let admin = unit.account("overseer", "admin");
    unit.account("accomplice", "user");
    let token = unit.account("demoted", "admin");
    let waiting = halfway(&unit, "demoted", &token);
    command(&unit, &["user", "set-role", "demoted", "user"], "");
    for (what, status) in waiting.into_iter().map(Halfway::finish) {
        assert_eq!(status == 403, what.contains("/api/users"), "{what}: {status}");
        assert!(status == 403 || status < 300, "{what}: {status}");
    }
    assert_eq!(unit.get("/api/users/planted-by-demoted", &admin).status, 404);
    assert_eq!(unit.get("/api/users/accomplice", &admin).json()["data"]["role"], "user");
}

#[test]
fn of_two_changes_of_one_password_only_the_first_counts() {
    let unit = Unit::start();
    let token = unit.account("ann", "user");
    let change = |wanted: &str| json!({ "current_password": PASSWORD, "new_password": wanted }).to_string();
    let body = change("the one that came late").into_bytes();
    let late = Halfway::send(&unit, "POST", "/auth/password", &token, "application/json", &body);
    let first = unit.send("POST", "/auth/password", &token, "application/json", change(NEW_PASSWORD).into_bytes());
    assert_eq!(first.status, 204, "{}", first.text());
    assert_eq!(late.finish().1, 401);
    assert_eq!(unit.log_in("ann", NEW_PASSWORD).status, 200);
}
