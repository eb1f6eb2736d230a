//! What a picture costs before the model sees it: decoding, and the way from pixels to the tensor. One thread.

#![expect(clippy::expect_used, reason = "a bench that cannot go on can only say so and stop")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, RgbImage};
use vehicle_classifierd::frame::Fit;
use vehicle_classifierd::imaging::{CropRegion, Limits, Target, Tensoriser, decode};

const LIMITS: Limits = Limits { pixels_max: 50_000_000 };
const TARGET: Target = Target { width: 224, height: 224, fit: Fit::Stretch };

/// Edges, slopes and noise: about as many bits a pixel as a street at quality 85.
fn street(width: u32, height: u32) -> Vec<u8> {
    let mut noise = 1_u32;
    let picture = RgbImage::from_fn(width, height, |x, y| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (slope, edge) = (x * 160 / width, if (x / 48 + y / 40) % 3 == 0 { 60 } else { 0 });
        let grain = noise >> 28;
        image::Rgb(
            [slope + edge + grain, slope + grain + 20, y * 180 / height + grain].map(|value| value.min(255) as u8),
        )
    });
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 85)
        .encode(&picture, width, height, ExtendedColorType::Rgb8)
        .expect("an encoder into memory does not fail");
    bytes
}

fn imaging(criterion: &mut Criterion) {
    for (name, width, height) in [("480p", 640, 480), ("1080p", 1_920, 1_080), ("4k", 3_840, 2_160)] {
        let bytes = street(width, height);
        let picture = decode(&bytes, name, &LIMITS).expect("the bench's own picture decodes");
        let region = CropRegion { x: width / 4, y: height / 4, width: width / 5, height: height / 5 };
        let mut tensoriser = Tensoriser::default();
        let mut group = criterion.benchmark_group(name);
        group.bench_function("decode", |bencher| {
            bencher.iter(|| decode(black_box(&bytes), name, &LIMITS).map(|picture| picture.width()));
        });
        group.bench_function("tensor", |bencher| {
            bencher.iter(|| tensoriser.tensor(black_box(&picture), &TARGET).map(<[i8]>::len));
        });
        group.bench_function("tensor_of_region", |bencher| {
            bencher.iter(|| tensoriser.tensor_of_region(black_box(&picture), region, &TARGET).map(<[i8]>::len));
        });
        group.finish();
    }
}

criterion_group!(benches, imaging);
criterion_main!(benches);
