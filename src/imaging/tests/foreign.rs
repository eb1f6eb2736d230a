//! What other programs write: kinds that are read all the same, and kinds that are refused as what they are.

use image::ImageFormat;
use image::codecs::webp::WebPEncoder;
use image::{DynamicImage, ImageEncoder};

use super::sample::*;
use crate::clock::{Clock, SystemClock};
use crate::frame::{Encoding, Frame};
use crate::imaging::segments::{SOS, Segments};
use crate::imaging::{Thumbnail, decode, thumbnail};

/// Where the start of frame begins, with its marker.
fn frame_at(jpeg: &[u8]) -> usize {
    Segments::of(jpeg).find(|segment| segment.is_frame()).unwrap().start
}

/// Where coded data begins and ends.
fn coded(jpeg: &[u8]) -> (usize, usize) {
    let mut segments = Segments::of(jpeg);
    let scan = segments.find(|segment| segment.marker == SOS).unwrap();
    (scan.end, segments.next().unwrap().start)
}

fn unsupported(bytes: &[u8], reason: &str) {
    let (status, message) = refusal(bytes);
    assert_eq!(status, 415, "{message}");
    assert!(message.contains("is not supported") && message.contains("convert it"), "{message}");
    assert!(message.contains(reason), "{message}");
}

#[test]
fn kinds_of_jpeg_that_are_not_read_are_unsupported_and_not_damaged() {
    let at = frame_at(file("baseline-420.jpg"));
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = file("baseline-420.jpg").to_vec();
        change(&mut bytes);
        bytes
    };
    for (marker, reason) in [
        (0xc3, "lossless"),
        (0xc5, "hierarchical"),
        (0xc6, "hierarchical"),
        (0xc9, "arithmetic"),
        (0xca, "arithmetic"),
        (0xcb, "arithmetic"),
        (0xf7, "JPEG-LS"),
    ] {
        unsupported(&with(&|bytes| bytes[at + 1] = marker), reason);
    }
    unsupported(&with(&|bytes| bytes[at + 4] = 12), "12 bits");
    unsupported(&with(&|bytes| bytes[at + 9] = 2), "2 components");
    // The first component's sampling factors, and then the second one's.
    unsupported(&with(&|bytes| bytes[at + 11] = 0x31), "by three");
    unsupported(&with(&|bytes| bytes[at + 14] = 0x41), "finer grid");
    // The height as zero, and told behind the scan.
    let dnl = with(&|bytes| {
        bytes[at + 5..at + 7].fill(0);
        let end = bytes.len() - 2;
        bytes.splice(end..end, [0xff, 0xdc, 0, 4, 0, 16]);
    });
    unsupported(&dnl, "DNL");
    // One component a scan, with colours subsampled downwards.
    let scan = coded(file("baseline-420.jpg")).0;
    let separate = with(&|bytes| drop(bytes.splice(scan - 14..scan, [0xff, SOS, 0, 8, 1, 1, 0, 0, 63, 0])));
    unsupported(&separate, "separate scans");
}

#[test]
fn stray_bytes_between_segments_and_metadata_do_not_matter() {
    for name in ["baseline-420.jpg", "progressive.jpg", "restarts-422.jpg", "ycck.jpg"] {
        let whole = file(name);
        let mut bytes = whole[..2].to_vec();
        let scan = coded(whole).0;
        for segment in Segments::of(whole).take_while(|segment| segment.end <= scan) {
            bytes.extend_from_slice(&whole[segment.start..segment.end]);
            // A profile and a comment that say nothing sensible.
            if segment.marker != SOS {
                bytes.extend([1, 2, 3, 4, 5, 0xff, 0, 0xff, 0xff]);
                bytes.extend(b"\xff\xe2\0\x0eICC_PROFILE\0\xff\xfe\0\x03x");
            }
        }
        bytes.extend_from_slice(&whole[scan..]);
        assert!(decoded(&bytes).to_rgb() == decoded(whole).to_rgb(), "{name}");
    }
}

#[test]
fn fill_bytes_before_restart_markers_change_neither_the_picture_nor_the_motion_picture() {
    let whole = file("restarts-422.jpg");
    let (from, to) = coded(whole);
    let mut filled = whole[..from].to_vec();
    for at in from..to {
        if whole[at] == 0xff && matches!(whole[at + 1], 0xd0..=0xd7) {
            filled.extend([0xff; 3]);
        }
        filled.push(whole[at]);
    }
    assert!(filled.len() > to, "the sample has restart markers");
    filled.extend([0xff, 0xff]);
    filled.extend_from_slice(&whole[to..]);
    assert!(decoded(&filled).to_rgb() == decoded(whole).to_rgb());
    let small = |bytes: &[u8]| -> Thumbnail {
        let captured = SystemClock::new().now();
        let frame = Frame { sequence: 0, captured, bytes: bytes.into(), encoding: Encoding::File, label: "x".into() };
        thumbnail(&frame, &LIMITS).unwrap()
    };
    assert_eq!(small(&filled), small(whole));
    assert!(crate::imaging::dc::read(&filled, 1 << 20).is_some(), "it takes the short way");
}

#[test]
fn a_progressive_jpeg_cut_within_its_first_scan_is_refused() {
    let whole = file("progressive.jpg");
    let (from, to) = coded(whole);
    for end in from..to - 1 {
        let cut = [&whole[..end], &[0xff, 0xd9]].concat();
        let (status, message) = refusal(&cut);
        assert!(status == 400 && message.contains("truncated"), "cut at {end} of {from}…{to}: {message}");
    }
}

#[test]
fn an_exif_prefix_in_webp_does_not_hide_the_orientation() {
    let upright = fields();
    let stored = DynamicImage::from(upright.clone()).rotate180();
    let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0\0\0\0\0".to_vec();
    for prefixed in [true, false] {
        let mut bytes = Vec::new();
        let mut encoder = WebPEncoder::new_lossless(&mut bytes);
        encoder.set_exif_metadata(exif.clone()).unwrap();
        stored.write_with_encoder(encoder).unwrap();
        assert!(decoded(&bytes).to_rgb() == upright.as_raw()[..], "with the prefix: {prefixed}");
        exif.drain(..6);
    }
}

#[test]
fn a_bmp_whose_offset_leaves_out_the_palette_shows_its_colours() {
    let right = encoded(&fields().into(), ImageFormat::Bmp);
    assert_eq!(fields_of(&decoded(&right)), FIELDS);
    // Eight bits a pixel: a palette of four colours, and rows from the bottom up.
    let mut bytes = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    bytes.extend([WIDTH, HEIGHT, 0x0008_0001, 0, 0, 0, 0, 4, 0].map(u32::to_le_bytes).concat());
    for [red, green, blue] in FIELDS {
        bytes.extend([blue, green, red, 0]);
    }
    for y in 0..HEIGHT {
        bytes.extend((0..WIDTH).map(|x| u8::from(x >= WIDTH / 2) + if y < HEIGHT / 2 { 2 } else { 0 }));
    }
    assert_eq!(fields_of(&decoded(&bytes)), FIELDS);
    bytes[10] = 20;
    assert_eq!(
        decode(&bytes, "x", &LIMITS).err().unwrap().message(),
        "x: the BMP is truncated or damaged (its pixels begin within its header); send it again."
    );
}
