//! Damaged files are refused, whatever the damage.

use image::{DynamicImage, ImageFormat};

use super::sample::*;
use crate::imaging::decode;
use crate::imaging::decode::PANICKED;

/// The sample files and what the encoders make.
fn samples() -> Vec<(String, Vec<u8>)> {
    let rgb = DynamicImage::from(fields());
    let mut samples: Vec<_> = FILES.iter().map(|(name, bytes, _)| ((*name).to_owned(), bytes.to_vec())).collect();
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Gif, ImageFormat::WebP] {
        samples.push((format!("{format:?}"), encoded(&rgb, format)));
    }
    samples.push(("16 bit".to_owned(), encoded(&rgb.to_rgba16().into(), ImageFormat::Png)));
    samples
}

#[test]
fn a_file_cut_anywhere_is_an_error_or_the_whole_picture() {
    for (name, bytes) in samples() {
        let whole = decoded(&bytes).to_rgb();
        for length in 0..bytes.len() {
            match decode(&bytes[..length], "x", &LIMITS) {
                Ok(picture) => assert!(picture.to_rgb() == whole, "{name} cut at {length} of {}", bytes.len()),
                Err(error) => {
                    let status = error.kind().facts().status;
                    assert!(status == 400 || (status == 415 && length < 18), "{name} cut at {length}: {error}");
                }
            }
        }
    }
}

#[test]
fn a_cut_jpeg_is_always_an_error() {
    for (name, bytes) in samples().into_iter().filter(|(_, bytes)| bytes.starts_with(&[0xff, 0xd8])) {
        for length in 3..bytes.len() {
            assert!(decode(&bytes[..length], "x", &LIMITS).is_err(), "{name} cut at {length} of {}", bytes.len());
        }
    }
    let bytes = file("progressive.jpg");
    assert_eq!(
        refusal(&bytes[..bytes.len() - 30]),
        (400, "x: the JPEG is truncated or damaged (its end is missing); send it again.".to_owned())
    );
}

#[test]
fn a_jpeg_that_lost_data_on_the_way_is_an_error_even_with_its_end() {
    let picture = image::RgbImage::from_fn(160, 120, |x, y| {
        image::Rgb([x * x + y * 3, x * 5 + y * y, x * y].map(|value| (value % 256) as u8))
    });
    let bytes = encoded(&picture.into(), ImageFormat::Jpeg);
    let scan = bytes.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap() + 14;
    let coded = bytes.len() - 2 - scan;
    for tenth in 0..10 {
        let at = scan + coded * tenth / 10;
        let cut = [&bytes[..at], &[0xff, 0xd9]].concat();
        assert!(decode(&cut, "x", &LIMITS).is_err(), "all lost from {tenth} tenths on");
        let gap = [&bytes[..at], &bytes[at + coded / 10..]].concat();
        assert!(decode(&gap, "x", &LIMITS).is_err(), "one tenth lost at {tenth} tenths");
    }
}

#[test]
fn flipped_bytes_never_panic() {
    // xorshift64 (Marsaglia, 2003), seeded, so that a failure can be repeated.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for (name, bytes) in samples() {
        for round in 0..150 {
            let mut bytes = bytes.clone();
            for _ in 0..1 + random() % 4 {
                let at = random() as usize % bytes.len();
                bytes[at] = random() as u8;
            }
            if let Err(error) = decode(&bytes, "x", &LIMITS) {
                let status = error.kind().facts().status;
                assert!(matches!(status, 400 | 413 | 415), "{name}, round {round}: {error}");
                assert!(error.message().chars().count() < 300, "{error}");
                assert!(!error.message().contains(PANICKED), "{name}, round {round}: a decoder panicked");
            }
        }
    }
}
