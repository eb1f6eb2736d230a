//! Width and height from a picture's first bytes, so that limits are checked before a decoder runs or memory is taken.
//!
//! Every reader here works on a slice and gives up (`None`) when it ends early; none allocates.

use crate::frame::PictureFormat;
use crate::imaging::decode::Failure;
use crate::imaging::jpeg::JpegHeader;

/// Width and height in pixels as stored, before any EXIF orientation; either may be zero.
pub(super) type PixelSize = (u32, u32);

/// Reads the size, or says what is wrong.
pub(super) fn size(bytes: &[u8], format: PictureFormat) -> Result<PixelSize, Failure> {
    let short = || Failure::damaged("it ends within its header");
    match format {
        PictureFormat::Jpeg => JpegHeader::read(bytes).map(|header| (header.width, header.height)),
        PictureFormat::Png => png(bytes).ok_or_else(short),
        PictureFormat::Gif => gif(bytes).ok_or_else(short),
        PictureFormat::Bmp => bmp(bytes).ok_or_else(short),
        PictureFormat::Webp => webp(bytes).map_err(Failure::damaged),
    }
}

/// `N` bytes from `at`.
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_le(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(u16::from_le_bytes(array(bytes, at)?)))
}

fn u24_le(bytes: &[u8], at: usize) -> Option<u32> {
    let [low, middle, high] = array(bytes, at)?;
    Some(u32::from_le_bytes([low, middle, high, 0]))
}

fn u32_le(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(array(bytes, at)?))
}

/// IHDR is the first chunk (PNG 1.2, §4.1.1).
fn png(bytes: &[u8]) -> Option<PixelSize> {
    Some((u32::from_be_bytes(array(bytes, 16)?), u32::from_be_bytes(array(bytes, 20)?)))
}

/// The logical screen; the first frame lies within it.
fn gif(bytes: &[u8]) -> Option<PixelSize> {
    Some((u16_le(bytes, 6)?, u16_le(bytes, 8)?))
}

/// BITMAPCOREHEADER has 16-bit sizes; all later headers have signed 32-bit ones, a negative height meaning top-down.
fn bmp(bytes: &[u8]) -> Option<PixelSize> {
    if u32_le(bytes, 14)? == 12 {
        return Some((u16_le(bytes, 18)?, u16_le(bytes, 20)?));
    }
    Some((i32::from_le_bytes(array(bytes, 18)?).unsigned_abs(), i32::from_le_bytes(array(bytes, 22)?).unsigned_abs()))
}

/// Where a BMP's pixels begin; none where the file tells it rightly. Some writers leave the palette out of the offset: the
/// palette's bytes would be taken for pixels then.
pub(super) fn bmp_pixels_start(bytes: &[u8]) -> Result<Option<u32>, Failure> {
    let read = || {
        let (told, header) = (u32_le(bytes, 10)?, u32_le(bytes, 14)?);
        let core = header == 12;
        let bits = u16_le(bytes, if core { 24 } else { 28 })?;
        let used = if core { 0 } else { u32_le(bytes, 46)? };
        Some((told, header.saturating_add(14), bits, used, if core { 3 } else { 4 }))
    };
    let (told, header_end, bits, used, entry_bytes) =
        read().ok_or_else(|| Failure::damaged("it ends within its header"))?;
    if told < header_end {
        return Err(Failure::damaged("its pixels begin within its header"));
    }
    if bits > 8 || told > header_end {
        return Ok(None);
    }
    let entries = if used == 0 { 1 << bits } else { used };
    Ok(Some(header_end.saturating_add(entries.saturating_mul(entry_bytes))))
}

/// The canvas. The decoder takes memory by the sizes inside the bitstreams, so those must not exceed the canvas, and it
/// passes over a missing end, so the RIFF length must be met.
fn webp(bytes: &[u8]) -> Result<PixelSize, &'static str> {
    const SHORT: &str = "it ends early";
    let riff_bytes = u32_le(bytes, 4).ok_or(SHORT)? as usize;
    if bytes.len() < riff_bytes.saturating_add(8) {
        return Err(SHORT);
    }
    let mut canvas = None;
    let mut at = 12;
    while let (Some(name), Some(length)) = (array::<4>(bytes, at), u32_le(bytes, at + 4)) {
        let body = bytes.get(at + 8..).ok_or(SHORT)?;
        let found = match &name {
            b"VP8X" => Some((u24_le(body, 4).ok_or(SHORT)? + 1, u24_le(body, 7).ok_or(SHORT)? + 1)),
            b"VP8 " => Some((u16_le(body, 6).ok_or(SHORT)? & 0x3fff, u16_le(body, 8).ok_or(SHORT)? & 0x3fff)),
            b"VP8L" => {
                let packed = u32_le(body, 1).ok_or(SHORT)?;
                Some(((packed & 0x3fff) + 1, (packed >> 14 & 0x3fff) + 1))
            }
            _ => None,
        };
        if let Some((width, height)) = found {
            let (canvas_width, canvas_height) = *canvas.get_or_insert((width, height));
            if width > canvas_width || height > canvas_height {
                return Err("a frame is larger than the canvas");
            }
        }
        // An animation's frame is a chunk around chunks, behind 16 bytes of its own.
        let step = if &name == b"ANMF" { 16 } else { (length as usize).saturating_add(length as usize & 1) };
        at = (at + 8).saturating_add(step);
    }
    canvas.ok_or("it holds no image")
}
