//! Streams that stay open: events and pictures.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use image::ImageFormat;
use serde_json::{Value, json};
use vehicle_classifierd::record::Passage;

use crate::pictures::generated;
use crate::traffic::passage;
use crate::unit::Unit;
use crate::waiting::{PATIENCE, until};

/// A connection that reads as slowly or as long as a test wants.
pub struct Open {
    reader: BufReader<TcpStream>,
    head: String,
}

impl Open {
    pub fn get(unit: &Unit, path: &str, token: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(&unit.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
        }
        Self { reader, head: head.to_lowercase() }
    }

    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// The next chunk of the body (RFC 9112, 7.1); none at its end.
    fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut size = String::new();
        if self.reader.read_line(&mut size).unwrap_or(0) == 0 {
            return None;
        }
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut bytes = vec![0; size + 2];
        self.reader.read_exact(&mut bytes).unwrap();
        bytes.truncate(size);
        (size > 0).then_some(bytes)
    }
}

/// Events of one connection, one by one.
struct Events {
    open: Open,
    text: String,
}

impl Events {
    fn open(unit: &Unit, token: &str, last: Option<i64>) -> Self {
        let headers = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let open = Open::get(unit, "/api/events", token, &headers);
        assert_eq!(open.status(), 200, "{}", open.head);
        assert!(open.head.contains("content-type: text/event-stream"), "{}", open.head);
        Self { open, text: String::new() }
    }

    /// (id, name, data) of the next event; comments and settings are passed over.
    fn next(&mut self) -> Option<(Option<i64>, String, Value)> {
        loop {
            while !self.text.contains("\n\n") {
                self.text.push_str(std::str::from_utf8(&self.open.chunk()?).unwrap());
            }
            let (event, rest) = self.text.split_once("\n\n").unwrap();
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            let found = (field("id: ").map(|id| id.parse().unwrap()), field("event: "), field("data: "));
            self.text = rest.to_owned();
            if let (id, Some(name), Some(data)) = found {
                return Some((id, name, serde_json::from_str(&data).unwrap()));
            }
        }
    }

    /// The next passages' (sequence, id).
    fn passages(&mut self, count: usize) -> Vec<(i64, String)> {
        let mut found = Vec::new();
        while found.len() < count {
            let (id, name, data) = self.next().unwrap();
            if name == "passage" {
                assert_eq!(id, data["sequence"].as_i64());
                found.push((id.unwrap(), data["id"].as_str().unwrap().to_owned()));
            }
        }
        found
    }
}

fn record(unit: &Unit, ids: impl Iterator<Item = usize>) {
    let store = unit.store();
    for n in ids {
        let passage: Passage = passage(&format!("p{n}"), 10 * n as i64, "car", "north");
        store.record_passage(passage).wait().unwrap();
    }
}

#[test]
fn events_resume_without_loss_however_long_the_client_was_away() {
    let unit = Unit::start();
    let token = unit.account("ann", "user");
    record(&unit, 0..3);
    let mut events = Events::open(&unit, &token, None);
    let (_, name, health) = events.next().unwrap();
    assert_eq!((name.as_str(), &health["database_healthy"]), ("health", &json!(true)));
    // Nothing of before the connection; everything of after it.
    record(&unit, 3..5);
    assert_eq!(events.passages(2), [(4, "p3".into()), (5, "p4".into())]);
    drop(events);
    record(&unit, 5..205);
    let unit = unit.kill_and_restart();
    let mut events = Events::open(&unit, &token, Some(5));
    let missed = events.passages(200);
    assert_eq!(missed.first().unwrap(), &(6, "p5".into()));
    assert!(missed.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1), "none twice, none missing");
    assert_eq!(missed.last().unwrap().1, "p204");
    let mut all = Open::get(&unit, "/api/events?last_event_id=0", &token, "");
    assert!(all.chunk().is_some());
    for bad in ["-1", "x", "1.5"] {
        let path = format!("/api/events?last_event_id={bad}");
        for headers in [vec![], vec![("Last-Event-ID", "1")]] {
            assert_eq!(unit.send_with("GET", &path, &token, &headers, Vec::new()).error_code(), "VALIDATION_ERROR");
        }
    }
}

#[test]
fn a_ledger_that_was_begun_anew_and_one_that_lost_its_oldest_rows_say_so() {
    let unit = Unit::start();
    let token = unit.account("ann", "user");
    record(&unit, 0..5);
    let mut events = Events::open(&unit, &token, Some(1_000));
    let (_, name, data) = events.next().unwrap();
    assert_eq!((name.as_str(), data), ("reset", json!({ "newest": 5 })));
    assert_eq!(events.passages(5)[0].0, 1, "from its beginning");
    let database = rusqlite::Connection::open(unit.state_directory().join("unit.db")).unwrap();
    database.busy_timeout(PATIENCE).unwrap();
    database.execute("DELETE FROM passages WHERE id <= 3", []).unwrap();
    let mut events = Events::open(&unit, &token, Some(1));
    let (_, name, data) = events.next().unwrap();
    assert_eq!((name.as_str(), data), ("gap", json!({ "first_missing": 2, "last_missing": 3 })));
    assert_eq!(events.passages(1)[0].0, 4);
}

#[test]
fn places_are_limited_and_free_again_when_a_client_goes() {
    let unit = Unit::with(&[("API__EVENT_CLIENTS_MAX", "1")]);
    let admin = unit.account("alma", "admin");
    let events = Events::open(&unit, &admin, None);
    let refused = unit.get("/api/events", &admin);
    assert_eq!(refused.error_code(), "SERVICE_UNAVAILABLE");
    assert!(refused.header("retry-after").is_some() && refused.text().contains("api.event_clients_max"));
    assert!(unit.metric(&admin, "vehicle_classifier_limit_hits_total{limit=\"event_clients\"}") >= 1.0);
    drop(events);
    // The unit notices with its next word to a client that has gone.
    let mut n = 0;
    until("its place is free", || {
        record(&unit, n..n + 1);
        n += 1;
        Open::get(&unit, "/api/events", &admin, "").status() == 200
    });
}

#[test]
fn open_streams_end_at_once_when_the_unit_stops() {
    let clip = Clip::new(4);
    let mut unit = clip.unit(&[]);
    let token = unit.account("ann", "user");
    let mut events = Events::open(&unit, &token, None);
    let mut pictures = clip.stream(&unit, &token, "");
    assert!(events.next().is_some() && pictures.chunk().is_some());
    unit.signal("TERM");
    while events.next().is_some() {}
    while pictures.chunk().is_some() {}
    assert!(unit.wait().success(), "{}", unit.log.to_end());
}

/// A recording of different frames.
struct Clip {
    directory: tempfile::TempDir,
    frames: Vec<Vec<u8>>,
}

impl Clip {
    fn new(frames: u8) -> Self {
        let frames: Vec<_> = (0..frames).map(|seed| generated(320, 240, seed, ImageFormat::Jpeg)).collect();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("clip.mjpeg"), frames.concat()).unwrap();
        Self { directory, frames }
    }

    /// A unit that has it for a camera, with frames coming.
    fn unit(&self, settings: &[(&str, &str)]) -> Unit {
        let source = format!("replay:{}?fps=20&loop=true", self.directory.path().join("clip.mjpeg").display());
        let unit = Unit::with(&[&[("CAPTURE__SOURCE", source.as_str())], settings].concat());
        until("frames come", || unit.get("/health", "").json()["camera_connected"] == true);
        unit
    }

    fn stream(&self, unit: &Unit, token: &str, query: &str) -> Open {
        let open = Open::get(unit, &format!("/api/camera/stream{query}"), token, "");
        assert_eq!(open.status(), 200, "{}", open.head);
        assert!(open.head.contains("multipart/x-mixed-replace; boundary="), "{}", open.head);
        open
    }
}

/// The JPEG of one part of a stream.
fn jpeg(part: &[u8]) -> Vec<u8> {
    let head = part.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let text = std::str::from_utf8(&part[..head]).unwrap();
    let length: usize = text.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap().parse().unwrap();
    assert!(text.contains("Content-Type: image/jpeg") && text.contains("X-Frame-Age-Ms: "), "{text}");
    part[head..head + length].to_vec()
}

#[test]
fn the_newest_picture_is_the_cameras_own_and_tracks_are_drawn_into_another() {
    let clip = Clip::new(3);
    let unit = clip.unit(&[]);
    let token = unit.account("ann", "user");
    let snapshot = unit.get("/api/camera/snapshot", &token);
    assert_eq!((snapshot.status, snapshot.header("content-type")), (200, Some("image/jpeg")), "{}", snapshot.text());
    assert!(clip.frames.contains(&snapshot.body), "byte for byte");
    let age: u64 = snapshot.header("x-frame-age-ms").unwrap().parse().unwrap();
    assert!(age < 10_000 && snapshot.header("x-frame-sequence").is_some());
    let drawn = unit.get("/api/camera/snapshot?overlay=true", &token);
    assert_eq!(drawn.status, 200, "{}", drawn.text());
    let picture = image::load_from_memory(&drawn.body).unwrap();
    assert_eq!((picture.width(), picture.height()), (320, 240));
    assert!(!clip.frames.contains(&drawn.body));
    assert_eq!(unit.get("/api/camera/snapshot?overlay=perhaps", &token).error_code(), "VALIDATION_ERROR");
}

#[test]
fn pictures_move_and_places_are_limited() {
    let clip = Clip::new(3);
    let unit = clip.unit(&[("API__STREAM_CLIENTS_MAX", "1")]);
    let admin = unit.account("alma", "admin");
    let mut stream = clip.stream(&unit, &admin, "");
    let mut next = || {
        let frame = jpeg(&stream.chunk().unwrap());
        assert!(clip.frames.contains(&frame), "passed through");
        frame
    };
    let first = next();
    // Who is slow misses some, and may meet the same one of the three again.
    until("moving", || next() != first);
    assert_eq!(unit.get("/api/camera/stream", &admin).error_code(), "SERVICE_UNAVAILABLE");
    assert_eq!(unit.metric(&admin, "vehicle_classifier_limit_hits_total{limit=\"stream_clients\"}"), 1.0);
    drop(stream);
    let mut drawn = None;
    until("its place is free", || {
        let open = Open::get(&unit, "/api/camera/stream?overlay=true&fps=5", &admin, "");
        drawn = Some(open).filter(|open| open.status() == 200);
        drawn.is_some()
    });
    let mut drawn = drawn.unwrap();
    assert!(image::load_from_memory(&jpeg(&drawn.chunk().unwrap())).is_ok());
    for bad in ["fps=0", "fps=1e-300", "fps=-1", "fps=NaN", "size=small"] {
        assert_eq!(unit.get(&format!("/api/camera/stream?{bad}"), &admin).error_code(), "VALIDATION_ERROR", "{bad}");
    }
}

#[test]
fn without_a_picture_it_is_said_why() {
    let none = Unit::start();
    let token = none.account("ann", "user");
    let refused = none.get("/api/camera/snapshot", &token);
    assert_eq!((refused.status, refused.error_code().as_str()), (404, "NOT_FOUND"));
    assert!(refused.text().contains("capture.source"), "{}", refused.text());
    assert_eq!(none.get("/api/camera/stream", &token).status, 404);

    let gone = Unit::with(&[("CAPTURE__SOURCE", "replay:/nonexistent")]);
    let token = gone.account("ann", "user");
    let refused = gone.get("/api/camera/snapshot", &token);
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "SERVICE_UNAVAILABLE"));

    let clip = Clip::new(2);
    let source = format!("replay:{}?fps=20", clip.directory.path().join("clip.mjpeg").display());
    let ended = Unit::with(&[("CAPTURE__SOURCE", &source), ("API__SNAPSHOT_AGE_MAX_MS", "1")]);
    let token = ended.account("ann", "user");
    let mut status = 0;
    until("it says that the replay has ended", || {
        let reply = ended.get("/api/camera/snapshot", &token);
        status = reply.status;
        // What is a picture still has no words.
        reply.text().contains("the replay has ended")
            && reply.json()["details"]["age_ms"].as_u64().is_some_and(|age| age > 1)
    });
    assert_eq!(status, 503);
}
