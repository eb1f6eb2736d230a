//! Passages, counts and manual counts, over the socket. What the camera would have seen is written into the unit's store
//! from here: several processes may have it open.

use std::time::Duration;

use image::ImageFormat;
use jiff::Timestamp;
use serde_json::{Value, json};

use vehicle_classifierd::clock::Stamp;
use vehicle_classifierd::record::{CoverageSpan, Gap, LabelProbability, Passage};
use vehicle_classifierd::store::Store;

use crate::pictures::generated;
use crate::unit::Unit;
use crate::waiting::until;

/// `seconds` after 2026-05-04T12:00:00Z.
fn stamp(seconds: i64) -> Stamp {
    let at = Timestamp::from_second(1_777_896_000 + seconds).unwrap();
    Stamp { at, monotonic: Duration::from_secs(9), synced: true, boot_id: "boot".into() }
}

/// A vehicle over the line `gate`.
pub fn passage(id: &str, seconds: i64, class: &str, direction: &str) -> Passage {
    Passage {
        id: id.into(),
        class: class.into(),
        confidence: 0.9,
        votes: vec![LabelProbability { label: class.into(), probability: 0.9 }],
        crops: 4,
        line: Some("gate".into()),
        direction: Some(direction.into()),
        lane: None,
        speed_kmh: None,
        started: stamp(seconds - 2),
        ended: stamp(seconds + 2),
        counted: stamp(seconds),
        model: "vehicle-type".into(),
        model_version: "1.0.0".into(),
        crop: None,
    }
}

pub fn watched(from: i64, until: i64, gap: Option<Gap>) -> CoverageSpan {
    CoverageSpan { from: stamp(from), until: stamp(until), gap }
}

/// A quarter of an hour with four vehicles; then one half watched, one without a camera, and one that nobody passed in.
pub fn seen(store: &Store) {
    let spans = [
        watched(0, 900, None),
        watched(900, 1_350, None),
        watched(1_350, 2_700, Some(Gap::CameraDown)),
        watched(2_700, 3_600, None),
    ];
    store.record_coverage(spans.to_vec()).wait().unwrap();
    for (id, seconds, class, direction) in [
        ("a", 10, "car", "north"),
        ("b", 20, "suv", "north"),
        ("c", 400, "bicycle", "south"),
        ("d", 899, "truck", "south"),
        ("e", 900, "emergency", "north"),
    ] {
        store.record_passage(passage(id, seconds, class, direction)).wait().unwrap();
    }
}

const HOUR: &str = "from=2026-05-04T12:00:00Z&to=2026-05-04T13:00:00Z";

/// The intervals that a query gives.
pub fn intervals(unit: &Unit, token: &str, query: &str) -> Vec<Value> {
    let reply = unit.get(&format!("/api/traffic/counts?{query}"), token);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["data"]["intervals"].as_array().unwrap().clone()
}

/// Asks for yesterday and today: midnight may have been since a test began.
pub fn last_days() -> String {
    let yesterday = Timestamp::now() - jiff::SignedDuration::from_hours(24);
    format!("interval=1d&from={}", yesterday.strftime("%Y-%m-%dT%H:%M:%SZ"))
}

/// The count of one class in one direction.
fn cell(interval: &Value, direction: &str, class: &str) -> Value {
    let ways = interval["counts"].as_array().unwrap();
    ways.iter().find(|way| way["direction"] == direction).unwrap()["classes"][class].clone()
}

#[test]
fn counts_have_every_interval_and_tell_zero_from_not_watching() {
    let unit = Unit::start();
    let token = unit.account("ann", "user");
    seen(&unit.store());
    let found = intervals(&unit, &token, HOUR);
    let summary: Vec<_> =
        found.iter().map(|one| (one["total"].clone(), one["coverage_ratio"].clone(), one["reasons"].clone())).collect();
    assert_eq!(
        summary,
        [
            (json!(4), json!(1.0), json!({})),
            (json!(1), json!(0.5), json!({ "camera_down": 450.0 })),
            (Value::Null, json!(0.0), json!({ "camera_down": 900.0 })),
            (json!(0), json!(1.0), json!({})),
        ]
    );
    assert_eq!(cell(&found[0], "north", "car"), 1);
    assert_eq!(cell(&found[0], "south", "car"), 0, "watched, and none passed");
    assert_eq!(cell(&found[2], "north", "car"), Value::Null, "not watched");
    assert_eq!(intervals(&unit, &token, &format!("{HOUR}&interval=5m")).len(), 12);
    let hour = intervals(&unit, &token, &format!("{HOUR}&interval=1h"));
    assert_eq!((hour.len(), &hour[0]["total"], &hour[0]["coverage_ratio"]), (1, &json!(5), &json!(0.625)));
    let day = intervals(&unit, &token, &format!("{HOUR}&interval=1d"));
    assert_eq!((&day[0]["from"], &day[0]["total"]), (&json!("2026-05-04T00:00:00Z"), &json!(5)));
    assert_eq!(day[0]["reasons"]["before_first_start"], 43_200.0);
    // The unit itself has no camera, which is what it says of the present day.
    let today = intervals(&unit, &token, "");
    assert!(today.last().unwrap()["total"].is_null(), "{today:?}");
}

#[test]
fn counts_come_in_the_classes_of_road_authorities_and_as_a_table() {
    let unit = Unit::with(&[("UNIT__TIMEZONE", "Europe/Berlin")]);
    let token = unit.account("ann", "user");
    seen(&unit.store());
    let tls = intervals(&unit, &token, &format!("{HOUR}&scheme=tls8%2B1"));
    assert_eq!((cell(&tls[0], "north", "Pkw"), cell(&tls[0], "south", "Lkw")), (json!(2), json!(1)));
    assert_eq!((tls[0]["total"].clone(), cell(&tls[1], "north", "nk Kfz")), (json!(3), json!(1)), "no bicycles");
    assert!(cell(&tls[0], "north", "Sattel-Kfz").is_null(), "what cannot be told is not counted as zero");
    let scheme = &unit.get(&format!("/api/traffic/counts?{HOUR}&scheme=tls8+1"), &token).json()["data"]["scheme"];
    assert_eq!(scheme["cannot_tell"][2]["name"], "Sattel-Kfz");
    assert_eq!(scheme["cannot_tell"][2]["counted_as"], json!(["Lkw"]));
    let coba = intervals(&unit, &token, &format!("{HOUR}&scheme=coba"));
    assert_eq!((cell(&coba[0], "south", "PCL"), cell(&coba[0], "south", "OGV1")), (json!(1), json!(1)));

    let table = unit.get(&format!("/api/traffic/counts?{HOUR}&scheme=tls8%2B1&format=csv"), &token);
    assert!(table.header("content-type").unwrap().starts_with("text/csv"));
    let text = table.text();
    assert!(
        text.starts_with(
            "from,to,line,direction,class,vehicles,coverage_ratio,reasons,local_date,timezone,from_local\r\n"
        ),
        "{text}"
    );
    let has = |row: &str| assert!(text.contains(row), "{row}\n{text}");
    has(
        "2026-05-04T12:00:00Z,2026-05-04T12:15:00Z,gate,north,Pkw,2,1,,2026-05-04,Europe/Berlin,2026-05-04T14:00:00+02:00\r\n",
    );
    has(
        "2026-05-04T12:30:00Z,2026-05-04T12:45:00Z,gate,north,Pkw,,0,camera_down:900,2026-05-04,Europe/Berlin,2026-05-04T14:30:00+02:00\r\n",
    );
    has(
        "2026-05-04T12:45:00Z,2026-05-04T13:00:00Z,gate,south,Bus,0,1,,2026-05-04,Europe/Berlin,2026-05-04T14:45:00+02:00\r\n",
    );
    let day = intervals(&unit, &token, &format!("{HOUR}&interval=1d"));
    assert_eq!(day[0]["from"], "2026-05-03T22:00:00Z", "days are the unit's");
    assert_eq!((&day[0]["local_date"], &day[0]["timezone"]), (&json!("2026-05-04"), &json!("Europe/Berlin")));
    let by_date = intervals(&unit, &token, "from=2026-05-04&to=2026-05-05&interval=1d");
    assert_eq!(by_date, day, "a date is a day of the unit's time zone");
}

#[test]
fn counts_come_wide_for_spreadsheets_and_as_a_workbook_of_days_and_hours() {
    let unit = Unit::with(&[("UNIT__TIMEZONE", "Europe/Berlin")]);
    let token = unit.account("ann", "user");
    seen(&unit.store());
    let get = |query: &str| unit.get(&format!("/api/traffic/counts?{HOUR}&scheme=tls8%2B1&{query}"), &token);
    let wide = get("format=csv&layout=wide&bom=true").text();
    assert!(wide.starts_with('\u{feff}'), "Excel would not know that it is UTF-8");
    let rows: Vec<Vec<_>> = wide.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 1 + 4, "one row an interval: {wide}");
    let column =
        |name: &str| rows[0].iter().position(|column| *column == name).unwrap_or_else(|| panic!("{name}: {wide}"));
    let (cars, north) = (column("Pkw"), column("Pkw (gate north)"));
    assert_eq!((rows[1][cars], rows[1][north], rows[1][column("total")]), ("2", "2", "3"), "{wide}");
    assert_eq!((rows[3][cars], rows[4][cars]), ("", "0"), "not watched, and nobody passed: {wide}");
    assert_eq!(rows[1][column("from_local")], "2026-05-04T14:00:00+02:00");
    assert!(!get("format=csv").text().starts_with('\u{feff}'));

    let book = get("format=xlsx");
    let kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
    assert_eq!(book.header("content-type"), Some(kind));
    assert!(book.header("content-disposition").unwrap().contains("counts.xlsx"));
    let sheet = |name: &str| unzipped(&book.body, name);
    let names = sheet("xl/workbook.xml");
    assert!(names.contains("\"1d\"") && names.contains("\"1h\""), "{names}");
    // Days and hours of the range, each with the head.
    assert_eq!(sheet("xl/worksheets/sheet1.xml").matches("<row ").count(), 2);
    assert_eq!(sheet("xl/worksheets/sheet2.xml").matches("<row ").count(), 2);
    assert!(sheet("xl/sharedStrings.xml").contains("Pkw (gate north)"));
    for bad in
        ["format=xlsx&interval=1h", "format=xlsx&layout=wide", "layout=wide", "format=csv&layout=tall", "format=ods"]
    {
        assert_eq!(get(bad).error_code(), "VALIDATION_ERROR", "{bad}");
    }
}

#[test]
fn exported_counts_are_laid_out_as_the_api_lays_them_out() {
    let unit = Unit::with(&[("UNIT__TIMEZONE", "Europe/Berlin")]);
    let token = unit.account("ann", "user");
    seen(&unit.store());
    let config = unit.state_directory().join("zone.toml");
    std::fs::write(&config, "unit.timezone = \"Europe/Berlin\"\n").unwrap();
    let export = |more: &[&str]| {
        let range = ["--from", "2026-05-04T12:00:00Z", "--to", "2026-05-04T13:00:00Z", "--scheme", "tls8+1"];
        let arguments = [&["export", "counts", "--config", config.to_str().unwrap()][..], &range, more].concat();
        unit.command(&arguments, "")
    };
    let done = |more: &[&str]| {
        let output = export(more);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let get = |query: &str| unit.get(&format!("/api/traffic/counts?{HOUR}&scheme=tls8%2B1&{query}"), &token);
    for (arguments, query) in [
        (&["--layout", "wide", "--bom"][..], "format=csv&layout=wide&bom=true"),
        (&["--bom"], "format=csv&bom=true"),
        (&["--layout", "wide", "--interval", "1d"], "format=csv&layout=wide&interval=1d"),
    ] {
        assert_eq!(String::from_utf8_lossy(&done(arguments)), get(query).text(), "{query}");
    }
    let (book, served) = (done(&["--format", "xlsx"]), get("format=xlsx").body);
    for sheet in ["xl/worksheets/sheet1.xml", "xl/worksheets/sheet2.xml", "xl/sharedStrings.xml"] {
        assert_eq!(unzipped(&book, sheet), unzipped(&served, sheet), "{sheet}");
    }
    for bad in [&["--format", "xlsx", "--interval", "1h"][..], &["--format", "json", "--bom"]] {
        assert!(!export(bad).status.success(), "{bad:?}");
    }
}

/// A file of a ZIP archive, as Python reads it.
fn unzipped(archive: &[u8], name: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("archive.zip");
    std::fs::write(&path, archive).unwrap();
    let script = "import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))";
    let read = std::process::Command::new("python3").args(["-c", script]).arg(&path).arg(name).output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    String::from_utf8(read.stdout).unwrap()
}

#[test]
fn a_range_that_is_too_long_or_makes_no_sense_is_refused() {
    let unit = Unit::with(&[("API__COUNT_INTERVALS_MAX", "100")]);
    let admin = unit.account("alma", "admin");
    let refused = |query: &str| {
        let reply = unit.get(&format!("/api/traffic/counts?{query}"), &admin);
        assert_eq!(reply.error_code(), "VALIDATION_ERROR", "{query}");
        reply.json()["message"].as_str().unwrap().to_owned()
    };
    let long = refused("from=2026-05-04T00:00:00Z&to=2026-05-06T00:00:00Z");
    assert!(long.contains("192 intervals") && long.contains("100"), "{long}");
    assert_eq!(unit.metric(&admin, "vehicle_classifier_limit_hits_total{limit=\"count_intervals\"}"), 1.0);
    assert_eq!(intervals(&unit, &admin, "from=2026-05-04T00:00:00Z&to=2026-05-06T00:00:00Z&interval=1h").len(), 48);
    for bad in ["interval=2h", "scheme=euro13", "from=2999-01-01T00:00:00Z", "format=xml", "direction=north"] {
        refused(bad);
    }
}

fn ids(unit: &Unit, token: &str, query: &str) -> (Vec<String>, Option<String>) {
    let reply = unit.get(&format!("/api/traffic/passages?{query}"), token);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let page = reply.json()["data"].clone();
    let passages = page["passages"].as_array().unwrap().iter();
    let ids = passages.map(|passage| passage["id"].as_str().unwrap().to_owned()).collect();
    (ids, page["next_cursor"].as_str().map(str::to_owned))
}

#[test]
fn passages_are_listed_in_pages_by_filter_and_as_a_table() {
    let unit = Unit::start();
    let token = unit.account("ann", "user");
    let store = unit.store();
    seen(&store);
    let odd = Passage {
        line: None,
        direction: None,
        lane: Some("=1+1".into()),
        speed_kmh: Some(48.5),
        crop: Some(generated(16, 16, 1, ImageFormat::Jpeg)),
        ..passage("f", 1_000, "unclassified", "")
    };
    store.record_passage(odd).wait().unwrap();
    assert_eq!(ids(&unit, &token, "").0, ["f", "e", "d", "c", "b", "a"]);
    let (first, cursor) = ids(&unit, &token, "limit=4");
    // A vehicle that passes between two pages moves nothing.
    store.record_passage(passage("g", 2_000, "car", "north")).wait().unwrap();
    let (second, end) = ids(&unit, &token, &format!("limit=4&cursor={}", cursor.unwrap()));
    assert_eq!((first.len(), second, end), (4, vec!["b".into(), "a".into()], None));
    for (filter, expected) in [
        ("class=bicycle", vec!["c"]),
        ("line=gate&direction=south", vec!["d", "c"]),
        ("min_confidence=0.95", vec![]),
        ("from=2026-05-04T12:15:00Z&to=2026-05-04T12:16:00Z", vec!["e"]),
    ] {
        assert_eq!(ids(&unit, &token, filter).0, expected, "{filter}");
    }
    let row = &unit.get("/api/traffic/passages?class=unclassified", &token).json()["data"]["passages"][0];
    assert_eq!((&row["direction"], &row["line"], &row["speed_kmh"]), (&Value::Null, &Value::Null, &json!(48.5)));
    assert_eq!((&row["confidence"], &row["clock_synced"]), (&json!(0.9), &json!(true)));
    assert_eq!(
        (&row["started_at"], &row["counted_at"], &row["ended_at"]),
        (&json!("2026-05-04T12:16:38Z"), &json!("2026-05-04T12:16:40Z"), &json!("2026-05-04T12:16:42Z"))
    );
    let table = unit.get("/api/traffic/passages?format=csv&limit=2", &token);
    assert!(table.text().contains(",'=1+1,48.5,"), "{}", table.text());
    assert!(table.header("link").unwrap().contains("rel=\"next\""));
    let crop = unit.get("/api/traffic/passages/f/crop", &token);
    assert_eq!((crop.status, crop.header("content-type")), (200, Some("image/jpeg")));
    assert_eq!(unit.get("/api/traffic/passages/a/crop", &token).error_code(), "NOT_FOUND");
    for bad in ["limit=0", "limit=1001", "cursor=x", "min_confidence=2", "colour=red", "class="] {
        assert_eq!(unit.get(&format!("/api/traffic/passages?{bad}"), &token).error_code(), "VALIDATION_ERROR", "{bad}");
    }
}

#[test]
fn a_technicians_count_is_compared_and_kept() {
    let unit = Unit::start();
    let admin = unit.account("alma", "admin");
    let token = unit.account("ann", "user");
    seen(&unit.store());
    let counts = json!([
        { "class": "car", "direction": "north", "count": 2 },
        { "class": "truck", "direction": "south", "count": 1 },
        { "class": "bicycle", "direction": "south", "count": 1 }
    ]);
    let form = json!({ "from": "2026-05-04T12:00:00Z", "to": "2026-05-04T12:15:00Z", "counts": counts, "note": "from the bridge" });
    let reply = unit.post_json("/api/traffic/validations", &token, &form);
    assert_eq!(reply.status, 201, "{}", reply.text());
    let kept = reply.json()["data"].clone();
    assert_eq!(kept["total"], json!({ "manual": 4, "unit": 4, "error": 0, "error_ratio": 0.0 }));
    assert_eq!(
        (&kept["agreement"], &kept["coverage_ratio"], &kept["user"]),
        (&json!(0.75), &json!(1.0), &json!("ann"))
    );
    let error = |class: &str| {
        let rows = kept["classes"].as_array().unwrap().iter();
        rows.filter(|row| row["class"] == class).map(|row| row["error"].as_i64().unwrap()).sum::<i64>()
    };
    assert_eq!((error("car"), error("suv"), error("truck")), (-1, 1, 0), "the errors do not hide each other");

    let listed = unit.get("/api/traffic/validations?limit=1", &token).json();
    assert_eq!(listed["data"]["validations"], json!([kept]));
    let together = json!({ "from": "2026-05-04T12:00:00Z", "to": "2026-05-04T12:15:00Z", "scheme": "tls8+1",
        "counts": [{ "class": "Pkw", "count": 2 }, { "class": "Lkw", "count": 1 }] });
    let reply = unit.post_json("/api/traffic/validations", &token, &together).json();
    assert_eq!(reply["data"]["agreement"], 1.0, "{reply}");
    let events = unit.get("/api/audit?action=traffic.validate", &admin).json();
    assert_eq!(events["data"]["events"].as_array().unwrap().len(), 2);

    let change = |key: &str, value: Value| {
        let mut form = form.clone();
        form[key] = value;
        unit.post_json("/api/traffic/validations", &token, &form).error_code()
    };
    let car = |direction: Value| json!({ "class": "car", "direction": direction, "count": 1 });
    for (key, value) in [
        ("to", json!("2026-05-04T12:00:00Z")),
        ("to", json!("2999-01-01T00:00:00Z")),
        ("from", json!("2026-05-01T12:00:00Z")),
        ("counts", json!([{ "class": "tank", "count": 1 }])),
        ("counts", json!([car(json!("north")), car(json!("north"))])),
        ("counts", json!([car(json!("north")), car(Value::Null)])),
        ("counts", json!([{ "class": "car", "count": -1 }])),
        ("scheme", json!("fhwa")),
        ("weather", json!("rain")),
    ] {
        assert_eq!(change(key, value.clone()), "VALIDATION_ERROR", "{key} = {value}");
    }
}

#[test]
fn what_was_watched_survives_a_stop_and_the_pause_is_told() {
    let recording = tempfile::tempdir().unwrap();
    let frames: Vec<u8> = (0..4).flat_map(|seed| generated(64, 48, seed, ImageFormat::Jpeg)).collect();
    let clip = recording.path().join("clip.mjpeg");
    std::fs::write(&clip, frames).unwrap();
    let unit = Unit::with(&[("CAPTURE__SOURCE", &format!("replay:{}?fps=10&loop=true", clip.display()))]);
    let admin = unit.account("alma", "admin");
    let watching = "vehicle_classifier_watch_seconds_total{state=\"watching\"}";
    until("it watches", || unit.metric(&admin, watching) >= 2.0);
    assert!(unit.metric(&admin, "vehicle_classifier_interval_coverage_ratio") > 0.0);
    let unit = unit.stop_and_restart();
    let watched: f64 = intervals(&unit, &admin, &last_days())
        .iter()
        .map(|day| day["coverage_ratio"].as_f64().unwrap_or_default())
        .sum();
    assert!(watched > 0.0, "stored when the unit stopped, before ten seconds were over");
}

#[test]
fn the_ledger_is_exported_whole_in_the_order_of_time() {
    let unit = Unit::start();
    seen(&unit.store());
    let export = |arguments: &[&str]| {
        let output = unit.command(&[&["export"], arguments].concat(), "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let range = ["--from", "2026-05-04", "--to", "2026-05-05"];
    let passages = export(&[&["passages"][..], &range].concat());
    let ids: Vec<_> = passages.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(ids, ["a", "b", "c", "d", "e"]);
    let objects = export(&[&["passages", "--format", "json"][..], &range].concat());
    let classes: Vec<Value> =
        objects.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["class"].clone()).collect();
    assert_eq!(classes, ["car", "suv", "bicycle", "truck", "emergency"]);
    let counts = export(&[&["counts", "--interval", "1d", "--scheme", "tls8+1"][..], &range].concat());
    assert!(counts.contains("2026-05-04T00:00:00Z,2026-05-05T00:00:00Z,gate,north,Pkw,2,"), "{counts}");
    let week = ["counts", "--interval", "5m", "--format", "json", "--from", "2026-05-01", "--to", "2026-05-08"];
    assert_eq!(export(&week).lines().count(), 7 * 288, "every interval, over several pieces");
    let audit = export(&["audit", "--from", "2020-01-01", "--to", "2099-01-01"]);
    assert!(audit.starts_with("id,created_at,user,action,") && audit.lines().count() >= 2, "{audit}");
    let reports = export(&["reports", "--from", "2020-01-01", "--to", "2099-01-01"]);
    assert_eq!(reports.lines().count(), 1, "{reports}");
    let refused = unit.command(&["export", "passages", "--from", "2026-05-05", "--to", "2026-05-04"], "");
    assert_eq!(refused.status.code(), Some(2));
    let refused = unit.command(&["export", "passages", "--from", "yesterday", "--to", "2026-05-04"], "");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("2026-05-01T12:00:00Z"));
}
