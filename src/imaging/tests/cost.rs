//! What decoding takes is known before it begins.

use crate::error::ErrorKind;
use crate::imaging::{Limits, decode, decode_bytes};

const MIB: u64 = 1 << 20;
const LIMITS: Limits = Limits { pixels_max: 50_100_000 };

/// A JPEG's segments without coded data: enough for a header.
fn jpeg(kind: u8, side: u16, components: &[u8], scans: usize) -> Vec<u8> {
    let [high, low] = side.to_be_bytes();
    let length = 8 + 3 * components.len() as u8;
    let mut bytes = vec![0xff, 0xd8, 0xff, kind, 0, length, 8, high, low, high, low, components.len() as u8];
    for (number, factors) in components.iter().enumerate() {
        bytes.extend([number as u8 + 1, *factors, 0]);
    }
    // The scans of a sequential JPEG share its components out, those of a progressive one name them all.
    let in_scan = if kind == 0xc0 { components.len() / scans } else { components.len() } as u8;
    for _ in 0..scans {
        bytes.extend([0xff, 0xda, 0, 6 + 2 * in_scan, in_scan]);
        bytes.extend((1..=in_scan).flat_map(|number| [number, 0]));
        bytes.extend([0, 63, 0]);
    }
    bytes.extend([0xff, 0xd9]);
    bytes
}

fn png(side: u32, depth: u8, kind: u8) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bytes.extend(side.to_be_bytes());
    bytes.extend(side.to_be_bytes());
    bytes.extend([depth, kind, 0, 0, 0]);
    bytes
}

#[test]
fn each_kind_of_picture_reserves_what_its_decoder_takes() {
    // Bytes a pixel, measured over 49 megapixels, less what is beside the pixels.
    for (kind, bytes, least, most) in [
        ("baseline 4:2:0", jpeg(0xc0, 7_072, &[0x22, 0x11, 0x11], 1), 3.0, 4.0),
        ("baseline grey", jpeg(0xc0, 7_072, &[0x11], 1), 1.0, 2.0),
        ("progressive 4:2:0", jpeg(0xc2, 7_072, &[0x22, 0x11, 0x11], 10), 6.0, 7.0),
        ("progressive 4:4:4", jpeg(0xc2, 7_072, &[0x11, 0x11, 0x11], 10), 9.0, 10.0),
        ("progressive CMYK", jpeg(0xc2, 7_072, &[0x11, 0x11, 0x11, 0x11], 10), 10.8, 16.0),
        ("one component a scan", jpeg(0xc0, 7_072, &[0x21, 0x11, 0x11], 3), 7.0, 8.0),
        ("PNG of 16 bits with opacity", png(7_072, 16, 6), 8.0, 8.1),
        ("PNG of 8 bits with opacity", png(7_072, 8, 6), 4.0, 4.1),
        ("PNG with a palette", png(7_072, 8, 3), 4.0, 4.1),
    ] {
        let a_pixel = decode_bytes(&bytes, &LIMITS).unwrap() as f64 / (7_072.0 * 7_072.0);
        assert!((least..most).contains(&a_pixel), "{kind}: {a_pixel} bytes a pixel");
    }
    assert!(decode_bytes(b"no picture", &LIMITS).is_none());
    assert!(decode_bytes(&png(7_100, 8, 6), &LIMITS).is_none(), "its size is refused, whatever it takes");
    assert!(decode_bytes(&jpeg(0xc0, 16, &[0x11], 1), &LIMITS).unwrap() < 2 * MIB);
}

#[test]
fn scans_are_bounded_by_the_pixels_they_pass_over() {
    let refused = |bytes: &[u8]| decode(bytes, "p.jpg", &LIMITS).err().unwrap();
    let error = refused(&jpeg(0xc2, 6_300, &[0x22, 0x11, 0x11], 97));
    assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
    assert!(error.message().contains("97 scans") && error.message().contains("at most 15"), "{error}");
    // Ten scans are what encoders make; these hold nothing, which is another matter.
    assert_eq!(refused(&jpeg(0xc2, 6_300, &[0x22, 0x11, 0x11], 10)).kind(), ErrorKind::Validation);
    assert_eq!(refused(&jpeg(0xc2, 640, &[0x22, 0x11, 0x11], 97)).kind(), ErrorKind::Validation);
}
