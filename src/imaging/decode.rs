//! Encoded bytes to a [`Picture`], within limits.
//!
//! The size is read from the header and checked before any decoder runs. A decoder that panics costs the picture, not the
//! thread. What is transparent is laid on neutral grey, as the models' own training cut-outs were: left black, it would
//! be the strongest edge of the picture.

use std::fmt::Display;
use std::io::Cursor;
use std::panic::catch_unwind;

use image::codecs::{bmp::BmpDecoder, gif::GifDecoder, png::PngDecoder, webp::WebPDecoder};
use image::error::ImageError;
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder};

use crate::error::{Error, ErrorKind, Result};
use crate::frame::PictureFormat;
use crate::imaging::declared::{recognise, shortened};
use crate::imaging::header::{self, PixelSize};
use crate::imaging::picture::{Picture, Pixels, Source};
use crate::imaging::{cost, jpeg, title};

/// Longest side of a picture in pixels: what JPEG, GIF and BMP can say at most, and so all others here.
pub(super) const SIDE_MAX: u32 = 65_535;
/// Memory for what is beside the pixels (ICC profile, EXIF), in bytes: bounds what a compressed profile may grow to.
const METADATA_BYTES_MAX: u64 = 16 << 20;
/// Decoded bytes a pixel at most: four channels of 16 bits.
const PIXEL_BYTES_MAX: u64 = 8;
/// Longest decoder message shown to a client.
const REASON_CHARS_MAX: usize = 120;
/// What a transparent pixel shows.
const GREY: u8 = 128;

/// What a picture may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Width × height. What decoding takes of memory is another matter: see [`decode_bytes`](super::decode_bytes).
    pub pixels_max: u64,
}

/// Detail of the error for a picture with too many pixels.
const PIXELS_MAX: &str = "pixels_max";

/// Whether the picture was refused for its number of pixels.
#[must_use]
pub fn has_too_many_pixels(error: &Error) -> bool {
    error.kind() == ErrorKind::PayloadTooLarge && error.details().contains_key(PIXELS_MAX)
}

impl Limits {
    /// Checks the size a header tells.
    pub(super) fn check(self, (width, height): PixelSize, label: &str) -> Result<()> {
        if width == 0 || height == 0 {
            return Err(Error::validation(format!("{label}: the picture has no pixels ({width} × {height}).")));
        }
        let pixels = u64::from(width) * u64::from(height);
        let megapixels = |pixels: u64| (pixels as f64 / 1e5).ceil() / 10.0;
        if pixels > self.pixels_max {
            let (has, may) = (megapixels(pixels), megapixels(self.pixels_max));
            return Err(Error::new(
                ErrorKind::PayloadTooLarge,
                format!(
                    "{label}: {width} × {height} are {has} megapixels, the limit is {may}; send a smaller picture."
                ),
            )
            .detail("width", width)
            .detail("height", height)
            .detail(PIXELS_MAX, self.pixels_max));
        }
        if width > SIDE_MAX || height > SIDE_MAX {
            return Err(Error::new(
                ErrorKind::PayloadTooLarge,
                format!(
                    "{label}: {width} × {height}: no side may be longer than {SIDE_MAX} pixels; send a smaller picture."
                ),
            ));
        }
        Ok(())
    }

    /// The same for the decoders of the `image` crate. The size is checked already; the memory bound stops frames that
    /// are larger than what the header told.
    fn for_decoders(self) -> image::Limits {
        let mut limits = image::Limits::default();
        limits.max_image_width = Some(SIDE_MAX);
        limits.max_image_height = Some(SIDE_MAX);
        limits.max_alloc = Some(self.pixels_max.saturating_mul(PIXEL_BYTES_MAX).saturating_add(METADATA_BYTES_MAX));
        limits
    }
}

/// Reason given for a picture on which a decoder panicked.
pub(super) const PANICKED: &str = "the decoder gave up";

/// What a decoder made of the bytes.
pub(super) struct Decoded {
    pub pixels: Pixels,
    pub orientation: Orientation,
}

/// Why a decoder made nothing of them.
pub(super) enum Failure {
    Damaged(String),
    /// Well formed, of a kind no decoder here reads.
    Unsupported(String),
    /// More memory than the limits allow.
    TooLarge,
}

impl Failure {
    pub(super) fn damaged(reason: impl Display) -> Self {
        Self::Damaged(reason.to_string())
    }

    pub(super) fn unsupported(kind: impl Display) -> Self {
        Self::Unsupported(kind.to_string())
    }

    fn into_error(self, label: &str, format: PictureFormat) -> Error {
        let title = title(format);
        match self {
            Self::Damaged(reason) => {
                let reason = shortened(&reason, REASON_CHARS_MAX);
                Error::validation(format!("{label}: the {title} is truncated or damaged ({reason}); send it again."))
            }
            Self::Unsupported(reason) => {
                let reason = shortened(&reason, REASON_CHARS_MAX);
                Error::new(
                    ErrorKind::UnsupportedMediaType,
                    format!("{label}: this kind of {title} is not supported ({reason}); convert it."),
                )
            }
            Self::TooLarge => Error::new(
                ErrorKind::PayloadTooLarge,
                format!("{label}: the {title} needs more memory than the limit allows; send a smaller picture."),
            ),
        }
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Unsupported(cause) => Self::Unsupported(cause.to_string()),
            ImageError::Limits(_) => Self::TooLarge,
            ImageError::Decoding(cause) => match std::error::Error::source(&cause) {
                Some(source) => Self::Damaged(source.to_string()),
                None => Self::Damaged(cause.to_string()),
            },
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// Decodes the first or only image of a file; `label` names it in messages ([`display_name`](super::display_name)).
///
/// All kinds become 8-bit grey or RGB; ICC profiles are not applied. Of animations only the first frame is decoded, on its
/// canvas.
///
/// # Errors
/// Unsupported media type for what is no supported picture; payload too large beyond the limits, told from the header
/// alone; validation for a picture without pixels and for a truncated or damaged one.
pub fn decode(bytes: &[u8], label: &str, limits: &Limits) -> Result<Picture> {
    let format = recognise(bytes, label)?;
    let size = header::size(bytes, format).map_err(|failure| failure.into_error(label, format))?;
    limits.check(size, label)?;
    if format == PictureFormat::Jpeg {
        cost::check_scans(bytes, size, label)?;
    }
    let decoded = catch_unwind(|| decode_as(bytes, format, size, limits.for_decoders()))
        .unwrap_or_else(|_| Err(Failure::damaged(PANICKED)))
        .map_err(|failure| failure.into_error(label, format))?;
    Ok(Picture::new(decoded.pixels, size, decoded.orientation, Source::File(format)))
}

fn decode_as(bytes: &[u8], format: PictureFormat, size: PixelSize, limits: image::Limits) -> Result<Decoded, Failure> {
    let reader = Cursor::new(bytes);
    match format {
        PictureFormat::Jpeg => jpeg::decode(bytes, size),
        PictureFormat::Png => {
            // This decoder reads the metadata at once and applies its limit to that, not to the pixels.
            let mut metadata = limits.clone();
            metadata.max_alloc = Some(METADATA_BYTES_MAX);
            read(PngDecoder::with_limits(reader, metadata)?, size, limits)
        }
        PictureFormat::Bmp => {
            let Some(start) = header::bmp_pixels_start(bytes)? else {
                return read(BmpDecoder::new(reader)?, size, limits);
            };
            let mut mended = bytes.to_vec();
            if let Some(offset) = mended.get_mut(10..14) {
                offset.copy_from_slice(&start.to_le_bytes());
            }
            read(BmpDecoder::new(Cursor::new(mended))?, size, limits)
        }
        PictureFormat::Gif => read(GifDecoder::new(reader)?, size, limits),
        PictureFormat::Webp => {
            let mut decoder = WebPDecoder::new(reader)?;
            if decoder.has_animation() {
                decoder.set_background_color(image::Rgba([GREY, GREY, GREY, u8::MAX]))?;
            }
            read(decoder, size, limits)
        }
    }
}

fn read(mut decoder: impl ImageDecoder, size: PixelSize, limits: image::Limits) -> Result<Decoded, Failure> {
    if decoder.dimensions() != size {
        return Err(Failure::damaged("it tells two sizes"));
    }
    decoder.set_limits(limits)?;
    let exif = decoder.exif_metadata()?.unwrap_or_default();
    // Some writers keep the prefix that only JPEG has.
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(&exif);
    let orientation = Orientation::from_exif_chunk(exif).unwrap_or(Orientation::NoTransforms);
    let colours = decoder.color_type();
    let mut samples = vec![0; decoder.total_bytes() as usize];
    decoder.read_image(&mut samples)?;
    Ok(Decoded { pixels: pixels(samples, colours)?, orientation })
}

/// Brings samples to 8 bits without alpha, in place.
fn pixels(mut samples: Vec<u8>, colours: ColorType) -> Result<Pixels, Failure> {
    match colours {
        ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => narrow(&mut samples),
        _ => {}
    }
    Ok(match colours {
        ColorType::L8 | ColorType::L16 => Pixels::Grey(samples),
        ColorType::La8 | ColorType::La16 => {
            lay_on_grey::<2>(&mut samples);
            Pixels::Grey(samples)
        }
        ColorType::Rgb8 | ColorType::Rgb16 => Pixels::Rgb(samples),
        ColorType::Rgba8 | ColorType::Rgba16 => {
            lay_on_grey::<4>(&mut samples);
            Pixels::Rgb(samples)
        }
        other => return Err(Failure::Unsupported(format!("{other:?}"))),
    })
}

/// 16-bit samples (native byte order) to 8-bit ones, rounded: 65,535 / 255 is 257.
fn narrow(samples: &mut Vec<u8>) {
    let count = samples.len() / 2;
    for index in 0..count {
        let wide = u32::from(u16::from_ne_bytes([samples[2 * index], samples[2 * index + 1]]));
        samples[index] = ((wide + 128) / 257) as u8;
    }
    samples.truncate(count);
}

/// Removes the last of `N` channels, the opacity, by laying the pixels on neutral grey.
fn lay_on_grey<const N: usize>(samples: &mut Vec<u8>) {
    let colours = N - 1;
    let count = samples.len() / N;
    for pixel in 0..count {
        let opacity = u32::from(samples[pixel * N + colours]);
        for channel in 0..colours {
            let over = u32::from(samples[pixel * N + channel]) * opacity;
            let under = u32::from(GREY) * (255 - opacity);
            samples[pixel * colours + channel] = ((over + under + 127) / 255) as u8;
        }
    }
    samples.truncate(count * colours);
}
