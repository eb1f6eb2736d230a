//! Clients that mean harm, byte by byte over a socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use jsonwebtoken::crypto::sign;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::pictures::png_header;
use crate::unit::{PASSWORD, Part, Unit, golden};
use crate::waiting::{PATIENCE, until};

/// Sends bytes as they are and reads until the unit closes.
fn exchange(unit: &Unit, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(&unit.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The unit may refuse and close before everything is sent.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(head: &str) -> Vec<u8> {
    format!("GET /health HTTP/1.1\r\n{head}Connection: close\r\n\r\n").into_bytes()
}

#[test]
fn ambiguous_heads_are_refused() {
    let unit = Unit::with(&[("API__TRUSTED_HOSTS", "unit.example")]);
    let status = |bytes: &[u8]| exchange(&unit, bytes).split(' ').nth(1).unwrap_or("closed").to_owned();
    assert_eq!(status(&get("Host: unit.example\r\n")), "200");
    assert_eq!(status(&get("Host: UNIT.example:8000\r\n")), "200");
    for head in [
        "",
        "Host: evil.example\r\n",
        "Host: unit.example.evil\r\n",
        "Host: unit.example@evil.example\r\n",
        "Host: unit.example/../evil\r\n",
        "Host: evil.example:unit.example\r\n",
        "Host: unit.example\r\nHost: evil.example\r\n",
        "Host: evil.example\r\nX-Forwarded-Host: unit.example\r\n",
        "Host: unit.example, evil.example\r\n",
        "Host: \r\n",
    ] {
        assert_eq!(status(&get(head)), "400", "{head:?}");
    }
    let absolute = b"GET http://evil.example/health HTTP/1.1\r\nHost: unit.example\r\nConnection: close\r\n\r\n";
    assert_eq!(status(absolute), "400", "the target's host counts");
    let smuggled = b"POST /auth/token HTTP/1.1\r\nHost: unit.example\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: unit.example\r\n\r\n";
    let answer = exchange(&unit, smuggled);
    assert!(!answer.contains("vehicle_classifier_"), "{answer}");
}

#[test]
fn headers_that_could_mean_two_things_are_refused() {
    let unit = Unit::start();
    let (ann, admin) = (unit.account("ann", "user"), unit.account("alma", "admin"));
    let status = |head: &str, body: &str| {
        let request = format!("{head}Host: x\r\nConnection: close\r\n\r\n{body}");
        exchange(&unit, request.as_bytes()).split(' ').nth(1).unwrap_or("closed").to_owned()
    };
    let me = "GET /api/users/me HTTP/1.1\r\n";
    let (bearer, other) = (format!("Authorization: Bearer {ann}\r\n"), format!("Authorization: Bearer {admin}\r\n"));
    assert_eq!(status(&format!("{me}{bearer}"), ""), "200");
    assert_eq!(status(&format!("{me}{bearer}{other}"), ""), "400");
    for twice in ["Origin: https://a.example", "Last-Event-ID: 1", "Content-Type: application/json"] {
        assert_eq!(status(&format!("GET /health HTTP/1.1\r\n{twice}\r\n{twice}\r\n"), ""), "400", "{twice}");
    }
    let token = "POST /auth/token HTTP/1.1\r\nContent-Type: APPLICATION/JSON ; charset=utf-8\r\n";
    let chunked = "2\r\n{}\r\n0\r\n\r\n";
    assert_eq!(status(&format!("{token}Transfer-Encoding: chunked\r\n"), chunked), "400", "read, and found empty");
    for coding in ["gzip, chunked", "chunked, chunked", "identity, chunked"] {
        let found = status(&format!("{token}Transfer-Encoding: {coding}\r\n"), chunked);
        assert!(["415", "400"].contains(&found.as_str()), "{coding}: {found}");
    }
    let gzipped = status(&format!("{token}Transfer-Encoding: gzip, chunked\r\n"), chunked);
    assert_eq!(gzipped, "415", "a coding that is not undone");
    let sloppy = "POST /auth/token HTTP/1.1\r\nContent-Type: application/json-patch+json\r\nContent-Length: 2\r\n";
    assert_eq!(status(sloppy, "{}"), "415");
}

#[test]
fn long_heads_and_encoded_bodies_are_refused_and_counted() {
    let unit = Unit::start();
    let admin = unit.account("alma", "admin");
    let long = "a".repeat(40_000);
    let reply = unit.send_with("GET", "/health", "", &[("X-Long", &long)], Vec::new());
    assert_eq!(reply.error_code(), "VALIDATION_ERROR");
    assert_eq!(unit.get(&format!("/health?{long}"), "").error_code(), "VALIDATION_ERROR");
    let longest = exchange(&unit, &get(&format!("Host: x\r\nX-Long: {}\r\n", "a".repeat(1 << 20))));
    assert!(longest.is_empty() || longest.starts_with("HTTP/1.1 431"), "{longest}");
    let many = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect::<String>();
    let crowded = exchange(&unit, &get(&format!("Host: x\r\n{many}")));
    assert!(crowded.is_empty() || crowded.starts_with("HTTP/1.1 431"), "{crowded}");
    let encoded = [("Content-Encoding", "gzip"), ("Content-Type", "application/json")];
    let reply = unit.send_with("POST", "/auth/token", "", &encoded, vec![0x1f, 0x8b, 8, 0]);
    assert_eq!(reply.error_code(), "UNSUPPORTED_MEDIA_TYPE");
    assert!(unit.metric(&admin, "vehicle_classifier_limit_hits_total{limit=\"header_bytes\"}") >= 2.0);
}

#[test]
fn one_address_cannot_take_every_connection() {
    let unit = Unit::with(&[("API__CONNECTIONS_PER_ADDRESS_MAX", "8"), ("API__IDLE_TIMEOUT_MS", "60000")]);
    let admin = unit.account("alma", "admin");
    // Each is surely one of the eight once it was answered; one of before may still be on its way out.
    let mut open = Vec::new();
    until("eight are open", || {
        open.extend(served(&unit));
        open.len() == 8
    });
    let mut ninth = TcpStream::connect(&unit.address).unwrap();
    ninth.set_read_timeout(Some(PATIENCE)).unwrap();
    let closed = ninth.read(&mut [0]);
    assert!(
        closed.as_ref().map_or_else(|error| error.kind() == std::io::ErrorKind::ConnectionReset, |read| *read == 0),
        "the ninth connection was let in: {closed:?}"
    );
    drop(open);
    // The unit notices one after the other that they are gone.
    until("the unit serves on once they are gone", || served(&unit).is_some());
    let hits =
        format!("GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {admin}\r\nConnection: close\r\n\r\n");
    let mut metrics = String::new();
    until("the figures come", || {
        metrics = exchange(&unit, hits.as_bytes());
        metrics.starts_with("HTTP/1.1 200")
    });
    let hit = metrics.lines().find(|line| line.contains("limit=\"connections_per_address\""));
    assert!(hit.is_some_and(|line| !line.ends_with(" 0")), "{hit:?}");
}

/// A connection that the unit has answered and keeps open; none when it let nobody in.
fn served(unit: &Unit) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(&unit.address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
    stream.read_exact(&mut [0]).ok()?;
    Some(stream)
}

#[test]
fn an_endless_body_ends_at_the_limit() {
    let unit = Unit::with(&[("API__UPLOAD_BYTES_MAX", "100000"), ("API__BATCH_BYTES_MAX", "100000")]);
    let token = unit.account("ann", "user");
    let before = unit.resident_kilobytes();
    let mut stream = TcpStream::connect(&unit.address).unwrap();
    let head = format!(
        "POST /api/vehicle/classify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[0xFF; 0x10000], b"\r\n"].concat();
    let sent = (0..20_000).take_while(|_| stream.write_all(&chunk).is_ok()).count();
    assert!(sent < 20_000, "a gigabyte was taken");
    let after = unit.resident_kilobytes();
    assert!(after < before + 32_768, "{before} kB before, {after} kB after");
    assert_eq!(unit.classify(&token, "golden.jpg", &golden()).status, 201, "the unit serves on");
}

#[test]
fn bombs_polyglots_and_names_that_lie_do_nothing() {
    let unit = Unit::start();
    let token = unit.account("ann", "user");
    let classify = |name: &str, bytes: &[u8]| unit.classify(&token, name, bytes);
    for (name, bytes) in [("bomb.png", png_header(40_000, 40_000)), ("bomb.gif", gif_header(65_535, 65_535))] {
        assert_eq!(classify(name, &bytes).status, 413, "{name}");
    }
    // A page behind a picture's magic number is no picture, and what comes back is JSON that nothing sniffs.
    let page = [b"GIF89a".as_slice(), b"<script>alert(1)</script>"].concat();
    let reply = classify("page.gif", &page);
    assert!([400, 413].contains(&reply.status), "{}", reply.text());
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert!(reply.header("content-type").unwrap().starts_with("application/json"));
    let archive = [golden().as_slice(), b"PK\x03\x04 and so on"].concat();
    assert!([201, 400].contains(&classify("both.jpg", &archive).status), "what follows a picture is not looked at");
    for name in
        ["../../etc/passwd.jpg", "a\\..\\b.jpg", "C:\\x.jpg", "nul\u{202e}gpj.exe.jpg", "%0d%0aSet-Cookie: a=b.jpg"]
    {
        let reply = unit.upload("/api/vehicle/classify-batch", &token, &[Part::file("files", name, &golden())]);
        assert_eq!(reply.status, 201, "{name:?}: {}", reply.text());
        let shown = reply.json()["data"]["results"][0]["file_name"].as_str().unwrap().to_owned();
        assert!(!shown.contains(['/', '\\', '\r', '\n', '\u{202e}']), "{shown:?}");
        assert!(reply.headers.iter().all(|(header, value)| header != "set-cookie" && !value.contains("passwd")));
    }
    assert!(!unit.state_directory().join("../etc").exists());
}

#[test]
fn nothing_that_a_client_sends_makes_a_log_line_of_its_own() {
    let mut unit = Unit::with(&[("LOG__LEVEL", "trace")]);
    unit.account("ann", "user");
    let forged = "x\r\n2026-01-01T00:00:00Z  INFO forged: admin logged in";
    unit.log_in(forged, "hunter2hunter2hunter2");
    unit.send_with("GET", "/%0a%0dforged-line", "", &[("User-Agent", "forged-agent\tINFO")], Vec::new());
    unit.send_with("GET", "/health", "", &[("X-Request-Id", "forged id with spaces")], Vec::new());
    let reply = unit.get("/health", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl");
    assert_eq!(reply.status, 200);
    // All that it has to say, not only what has arrived here by now.
    unit.signal("TERM");
    assert!(unit.wait().success());
    let log = unit.log.to_end();
    assert!(
        log.lines().all(|line| !line.trim_start().starts_with("2026-01-01T00:00:00Z") && !line.starts_with("forged"))
    );
    for secret in ["hunter2hunter2hunter2", crate::unit::PASSWORD, "c2lnbmF0dXJl"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

/// Header and claims of any kind, signed with any key.
fn forged(header: &Value, claims: &Value, key: &[u8]) -> String {
    let part = |json: &Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = sign(message.as_bytes(), &EncodingKey::from_secret(key), Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

#[test]
fn forged_tokens_open_nothing() {
    let (unit, other) = (Unit::start(), Unit::start());
    let good = unit.account("ann", "admin");
    let claims: Value = jsonwebtoken::dangerous::insecure_decode(&good).unwrap().claims;
    let key = std::fs::read(unit.state_directory().join("token.key")).unwrap();
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        claims
    };
    assert_eq!(unit.get("/api/audit", &forged(&header, &claims, &key)).status, 200, "the forge itself works");
    let (body, signature) = good.rsplit_once('.').unwrap();
    let payload = body.split('.').nth(1).unwrap();
    let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let hour = |hours: i64| json!(claims["iat"].as_i64().unwrap() + hours * 3_600);
    let attacks = [
        ("alg none", format!("{none}.{payload}.")),
        ("alg none with the signature", format!("{none}.{payload}.{signature}")),
        ("stripped signature", format!("{body}.")),
        ("no signature", body.to_owned()),
        ("another algorithm under our key", forged(&json!({ "alg": "RS256", "typ": "JWT" }), &claims, &key)),
        ("the public part as key", forged(&header, &claims, b"vehicle-classifierd")),
        ("a foreign key", forged(&header, &claims, &[7; 32])),
        ("the key of another unit", other.account("ann", "admin")),
        ("another unit's issuer", forged(&header, &with("iss", json!("unit-of-somebody-else")), &key)),
        ("wrong aud", forged(&header, &with("aud", json!("dashboard")), &key)),
        ("expired", forged(&header, &with("exp", hour(-1)), &key)),
        ("not yet valid", forged(&header, &with("nbf", hour(1)), &key)),
        ("issued in the future", forged(&header, &with("iat", hour(1)), &key)),
        ("somebody else's name", forged(&header, &with("sub", json!("admin")), &key)),
        ("a later generation", forged(&header, &with("gen", json!(9)), &key)),
        ("a token of no type", forged(&json!({ "alg": "HS256" }), &claims, &key)),
        ("a critical extension", forged(&json!({ "alg": "HS256", "typ": "JWT", "crit": ["b64"] }), &claims, &key)),
    ];
    for (attack, token) in attacks {
        let reply = unit.get("/api/audit", &token);
        assert_eq!((reply.status, reply.error_code().as_str()), (401, "AUTHENTICATION_ERROR"), "{attack}");
        assert!(reply.header("www-authenticate").is_some(), "{attack}");
    }
    let user = unit.account("ursula", "user");
    let mut promoted: Value = jsonwebtoken::dangerous::insecure_decode(&user).unwrap().claims;
    promoted["role"] = json!("admin");
    let promoted = unit.get("/api/audit", &forged(&header, &promoted, &key));
    assert_eq!(promoted.status, 403, "the store's role counts, whatever the token says");
    assert_eq!(unit.log_in("ann", PASSWORD).status, 200);
}

#[test]
fn the_unit_fetches_nothing_that_a_request_names() {
    let trap = TcpListener::bind("127.0.0.1:0").unwrap();
    trap.set_nonblocking(true).unwrap();
    let url = format!("http://{}/latest/meta-data", trap.local_addr().unwrap());
    let unit = Unit::start();
    let token = unit.account("ann", "admin");
    let key = EncodingKey::from_secret(&[7; 32]);
    let claims: Value = jsonwebtoken::dangerous::insecure_decode(&token).unwrap().claims;
    let header = Header { jku: Some(url.clone()), x5u: Some(url.clone()), ..Header::new(Algorithm::HS256) };
    assert_eq!(unit.get("/api/users/me", &jsonwebtoken::encode(&header, &claims, &key).unwrap()).status, 401);

    let drawing = format!("<svg xmlns=\"http://www.w3.org/2000/svg\"><image href=\"{url}\"/></svg>");
    for (name, content) in [("a.svg", drawing.as_bytes()), ("a.jpg", url.as_bytes()), ("a.url", url.as_bytes())] {
        assert_eq!(unit.classify(&token, name, content).status, 415, "{name}");
    }
    assert_eq!(unit.classify(&token, &url, &golden()).status, 201, "a name is a name");
    for form in [json!({ "url": url }), json!({ "file": url })] {
        assert_eq!(unit.post_json("/api/vehicle/classify", &token, &form).status, 415);
    }
    let picture = golden();
    let parts = [Part::file("file", "a.jpg", &picture), Part::text("vehicle_id", &url)];
    assert_eq!(unit.upload("/api/vehicle/report", &token, &parts).status, 400);
    for name in ["Host", "Origin", "Referer", "X-Forwarded-Host", "Forwarded", "Location", "X-Original-Url"] {
        let reply = unit.send_with("GET", "/health", "", &[(name, &url)], Vec::new());
        assert!([200, 400].contains(&reply.status), "{name}");
        assert!(reply.header("location").is_none(), "{name}");
    }
    let waiting = trap.accept().expect_err("the unit came");
    assert_eq!(waiting.kind(), ErrorKind::WouldBlock);
}

#[test]
fn uploads_move_no_count() {
    let unit = Unit::start();
    let token = unit.account("ann", "user");
    for _ in 0..3 {
        assert_eq!(unit.classify(&token, "golden.jpg", &golden()).status, 201);
    }
    assert_eq!(unit.get("/api/traffic/passages", &token).json()["data"]["passages"], json!([]));
    let counts = unit.get("/api/traffic/counts?interval=1d", &token).json();
    let intervals = counts["data"]["intervals"].as_array().unwrap().clone();
    assert!(!intervals.is_empty() && intervals.iter().all(|interval| interval["total"].as_u64().unwrap_or(0) == 0));
}

/// The head of a GIF of that size: signature, screen, one frame, no pixels.
fn gif_header(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = b"GIF89a".to_vec();
    for side in [width, height] {
        bytes.extend(side.to_le_bytes());
    }
    bytes.extend([0x80, 0, 0, 0, 0, 0, 255, 255, 255, b',', 0, 0, 0, 0]);
    for side in [width, height] {
        bytes.extend(side.to_le_bytes());
    }
    bytes.extend([0, 2, 2, 0x4c, 0x01, 0, b';']);
    bytes
}
