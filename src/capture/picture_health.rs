//! Whether a camera that gives frames can see: a picture that stands still, and one that shows nothing. Pure; time is that of
//! the frames.

use std::sync::Arc;
use std::time::Duration;

use crate::capture::Obscurity;
use crate::error::Result;
use crate::frame::Frame;
use crate::imaging::{self, Limits, Thumbnail};

/// How often a picture is looked at for showing nothing.
const EXAMINATION_PERIOD: Duration = Duration::from_secs(2);
/// So many looks in a row must find nothing: a lorry that passes close by, or a flash, is no covered lens.
const EXAMINATIONS_OBSCURED: u32 = 3;
/// So many looks in a row that cannot read the picture condemn the connection.
const EXAMINATIONS_UNREADABLE: u32 = 3;

// In the 8 bits of luma, which raw frames use from 16 to 235 only. Measured on the darkest and brightest twentieth of the small
// picture, so that a few lamps or reflections decide nothing.
/// A picture in which hardly anything is brighter is black.
const DARK_MAX: f32 = 40.0;
/// A picture in which hardly anything is darker is overexposed.
const BRIGHT_MIN: f32 = 230.0;
/// A picture between whose dark and bright parts lies less shows one even grey.
const SPREAD_MIN: f32 = 10.0;

/// What a frame shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureHealth {
    Clear,
    Frozen,
    Obscured(Obscurity),
    /// The newest looks could not read the picture: it may be anything.
    Unreadable,
}

/// The monitor of one camera, kept over reconnections: a picture that stood still before and after is still the same picture.
pub struct PictureMonitor {
    frozen_after: Duration,
    limits: Limits,
    /// The newest frame's bytes.
    last: Option<Arc<[u8]>>,
    /// When the first of the frames that are all like the newest came.
    same_since: Duration,
    next_examination: Option<Duration>,
    /// What the newest looks found and how many in a row found nothing.
    found: Option<Obscurity>,
    nothing: u32,
    unreadable: u32,
}

impl PictureMonitor {
    #[must_use]
    pub fn new(frozen_after: Duration, limits: Limits) -> Self {
        let (last, next_examination, found) = (None, None, None);
        Self {
            frozen_after,
            limits,
            last,
            same_since: Duration::ZERO,
            next_examination,
            found,
            nothing: 0,
            unreadable: 0,
        }
    }

    /// Looks at the next frame.
    ///
    /// # Errors
    /// What the decoder says when the camera's pictures cannot be read, several times in a row.
    pub fn examine(&mut self, frame: &Frame) -> Result<PictureHealth> {
        let now = frame.captured.monotonic;
        // Live pictures differ within the first bytes: noise sees to that.
        let same = self.last.as_ref().is_some_and(|last| *last == frame.bytes);
        if !same {
            self.last = Some(frame.bytes.clone());
            self.same_since = now;
        }
        if self.next_examination.is_none_or(|due| now >= due) {
            self.next_examination = Some(now + EXAMINATION_PERIOD);
            self.examine_closely(frame)?;
        }
        // A black picture compresses to the same bytes again and again: that it is black says more.
        Ok(match self.found {
            Some(why) if self.nothing >= EXAMINATIONS_OBSCURED => PictureHealth::Obscured(why),
            _ if self.unreadable > 0 => PictureHealth::Unreadable,
            _ if same && now.saturating_sub(self.same_since) >= self.frozen_after => PictureHealth::Frozen,
            _ => PictureHealth::Clear,
        })
    }

    fn examine_closely(&mut self, frame: &Frame) -> Result<()> {
        match imaging::thumbnail(frame, &self.limits) {
            Ok(small) => {
                self.unreadable = 0;
                self.found = obscurity(&small);
                self.nothing = if self.found.is_some() { self.nothing.saturating_add(1) } else { 0 };
                Ok(())
            }
            // One broken frame is the decoder's business, which counts it.
            Err(error) => {
                self.unreadable = self.unreadable.saturating_add(1);
                if self.unreadable < EXAMINATIONS_UNREADABLE { Ok(()) } else { Err(error) }
            }
        }
    }
}

/// Why the picture shows nothing; none when it shows something.
fn obscurity(small: &Thumbnail) -> Option<Obscurity> {
    let mut samples = small.values.clone();
    samples.sort_unstable_by(f32::total_cmp);
    let at = |share: usize| samples.get(samples.len().saturating_sub(1) * share / 20).copied();
    let (dark, bright) = (at(1)?, at(19)?);
    if bright < DARK_MAX {
        Some(Obscurity::Dark)
    } else if dark >= BRIGHT_MIN {
        Some(Obscurity::Bright)
    } else if bright - dark < SPREAD_MIN {
        Some(Obscurity::Covered)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Stamp, SystemClock};
    use crate::frame::{Encoding, PixelLayout};

    const FROZEN_AFTER: Duration = Duration::from_secs(5);

    fn monitor() -> PictureMonitor {
        PictureMonitor::new(FROZEN_AFTER, Limits { pixels_max: 1 << 20 })
    }

    /// A raw frame at that second, whose luma is given by column and row.
    fn frame(second: f64, value: impl Fn(usize, usize) -> u8) -> Frame {
        let luma = (0..64 * 48).map(|at| value(at % 64, at / 64));
        let bytes: Vec<u8> = luma.chain([128; 64 * 24]).collect();
        let captured = Stamp { monotonic: Duration::from_secs_f64(second), ..SystemClock::new().now() };
        let encoding = Encoding::Raw { layout: PixelLayout::Nv12, width: 64, height: 48 };
        Frame { sequence: 0, captured, bytes: bytes.into(), encoding, label: "cam".into() }
    }

    /// A road: shades, and noise that is different in every frame.
    fn road(second: f64) -> Frame {
        let seed = (second * 1e3) as usize;
        frame(second, move |x, y| (40 + 2 * x + (x * 31 + y * 17 + seed) % 7) as u8)
    }

    fn healths(monitor: &mut PictureMonitor, frames: impl IntoIterator<Item = Frame>) -> Vec<PictureHealth> {
        frames.into_iter().map(|frame| monitor.examine(&frame).unwrap()).collect()
    }

    #[test]
    fn a_picture_that_stands_still_is_frozen_until_it_changes() {
        let mut monitor = monitor();
        let live = (0..20).map(|second| road(f64::from(second)));
        assert!(healths(&mut monitor, live).iter().all(|health| *health == PictureHealth::Clear));
        let still = |second: f64| Frame { captured: road(second).captured, ..road(20.0) };
        assert_eq!(healths(&mut monitor, [still(20.0), still(22.0), still(24.9)]), [PictureHealth::Clear; 3]);
        assert_eq!(healths(&mut monitor, [still(25.0), still(29.0)]), [PictureHealth::Frozen; 2]);
        assert_eq!(healths(&mut monitor, [road(29.2)]), [PictureHealth::Clear]);
    }

    #[test]
    fn pictures_that_show_nothing_are_told_apart_and_a_look_clears_them() {
        for (level, why) in [(18, Obscurity::Dark), (234, Obscurity::Bright), (120, Obscurity::Covered)] {
            let mut monitor = monitor();
            // Sensor noise of one step, and a lamp: still nothing to count by.
            let blank = |second: f64| {
                frame(second, move |x, y| match (x, y) {
                    (3, 3) => 200,
                    _ => level + ((x + y + second as usize) % 2) as u8,
                })
            };
            let seen = healths(&mut monitor, (0..10).map(|second| blank(f64::from(second))));
            assert_eq!(seen[..4], [PictureHealth::Clear; 4], "a lorry may fill the picture for a moment");
            assert_eq!(seen[4..], [PictureHealth::Obscured(why); 6]);
            assert_eq!(healths(&mut monitor, [road(10.0)]), [PictureHealth::Clear], "{why:?}");
        }
    }

    #[test]
    fn a_black_picture_without_noise_is_dark_rather_than_frozen() {
        let mut monitor = monitor();
        let seen = healths(&mut monitor, (0..20).map(|second| frame(f64::from(second), |_, _| 16)));
        assert_eq!(seen[4..], [PictureHealth::Obscured(Obscurity::Dark); 16]);
    }

    #[test]
    fn a_camera_whose_pictures_cannot_be_read_is_given_up_but_not_for_one_picture() {
        let broken =
            |second: f64| Frame { bytes: Arc::from(&b"\xff\xd8\xff"[..]), encoding: Encoding::File, ..road(second) };
        let mut monitor = monitor();
        let seen = healths(&mut monitor, [broken(0.0), road(2.0), broken(4.0), broken(6.0), road(8.0)]);
        let (clear, unreadable) = (PictureHealth::Clear, PictureHealth::Unreadable);
        assert_eq!(seen, [unreadable, clear, unreadable, unreadable, clear]);
        assert!(monitor.examine(&broken(10.0)).is_ok() && monitor.examine(&broken(12.0)).is_ok());
        assert!(monitor.examine(&broken(14.0)).unwrap_err().to_string().contains("truncated or damaged"));
        assert!(monitor.examine(&broken(16.0)).is_err(), "opening the camera anew is no reason to believe it again");
        assert_eq!(healths(&mut monitor, [road(18.0)]), [PictureHealth::Clear]);
    }
}
