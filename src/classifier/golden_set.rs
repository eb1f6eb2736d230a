//! The shipped `vehicle-type` held to what was recorded of it: its manifest and card agree, and a small set of pictures made
//! from its golden one gets the answers that the runtime of its training gave (Python, other decoder, other resize).

use image::{ImageFormat, RgbImage, imageops};

use crate::classifier::{LoadedModel, ModelsDirectory, PictureClassifier, with_classifier};
use crate::imaging::Limits;

/// A variant of the golden picture, and the recorded answer.
type Case = (&'static str, fn(&RgbImage) -> RgbImage, &'static str, f32);

const CASES: [Case; 6] = [
    ("whole", |whole| whole.clone(), "emergency", 0.803),
    ("mirrored", |whole| imageops::flip_horizontal(whole), "emergency", 0.889),
    ("every other pixel", every_other, "emergency", 0.733),
    ("half as bright", half_as_bright, "emergency", 0.807),
    ("cut off at two thirds", cut_off, "emergency", 0.794),
    ("nothing but grey", |whole| imageops::crop_imm(whole, 0, 0, 40, 16).to_image(), "background", 0.970),
];

/// Decoders differ by a step of brightness, processors by a step of the output.
const TOLERANCE: f32 = 0.06;
const MODEL_BYTES_MAX: usize = 5_500_000;
const TYPES: [&str; 10] =
    ["background", "bicycle", "bus", "car", "emergency", "motorcycle", "pickup", "suv", "truck", "van"];

fn every_other(whole: &RgbImage) -> RgbImage {
    RgbImage::from_fn(whole.width() / 2, whole.height() / 2, |x, y| *whole.get_pixel(2 * x, 2 * y))
}

fn half_as_bright(whole: &RgbImage) -> RgbImage {
    let mut dim = whole.clone();
    for value in dim.iter_mut() {
        *value /= 2;
    }
    dim
}

fn cut_off(whole: &RgbImage) -> RgbImage {
    imageops::crop_imm(whole, 0, 0, whole.width() * 2 / 3, whole.height()).to_image()
}

fn shipped() -> LoadedModel {
    let models = ModelsDirectory::new(concat!(env!("CARGO_MANIFEST_DIR"), "/models").into());
    models.find("vehicle-type").unwrap().load().unwrap()
}

fn png(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn the_golden_set_gets_the_answers_that_training_recorded() {
    let model = shipped();
    let whole = image::load_from_memory(&model.golden_picture).unwrap().to_rgb8();
    with_classifier(&model, 1, |classifier| {
        let mut step = PictureClassifier::new(classifier, &model.manifest, Limits { pixels_max: 1_000_000 });
        for (name, variant, value, confidence) in CASES {
            let answer = step.classify(&png(&variant(&whole)), name).unwrap();
            let found = answer.of_type().unwrap();
            let off = (found.confidence - confidence).abs();
            assert!(
                found.value == value && off <= TOLERANCE,
                "{name}: {} ({:.3}), recorded is {value} ({confidence})",
                found.value,
                found.confidence
            );
        }
    })
    .unwrap();
}

#[test]
fn the_shipped_manifest_says_what_the_card_says() {
    let model = shipped();
    let manifest = &model.manifest;
    let types = manifest.attributes.iter().find(|attribute| attribute.name == "type").unwrap();
    assert_eq!(types.labels, TYPES);
    assert_eq!(types.groups, (0..TYPES.len()).map(|output| vec![output]).collect::<Vec<_>>());
    assert_eq!(manifest.output.classes, TYPES.len());
    assert!(model.bytes.len() <= MODEL_BYTES_MAX, "{} bytes", model.bytes.len());

    let folder = format!("models/{}/{}", manifest.name, manifest.version);
    let card = std::fs::read_to_string(format!("{}/{folder}/CARD.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let top1 = manifest.accuracy["top1"].as_f64().unwrap();
    let side = manifest.input.width;
    for said in [
        format!("# {} {}\n", manifest.name, manifest.version),
        format!("EfficientNet-Lite0 at {side} × {side}, full int8"),
        format!("{} photos", manifest.accuracy["pictures"]),
        format!("**{:.1} %**", 100.0 * top1),
        format!("Temperature {}.", manifest.temperature),
        format!("Below {} an answer is reported as unclassified", manifest.thresholds.unclassified_below),
        format!("under {} px are not classified", manifest.thresholds.crop_min_px),
    ] {
        assert!(card.replace('\n', " ").contains(said.trim_end()), "the card lacks: {said}");
    }
}
