//! Tracks over time: sightings are given to the tracks that expected them, in rounds from the surest to the weakest, as in
//! ByteTrack (Zhang et al. 2022); what is left over starts new tracks.
//!
//! Lengths are in sizes of the box at hand and times in seconds, never in pixels or frames: a near and a distant road, a
//! quick and a slow camera are treated alike.

use crate::config;
use crate::frame::Rect;
use crate::traffic::kalman::Seen;
use crate::traffic::layout::Layout;
use crate::traffic::motion::Sight;
use crate::traffic::sighting::{Detection, Sighting, blob_sightings, pairs, same_vehicle, sightings};
use crate::traffic::track::{Moment, SCORE_SURE, Track};

/// Score from which a detection continues a track.
const SCORE_WEAK: f32 = 0.2;
/// Boxes are grown by this share before their overlap is measured, so that quick ones meet (C-BIoU, Yang et al. 2023).
const REACH: f32 = 0.3;
/// The same while a track's speed is not known yet.
const REACH_NEW: f32 = 0.7;
const LIKENESS_MIN: f32 = 0.12;
const LIKENESS_BLOB_MIN: f32 = 0.25;
/// A box farther from where a well known track is expected, in standard deviations, is of another vehicle.
const SURPRISE_MAX: f32 = 4.0;
/// A box that lies within a vehicle that is seen by more than this share is a part of that one.
const WITHIN_SHARE: f32 = 0.9;
/// A box does not become this many times larger or smaller from one look to the next.
const AREA_RATIO_MAX: f32 = 3.5;
/// A track that was seen so often is known: where it goes, and that it is no flicker.
const KNOWN_SIGHTINGS: u32 = 4;
/// An unseen vehicle is expected to come back for this long; one that is not known yet, for less.
const LOST_SECONDS: f64 = 1.5;
const LOST_NEW_SECONDS: f64 = 0.6;
/// A standing vehicle that nothing moves in front of is kept for this long without being seen.
const STANDING_SECONDS: f64 = 600.0;
/// Share of a standing vehicle's cells that may change without it having left.
const STILL_ACTIVITY: f32 = 0.08;
/// A blob that covers this share of a track, or the other way round, belongs to it.
const EXPLAINED: f32 = 0.25;
/// The least side of a blob that may become a vehicle, as a share of the picture's height.
const BLOB_SIDE_MIN: f32 = 0.045;
/// A crossing counts this long after the last look.
const CROSSING_UNSEEN_SECONDS: f64 = 0.4;
/// Two counted tracks that overlap this much within [`DOUBLE_SECONDS`] are one vehicle.
const DOUBLE_CONTAINMENT: f32 = 0.6;
const DOUBLE_SECONDS: f64 = 2.0;
/// What the detector is seldom sure of and others cover by this share when it crosses a line is something between them, or a
/// part of them. Others that are larger by more than [`GHOST_AREA_RATIO_MAX`] say nothing.
const GHOST_COVERED: f32 = 0.4;
const GHOST_AREA_RATIO_MAX: f32 = 4.0;
/// What is first seen so soon after the camera began to look was there before.
const BEGIN_SECONDS: f64 = 1.0;
/// A vehicle of which no more than this share is in the picture has left.
const OUTSIDE_SHARE: f32 = 0.35;
/// A box that contains two tracks by this share, which overlap each other by less than that and cover so much of it
/// together, is of both; unless there is a track of its own size.
const MEMBER_SHARE: f32 = 0.7;
const MEMBERS_IOU_MAX: f32 = 0.3;
const GROUP_COVERED: f32 = 0.6;
const SAME_SIZE_IOU: f32 = 0.6;
/// More tracks than any road shows at once.
const TRACKS_MAX: usize = 256;

/// What the tracker is told of one picture.
pub struct Look<'a> {
    pub moment: Moment,
    /// Width and height of the picture in pixels.
    pub picture: (f32, f32),
    /// None when the detector was not asked.
    pub detections: Option<&'a [Detection]>,
    pub sight: &'a Sight,
}

/// Sides of a box that lie on the picture's edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cut {
    left: bool,
    top: bool,
    right: bool,
    bottom: bool,
}

/// A vehicle that was counted and has left, or has been waited for long enough.
#[derive(Clone, Debug)]
pub struct Departed {
    pub track: Track,
    pub speed_kmh: Option<f32>,
}

/// All tracks of one camera.
pub struct Tracker {
    traffic: config::Traffic,
    layout: Layout,
    picture: (f32, f32),
    tracks: Vec<Track>,
    /// Ended tracks that were counted, for finding doubles.
    ended: Vec<Track>,
    departed: Vec<Departed>,
    last: Option<Moment>,
    /// The first look since the camera began.
    began_at: f64,
    next_id: u64,
}

impl Tracker {
    #[must_use]
    pub fn new(traffic: config::Traffic) -> Self {
        Self {
            traffic,
            layout: Layout::default(),
            picture: (0.0, 0.0),
            tracks: Vec::new(),
            ended: Vec::new(),
            departed: Vec::new(),
            last: None,
            began_at: 0.0,
            next_id: 1,
        }
    }

    /// The live tracks.
    #[must_use]
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// Whether some track is about to go on: then a picture is worth analysing though nothing in it moves.
    #[must_use]
    pub fn unsettled(&self) -> bool {
        self.tracks.iter().any(|track| !track.standing())
    }

    /// Takes in one picture.
    pub fn look(&mut self, look: &Look<'_>) {
        if self.picture != look.picture {
            // Another resolution: nothing of the old geometry holds.
            self.finish();
            self.picture = look.picture;
            self.layout = Layout::new(&self.traffic, look.picture);
        }
        let elapsed = self.last.as_ref().map_or(0.0, |last| (look.moment.at - last.at).max(0.0));
        if self.last.is_none() {
            self.began_at = look.moment.at;
        }
        self.last = Some(look.moment.clone());
        for track in &mut self.tracks {
            let unseen = look.moment.at - track.last.at > 0.25;
            track.predict(elapsed as f32, unseen);
        }
        self.associate(look);
        self.count(&look.moment, false);
        self.retire(look);
    }

    fn associate(&mut self, look: &Look<'_>) {
        let counts = |point| self.layout.counts_at(point);
        let found = sightings(look.detections.unwrap_or_default(), look.sight, counts);
        let (sure, weak): (Vec<_>, Vec<_>) = found
            .into_iter()
            .filter(|found| found.score >= SCORE_WEAK && !self.is_group(&found.rect))
            .partition(|found| found.score >= SCORE_SURE);
        let size_min = BLOB_SIDE_MIN * self.picture.1;
        let blobs = blob_sightings(&look.sight.blobs, size_min, counts);
        let mut free: Vec<usize> = (0..self.tracks.len()).collect();
        let fresh = self.round(look, &mut free, &sure, LIKENESS_MIN);
        self.round(look, &mut free, &weak, LIKENESS_MIN);
        // A blob of several vehicles tells nothing of any one.
        let alone: Vec<Sighting> = blobs
            .iter()
            .filter(|blob| self.tracks.iter().filter(|track| track.rect().containment(&blob.rect) > 0.5).count() <= 1)
            .copied()
            .collect();
        self.round(look, &mut free, &alone, LIKENESS_BLOB_MIN);
        for &at in &free {
            self.keep_if_standing(at, look);
        }
        for sighting in fresh {
            self.start_from_detection(&sighting, look);
        }
        let persons: Vec<Rect> =
            sure.iter().chain(&weak).filter(|found| found.person).map(|found| found.rect).collect();
        for blob in blobs {
            self.start_from_blob(&blob, &persons, look);
        }
    }

    /// Whether a box is of several vehicles side by side that are followed one by one: it tells nothing of any one.
    fn is_group(&self, rect: &Rect) -> bool {
        let known = || self.tracks.iter().filter(|track| track.believed()).map(Track::rect);
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
            within && track.seen_now() && track.believed() && !track.doubtful()
        })
    }

    /// Gives sightings to the free tracks that expect them, and returns those that nobody expected.
    fn round(&mut self, look: &Look<'_>, free: &mut Vec<usize>, sightings: &[Sighting], least: f32) -> Vec<Sighting> {
        let likeness = |track: usize, sighting: usize| {
            let likeness = self.likeness(&self.tracks[free[track]], &sightings[sighting]);
            if likeness >= least { likeness } else { 0.0 }
        };
        let pairs = pairs(free.len(), sightings.len(), likeness);
        let mut expected = vec![false; sightings.len()];
        let mut followed = Vec::new();
        for (track, sighting) in pairs {
            let seen = sightings[sighting];
            let whole = Sighting { rect: self.completed(&self.tracks[free[track]], &seen.rect), ..seen };
            let cut = self.cut(&seen.rect);
            self.tracks[free[track]].see(&whole, &look.moment, cut);
            expected[sighting] = true;
            followed.push(free[track]);
        }
        free.retain(|track| !followed.contains(track));
        sightings.iter().zip(expected).filter(|(_, expected)| !expected).map(|(sighting, _)| *sighting).collect()
    }

    /// 0…1: how well a sighting fits a track.
    fn likeness(&self, track: &Track, sighting: &Sighting) -> f32 {
        let (expected, seen) = (track.rect(), self.completed(track, &sighting.rect));
        let ratio = (seen.area() / expected.area().max(1.0)).max(expected.area() / seen.area().max(1.0));
        let blob = sighting.seen == Seen::Blob || track.blob_only();
        if ratio > AREA_RATIO_MAX && !blob && !self.cut(&sighting.rect) {
            return 0.0;
        }
        if track.sightings() >= KNOWN_SIGHTINGS && track.surprise(&seen, sighting.seen) > SURPRISE_MAX {
            return 0.0;
        }
        let reach = match (sighting.seen, track.sightings()) {
            (Seen::Blob, _) if track.detections > 0 => 0.0,
            (_, 0..=2) => REACH_NEW,
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

    /// A vehicle that stood and before which nothing moved stands still.
    fn keep_if_standing(&mut self, at: usize, look: &Look<'_>) {
        let track = &mut self.tracks[at];
        let rect = track.rect();
        let quiet = look.sight.activity(&rect) <= STILL_ACTIVITY;
        let there = look.detections.is_none() || track.blob_only() || look.sight.foreground_share(&rect) > 0.1;
        let known = track.sightings() >= KNOWN_SIGHTINGS && look.moment.at - track.started.at > 0.5;
        if track.standing() && quiet && known && there && look.moment.at - track.started.at < STANDING_SECONDS {
            track.rest(&look.moment, &rect);
        }
    }

    fn start_from_detection(&mut self, sighting: &Sighting, look: &Look<'_>) {
        let twin = |track: &Track| {
            let fresh = look.moment.at - track.last.at < 0.3;
            fresh && same_vehicle(&track.rect(), &sighting.rect)
        };
        if !self.tracks.iter().any(twin) && !self.is_part(&sighting.rect) {
            self.start(sighting, look);
        }
    }

    fn start_from_blob(&mut self, blob: &Sighting, persons: &[Rect], look: &Look<'_>) {
        let explained = self.tracks.iter().map(Track::rect).any(|rect| rect.containment(&blob.rect) > EXPLAINED);
        let person = persons.iter().any(|person| person.containment(&blob.rect) > 0.5);
        if !explained && !person {
            self.start(blob, look);
        }
    }

    fn start(&mut self, sighting: &Sighting, look: &Look<'_>) {
        if self.tracks.len() < TRACKS_MAX {
            self.tracks.push(Track::new(self.next_id, sighting, &look.moment, &self.layout));
            self.next_id += 1;
        }
    }

    /// `ends`: no more pictures come.
    fn count(&mut self, now: &Moment, ends: bool) {
        for at in 0..self.tracks.len() {
            let track = &self.tracks[at];
            let unseen = now.at - track.last.at;
            if track.counted.is_some() || unseen > CROSSING_UNSEEN_SECONDS || !track.believed() || !track.is_steady() {
                continue;
            }
            let already_there = track.started.at - self.began_at < BEGIN_SECONDS;
            let crossing = track.crossing(&self.layout, now, already_there, ends);
            if crossing.is_none() {
                continue;
            }
            if self.is_ghost(at) {
                self.tracks[at].take_for_ghost();
                continue;
            }
            let double = self.is_double(at, now.at);
            let track = &mut self.tracks[at];
            track.counted = crossing;
            (track.done, track.double) = (double, double);
        }
    }

    /// Whether there is nothing but other vehicles where this one is thought to be.
    fn is_ghost(&self, at: usize) -> bool {
        let (track, rect) = (&self.tracks[at], self.tracks[at].rect());
        let near = |other: &Track| other.rect().area() < GHOST_AREA_RATIO_MAX * rect.area();
        let others: Vec<Rect> = self
            .tracks
            .iter()
            .filter(|other| other.id != track.id && other.believed() && !other.doubtful() && near(other))
            .filter(|other| !track.passes(other))
            .map(Track::rect)
            .collect();
        track.doubtful() && rect.covered(&others) >= GHOST_COVERED
    }

    /// Whether another track was counted for the same vehicle.
    fn is_double(&self, at: usize, now: f64) -> bool {
        let track = &self.tracks[at];
        let others = self.tracks.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, other)| other);
        others.chain(&self.ended).any(|other| {
            let Some(counted) = other.counted.as_ref().filter(|_| !other.double) else { return false };
            // In whichever direction: what trembles across the line on top of a vehicle is that vehicle.
            now - counted.at < DOUBLE_SECONDS
                && other.rect().containment(&track.rect()) > DOUBLE_CONTAINMENT
                && !track.passes(other)
        })
    }

    /// Hands over what was counted long enough ago, and lets go of what has left.
    fn retire(&mut self, look: &Look<'_>) {
        let now = look.moment.at;
        let delay = self.traffic.passage_delay_ms as f64 / 1e3;
        let mut live = Vec::new();
        for mut track in std::mem::take(&mut self.tracks) {
            let patience = if track.sightings() < KNOWN_SIGHTINGS { LOST_NEW_SECONDS } else { LOST_SECONDS };
            let unsettled = track.sightings() < KNOWN_SIGHTINGS && track.missing(now);
            let lost = now - track.last.at > patience || unsettled || self.outside(&track.rect());
            let due = track.counted.as_ref().is_some_and(|counted| now - counted.at >= delay);
            if lost {
                self.end(track);
            } else {
                if due && !track.done {
                    track.done = true;
                    self.hand_over(track.clone());
                }
                live.push(track);
            }
        }
        self.tracks = live;
        for track in &mut self.ended {
            track.predict(1.0 / 30.0, true);
        }
        self.ended.retain(|track| track.counted.as_ref().is_some_and(|counted| now - counted.at < DOUBLE_SECONDS));
    }

    /// Whether hardly any of a box lies in the picture.
    fn outside(&self, rect: &Rect) -> bool {
        rect.within(self.picture).area() < OUTSIDE_SHARE * rect.area()
    }

    fn end(&mut self, mut track: Track) {
        if track.counted.is_none() && track.believed() {
            track.counted = track.passed_through(&self.layout, self.picture);
        }
        if track.counted.is_some() {
            if !track.done {
                track.done = true;
                self.hand_over(track.clone());
            }
            self.ended.push(track);
        }
    }

    fn hand_over(&mut self, track: Track) {
        let speed_kmh = track.speed_kmh(&self.layout);
        self.departed.push(Departed { track, speed_kmh });
    }

    /// Ends every track: no more pictures come, or pictures of another kind.
    pub fn finish(&mut self) {
        if let Some(last) = self.last.take() {
            self.count(&last, true);
        }
        for track in std::mem::take(&mut self.tracks) {
            self.end(track);
        }
        self.ended.clear();
    }

    /// The vehicles handed over since the last call.
    pub fn departed(&mut self) -> Vec<Departed> {
        std::mem::take(&mut self.departed)
    }
}
