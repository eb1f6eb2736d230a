//! A decoded picture: pixels as stored, and how they are to be turned.

use image::metadata::Orientation;

use crate::frame::{PictureFormat, PixelLayout};

/// 8-bit samples, row by row from the top left, without padding.
pub(super) enum Pixels {
    /// One byte a pixel. Kept so: a grey camera picture is resized at a third of the cost.
    Grey(Vec<u8>),
    /// Three bytes a pixel: red, green, blue.
    Rgb(Vec<u8>),
}

impl Pixels {
    pub(super) fn samples(&self) -> &[u8] {
        match self {
            Self::Grey(samples) | Self::Rgb(samples) => samples,
        }
    }

    pub(super) const fn channels(&self) -> usize {
        match self {
            Self::Grey(_) => 1,
            Self::Rgb(_) => 3,
        }
    }
}

/// A decoded picture. All sizes and coordinates it tells and takes are those of the upright picture, after its EXIF
/// orientation.
pub struct Picture {
    pub(super) pixels: Pixels,
    /// Width and height as stored.
    pub(super) stored: (u32, u32),
    pub(super) turn: Turn,
    source: Source,
}

/// What the pixels were made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    File(PictureFormat),
    Raw(PixelLayout),
}

impl Source {
    /// Name in answers and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::File(format) => format.name(),
            Self::Raw(layout) => layout.name(),
        }
    }
}

impl Picture {
    pub(super) fn new(pixels: Pixels, stored: (u32, u32), orientation: Orientation, source: Source) -> Self {
        Self { pixels, stored, turn: Turn::from(orientation), source }
    }

    /// Pixels across.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.turn.size(self.stored).0
    }

    /// Pixels down.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.turn.size(self.stored).1
    }

    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }

    /// The whole picture as a region of itself.
    #[must_use]
    pub fn region(&self) -> CropRegion {
        CropRegion { x: 0, y: 0, width: self.width(), height: self.height() }
    }

    /// The upright picture, three bytes a pixel. This copies everything: for showing a picture, not for the model's path.
    #[must_use]
    pub fn to_rgb(&self) -> Vec<u8> {
        let mut rgb = Vec::with_capacity(self.width() as usize * self.height() as usize * 3);
        self.turn.for_each_pixel(self.pixels.samples(), self.pixels.channels(), self.stored, |pixel| {
            rgb.extend_from_slice(&pixel);
        });
        rgb
    }
}

impl Picture {
    /// An upright region, three bytes a pixel; none for one that is empty or not within the picture.
    pub(super) fn region_rgb(&self, region: CropRegion) -> Option<Vec<u8>> {
        if !region.lies_within((self.width(), self.height())) {
            return None;
        }
        let channels = self.pixels.channels();
        let part = self.turn.stored_region(region, self.stored);
        let (left, width) = (part.x as usize * channels, part.width as usize * channels);
        let rows = self.pixels.samples().chunks_exact(self.stored.0 as usize * channels);
        let mut stored = Vec::with_capacity(width * part.height as usize);
        for row in rows.skip(part.y as usize).take(part.height as usize) {
            stored.extend_from_slice(row.get(left..left + width)?);
        }
        let mut rgb = Vec::with_capacity(region.width as usize * region.height as usize * 3);
        self.turn.for_each_pixel(&stored, channels, (part.width, part.height), |pixel| rgb.extend_from_slice(&pixel));
        Some(rgb)
    }
}

/// A rectangle of an upright picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CropRegion {
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
}

impl CropRegion {
    /// Whether it has pixels, all of them in a picture of this size.
    pub(super) fn lies_within(&self, (width, height): (u32, u32)) -> bool {
        let ends = |start: u32, length: u32, whole: u32| {
            length > 0 && start.checked_add(length).is_some_and(|end| end <= whole)
        };
        ends(self.x, self.width, width) && ends(self.y, self.height, height)
    }
}

/// How stored pixels become upright, in the form that finds an upright pixel among the stored ones: swap the coordinates
/// first, then count columns and rows from the far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    swap: bool,
    from_right: bool,
    from_bottom: bool,
}

impl From<Orientation> for Turn {
    /// The EXIF values 1 … 8 (CIPA DC-008, tag 0x0112) tell which visual sides the stored first row and column are.
    fn from(orientation: Orientation) -> Self {
        let (swap, from_right, from_bottom) = match orientation {
            Orientation::NoTransforms => return Self::NONE,
            Orientation::FlipHorizontal => (false, true, false),
            Orientation::Rotate180 => (false, true, true),
            Orientation::FlipVertical => (false, false, true),
            Orientation::Rotate90FlipH => (true, false, false),
            Orientation::Rotate90 => (true, false, true),
            Orientation::Rotate270FlipH => (true, true, true),
            Orientation::Rotate270 => (true, true, false),
        };
        Self { swap, from_right, from_bottom }
    }
}

impl Turn {
    /// Stored upright.
    pub(super) const NONE: Self = Self { swap: false, from_right: false, from_bottom: false };

    /// Stored size to upright size, or back.
    pub(super) const fn size(self, (width, height): (u32, u32)) -> (u32, u32) {
        if self.swap { (height, width) } else { (width, height) }
    }

    /// An upright region, which must lie within the picture, in stored coordinates.
    pub(super) fn stored_region(self, region: CropRegion, stored: (u32, u32)) -> CropRegion {
        let CropRegion { mut x, mut y, mut width, mut height } = region;
        if self.swap {
            (x, y, width, height) = (y, x, height, width);
        }
        if self.from_right {
            x = stored.0 - x - width;
        }
        if self.from_bottom {
            y = stored.1 - y - height;
        }
        CropRegion { x, y, width, height }
    }

    /// Visits stored samples in upright order, row by row, as red, green and blue.
    pub(super) fn for_each_pixel(
        self,
        samples: &[u8],
        channels: usize,
        stored: (u32, u32),
        mut visit: impl FnMut([u8; 3]),
    ) {
        let (stored_width, stored_height) = (stored.0 as usize, stored.1 as usize);
        let (width, height) = self.size(stored);
        for y in 0..height as usize {
            for x in 0..width as usize {
                let (mut column, mut row) = if self.swap { (y, x) } else { (x, y) };
                if self.from_right {
                    column = stored_width - 1 - column;
                }
                if self.from_bottom {
                    row = stored_height - 1 - row;
                }
                let at = (row * stored_width + column) * channels;
                match samples.get(at..at + channels) {
                    Some(&[red, green, blue]) => visit([red, green, blue]),
                    Some(&[grey]) => visit([grey; 3]),
                    _ => return,
                }
            }
        }
    }
}
