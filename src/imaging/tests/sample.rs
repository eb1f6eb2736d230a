//! The sample pictures: four fields, 24 × 16, as files and as made here.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageEncoder, ImageFormat, RgbImage};

use crate::imaging::{Limits, Picture, decode};

pub const LIMITS: Limits = Limits { pixels_max: 50_000_000 };
pub const WIDTH: u32 = 24;
pub const HEIGHT: u32 = 16;

pub const RED: [u8; 3] = [220, 40, 40];
pub const GREEN: [u8; 3] = [40, 200, 60];
pub const BLUE: [u8; 3] = [50, 60, 210];
pub const YELLOW: [u8; 3] = [230, 220, 60];
pub const GREY: [u8; 3] = [128; 3];
/// Upper left, upper right, lower left, lower right.
pub const FIELDS: [[u8; 3]; 4] = [RED, GREEN, BLUE, YELLOW];
pub const CUT_OUT: [[u8; 3]; 4] = [RED, GREEN, BLUE, GREY];

macro_rules! files {
    ($($name:literal => $fields:expr),* $(,)?) => {
        /// Every file of `tests/pictures` with the fields it shows.
        pub const FILES: &[(&str, &[u8], [[u8; 3]; 4])] =
            &[$(($name, include_bytes!(concat!("../../../tests/pictures/", $name)), $fields)),*];
    };
}

files! {
    "adobe-rgb.jpg" => FIELDS,
    "animated.gif" => FIELDS,
    "animated.webp" => FIELDS,
    "baseline-420.jpg" => FIELDS,
    "cmyk-adobe.jpg" => FIELDS,
    "cmyk-plain.jpg" => FIELDS,
    "grey.jpg" => [[94; 3], [136; 3], [74; 3], [205; 3]],
    "interlaced.png" => FIELDS,
    "lossless-cut-out.webp" => CUT_OUT,
    "lossless.webp" => FIELDS,
    "lossy-cut-out.webp" => CUT_OUT,
    "lossy.webp" => FIELDS,
    "offset.gif" => [GREY, GREY, GREY, RED],
    "palette-cut-out.png" => CUT_OUT,
    "palette.png" => FIELDS,
    "progressive.jpg" => FIELDS,
    "restarts-422.jpg" => FIELDS,
    "ycck.jpg" => FIELDS,
}

pub fn file(name: &str) -> &'static [u8] {
    FILES.iter().find(|(other, ..)| *other == name).unwrap().1
}

/// The four fields, drawn.
pub fn fields() -> RgbImage {
    RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        image::Rgb(FIELDS[usize::from(x >= WIDTH / 2) + 2 * usize::from(y >= HEIGHT / 2)])
    })
}

pub fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// `upright` stored so that `orientation` brings it back; PNG, or JPEG of the best quality.
pub fn turned(upright: &RgbImage, orientation: Orientation, format: ImageFormat) -> Vec<u8> {
    let back = match orientation {
        Orientation::Rotate90 => Orientation::Rotate270,
        Orientation::Rotate270 => Orientation::Rotate90,
        itself => itself,
    };
    let mut stored = DynamicImage::from(upright.clone());
    stored.apply_orientation(back);
    let mut bytes = Vec::new();
    match format {
        ImageFormat::Png => write_with_exif(PngEncoder::new(&mut bytes), &stored, orientation),
        _ => write_with_exif(JpegEncoder::new_with_quality(&mut bytes, 100), &stored, orientation),
    }
    bytes
}

fn write_with_exif(mut encoder: impl ImageEncoder, stored: &DynamicImage, orientation: Orientation) {
    let mut tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    tiff.extend([orientation.to_exif(), 0, 0, 0, 0, 0, 0, 0]);
    encoder.set_exif_metadata(tiff).unwrap();
    stored.write_with_encoder(encoder).unwrap();
}

pub fn decoded(bytes: &[u8]) -> Picture {
    decode(bytes, "sample", &LIMITS).unwrap()
}

/// The status and message that refuse `bytes`.
pub fn refusal(bytes: &[u8]) -> (u16, String) {
    match decode(bytes, "x", &LIMITS) {
        Ok(picture) => panic!("decoded as {} × {}", picture.width(), picture.height()),
        Err(error) => (error.kind().facts().status, error.message().to_owned()),
    }
}

/// The colours in the middle of the four fields.
pub fn fields_of(picture: &Picture) -> [[u8; 3]; 4] {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let rgb = picture.to_rgb();
    assert_eq!(rgb.len(), width * height * 3);
    [(1, 1), (3, 1), (1, 3), (3, 3)].map(|(column, row)| {
        let at = (height * row / 4 * width + width * column / 4) * 3;
        rgb[at..].first_chunk().copied().unwrap()
    })
}

/// Asserts equality but for the losses of an encoder.
pub fn assert_close(what: &str, got: &[[u8; 3]], expected: &[[u8; 3]], tolerance: u8) {
    let far = got.iter().flatten().zip(expected.iter().flatten()).any(|(a, b)| a.abs_diff(*b) > tolerance);
    assert!(!far && got.len() == expected.len(), "{what}: {got:?} instead of {expected:?}");
}
