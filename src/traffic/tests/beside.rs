//! Vehicles that hide one another, drive side by side, or come where another leaves: what a line across a busy road sees.

use super::*;

/// From the bottom to the top, so that `forward` is to the right.
fn upright() -> config::TrafficConfig {
    serde_json::from_value(serde_json::json!({
        "lines": [{"name": "line", "from": [0.5, 1], "to": [0.5, 0], "forward": "right", "backward": "left"}],
        "passage_delay_ms": 500
    }))
    .unwrap()
}

/// A box by the middle of its lower edge, as far as it lies in the picture.
fn shown(x: f32, ground: f32, (width, height): (f32, f32), score: f32) -> Option<Detection> {
    let rect = Rect { left: x - width / 2.0, top: ground - height, right: x + width / 2.0, bottom: ground };
    let rect = rect.within(PICTURE);
    (rect.width() > 12.0).then_some(Detection { rect, score, person: 0.0 })
}

/// The directions of what is counted when a detector sees this at these seconds.
fn counted(seconds: f64, seen: impl Fn(f32) -> Vec<Option<Detection>>) -> Vec<String> {
    let finished = finished(seconds, seen).into_iter();
    let mut ways: Vec<_> = finished.filter_map(|finished| finished.track.counted?.direction).collect();
    ways.sort();
    ways
}

/// What has passed when a detector sees this at these seconds.
fn finished(seconds: f64, seen: impl Fn(f32) -> Vec<Option<Detection>>) -> Vec<FinishedTrack> {
    let still = still();
    let mut tracker = Tracker::new(upright());
    let mut chance = Chance(17);
    let mut finished = Vec::new();
    for frame in 0..(seconds * FPS) as usize {
        let at = frame as f64 / FPS;
        let mut found: Vec<Detection> = seen(at as f32).into_iter().flatten().collect();
        for Detection { rect, .. } in &mut found {
            let (x, y) = (chance.between(-1.5, 1.5), chance.between(-1.5, 1.5));
            *rect = Rect { left: rect.left + x, top: rect.top + y, right: rect.right + x, bottom: rect.bottom + y };
            *rect = rect.within(PICTURE);
        }
        tracker.observe(&Observation {
            moment: Moment { at, stamp: stamp(at) },
            picture: PICTURE,
            detections: Some(&found),
            foreground: &still,
        });
        finished.extend(tracker.finished());
    }
    tracker.finish();
    finished.extend(tracker.finished());
    finished
}

const CAR: (f32, f32) = (95.0, 38.0);
const BUS: (f32, f32) = (230.0, 96.0);

#[test]
fn who_enters_where_another_leaves_is_another() {
    // A car leaves on the left; before it is gone, a bus comes in there, and hides what is left of the car.
    let ways = counted(7.0, |now| {
        let car = 400.0 - 200.0 * now;
        let bus = -140.0 + 180.0 * (now - 1.7);
        let seen = if bus + 115.0 < 12.0 { shown(car, 225.0, CAR, 0.6) } else { None };
        vec![seen, shown(bus, 285.0, BUS, 0.6)]
    });
    assert_eq!(ways, ["left", "right"]);
}

#[test]
fn oncoming_vehicles_that_cross_the_line_over_one_another_both_count() {
    // The bus crosses half a second after the car, of which it then covers the place.
    let ways = counted(5.0, |now| {
        let (car, bus) = (560.0 - 130.0 * now, 21.0 + 130.0 * now);
        // The bus hides the car while their boxes meet.
        let hidden = (car - bus).abs() < 110.0;
        vec![(!hidden).then(|| shown(car, 225.0, CAR, 0.6)).flatten(), shown(bus, 285.0, BUS, 0.6)]
    });
    assert_eq!(ways, ["left", "right"]);
}

#[test]
fn a_vehicle_that_the_detector_doubts_counts_when_it_moves_on_its_own() {
    // They meet on the line, where the nearer one covers half of it.
    let ways = counted(6.0, |now| {
        vec![
            shown(580.0 - 130.0 * now, 250.0, CAR, if now < 0.5 { 0.6 } else { 0.3 }),
            shown(60.0 + 130.0 * now, 275.0, (130.0, 60.0), 0.6),
        ]
    });
    assert_eq!(ways, ["left", "right"]);
}

#[test]
fn a_part_that_the_detector_doubts_and_that_keeps_its_place_does_not() {
    let ways = counted(6.0, |now| {
        let lorry = 60.0 + 100.0 * now;
        // Its load, seen a moment before the whole.
        let whole = (now > 0.3).then(|| shown(lorry, 285.0, BUS, 0.6)).flatten();
        vec![shown(lorry + 30.0, 250.0, (110.0, 60.0), if now < 0.3 { 0.5 } else { 0.3 }), whole]
    });
    assert_eq!(ways, ["right"]);
}

#[test]
fn two_side_by_side_that_are_often_seen_as_one_are_two() {
    let ways = counted(6.0, |now| {
        let x = -60.0 + 150.0 * now;
        // Of every three observations two show one box around both.
        let apart = x < 150.0 || (now * FPS as f32).round() as i32 % 3 == 0;
        if apart {
            return vec![shown(x, 225.0, CAR, 0.5), shown(x + 10.0, 190.0, CAR, 0.5)];
        }
        vec![shown(x + 5.0, 225.0, (105.0, 73.0), 0.5)]
    });
    assert_eq!(ways, ["right", "right"]);
}

#[test]
fn what_is_seen_for_a_moment_here_and_there_is_no_vehicle() {
    let ways = counted(8.0, |now| {
        // Three looks on one side; half a second later three observations on the other.
        let place = match (now * FPS as f32).round() as i32 % 25 {
            4..7 => 262.0,
            13..16 => 372.0,
            _ => return Vec::new(),
        };
        vec![shown(place, 225.0, CAR, 0.45)]
    });
    assert_eq!(ways, [""; 0]);
}

#[test]
fn a_slow_camera_counts_too() {
    // Two and a half frames a second, as a small core manages.
    let mut tracker = Tracker::new(upright());
    let still = still();
    for frame in 0..20 {
        let at = f64::from(frame) * 0.4;
        let found: Vec<_> = shown(-40.0 + 130.0 * at as f32, 225.0, CAR, 0.6).into_iter().collect();
        let moment = Moment { at, stamp: stamp(at) };
        tracker.observe(&Observation { moment, picture: PICTURE, detections: Some(&found), foreground: &still });
    }
    tracker.finish();
    assert_eq!(tracker.finished().len(), 1);
}

#[test]
fn who_stops_at_once_just_before_the_line_is_not_taken_across() {
    // Between two observations it stops, as it seems when another hides its braking, stands, and drives on.
    let ways = counted(8.0, |now| {
        let x = 280.0 - 400.0 * (0.8 - now).max(0.0) + 200.0 * (now - 6.0).max(0.0);
        vec![shown(x, 225.0, CAR, 0.6)]
    });
    assert_eq!(ways, ["right"]);
}

#[test]
fn what_crossed_behind_another_is_counted_at_the_moment_it_crossed() {
    // A car is hidden by a standing bus from 80 pixels before the line to 80 behind it, which it crosses after 2.5 seconds.
    let seen = finished(5.0, |now| {
        let car = 620.0 - 120.0 * now;
        vec![((car - 320.0).abs() > 80.0).then(|| shown(car, 225.0, CAR, 0.6)).flatten()]
    });
    let at: Vec<f64> = seen.iter().filter_map(|finished| Some(finished.track.counted.as_ref()?.at)).collect();
    let stamped = seen[0].track.counted.as_ref().unwrap().stamp.monotonic.as_secs_f64();
    assert!(at.len() == 1 && (at[0] - 2.5).abs() < 0.1 && (stamped - at[0]).abs() < 1e-6, "{at:?} {stamped}");
}

#[test]
fn who_is_seen_weakly_all_the_way_and_well_at_last_counts() {
    // Beside a nearer one, the detector is sure of it only behind the line.
    let ways = counted(6.0, |now| {
        let x = -60.0 + 130.0 * now;
        let score = if now > 3.2 { 0.5 } else { 0.36 };
        vec![shown(x, 190.0, CAR, score), shown(x + 15.0, 260.0, (120.0, 50.0), 0.6)]
    });
    assert_eq!(ways, ["right", "right"]);
}

#[test]
fn who_the_detector_doubts_may_stand_where_nothing_moves() {
    // It stops before the line; while nothing moves the detector is not asked. Then it drives on.
    let (mut tracker, still) = (Tracker::new(upright()), still());
    for frame in 0..(70.0 * FPS) as usize {
        let at = frame as f64 / FPS;
        let (stands, score) = ((2.0..62.0).contains(&at), if frame % 3 == 0 { 0.5 } else { 0.36 });
        let x = 60.0 + 90.0 * at.min(2.0) + 60.0 * (at - 62.0).max(0.0);
        let found: Vec<_> = shown(x as f32, 225.0, CAR, score).into_iter().collect();
        let detections = (!stands || at < 3.0).then_some(&found[..]);
        tracker.observe(&Observation {
            moment: Moment { at, stamp: stamp(at) },
            picture: PICTURE,
            detections,
            foreground: &still,
        });
    }
    tracker.finish();
    assert_eq!(tracker.finished().len(), 1);
}

#[test]
fn of_two_lines_the_first_that_it_crossed_counts_whenever_it_was_believed() {
    // The detector is sure of it only behind both; the configuration names the second line first.
    let line = |name: &str, x: f64| serde_json::json!({"name": name, "from": [x, 1], "to": [x, 0], "forward": "right"});
    let traffic = serde_json::json!({ "lines": [line("second", 0.5), line("first", 0.35)] });
    let mut tracker = Tracker::new(serde_json::from_value(traffic).unwrap());
    let still = still();
    for frame in 0..(5.0 * FPS) as usize {
        let at = frame as f64 / FPS;
        let found: Vec<_> =
            shown(60.0 + 130.0 * at as f32, 225.0, CAR, if at > 2.5 { 0.5 } else { 0.36 }).into_iter().collect();
        let moment = Moment { at, stamp: stamp(at) };
        tracker.observe(&Observation { moment, picture: PICTURE, detections: Some(&found), foreground: &still });
    }
    tracker.finish();
    let counted: Vec<_> = tracker.finished().into_iter().filter_map(|one| one.track.counted).collect();
    assert_eq!(counted.iter().map(|one| one.line.as_deref().unwrap()).collect::<Vec<_>>(), ["first"]);
    assert!((counted[0].at - (224.0 - 60.0) / 130.0).abs() < 0.1, "{counted:?}");
}
