//! Pictures become the recorded tensors.

use image::metadata::Orientation;
use image::{DynamicImage, ImageFormat, RgbImage};

use super::sample::*;
use crate::frame::Fit;
use crate::imaging::{CropRegion, Picture, Target, Tensoriser};

/// A picture whose every pixel differs; the recorded values below are what Pillow 13.0 makes of it.
fn ramps() -> RgbImage {
    RgbImage::from_fn(37, 29, |x, y| {
        image::Rgb([x * 7 + y * 13, x * x + y * 5, x * y * 3].map(|value| (value % 256) as u8))
    })
}

fn png(picture: RgbImage) -> Picture {
    decoded(&encoded(&picture.into(), ImageFormat::Png))
}

const fn target(width: u32, height: u32, fit: Fit) -> Target {
    Target { width, height, fit }
}

/// The tensor back as pixels.
fn pixels(tensor: &[i8]) -> Vec<u8> {
    tensor.iter().map(|&value| (i16::from(value) + 128) as u8).collect()
}

/// Within one of Pillow's values: both round once an axis.
fn assert_recorded(what: &str, tensor: &[i8], recorded: &[u8]) {
    let got = pixels(tensor);
    assert_eq!(got.len(), recorded.len(), "{what}");
    assert!(got.iter().zip(recorded).all(|(a, b)| a.abs_diff(*b) <= 1), "{what}: {got:?} instead of {recorded:?}");
}

#[test]
fn the_resize_is_pillows_bilinear() {
    let picture = png(ramps());
    let mut tensoriser = Tensoriser::default();
    let whole = [
        77, 41, 45, 124, 124, 100, 170, 125, 116, 168, 132, 118, 100, 119, 114, 159, 74, 100, 170, 140, 134, 120, 124,
        131, 83, 128, 130, 105, 125, 130, 127, 110, 116, 84, 149, 132, 101, 125, 131, 150, 130, 129, 175, 123, 130, 88,
        143, 121, 132, 144, 131, 179, 127, 129, 150, 128, 127, 89, 124, 126,
    ];
    assert_recorded("stretch", tensoriser.tensor(&picture, &target(5, 4, Fit::Stretch)).unwrap(), &whole);
    let part = [
        94, 49, 68, 120, 98, 115, 148, 170, 140, 176, 107, 141, 196, 159, 140, 156, 73, 133, 181, 122, 141, 194, 169,
        128, 165, 98, 132, 105, 152, 125, 181, 99, 153, 138, 148, 126, 87, 158, 139, 65, 101, 132, 75, 144, 133, 63,
        123, 140, 60, 172, 128, 84, 137, 130, 112, 117, 132, 137, 137, 133,
    ];
    let region = CropRegion { x: 3, y: 2, width: 20, height: 21 };
    let tensor = tensoriser.tensor_of_region(&picture, region, &target(5, 4, Fit::Stretch)).unwrap();
    assert_recorded("region", tensor, &part);
    let square = [
        132, 109, 105, 161, 129, 119, 133, 127, 119, 134, 135, 135, 102, 130, 131, 118, 125, 129, 108, 150, 129, 158,
        128, 130, 149, 125, 127,
    ];
    let tensor = tensoriser.tensor(&picture, &target(3, 3, Fit::CentreCrop)).unwrap();
    assert_recorded("centre crop", tensor, &square);
}

#[test]
fn small_pictures_grow() {
    let recorded = [
        0, 0, 0, 2, 0, 0, 5, 1, 0, 9, 2, 0, 12, 3, 0, 14, 4, 0, 3, 1, 0, 5, 1, 0, 8, 2, 1, 12, 3, 1, 15, 4, 1, 17, 5,
        2, 10, 4, 0, 12, 4, 1, 15, 5, 2, 19, 6, 3, 22, 7, 4, 24, 8, 5, 13, 5, 0, 15, 5, 1, 18, 6, 2, 22, 7, 4, 25, 8,
        5, 27, 9, 6,
    ];
    let corner = CropRegion { x: 0, y: 0, width: 3, height: 2 };
    let mut tensoriser = Tensoriser::default();
    let tensor = tensoriser.tensor_of_region(&png(ramps()), corner, &target(6, 4, Fit::Stretch)).unwrap();
    assert_recorded("grown", tensor, &recorded);
}

#[test]
fn a_grey_picture_fills_three_equal_channels() {
    let recorded = [103, 153, 154, 104, 151, 115, 103, 139, 93, 134, 164, 122].map(|grey| [grey; 3]);
    let red = image::GrayImage::from_fn(37, 29, |x, y| image::Luma([((x * 7 + y * 13) % 256) as u8]));
    let picture = decoded(&encoded(&DynamicImage::from(red), ImageFormat::Png));
    let mut tensoriser = Tensoriser::default();
    let tensor = tensoriser.tensor(&picture, &target(4, 3, Fit::Stretch)).unwrap();
    assert_recorded("grey", tensor, recorded.as_flattened());
}

#[test]
fn quantising_covers_the_whole_range() {
    let mut steps = RgbImage::new(3, 1);
    steps.copy_from_slice(&[0, 1, 127, 128, 129, 255, 64, 192, 254]);
    let mut tensoriser = Tensoriser::default();
    let picture = png(steps);
    let tensor = tensoriser.tensor(&picture, &target(3, 1, Fit::Stretch)).unwrap();
    assert_eq!(tensor, [-128, -127, -1, 0, 1, 127, -64, 64, 126]);
}

#[test]
fn padding_centres_the_picture_between_grey_bars() {
    let picture = png(fields());
    let mut tensoriser = Tensoriser::default();
    // 24 × 16 in 12 × 12: scaled to 12 × 8, two grey rows above and below.
    let tensor = tensoriser.tensor(&picture, &target(12, 12, Fit::Pad)).unwrap();
    let rows: Vec<_> = tensor.chunks_exact(12 * 3).collect();
    for bar in [0, 1, 10, 11] {
        assert!(rows[bar].iter().all(|&value| value == 0), "row {bar}");
    }
    assert_eq!(pixels(&rows[2][..3]), RED);
    assert_eq!(pixels(&rows[9][33..]), YELLOW);
    // The other way round, and into a shape that is no square.
    let tensor = tensoriser.tensor(&picture, &target(16, 4, Fit::Pad)).unwrap();
    let row = pixels(&tensor[..16 * 3]);
    assert_eq!((&row[..15], &row[15..18], &row[33..]), (&[128; 15][..], &RED[..], &[128; 15][..]));
}

#[test]
fn a_centre_crop_of_another_shape_keeps_the_middle() {
    let picture = png(fields());
    let mut tensoriser = Tensoriser::default();
    // 24 × 4 of the middle: its rows 6 and 7 are red and green, 8 and 9 blue and yellow.
    let tensor = tensoriser.tensor(&picture, &target(24, 4, Fit::CentreCrop)).unwrap();
    let got = pixels(tensor);
    assert_eq!((&got[..3], &got[got.len() - 3..]), (&RED[..], &YELLOW[..]));
}

#[test]
fn turning_the_tensor_is_turning_the_picture() {
    let upright = png(ramps());
    let region = CropRegion { x: 5, y: 1, width: 30, height: 17 };
    let mut tensoriser = Tensoriser::default();
    for value in 1..=8 {
        let orientation = Orientation::from_exif(value).unwrap();
        let picture = decoded(&turned(&ramps(), orientation, ImageFormat::Png));
        for fit in [Fit::Stretch, Fit::CentreCrop, Fit::Pad] {
            for region in [upright.region(), region] {
                let target = target(9, 7, fit);
                let expected = pixels(tensoriser.tensor_of_region(&upright, region, &target).unwrap());
                let tensor = tensoriser.tensor_of_region(&picture, region, &target).unwrap();
                assert_recorded(&format!("{orientation:?} {fit:?}"), tensor, &expected);
            }
        }
    }
}

#[test]
fn extreme_shapes_keep_at_least_one_pixel() {
    let line = decoded(&encoded(&DynamicImage::from(RgbImage::new(3_000, 1)), ImageFormat::Png));
    let mut tensoriser = Tensoriser::default();
    for fit in [Fit::Stretch, Fit::CentreCrop, Fit::Pad] {
        for (width, height) in [(8, 8), (1, 1), (1, 300)] {
            let tensor = tensoriser.tensor(&line, &target(width, height, fit)).unwrap();
            assert_eq!(tensor.len(), (width * height * 3) as usize);
            assert!(tensor.contains(&-128), "{fit:?} {width} × {height}");
        }
    }
}

#[test]
fn regions_outside_and_empty_targets_are_errors() {
    let picture = png(fields());
    let mut tensoriser = Tensoriser::default();
    let bad = [(0, 0, 25, 1), (1, 0, 24, 16), (0, 16, 1, 1), (0, 0, 0, 4), (u32::MAX, 0, 2, 2), (3, u32::MAX, 1, 1)];
    for (x, y, width, height) in bad {
        let region = CropRegion { x, y, width, height };
        let result = tensoriser.tensor_of_region(&picture, region, &target(4, 4, Fit::Stretch));
        assert!(result.is_err_and(|error| error.message().contains("not within the picture of 24 × 16")), "{region:?}");
    }
    assert!(tensoriser.tensor(&picture, &target(0, 4, Fit::Pad)).is_err());
}
