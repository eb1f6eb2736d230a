//! Waiting for what must come: long, because a busy machine is slow at everything, and without taking the time that is waited for.

use std::time::{Duration, Instant};

/// Whatever takes longer does not come. Only a test that fails waits so long.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Between two looks; what is waited for has the processor meanwhile.
pub fn pause() {
    std::thread::park_timeout(Duration::from_millis(10));
}

/// Waits until it holds.
pub fn until(what: &str, holds: impl FnMut() -> bool) {
    within(PATIENCE, what, holds);
}

/// Waits until it holds, so long at most.
pub fn within(patience: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        pause();
    }
}
