//! Pictures for people to look at: frames as JPEG whatever they came as, with tracked vehicles drawn in where wanted, and
//! single vehicles cut out of them.

use font8x8::legacy::BASIC_LEGACY;
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::error::{Error, Result};
use crate::frame::{Frame, TrackBox};
use crate::imaging::{CropRegion, Limits, Picture, decode_frame};

/// Good enough to see what is wrong, small enough for a mobile link.
const QUALITY: u8 = 75;
/// Good enough to train a model with.
const CROP_QUALITY: u8 = 90;
/// Still being followed, and counted already. Both are seen on grey roads, by colour-blind people too.
const FOLLOWED: [u8; 3] = [255, 190, 0];
const COUNTED: [u8; 3] = [0, 160, 255];
const INK: [u8; 3] = [0, 0, 0];
/// Pixels of a glyph across and down.
const GLYPH: usize = 8;

/// A frame as upright JPEG with boxes around its tracks.
///
/// # Errors
/// As [`decode_frame`]; internal when it cannot be encoded.
pub fn jpeg_of(frame: &Frame, tracks: &[TrackBox], limits: &Limits) -> Result<Vec<u8>> {
    let picture = decode_frame(frame, limits)?;
    let (width, height) = (picture.width(), picture.height());
    let mut canvas = Canvas { width: width as usize, height: height as usize, samples: picture.to_rgb() };
    for track in tracks {
        canvas.track(track);
    }
    encoded(&canvas.samples, (width, height), QUALITY)
}

/// A region of a picture as JPEG, in the picture's own resolution.
///
/// # Errors
/// Internal when the region is empty or not within the picture, or cannot be encoded.
pub fn jpeg_of_region(picture: &Picture, region: CropRegion) -> Result<Vec<u8>> {
    let samples = picture.region_rgb(region);
    let samples = samples.ok_or_else(|| Error::internal("This part of the picture is empty or lies outside of it."))?;
    encoded(&samples, (region.width, region.height), CROP_QUALITY)
}

fn encoded(samples: &[u8], (width, height): (u32, u32), quality: u8) -> Result<Vec<u8>> {
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, quality)
        .write_image(samples, width, height, ExtendedColorType::Rgb8)
        .map_err(|cause| Error::internal("The picture cannot be encoded.").because(cause))?;
    Ok(jpeg)
}

/// RGB, three bytes a pixel, row by row. What lies outside is not drawn.
struct Canvas {
    width: usize,
    height: usize,
    samples: Vec<u8>,
}

impl Canvas {
    fn track(&mut self, track: &TrackBox) {
        let colour = if track.counted { COUNTED } else { FOLLOWED };
        let (left, right) = (place(track.rect.left, self.width), place(track.rect.right, self.width));
        let (top, bottom) = (place(track.rect.top, self.height), place(track.rect.bottom, self.height));
        // Lines that are seen on a large picture that is shown small.
        let pen = (self.width / 320).max(2);
        self.fill(left, top, right, top + pen, colour);
        self.fill(left, bottom.saturating_sub(pen), right, bottom, colour);
        self.fill(left, top, left + pen, bottom, colour);
        self.fill(right.saturating_sub(pen), top, right, bottom, colour);
        let text = format!("{} {}", track.track, track.label);
        let size = (self.width / 640).max(1);
        let above = top.saturating_sub((GLYPH + 2) * size);
        self.text(left, above, size, text.trim_end(), colour);
    }

    fn fill(&mut self, left: usize, top: usize, right: usize, bottom: usize, colour: [u8; 3]) {
        let (right, bottom) = (right.min(self.width), bottom.min(self.height));
        for y in top..bottom {
            let row = (y * self.width + left.min(right)) * 3..(y * self.width + right) * 3;
            if let Some(row) = self.samples.get_mut(row) {
                row.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&colour));
            }
        }
    }

    /// One line in a box; what the font does not have becomes a question mark.
    fn text(&mut self, left: usize, top: usize, size: usize, text: &str, paper: [u8; 3]) {
        let width = (text.chars().count() * GLYPH + 2) * size;
        self.fill(left, top, left + width, top + (GLYPH + 2) * size, paper);
        for (n, letter) in text.chars().enumerate() {
            let glyph = BASIC_LEGACY.get(letter as usize).or(BASIC_LEGACY.get('?' as usize));
            for (row, bits) in glyph.into_iter().flatten().enumerate() {
                for column in (0..GLYPH).filter(|column| bits >> column & 1 == 1) {
                    let x = left + (n * GLYPH + column + 1) * size;
                    let y = top + (row + 1) * size;
                    self.fill(x, y, x + size, y + size, INK);
                }
            }
        }
    }
}

/// The nearest pixel within the picture; what is no number becomes 0.
fn place(pixel: f32, side: usize) -> usize {
    f64::from(pixel).clamp(0.0, side as f64).round() as usize
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::Stamp;
    use crate::frame::{Encoding, PixelLayout, Rect};
    use crate::imaging::decode;

    const LIMITS: Limits = Limits { pixels_max: 1_000_000 };

    /// Mid-grey as a sensor gives it.
    fn grey(width: u32, height: u32) -> Frame {
        let captured =
            Stamp { at: jiff::Timestamp::UNIX_EPOCH, monotonic: Duration::ZERO, synced: true, boot_id: "".into() };
        let bytes: Arc<[u8]> = vec![128; (width * height * 2) as usize].into();
        let encoding = Encoding::Raw { layout: PixelLayout::Yuyv, width, height };
        Frame { sequence: 1, captured, bytes, encoding, label: "test".into() }
    }

    fn track(left: f32, top: f32, right: f32, bottom: f32) -> TrackBox {
        TrackBox { track: 7, rect: Rect { left, top, right, bottom }, label: "car".into(), counted: false }
    }

    /// Whether the pixel is the colour of a track rather than grey.
    fn drawn(jpeg: &[u8], x: usize, y: usize) -> bool {
        let picture = decode(jpeg, "drawn", &LIMITS).unwrap();
        let at = (y * picture.width() as usize + x) * 3;
        let rgb = picture.to_rgb();
        rgb[at] > 180 && rgb[at + 2] < 110
    }

    #[test]
    fn a_raw_frame_becomes_a_jpeg_with_a_box_where_the_vehicle_is() {
        let jpeg = jpeg_of(&grey(320, 240), &[track(80.0, 120.0, 240.0, 180.0)], &LIMITS).unwrap();
        assert!(drawn(&jpeg, 160, 120) && drawn(&jpeg, 80, 150) && drawn(&jpeg, 239, 150), "the lines");
        assert!(!drawn(&jpeg, 160, 150) && !drawn(&jpeg, 20, 20), "inside and outside");
        let plain = jpeg_of(&grey(320, 240), &[], &LIMITS).unwrap();
        assert!(!drawn(&plain, 160, 120));
    }

    #[test]
    fn a_part_of_a_picture_is_cut_out_in_its_own_resolution() {
        let jpeg = jpeg_of(&grey(320, 240), &[track(80.0, 120.0, 240.0, 180.0)], &LIMITS).unwrap();
        let picture = decode(&jpeg, "whole", &LIMITS).unwrap();
        let region = CropRegion { x: 70, y: 110, width: 31, height: 41 };
        let part = jpeg_of_region(&picture, region).unwrap();
        let cut = decode(&part, "part", &LIMITS).unwrap();
        assert_eq!((cut.width(), cut.height()), (31, 41));
        assert!(drawn(&part, 10, 20) && drawn(&part, 20, 10) && !drawn(&part, 4, 20), "the corner of the box");
        for outside in
            [CropRegion { x: 300, ..region }, CropRegion { y: 220, ..region }, CropRegion { width: 0, ..region }]
        {
            assert!(jpeg_of_region(&picture, outside).is_err(), "{outside:?}");
        }
    }

    #[test]
    fn boxes_beyond_the_picture_are_cut_and_never_a_fault() {
        let odd = [
            track(-9.0, -9.0, 99.0, 99.0),
            track(15.0, 0.0, 4.0, 1.0),
            track(f32::NAN, 5.0, f32::INFINITY, 6.0),
            TrackBox { label: "Lkw – 日本".into(), ..track(0.0, 15.0, 0.0, 15.0) },
        ];
        assert!(jpeg_of(&grey(16, 16), &odd, &LIMITS).is_ok());
        assert!(jpeg_of(&grey(2_000, 2_000), &[], &LIMITS).is_err(), "the limits hold here too");
    }
}
