//! A small luma picture, for what only needs to know where something changes.
//!
//! The mean brightness of an 8 × 8 block of a baseline JPEG is its DC coefficient: reading those alone costs a small part
//! of decoding, because nothing is transformed, coloured or written. What is no baseline JPEG is decoded and averaged.

use crate::error::Result;
use crate::frame::{Encoding, Frame, PictureFormat};
use crate::imaging::decode::{Limits, decode};
use crate::imaging::picture::Picture;
use crate::imaging::raw::luma;
use crate::imaging::{dc, sniff};

/// A JPEG block's side in pixels.
const BLOCK: usize = 8;
/// Blocks are averaged until the picture is no wider than this.
const WIDTH_MAX: usize = 160;

/// Mean brightness (0…255) of square cells, row by row from the top left.
#[derive(Clone, Debug, PartialEq)]
pub struct Thumbnail {
    pub width: usize,
    pub height: usize,
    /// A cell's side in pixels of the whole picture.
    pub cell: f32,
    pub values: Vec<f32>,
    /// The whole picture's width and height in pixels.
    pub picture: (u32, u32),
}

/// Reads the thumbnail of a frame.
///
/// # Errors
/// As [`decode_frame`](crate::imaging::decode_frame).
pub fn thumbnail(frame: &Frame, limits: &Limits) -> Result<Thumbnail> {
    if let Encoding::Raw { layout, width, height } = frame.encoding {
        let small = luma(frame, layout, (width, height), WIDTH_MAX as u32, limits)?;
        return Ok(Thumbnail {
            width: small.width as usize,
            height: small.height as usize,
            cell: width as f32 / small.width as f32,
            values: small.samples.into_iter().map(f32::from).collect(),
            picture: (width, height),
        });
    }
    if sniff(&frame.bytes) == Some(PictureFormat::Jpeg)
        && let Some(blocks) = dc::read(&frame.bytes, limits.pixels_max)
    {
        return Ok(shrunk(&blocks.values, (blocks.width, blocks.height), blocks.picture));
    }
    Ok(Thumbnail::of(&decode(&frame.bytes, &frame.label, limits)?))
}

impl Thumbnail {
    /// The thumbnail of a picture that is decoded already.
    #[must_use]
    pub fn of(picture: &Picture) -> Self {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let (columns, rows) = (width.div_ceil(BLOCK), height.div_ceil(BLOCK));
        let mut sums = vec![(0_u32, 0_u32); columns * rows];
        for (at, pixel) in picture.to_rgb().as_chunks::<3>().0.iter().enumerate() {
            let place = at / width / BLOCK * columns + at % width / BLOCK;
            let [red, green, blue] = pixel.map(u32::from);
            if let Some((sum, count)) = sums.get_mut(place) {
                // ITU-R BT.601, as in JFIF.
                *sum += (299 * red + 587 * green + 114 * blue) / 1_000;
                *count += 1;
            }
        }
        let values: Vec<f32> = sums.into_iter().map(|(sum, count)| sum as f32 / count.max(1) as f32).collect();
        shrunk(&values, (columns, rows), (picture.width(), picture.height()))
    }
}

/// Averages squares of blocks so that the width fits.
fn shrunk(blocks: &[f32], (columns, rows): (usize, usize), picture: (u32, u32)) -> Thumbnail {
    let factor = columns.div_ceil(WIDTH_MAX).max(1);
    let (width, height) = (columns.div_ceil(factor), rows.div_ceil(factor));
    let mut values = Vec::with_capacity(width * height);
    for row in 0..height {
        for column in 0..width {
            let (mut sum, mut count) = (0.0, 0.0_f32);
            for y in row * factor..(row * factor + factor).min(rows) {
                for x in column * factor..(column * factor + factor).min(columns) {
                    sum += blocks[y * columns + x];
                    count += 1.0;
                }
            }
            values.push(sum / count.max(1.0));
        }
    }
    Thumbnail { width, height, cell: (BLOCK * factor) as f32, values, picture }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};

    const LIMITS: Limits = Limits { pixels_max: 1 << 20 };

    fn frame(bytes: &[u8]) -> Frame {
        let captured = SystemClock::new().now();
        Frame { sequence: 0, captured, bytes: bytes.into(), encoding: Encoding::File, label: "test".into() }
    }

    #[test]
    fn raw_frames_give_their_luma() {
        let bytes: Vec<u8> = [90, 0, 110, 0].repeat(320 * 8 / 2);
        let encoding = Encoding::Raw { layout: crate::frame::PixelLayout::Yuyv, width: 320, height: 8 };
        let small = thumbnail(&Frame { encoding, ..frame(&bytes) }, &LIMITS).unwrap();
        assert_eq!((small.width, small.height, small.cell), (160, 4, 2.0));
        assert!(small.values.iter().all(|&value| value == 100.0));
    }

    /// Each recording of `tests/pictures` shows the same scene, so block means tell whether coefficients were read right.
    fn check(name: &str) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures").join(name);
        check_picture(name, &std::fs::read(path).unwrap());
    }

    fn check_picture(name: &str, bytes: &[u8]) {
        let fast = thumbnail(&frame(bytes), &LIMITS).unwrap();
        let slow = Thumbnail::of(&decode(bytes, name, &LIMITS).unwrap());
        assert_eq!(
            (fast.width, fast.height, fast.cell, fast.picture),
            (slow.width, slow.height, slow.cell, slow.picture)
        );
        for row in 0..fast.height - 1 {
            for column in 0..fast.width - 1 {
                let at = row * fast.width + column;
                let difference = (fast.values[at] - slow.values[at]).abs();
                assert!(difference < 4.0, "{name} at {column}, {row}: {} and {}", fast.values[at], slow.values[at]);
            }
        }
    }

    #[test]
    fn dc_coefficients_are_the_means_of_the_decoded_blocks() {
        for name in ["baseline-420.jpg", "restarts-422.jpg", "grey.jpg"] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures").join(name);
            assert!(dc::read(&std::fs::read(path).unwrap(), 1 << 20).is_some(), "{name} takes the short way");
            check(name);
        }
    }

    #[test]
    fn blocks_that_are_full_of_coefficients_are_read_to_their_last() {
        // Noise at the best quality: long codes, and blocks that no end follows.
        let mut chance = 1_u32;
        let mut next = || {
            chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (chance >> 24) as u8
        };
        let noise: Vec<u8> = (0..256 * 128 * 3).map(|_| next()).collect();
        for quality in [60, 90, 100] {
            let mut bytes = Vec::new();
            let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, quality);
            encoder.encode(&noise, 256, 128, image::ExtendedColorType::Rgb8).unwrap();
            assert!(dc::read(&bytes, 1 << 20).is_some(), "{quality} takes the short way");
            check_picture("noise", &bytes);
        }
    }

    #[test]
    fn other_kinds_are_decoded_and_damage_is_an_error() {
        check("progressive.jpg");
        check("palette.png");
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures/baseline-420.jpg");
        let whole = std::fs::read(path).unwrap();
        for length in (0..whole.len()).step_by(7) {
            // No panic and no picture out of nothing; where the coded data ends early there is no end marker.
            assert!(thumbnail(&frame(&whole[..length]), &LIMITS).is_err(), "{length} bytes");
        }
        let mut noise = whole.clone();
        for at in (whole.len() / 2..whole.len() - 2).step_by(3) {
            noise[at] = noise[at].wrapping_mul(31).wrapping_add(7);
            let _ = thumbnail(&frame(&noise), &LIMITS);
        }
    }

    #[test]
    fn wide_pictures_get_larger_cells() {
        let blocks: Vec<f32> = (0..240 * 3).map(|at| (at % 240) as f32).collect();
        let small = shrunk(&blocks, (240, 3), (1920, 24));
        assert_eq!((small.width, small.height, small.cell), (120, 2, 16.0));
        assert_eq!(small.values[..2], [0.5, 2.5]);
    }
}
