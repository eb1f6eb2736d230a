//! Lines that the TensorFlow Lite runtime writes to standard error: into the log, one event a line.
//!
//! The runtime is C++ and has no setting for where it writes. It greets whenever an interpreter is built, so that is what
//! [`through_the_log`] surrounds. What it writes at other times still goes to standard error as it is.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::{AsFd, OwnedFd};

/// What is kept of one capture: the runtime's lines are short, and a capture has a handful.
const CAPTURED_BYTES_MAX: u64 = 64 << 10;

/// Does `work` and logs what it wrote to standard error. Other threads that write there meanwhile wait, so it must be short.
pub fn through_the_log<T>(work: impl FnOnce() -> T) -> T {
    // Rust's own lock on standard error: two captures follow one another, and no line of the log gets into one.
    let lock = std::io::stderr().lock();
    let capture = Capture::begin();
    let done = work();
    let text = capture.map(Capture::end).unwrap_or_default();
    drop(lock);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        tracing::info!(target: "tensorflow_lite", "{line}");
    }
    done
}

/// Standard error leads into memory until this is dropped.
struct Capture {
    original: OwnedFd,
    memory: File,
}

impl Capture {
    /// None where that cannot be had: a stray line is better than no work.
    fn begin() -> Option<Self> {
        let memory = rustix::fs::memfd_create("standard-error", rustix::fs::MemfdFlags::CLOEXEC).ok()?;
        let original = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3).ok()?;
        rustix::stdio::dup2_stderr(memory.as_fd()).ok()?;
        Some(Self { original, memory: memory.into() })
    }

    /// What was written meanwhile.
    fn end(mut self) -> String {
        let mut bytes = Vec::new();
        // Reading back from memory cannot fail in a way that anybody could mend.
        let _ = self.memory.rewind();
        let _ = (&self.memory).take(CAPTURED_BYTES_MAX).read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = rustix::stdio::dup2_stderr(&self.original);
    }
}
