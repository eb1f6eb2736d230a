//! A camera behind Video4Linux, through nokhwa.
//!
//! What has to be known of nokhwa 0.10: `frame()` waits without a time limit (the supervisor sees that and interrupts it);
//! dropping a stream panics on errors other than ENODEV (the supervisor catches that); a frame is the whole of the driver's
//! buffer, whatever the driver filled of it; after an error a stream cannot go on and has to be opened anew; only whole
//! frame rates are understood.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nokhwa::Buffer;
use nokhwa::backends::capture::V4LCaptureDevice;
use nokhwa::camera_traits::CaptureBackendTrait;
use nokhwa::utils::{CameraFormat, CameraIndex, FrameFormat, RequestedFormat, RequestedFormatType, Resolution};

use crate::capture::FrameSource;
use crate::capture::fault::{CameraError, CameraFault};
use crate::capture::format::{Offer, PixelFormat, RequestedMode, choose, list};
use crate::clock::{Clock, Stamp};
use crate::error::Result;
use crate::frame::{Encoding, Frame, PixelLayout};
use crate::imaging::segments::{Extent, extent, first_start};

const FORMATS: [FrameFormat; 3] = [FrameFormat::MJPEG, FrameFormat::YUYV, FrameFormat::NV12];
/// A first frame older than this bears the time of some other clock: this driver's times are not used then.
const FIRST_AGE_MAX: Duration = Duration::from_secs(10);

/// An open camera that streams.
pub struct V4l2 {
    device: V4LCaptureDevice<'static>,
    path: PathBuf,
    working: Offer,
    clock: Arc<dyn Clock>,
    sequence: u64,
    /// Whether the driver's times are of this machine's clock; none before the first frame.
    timed: Option<bool>,
}

impl V4l2 {
    /// Opens the camera in the mode that serves the request best.
    ///
    /// # Errors
    /// A fault, saying what keeps the camera from being used and what to do; with the list of what the camera offers when
    /// that is not what was asked for.
    pub fn open(path: &Path, requested: &RequestedMode, clock: Arc<dyn Clock>) -> Result<Self, CameraError> {
        let (mut device, offers) = opened(path)?;
        let working = negotiate(&mut device, path, &offers, requested)?;
        device.open_stream().map_err(|cause| CameraError::unusable(path, &cause))?;
        tracing::info!("camera: {} works with {working} (asked for: {} fps)", path.display(), requested.fps);
        Ok(Self { device, path: path.into(), working, clock, sequence: 0, timed: None })
    }

    /// What the camera was set to.
    #[must_use]
    pub fn working(&self) -> Offer {
        self.working
    }

    /// All that the camera offers.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn offers(path: &Path) -> Result<Vec<Offer>, CameraError> {
        opened(path).map(|(_, offers)| offers)
    }

    /// When the frame was taken: now, less the age that the driver tells.
    fn captured(&mut self, buffer: &Buffer) -> Stamp {
        let now = self.clock.now();
        let taken = buffer.capture_timestamp();
        let age = taken.and_then(|taken| SystemTime::now().duration_since(UNIX_EPOCH + taken).ok()).unwrap_or_default();
        let timed = *self.timed.get_or_insert_with(|| {
            let timed = age <= FIRST_AGE_MAX;
            if !timed {
                tracing::info!("camera: {} tells times of another clock; they are not used", self.path.display());
            }
            timed
        });
        let age = if timed { age.min(now.monotonic) } else { Duration::ZERO };
        Stamp { at: now.at.checked_sub(age).unwrap_or(now.at), monotonic: now.monotonic - age, ..now }
    }
}

impl FrameSource for V4l2 {
    fn next(&mut self) -> Result<Option<Frame>> {
        let buffer =
            self.device.frame().map_err(|cause| CameraError::new(&self.path, CameraFault::Lost, &cause.to_string()))?;
        let captured = self.captured(&buffer);
        let Offer { format, width, height, .. } = self.working;
        let raw = |layout: PixelLayout| (layout.bytes(width, height), Encoding::Raw { layout, width, height });
        let (length, encoding) = match format {
            PixelFormat::Mjpeg => (None, Encoding::File),
            PixelFormat::Yuyv => raw(PixelLayout::Yuyv),
            PixelFormat::Nv12 => raw(PixelLayout::Nv12),
        };
        let whole = buffer.buffer();
        let bytes = match encoding {
            Encoding::File => picture(whole).into(),
            Encoding::Raw { .. } => whole.get(..length.unwrap_or(whole.len())).unwrap_or(whole).into(),
        };
        let label = format!("{}#{}", self.path.display(), self.sequence).into();
        let frame = Frame { sequence: self.sequence, captured, bytes, encoding, label };
        self.sequence += 1;
        Ok(Some(frame))
    }
}

/// The JPEG in a driver's buffer, up to its end marker. What has none is handed on as it is and told apart by the decoder.
fn picture(buffer: &[u8]) -> Vec<u8> {
    let picture = buffer.get(first_start(buffer)..).unwrap_or_default();
    if let Extent::Whole(length) = extent(picture) {
        return picture.get(..length).unwrap_or_default().to_vec();
    }
    let used = buffer.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    buffer.get(..used).unwrap_or_default().to_vec()
}

fn opened(path: &Path) -> Result<(V4LCaptureDevice<'static>, Vec<Offer>), CameraError> {
    let index = CameraIndex::Index(index_of(path)?);
    // Any format at first: only an open camera tells what it offers.
    let any = RequestedFormat::with_formats(RequestedFormatType::None, &FORMATS);
    let mut device = V4LCaptureDevice::new(&index, any).map_err(|cause| CameraError::unusable(path, &cause))?;
    let mut offers: Vec<_> = device
        .compatible_camera_formats()
        .map_err(|cause| CameraError::unusable(path, &cause))?
        .into_iter()
        .filter_map(offer_of)
        .collect();
    if offers.is_empty() {
        // Some drivers list no frame rates.
        offers.extend(offer_of(device.camera_format()));
    }
    Ok((device, offers))
}

fn negotiate(
    device: &mut V4LCaptureDevice<'_>,
    path: &Path,
    offers: &[Offer],
    requested: &RequestedMode,
) -> Result<Offer, CameraError> {
    let chosen = choose(offers, requested).or_else(|| unlisted(device, requested)).ok_or_else(|| {
        let (size, format) =
            (requested.size.map(|(w, h)| format!(" {w}×{h}")).unwrap_or_default(), requested.format.name());
        CameraError::with_remedy(
            path,
            CameraFault::NoMode,
            &format!("it does not offer{size} as {format}, which capture.width, height and format ask for"),
            &format!("It offers {}. Ask for one of these, or leave the keys out.", list(offers)),
        )
    })?;
    let wanted = format_of(chosen);
    if device.camera_format() != wanted {
        device.set_camera_format(wanted).map_err(|cause| {
            CameraError::with_remedy(
                path,
                CameraFault::NoMode,
                &format!("it lists {chosen} and refuses it ({cause})"),
                &format!("It offers {}.", list(offers)),
            )
        })?;
    }
    Ok(chosen)
}

/// A camera that takes sizes in steps lists only the ends of its range: a size between them has to be tried.
fn unlisted(device: &mut V4LCaptureDevice<'_>, requested: &RequestedMode) -> Option<Offer> {
    let (width, height) = requested.size?;
    let fps = (requested.fps.round() as u32).max(1);
    [PixelFormat::Nv12, PixelFormat::Yuyv, PixelFormat::Mjpeg]
        .into_iter()
        .filter(|format| format.grants(requested.format))
        .map(|format| Offer { format, width, height, fps })
        .find(|offer| device.set_camera_format(format_of(*offer)).is_ok())
}

fn offer_of(format: CameraFormat) -> Option<Offer> {
    let pixels = match format.format() {
        FrameFormat::MJPEG => PixelFormat::Mjpeg,
        FrameFormat::YUYV => PixelFormat::Yuyv,
        FrameFormat::NV12 => PixelFormat::Nv12,
        _ => return None,
    };
    Some(Offer { format: pixels, width: format.width(), height: format.height(), fps: format.frame_rate() })
}

fn format_of(offer: Offer) -> CameraFormat {
    let format = match offer.format {
        PixelFormat::Mjpeg => FrameFormat::MJPEG,
        PixelFormat::Yuyv => FrameFormat::YUYV,
        PixelFormat::Nv12 => FrameFormat::NV12,
    };
    CameraFormat::new(Resolution::new(offer.width, offer.height), format, offer.fps)
}

/// The number in `/dev/videoN`, behind whatever stable name (`/dev/v4l/by-id/…`) leads there.
fn index_of(path: &Path) -> Result<u32, CameraError> {
    let device = fs::canonicalize(path).map_err(|cause| {
        let there = present();
        let there = if there.is_empty() { "none is there".into() } else { format!("there are {}", there.join(", ")) };
        CameraError::with_remedy(
            path,
            CameraFault::NoDevice,
            &cause.to_string(),
            &format!("Plug the camera in, or correct capture.source ({there})."),
        )
    })?;
    let name = device.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.strip_prefix("video")
        .and_then(|number| number.parse().ok())
        .filter(|_| device.parent() == Some(Path::new("/dev")))
        .ok_or_else(|| {
            CameraError::new(path, CameraFault::NoDevice, &format!("{} is no video device", device.display()))
        })
}

/// The video devices of this machine.
fn present() -> Vec<String> {
    let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.path().display().to_string())
        .filter(|name| name.strip_prefix("/dev/video").is_some_and(|number| number.parse::<u32>().is_ok()))
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn a_picture_is_cut_out_of_the_drivers_buffer() {
        let jpeg = [0xFF, 0xD8, 0xFF, 0xDA, 0, 2, 9, 0xFF, 0xD9];
        // The rest of the buffer holds an older, longer frame.
        let buffer = [&jpeg[..], &[7, 7, 0xFF, 0xD9], &[0; 100]].concat();
        assert_eq!(picture(&buffer), jpeg);
        let cut = [&jpeg[..7], &[0; 100]].concat();
        assert_eq!(picture(&cut), &jpeg[..7], "a frame that lost its end stays recognisable as damaged");
        assert!(picture(&[0; 100]).is_empty());
    }

    #[test]
    fn what_is_no_camera_is_refused_with_the_remedy() {
        let missing = Error::from(index_of(Path::new("/dev/video-of-no-machine")).unwrap_err()).to_string();
        assert!(missing.contains("Plug the camera in") && missing.contains("capture.source"), "{missing}");
        let other = Error::from(index_of(Path::new("/dev/null")).unwrap_err()).to_string();
        assert!(other.contains("no video device"), "{other}");
    }
}
