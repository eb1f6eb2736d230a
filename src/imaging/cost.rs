//! What decoding a picture takes, told from its header alone: memory, so that pictures share a budget, and passes over a
//! progressive JPEG, which cost time without bounds otherwise.
//!
//! The figures are upper bounds, measured for the decoders in use; `cargo update` of one of them is the moment to measure again.

use crate::error::{Error, ErrorKind, Result};
use crate::frame::PictureFormat;
use crate::imaging::decode::Limits;
use crate::imaging::header::{self, PixelSize, array};
use crate::imaging::segments::{SOS, Segments};
use crate::imaging::sniff;

/// Beside the pixels: tables, rows, the inflater's window.
const FIXED_BYTES: u64 = 1 << 20;
/// Scans × pixels of a JPEG at most: twelve scans over 50 megapixels. Encoders make ten; each takes about a nanosecond a pixel.
const SCANNED_PIXELS_MAX: u64 = 600_000_000;
/// Scans of a JPEG that are counted.
const SCANS_COUNTED_MAX: usize = 1 << 16;

/// The bytes of memory that decoding takes. None for what [`decode`](super::decode) refuses before a decoder runs.
#[must_use]
pub fn decode_bytes(bytes: &[u8], limits: &Limits) -> Option<u64> {
    let format = sniff(bytes)?;
    let (width, height) = header::size(bytes, format).ok()?;
    limits.check((width, height), "").ok()?;
    let pixels = u64::from(width) * u64::from(height);
    let of_pixels = match format {
        PictureFormat::Jpeg => JpegCost::read(bytes).map_or(pixels * 15, |cost| cost.decode_bytes((width, height))),
        PictureFormat::Png => pixels * png_pixel_bytes(bytes)?,
        PictureFormat::Bmp => pixels * 4,
        // The canvas, and a frame that is smaller.
        PictureFormat::Gif => pixels * 8,
        // A lossy picture alone: its planes and the samples. Any other: canvas, frame, samples, all with opacity.
        PictureFormat::Webp if bytes.get(12..16) == Some(b"VP8 ") => pixels * 5,
        PictureFormat::Webp => pixels * 12,
    };
    Some(of_pixels + bytes.len() as u64 + FIXED_BYTES)
}

/// Refuses a JPEG whose scans would take too long.
pub(super) fn check_scans(bytes: &[u8], (width, height): PixelSize, label: &str) -> Result<()> {
    let Some(cost) = JpegCost::read(bytes) else { return Ok(()) };
    let pixels = u64::from(width) * u64::from(height);
    let scans_max = SCANNED_PIXELS_MAX / pixels.max(1);
    if cost.scans <= scans_max {
        return Ok(());
    }
    let message = format!(
        "{label}: the JPEG is coded in {} scans over {width} × {height} pixels, at most {scans_max} are taken at this size; save it as a baseline JPEG.",
        cost.scans
    );
    Err(Error::new(ErrorKind::PayloadTooLarge, message).detail("scans", cost.scans).detail("scans_max", scans_max))
}

/// Bytes a pixel of the samples as they are decoded (PNG 1.2, §4.1.1). A palette may come with opacity, as other kinds may.
fn png_pixel_bytes(bytes: &[u8]) -> Option<u64> {
    let [depth, kind] = array(bytes, 24)?;
    let sample = if depth == 16 { 2 } else { 1 };
    Some(match kind {
        0 | 4 => 2 * sample,
        _ => 4 * sample,
    })
}

struct JpegCost {
    components: u64,
    /// Samples of all components a pixel of the largest, in 64ths: a component is sampled at full, half or quarter rate.
    samples: u64,
    /// The coefficients of the whole picture are kept until the last scan.
    keeps_coefficients: bool,
    scans: u64,
}

impl JpegCost {
    /// None when the header is not one.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut cost = Self { components: 0, samples: 0, keeps_coefficients: false, scans: 0 };
        let mut segments = Segments::of(bytes);
        let scan = loop {
            let segment = segments.next()?;
            if segment.is_frame() {
                cost.frame(segment.marker, segment.body)?;
            }
            if segment.marker == SOS {
                break segment;
            }
        };
        // Coded data never holds these two bytes, so each such pair begins a scan (or stands in a table, and one too many counts).
        let coded = bytes.get(scan.start..)?;
        cost.scans = coded.windows(2).filter(|pair| *pair == [0xff, SOS]).take(SCANS_COUNTED_MAX).count() as u64;
        cost.keeps_coefficients |= cost.scans > 1;
        Some(cost)
    }

    /// Start of frame: precision, height, width, then three bytes a component, the second its sampling factors.
    fn frame(&mut self, kind: u8, body: &[u8]) -> Option<()> {
        self.keeps_coefficients = !matches!(kind, 0xc0 | 0xc1);
        let count = usize::from(*body.get(5)?).min(4);
        let factors = body.get(6..6 + 3 * count)?.chunks_exact(3).map(|component| {
            let (across, down) = (u64::from(component[1] >> 4), u64::from(component[1] & 15));
            (across.clamp(1, 4), down.clamp(1, 4))
        });
        let largest = factors.clone().fold((1, 1), |most, one| (most.0.max(one.0), most.1.max(one.1)));
        self.components = count as u64;
        self.samples = factors.map(|(across, down)| (64 * across * down).div_ceil(largest.0 * largest.1)).sum();
        Some(())
    }

    fn decode_bytes(&self, (width, height): PixelSize) -> u64 {
        // Whole blocks of up to four by four units, the most that sampling factors ask for.
        let coded = u64::from(width).next_multiple_of(32) * u64::from(height).next_multiple_of(32);
        let coefficients = if self.keeps_coefficients { coded * self.samples * 2 / 64 } else { 0 };
        let samples = match self.components {
            0 | 1 => 1,
            // Ink, and the colours made of it.
            4 => 7,
            _ => 3,
        };
        coefficients + u64::from(width) * u64::from(height) * samples + coded / 2
    }
}
