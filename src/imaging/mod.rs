//! From encoded bytes to the model's input tensor: recognise, refuse, decode, orient, resize, quantise. Pure: no I/O, no
//! clock, no logging.
//!
//! A camera picture passes in two steps. [`decode`] checks the header against the [`Limits`] before any pixel memory is
//! taken and decodes into a [`Picture`]; [`Tensoriser`] resizes straight from the decoded pixels. The EXIF orientation is
//! kept beside the pixels instead of being applied to them: turning the tensor (50 thousand pixels) after the resize gives
//! the same result as turning the picture (millions) before it, because the resize treats both axes alike.

mod cost;
mod dc;
mod declared;
mod decode;
mod header;
mod jpeg;
mod overlay;
mod picture;
mod raw;
pub(crate) mod segments;
mod standard_tables;
mod tensor;
#[cfg(test)]
mod tests;
mod thumbnail;

pub use cost::decode_bytes;
pub use declared::{Declared, check_declared, display_name};
pub use decode::{Limits, decode, has_too_many_pixels};
pub use overlay::{jpeg_of, jpeg_of_region};
pub use picture::{CropRegion, Picture, Source};
pub use raw::decode_frame;
pub use tensor::{Placement, Target, Tensoriser};
pub use thumbnail::{Thumbnail, thumbnail};

use crate::frame::PictureFormat;

/// The format by magic number only; none when it is no picture the unit reads.
#[must_use]
pub fn sniff(bytes: &[u8]) -> Option<PictureFormat> {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Some(PictureFormat::Jpeg),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(PictureFormat::Png),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(PictureFormat::Gif),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(PictureFormat::Webp),
        // "BM" alone begins many a text: the size of the second header (12 … 124 bytes) has to be there as well.
        [b'B', b'M', ..] if matches!(bytes.get(14..18), Some([12..=124, 0, 0, 0])) => Some(PictureFormat::Bmp),
        _ => None,
    }
}

/// How a format is written in sentences.
const fn title(format: PictureFormat) -> &'static str {
    match format {
        PictureFormat::Jpeg => "JPEG",
        PictureFormat::Png => "PNG",
        PictureFormat::Bmp => "BMP",
        PictureFormat::Gif => "GIF",
        PictureFormat::Webp => "WebP",
    }
}
