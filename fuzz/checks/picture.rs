//! Image intake: an upload's bytes, and a camera's.

use vehicle_classifierd::clock::{Clock, SystemClock};
use vehicle_classifierd::error::ErrorKind;
use vehicle_classifierd::frame::{Encoding, Fit, Frame, PixelLayout};
use vehicle_classifierd::imaging::{
    Declared, Limits, Target, Tensoriser, check_declared, decode, decode_frame, sniff, thumbnail,
};

const LIMITS: Limits = Limits { pixels_max: 1 << 18 };
const TARGETS: [Target; 3] = [
    Target { width: 32, height: 32, fit: Fit::Stretch },
    Target { width: 7, height: 40, fit: Fit::CentreCrop },
    Target { width: 40, height: 7, fit: Fit::Pad },
];

/// Whatever the bytes are, they are decoded within the limits or refused; what is decoded has the pixels it says.
pub fn picture(bytes: &[u8]) {
    let declared = Declared { file_name: Some("a.jpg"), media_type: Some("image/jpeg") };
    if let Err(error) = check_declared(bytes, &declared) {
        assert!([ErrorKind::Validation, ErrorKind::UnsupportedMediaType].contains(&error.kind()), "{error}");
    }
    match decode(bytes, "input", &LIMITS) {
        Ok(picture) => {
            assert!(sniff(bytes).is_some());
            let (width, height) = (u64::from(picture.width()), u64::from(picture.height()));
            assert!((1..=LIMITS.pixels_max).contains(&(width * height)), "{width} × {height}");
            assert_eq!(picture.to_rgb().len() as u64, width * height * 3);
            for target in TARGETS {
                let mut tensoriser = Tensoriser::default();
                let tensor = tensoriser.tensor(&picture, &target).unwrap();
                assert_eq!(tensor.len(), (target.width * target.height * 3) as usize);
            }
        }
        // An internal error would be a panic that was caught.
        Err(error) => assert_ne!(error.kind(), ErrorKind::Internal, "{}", error.chain()),
    }
    frame(bytes, Encoding::File);
    if let [across, down, samples @ ..] = bytes {
        for layout in [PixelLayout::Yuyv, PixelLayout::Nv12] {
            let (width, height) = (u32::from(*across), u32::from(*down));
            frame(samples, Encoding::Raw { layout, width, height });
            let fitting = layout.bytes(width, height).and_then(|size| samples.get(..size));
            if let Some(samples) = fitting.filter(|samples| !samples.is_empty()) {
                frame(samples, Encoding::Raw { layout, width, height });
            }
        }
    }
}

fn frame(bytes: &[u8], encoding: Encoding) {
    let frame =
        Frame { sequence: 1, captured: SystemClock::new().now(), bytes: bytes.into(), encoding, label: "input".into() };
    match thumbnail(&frame, &LIMITS) {
        Ok(small) => {
            assert_eq!(small.values.len(), small.width * small.height);
            assert!(small.values.iter().all(|value| (0.0..=255.0).contains(value)), "{:?}", small.values);
        }
        Err(error) => assert_ne!(error.kind(), ErrorKind::Internal, "{}", error.chain()),
    }
    if let Err(error) = decode_frame(&frame, &LIMITS) {
        assert_ne!(error.kind(), ErrorKind::Internal, "{}", error.chain());
    }
}
