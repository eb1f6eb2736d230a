//! From pictures to passages, whole: a composed road whose traffic is known, through the detector, the tracker and the
//! classifier, on the command line and in a running unit.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::road::{Chance, FPS, Road, Truth};
use crate::unit::{Unit, run};
use crate::waiting::{PATIENCE, until};

/// An upright line in the middle: from the bottom to the top, so that `forward` is to the right.
const CONFIGURATION: &str = r#"
[[traffic.lines]]
name = "gate"
from = [0.5, 1.0]
to = [0.5, 0.0]
forward = "right"
backward = "left"

[traffic]
clip_fps = 10
keep_crops = "all"
"#;

/// What is counted may be this many seconds off: a vehicle that others hide is seen again a little later.
const OFF_MAX: f64 = 1.0;

/// Writes the road as a clip and the configuration beside it.
fn recorded(mut road: Road, directory: &Path) -> Vec<Truth> {
    let mut clip = Vec::new();
    while let Some(frame) = road.frame() {
        clip.extend(frame);
    }
    std::fs::write(directory.join("clip.mjpeg"), clip).unwrap();
    std::fs::write(directory.join("config.toml"), CONFIGURATION).unwrap();
    road.truth()
}

#[derive(Debug, Default)]
struct Score {
    right: usize,
    missed: Vec<Truth>,
    double: usize,
    invented: usize,
}

/// Pairs what was counted with what passed in the same direction then: both in the order of time, so that no other way pairs
/// more.
fn score(truth: &[Truth], counted: &[(f64, String)]) -> Score {
    let mut score = Score::default();
    let mut open = vec![true; truth.len()];
    let mut counted: Vec<_> = counted.iter().collect();
    counted.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (at, direction) in counted {
        let off = |one: &Truth| (one.from - at).max(at - one.until).max(0.0);
        let mut near: Vec<usize> =
            (0..truth.len()).filter(|&n| truth[n].direction == *direction && off(&truth[n]) <= OFF_MAX).collect();
        near.sort_by(|&a, &b| truth[a].until.total_cmp(&truth[b].until));
        match near.iter().find(|&&n| open[n]) {
            Some(&n) => {
                open[n] = false;
                score.right += 1;
            }
            None if near.is_empty() => score.invented += 1,
            None => score.double += 1,
        }
    }
    score.missed = truth.iter().zip(open).filter(|(_, open)| *open).map(|(one, _)| one.clone()).collect();
    score
}

/// A number from the environment.
fn wanted(name: &str) -> Option<usize> {
    std::env::var(name).ok().map(|number| number.parse().unwrap_or_else(|_| panic!("{name}={number} is no number")))
}

/// `ROAD_VEHICLES` lets more pass, `ROAD_SEED` others: docs/TRAFFIC.md says what that takes.
fn counted_on_a_road(seed: u64) {
    let vehicles = wanted("ROAD_VEHICLES").unwrap_or(40);
    let seed = wanted("ROAD_SEED").map_or(seed, |other| other as u64 + seed);
    let directory = tempfile::tempdir().unwrap();
    let truth = recorded(Road::new(vehicles, Chance(seed)), directory.path());
    assert_eq!(truth.len(), vehicles);
    let place = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (config, clip, fps) = (place("config.toml"), place("clip.mjpeg"), FPS.to_string());
    let output = run(directory.path(), &["--config", &config, "count", &clip, "--fps", &fps, "--json"], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let passage = |line: &str| {
        let passage: Value = serde_json::from_str(line).unwrap();
        (passage["counted_at_seconds"].as_f64().unwrap(), passage["direction"].as_str().unwrap().to_owned())
    };
    let counted: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(passage).collect();
    let score = score(&truth, &counted);
    let (right, all) = (score.right as f64, counted.len() as f64);
    let Score { missed, double, invented, .. } = &score;
    eprintln!(
        "seed {seed}: precision {:.3}, recall {:.3}; {} missed, {double} double, {invented} invented; {} hidden at the line",
        right / all,
        right / vehicles as f64,
        missed.len(),
        truth.iter().filter(|one| one.seen < 0.15).count()
    );
    for Truth { from, lane, kind, seen, .. } in missed {
        eprintln!(
            "missed: {kind} in lane {lane} at {from:.1} s; {:.0} % of it could be seen at the line",
            seen * 100.0
        );
    }
    assert!(right >= 0.95 * all && right >= 0.95 * vehicles as f64 && score.double == 0, "{score:?}");
}

#[test]
fn a_busy_road_is_counted_vehicle_by_vehicle() {
    counted_on_a_road(1);
}

#[test]
fn another_busy_road_is_counted_vehicle_by_vehicle() {
    counted_on_a_road(2);
}

/// Waits for the end of a recording for as long as it gets on: on a busy machine it may take many times what it shows.
fn until_over(unit: &Unit, admin: &str) {
    let captured = || unit.metric(admin, "vehicle_classifier_frames_total{result=\"captured\"}");
    let (mut before, mut since) = (captured(), Instant::now());
    while !unit.log.comes_within(Duration::from_secs(5), "the replay has ended") {
        let now = captured();
        if now > before {
            (before, since) = (now, Instant::now());
        }
        assert!(since.elapsed() < PATIENCE, "stuck after {now} frames:\n{}", unit.log.text());
    }
}

#[test]
fn what_passes_before_a_units_camera_is_in_its_ledger_with_a_picture() {
    let directory = tempfile::tempdir().unwrap();
    let truth = recorded(Road::new(6, Chance(4)), directory.path());
    let config = directory.path().join("config.toml");
    let source = format!("replay:{}?fps=0", directory.path().join("clip.mjpeg").display());
    let unit = Unit::with(&[("--config", config.to_str().unwrap()), ("CAPTURE__SOURCE", &source)]);
    let token = unit.account("ann", "admin");
    until_over(&unit, &token);
    let mut passages = Vec::new();
    until("all are in the ledger", || {
        let page = unit.get("/api/traffic/passages", &token).json();
        passages.clone_from(page["data"]["passages"].as_array().unwrap());
        passages.len() >= truth.len()
    });
    // The clip's own time, though it was read faster or slower: newest first.
    let at = |passage: &Value| passage["counted_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let took = at(&passages[0]).duration_since(at(&passages[passages.len() - 1])).as_secs_f64();
    let known = truth[truth.len() - 1].from - truth[0].from;
    assert!((took - known).abs() <= 2.0 * OFF_MAX, "{took} s from the first to the last, in truth {known} s");
    // A vehicle that is too small to classify has no picture worth keeping.
    let pictured = passages.iter().filter(|passage| passage["crops"] != 0).count();
    assert!(2 * pictured >= passages.len(), "{passages:?}");
    let mut ways = BTreeMap::<String, usize>::new();
    for passage in &passages {
        assert_eq!(passage["line"], "gate", "{passage}");
        *ways.entry(passage["direction"].as_str().unwrap().to_owned()).or_default() += 1;
        let crop = unit.get(&format!("/api/traffic/passages/{}/crop", passage["id"].as_str().unwrap()), &token);
        if passage["crops"] == 0 {
            assert_eq!(crop.status, 404, "{passage}");
            continue;
        }
        assert_eq!((crop.status, crop.header("content-type")), (200, Some("image/jpeg")), "{}", crop.text());
        let picture = image::load_from_memory(&crop.body).unwrap();
        assert!(picture.width() > 48 && picture.height() > 20, "{} × {}", picture.width(), picture.height());
    }
    let mut known = BTreeMap::<String, usize>::new();
    truth.iter().for_each(|one| *known.entry(one.direction.to_owned()).or_default() += 1);
    assert_eq!(ways, known);
}
