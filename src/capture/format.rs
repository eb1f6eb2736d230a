//! Which of the formats a camera offers is taken: pure, so that it can be tried without a camera.

use std::collections::BTreeMap;
use std::fmt;

use crate::config::RequestedFormat;

/// The size nearest to which is taken when the configuration names none: large enough for a vehicle across the road, small
/// enough for a slow core.
const SIZE_DEFAULT: (u32, u32) = (640, 480);

/// What the configuration asks of a camera.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestedMode {
    /// Exactly this size; none: the one nearest to 640 × 480.
    pub size: Option<(u32, u32)>,
    /// Frames a second: the slowest rate that reaches it, else the fastest.
    pub fps: f64,
    pub format: RequestedFormat,
}

/// A pixel format the unit reads. The order is that of the cost of reading a frame, cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PixelFormat {
    Nv12,
    Yuyv,
    Mjpeg,
}

impl PixelFormat {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nv12 => "NV12",
            Self::Yuyv => "YUYV",
            Self::Mjpeg => "MJPEG",
        }
    }

    /// Whether this format meets the request.
    pub(super) const fn grants(self, requested: RequestedFormat) -> bool {
        match requested {
            RequestedFormat::Auto => true,
            RequestedFormat::Mjpeg => matches!(self, Self::Mjpeg),
            RequestedFormat::Yuyv => matches!(self, Self::Yuyv),
            RequestedFormat::Nv12 => matches!(self, Self::Nv12),
        }
    }
}

/// One way in which a camera can work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Offer {
    pub format: PixelFormat,
    pub width: u32,
    pub height: u32,
    /// Frames a second.
    pub fps: u32,
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}×{} at {} fps", self.format.name(), self.width, self.height, self.fps)
    }
}

/// The mode that serves the request best; none when no offer has the size or format that was asked for.
///
/// Among equals a rate that reaches the requested one counts first, then the cheaper format: raw frames need no decoding, but over
/// USB 2 a camera often gives them at a few frames a second only, and then MJPEG is the better choice.
#[must_use]
pub fn choose(offers: &[Offer], requested: &RequestedMode) -> Option<Offer> {
    let fitting = offers.iter().filter(|offer| {
        offer.format.grants(requested.format) && requested.size.is_none_or(|size| size == (offer.width, offer.height))
    });
    fitting.copied().min_by_key(|offer| {
        let (width, height) = requested.size.unwrap_or(SIZE_DEFAULT);
        let away = u64::from(offer.width.abs_diff(width)) + u64::from(offer.height.abs_diff(height));
        let enough = f64::from(offer.fps) >= requested.fps;
        let rate = if enough { offer.fps } else { u32::MAX - offer.fps };
        if enough { (away, 0, offer.format as u32, rate) } else { (away, 1, rate, offer.format as u32) }
    })
}

/// The offers as a sentence's end: `MJPEG 640×480 at 15, 30 fps; …`.
#[must_use]
pub fn list(offers: &[Offer]) -> String {
    let mut rates: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    for offer in offers {
        rates.entry((offer.format.name(), offer.width, offer.height)).or_default().push(offer.fps);
    }
    let said = rates.into_iter().map(|((format, width, height), mut fps)| {
        fps.sort_unstable();
        fps.dedup();
        let fps: Vec<_> = fps.iter().map(u32::to_string).collect();
        format!("{format} {width}×{height} at {} fps", fps.join(", "))
    });
    let said: Vec<_> = said.collect();
    if said.is_empty() { "nothing that can be listed".into() } else { said.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(format: PixelFormat, width: u32, height: u32, fps: u32) -> Offer {
        Offer { format, width, height, fps }
    }

    /// A common USB 2 camera: raw frames are slow at the larger size.
    fn webcam() -> Vec<Offer> {
        vec![
            offer(PixelFormat::Mjpeg, 640, 480, 30),
            offer(PixelFormat::Mjpeg, 1280, 720, 30),
            offer(PixelFormat::Mjpeg, 1280, 720, 15),
            offer(PixelFormat::Yuyv, 640, 480, 30),
            offer(PixelFormat::Yuyv, 640, 480, 15),
            offer(PixelFormat::Yuyv, 1280, 720, 10),
        ]
    }

    fn chosen(size: Option<(u32, u32)>, fps: f64, format: RequestedFormat) -> Option<String> {
        choose(&webcam(), &RequestedMode { size, fps, format }).map(|offer| offer.to_string())
    }

    #[test]
    fn the_cheapest_format_that_is_fast_enough_is_taken() {
        for (size, fps, format, wanted) in [
            (None, 15.0, RequestedFormat::Auto, "YUYV 640×480 at 15 fps"),
            (None, 20.0, RequestedFormat::Auto, "YUYV 640×480 at 30 fps"),
            (Some((1280, 720)), 15.0, RequestedFormat::Auto, "MJPEG 1280×720 at 15 fps"),
            (Some((1280, 720)), 8.0, RequestedFormat::Auto, "YUYV 1280×720 at 10 fps"),
            (Some((1280, 720)), 60.0, RequestedFormat::Auto, "MJPEG 1280×720 at 30 fps"),
            (Some((1280, 720)), 60.0, RequestedFormat::Yuyv, "YUYV 1280×720 at 10 fps"),
            (None, 15.0, RequestedFormat::Mjpeg, "MJPEG 640×480 at 30 fps"),
        ] {
            assert_eq!(chosen(size, fps, format).as_deref(), Some(wanted), "{size:?} {fps} {format:?}");
        }
    }

    #[test]
    fn what_is_not_offered_is_not_chosen_and_the_list_is_readable() {
        assert_eq!(chosen(Some((1920, 1080)), 15.0, RequestedFormat::Auto), None);
        assert_eq!(chosen(None, 15.0, RequestedFormat::Nv12), None);
        assert_eq!(
            list(&webcam()),
            "MJPEG 640×480 at 30 fps; MJPEG 1280×720 at 15, 30 fps; YUYV 640×480 at 15, 30 fps; YUYV 1280×720 at 10 fps"
        );
        assert_eq!(list(&[]), "nothing that can be listed");
    }
}
