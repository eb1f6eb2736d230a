//! Where the picture differs from what it usually shows, on a small luma picture.
//!
//! Every cell has a usual brightness and a usual noise. Before a picture is compared, two things that happen to the whole
//! of it are taken out: a change of exposure (the median ratio to the background) and a small shift of a swaying camera
//! (least squares over the background's gradient, as in Lucas and Kanade 1981). What still differs by more than its cell's
//! noise is foreground; leaves that sway raise the noise of their cells until they are not.

use crate::frame::Rect;
use crate::traffic::blobs::{Blob, blobs, without_specks};

/// A difference below this many grey levels (mean of a cell) is never foreground.
const DIFFERENCE_MIN: f32 = 6.0;
/// Differences count from this many times the cell's usual deviation.
const NOISE_FACTOR: f32 = 4.0;
/// Share of the background's gradient that a remaining shift may explain.
const GRADIENT_SHARE: f32 = 0.3;
/// Seconds in which the background follows where nothing is in front of it, and where something stands.
const BACKGROUND_SECONDS: f32 = 8.0;
const SWALLOW_SECONDS: f32 = 90.0;
/// The background learns fast until it has seen this many seconds.
const LEARNING_SECONDS: f32 = 2.0;
/// Seconds in which the usual noise of a cell follows.
const NOISE_SECONDS: f32 = 6.0;
const NOISE_START: f32 = 2.0;
const NOISE_MAX: f32 = 24.0;
/// Seconds over which "just now" reaches, for telling what moves from what stands.
const RECENT_SECONDS: f32 = 0.4;
/// More foreground than this share for [`UPSET_SECONDS`] is another scene: the camera was turned, or the lamp switched.
const UPSET_SHARE: f32 = 0.7;
const UPSET_SECONDS: f32 = 1.0;

/// What one picture shows of motion.
#[derive(Clone, Debug, Default)]
pub struct Foreground {
    pub width: usize,
    pub height: usize,
    /// A cell's side in pixels of the picture.
    pub cell: f32,
    /// Cells in front of the background, without specks.
    pub foreground: Vec<bool>,
    /// Cells that changed just now, without specks.
    pub active: Vec<bool>,
    pub blobs: Vec<Blob>,
    /// The background is being learnt; blobs mean nothing yet.
    pub learning: bool,
}

impl Foreground {
    /// Whether anything moves.
    #[must_use]
    pub fn moving(&self) -> bool {
        self.active.contains(&true)
    }

    /// The share of a rectangle's cells that changed just now, 0…1.
    #[must_use]
    pub fn activity(&self, rect: &Rect) -> f32 {
        self.share(&self.active, rect)
    }

    /// The share of a rectangle's cells that are in front of the background, 0…1.
    #[must_use]
    pub fn foreground_share(&self, rect: &Rect) -> f32 {
        self.share(&self.foreground, rect)
    }

    /// The share of a rectangle's cells that a mask marks; 0 where there are none.
    fn share(&self, mask: &[bool], rect: &Rect) -> f32 {
        if self.cell <= 0.0 || mask.is_empty() {
            return 0.0;
        }
        let range = |from: f32, to: f32, end: usize| {
            ((from / self.cell).max(0.0) as usize).min(end)..((to / self.cell).max(0.0).ceil() as usize).min(end)
        };
        let (mut cells, mut marked) = (0_u32, 0_u32);
        for row in range(rect.top, rect.bottom, self.height) {
            for column in range(rect.left, rect.right, self.width) {
                cells += 1;
                marked += u32::from(mask[row * self.width + column]);
            }
        }
        if cells > 0 { marked as f32 / cells as f32 } else { 0.0 }
    }
}

/// A picture as the motion model takes it: mean brightness of its cells.
#[derive(Clone, Copy, Debug)]
pub struct Cells<'a> {
    pub width: usize,
    pub height: usize,
    pub cell: f32,
    pub values: &'a [f32],
}

/// The background and what it knows of itself.
#[derive(Default)]
pub struct Motion {
    size: (usize, usize),
    background: Vec<f32>,
    noise: Vec<f32>,
    recent: Vec<f32>,
    /// Cells that are looked at at all; empty: every one.
    region: Vec<bool>,
    seen_seconds: f32,
    upset_seconds: f32,
}

impl Motion {
    /// Leaves the cells out for which `region` is false. Forgotten when the size changes.
    pub fn set_region(&mut self, region: Vec<bool>) {
        self.region = region;
    }

    /// Whether the next picture of this size starts a new background.
    #[must_use]
    pub fn is_new(&self, cells: &Cells<'_>) -> bool {
        self.size != (cells.width, cells.height)
    }

    /// Compares a picture that came `elapsed` seconds after the last one, and learns from it.
    pub fn observe(&mut self, cells: &Cells<'_>, elapsed: f32) -> Foreground {
        let (width, height) = (cells.width, cells.height);
        let mut shown = Foreground { width, height, cell: cells.cell, ..Foreground::default() };
        if self.is_new(cells) {
            self.restart(cells);
            shown.foreground = vec![false; width * height];
            shown.active = shown.foreground.clone();
            shown.learning = true;
            return shown;
        }
        let elapsed = elapsed.clamp(0.001, 2.0);
        let expected = Expected::of(&self.background, cells);
        let recently = Expected::of(&self.recent, cells);
        let differences = expected.differences(cells.values);
        let raw: Vec<bool> = (0..differences.len())
            .map(|at| self.is_observed(at) && differences[at] > self.threshold(at, &expected))
            .collect();
        let changed: Vec<bool> = recently
            .differences(cells.values)
            .iter()
            .enumerate()
            .map(|(at, difference)| self.is_observed(at) && *difference > self.threshold(at, &recently))
            .collect();
        self.learn(cells, &expected, &differences, &raw, elapsed);
        follow(&mut self.recent, cells.values, |_| elapsed / RECENT_SECONDS);
        shown.foreground = without_specks(&raw, width, height);
        shown.active = without_specks(&changed, width, height);
        shown.learning = self.seen_seconds < LEARNING_SECONDS;
        if !shown.learning {
            shown.blobs = blobs(&shown.foreground, width, height, cells.cell);
        }
        shown
    }

    fn restart(&mut self, cells: &Cells<'_>) {
        if self.is_new(cells) {
            self.region.clear();
        }
        self.size = (cells.width, cells.height);
        self.background = cells.values.to_vec();
        self.recent = cells.values.to_vec();
        self.noise = vec![NOISE_START; cells.values.len()];
        (self.seen_seconds, self.upset_seconds) = (0.0, 0.0);
    }

    fn is_observed(&self, at: usize) -> bool {
        self.region.get(at).copied().unwrap_or(true)
    }

    fn threshold(&self, at: usize, expected: &Expected) -> f32 {
        (NOISE_FACTOR * self.noise[at]).max(DIFFERENCE_MIN) + GRADIENT_SHARE * expected.steepness[at]
    }

    fn learn(&mut self, cells: &Cells<'_>, expected: &Expected, differences: &[f32], raw: &[bool], elapsed: f32) {
        self.seen_seconds += elapsed;
        let share = raw.iter().filter(|&&cell| cell).count() as f32 / raw.len().max(1) as f32;
        self.upset_seconds = if share > UPSET_SHARE { self.upset_seconds + elapsed } else { 0.0 };
        if self.upset_seconds > UPSET_SECONDS {
            return self.restart(cells);
        }
        let learning = self.seen_seconds < LEARNING_SECONDS;
        // The background keeps its own exposure: what is learnt is brought to it first, as long as it is near.
        let usual = (0.8..1.25).contains(&expected.gain);
        let gain = if usual { expected.gain } else { 1.0 };
        for at in 0..differences.len() {
            let seconds = match (raw[at], learning) {
                (_, true) => LEARNING_SECONDS / 2.0,
                (false, false) => BACKGROUND_SECONDS,
                (true, false) => SWALLOW_SECONDS,
            };
            let value = cells.values[at] / gain;
            self.background[at] += (value - self.background[at]) * (elapsed / seconds).min(1.0);
            let slow = if raw[at] { 4.0 } else { 1.0 };
            let noise = &mut self.noise[at];
            *noise += (differences[at] - *noise) * (elapsed / (NOISE_SECONDS * slow)).min(1.0);
            *noise = noise.clamp(0.5, NOISE_MAX);
        }
        if !usual {
            // A lasting change of light: the background moves to it as a whole.
            let step = 1.0 + (expected.gain - 1.0) * (elapsed / 1.0).min(1.0);
            self.background.iter_mut().for_each(|value| *value = (*value * step).clamp(0.0, 255.0));
        }
    }
}

fn follow(values: &mut [f32], towards: &[f32], rate: impl Fn(usize) -> f32) {
    for (at, (value, &target)) in values.iter_mut().zip(towards).enumerate() {
        *value += (target - *value) * rate(at).min(1.0);
    }
}

/// A remembered picture as it would look under the present exposure and shift.
struct Expected {
    values: Vec<f32>,
    /// How much a value changes from cell to cell there.
    steepness: Vec<f32>,
    gain: f32,
}

impl Expected {
    fn of(memory: &[f32], cells: &Cells<'_>) -> Self {
        let gain = gain(memory, cells.values);
        let mut values: Vec<f32> = memory.iter().map(|value| value * gain).collect();
        let slopes = slopes(&values, cells.width, cells.height);
        let steepness = slopes.iter().map(|(x, y)| x.abs().max(y.abs())).collect();
        let (across, down) = shift(&values, &slopes, cells.values);
        for (value, (x, y)) in values.iter_mut().zip(&slopes) {
            *value += x * across + y * down;
        }
        Self { values, steepness, gain }
    }

    fn differences(&self, values: &[f32]) -> Vec<f32> {
        self.values.iter().zip(values).map(|(expected, value)| (expected - value).abs()).collect()
    }
}

/// The median ratio of brightness now and then: what covers less than half of the picture does not move it.
fn gain(then: &[f32], now: &[f32]) -> f32 {
    // Dark cells are mostly noise, bright ones may be cut off.
    let mut ratios: Vec<f32> = then
        .iter()
        .zip(now)
        .filter(|(then, now)| (20.0..235.0).contains(*then) && (5.0..250.0).contains(*now))
        .map(|(then, now)| now / then)
        .collect();
    if ratios.len() < 32 {
        return 1.0;
    }
    let middle = ratios.len() / 2;
    let (_, median, _) = ratios.select_nth_unstable_by(middle, f32::total_cmp);
    median.clamp(0.25, 4.0)
}

/// Change a cell to the right and downwards.
fn slopes(values: &[f32], width: usize, height: usize) -> Vec<(f32, f32)> {
    let mut slopes = Vec::with_capacity(values.len());
    for row in 0..height {
        for column in 0..width {
            let at = |row: usize, column: usize| values[row * width + column];
            let (left, right) = (column.saturating_sub(1), (column + 1).min(width - 1));
            let (above, below) = (row.saturating_sub(1), (row + 1).min(height - 1));
            let across = (at(row, right) - at(row, left)) / (right - left).max(1) as f32;
            let down = (at(below, column) - at(above, column)) / (below - above).max(1) as f32;
            slopes.push((across, down));
        }
    }
    slopes
}

/// How far the picture has moved, in cells: at most one, and none where that explains nothing.
fn shift(expected: &[f32], slopes: &[(f32, f32)], now: &[f32]) -> (f32, f32) {
    let mut moved = (0.0_f32, 0.0_f32);
    // Cells that differ more than this do so for another reason; the bound tightens as the shift gets known.
    for bound in [60.0_f32, 25.0] {
        let (mut xx, mut xy, mut yy, mut xd, mut yd) = (1.0_f32, 0.0, 1.0_f32, 0.0, 0.0);
        for ((expected, now), (x, y)) in expected.iter().zip(now).zip(slopes) {
            let rest = now - expected - x * moved.0 - y * moved.1;
            if rest.abs() < bound {
                xx += x * x;
                xy += x * y;
                yy += y * y;
                xd += x * rest;
                yd += y * rest;
            }
        }
        let determinant = xx * yy - xy * xy;
        if determinant.abs() > f32::EPSILON {
            moved.0 += (yy * xd - xy * yd) / determinant;
            moved.1 += (xx * yd - xy * xd) / determinant;
        }
        moved = (moved.0.clamp(-1.0, 1.0), moved.1.clamp(-1.0, 1.0));
    }
    moved
}
