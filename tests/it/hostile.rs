//! Clients that mean harm, byte by byte over a socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::pictures::png_header;
use crate::unit::{Part, Unit, golden};

/// Sends bytes as they are and reads until the unit closes.
fn exchange(unit: &Unit, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(&unit.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
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
    let idle: Vec<_> = (0..8).map(|_| TcpStream::connect(&unit.address).unwrap()).collect();
    let mut ninth = TcpStream::connect(&unit.address).unwrap();
    ninth.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let closed = ninth.read(&mut [0]);
    assert!(
        closed.as_ref().map_or_else(|error| error.kind() == std::io::ErrorKind::ConnectionReset, |read| *read == 0),
        "the ninth connection was let in: {closed:?}"
    );
    drop(idle);
    let served = (0..10_000).any(|_| exchange(&unit, &get("Host: x\r\n")).starts_with("HTTP/1.1 200"));
    assert!(served, "the unit serves on once they are gone");
    assert!(unit.metric(&admin, "vehicle_classifier_limit_hits_total{limit=\"connections_per_address\"}") >= 1.0);
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
    let unit = Unit::with(&[("LOG__LEVEL", "trace")]);
    unit.account("ann", "user");
    let forged = "x\r\n2026-01-01T00:00:00Z  INFO forged: admin logged in";
    unit.log_in(forged, "hunter2hunter2hunter2");
    unit.send_with("GET", "/%0a%0dforged-line", "", &[("User-Agent", "forged-agent\tINFO")], Vec::new());
    unit.send_with("GET", "/health", "", &[("X-Request-Id", "forged id with spaces")], Vec::new());
    let reply = unit.get("/health", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl");
    assert_eq!(reply.status, 200);
    let log = unit.log.text();
    assert!(
        log.lines().all(|line| !line.trim_start().starts_with("2026-01-01T00:00:00Z") && !line.starts_with("forged"))
    );
    for secret in ["hunter2hunter2hunter2", crate::unit::PASSWORD, "c2lnbmF0dXJl"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
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
