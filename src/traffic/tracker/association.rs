//! Which measurement is of which track: in rounds from the highest score to the lowest, and which of the others begin new tracks.

use crate::frame::Rect;
use crate::traffic::kalman::Seen;
use crate::traffic::measurement::{Measurement, blob_measurements, measurements, pairs, same_vehicle};
use crate::traffic::track::{SCORE_HIGH, Track};
use crate::traffic::tracker::{KNOWN_HITS, LOST_NEW_SECONDS, Observation, Tracker};

/// Score from which a detection continues a track.
const SCORE_LOW: f32 = 0.2;
/// Score from which a detection starts a track all the same, which then has to be seen more often.
const SCORE_TENTATIVE: f32 = 0.35;
/// Boxes are grown by this share before their overlap is measured, so that quick ones meet (C-BIoU, Yang et al. 2023).
const REACH: f32 = 0.3;
/// The same while a track's speed is hardly known: it was seen no more often than this.
const REACH_NEW: f32 = 0.7;
const NEW_HITS: u32 = 2;
/// What a measurement must overlap with a track so grown: a high-score detection, a low-score one, a blob.
const LIKENESS_MIN: f32 = 0.12;
const LIKENESS_LOW_MIN: f32 = 0.35;
const LIKENESS_BLOB_MIN: f32 = 0.25;
/// A box farther from where a track is expected, in standard deviations, is of another vehicle.
const SURPRISE_MAX: f32 = 4.0;
/// What overlaps by more with where a vehicle was seen last is that vehicle, which has stopped.
const STOPPED_IOU: f32 = 0.5;
/// A box that lies within a vehicle that is seen by more than this share is a part of that one.
const WITHIN_SHARE: f32 = 0.9;
/// A box does not become this many times larger or smaller from one observation to the next.
const AREA_RATIO_MAX: f32 = 3.5;
/// A standing vehicle that nothing moves in front of is kept for this long without being seen.
const STANDING_SECONDS: f64 = 600.0;
/// Share of a standing vehicle's cells that may change without it having left.
const STILL_ACTIVITY: f32 = 0.08;
/// A blob that covers this share of a track, or the other way round, belongs to it.
const EXPLAINED: f32 = 0.25;
/// The least side of a blob that may become a vehicle, as a share of the picture's height.
const BLOB_SIDE_MIN: f32 = 0.045;
/// A box that contains two tracks by this share, which overlap each other by less than that and cover so much of it
/// together, is of both; unless there is a track of its own size.
const MEMBER_SHARE: f32 = 0.7;
const MEMBERS_IOU_MAX: f32 = 0.3;
const GROUP_COVERED: f32 = 0.6;
const SAME_SIZE_IOU: f32 = 0.6;
/// More tracks than any road shows at once.
const TRACKS_MAX: usize = 256;

/// Sides of a box that lie on the picture's edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cut {
    left: bool,
    top: bool,
    right: bool,
    bottom: bool,
}

impl Cut {
    /// Whether it is cut in its width, in its height.
    fn ways(self) -> (bool, bool) {
        (self.left || self.right, self.top || self.bottom)
    }
}

impl Tracker {
    /// Gives what an observation shows to the tracks, and starts those of what is left.
    pub(super) fn associate(&mut self, observation: &Observation<'_>) {
        let counts = |point| self.layout.counts_at(point);
        let found = measurements(observation.detections.unwrap_or_default(), observation.foreground, counts);
        let (high, low): (Vec<_>, Vec<_>) = found
            .into_iter()
            .filter(|found| found.score >= SCORE_LOW && !self.is_group(&found.rect))
            .partition(|found| found.score >= SCORE_HIGH);
        let size_min = BLOB_SIDE_MIN * self.picture.1;
        let blobs = blob_measurements(&observation.foreground.blobs, size_min, counts);
        // Confirmed tracks come first, lest a mistake takes a vehicle's place.
        let (mut free, mut unproven): (Vec<usize>, Vec<usize>) =
            (0..self.tracks.len()).partition(|&at| self.tracks[at].confirmed());
        let fresh = self.round(observation, &mut free, &high, LIKENESS_MIN);
        let fresh = self.round(observation, &mut unproven, &fresh, LIKENESS_MIN);
        let faint = self.round(observation, &mut free, &low, LIKENESS_LOW_MIN);
        let fresh = self.stopped(observation, &mut free, &fresh);
        let faint = self.round(observation, &mut unproven, &faint, LIKENESS_LOW_MIN);
        free.append(&mut unproven);
        // A blob of several vehicles tells nothing of any one.
        let alone: Vec<Measurement> = blobs
            .iter()
            .filter(|blob| self.tracks.iter().filter(|track| track.rect().containment(&blob.rect) > 0.5).count() <= 1)
            .copied()
            .collect();
        self.round(observation, &mut free, &alone, LIKENESS_BLOB_MIN);
        for &at in &free {
            self.keep_if_standing(at, observation);
        }
        let faint = faint.iter().filter(|measurement| measurement.score >= SCORE_TENTATIVE && !measurement.person);
        for measurement in fresh.iter().chain(faint) {
            self.start_from_detection(measurement, observation);
        }
        let persons: Vec<Rect> = high.iter().chain(&low).filter(|found| found.person).map(|found| found.rect).collect();
        for blob in blobs {
            self.start_from_blob(&blob, &persons, observation);
        }
    }

    /// Whether a box is of several vehicles side by side that are followed one by one: it tells nothing of any one.
    fn is_group(&self, rect: &Rect) -> bool {
        let known = || self.tracks.iter().filter(|track| track.confirmed()).map(Track::rect);
        if known().any(|track| track.iou(rect) > SAME_SIZE_IOU) {
            return false;
        }
        let within: Vec<Rect> = known().filter(|track| track.overlap(rect) > MEMBER_SHARE * track.area()).collect();
        let apart = |a: &Rect| within.iter().any(|b| a.iou(b) < MEMBERS_IOU_MAX);
        within.iter().any(apart) && rect.covered(&within) > GROUP_COVERED
    }

    /// Whether a box lies within a vehicle that is seen now: a part of it, or what can be seen over and through it.
    fn is_part(&self, rect: &Rect) -> bool {
        self.tracks.iter().any(|track| {
            let within = track.rect().overlap(rect) > WITHIN_SHARE * rect.area();
            within && track.seen_now() && track.confirmed() && !track.doubtful()
        })
    }

    /// Gives measurements to the free tracks that expect them, and returns those that nobody expected.
    fn round(
        &mut self,
        observation: &Observation<'_>,
        free: &mut Vec<usize>,
        measurements: &[Measurement],
        least: f32,
    ) -> Vec<Measurement> {
        let fit = |tracker: &Self, track: &Track, measurement: &Measurement| {
            let likeness = tracker.likeness(track, measurement);
            if likeness >= least { likeness } else { 0.0 }
        };
        self.give(free, measurements, fit, |track, measurement, cut| track.see(measurement, &observation.moment, cut))
    }

    /// Gives measurements to vehicles that are where they were seen last, though they were expected farther on: they have stopped
    /// (observation-centric recovery, Cao et al. 2023). Returns the other measurements.
    fn stopped(
        &mut self,
        observation: &Observation<'_>,
        free: &mut Vec<usize>,
        measurements: &[Measurement],
    ) -> Vec<Measurement> {
        let fit = |tracker: &Self, track: &Track, measurement: &Measurement| {
            let another = track.blob_only() || (tracker.cut(&measurement.rect) && track.turns_back(&measurement.rect));
            let recent = observation.moment.at - track.last.at < LOST_NEW_SECONDS && !another;
            let overlap = track.last_seen().iou(&measurement.rect);
            if recent && overlap > STOPPED_IOU { overlap } else { 0.0 }
        };
        self.give(free, measurements, fit, |track, measurement, cut| track.stop(measurement, &observation.moment, cut))
    }

    /// Gives measurements to the free tracks that they fit (above 0), the best first, and returns the others.
    fn give(
        &mut self,
        free: &mut Vec<usize>,
        measurements: &[Measurement],
        fit: impl Fn(&Self, &Track, &Measurement) -> f32,
        take: impl Fn(&mut Track, &Measurement, (bool, bool)),
    ) -> Vec<Measurement> {
        let likeness =
            |track: usize, measurement: usize| fit(self, &self.tracks[free[track]], &measurements[measurement]);
        let pairs = pairs(free.len(), measurements.len(), likeness);
        for &(track, measurement) in &pairs {
            let (track, seen) = (free[track], measurements[measurement]);
            let whole = Measurement { rect: self.completed(&self.tracks[track], &seen.rect), ..seen };
            let cut = self.cut_sides(&seen.rect).ways();
            take(&mut self.tracks[track], &whole, cut);
        }
        let (given, taken): (Vec<usize>, Vec<usize>) =
            pairs.into_iter().map(|(track, measurement)| (free[track], measurement)).unzip();
        free.retain(|track| !given.contains(track));
        measurements
            .iter()
            .enumerate()
            .filter(|(at, _)| !taken.contains(at))
            .map(|(_, measurement)| *measurement)
            .collect()
    }

    /// 0…1: how well a measurement fits a track.
    fn likeness(&self, track: &Track, measurement: &Measurement) -> f32 {
        let (expected, seen) = (track.rect(), self.completed(track, &measurement.rect));
        let new = track.hits() <= NEW_HITS;
        let ratio = (seen.area() / expected.area().max(1.0)).max(expected.area() / seen.area().max(1.0));
        let blob = measurement.seen == Seen::Blob || track.blob_only();
        let cut = self.cut(&measurement.rect);
        // What the picture's edge cuts may be smaller than it was, and larger while it has only begun to come in.
        let excused = blob || (cut && (new || seen.area() < expected.area()));
        let another = (ratio > AREA_RATIO_MAX && !excused)
            || track.surprise(&seen, measurement.seen) > SURPRISE_MAX
            || (measurement.seen == Seen::Detector && cut && track.turns_back(&seen));
        if another {
            return 0.0;
        }
        let reach = match measurement.seen {
            Seen::Blob if !track.blob_only() => 0.0,
            _ if new => REACH_NEW,
            _ => REACH,
        };
        expected.grown(reach).iou(&seen.grown(reach))
    }

    /// Whether a box touches the picture's edge.
    fn cut(&self, rect: &Rect) -> bool {
        let cut = self.cut_sides(rect);
        cut != Cut::default()
    }

    fn cut_sides(&self, rect: &Rect) -> Cut {
        let margin = 0.01 * self.picture.1;
        Cut {
            left: rect.left < margin,
            top: rect.top < margin,
            right: rect.right > self.picture.0 - margin,
            bottom: rect.bottom > self.picture.1 - margin,
        }
    }

    /// A vehicle that the picture's edge cuts is as large as it was when it was seen whole: the middle of what is left of it
    /// moves at half its speed, and its place is told by the side that can be seen.
    fn completed(&self, track: &Track, rect: &Rect) -> Rect {
        let (cut, known, mut whole) = (self.cut_sides(rect), track.rect(), *rect);
        if !track.known_whole() {
            return whole;
        }
        match (cut.left, cut.right) {
            (true, false) => whole.left = whole.left.min(rect.right - known.width()),
            (false, true) => whole.right = whole.right.max(rect.left + known.width()),
            _ => {}
        }
        match (cut.top, cut.bottom) {
            (true, false) => whole.top = whole.top.min(rect.bottom - known.height()),
            (false, true) => whole.bottom = whole.bottom.max(rect.top + known.height()),
            _ => {}
        }
        whole
    }

    /// A vehicle that stood and before which nothing moved stands still; any other track missed this observation.
    fn keep_if_standing(&mut self, at: usize, observation: &Observation<'_>) {
        let track = &mut self.tracks[at];
        let rect = track.rect();
        let quiet = observation.foreground.activity(&rect) <= STILL_ACTIVITY;
        let there = observation.detections.is_none()
            || track.blob_only()
            || observation.foreground.foreground_share(&rect) > 0.1;
        let known = track.hits() >= KNOWN_HITS && observation.moment.at - track.started.at > 0.5;
        if track.standing() && quiet && known && there && observation.moment.at - track.started.at < STANDING_SECONDS {
            track.rest(&observation.moment, &rect);
        } else if observation.detections.is_some() {
            track.missed();
        }
    }

    fn start_from_detection(&mut self, measurement: &Measurement, observation: &Observation<'_>) {
        let twin = |track: &Track| {
            let fresh = observation.moment.at - track.last.at < 0.3;
            fresh && same_vehicle(&track.rect(), &measurement.rect)
        };
        if !self.tracks.iter().any(twin) && !self.is_part(&measurement.rect) {
            self.start(measurement, observation);
        }
    }

    fn start_from_blob(&mut self, blob: &Measurement, persons: &[Rect], observation: &Observation<'_>) {
        let explained = self.tracks.iter().map(Track::rect).any(|rect| rect.containment(&blob.rect) > EXPLAINED);
        let person = persons.iter().any(|person| person.containment(&blob.rect) > 0.5);
        if !explained && !person {
            self.start(blob, observation);
        }
    }

    fn start(&mut self, measurement: &Measurement, observation: &Observation<'_>) {
        if self.tracks.len() < TRACKS_MAX {
            let cut = self.cut_sides(&measurement.rect).ways();
            self.tracks.push(Track::new(self.next_id, measurement, &observation.moment, cut, &self.layout));
            self.next_id += 1;
        }
    }
}
