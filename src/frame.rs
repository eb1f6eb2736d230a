//! A picture as it comes from a camera or an upload: its bytes, how they are to be read, and where they come from.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Stamp;

mod live;

pub use live::{Analysed, LiveView, TrackBox};

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
    Raw { layout: Layout, width: u32, height: u32 },
}

/// How raw samples lie in memory. Named after the V4L2 pixel formats; values are YCbCr after ITU-R BT.601, limited range, as
/// V4L2 defines for cameras (`V4L2_COLORSPACE_SRGB`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// 4:2:2, two pixels in four bytes: Y₀ Cb Y₁ Cr.
    Yuyv,
    /// 4:2:0, all Y, then Cb and Cr in turn for every two by two pixels.
    Nv12,
}

impl Layout {
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
