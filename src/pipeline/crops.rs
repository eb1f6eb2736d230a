//! The pictures of a vehicle that the classifier is asked about: large, whole, sharp, and spread over its way.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::imaging::CropRegion;
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
    size: f32,
    at: f64,
}

/// What is kept of one vehicle.
#[derive(Default)]
struct Album {
    crops: Vec<Crop>,
    /// The best one so far as JPEG, with its weight; only where such are kept.
    jpeg: Option<(f32, Vec<u8>)>,
}

/// A picture worth having.
#[derive(Clone, Copy, Debug)]
pub struct CropRequest {
    pub region: CropRegion,
    size: f32,
    /// Which one it replaces.
    place: Option<usize>,
}

/// The best pictures of every live track.
pub struct Crops {
    crops_max: usize,
    side_min: u32,
    tracks: BTreeMap<u64, Album>,
}

impl Crops {
    /// At most `crops_max` a track, none with a side shorter than `side_min` pixels.
    #[must_use]
    pub fn new(crops_max: usize, side_min: u32) -> Self {
        Self { crops_max, side_min, tracks: BTreeMap::new() }
    }

    /// Whether the present picture shows this track well enough to be kept.
    #[must_use]
    pub fn wanted(&self, track: &Track, (width, height): (u32, u32)) -> Option<CropRequest> {
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
        let size = rect.size() * if inside { 1.0 } else { 0.25 };
        let kept = self.of(track.id);
        let newest = kept.iter().map(|crop| crop.at).fold(f64::NEG_INFINITY, f64::max);
        if track.last.at - newest < APART_SECONDS {
            return None;
        }
        let mut place = None;
        if kept.len() >= self.crops_max {
            let (worst, crop) = kept.iter().enumerate().min_by(|a, b| a.1.weight.total_cmp(&b.1.weight))?;
            if size < crop.size * BETTER {
                return None;
            }
            place = Some(worst);
        }
        let part = rect.grown(MARGIN).within(whole);
        let region = CropRegion {
            x: part.left as u32,
            y: part.top as u32,
            width: (part.right as u32).saturating_sub(part.left as u32),
            height: (part.bottom as u32).saturating_sub(part.top as u32),
        };
        (region.width.min(region.height) >= self.side_min.max(1)).then_some(CropRequest { region, size, place })
    }

    /// Keeps a picture that was wanted, unless it is blurred more than its size makes good for. `width`: the tensor's.
    /// `jpeg` makes the picture to show, where such are kept.
    ///
    /// # Errors
    /// Those of `jpeg`.
    pub fn put(
        &mut self,
        track: &Track,
        wanted: CropRequest,
        (tensor, width): (&[i8], usize),
        jpeg: Option<impl FnOnce() -> Result<Vec<u8>>>,
    ) -> Result<()> {
        let weight = wanted.size * sharpness(tensor, width);
        let album = self.tracks.entry(track.id).or_default();
        let crop = || Crop { tensor: tensor.to_vec(), weight, size: wanted.size, at: track.last.at };
        match wanted.place.and_then(|place| album.crops.get_mut(place)) {
            Some(worst) if weight > worst.weight => *worst = crop(),
            Some(_) => return Ok(()),
            None => album.crops.push(crop()),
        }
        if let Some(jpeg) = jpeg
            && album.jpeg.as_ref().is_none_or(|(best, _)| weight > *best)
        {
            album.jpeg = Some((weight, jpeg()?));
        }
        Ok(())
    }

    /// The pictures of a track.
    #[must_use]
    pub fn of(&self, track: u64) -> &[Crop] {
        self.tracks.get(&track).map_or(&[], |album| &album.crops)
    }

    /// The best picture of a track to show, which is then no longer kept here.
    #[must_use]
    pub fn take_jpeg(&mut self, track: u64) -> Option<Vec<u8>> {
        self.tracks.get_mut(&track)?.jpeg.take().map(|(_, jpeg)| jpeg)
    }

    /// Forgets all tracks but these.
    pub fn keep(&mut self, live: &[u64]) {
        self.tracks.retain(|track, _| live.contains(track));
    }
}

/// How sharp a picture is, whatever its contrast: the mean second difference along its rows (a blur of a pixel or more takes
/// it away) in standard deviations, after Pertuz et al. 2013. About 0.1 (blurred) to 1.
fn sharpness(tensor: &[i8], width: usize) -> f32 {
    // The green channel says enough.
    let green: Vec<f32> = tensor.iter().skip(1).step_by(3).map(|&value| f32::from(value)).collect();
    let count = green.len().max(1) as f32;
    let mean = green.iter().sum::<f32>() / count;
    let deviation = (green.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / count).sqrt();
    let bends = green.chunks_exact(width.max(1)).flat_map(|row| row.windows(3));
    let bend = bends.map(|near| (near[0] - 2.0 * near[1] + near[2]).abs()).sum::<f32>() / count;
    // A picture of one colour shows nothing; the floor keeps its weight above zero.
    (bend / deviation.max(1.0)).clamp(0.01, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blur_costs_sharpness_and_contrast_does_not() {
        let picture = |reach: i32, contrast: f32| -> Vec<i8> {
            let stripe = |x: i32| if x / 6 % 2 == 0 { contrast } else { -contrast };
            let blurred = |x: i32| (x - reach..=x + reach).map(stripe).sum::<f32>() / (2 * reach + 1) as f32;
            (0..48 * 48).flat_map(|at| [blurred(100 + at % 48) as i8; 3]).collect()
        };
        let sharp = sharpness(&picture(0, 100.0), 48);
        assert!(sharp > 2.0 * sharpness(&picture(2, 100.0), 48), "{sharp}");
        assert!((sharp - sharpness(&picture(0, 20.0), 48)).abs() < 0.1 * sharp);
        assert!(sharpness(&[5; 48 * 48 * 3], 48) > 0.0 && sharpness(&[], 0) > 0.0);
    }
}
