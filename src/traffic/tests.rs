//! A composed road: 200 vehicles whose passages are known, seen through noise, gaps, occlusion and shaking.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::clock::Stamp;
use crate::config;
use crate::frame::Rect;

mod beside;

const PICTURE: (f32, f32) = (640.0, 360.0);
const FPS: f64 = 12.5;

/// Numbers that look random and are the same every time (Numerical Recipes' linear congruential generator).
struct Chance(u64);

impl Chance {
    fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1_u64 << 24) as f32
    }

    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }
}

/// One vehicle of the composed road: it drives down (towards the camera) or up a lane, and may stop for a while.
struct Vehicle {
    enters: f64,
    lane: usize,
    down: bool,
    /// Seconds from the top of the picture to its bottom.
    takes: f64,
    /// When it stops, as a share of its way, and for how long.
    stops: Option<(f64, f64)>,
    wide: f32,
}

impl Vehicle {
    /// Share of its way at a time; none before and after.
    fn progress(&self, now: f64) -> Option<f64> {
        let mut driven = now - self.enters;
        if let Some((at, long)) = self.stops {
            let begins = at * self.takes;
            driven = if driven < begins { driven } else { (driven - long).max(begins) };
        }
        (0.0..=self.takes).contains(&driven).then(|| driven / self.takes)
    }

    /// Perspective: 24 pixels high at the top, 110 at the bottom.
    fn rect(&self, now: f64) -> Option<Rect> {
        let progress = self.progress(now)?;
        let down = if self.down { progress } else { 1.0 - progress } as f32;
        let height = 24.0 + 86.0 * down * down;
        let y = 40.0 + 320.0 * down * down;
        let spread = 0.35 + 0.65 * down * down;
        let x = 320.0 + (self.lane as f32 - 1.5) * 140.0 * spread;
        Some(Rect::around((x, y), height * self.wide, height))
    }

    /// From when to when its middle is at the line, within a fifth of its height: where it stands on the line, nobody can
    /// say when it crosses.
    fn crosses(&self, line_y: f32) -> (f64, f64) {
        let mut times = Vec::new();
        let mut at = self.enters;
        while let Some(rect) = self.rect(at) {
            if (rect.centre().1 - line_y).abs() < 0.2 * rect.height() {
                times.push(at);
            }
            at += 0.01;
        }
        (times[0], times[times.len() - 1])
    }
}

fn road(vehicles: usize, chance: &mut Chance) -> Vec<Vehicle> {
    let mut free = [0.0_f64; 4];
    let mut road = Vec::new();
    let mut now = 1.0;
    for number in 0..vehicles {
        now += f64::from(chance.between(0.2, 1.6));
        // Every fifth keeps beside the one before.
        let lane = if number % 5 == 4 {
            (road.last().map_or(0, |last: &Vehicle| last.lane) ^ 1) & 3
        } else {
            (chance.unit() * 4.0) as usize % 4
        };
        let down = lane < 2;
        let takes = f64::from(chance.between(2.5, 5.0));
        let stops =
            (number % 7 == 3).then(|| (f64::from(chance.between(0.3, 0.9)), f64::from(chance.between(1.0, 6.0))));
        let enters = now.max(free[lane]);
        free[lane] = enters + takes + stops.map_or(0.0, |stop| stop.1) * 1.0 - takes * 0.45;
        road.push(Vehicle { enters, lane, down, takes, stops, wide: chance.between(0.9, 1.5) });
    }
    road
}

fn traffic() -> config::TrafficConfig {
    serde_json::from_value(serde_json::json!({
        "lines": [{"name": "line", "from": [0, 0.6], "to": [1, 0.6], "forward": "down", "backward": "up"}],
        "passage_delay_ms": 500
    }))
    .unwrap()
}

fn stamp(at: f64) -> Stamp {
    let monotonic = Duration::from_secs_f64(at);
    Stamp { at: Timestamp::UNIX_EPOCH + monotonic, monotonic, synced: true, boot_id: Arc::from("") }
}

/// A picture in which the motion model sees nothing.
fn still() -> Foreground {
    Foreground {
        cell: 8.0,
        width: 80,
        height: 45,
        foreground: vec![false; 3_600],
        active: vec![false; 3_600],
        ..Foreground::default()
    }
}

/// What a detector says of one vehicle: trembling, sometimes weak or nothing, sometimes twice.
fn detections(vehicles: &[Vehicle], now: f64, chance: &mut Chance) -> Vec<Detection> {
    let shake = (chance.between(-4.0, 4.0), chance.between(-4.0, 4.0));
    // A jump of the light: for a third of a second the detector finds little.
    let dazzled = now % 20.0 < 0.33;
    let mut found = Vec::new();
    for vehicle in vehicles {
        let Some(rect) = vehicle.rect(now) else { continue };
        // Behind a pole at the roadside for a part of the way.
        let hidden =
            vehicle.progress(now).is_some_and(|progress| vehicle.lane == 3 && (0.45..0.55).contains(&progress));
        let missed = chance.unit() < if dazzled { 0.8 } else { 0.12 };
        if hidden || missed {
            continue;
        }
        let tremble = 0.04 * rect.height();
        let mut side = |value: f32| value + chance.between(-tremble, tremble);
        let rect = Rect {
            left: side(rect.left) + shake.0,
            right: side(rect.right) + shake.0,
            top: side(rect.top) + shake.1,
            bottom: side(rect.bottom) + shake.1,
        };
        found.push(Detection { rect, score: chance.between(0.25, 0.9), person: 0.05 });
        if chance.unit() < 0.1 {
            // Its lower half again, as a vehicle of its own: the cab of a lorry.
            let cab = Rect { top: rect.top + 0.4 * rect.height(), ..rect };
            found.push(Detection { rect: cab, score: chance.between(0.25, 0.6), person: 0.05 });
        }
    }
    if chance.unit() < 0.1 {
        let at = (chance.between(50.0, 600.0), chance.between(50.0, 300.0));
        found.push(Detection { rect: Rect::around(at, 40.0, 40.0), score: chance.between(0.25, 0.6), person: 0.0 });
    }
    found
}

struct Score {
    right: usize,
    missed: usize,
    wrong: usize,
    double: usize,
}

/// Pairs what was counted with what happened: same direction, within a second.
fn score(road: &[Vehicle], counted: &[(f64, String)]) -> Score {
    let mut truth: Vec<((f64, f64), &str, bool)> = road
        .iter()
        .map(|vehicle| (vehicle.crosses(0.6 * PICTURE.1), if vehicle.down { "down" } else { "up" }, false))
        .collect();
    let mut score = Score { right: 0, missed: 0, wrong: 0, double: 0 };
    for (at, direction) in counted {
        let off = |(from, until): (f64, f64)| (from - at).max(at - until).max(0.0);
        let mut candidates: Vec<_> =
            truth.iter_mut().filter(|entry| entry.1 == direction && off(entry.0) < 1.0).collect();
        // In the order of time to who passes first: no other way pairs more.
        candidates.sort_by(|a, b| a.0.1.total_cmp(&b.0.1));
        let some = !candidates.is_empty();
        match candidates.into_iter().find(|entry| !entry.2) {
            Some(entry) => {
                entry.2 = true;
                score.right += 1;
            }
            None if some => score.double += 1,
            None => score.wrong += 1,
        }
    }
    score.missed = truth.iter().filter(|entry| !entry.2).count();
    score
}

fn drive(road: &[Vehicle], mut look: impl FnMut(f64, &mut Tracker)) -> Vec<(f64, String)> {
    let end = road.iter().map(|vehicle| vehicle.enters + vehicle.takes + 8.0).fold(0.0, f64::max);
    let mut tracker = Tracker::new(traffic());
    let mut counted = Vec::new();
    for frame in 0..(end * FPS) as usize {
        look(frame as f64 / FPS, &mut tracker);
        counted.extend(tracker.finished());
    }
    tracker.finish();
    counted.extend(tracker.finished());
    let told = |finished: FinishedTrack| finished.track.counted.map(|counted| (counted.at, counted.direction.unwrap()));
    let mut counted: Vec<_> = counted.into_iter().filter_map(told).collect();
    counted.sort_by(|a, b| a.0.total_cmp(&b.0));
    counted
}

#[test]
fn two_hundred_vehicles_are_counted_once_each() {
    let still = still();
    for seed in 1..=7 {
        let mut chance = Chance(seed);
        let road = road(200, &mut chance);
        let counted = drive(&road, |now, tracker| {
            let found = detections(&road, now, &mut chance);
            let moment = Moment { at: now, stamp: stamp(now) };
            tracker.observe(&Observation { moment, picture: PICTURE, detections: Some(&found), foreground: &still });
        });
        let Score { right, missed, wrong, double } = score(&road, &counted);
        assert!(
            right >= 190 && wrong + double == 0,
            "seed {seed}: {right} of 200 found, {missed} missed, {wrong} invented, {double} counted twice"
        );
    }
}

#[test]
fn where_the_detector_is_blind_motion_alone_counts() {
    let mut chance = Chance(11);
    // A lane at a time, so that no two blobs ever merge: what a camera that looks straight down sees.
    let road: Vec<Vehicle> = (0..24)
        .map(|number| {
            let lane = number % 4;
            Vehicle { enters: 3.0 + 3.0 * number as f64, lane, down: lane < 2, takes: 3.0, stops: None, wide: 1.2 }
        })
        .collect();
    let mut motion = Motion::default();
    let counted = drive(&road, |now, tracker| {
        // A lorry's shadow over the sensor: the exposure jumps every few seconds.
        let light = if now % 7.0 < 3.0 { 1.0 } else { 0.75 };
        let mut values = Vec::with_capacity(3_600);
        for at in 0..3_600 {
            let (x, y) = ((at % 80) as f32 * 8.0 + 4.0, (at / 80) as f32 * 8.0 + 4.0);
            let covered = road
                .iter()
                .filter_map(|vehicle| vehicle.rect(now))
                .any(|rect| (rect.left..rect.right).contains(&x) && (rect.top..rect.bottom).contains(&y));
            let ground = 90.0 + 30.0 * (x / 97.0).sin() * (y / 53.0).cos();
            values.push((if covered { 190.0 } else { ground }) * light + chance.between(-1.5, 1.5));
        }
        let sight = motion.observe(&Cells { width: 80, height: 45, cell: 8.0, values: &values }, 1.0 / FPS as f32);
        let moment = Moment { at: now, stamp: stamp(now) };
        tracker.observe(&Observation { moment, picture: PICTURE, detections: None, foreground: &sight });
    });
    let Score { right, missed, wrong, double } = score(&road, &counted);
    assert!(
        right >= 23 && wrong + double == 0,
        "{right} of 24 found, {missed} missed, {wrong} invented, {double} double"
    );
}

#[test]
fn swaying_leaves_shaking_and_light_make_no_vehicles() {
    let mut chance = Chance(3);
    let mut motion = Motion::default();
    let mut tracker =
        Tracker::new(config::TrafficConfig { lines: traffic().lines, ..config::TrafficConfig::default() });
    for frame in 0..700 {
        let now = f64::from(frame) / FPS;
        let (sway, light) = ((now * 5.0).sin() as f32, 1.0 + 0.2 * (now * 0.7).sin() as f32);
        let shake = (chance.between(-3.0, 3.0), chance.between(-3.0, 3.0));
        let values: Vec<f32> = (0..3_600)
            .map(|at| {
                let (x, y) = ((at % 80) as f32 * 8.0 + shake.0, (at / 80) as f32 * 8.0 + shake.1);
                let leaves = if x < 200.0 && y < 200.0 { 35.0 * ((x + 14.0 * sway) / 9.0).sin() } else { 0.0 };
                (100.0 + 30.0 * (x / 61.0).sin() + 20.0 * (y / 47.0).cos() + leaves) * light + chance.between(-1.5, 1.5)
            })
            .collect();
        let sight = motion.observe(&Cells { width: 80, height: 45, cell: 8.0, values: &values }, 1.0 / FPS as f32);
        let moment = Moment { at: now, stamp: stamp(now) };
        tracker.observe(&Observation { moment, picture: PICTURE, detections: None, foreground: &sight });
    }
    tracker.finish();
    assert_eq!(tracker.finished().len(), 0);
}

#[test]
fn a_vehicle_that_stops_on_the_line_counts_once_and_a_walker_never() {
    let mut tracker = Tracker::new(traffic());
    let still = still();
    let mut chance = Chance(5);
    for frame in 0..500 {
        let now = f64::from(frame) / FPS;
        // Drives, stands trembling on the line for half a minute, drives on.
        let y = (80.0 + 60.0 * now.min(2.2) + 60.0 * (now - 32.0).max(0.0)) as f32;
        let mut found = vec![Detection {
            rect: Rect::around((200.0 + chance.between(-3.0, 3.0), y + chance.between(-3.0, 3.0)), 80.0, 60.0),
            score: chance.between(0.3, 0.9),
            person: 0.0,
        }];
        // Somebody walks across the line, taken for a vehicle now and then.
        let walker = Rect::around((500.0, 150.0 + 8.0 * now as f32), 18.0, 44.0);
        found.push(Detection { rect: walker, score: 0.25, person: if chance.unit() < 0.85 { 0.7 } else { 0.2 } });
        let moment = Moment { at: now, stamp: stamp(now) };
        tracker.observe(&Observation { moment, picture: PICTURE, detections: Some(&found), foreground: &still });
    }
    tracker.finish();
    let counted = tracker.finished();
    assert_eq!(counted.len(), 1, "{:?}", counted.iter().map(|finished| &finished.track.counted).collect::<Vec<_>>());
    assert_eq!(counted[0].track.counted.as_ref().unwrap().direction.as_deref(), Some("down"));
}
