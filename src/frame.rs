//! A picture as it comes from a camera or an upload: encoded bytes and where they come from.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Stamp;

/// One encoded picture from a capture source.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Counts up by one a frame from the source's start; gaps are frames the source dropped.
    pub sequence: u64,
    /// When the source handed it over.
    pub captured: Stamp,
    /// The encoded picture (JPEG, PNG …).
    pub bytes: Arc<[u8]>,
    /// What the frame is called in messages, for example the replayed file's name.
    pub label: Arc<str>,
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
