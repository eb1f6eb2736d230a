//! A picture, or a part of it, to the model's input: NHWC, one picture, three channels, int8 = pixel − 128.
//!
//! The resize is a convolution with a triangle as wide as the scale, on 8-bit samples: what Pillow calls `BILINEAR`, which
//! the models were measured with. Without such widening (OpenCV's `INTER_LINEAR`) most of a large picture would not count.

use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};

use crate::error::{Error, Result};
use crate::frame::{Fit, Rect};
use crate::imaging::picture::{CropRegion, Picture, Turn};

/// Resize buffers larger than this, in bytes, are given back after the picture that needed them. 8 MiB holds a 4K picture.
const BUFFERS_BYTES_MAX: usize = 8 << 20;
/// Bytes a pixel of the tensor.
const CHANNELS: usize = 3;

/// The model's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// How a picture of another shape becomes this one.
    pub fit: Fit,
}

/// Where a picture lies in its tensor: for what a model says in the tensor's coordinates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    left: f32,
    top: f32,
    across: f32,
    down: f32,
}

impl Placement {
    /// Of a whole picture of this size.
    #[must_use]
    pub fn of(width: u32, height: u32, target: &Target) -> Self {
        let (part, shown) = fitted(CropRegion { x: 0, y: 0, width, height }, target);
        let (across, down) = (part.width as f32 / shown.0 as f32, part.height as f32 / shown.1 as f32);
        Self {
            left: ((target.width - shown.0) / 2) as f32 - part.x as f32 / across,
            top: ((target.height - shown.1) / 2) as f32 - part.y as f32 / down,
            across,
            down,
        }
    }

    /// From the tensor's pixels to the picture's.
    #[must_use]
    pub fn in_picture(&self, rect: &Rect) -> Rect {
        Rect {
            left: (rect.left - self.left) * self.across,
            top: (rect.top - self.top) * self.down,
            right: (rect.right - self.left) * self.across,
            bottom: (rect.bottom - self.top) * self.down,
        }
    }
}

/// Makes tensors; keeps its buffers from one to the next.
#[derive(Default)]
pub struct Tensoriser {
    resizer: Resizer,
    /// The resized picture, as it is stored.
    small: Vec<u8>,
    tensor: Vec<i8>,
}

impl Tensoriser {
    /// The whole picture as a tensor of `height × width × 3`, valid until the next call.
    ///
    /// # Errors
    /// Internal for a target without pixels.
    pub fn tensor(&mut self, picture: &Picture, target: &Target) -> Result<&[i8]> {
        self.tensor_of_region(picture, picture.region(), target)
    }

    /// A region of the picture as a tensor; the target's fit applies to the region's shape.
    ///
    /// # Errors
    /// Internal for a target without pixels, and for a region that is empty or not within the picture.
    pub fn tensor_of_region(&mut self, picture: &Picture, region: CropRegion, target: &Target) -> Result<&[i8]> {
        check(picture, region, target)?;
        let (region, shown) = fitted(region, target);
        self.resize(picture, region, shown)?;
        self.fill(picture, shown, target);
        Ok(&self.tensor)
    }

    /// Resizes an upright region to the upright size `shown`, all in stored orientation.
    fn resize(&mut self, picture: &Picture, region: CropRegion, shown: (u32, u32)) -> Result<()> {
        // Only the two kinds of pixels that there are: the resizer that takes any compiles all thirteen in, and of those with floating
        // point numbers this compiler does not make the same machine code each time.
        if picture.pixels.channels() == 1 {
            self.resize_as::<U8>(picture, region, shown)
        } else {
            self.resize_as::<U8x3>(picture, region, shown)
        }
        .map_err(|cause| {
            Error::internal("The picture cannot be resized; the log of the unit says more.").because(cause)
        })
    }

    fn resize_as<P: PixelTrait>(
        &mut self,
        picture: &Picture,
        region: CropRegion,
        shown: (u32, u32),
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let (width, height) = picture.turn.size(shown);
        self.small.resize(width as usize * height as usize * picture.pixels.channels(), 0);
        let stored = TypedImageRef::<P>::from_buffer(picture.stored.0, picture.stored.1, picture.pixels.samples())?;
        // A view, not the resizer's own crop option: that would let the region's neighbours count at its edges.
        let part = picture.turn.stored_region(region, picture.stored);
        let source = TypedCroppedImage::from_ref(&stored, part.x, part.y, part.width, part.height)?;
        let mut small = TypedImage::<P>::from_buffer(width, height, &mut self.small)?;
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        self.resizer.resize_typed(&source, &mut small, &options)?;
        if self.resizer.size_of_internal_buffers() > BUFFERS_BYTES_MAX {
            self.resizer.reset_internal_buffers();
        }
        Ok(())
    }

    /// Turns the resized picture upright, quantises it and centres it in the tensor.
    fn fill(&mut self, picture: &Picture, shown: (u32, u32), target: &Target) {
        let row = target.width as usize * CHANNELS;
        let shown_row = shown.0 as usize * CHANNELS;
        let left = (target.width - shown.0) as usize / 2 * CHANNELS;
        let top = (target.height - shown.1) as usize / 2;
        // 0 is pixel 128: the grey of the bars.
        self.tensor.clear();
        self.tensor.resize(row * target.height as usize, 0);
        let Self { small, tensor, .. } = self;
        if picture.turn == Turn::NONE && picture.pixels.channels() == CHANNELS {
            // The ordinary camera picture: the same as below, ten times as fast.
            for (to, from) in tensor.chunks_exact_mut(row).skip(top).zip(small.chunks_exact(shown_row)) {
                to[left..].iter_mut().zip(from).for_each(|(value, &sample)| *value = quantised(sample));
            }
            return;
        }
        let stored = picture.turn.size(shown);
        let (mut at, mut column) = (top * row + left, 0);
        picture.turn.for_each_pixel(small, picture.pixels.channels(), stored, |pixel| {
            if let Some(place) = tensor.get_mut(at..at + CHANNELS) {
                place.copy_from_slice(&pixel.map(quantised));
            }
            at += CHANNELS;
            column += CHANNELS;
            if column == shown_row {
                column = 0;
                at += row - shown_row;
            }
        });
    }
}

/// Pixel − 128: flipping the highest bit is that subtraction in two's complement.
const fn quantised(sample: u8) -> i8 {
    (sample ^ 0x80) as i8
}

fn check(picture: &Picture, region: CropRegion, target: &Target) -> Result<()> {
    if target.width == 0 || target.height == 0 {
        return Err(Error::internal(format!("A tensor of {} × {} has no pixels.", target.width, target.height)));
    }
    if region.lies_within((picture.width(), picture.height())) {
        return Ok(());
    }
    let CropRegion { x, y, width, height } = region;
    Err(Error::internal(format!(
        "The region {width} × {height} at {x}, {y} is empty or not within the picture of {} × {}.",
        picture.width(),
        picture.height()
    )))
}

/// The part of the region that is used, and the size it takes in the tensor.
fn fitted(region: CropRegion, target: &Target) -> (CropRegion, (u32, u32)) {
    let (width, height) = (u64::from(region.width), u64::from(region.height));
    let (target_width, target_height) = (u64::from(target.width), u64::from(target.height));
    // Width times the other's height: which of the two shapes is wider, without division.
    let (region_wide, target_wide) = (width * target_height, target_width * height);
    match target.fit {
        Fit::Stretch => (region, (target.width, target.height)),
        Fit::CentreCrop => {
            let (mut part, whole) = (region, (target.width, target.height));
            if region_wide > target_wide {
                part.width = at_least_one(target_wide / target_height);
                part.x += (region.width - part.width) / 2;
            } else {
                part.height = at_least_one(region_wide / target_width);
                part.y += (region.height - part.height) / 2;
            }
            (part, whole)
        }
        Fit::Pad if region_wide > target_wide => {
            (region, (target.width, at_least_one((target_width * height + width / 2) / width)))
        }
        Fit::Pad => (region, (at_least_one((target_height * width + height / 2) / height), target.height)),
    }
}

fn at_least_one(length: u64) -> u32 {
    u32::try_from(length.max(1)).unwrap_or(u32::MAX)
}
