//! Why a camera cannot be used, as a value: doctor and logs go by it and not by nokhwa's sentences.

use std::path::Path;
use std::time::Duration;

use nokhwa::NokhwaError;

use crate::error::Error;

/// When to try again after what a technician has to mend.
const RETRY: Duration = Duration::from_secs(10);

/// What keeps a camera from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CameraFault {
    /// The device file is not there or is no video device.
    NoDevice,
    /// The unit's account may not open it.
    Forbidden,
    /// Another program streams from it.
    InUse,
    /// It offers no mode that the unit reads, or not the requested one.
    NoMode,
    /// The mode that it was left in cannot be read, so that nokhwa cannot open it.
    UnreadableMode,
    /// It worked and stopped giving frames.
    Lost,
    Other,
}

impl CameraFault {
    /// The fault behind an error of nokhwa, by its kind and by the number of the system error. nokhwa hands a system error on
    /// as the text of [`std::io::Error`], which ends with the number.
    pub(super) fn of(cause: &NokhwaError) -> Self {
        const EACCES: i32 = rustix::io::Errno::ACCESS.raw_os_error();
        const EBUSY: i32 = rustix::io::Errno::BUSY.raw_os_error();
        match (system_error(&cause.to_string()), cause) {
            (Some(EACCES), _) => Self::Forbidden,
            (Some(EBUSY), _) => Self::InUse,
            (None, NokhwaError::GetPropertyError { property, .. }) => match property.as_str() {
                "CameraFormat" => Self::NoMode,
                "FrameFormat" | "V4L2 FrameRate" => Self::UnreadableMode,
                _ => Self::Other,
            },
            _ => Self::Other,
        }
    }

    const fn remedy(self) -> &'static str {
        match self {
            Self::NoDevice => "Name /dev/video0 or the like.",
            Self::Forbidden => "Its device belongs to the group video: put the unit's account into that group.",
            Self::InUse => "Another program uses it: stop that program.",
            Self::NoMode => {
                "It offers none of MJPEG, YUYV and NV12 at a whole number of frames a second: use another camera."
            }
            Self::UnreadableMode => {
                "It was left in a mode that the unit cannot read: set one that it can (v4l2-ctl --set-fmt-video, --set-parm), or plug it in again."
            }
            Self::Lost => "It is opened anew; if this comes again, check its cable and its supply.",
            Self::Other => "Plug it in again; `vehicle-classifierd doctor` shows what it offers.",
        }
    }
}

/// The number at the end of a system error's text, `… (os error 13)`.
fn system_error(text: &str) -> Option<i32> {
    let (_, behind) = text.rsplit_once("(os error ")?;
    behind.split(')').next()?.parse().ok()
}

/// A fault with the sentence for people.
#[derive(Debug)]
pub struct CameraError {
    pub fault: CameraFault,
    message: String,
}

impl CameraError {
    /// With the fault's own remedy.
    pub(super) fn new(path: &Path, fault: CameraFault, why: &str) -> Self {
        Self::with_remedy(path, fault, why, fault.remedy())
    }

    pub(super) fn with_remedy(path: &Path, fault: CameraFault, why: &str, remedy: &str) -> Self {
        Self { fault, message: format!("The camera {} cannot be used: {why}. {remedy}", path.display()) }
    }

    /// What nokhwa says of opening or setting a camera.
    pub(super) fn unusable(path: &Path, cause: &NokhwaError) -> Self {
        Self::new(path, CameraFault::of(cause), &cause.to_string())
    }
}

impl From<CameraError> for Error {
    fn from(error: CameraError) -> Self {
        Self::unavailable(error.message, RETRY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property(property: &str, error: &str) -> NokhwaError {
        NokhwaError::GetPropertyError { property: property.into(), error: error.into() }
    }

    #[test]
    fn a_camera_fault_is_told_by_the_kind_of_the_error_and_comes_with_what_to_do() {
        let denied = || std::io::Error::from_raw_os_error(13).to_string();
        let busy = std::io::Error::from_raw_os_error(16).to_string();
        for (cause, fault, remedy) in [
            (NokhwaError::OpenDeviceError("0".into(), denied()), CameraFault::Forbidden, "group video"),
            (property("FrameFormat", &denied()), CameraFault::Forbidden, "group video"),
            (NokhwaError::OpenStreamError(busy), CameraFault::InUse, "stop that program"),
            (property("CameraFormat", "Failed to Fufill"), CameraFault::NoMode, "another camera"),
            (property("FrameFormat", "unsupported"), CameraFault::UnreadableMode, "v4l2-ctl"),
            (property("V4L2 FrameRate", "Framerate not whole number: 30 / 7"), CameraFault::UnreadableMode, "v4l2-ctl"),
            (property("V4L2 FrameRate", "Input/output error (os error 5)"), CameraFault::Other, "Plug it in again"),
        ] {
            let error = CameraError::unusable(Path::new("/dev/video0"), &cause);
            assert_eq!(error.fault, fault, "{cause}");
            assert!(error.message.contains(remedy) && error.message.contains("/dev/video0"), "{}", error.message);
        }
    }
}
