//! A picture as it comes from a camera or an upload: its bytes, how they are to be read, and where they come from.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Stamp;

mod live;

pub use live::{Analysed, LiveView, TrackBox};

/// Target of log lines about single frames: a broken camera gives thirty a second, and one a minute is written.
pub const LOG_TARGET: &str = "vehicle_classifierd::frames";

/// One picture from a capture source.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Counts up by one a frame from the source's start; gaps are frames the source dropped.
    pub sequence: u64,
    /// When the source handed it over.
    pub captured: Stamp,
    /// The picture, as `encoding` says.
    pub bytes: Arc<[u8]>,
    pub encoding: Encoding,
    /// What the frame is called in messages, for example the replayed file's name.
    pub label: Arc<str>,
}

/// How a frame's bytes are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// A picture file (JPEG, PNG …), which tells its own format and size.
    File,
    /// Samples as a sensor gives them, row by row from the top left, without padding.
    Raw { layout: PixelLayout, width: u32, height: u32 },
}

/// How raw samples lie in memory. Named after the V4L2 pixel formats; values are YCbCr after ITU-R BT.601, limited range, as
/// V4L2 defines for cameras (`V4L2_COLORSPACE_SRGB`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelLayout {
    /// 4:2:2, two pixels in four bytes: Y₀ Cb Y₁ Cr.
    Yuyv,
    /// 4:2:0, all Y, then Cb and Cr in turn for every two by two pixels.
    Nv12,
}

impl PixelLayout {
    /// Name in answers and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Yuyv => "yuyv",
            Self::Nv12 => "nv12",
        }
    }

    /// Bytes of a picture of that size. Both sides are even in these formats; an odd one has no size.
    #[must_use]
    pub const fn bytes(self, width: u32, height: u32) -> Option<usize> {
        if !width.is_multiple_of(2) || !height.is_multiple_of(2) {
            return None;
        }
        let pixels = width as usize * height as usize;
        Some(match self {
            Self::Yuyv => pixels * 2,
            Self::Nv12 => pixels / 2 * 3,
        })
    }
}

/// The picture formats the unit reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PictureFormat {
    Jpeg,
    Png,
    Bmp,
    Gif,
    Webp,
}

impl PictureFormat {
    /// Name in answers and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::Bmp => "bmp",
            Self::Gif => "gif",
            Self::Webp => "webp",
        }
    }

    /// The media types a client may declare for this format.
    #[must_use]
    pub const fn media_types(self) -> &'static [&'static str] {
        match self {
            Self::Jpeg => &["image/jpeg", "image/jpg", "image/pjpeg"],
            Self::Png => &["image/png", "image/x-png"],
            Self::Bmp => &["image/bmp", "image/x-bmp", "image/x-ms-bmp"],
            Self::Gif => &["image/gif"],
            Self::Webp => &["image/webp"],
        }
    }

    /// File name extensions (lower case) that agree with this format.
    #[must_use]
    pub const fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Jpeg => &["jpg", "jpeg", "jpe", "jfif"],
            Self::Png => &["png"],
            Self::Bmp => &["bmp", "dib"],
            Self::Gif => &["gif"],
            Self::Webp => &["webp"],
        }
    }

    pub const ALL: [Self; 5] = [Self::Jpeg, Self::Png, Self::Bmp, Self::Gif, Self::Webp];
}

/// A rectangle in a picture, in its pixels; it may reach over the picture's edges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    pub left: f32,
    pub top: f32,
    pub right: f32,
    pub bottom: f32,
}

impl Rect {
    #[must_use]
    pub fn around((x, y): (f32, f32), width: f32, height: f32) -> Self {
        Self { left: x - width / 2.0, top: y - height / 2.0, right: x + width / 2.0, bottom: y + height / 2.0 }
    }

    #[must_use]
    pub fn width(&self) -> f32 {
        (self.right - self.left).max(0.0)
    }

    #[must_use]
    pub fn height(&self) -> f32 {
        (self.bottom - self.top).max(0.0)
    }

    #[must_use]
    pub fn area(&self) -> f32 {
        self.width() * self.height()
    }

    /// The side of a square of the same area.
    #[must_use]
    pub fn size(&self) -> f32 {
        self.area().sqrt()
    }

    #[must_use]
    pub fn centre(&self) -> (f32, f32) {
        (f32::midpoint(self.left, self.right), f32::midpoint(self.top, self.bottom))
    }

    /// Grown on each side by `share` of its width and height.
    #[must_use]
    pub fn grown(&self, share: f32) -> Self {
        Self::around(self.centre(), self.width() * (1.0 + 2.0 * share), self.height() * (1.0 + 2.0 * share))
    }

    /// Area of what both cover.
    #[must_use]
    pub fn overlap(&self, other: &Self) -> f32 {
        let width = self.right.min(other.right) - self.left.max(other.left);
        let height = self.bottom.min(other.bottom) - self.top.max(other.top);
        width.max(0.0) * height.max(0.0)
    }

    /// Intersection over union, 0…1.
    #[must_use]
    pub fn iou(&self, other: &Self) -> f32 {
        let both = self.overlap(other);
        let either = self.area() + other.area() - both;
        if either > 0.0 { both / either } else { 0.0 }
    }

    /// The share of the smaller one that both cover, 0…1.
    #[must_use]
    pub fn containment(&self, other: &Self) -> f32 {
        let smaller = self.area().min(other.area());
        if smaller > 0.0 { self.overlap(other) / smaller } else { 0.0 }
    }

    /// The share of this rectangle that others cover together, 0…1, in steps of a hundredth.
    #[must_use]
    pub fn covered(&self, others: &[Self]) -> f32 {
        const SIDE: u8 = 10;
        let place = |from: f32, length: f32, step: u8| from + length * (f32::from(step) + 0.5) / f32::from(SIDE);
        let covered = |x: f32, y: f32| {
            others.iter().any(|other| other.left <= x && x < other.right && other.top <= y && y < other.bottom)
        };
        let points = (0..SIDE * SIDE)
            .filter(|at| covered(place(self.left, self.width(), at % SIDE), place(self.top, self.height(), at / SIDE)));
        points.count() as f32 / (f32::from(SIDE) * f32::from(SIDE))
    }

    /// The part within a picture of this size.
    #[must_use]
    pub fn within(&self, (width, height): (f32, f32)) -> Self {
        Self {
            left: self.left.clamp(0.0, width),
            top: self.top.clamp(0.0, height),
            right: self.right.clamp(0.0, width),
            bottom: self.bottom.clamp(0.0, height),
        }
    }
}

/// How a picture of another shape becomes the input's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// Width and height are scaled separately.
    Stretch,
    /// The largest centred square is taken.
    CentreCrop,
    /// The whole picture, with grey (128) bars.
    Pad,
}
