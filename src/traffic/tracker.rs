//! Tracks over time: measurements are given to the tracks that expected them, in rounds from the highest score to the lowest, as in
//! ByteTrack (Zhang et al. 2022); what is left over starts new tracks.
//!
//! Lengths are in sizes of the box at hand and times in seconds, never in pixels or frames: a near and a distant road, a
//! quick and a slow camera are treated alike.

mod association;

use crate::config;
use crate::frame::Rect;
use crate::traffic::layout::RoadLayout;
use crate::traffic::measurement::Detection;
use crate::traffic::motion::Foreground;
use crate::traffic::track::{Moment, Track};

/// A track that was seen so often is known: where it goes, and that it is no flicker.
const KNOWN_HITS: u32 = 4;
/// An unseen vehicle is expected to come back for this long; one that is not known yet, for less.
const LOST_SECONDS: f64 = 1.5;
const LOST_NEW_SECONDS: f64 = 0.6;
/// A crossing counts this long after the last observation.
const CROSSING_UNSEEN_SECONDS: f64 = 0.15;
/// Two counted tracks that overlap this much within [`DOUBLE_SECONDS`] are one vehicle.
const DOUBLE_CONTAINMENT: f32 = 0.6;
const DOUBLE_SECONDS: f64 = 2.0;
/// What the detector is seldom sure of and others cover by this share when it crosses a line is something between them, or a
/// part of them. Others that are larger by more than [`GHOST_AREA_RATIO_MAX`] say nothing.
const GHOST_COVERED: f32 = 0.4;
const GHOST_AREA_RATIO_MAX: f32 = 10.0;
/// What is first seen so soon after the camera began to look was there before.
const BEGIN_SECONDS: f64 = 1.0;
/// A vehicle of which no more than this share is in the picture has left.
const OUTSIDE_SHARE: f32 = 0.35;

/// What the tracker is told of one picture.
pub struct Observation<'a> {
    pub moment: Moment,
    /// Width and height of the picture in pixels.
    pub picture: (f32, f32),
    /// None when the detector was not asked.
    pub detections: Option<&'a [Detection]>,
    pub foreground: &'a Foreground,
}

/// A vehicle that was counted and has left, or has been waited for long enough.
#[derive(Clone, Debug)]
pub struct FinishedTrack {
    pub track: Track,
    pub speed_kmh: Option<f32>,
}

/// All tracks of one camera.
pub struct Tracker {
    traffic: config::TrafficConfig,
    layout: RoadLayout,
    picture: (f32, f32),
    tracks: Vec<Track>,
    /// Ended tracks that were counted, for finding doubles.
    ended: Vec<Track>,
    finished: Vec<FinishedTrack>,
    last: Option<Moment>,
    /// The first observation since the camera began.
    began_at: f64,
    next_id: u64,
}

impl Tracker {
    #[must_use]
    pub fn new(traffic: config::TrafficConfig) -> Self {
        Self {
            traffic,
            layout: RoadLayout::default(),
            picture: (0.0, 0.0),
            tracks: Vec::new(),
            ended: Vec::new(),
            finished: Vec::new(),
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
    pub fn observe(&mut self, observation: &Observation<'_>) {
        if self.picture != observation.picture {
            // Another resolution: nothing of the old geometry holds.
            self.finish();
            self.picture = observation.picture;
            self.layout = RoadLayout::new(&self.traffic, observation.picture);
        }
        let elapsed = self.last.as_ref().map_or(0.0, |last| (observation.moment.at - last.at).max(0.0));
        if self.last.is_none() {
            self.began_at = observation.moment.at;
        }
        self.last = Some(observation.moment.clone());
        for track in &mut self.tracks {
            let unseen = observation.moment.at - track.last.at > 0.25;
            track.predict(elapsed as f32, unseen);
        }
        for track in &mut self.ended {
            track.predict(elapsed as f32, true);
        }
        self.associate(observation);
        self.count(&observation.moment, false);
        self.retire(observation);
    }

    /// `ends`: no more pictures come.
    fn count(&mut self, now: &Moment, ends: bool) {
        for at in 0..self.tracks.len() {
            let track = &self.tracks[at];
            let unseen = now.at - track.last.at;
            let hidden = unseen > CROSSING_UNSEEN_SECONDS || (track.doubtful() && !track.seen_now());
            if track.counted.is_some() || hidden || !track.confirmed() || !track.is_steady() {
                continue;
            }
            let already_there = track.started.at - self.began_at < BEGIN_SECONDS;
            let Some(crossing) = track.crossing(&self.layout, now, already_there, ends) else { continue };
            if self.is_ghost(at) {
                self.tracks[at].take_for_ghost();
                continue;
            }
            let double = self.is_double(at, crossing.at);
            let track = &mut self.tracks[at];
            track.counted = Some(crossing);
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
            .filter(|other| other.id != track.id && other.confirmed() && other.scores_above(track) && near(other))
            .filter(|other| !track.passes(other))
            .map(Track::rect)
            .collect();
        track.doubtful() && rect.covered(&others) >= GHOST_COVERED
    }

    /// Whether another track was counted for the same vehicle.
    fn is_double(&self, at: usize, crossed_at: f64) -> bool {
        let track = &self.tracks[at];
        let others = self.tracks.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, other)| other);
        others.chain(&self.ended).any(|other| {
            let Some(counted) = other.counted.as_ref().filter(|_| !other.double) else { return false };
            // In whichever direction: what trembles across the line on top of a vehicle is that vehicle.
            (crossed_at - counted.at).abs() < DOUBLE_SECONDS
                && other.rect().containment(&track.rect()) > DOUBLE_CONTAINMENT
                && !track.passes(other)
        })
    }

    /// Hands over what was counted long enough ago, and lets go of what has left.
    fn retire(&mut self, observation: &Observation<'_>) {
        let now = observation.moment.at;
        let delay = self.traffic.passage_delay_ms as f64 / 1e3;
        let mut live = Vec::new();
        for mut track in std::mem::take(&mut self.tracks) {
            let patience = if track.hits() < KNOWN_HITS { LOST_NEW_SECONDS } else { LOST_SECONDS };
            let unsettled = track.hits() < KNOWN_HITS && track.missing(now);
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
        self.ended.retain(|track| now - track.last.at < DOUBLE_SECONDS + LOST_SECONDS);
    }

    /// Whether hardly any of a box lies in the picture.
    fn outside(&self, rect: &Rect) -> bool {
        rect.within(self.picture).area() < OUTSIDE_SHARE * rect.area()
    }

    fn end(&mut self, mut track: Track) {
        if track.counted.is_none() && track.confirmed() {
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
        self.finished.push(FinishedTrack { track, speed_kmh });
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
    pub fn finished(&mut self) -> Vec<FinishedTrack> {
        std::mem::take(&mut self.finished)
    }
}
