//! The motion of one box: its middle and, as logarithms, its width and height, each with a constant rate of change that
//! may drift (a Kalman filter an axis; white-noise acceleration, Bar-Shalom et al. 2001, 6.2.2).
//!
//! Noise is measured in box sizes, so that a distant car and a near one are treated alike.

use crate::frame::Rect;

/// How well a box's middle is known from one observation, in its sizes, for a detector's box; a blob's is this much worse.
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
/// How well its speed is known, in sizes a second, when all of it has just come into the picture.
const ENTERED_SIGMA: f32 = 1.0;

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

/// A box along one direction: its middle and the logarithm of its extent.
#[derive(Clone, Copy, Debug)]
struct Span {
    middle: Axis,
    extent: Axis,
    /// The last observation showed only a part of it.
    partial: bool,
}

impl Span {
    fn new(middle: f32, extent: f32, size: f32, partial: bool) -> Self {
        let middle = Axis::new(middle, PLACE_SIGMA * size, SPEED_SIGMA * size);
        Self { middle, extent: Self::first(extent), partial }
    }

    fn first(extent: f32) -> Axis {
        Axis::new(extent.max(1.0).ln(), EXTENT_SIGMA, GROWTH_SIGMA)
    }

    fn predict(&mut self, seconds: f32, size: f32) {
        self.middle.predict(seconds, ACCELERATION * size);
        self.extent.predict(seconds, GROWTH);
    }

    /// Takes in a middle and an extent. `partial`: there is more of it beyond the picture's edge.
    ///
    /// What has come in of a vehicle grows as it comes, which tells nothing of how the vehicle will grow, and its middle moves
    /// at half the vehicle's speed.
    fn correct(&mut self, middle: f32, extent: f32, seen: Seen, size: f32, partial: bool) {
        self.middle.correct(middle, PLACE_SIGMA * factor(seen) * size);
        if partial || self.partial {
            self.extent = Self::first(extent);
        } else {
            self.extent.correct(extent.max(1.0).ln(), EXTENT_SIGMA * factor(seen));
        }
        if self.partial && !partial {
            self.middle.rate *= 2.0;
            self.middle.rate_variance = self.middle.rate_variance.max((ENTERED_SIGMA * size).powi(2));
        }
        self.partial = partial;
    }

    fn length(&self) -> f32 {
        // e^9 = 8103 pixels: nothing is larger, and nothing overflows.
        self.extent.value.clamp(0.0, 9.0).exp()
    }
}

/// The filter of one box.
#[derive(Clone, Debug)]
pub struct BoxFilter {
    across: Span,
    down: Span,
}

impl BoxFilter {
    /// The filter of a box that was seen once. `partial`: whether the picture's edge hides some of its width, of its height.
    #[must_use]
    pub fn new(rect: &Rect, partial: (bool, bool)) -> Self {
        let ((x, y), size) = (rect.centre(), size(rect));
        Self { across: Span::new(x, rect.width(), size, partial.0), down: Span::new(y, rect.height(), size, partial.1) }
    }

    /// Moves on in time.
    pub fn predict(&mut self, seconds: f32) {
        let size = self.rect().size();
        self.across.predict(seconds, size);
        self.down.predict(seconds, size);
    }

    /// Takes in a box. `partial`: whether the picture's edge hides some of its width, of its height.
    pub fn correct(&mut self, rect: &Rect, seen: Seen, partial: (bool, bool)) {
        let ((x, y), size) = (rect.centre(), size(rect));
        self.across.correct(x, rect.width(), seen, size, partial.0);
        self.down.correct(y, rect.height(), seen, size, partial.1);
    }

    /// How far a box lies from where it is expected, in standard deviations of what is known of its place.
    #[must_use]
    pub fn surprise(&self, rect: &Rect, seen: Seen) -> f32 {
        let ((x, y), place) = (rect.centre(), PLACE_SIGMA * factor(seen) * size(rect));
        self.across.middle.surprise(x, place).hypot(self.down.middle.surprise(y, place))
    }

    /// Unseen for a while: the extent no longer grows, the place goes on.
    pub fn coast(&mut self) {
        self.across.extent.rate = 0.0;
        self.down.extent.rate = 0.0;
    }

    /// It stands: until the next observation nothing moves it.
    pub fn settle(&mut self) {
        for axis in [&mut self.across.middle, &mut self.down.middle] {
            let size = axis.value_variance.sqrt() / PLACE_SIGMA;
            axis.rate = 0.0;
            axis.rate_variance = (0.5 * size).powi(2);
        }
    }

    #[must_use]
    pub fn rect(&self) -> Rect {
        Rect::around((self.across.middle.value, self.down.middle.value), self.across.length(), self.down.length())
    }

    /// Pixels a second.
    #[must_use]
    pub fn velocity(&self) -> (f32, f32) {
        (self.across.middle.rate, self.down.middle.rate)
    }
}

fn size(rect: &Rect) -> f32 {
    rect.size().max(1.0)
}

fn factor(seen: Seen) -> f32 {
    if seen == Seen::Blob { BLOB_FACTOR } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: (bool, bool) = (false, false);

    #[test]
    fn an_even_motion_is_predicted_after_a_few_looks() {
        let at = |step: f32| Rect::around((100.0 + 8.0 * step, 50.0 + 4.0 * step), 40.0, 30.0);
        let mut filter = BoxFilter::new(&at(0.0), WHOLE);
        for step in 1..=8 {
            filter.predict(0.1);
            filter.correct(&at(step as f32), Seen::Detector, WHOLE);
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
        let mut filter = BoxFilter::new(&at(0.0), WHOLE);
        let mut now = 0.0;
        for gap in [0.04, 0.2, 0.1, 0.04, 0.3, 0.08] {
            now += gap;
            filter.predict(gap);
            filter.correct(&at(now), Seen::Detector, WHOLE);
        }
        assert!((filter.velocity().0 - 100.0).abs() < 6.0, "{:?}", filter.velocity());
    }

    #[test]
    fn a_vehicle_that_comes_in_is_expected_where_it_will_be_once_all_of_it_is_seen() {
        // 60 pixels long, 100 pixels a second: its front is at 10 when it is seen first.
        let at = |step: f32| {
            let front = 10.0 + 10.0 * step;
            Rect { left: (front - 60.0_f32).max(0.0), top: 100.0, right: front, bottom: 130.0 }
        };
        let mut filter = BoxFilter::new(&at(0.0), (true, false));
        for step in 1..=7 {
            filter.predict(0.1);
            let seen = at(step as f32);
            filter.correct(&seen, Seen::Detector, (seen.left == 0.0, false));
        }
        filter.predict(0.1);
        assert!(filter.rect().iou(&at(8.0)) > 0.85, "{:?}, it is at {:?}", filter.rect(), at(8.0));
        // And it does not grow any more while nobody sees it.
        filter.coast();
        filter.predict(0.5);
        assert!((filter.rect().width() - 60.0).abs() < 6.0, "{:?}", filter.rect());
    }
}
