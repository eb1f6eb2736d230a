//! The pictures of a vehicle that the classifier is asked about: large, whole, and spread over its way.

use std::collections::BTreeMap;

use crate::imaging::Region;
use crate::traffic::Track;

/// Seconds between two pictures of one vehicle, unless the later one is far better.
const APART_SECONDS: f64 = 0.12;
/// A picture replaces the worst one when it is better by this factor.
const BETTER: f32 = 1.15;
/// Around the tracked box, as a share of its sides: the classifier knows vehicles with some road around them.
const MARGIN: f32 = 0.06;
/// A box nearer to the picture's edge than this share of the picture's height is cut by it.
const EDGE: f32 = 0.008;

/// A picture as the classifier takes it.
pub struct Crop {
    pub tensor: Vec<i8>,
    pub weight: f32,
    at: f64,
}

/// A picture worth having.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub region: Region,
    weight: f32,
    /// Which one it replaces.
    place: Option<usize>,
}

/// The best pictures of every live track.
pub struct Crops {
    crops_max: usize,
    side_min: u32,
    tracks: BTreeMap<u64, Vec<Crop>>,
}

impl Crops {
    /// At most `crops_max` a track, none with a side shorter than `side_min` pixels.
    #[must_use]
    pub fn new(crops_max: usize, side_min: u32) -> Self {
        Self { crops_max, side_min, tracks: BTreeMap::new() }
    }

    /// Whether the present picture shows this track well enough to be kept.
    #[must_use]
    pub fn wanted(&self, track: &Track, (width, height): (u32, u32)) -> Option<Wanted> {
        if track.done || !track.seen_now() {
            return None;
        }
        let whole = (width as f32, height as f32);
        let rect = track.rect();
        let margin = EDGE * whole.1;
        let inside = rect.left >= margin
            && rect.top >= margin
            && rect.right <= whole.0 - margin
            && rect.bottom <= whole.1 - margin;
        // One that is cut is better than none.
        let weight = rect.size() * if inside { 1.0 } else { 0.25 };
        let kept = self.tracks.get(&track.id).map_or(&[][..], Vec::as_slice);
        let newest = kept.iter().map(|crop| crop.at).fold(f64::NEG_INFINITY, f64::max);
        if track.last.at - newest < APART_SECONDS {
            return None;
        }
        let mut place = None;
        if kept.len() >= self.crops_max {
            let (worst, crop) = kept.iter().enumerate().min_by(|a, b| a.1.weight.total_cmp(&b.1.weight))?;
            if weight < crop.weight * BETTER {
                return None;
            }
            place = Some(worst);
        }
        let part = rect.grown(MARGIN).within(whole);
        let region = Region {
            x: part.left as u32,
            y: part.top as u32,
            width: (part.right as u32).saturating_sub(part.left as u32),
            height: (part.bottom as u32).saturating_sub(part.top as u32),
        };
        (region.width.min(region.height) >= self.side_min.max(1)).then_some(Wanted { region, weight, place })
    }

    /// Keeps a picture that was wanted.
    pub fn put(&mut self, track: &Track, wanted: Wanted, tensor: &[i8]) {
        let crop = Crop { tensor: tensor.to_vec(), weight: wanted.weight, at: track.last.at };
        let kept = self.tracks.entry(track.id).or_default();
        match wanted.place.and_then(|place| kept.get_mut(place)) {
            Some(worst) => *worst = crop,
            None => kept.push(crop),
        }
    }

    /// The pictures of a track.
    #[must_use]
    pub fn of(&self, track: u64) -> &[Crop] {
        self.tracks.get(&track).map_or(&[], Vec::as_slice)
    }

    /// Forgets all tracks but these.
    pub fn keep(&mut self, live: &[u64]) {
        self.tracks.retain(|track, _| live.contains(track));
    }
}
