//! Standard error belongs to the command: the TFLite runtime greets there whenever an interpreter is built, and has no
//! setting against it.

use std::fs::File;
use std::os::fd::OwnedFd;

use crate::classifier::{LoadedDetector, LoadedModel, TfliteClassifier, TfliteDetector};
use crate::error::Result;

/// [`crate::classifier::with_classifier`] without the greeting. For commands with one thread: what others write to standard
/// error meanwhile is lost.
///
/// # Errors
/// Those of building the classifier.
pub fn with_classifier<R>(
    model: &LoadedModel,
    threads: usize,
    run: impl FnOnce(&mut TfliteClassifier<'_>) -> R,
) -> Result<R> {
    let silence = Silence::begin();
    crate::classifier::with_classifier(model, threads, move |classifier| {
        drop(silence);
        run(classifier)
    })
}

/// The same for a detector.
///
/// # Errors
/// Those of building the detector.
pub fn with_detector<R>(
    model: &LoadedDetector,
    threads: usize,
    run: impl FnOnce(&mut TfliteDetector<'_>) -> R,
) -> Result<R> {
    let silence = Silence::begin();
    crate::classifier::with_detector(model, threads, move |detector| {
        drop(silence);
        run(detector)
    })
}

/// Standard error leads nowhere until this is dropped.
struct Silence {
    original: OwnedFd,
}

impl Silence {
    /// None where that cannot be had: a greeting is better than no work.
    fn begin() -> Option<Self> {
        let original = rustix::io::dup(rustix::stdio::stderr()).ok()?;
        let nowhere = File::options().write(true).open("/dev/null").ok()?;
        rustix::stdio::dup2_stderr(nowhere).ok()?;
        Some(Self { original })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = rustix::stdio::dup2_stderr(&self.original);
    }
}
