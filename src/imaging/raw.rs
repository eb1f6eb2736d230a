//! Camera frames, raw ones included, as a [`Picture`], and raw ones as brightness alone for what need not see colours.

use image::metadata::Orientation;

use crate::error::{Error, Result};
use crate::frame::{Encoding, Frame, PixelLayout};
use crate::imaging::decode::{Limits, decode};
use crate::imaging::picture::{Picture, Pixels, Source};

/// Black and white of limited-range luma (ITU-R BT.601).
const BLACK: i32 = 16;

/// Brightness of a raw frame, one byte a pixel, row by row, in limited range as the camera gave it (16…235).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Luma {
    pub width: u32,
    pub height: u32,
    pub samples: Vec<u8>,
}

/// A frame as a picture.
///
/// # Errors
/// As [`decode`]; validation for a raw frame that has too few bytes.
pub fn decode_frame(frame: &Frame, limits: &Limits) -> Result<Picture> {
    let Encoding::Raw { layout, width, height } = frame.encoding else {
        return decode(&frame.bytes, &frame.label, limits);
    };
    limits.check((width, height), &frame.label)?;
    let samples = raw_samples(frame, layout, (width, height))?;
    let rgb = match layout {
        PixelLayout::Yuyv => rgb_of_yuyv(samples),
        PixelLayout::Nv12 => rgb_of_nv12(samples, width as usize, height as usize),
    };
    Ok(Picture::new(Pixels::Rgb(rgb), (width, height), Orientation::NoTransforms, Source::Raw(layout)))
}

/// The brightness of a raw frame, made smaller by the least whole number that leaves at most `width_max` columns; each
/// sample is the mean of the square it stands for, so that noise goes with the size.
///
/// # Errors
/// As [`decode_frame`].
pub(super) fn luma(
    frame: &Frame,
    layout: PixelLayout,
    size: (u32, u32),
    width_max: u32,
    limits: &Limits,
) -> Result<Luma> {
    limits.check(size, &frame.label)?;
    let samples = raw_samples(frame, layout, size)?;
    // Luma comes first in a pixel's two bytes, or in a plane of its own.
    Ok(shrunk(samples, if layout == PixelLayout::Yuyv { 2 } else { 1 }, size, width_max))
}

/// The frame's samples without what a driver's buffer holds behind them.
fn raw_samples(frame: &Frame, layout: PixelLayout, (width, height): (u32, u32)) -> Result<&[u8]> {
    let label = &frame.label;
    let wanted = layout.bytes(width, height).ok_or_else(|| {
        Error::validation(format!("{label}: {width} × {height} cannot be {}: both sides must be even.", layout.name()))
    })?;
    frame.bytes.get(..wanted).ok_or_else(|| {
        let has = frame.bytes.len();
        Error::validation(format!(
            "{label}: {width} × {height} {} has {wanted} bytes, the camera gave {has}.",
            layout.name()
        ))
    })
}

fn shrunk(samples: &[u8], stride: usize, (width, height): (u32, u32), width_max: u32) -> Luma {
    let step = width.div_ceil(width_max.max(1)).max(1) as usize;
    let (columns, rows) = ((width as usize / step).max(1), (height as usize / step).max(1));
    let mut small = Vec::with_capacity(columns * rows);
    let mut sums = vec![0_u32; columns];
    let (across, down) = (step.min(width as usize), step.min(height as usize));
    for band in samples.chunks_exact(width as usize * stride * down).take(rows) {
        sums.fill(0);
        for row in band.chunks_exact(width as usize * stride) {
            for (sum, square) in sums.iter_mut().zip(row.chunks_exact(stride * across)) {
                *sum += square.iter().step_by(stride).map(|&sample| u32::from(sample)).sum::<u32>();
            }
        }
        let count = (across * down) as u32;
        small.extend(sums.iter().map(|sum| ((sum + count / 2) / count) as u8));
    }
    Luma { width: columns as u32, height: rows as u32, samples: small }
}

fn rgb_of_yuyv(samples: &[u8]) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(samples.len() / 2 * 3);
    for &[first, cb, second, cr] in samples.as_chunks::<4>().0 {
        let colour = Colour::of(cb, cr);
        rgb.extend(colour.at(first));
        rgb.extend(colour.at(second));
    }
    rgb
}

fn rgb_of_nv12(samples: &[u8], width: usize, height: usize) -> Vec<u8> {
    let (luma, chroma) = samples.split_at(width * height);
    let mut rgb = Vec::with_capacity(luma.len() * 3);
    for (number, row) in luma.chunks_exact(width).enumerate() {
        let colours = chroma.get(number / 2 * width..).unwrap_or_default();
        for (&[first, second], &[cb, cr]) in row.as_chunks::<2>().0.iter().zip(colours.as_chunks::<2>().0) {
            let colour = Colour::of(cb, cr);
            rgb.extend(colour.at(first));
            rgb.extend(colour.at(second));
        }
    }
    rgb
}

/// What two colour differences add to red, green and blue, in 256ths: ITU-R BT.601, limited range.
struct Colour {
    red: i32,
    green: i32,
    blue: i32,
}

impl Colour {
    const fn of(cb: u8, cr: u8) -> Self {
        let (cb, cr) = (cb as i32 - 128, cr as i32 - 128);
        Self { red: 409 * cr, green: -100 * cb - 208 * cr, blue: 516 * cb }
    }

    fn at(&self, luma: u8) -> [u8; 3] {
        let light = 298 * (i32::from(luma) - BLACK) + 128;
        [self.red, self.green, self.blue].map(|part| ((light + part) >> 8).clamp(0, 255) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};

    const LIMITS: Limits = Limits { pixels_max: 1 << 20 };

    fn frame(bytes: &[u8], encoding: Encoding) -> Frame {
        Frame { sequence: 0, captured: SystemClock::new().now(), bytes: bytes.into(), encoding, label: "cam".into() }
    }

    fn raw(layout: PixelLayout, width: u32, height: u32, bytes: &[u8]) -> Frame {
        frame(bytes, Encoding::Raw { layout, width, height })
    }

    /// The colour bars every YCbCr table prints: white, red, blue, black (BT.601, 75 % would be duller).
    const BARS: [([u8; 3], [u8; 3]); 4] = [
        ([235, 128, 128], [255; 3]),
        ([81, 90, 240], [255, 0, 0]),
        ([41, 240, 110], [0, 0, 255]),
        ([16, 128, 128], [0; 3]),
    ];

    fn assert_bars(picture: &Picture) {
        let rgb = picture.to_rgb();
        for (number, (_, wanted)) in BARS.iter().enumerate() {
            for pixel in 0..2 {
                let at = (number * 2 + pixel) * 3;
                let near = rgb[at..at + 3].iter().zip(wanted).all(|(a, b)| a.abs_diff(*b) <= 2);
                assert!(near, "bar {number}: {:?} instead of {wanted:?}", &rgb[at..at + 3]);
            }
        }
    }

    #[test]
    fn colour_bars_come_out_of_both_layouts() {
        let yuyv: Vec<u8> = BARS.iter().flat_map(|([y, cb, cr], _)| [*y, *cb, *y, *cr]).collect::<Vec<_>>().repeat(2);
        let picture = decode_frame(&raw(PixelLayout::Yuyv, 8, 2, &yuyv), &LIMITS).unwrap();
        assert_eq!((picture.width(), picture.height(), picture.source().name()), (8, 2, "yuyv"));
        assert_bars(&picture);
        let luma = BARS.iter().flat_map(|([y, ..], _)| [*y; 2]).collect::<Vec<_>>().repeat(2);
        let chroma = BARS.iter().flat_map(|([_, cb, cr], _)| [*cb, *cr]).collect();
        let nv12 = [luma, chroma].concat();
        let picture = decode_frame(&raw(PixelLayout::Nv12, 8, 2, &nv12), &LIMITS).unwrap();
        assert_eq!(picture.source(), Source::Raw(PixelLayout::Nv12));
        assert_bars(&picture);
    }

    #[test]
    fn a_drivers_page_filled_buffer_is_cut_and_a_short_one_refused() {
        let mut bytes = vec![128; 8 * 2 * 2 + 4_000];
        assert!(decode_frame(&raw(PixelLayout::Yuyv, 8, 2, &bytes), &LIMITS).is_ok());
        bytes.truncate(31);
        let error = decode_frame(&raw(PixelLayout::Yuyv, 8, 2, &bytes), &LIMITS).err().unwrap().to_string();
        assert!(error.contains("has 32 bytes, the camera gave 31"), "{error}");
        let odd = decode_frame(&raw(PixelLayout::Nv12, 7, 2, &bytes), &LIMITS).err().unwrap().to_string();
        assert!(odd.contains("must be even"), "{odd}");
        assert!(
            decode_frame(&raw(PixelLayout::Nv12, 2_000, 2_000, &bytes), &LIMITS).is_err(),
            "the limits hold for raw frames"
        );
    }

    #[test]
    fn small_luma_is_the_mean_of_what_it_stands_for() {
        // Two halves, each a chequer of v and v + 2.
        let plane: Vec<u8> =
            (0..64).map(|at| if at % 8 < 4 { 50 } else { 200 } + if (at / 8 + at) % 2 == 0 { 0 } else { 2 }).collect();
        let nv12 = [&plane[..], &[128; 32]].concat();
        let luma = |layout, bytes: &[u8], width_max| {
            luma(&raw(layout, 8, 8, bytes), layout, (8, 8), width_max, &LIMITS).unwrap()
        };
        let small = luma(PixelLayout::Nv12, &nv12, 2);
        assert_eq!(small, Luma { width: 2, height: 2, samples: vec![51, 201, 51, 201] });
        let yuyv: Vec<u8> = plane.iter().flat_map(|y| [*y, 128]).collect();
        assert_eq!(luma(PixelLayout::Yuyv, &yuyv, 2), small);
        let whole = luma(PixelLayout::Yuyv, &yuyv, 640);
        assert_eq!((whole.width, whole.height, whole.samples), (8, 8, plane));
    }
}
