//! Each limit with its error, and that the unit serves on.

use std::io::{Read, Write};
use std::net::TcpStream;

use image::ImageFormat;

use crate::pictures::generated;
use crate::unit::{Part, Unit, golden, multipart};
use crate::waiting::PATIENCE;

#[test]
fn too_much_is_refused_with_its_limit() {
    let unit = Unit::with(&[
        ("API__UPLOAD_BYTES_MAX", "100000"),
        ("API__BATCH_BYTES_MAX", "150000"),
        ("API__BATCH_FILES_MAX", "2"),
        ("CLASSIFIER__PICTURE_PIXELS_MAX", "1000000"),
    ]);
    let token = unit.account("ann", "user");
    let large = vec![0xFF; 120_000];
    let picture = golden();
    let huge_png = crate::pictures::png_header(30_000, 30_000);
    let classify = |name, bytes: &[u8]| unit.classify(&token, name, bytes);
    assert_eq!(classify("large.jpg", &large).error_code(), "PAYLOAD_TOO_LARGE");
    let bomb = classify("bomb.png", &huge_png);
    assert_eq!((bomb.status, bomb.error_code().as_str()), (413, "PAYLOAD_TOO_LARGE"));
    assert!(bomb.text().contains("30000"), "{}", bomb.text());
    let batch = |parts: &[Part<'_>]| unit.upload("/api/vehicle/classify-batch", &token, parts);
    let three = [
        Part::file("files", "a.jpg", &picture),
        Part::file("files", "b.jpg", &picture),
        Part::file("files", "c.jpg", &picture),
    ];
    assert_eq!(batch(&three).error_code(), "PAYLOAD_TOO_LARGE");
    let heavy = vec![0xFF; 90_000];
    let two = [Part::file("files", "a.jpg", &heavy), Part::file("files", "b.jpg", &heavy)];
    assert_eq!(batch(&two).error_code(), "PAYLOAD_TOO_LARGE");
    let one_too_large = [Part::file("files", "large.jpg", &large), Part::file("files", "b.jpg", &picture)];
    let reply = batch(&one_too_large);
    assert_eq!(reply.status, 201, "one file over its limit fails alone: {}", reply.text());
    let results = reply.json()["data"]["results"].clone();
    assert_eq!(results[0]["error"]["error_code"], "PAYLOAD_TOO_LARGE");
    assert_eq!((&results[0]["file_name"], &results[1]["status"]), (&"large.jpg".into(), &"success".into()));
    let endless = vec![0xFF; 5_000_000];
    assert_eq!(classify("endless.jpg", &endless).error_code(), "PAYLOAD_TOO_LARGE");
    assert_eq!(classify("golden.jpg", &picture).status, 201, "the unit serves on");
    let admin = unit.account("alma", "admin");
    assert!(unit.metric(&admin, "vehicle_classifier_limit_hits_total{limit=\"upload_bytes\"}") >= 3.0);
}

#[test]
fn the_memory_for_uploads_is_bounded_and_comes_back() {
    let unit = Unit::with(&[
        ("API__UPLOAD_BYTES_MAX", "1000000"),
        ("API__BATCH_BYTES_MAX", "1000000"),
        ("API__UPLOAD_MEMORY_BYTES_MAX", "1500000"),
    ]);
    let token = unit.account("ann", "user");
    // More than half of the budget.
    let body = multipart(&[Part::file("file", "large.bmp", &generated(484, 484, 1, ImageFormat::Bmp))]);
    // An upload that stalls shortly before its end keeps what it has sent.
    let head = format!(
        "POST /api/vehicle/classify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: multipart/form-data; boundary=XbX\r\nContent-Length: 1000000\r\n\r\n--XbX\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n"
    );
    let stalled = || {
        let mut stream = TcpStream::connect(&unit.address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        // The unit may refuse it already.
        let _ = stream.write_all(&vec![0xFF; 950_000]);
        stream
    };
    // Both cannot have their room; which one comes too late is chance.
    let (stream, refused) = std::iter::repeat_with(|| {
        let stream = stalled();
        let upload =
            || unit.send("POST", "/api/vehicle/classify", &token, "multipart/form-data; boundary=XbX", body.clone());
        (stream, upload())
    })
    .take(500)
    .find(|(_, reply)| reply.status == 503)
    .expect("never refused");
    assert_eq!(refused.error_code(), "SERVICE_UNAVAILABLE");
    assert!(refused.header("retry-after").is_some());
    drop(stream);
    let served = std::iter::repeat_with(|| {
        unit.send("POST", "/api/vehicle/classify", &token, "multipart/form-data; boundary=XbX", body.clone())
    })
    .take(500)
    .any(|reply| reply.status == 201);
    assert!(served, "the budget did not come back");
}

#[test]
fn a_slow_client_is_let_go_and_hurts_nobody() {
    // Longer than a busy machine takes between a connection and its request.
    let unit = Unit::with(&[("API__IDLE_TIMEOUT_MS", "3000")]);
    let token = unit.account("ann", "user");
    let head = |rest: &str| {
        format!(
            "POST /api/vehicle/classify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: image/jpeg\r\n{rest}"
        )
    };
    let begun = [head("Content-Length: 5000\r\n\r\nabc"), head("X-Slow: "), String::new()].map(|begun| {
        let mut stream = TcpStream::connect(&unit.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(begun.as_bytes()).unwrap();
        stream
    });
    let answers: Vec<String> = begun
        .into_iter()
        .map(|mut stream| {
            let mut answer = String::new();
            // Closed by the unit, with or without an answer; a time-out of ours would be the failure.
            match stream.read_to_string(&mut answer) {
                Ok(_) => answer,
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
                    answer
                }
            }
        })
        .collect();
    assert!(answers[0].starts_with("HTTP/1.1 400") && answers[0].contains("stalled"), "{}", answers[0]);
    assert_eq!(unit.classify(&token, "golden.jpg", &golden()).status, 201);
}

#[test]
fn too_many_password_checks_at_once_are_refused_and_counted() {
    let unit = Unit::with(&[("AUTH__LOGIN_FAILURES_MAX", "100000"), ("API__REQUESTS_PER_MINUTE_MAX", "0")]);
    let admin = unit.account("alma", "admin");
    let refused_of_forty = || {
        std::thread::scope(|scope| {
            let guesses: Vec<_> = (0..40).map(|_| scope.spawn(|| unit.log_in("alma", "wrong").status)).collect();
            guesses.into_iter().map(|guess| guess.join().unwrap()).filter(|status| [429, 503].contains(status)).count()
        })
    };
    // A busy machine may start forty threads so slowly that they do not meet.
    let refused = std::iter::repeat_with(refused_of_forty).take(50).find(|refused| *refused > 0);
    let refused = refused.expect("forty argon2 computations at once were let in");
    assert_eq!(unit.metric(&admin, "vehicle_classifier_limit_hits_total{limit=\"password_checks\"}"), refused as f64);
}

#[test]
fn floods_of_one_address_are_slowed_down() {
    // Slower than any machine.
    let unit = Unit::with(&[("API__REQUESTS_PER_MINUTE_MAX", "1")]);
    let limited =
        (0..40).map(|_| unit.get("/health/live", "")).find(|reply| reply.status == 429).expect("never slowed down");
    assert_eq!(limited.error_code(), "RATE_LIMIT_ERROR");
    assert!(limited.header("retry-after").is_some());
    assert_eq!(unit.get("/health", "").status, 200, "another endpoint has a budget of its own");
}

#[test]
fn memory_does_not_grow_with_the_number_of_uploads() {
    let unit = Unit::with(&[("API__REQUESTS_PER_MINUTE_MAX", "0")]);
    let environment = std::fs::read(format!("/proc/{}/environ", unit.pid())).unwrap();
    let set = |variable: &[u8]| environment.split(|&byte| byte == 0).any(|pair| pair == variable);
    assert!(set(b"MALLOC_ARENA_MAX=1"), "a heap for each thread");
    assert!(set(b"MALLOC_MMAP_THRESHOLD_=16777216"), "what passwords are hashed in stays in the heap");
    let token = unit.account("alma", "user");
    let picture = golden();
    let upload = |times: usize| {
        for _ in 0..times {
            assert_eq!(unit.classify(&token, "golden.jpg", &picture).status, 201);
        }
        unit.resident_kilobytes()
    };
    // The first ones fill what is filled once: arenas, page caches, histories of bounded length.
    let filled = upload(150);
    let later = upload(300);
    assert!(later < filled + 4096, "{filled} kB after 150 uploads, {later} kB after 450");
}

/// Sends an upload and does not wait for its answer.
fn sent(unit: &Unit, token: &str, picture: &[u8]) -> TcpStream {
    let length = picture.len();
    let head = format!(
        "POST /api/vehicle/classify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: image/bmp\r\nContent-Length: {length}\r\n\r\n"
    );
    let mut stream = TcpStream::connect(&unit.address).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    // The unit may refuse it already.
    let _ = stream.write_all(picture);
    stream
}

#[test]
fn uploads_that_wait_for_a_worker_count_although_their_clients_have_left() {
    let unit = Unit::with(&[
        ("API__UPLOAD_BYTES_MAX", "8000000"),
        ("API__BATCH_BYTES_MAX", "8000000"),
        ("API__UPLOAD_MEMORY_BYTES_MAX", "16000000"),
        ("CLASSIFIER__WORKERS", "1"),
    ]);
    let token = unit.account("eve", "user");
    let picture = generated(1_600, 1_600, 1, ImageFormat::Bmp);
    let before = unit.resident_kilobytes();
    let most = (0..60)
        .map(|_| {
            drop(sent(&unit, &token, &picture));
            unit.resident_kilobytes()
        })
        .max()
        .unwrap();
    // Two of them are in memory, one of these decoded as well, and what hyper and the kernel hold.
    assert!(most < before + 120_000, "{before} kB before, {most} kB with 460 MB sent");
    assert_eq!(unit.get("/api/users/me", &token).status, 200, "the unit serves on");
}

#[test]
fn no_account_takes_all_the_memory_for_uploads() {
    let unit = Unit::with(&[
        ("API__UPLOAD_BYTES_MAX", "1000000"),
        ("API__BATCH_BYTES_MAX", "1000000"),
        ("API__UPLOAD_MEMORY_BYTES_MAX", "4000000"),
    ]);
    let (eve, ann) = (unit.account("eve", "user"), unit.account("ann", "user"));
    // Each stops shortly before its end.
    let head = format!(
        "POST /api/vehicle/classify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {eve}\r\nContent-Type: image/bmp\r\nContent-Length: 1000000\r\n\r\n"
    );
    let picture = generated(300, 300, 1, ImageFormat::Bmp);
    let upload = |token: &str| unit.send("POST", "/api/vehicle/classify", token, "image/bmp", picture.clone()).status;
    let mut held = Vec::new();
    let refused = (0..50).any(|_| {
        // One more each time: those that meet at the limit may all be refused, and then there is room again.
        let mut stream = TcpStream::connect(&unit.address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let _ = stream.write_all(&[0xFF; 980_000]);
        held.push(stream);
        upload(&eve) == 503
    });
    assert!(refused, "one account took more than its share");
    for _ in 0..20 {
        assert_eq!(upload(&ann), 201, "others have their part");
    }
    drop(held);
}

/// The status of the answer to an upload of 32 MB in chunks: more than the kernel keeps of what nobody reads.
fn answer_after_all_was_sent(unit: &Unit, path: &str, token: &str) -> String {
    let mut stream = TcpStream::connect(&unit.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: image/jpeg\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[0xFF; 0x10000], b"\r\n"].concat();
    for _ in 0..512 {
        stream.write_all(&chunk).expect("the unit hung up on a client that was still sending");
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn who_is_refused_while_sending_gets_the_answer_and_no_reset() {
    let unit = Unit::with(&[("API__UPLOAD_BYTES_MAX", "1000000"), ("API__BATCH_BYTES_MAX", "1000000")]);
    let token = unit.account("ann", "user");
    let status = |path: &str, token: &str| answer_after_all_was_sent(&unit, path, token);
    assert_eq!(status("/api/vehicle/classify", "no-token"), "401", "before its body");
    assert_eq!(status("/nowhere", &token), "404", "whatever it is");
    assert_eq!(status("/api/vehicle/classify", &token), "413", "in the midst of its body");
    assert_eq!(unit.classify(&token, "golden.jpg", &golden()).status, 201, "the unit serves on");
}
