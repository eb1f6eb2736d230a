//! Measurements of one frame: the detector's boxes and the blobs of motion, cleared of duplicates.

use crate::frame::Rect;
use crate::traffic::blobs::Blob;
use crate::traffic::kalman::Seen;
use crate::traffic::motion::Foreground;

/// A box that the detector found, in pixels of the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    pub rect: Rect,
    /// That it is a vehicle, 0…1.
    pub score: f32,
    /// That it is a person, 0…1.
    pub person: f32,
}

/// Something seen in one picture that a track may follow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement {
    pub rect: Rect,
    pub score: f32,
    pub seen: Seen,
    /// Rather a person than a vehicle.
    pub person: bool,
}

/// What moves scores this much more.
const MOTION_BONUS: f32 = 0.1;
/// Share of a box's cells in front of the background from which it moves, or stands where nothing stood.
const MOVING_SHARE: f32 = 0.35;
/// Boxes that overlap more are one thing.
const SAME_IOU: f32 = 0.55;
/// The smaller of two boxes that lies within the other by this share, on the same ground, is a part of it.
const PART_CONTAINMENT: f32 = 0.7;
/// Two boxes stand on the same ground when their lower edges differ by less than this share of the lower one's height.
const SAME_GROUND: f32 = 0.25;
/// A person within a vehicle is its driver.
const DRIVER_CONTAINMENT: f32 = 0.7;

/// Whether two boxes are of one vehicle: the cab of a lorry and the lorry, a car and its door.
#[must_use]
pub fn same_vehicle(a: &Rect, b: &Rect) -> bool {
    let ground = (a.bottom - b.bottom).abs() < SAME_GROUND * a.height().min(b.height());
    a.iou(b) > SAME_IOU || (ground && a.containment(b) > PART_CONTAINMENT)
}

/// Detections with their scores raised where something moves, without duplicates, best first.
#[must_use]
pub fn measurements(
    detections: &[Detection],
    foreground: &Foreground,
    counts: impl Fn((f32, f32)) -> bool,
) -> Vec<Measurement> {
    let mut all: Vec<Measurement> = detections
        .iter()
        .filter(|found| counts(found.rect.centre()))
        .map(|found| {
            let person = found.person > found.score;
            let score = if person { found.person } else { found.score };
            let moving = foreground.foreground_share(&found.rect) >= MOVING_SHARE;
            let score = if moving { score + MOTION_BONUS } else { score };
            Measurement { rect: found.rect, score, seen: Seen::Detector, person }
        })
        .collect();
    // Vehicles first: what they contain of persons is theirs.
    all.sort_by(|a, b| a.person.cmp(&b.person).then(b.score.total_cmp(&a.score)));
    let mut kept: Vec<Measurement> = Vec::new();
    for found in all {
        let twin = kept.iter().any(|other| {
            if found.person && !other.person {
                found.rect.overlap(&other.rect) > DRIVER_CONTAINMENT * found.rect.area()
            } else {
                same_vehicle(&found.rect, &other.rect)
            }
        });
        if !twin {
            kept.push(found);
        }
    }
    kept
}

/// Blobs as measurements, those of a countable place and shape.
#[must_use]
pub fn blob_measurements(blobs: &[Blob], size_min: f32, counts: impl Fn((f32, f32)) -> bool) -> Vec<Measurement> {
    let sound = |blob: &&Blob| {
        let (width, height) = (blob.rect.width(), blob.rect.height());
        let narrow = width.max(height) > 6.0 * width.min(height);
        blob.cells >= 4 && blob.filled >= 0.35 && !narrow && blob.rect.size() >= size_min && counts(blob.rect.centre())
    };
    let measurement =
        |blob: &Blob| Measurement { rect: blob.rect, score: blob.filled, seen: Seen::Blob, person: false };
    blobs.iter().filter(sound).map(measurement).collect()
}

/// Pairs tracks with measurements, the most alike first; each is used once. `likeness` is 0 for pairs out of question.
#[must_use]
pub fn pairs(tracks: usize, measurements: usize, likeness: impl Fn(usize, usize) -> f32) -> Vec<(usize, usize)> {
    let mut all: Vec<(f32, usize, usize)> = (0..tracks)
        .flat_map(|track| (0..measurements).map(move |measurement| (track, measurement)))
        .map(|(track, measurement)| (likeness(track, measurement), track, measurement))
        .filter(|pair| pair.0 > 0.0)
        .collect();
    // Ties by number, so that a replay gives the same pairs every time.
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
    let (mut used_tracks, mut used_measurements) = (vec![false; tracks], vec![false; measurements]);
    all.retain(|&(_, track, measurement)| {
        let free = !used_tracks[track] && !used_measurements[measurement];
        if free {
            (used_tracks[track], used_measurements[measurement]) = (true, true);
        }
        free
    });
    all.into_iter().map(|(_, track, measurement)| (track, measurement)).collect()
}
