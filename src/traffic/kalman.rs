//! The motion of one box: its middle and, as logarithms, its width and height, each with a constant rate of change that
//! may drift (a Kalman filter an axis; white-noise acceleration, Bar-Shalom et al. 2001, 6.2.2).
//!
//! Noise is measured in box sizes, so that a distant car and a near one are treated alike.

use crate::frame::Rect;

/// How well a box's middle is known from one look, in its sizes, for a detector's box; a blob's is this much worse.
const PLACE_SIGMA: f32 = 0.06;
const BLOB_FACTOR: f32 = 2.5;
/// The same for the logarithm of width and height.
const EXTENT_SIGMA: f32 = 0.10;
/// Sizes a second squared: braking and turning, and what perspective makes of an even motion.
const ACCELERATION: f32 = 3.0;
/// Of the logarithm of the extent, a second squared.
const GROWTH: f32 = 0.8;
/// Nobody passes faster than this many sizes a second at first sight.
const SPEED_SIGMA: f32 = 4.0;
const GROWTH_SIGMA: f32 = 0.7;

/// What a box was seen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Detector,
    Blob,
}

/// Value and rate with their covariance.
#[derive(Clone, Copy, Debug)]
struct Axis {
    value: f32,
    rate: f32,
    value_variance: f32,
    covariance: f32,
    rate_variance: f32,
}

impl Axis {
    fn new(value: f32, sigma: f32, rate_sigma: f32) -> Self {
        Self {
            value,
            rate: 0.0,
            value_variance: sigma * sigma,
            covariance: 0.0,
            rate_variance: rate_sigma * rate_sigma,
        }
    }

    fn predict(&mut self, seconds: f32, acceleration: f32) {
        let t = seconds;
        let q = acceleration * acceleration;
        self.value += self.rate * t;
        self.value_variance += 2.0 * t * self.covariance + t * t * self.rate_variance + q * t.powi(4) / 4.0;
        self.covariance += t * self.rate_variance + q * t.powi(3) / 2.0;
        self.rate_variance += q * t * t;
    }

    fn surprise(&self, seen: f32, sigma: f32) -> f32 {
        (seen - self.value) / (self.value_variance + sigma * sigma).sqrt()
    }

    fn correct(&mut self, seen: f32, sigma: f32) {
        let spread = self.value_variance + sigma * sigma;
        let (value_share, rate_share) = (self.value_variance / spread, self.covariance / spread);
        let surprise = seen - self.value;
        self.value += value_share * surprise;
        self.rate += rate_share * surprise;
        self.rate_variance -= rate_share * self.covariance;
        self.covariance -= value_share * self.covariance;
        self.value_variance -= value_share * self.value_variance;
    }
}

/// The filter of one box.
#[derive(Clone, Debug)]
pub struct BoxFilter {
    x: Axis,
    y: Axis,
    width: Axis,
    height: Axis,
}

impl BoxFilter {
    #[must_use]
    pub fn new(rect: &Rect) -> Self {
        let size = rect.size().max(1.0);
        let (x, y) = rect.centre();
        let place = |value| Axis::new(value, PLACE_SIGMA * size, SPEED_SIGMA * size);
        let extent = |value: f32| Axis::new(value.max(1.0).ln(), EXTENT_SIGMA, GROWTH_SIGMA);
        Self { x: place(x), y: place(y), width: extent(rect.width()), height: extent(rect.height()) }
    }

    /// Moves on in time.
    pub fn predict(&mut self, seconds: f32) {
        let size = self.rect().size();
        self.x.predict(seconds, ACCELERATION * size);
        self.y.predict(seconds, ACCELERATION * size);
        self.width.predict(seconds, GROWTH);
        self.height.predict(seconds, GROWTH);
    }

    /// Takes in a box. `extent`: whether its width and height can be trusted; a box cut by the picture's edge cannot.
    pub fn correct(&mut self, rect: &Rect, seen: Seen, extent: bool) {
        let factor = factor(seen);
        let (x, y) = rect.centre();
        let place = place_sigma(rect, seen);
        self.x.correct(x, place);
        self.y.correct(y, place);
        let trust = if extent { 1.0 } else { 2.0 };
        self.width.correct(rect.width().max(1.0).ln(), EXTENT_SIGMA * factor * trust);
        self.height.correct(rect.height().max(1.0).ln(), EXTENT_SIGMA * factor * trust);
    }

    /// How far a box lies from where it is expected, in standard deviations of what is known of its place.
    #[must_use]
    pub fn surprise(&self, rect: &Rect, seen: Seen) -> f32 {
        let (x, y) = rect.centre();
        let place = place_sigma(rect, seen);
        self.x.surprise(x, place).hypot(self.y.surprise(y, place))
    }

    /// Unseen for a while: the extent no longer grows, the place goes on.
    pub fn coast(&mut self) {
        self.width.rate *= 0.8;
        self.height.rate *= 0.8;
    }

    /// It stands: until the next look nothing moves it.
    pub fn settle(&mut self) {
        for axis in [&mut self.x, &mut self.y] {
            let size = axis.value_variance.sqrt() / PLACE_SIGMA;
            axis.rate = 0.0;
            axis.rate_variance = (0.5 * size).powi(2);
        }
    }

    #[must_use]
    pub fn rect(&self) -> Rect {
        // e^9 = 8103 pixels: nothing is larger, and nothing overflows.
        Rect::around(
            (self.x.value, self.y.value),
            self.width.value.clamp(0.0, 9.0).exp(),
            self.height.value.clamp(0.0, 9.0).exp(),
        )
    }

    /// Pixels a second.
    #[must_use]
    pub fn velocity(&self) -> (f32, f32) {
        (self.x.rate, self.y.rate)
    }
}

fn factor(seen: Seen) -> f32 {
    if seen == Seen::Blob { BLOB_FACTOR } else { 1.0 }
}

/// Pixels by which the middle of a box is uncertain.
fn place_sigma(rect: &Rect, seen: Seen) -> f32 {
    PLACE_SIGMA * factor(seen) * rect.size().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_motion_is_predicted_after_a_few_looks() {
        let at = |step: f32| Rect::around((100.0 + 8.0 * step, 50.0 + 4.0 * step), 40.0, 30.0);
        let mut filter = BoxFilter::new(&at(0.0));
        for step in 1..=8 {
            filter.predict(0.1);
            filter.correct(&at(step as f32), Seen::Detector, true);
        }
        let (across, down) = filter.velocity();
        assert!((across - 80.0).abs() < 4.0 && (down - 40.0).abs() < 3.0, "{across} {down}");
        // Half a second behind a tree.
        for _ in 0..5 {
            filter.predict(0.1);
            filter.coast();
        }
        assert!(filter.rect().iou(&at(13.0)) > 0.7, "{:?}", filter.rect());
    }

    #[test]
    fn looks_at_uneven_times_make_no_difference() {
        let at = |seconds: f32| Rect::around((100.0 * seconds, 0.0), 50.0, 50.0);
        let mut filter = BoxFilter::new(&at(0.0));
        let mut now = 0.0;
        for gap in [0.04, 0.2, 0.1, 0.04, 0.3, 0.08] {
            now += gap;
            filter.predict(gap);
            filter.correct(&at(now), Seen::Detector, true);
        }
        assert!((filter.velocity().0 - 100.0).abs() < 6.0, "{:?}", filter.velocity());
    }
}
