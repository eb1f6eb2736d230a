//! Every format and colour layout gives the recorded picture.

use image::metadata::Orientation;
use image::{DynamicImage, GrayAlphaImage, GrayImage, ImageFormat, RgbaImage};

use super::sample::*;
use crate::frame::PictureFormat;
use crate::imaging::{Source, sniff};

/// JPEG and lossy WebP come back this near; everything else exactly.
const LOSS: u8 = 10;

const ORIENTATIONS: [Orientation; 8] = [
    Orientation::NoTransforms,
    Orientation::FlipHorizontal,
    Orientation::Rotate180,
    Orientation::FlipVertical,
    Orientation::Rotate90FlipH,
    Orientation::Rotate90,
    Orientation::Rotate270FlipH,
    Orientation::Rotate270,
];

#[test]
fn every_sample_file_shows_its_fields() {
    for (name, bytes, fields) in FILES {
        let picture = decoded(bytes);
        let lossy = name.ends_with(".jpg") || name.starts_with("lossy");
        assert_eq!((picture.width(), picture.height()), (WIDTH, HEIGHT), "{name}");
        let format = sniff(bytes).unwrap();
        assert_eq!(picture.source(), Source::File(format), "{name}");
        assert!(format.extensions().contains(&name.rsplit('.').next().unwrap()), "{name}");
        assert_close(name, &fields_of(&picture), fields, if lossy { LOSS } else { 0 });
    }
}

#[test]
fn every_orientation_comes_out_upright() {
    let upright = fields();
    for orientation in ORIENTATIONS {
        let picture = decoded(&turned(&upright, orientation, ImageFormat::Png));
        assert_eq!((picture.width(), picture.height()), (WIDTH, HEIGHT), "{orientation:?}");
        assert!(picture.to_rgb() == upright.as_raw()[..], "{orientation:?}");
        let picture = decoded(&turned(&upright, orientation, ImageFormat::Jpeg));
        assert_eq!((picture.width(), picture.height()), (WIDTH, HEIGHT), "{orientation:?}");
        assert_close("jpeg", &fields_of(&picture), &FIELDS, LOSS);
    }
}

#[test]
fn every_depth_and_alpha_of_png_becomes_8_bit_on_grey() {
    let rgb = DynamicImage::from(fields());
    let grey = DynamicImage::from(rgb.to_luma8());
    for picture in [rgb.clone(), DynamicImage::from(rgb.to_rgb16()), DynamicImage::from(rgb.to_rgba16())] {
        assert_eq!(fields_of(&decoded(&encoded(&picture, ImageFormat::Png))), FIELDS);
    }
    let fields_in_grey = fields_of(&decoded(&encoded(&grey, ImageFormat::Png)));
    for picture in [grey.clone().into_luma16().into(), DynamicImage::from(grey.to_luma_alpha16())] {
        assert_eq!(fields_of(&decoded(&encoded(&picture, ImageFormat::Png))), fields_in_grey);
    }

    let faded = RgbaImage::from_pixel(4, 4, image::Rgba([255, 0, 10, 51]));
    assert_eq!(fields_of(&decoded(&encoded(&faded.into(), ImageFormat::Png))), [[153, 102, 104]; 4]);
    let faded = GrayAlphaImage::from_pixel(4, 4, image::LumaA([0, 128]));
    assert_eq!(fields_of(&decoded(&encoded(&faded.into(), ImageFormat::Png))), [[64; 3]; 4]);
    let faint = image::ImageBuffer::from_pixel(4, 4, image::LumaA([65_535_u16, 0]));
    let faint = DynamicImage::ImageLumaA16(faint);
    assert_eq!(fields_of(&decoded(&encoded(&faint, ImageFormat::Png))), [GREY; 4]);
}

#[test]
fn one_pixel_is_a_picture() {
    let dot = DynamicImage::from(GrayImage::from_pixel(1, 1, image::Luma([77])));
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Gif, ImageFormat::WebP] {
        let dot = if format == ImageFormat::Gif { dot.to_rgba8().into() } else { dot.clone() };
        assert_eq!(decoded(&encoded(&dot, format)).to_rgb(), [77; 3], "{format:?}");
    }
}

#[test]
fn a_camera_jpeg_without_huffman_tables_is_read_with_the_standard_ones() {
    let mut bytes = encoded(&fields().into(), ImageFormat::Jpeg);
    let whole = fields_of(&decoded(&bytes));
    while let Some(at) = bytes.windows(2).position(|pair| pair == [0xff, 0xc4]) {
        let length = usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
        bytes.drain(at..at + 2 + length);
    }
    assert_eq!(fields_of(&decoded(&bytes)), whole);
}

#[test]
fn what_follows_the_picture_does_not_matter() {
    for (name, bytes, _) in FILES {
        let followed = [bytes, &b"\0\0 a trailer, or the second picture of a phone"[..]].concat();
        assert!(decoded(&followed).to_rgb() == decoded(bytes).to_rgb(), "{name}");
    }
}

/// A BMP with a BITMAPINFOHEADER (BITMAPCOREHEADER for `core`); `rows` are in file order and padded here.
fn bmp(bits: u16, compression: u32, height: i32, palette: &[[u8; 3]], rows: &[Vec<u8>], core: bool) -> Vec<u8> {
    let mut header = Vec::new();
    if core {
        header.extend(12_u32.to_le_bytes());
        header.extend([WIDTH as u16, height as u16, 1, bits].map(u16::to_le_bytes).concat());
    } else {
        header.extend(40_u32.to_le_bytes());
        header.extend([WIDTH as i32, height].map(i32::to_le_bytes).concat());
        header.extend([1, bits].map(u16::to_le_bytes).concat());
        header.extend([compression, 0, 0, 0, palette.len() as u32, 0].map(u32::to_le_bytes).concat());
    }
    for [red, green, blue] in palette {
        header.extend([*blue, *green, *red]);
        header.extend((!core).then_some(0));
    }
    let pixels: Vec<u8> = rows
        .iter()
        .flat_map(|row| {
            let padding = if compression == 0 { row.len().next_multiple_of(4) - row.len() } else { 0 };
            row.iter().copied().chain(std::iter::repeat_n(0, padding))
        })
        .collect();
    let offset = 14 + header.len() as u32;
    let mut bytes = b"BM".to_vec();
    bytes.extend([offset + pixels.len() as u32, 0, offset].map(u32::to_le_bytes).concat());
    [bytes, header, pixels].concat()
}

/// Rows from the bottom up, a sample of `bits` a pixel, from the field's number.
fn packed(bits: usize) -> Vec<Vec<u8>> {
    let row = |left: usize| {
        let mut bytes = vec![0; (WIDTH as usize * bits).div_ceil(8)];
        for x in 0..WIDTH as usize {
            let field = left + usize::from(x >= WIDTH as usize / 2);
            bytes[x * bits / 8] |= (field << (8 - bits - x * bits % 8)) as u8;
        }
        bytes
    };
    (0..HEIGHT).map(|y| row(if y < HEIGHT / 2 { 2 } else { 0 })).collect()
}

fn wide(pixel: impl Fn([u8; 3]) -> Vec<u8>, bottom_up: bool) -> Vec<Vec<u8>> {
    let rows: Vec<Vec<u8>> = fields().rows().map(|row| row.flat_map(|colour| pixel(colour.0)).collect()).collect();
    if bottom_up { rows.into_iter().rev().collect() } else { rows }
}

#[test]
fn every_kind_of_bmp_shows_its_fields() {
    let bgr = |[red, green, blue]: [u8; 3]| vec![blue, green, red];
    let bgrx = |[red, green, blue]: [u8; 3]| vec![blue, green, red, 0];
    let (height, down) = (HEIGHT as i32, -(HEIGHT as i32));
    let exact = [
        ("4 bit", bmp(4, 0, height, &FIELDS, &packed(4), false)),
        ("8 bit", bmp(8, 0, height, &FIELDS, &packed(8), false)),
        ("8 bit core", bmp(8, 0, height, &[&FIELDS[..], &[[0; 3]; 252]].concat(), &packed(8), true)),
        ("24 bit", bmp(24, 0, height, &[], &wide(bgr, true), false)),
        ("24 bit core", bmp(24, 0, height, &[], &wide(bgr, true), true)),
        ("24 bit top-down", bmp(24, 0, down, &[], &wide(bgr, false), false)),
        ("32 bit", bmp(32, 0, height, &[], &wide(bgrx, true), false)),
        ("32 bit top-down", bmp(32, 0, down, &[], &wide(bgrx, false), false)),
    ];
    for (kind, bytes) in exact {
        let picture = decoded(&bytes);
        assert_eq!(picture.source(), Source::File(PictureFormat::Bmp));
        assert_eq!(fields_of(&picture), FIELDS, "{kind}");
    }

    let fifth = |[red, green, blue]: [u8; 3]| {
        let packed = u16::from(red >> 3) << 10 | u16::from(green >> 3) << 5 | u16::from(blue >> 3);
        packed.to_le_bytes().to_vec()
    };
    let picture = decoded(&bmp(16, 0, height, &[], &wide(fifth, true), false));
    assert_close("16 bit", &fields_of(&picture), &FIELDS, 7);

    let one_bit: Vec<_> = (0..HEIGHT).map(|_| vec![0x00, 0x0f, 0xff]).collect();
    let picture = decoded(&bmp(1, 0, height, &[RED, GREEN], &one_bit, false));
    assert_eq!(fields_of(&picture), [RED, GREEN, RED, GREEN]);

    let runs = |left: u8| vec![12, left, 12, left + 1, 0, 0];
    let mut rows: Vec<_> = (0..HEIGHT).map(|y| runs(if y < HEIGHT / 2 { 2 } else { 0 })).collect();
    rows.push(vec![0, 1]);
    assert_eq!(fields_of(&decoded(&bmp(8, 1, height, &FIELDS, &rows, false))), FIELDS);
}
