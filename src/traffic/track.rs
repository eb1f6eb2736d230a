//! One vehicle followed from picture to picture.

use crate::clock::Stamp;
use crate::frame::Rect;
use crate::traffic::kalman::{BoxFilter, Seen};
use crate::traffic::layout::{Layout, Point};
use crate::traffic::sighting::Sighting;

/// Scores from which a detection is sure of itself, and starts a track.
pub(super) const SCORE_SURE: f32 = 0.4;
/// Sightings after which a track is believed, the better ones counting more.
const BELIEVED_SIGHTINGS: u32 = 3;
/// Of the path of what was never detected, how much must be progress: leaves sway, vehicles go somewhere.
const BLOB_STRAIGHTNESS: f32 = 0.6;
/// What was never detected must be seen this often, this long, and move by this many of its sizes.
const BLOB_SIGHTINGS: u32 = 5;
const BLOB_SECONDS: f64 = 0.35;
const BLOB_SIZES_MOVED: f32 = 0.8;
/// Share of a box's half extent that it must have moved across the line.
const CROSSING_MOVE_MIN: f32 = 0.6;
/// A vehicle that was on the line when the camera began to look, with no more of it beyond than this, counts once it has passed.
const LATE_START_MAX: f32 = 0.8;
/// Slower than this many sizes a second is standing.
pub(super) const STANDING_SPEED: f32 = 0.15;
/// Somebody who moves faster than this many heights a second rides something.
const RIDING_SPEED: f32 = 2.2;
/// Without lines: the share of the picture's diagonal that a vehicle has to move through.
const PASSAGE_SHARE_MIN: f32 = 0.15;

/// A moment and its picture's size.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Seconds on the frames' own time axis.
    pub at: f64,
    pub stamp: Stamp,
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
    /// Detections that were sure of themselves.
    sure: u32,
    /// What `sure` was when it was taken for nothing but other vehicles.
    ghost_since: Option<u32>,
    speed_max: f32,
    seen: bool,
    /// For each line: side and half extent across it when first seen.
    sides: Vec<(f32, f32)>,
    /// Times and ground points, for the speed.
    pub places: Vec<(f64, Point)>,
    pub counted: Option<Counted>,
    /// Its passage was handed over, or it is another track's double.
    pub done: bool,
}

impl Track {
    #[must_use]
    pub fn new(id: u64, sighting: &Sighting, moment: &Moment, layout: &Layout) -> Self {
        let rect = sighting.rect;
        let side = |line: &crate::traffic::layout::CountingLine| (line.side(rect.centre()), line.half_extent(&rect));
        let mut track = Self {
            id,
            filter: BoxFilter::new(&rect),
            started: moment.clone(),
            last: moment.clone(),
            origin: rect,
            path: 0.0,
            waypoint: rect.centre(),
            detections: 0,
            blobs: 0,
            persons: 0,
            sure: 0,
            ghost_since: None,
            speed_max: 0.0,
            seen: true,
            sides: layout.lines.iter().map(side).collect(),
            places: Vec::new(),
            counted: None,
            done: false,
        };
        track.note(sighting, moment);
        track
    }

    #[must_use]
    pub fn rect(&self) -> Rect {
        self.filter.rect()
    }

    /// Sizes a second.
    #[must_use]
    pub fn speed(&self) -> f32 {
        let (x, y) = self.filter.velocity();
        x.hypot(y) / self.rect().size().max(1.0)
    }

    /// Whether the newest look showed it.
    #[must_use]
    pub fn seen_now(&self) -> bool {
        self.seen
    }

    #[must_use]
    pub fn standing(&self) -> bool {
        self.speed() < STANDING_SPEED
    }

    #[must_use]
    pub fn sightings(&self) -> u32 {
        self.detections + self.blobs
    }

    /// Whether the detector was sure of it less than half of the time.
    #[must_use]
    pub fn doubtful(&self) -> bool {
        self.detections > 0 && self.sure * 2 <= self.detections
    }

    /// It is not believed until the detector has been sure of it again a few times.
    pub fn take_for_ghost(&mut self) {
        self.ghost_since = Some(self.sure);
    }

    fn is_ghost(&self) -> bool {
        self.ghost_since.is_some_and(|sure| self.sure < sure + BELIEVED_SIGHTINGS)
    }

    /// Never seen by the detector.
    #[must_use]
    pub fn blob_only(&self) -> bool {
        self.detections == 0
    }

    pub fn predict(&mut self, seconds: f32, unseen: bool) {
        self.seen = false;
        self.filter.predict(seconds);
        if unseen {
            self.filter.coast();
        }
    }

    /// It is still there, though nothing showed it: a standing vehicle.
    pub fn rest(&mut self, moment: &Moment, rect: &Rect) {
        self.filter = BoxFilter::new(rect);
        self.filter.settle();
        self.last = moment.clone();
    }

    /// Takes in a sighting. `cut`: its box touches the picture's edge.
    pub fn see(&mut self, sighting: &Sighting, moment: &Moment, cut: bool) {
        self.filter.correct(&sighting.rect, sighting.seen, !cut);
        self.note(sighting, moment);
    }

    fn note(&mut self, sighting: &Sighting, moment: &Moment) {
        self.seen = true;
        self.sure += u32::from(sighting.seen == Seen::Detector && sighting.score >= SCORE_SURE);
        match sighting.seen {
            Seen::Detector if sighting.person => {
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
        if self.sightings() > 3 {
            self.speed_max =
                self.speed_max.max(self.filter.velocity().0.hypot(self.filter.velocity().1) / rect.height().max(1.0));
        }
        self.places.push((moment.at, (x, rect.bottom)));
        if self.places.len() > 64 {
            self.places.remove(0);
        }
    }

    /// Pixels from where it was first seen.
    fn displacement(&self) -> f32 {
        let (from, to) = (self.origin.centre(), self.rect().centre());
        (to.0 - from.0).hypot(to.1 - from.1)
    }

    /// Whether there is enough evidence that this is a vehicle and not noise, a shadow or somebody on foot.
    #[must_use]
    pub fn believed(&self) -> bool {
        let walks = self.detections > 0 && self.persons * 2 > self.detections && self.speed_max < RIDING_SPEED;
        if walks || self.is_ghost() {
            return false;
        }
        if self.detections >= 2 {
            return self.sightings() >= BELIEVED_SIGHTINGS;
        }
        let moved = self.displacement();
        self.sightings() >= BLOB_SIGHTINGS
            && self.last.at - self.started.at >= BLOB_SECONDS
            && moved >= BLOB_SIZES_MOVED * self.rect().size()
            && moved >= BLOB_STRAIGHTNESS * self.path
    }

    /// The line that it has crossed by now, if any.
    ///
    /// `already_there`: nobody saw it come, for it was there when the camera began to look. `ends`: no more pictures come.
    #[must_use]
    pub fn crossing(&self, layout: &Layout, moment: &Moment, already_there: bool, ends: bool) -> Option<Counted> {
        let rect = self.rect();
        layout.lines.iter().zip(&self.sides).find_map(|(line, &(first, first_half))| {
            let (side, half) = (line.side(rect.centre()), line.half_extent(&rect));
            let moved = side - first;
            if moved.abs() < CROSSING_MOVE_MIN * half.min(first_half) || !line.spans(&rect) {
                return None;
            }
            let forward = moved > 0.0;
            let (first, side) = if forward { (first, side) } else { (-first, -side) };
            let crossed = first < 0.0 && side >= 0.0;
            let late = already_there && (0.0..LATE_START_MAX * first_half).contains(&first) && side >= half;
            // Its front is across, and nobody will see the rest.
            let last = ends && first < 0.0 && side >= -half;
            let centre = rect.centre();
            (crossed || late || last).then(|| Counted {
                line: Some(line.name.clone()),
                direction: Some(line.direction(forward).to_owned()),
                lane: layout.lane(centre).map(str::to_owned),
                stamp: moment.stamp.clone(),
                at: moment.at,
            })
        })
    }

    /// Without lines: whether it has moved through the picture.
    #[must_use]
    pub fn passed_through(&self, layout: &Layout, picture: (f32, f32)) -> Option<Counted> {
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
    pub fn speed_kmh(&self, layout: &Layout) -> Option<f32> {
        let middle = self.counted.as_ref()?.at;
        let near: Vec<_> = self.places.iter().filter(|place| (place.0 - middle).abs() <= 0.75).collect();
        let ((from_at, from), (to_at, to)) = (near.first()?, near.last()?);
        let seconds = (to_at - from_at) as f32;
        (seconds >= 0.25).then(|| layout.metres_between(*from, *to).map(|metres| metres / seconds * 3.6))?
    }
}
