//! One vehicle followed from picture to picture.

use std::time::Duration;

use crate::clock::Stamp;
use crate::frame::Rect;
use crate::traffic::kalman::{BoxFilter, Seen};
use crate::traffic::layout::{CountingLine, Point, RoadLayout};
use crate::traffic::measurement::Measurement;

/// Score from which a detection is a high-score one and starts a track.
pub(super) const SCORE_HIGH: f32 = 0.4;
/// Hits after which a tentative track is confirmed, and how many of them must be high-score detections.
const CONFIRMED_HITS: u32 = 3;
const CONFIRMED_HIGH_HITS: u32 = 2;
/// The same for a track of mostly low-score detections; one in so many observations must also have hit it.
const DOUBTFUL_HITS: u32 = 6;
const DOUBTFUL_OBSERVATIONS: u32 = 3;
/// Of the path of what was never detected, how much must be progress: leaves sway, vehicles go somewhere.
const BLOB_STRAIGHTNESS: f32 = 0.6;
/// What was never detected must be seen this often, this long, and move by this many of its sizes.
const BLOB_HITS: u32 = 5;
const BLOB_SECONDS: f64 = 0.35;
const BLOB_SIZES_MOVED: f32 = 0.8;
/// Places that are remembered, one a measurement.
const PLACES_MAX: usize = 64;
/// How long two tracks are compared before it is said that they move on their own.
const PASSING_SECONDS: f64 = 0.3;
/// A track that moves through another's box by this share of its width and height is no part of it.
const PASSING_SHARE: f32 = 1.0;
/// More looks than this, and more seconds, without it are a gap: one observation alone may be a slow camera's whole second.
const GAP_OBSERVATIONS: u32 = 3;
const GAP_SECONDS: f64 = 0.25;
/// So often it must be seen after a gap to be itself again.
const STEADY_HITS: u32 = 2;
/// A crossing is not dated back by more.
const CROSSED_SECONDS: f64 = 5.0;
/// Share of a box's half extent that it must have moved across the line.
const CROSSING_MOVE_MIN: f32 = 0.6;
/// A vehicle that was on the line when the camera began to look, with no more of it beyond than this, counts once it has passed.
const LATE_START_MAX: f32 = 0.8;
/// Slower than this many sizes a second is standing.
pub(super) const STANDING_SPEED: f32 = 0.15;
/// What was seen so often and is quicker than so many sizes a second does not turn back by this share of its size.
const TURNING_HITS: u32 = 4;
const TURNING_SPEED: f32 = 0.5;
const TURNING_SHARE: f32 = 0.05;
/// Somebody who moves faster than this many heights a second rides something.
const RIDING_SPEED: f32 = 2.2;
/// Without lines: the share of the picture's diagonal that a vehicle has to move through.
const PASSAGE_SHARE_MIN: f32 = 0.15;

/// A picture's moment.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Seconds on the frames' own time axis.
    pub at: f64,
    pub stamp: Stamp,
}

/// Where a track was seen.
#[derive(Clone, Debug)]
struct Place {
    at: f64,
    stamp: Stamp,
    rect: Rect,
    /// Not cut by the picture's edge.
    whole: bool,
}

impl Place {
    /// When, and the middle of the lower edge.
    fn ground(&self) -> (f64, Point) {
        (self.at, (self.rect.centre().0, self.rect.bottom))
    }
}

/// How and when a track was counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    pub line: Option<String>,
    pub direction: Option<String>,
    pub lane: Option<String>,
    pub stamp: Stamp,
    pub at: f64,
}

/// A followed vehicle.
#[derive(Clone, Debug)]
pub struct Track {
    pub id: u64,
    filter: BoxFilter,
    pub started: Moment,
    pub last: Moment,
    /// Where it was first seen.
    origin: Rect,
    /// Length of the way of its middle, in pixels.
    path: f32,
    waypoint: Point,
    pub detections: u32,
    pub blobs: u32,
    persons: u32,
    /// Sightings that the picture's edge does not cut.
    whole: u32,
    /// Hits by high-score detections.
    high_score: u32,
    /// What `high_score` was when it was taken for nothing but other vehicles.
    ghost_since: Option<u32>,
    speed_max: f32,
    /// How often it was seen or should have been.
    observations: u32,
    /// Looks since it was last seen, and how often it was seen since the last gap.
    missed: u32,
    steady: u32,
    /// For each line: side and half extent across it when first seen.
    sides: Vec<(f32, f32)>,
    /// Where it was seen lately, oldest first.
    places: Vec<Place>,
    pub counted: Option<Counted>,
    /// Its passage was handed over, or it is another track's double.
    pub done: bool,
    /// What was counted is another track's vehicle.
    pub double: bool,
}

impl Track {
    #[must_use]
    pub fn new(id: u64, measurement: &Measurement, moment: &Moment, cut: (bool, bool), layout: &RoadLayout) -> Self {
        let rect = measurement.rect;
        let side = |line: &CountingLine| (line.side(rect.centre()), line.half_extent(&rect));
        let mut track = Self {
            id,
            filter: BoxFilter::new(&rect, cut),
            started: moment.clone(),
            last: moment.clone(),
            origin: rect,
            path: 0.0,
            waypoint: rect.centre(),
            detections: 0,
            blobs: 0,
            persons: 0,
            whole: 0,
            high_score: 0,
            ghost_since: None,
            speed_max: 0.0,
            observations: 0,
            missed: 0,
            steady: 0,
            sides: layout.lines.iter().map(side).collect(),
            places: Vec::new(),
            counted: None,
            done: false,
            double: false,
        };
        // Whether it is cut matters little for one observation.
        track.note(measurement, moment, false);
        track
    }

    #[must_use]
    pub fn rect(&self) -> Rect {
        self.filter.rect()
    }

    /// Where it was seen last.
    #[must_use]
    pub fn last_seen(&self) -> Rect {
        self.places.last().map_or(self.origin, |place| place.rect)
    }

    /// How far a box lies from where it is expected, in standard deviations.
    #[must_use]
    pub fn surprise(&self, rect: &Rect, seen: Seen) -> f32 {
        self.filter.surprise(rect, seen)
    }

    /// Whether a box lies behind where it was seen last, though it moves: another vehicle that comes the other way.
    #[must_use]
    pub fn turns_back(&self, rect: &Rect) -> bool {
        let ((across, down), (x, y), (last_x, last_y)) =
            (self.filter.velocity(), rect.centre(), self.last_seen().centre());
        let on = ((x - last_x) * across + (y - last_y) * down) / across.hypot(down).max(f32::EPSILON);
        let moves = self.hits() >= TURNING_HITS && self.speed() >= TURNING_SPEED;
        moves && on < -TURNING_SHARE * rect.size()
    }

    /// Sizes a second.
    #[must_use]
    pub fn speed(&self) -> f32 {
        let (x, y) = self.filter.velocity();
        x.hypot(y) / self.rect().size().max(1.0)
    }

    /// Whether it has moved within another's box, which no part of a vehicle does.
    #[must_use]
    pub fn passes(&self, other: &Self) -> bool {
        let of = |place: &Place| other.places.iter().find(|its| its.at == place.at && its.whole).map(|its| its.rect);
        let mut both = self.places.iter().filter(|place| place.whole).filter_map(|place| Some((place, of(place)?)));
        let Some((first, its_first)) = both.next() else { return false };
        let Some((last, its_last)) = both.next_back() else { return false };
        let within = |own: &Rect, its: &Rect| {
            let ((x, y), size) = (own.centre(), (its.width().max(1.0), its.height().max(1.0)));
            ((x - its.left) / size.0, (y - its.top) / size.1)
        };
        let (from, to) = (within(&first.rect, &its_first), within(&last.rect, &its_last));
        last.at - first.at >= PASSING_SECONDS && (to.0 - from.0).hypot(to.1 - from.1) > PASSING_SHARE
    }

    /// Whether the newest observation showed it.
    #[must_use]
    pub fn seen_now(&self) -> bool {
        self.missed == 0
    }

    /// Whether it was looked for in vain for longer than a few observations and a moment.
    #[must_use]
    pub fn missing(&self, now: f64) -> bool {
        self.missed > GAP_OBSERVATIONS && now - self.last.at > GAP_SECONDS
    }

    #[must_use]
    pub fn standing(&self) -> bool {
        self.speed() < STANDING_SPEED
    }

    #[must_use]
    pub fn hits(&self) -> u32 {
        self.detections + self.blobs
    }

    /// Whether at most half of its detections are high-score ones.
    #[must_use]
    pub fn doubtful(&self) -> bool {
        self.detections > 0 && self.high_score * 2 <= self.detections
    }

    /// Whether a larger share of its detections are high-score ones than of the other track.
    #[must_use]
    pub fn scores_above(&self, other: &Self) -> bool {
        u64::from(self.high_score) * u64::from(other.detections)
            > u64::from(other.high_score) * u64::from(self.detections)
    }

    /// It is not confirmed until high-score detections have hit it again.
    pub fn take_for_ghost(&mut self) {
        self.ghost_since = Some(self.high_score);
    }

    fn is_ghost(&self) -> bool {
        self.ghost_since.is_some() && self.doubtful()
    }

    /// Whether its size is known, because it was not cut by the picture's edge for a few observations.
    #[must_use]
    pub fn known_whole(&self) -> bool {
        self.whole >= CONFIRMED_HITS
    }

    /// Whether it was seen more than once since it was last missing: a single weak observation proves nothing.
    #[must_use]
    pub fn is_steady(&self) -> bool {
        self.steady >= STEADY_HITS
    }

    /// Never seen by the detector.
    #[must_use]
    pub fn blob_only(&self) -> bool {
        self.detections == 0
    }

    /// Moves on in time. `unseen`: for longer than a moment.
    pub fn predict(&mut self, seconds: f32, unseen: bool) {
        self.missed += 1;
        self.filter.predict(seconds);
        if unseen {
            self.filter.coast();
        }
    }

    /// The detector was asked and did not show it.
    pub fn missed(&mut self) {
        self.observations += 1;
    }

    /// It is still there, though nothing showed it: a standing vehicle.
    pub fn rest(&mut self, moment: &Moment, rect: &Rect) {
        self.filter = BoxFilter::new(rect, (false, false));
        self.filter.settle();
        self.last = moment.clone();
        if let Some(place) = self.places.last_mut() {
            (place.at, place.stamp) = (moment.at, moment.stamp.clone());
        }
    }

    /// Takes in a measurement. `cut`: its box touches the picture's edge at the left or right, at the top or bottom.
    pub fn see(&mut self, measurement: &Measurement, moment: &Moment, cut: (bool, bool)) {
        let partial = if self.known_whole() { (false, false) } else { cut };
        self.filter.correct(&measurement.rect, measurement.seen, partial);
        self.note(measurement, moment, cut == (false, false));
    }

    /// Takes in a measurement of it where it was seen last: it has stopped.
    pub fn stop(&mut self, measurement: &Measurement, moment: &Moment, cut: (bool, bool)) {
        self.filter = BoxFilter::new(&measurement.rect, (false, false));
        self.note(measurement, moment, cut == (false, false));
    }

    fn note(&mut self, measurement: &Measurement, moment: &Moment, whole: bool) {
        self.steady = if self.missing(moment.at) { 1 } else { self.steady + 1 };
        self.missed = 0;
        self.observations += 1;
        self.whole += u32::from(whole);
        self.high_score += u32::from(measurement.seen == Seen::Detector && measurement.score >= SCORE_HIGH);
        match measurement.seen {
            Seen::Detector if measurement.person => {
                self.persons += 1;
                self.detections += 1;
            }
            Seen::Detector => self.detections += 1,
            Seen::Blob => self.blobs += 1,
        }
        self.last = moment.clone();
        let rect = self.rect();
        let (x, y) = rect.centre();
        // In steps of a tenth of its size, so that a trembling box makes no way.
        let step = (x - self.waypoint.0).hypot(y - self.waypoint.1);
        if step > 0.1 * rect.size() {
            self.path += step;
            self.waypoint = (x, y);
        }
        if self.hits() > 3 {
            self.speed_max =
                self.speed_max.max(self.filter.velocity().0.hypot(self.filter.velocity().1) / rect.height().max(1.0));
        }
        self.places.push(Place { at: moment.at, stamp: moment.stamp.clone(), rect, whole });
        if self.places.len() > PLACES_MAX {
            self.places.remove(0);
        }
    }

    /// From where it was first seen to where it is, in pixels.
    fn way(&self) -> Point {
        let (from, to) = (self.origin.centre(), self.rect().centre());
        (to.0 - from.0, to.1 - from.1)
    }

    /// Pixels from where it was first seen.
    fn displacement(&self) -> f32 {
        let (across, down) = self.way();
        across.hypot(down)
    }

    /// Whether there is enough evidence that this is a vehicle and not noise, a shadow or somebody on foot.
    #[must_use]
    pub fn confirmed(&self) -> bool {
        let walks = self.detections > 0 && self.persons * 2 > self.detections && self.speed_max < RIDING_SPEED;
        if walks || self.is_ghost() {
            return false;
        }
        let seldom = DOUBTFUL_HITS.max(self.observations / DOUBTFUL_OBSERVATIONS);
        let needed = if self.doubtful() { seldom } else { CONFIRMED_HITS };
        if self.high_score >= CONFIRMED_HIGH_HITS && self.hits() >= needed {
            return true;
        }
        let moved = self.displacement();
        self.blobs >= BLOB_HITS
            && self.last.at - self.started.at >= BLOB_SECONDS
            && moved >= BLOB_SIZES_MOVED * self.rect().size()
            && moved >= BLOB_STRAIGHTNESS * self.path
    }

    /// Of the lines that it has crossed by now the one that it crossed first.
    ///
    /// `already_there`: nobody saw it come, for it was there when the camera began. `ends`: no more pictures come.
    #[must_use]
    pub fn crossing(&self, layout: &RoadLayout, moment: &Moment, already_there: bool, ends: bool) -> Option<Counted> {
        let rect = self.rect();
        let crossings = layout.lines.iter().zip(&self.sides).filter_map(|(line, &(first, first_half))| {
            let (side, half) = (line.side(rect.centre()), line.half_extent(&rect));
            let moved = side - first;
            if moved.abs() < CROSSING_MOVE_MIN * half.min(first_half) {
                return None;
            }
            let forward = moved > 0.0;
            let (first, side) = if forward { (first, side) } else { (-first, -side) };
            let crossed = first < 0.0 && side >= 0.0;
            let late = already_there && (0.0..LATE_START_MAX * first_half).contains(&first) && side >= half;
            // Its front is across, and nobody will see the rest.
            let last = ends && first < 0.0 && side >= -half;
            if !(crossed || late || last) {
                return None;
            }
            let before = if crossed { self.crossed_at(line, forward) } else { None };
            let (at, stamp, centre) = before
                .filter(|(at, ..)| moment.at - at < CROSSED_SECONDS)
                .unwrap_or_else(|| (moment.at, moment.stamp.clone(), rect.centre()));
            let there = Rect::around(centre, rect.width(), rect.height());
            line.spans(&there).then(|| Counted {
                line: Some(line.name.clone()),
                direction: Some(line.direction(forward).to_owned()),
                lane: layout.lane(centre).map(str::to_owned),
                stamp,
                at,
            })
        });
        crossings.min_by(|a, b| a.at.total_cmp(&b.at))
    }

    /// When and where its middle was on a line that it is across now, between the observations before and after: it may have been
    /// hidden then, or not confirmed yet. None when it was not seen on both sides lately.
    fn crossed_at(&self, line: &CountingLine, forward: bool) -> Option<(f64, Stamp, Point)> {
        let across = |place: &Place| line.side(place.rect.centre()) * if forward { 1.0 } else { -1.0 };
        let after = self.places.iter().rposition(|place| across(place) < 0.0)? + 1;
        let (before, after) = (self.places.get(after - 1)?, self.places.get(after)?);
        let share = across(before) / (across(before) - across(after));
        let since = (after.at - before.at) * f64::from(1.0 - share);
        let stamp = after.stamp.before(Duration::try_from_secs_f64(since).ok()?);
        let (from, to) = (before.rect.centre(), after.rect.centre());
        let place = (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share);
        Some((after.at - since, stamp, place))
    }

    /// Without lines: whether it has moved through the picture.
    #[must_use]
    pub fn passed_through(&self, layout: &RoadLayout, picture: (f32, f32)) -> Option<Counted> {
        let needed = (PASSAGE_SHARE_MIN * picture.0.hypot(picture.1)).max(self.rect().size().min(self.origin.size()));
        (layout.lines.is_empty() && self.displacement() >= needed).then(|| Counted {
            line: None,
            direction: None,
            lane: layout.lane(self.rect().centre()).map(str::to_owned),
            stamp: self.last.stamp.clone(),
            at: self.last.at,
        })
    }

    /// Kilometres an hour around the time when it was counted, where the ground is known.
    #[must_use]
    pub fn speed_kmh(&self, layout: &RoadLayout) -> Option<f32> {
        let middle = self.counted.as_ref()?.at;
        let near: Vec<_> = self.places.iter().filter(|place| (place.at - middle).abs() <= 0.75).collect();
        let ((from_at, from), (to_at, to)) = (near.first()?.ground(), near.last()?.ground());
        let seconds = (to_at - from_at) as f32;
        (seconds >= 0.25).then(|| layout.speed_kmh(from, to, seconds))?
    }
}
