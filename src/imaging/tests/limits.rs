//! Pictures over a limit, and files that are not what they say, are refused before they cost anything.

use std::time::Duration;

use image::codecs::png::PngEncoder;
use image::{ImageEncoder, ImageFormat};
use nix::time::{ClockId, clock_gettime};

use super::sample::*;
use crate::imaging::{Limits, decode};

fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bytes.extend([width, height].map(u32::to_be_bytes).concat());
    bytes.extend([8, 6, 0, 0, 0]);
    bytes
}

fn jpeg_header(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xd8, 0xff, 0xc0, 0, 11, 8];
    bytes.extend([height, width].map(u16::to_be_bytes).concat());
    bytes.extend([1, 1, 0x11, 0, 0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0xff, 0xd9]);
    bytes
}

fn gif_header(width: u16, height: u16) -> Vec<u8> {
    [&b"GIF89a"[..], &width.to_le_bytes(), &height.to_le_bytes(), &[0, 0, 0]].concat()
}

fn bmp_header(width: i32, height: i32) -> Vec<u8> {
    let mut bytes = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    bytes.extend([width, height].map(i32::to_le_bytes).concat());
    bytes
}

fn webp_header(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0".to_vec();
    bytes.extend(&(width - 1).to_le_bytes()[..3]);
    bytes.extend(&(height - 1).to_le_bytes()[..3]);
    bytes
}

#[test]
fn too_many_pixels_are_refused_by_the_header_alone() {
    assert_eq!(
        refusal(&png_header(30_000, 30_000)),
        (413, "x: 30000 × 30000 are 900 megapixels, the limit is 50; send a smaller picture.".to_owned())
    );
    let bombs = [
        png_header(u32::MAX, u32::MAX),
        png_header(50_000_001, 1),
        jpeg_header(65_500, 65_500),
        gif_header(65_535, 65_535),
        bmp_header(60_000, -60_000),
        bmp_header(i32::MAX, i32::MIN),
        webp_header(1 << 24, 1 << 24),
    ];
    // Of this thread alone: others may have the processor meanwhile.
    let worked = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let before = worked();
    for bomb in bombs {
        let (status, message) = refusal(&bomb);
        assert_eq!(status, 413, "{message}");
        assert!(message.contains("megapixels, the limit is 50"), "{message}");
    }
    // Reading a header takes microseconds; taking the memory for any of these would take seconds or fail.
    assert!(worked() - before < Duration::from_millis(200));
}

#[test]
fn the_limit_itself_is_allowed_and_one_row_more_is_not() {
    let bytes = encoded(&fields().into(), ImageFormat::Png);
    let pixels = u64::from(WIDTH * HEIGHT);
    assert!(decode(&bytes, "x", &Limits { pixels_max: pixels }).is_ok());
    let error = decode(&bytes, "x", &Limits { pixels_max: pixels - 1 }).map(drop).unwrap_err();
    assert_eq!(error.details().get("width"), Some(&WIDTH.into()));
}

#[test]
fn no_side_is_longer_than_the_longest_format_allows() {
    let (status, message) = refusal(&png_header(70_000, 2));
    assert_eq!(status, 413);
    assert!(message.contains("no side may be longer than 65535 pixels"), "{message}");
}

#[test]
fn a_picture_without_pixels_is_invalid() {
    for bytes in [png_header(0, 7), jpeg_header(9, 0), gif_header(0, 0), bmp_header(0, 3)] {
        let (status, message) = refusal(&bytes);
        assert_eq!(status, 400);
        assert!(message.starts_with("x: the picture has no pixels ("), "{message}");
    }
}

/// In a process of its own: the most memory that it ever had is that of this one picture.
#[test]
fn a_compressed_profile_cannot_grow_without_bound() {
    const FILE: &str = "COMPRESSED_PROFILE_FILE";
    const MEMORY_KB_MAX: u64 = 32 << 10;
    if let Some(path) = std::env::var_os(FILE) {
        let bytes = std::fs::read(path).unwrap();
        let before = memory_peak_kb();
        match decode(&bytes, "x", &LIMITS) {
            Ok(picture) => assert_eq!(fields_of(&picture), FIELDS),
            Err(error) => assert_eq!(error.kind().facts().status, 413, "{error}"),
        }
        let grown = memory_peak_kb() - before;
        assert!(grown < MEMORY_KB_MAX, "{grown} kB for a picture of {} bytes", bytes.len());
        return;
    }
    let mut bytes = Vec::new();
    let mut encoder = PngEncoder::new(&mut bytes);
    encoder.set_icc_profile(vec![0; 96 << 20]).unwrap();
    encoder.write_image(&fields(), WIDTH, HEIGHT, image::ExtendedColorType::Rgb8).unwrap();
    assert!(bytes.len() < 1 << 20, "{} bytes", bytes.len());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes).unwrap();
    let test = "imaging::tests::limits::a_compressed_profile_cannot_grow_without_bound";
    let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
    let output = alone.args(["--exact", test]).env(FILE, file.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "the test is not called {test}");
}

/// The most memory that this process ever had at once (proc_pid_status(5), VmHWM).
fn memory_peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_frame_larger_than_its_canvas_is_refused() {
    let mut gif = file("offset.gif").to_vec();
    let at = gif.iter().rposition(|&byte| byte == b',').unwrap();
    gif[at + 5..at + 9].copy_from_slice(&[0xff; 4]);
    let (status, message) = refusal(&gif);
    assert!(status == 413 || status == 400, "{message}");

    let mut webp = file("lossy-cut-out.webp").to_vec();
    let at = webp.windows(4).position(|name| name == b"VP8 ").unwrap() + 8;
    webp[at + 6..at + 10].copy_from_slice(&[0xff, 0x3f, 0xff, 0x3f]);
    assert_eq!(
        refusal(&webp),
        (400, "x: the WebP is truncated or damaged (a frame is larger than the canvas); send it again.".to_owned())
    );
}
