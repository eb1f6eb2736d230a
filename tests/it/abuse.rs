//! What strangers and accounts send to make the unit grow: metric series, memory, connections. In CI at a small size;
//! `ABUSE_SIZE=100` (by hand, with `TEST_PROGRAM` against a release build) sends a hundred times as much, and then the latency of a
//! client that means well has to hold too.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::siege::{connect, exchange};
use crate::unit::{Part, Unit, golden, multipart};
use crate::waiting::{PATIENCE, until};

/// What the budgets for uploads and for decoding may take above the quiet unit, in the units of this file.
const BUDGETS_KB: u64 = 96 << 10;

fn size() -> usize {
    std::env::var("ABUSE_SIZE").map_or(1, |size| size.parse().unwrap())
}

/// Words that no list holds, the same ones in each run.
fn word(number: usize) -> String {
    format!("{:X}", (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Names and labels of every series, without values. Statuses are the unit's own, and one may come late: the login from which on
/// an address has to wait, for one.
fn series(unit: &Unit, token: &str) -> BTreeSet<String> {
    let text = unit.get("/metrics", token).text();
    // What the store does by itself comes when it comes.
    let by_itself = ["#", "vehicle_classifier_store_", "vehicle_classifier_disk_"];
    let lines = text.lines().filter(|line| !by_itself.iter().any(|start| line.starts_with(start)));
    lines.filter_map(|line| Some(without_status(line.rsplit_once(' ')?.0))).collect()
}

fn without_status(series: &str) -> String {
    match series.split_once("status=\"") {
        Some((before, after)) => format!("{before}{}", after.split_once('"').unwrap().1),
        None => series.to_owned(),
    }
}

/// One of each kind of request whose words a stranger chooses.
fn strange(number: usize, token: &str) -> Vec<String> {
    let word = word(number);
    let login = format!("{{\"username\":\"{word}\",\"password\":\"{word}\"}}");
    let json = |path: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: unit\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    vec![
        format!("{word} / HTTP/1.1\r\nHost: unit\r\n\r\n"),
        format!("{word} /api/vehicle/classify HTTP/1.1\r\nHost: unit\r\n\r\n"),
        format!("GET /{word} HTTP/1.1\r\nHost: unit\r\n\r\n"),
        format!("GET /api/users/{word} HTTP/1.1\r\nHost: unit\r\nAuthorization: Bearer {token}\r\n\r\n"),
        format!(
            "GET /v2/models/{word}/versions/{word} HTTP/1.1\r\nHost: unit\r\nAuthorization: Bearer {token}\r\n\r\n"
        ),
        format!("GET /health HTTP/1.1\r\nHost: {word}\r\nOrigin: http://{word}\r\nX-Request-Id: {word}\r\n\r\n"),
        format!(
            "GET /api/traffic/counts?{word}={word} HTTP/1.1\r\nHost: unit\r\nAuthorization: Bearer {token}\r\n\r\n"
        ),
        format!("GET /health HTTP/1.1\r\nHost: unit\r\nAuthorization: {word} {word}\r\n{word}: {word}\r\n\r\n"),
        json("/auth/token", &login),
        json("/api/traffic/validations", &format!("{{\"{word}\":\"{word}\"}}")),
        json("/v2/models/x/infer", &format!("{{\"{word}\":\"{word}\"}}")),
    ]
}

#[test]
fn no_word_of_a_stranger_becomes_a_metric_series() {
    let unit = Unit::with(&[("API__REQUESTS_PER_MINUTE_MAX", "0")]);
    let (admin, user) = (unit.account("alma", "admin"), unit.account("ann", "user"));
    let to = unit.address.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let send = |numbers: std::ops::Range<usize>| {
        runtime.block_on(async {
            for number in numbers {
                for request in strange(number, &user) {
                    let mut stream = connect(to, [127, 0, 2, 1]).await.unwrap();
                    // A head that hyper itself refuses ends the connection.
                    let _ = exchange(&mut stream, request.as_bytes()).await;
                }
            }
        });
    };
    // Every status that these requests have is there once, and the question for the figures itself.
    send(0..10);
    series(&unit, &admin);
    let before = series(&unit, &admin);
    send(10..10 + 30 * size());
    let after = series(&unit, &admin);
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty(), "new series: {new:?}");
    assert!(after.iter().any(|series| series.contains("method=\"other\"")), "no strange method was counted");
    assert!((1..30).all(|number| !after.iter().any(|series| series.contains(&word(number)))));
    println!("{} series before and after", after.len());
}

#[test]
fn two_addresses_cannot_hold_all_connections() {
    let unit = Unit::with(&[
        ("API__CONNECTIONS_MAX", "24"),
        ("API__CONNECTIONS_PER_ADDRESS_MAX", "16"),
        ("API__IDLE_TIMEOUT_MS", "60000"),
    ]);
    let admin = unit.account("alma", "admin");
    let to = unit.address.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let held: Vec<TcpStream> = runtime.block_on(async {
        let mut held = Vec::new();
        for address in [[127, 0, 2, 1], [127, 0, 2, 2]] {
            for _ in 0..16 {
                let mut stream = connect(to, address).await.unwrap();
                let _ = stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: unit\r\nX-Slow: ").await;
                held.push(stream);
            }
        }
        held
    });
    until("a third address is served", || {
        runtime.block_on(async {
            let mut stream = connect(to, [127, 0, 2, 3]).await.unwrap();
            let asked = exchange(&mut stream, b"GET /health/live HTTP/1.1\r\nHost: unit\r\n\r\n");
            matches!(tokio::time::timeout(PATIENCE, asked).await, Ok(Ok(200)))
        })
    });
    // The metrics come over a fourth connection, which finds a place as well.
    assert!(unit.metric(&admin, "vehicle_classifier_limit_hits_total{limit=\"connections\"}") > 0.0);
    drop(held);
}

/// The most memory that the process ever had, in kB.
fn peak_kilobytes(unit: &Unit) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", unit.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A body of parts that carry nothing.
fn empty_parts(count: usize, name: &str) -> Vec<u8> {
    let part = format!("--XbX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n\r\n");
    let mut body = part.repeat(count).into_bytes();
    body.extend_from_slice(&multipart(&[Part::file("file", "golden.jpg", &golden())]));
    body
}

/// An inference request around parameters that mean nothing.
fn parameters(bytes: usize) -> Vec<u8> {
    let list = "[],".repeat(bytes / 3);
    let input = "{\"name\":\"image\",\"datatype\":\"UINT8\",\"shape\":[1,1,1,3],\"data\":[1,2,3]}";
    format!("{{\"parameters\":{{\"a\":[{list}0]}},\"inputs\":[{input}]}}").into_bytes()
}

#[test]
fn bodies_of_countless_parts_and_parameters_take_no_memory() {
    let unit = Unit::start();
    let token = unit.account("eve", "user");
    let model = unit.get("/api/models/metadata", &token).json()["data"]["name"].as_str().unwrap().to_owned();
    for _ in 0..4 {
        assert_eq!(unit.classify(&token, "golden.jpg", &golden()).status, 201);
    }
    let quiet = peak_kilobytes(&unit);
    let (time, over) = (Duration::from_secs(10), AtomicBool::new(false));
    let before = if size() > 1 { latencies(&unit, &token, || true, time) } else { Vec::new() };
    let during = std::thread::scope(|scope| {
        let good = scope.spawn(|| latencies(&unit, &token, || !over.load(Ordering::Relaxed), 60 * time));
        let (count, bytes) = (2_000 * size().min(100), (150_000 * size()).min(15_000_000));
        for (path, name) in [
            ("/api/vehicle/report", "vehicle_id"),
            ("/api/vehicle/classify", "file"),
            ("/api/vehicle/classify-batch", "files"),
        ] {
            let content_type = "multipart/form-data; boundary=XbX";
            let reply = unit.send("POST", path, &token, content_type, empty_parts(count, name));
            assert!([400, 413].contains(&reply.status), "{path}: {} {}", reply.status, reply.text());
        }
        let path = format!("/v2/models/{model}/infer");
        let reply = unit.send("POST", &path, &token, "application/json", parameters(bytes));
        assert_eq!(reply.status, 200, "{}", reply.text());
        over.store(true, Ordering::Relaxed);
        good.join().unwrap()
    });
    let peak = peak_kilobytes(&unit);
    println!("memory: {quiet} kB quiet, {peak} kB at most");
    assert!(peak <= 2 * quiet + BUDGETS_KB, "{quiet} kB quiet, {peak} kB at most");
    if size() > 1 {
        let (quiet, under) = (p99(before), p99(during));
        println!("p99 {quiet:?} quiet, {under:?} under abuse");
        assert!(under <= 3 * quiet, "too slow for who means well: {quiet:?} quiet, {under:?} under abuse");
    }
}

#[test]
fn pictures_that_are_decoded_together_share_one_budget() {
    const MIB: usize = 1 << 20;
    let side = 900 * (size() as f64).sqrt().min(7.0) as u32;
    // Eight bytes a pixel: room for one of these and not for two.
    let budget = (side * side * 8) as usize * 3 / 2 + MIB;
    let unit = Unit::with(&[
        ("CLASSIFIER__DECODE_MEMORY_BYTES_MAX", budget.to_string().as_str()),
        ("CLASSIFIER__WORKERS", "4"),
    ]);
    let (eve, admin) = (unit.account("eve", "user"), unit.account("alma", "admin"));
    let encoded = |side: u32| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let picture = image::ImageBuffer::<image::Rgba<u16>, _>::new(side, side);
        image::DynamicImage::from(picture).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    };
    let (fits, too_large) = (encoded(side), encoded(side * 5 / 4 + 100));
    assert_eq!(unit.classify(&eve, "golden.jpg", &golden()).status, 201);
    let quiet = peak_kilobytes(&unit);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(unit.classify(&eve, "deep.png", &fits).status, 201));
        }
    });
    let peak = peak_kilobytes(&unit);
    println!("memory: {quiet} kB quiet, {peak} kB at most, {} kB of budget", budget >> 10);
    assert!(peak <= 2 * quiet + (budget >> 10) as u64, "{quiet} kB quiet, {peak} kB at most");
    let refused = unit.classify(&eve, "deeper.png", &too_large);
    assert_eq!((refused.status, refused.error_code().as_str()), (413, "PAYLOAD_TOO_LARGE"), "{}", refused.text());
    assert!(refused.text().contains("deeper.png") && refused.text().contains("MiB of memory"), "{}", refused.text());
    assert_eq!(unit.metric(&admin, "vehicle_classifier_limit_hits_total{limit=\"decode_memory\"}"), 1.0);
}

#[test]
fn frames_that_cannot_be_read_do_not_fill_the_log() {
    let recording = tempfile::tempdir().unwrap();
    std::fs::write(recording.path().join("0.jpg"), golden()).unwrap();
    for number in 1..10 {
        std::fs::write(recording.path().join(format!("{number}.jpg")), b"just a text file").unwrap();
    }
    let source = format!("replay:{}?fps=60&loop=true", recording.path().display());
    let unit = Unit::with(&[("CAPTURE__SOURCE", source.as_str())]);
    let admin = unit.account("alma", "admin");
    let invalid = "vehicle_classifier_frames_total{result=\"invalid\"}";
    until("many frames were broken", || unit.metric(&admin, invalid) >= 50.0);
    let log = unit.log.text();
    let lines = log.lines().filter(|line| line.contains("camera: ") && line.contains(".jpg")).count();
    // One a minute, however slow the machine.
    assert!((1..10).contains(&lines), "{lines} lines:\n{log}");
}

/// A server that announces or sends replies of gigabytes; each connection it takes is told.
fn endless_redis() -> (std::net::SocketAddr, std::sync::mpsc::Receiver<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (taken, all_taken) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let replies = ["$1800000000\r\n", "*999999999\r\n", "*1\r\n*1\r\n$500000000\r\n", "+"];
        for (stream, reply) in listener.incoming().zip(replies.iter().cycle()) {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(reply.as_bytes());
            // Until the unit closes it.
            for _ in 0..64 * size() {
                if stream.write_all(&vec![b'x'; 1 << 20]).is_err() {
                    break;
                }
            }
            if taken.send(()).is_err() {
                return;
            }
        }
    });
    (address, all_taken)
}

#[test]
fn a_central_site_that_answers_without_end_takes_no_memory() {
    let (address, taken) = endless_redis();
    let url = format!("redis://{address}");
    let unit = Unit::with(&[("SYNC__REDIS_URL", url.as_str()), ("SYNC__BACKOFF_MS_MAX", "1000")]);
    let quiet = peak_kilobytes(&Unit::start());
    for _ in 0..4 {
        taken.recv_timeout(PATIENCE).expect("the unit does not try again");
    }
    let peak = peak_kilobytes(&unit);
    println!("memory: {quiet} kB without a central site, {peak} kB at most");
    assert!(peak <= 2 * quiet, "{quiet} kB without a central site, {peak} kB at most");
    assert_eq!(unit.get("/health", "").json()["redis_connected"], false);
    unit.log.wait_for("more than 4194304 bytes");
}

/// How long each upload of a client takes that means well.
fn latencies(unit: &Unit, token: &str, goes_on: impl Fn() -> bool, time: Duration) -> Vec<Duration> {
    let until = Instant::now() + time;
    let mut took = Vec::new();
    while took.is_empty() || goes_on() && Instant::now() < until {
        let begun = Instant::now();
        assert_eq!(unit.classify(token, "golden.jpg", &golden()).status, 201, "who means well is refused");
        took.push(begun.elapsed());
    }
    took
}

fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort();
    took[(took.len() * 99 / 100).min(took.len() - 1)]
}
