//! Time as a roadside unit knows it: a wall clock that may be wrong until it is synchronised, a monotonic clock that is
//! not, and the boot both belong to.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Set by systemd-timesyncd on the first synchronisation after boot.
const TIMESYNC_FLAG: &str = "/run/systemd/timesync/synchronized";
/// Seconds since the device was started, to a hundredth (proc_uptime(5)).
const UPTIME: &str = "/proc/uptime";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// One moment, with what is needed to correct it later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Wall clock, UTC.
    pub at: Timestamp,
    /// Since the device was started, so that moments of one boot can be compared whichever process noted them.
    pub monotonic: Duration,
    /// Whether the wall clock was synchronised at that moment.
    pub synced: bool,
    /// Kernel boot id (a UUID), empty where the kernel tells none.
    pub boot_id: Arc<str>,
}

impl Stamp {
    /// The moment so long before, as this one's clock tells it.
    #[must_use]
    pub fn before(&self, time: Duration) -> Self {
        Self {
            at: self.at.checked_sub(time).unwrap_or(self.at),
            monotonic: self.monotonic.saturating_sub(time),
            ..self.clone()
        }
    }
}

/// Where the time comes from; a fake makes bad clocks testable.
pub trait Clock: Send + Sync {
    fn now(&self) -> Stamp;

    /// Wall clock only.
    fn wall(&self) -> Timestamp {
        self.now().at
    }
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
    /// At `start`, since the device was started.
    uptime: Duration,
    boot_id: Arc<str>,
}

impl SystemClock {
    #[must_use]
    pub fn new() -> Self {
        let boot_id = std::fs::read_to_string(BOOT_ID).unwrap_or_default();
        let uptime = std::fs::read_to_string(UPTIME).ok();
        let uptime = uptime.and_then(|text| text.split(' ').next()?.parse().ok());
        let uptime = Duration::try_from_secs_f64(uptime.unwrap_or_default()).unwrap_or_default();
        Self { start: Instant::now(), uptime, boot_id: boot_id.trim().into() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Stamp {
        Stamp {
            at: Timestamp::now(),
            monotonic: self.uptime + self.start.elapsed(),
            synced: synchronised(),
            boot_id: self.boot_id.clone(),
        }
    }
}

/// Whether something keeps the system clock synchronised: systemd-timesyncd's flag, or else the kernel's own status word
/// (`adjtimex`, which chrony and ntpd clear).
#[must_use]
pub fn synchronised() -> bool {
    Path::new(TIMESYNC_FLAG).exists() || kernel_synchronised()
}

fn kernel_synchronised() -> bool {
    // A zero `modes` field only reads; the call needs no privilege.
    let mut status = rtime_clock::adjtime::Timex::new();
    // TIME_ERROR (5): the clock is not synchronised (adjtimex(2)).
    rtime_clock::adjtime::adjtimex(&mut status).is_ok_and(|state| state != 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_runs_with_the_machine_and_all_clocks_of_a_boot_agree() {
        let clock = SystemClock::new();
        let (first, begun) = (clock.now(), Instant::now());
        while begun.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        let other = SystemClock::new();
        let (second, others) = (clock.now(), other.now());
        let passed = second.monotonic.checked_sub(first.monotonic).unwrap();
        assert!(
            passed >= Duration::from_millis(20) && passed <= begun.elapsed() + Duration::from_millis(1),
            "{passed:?}"
        );
        // /proc/uptime tells hundredths.
        assert!(others.monotonic.abs_diff(second.monotonic) < Duration::from_millis(500), "{others:?} {second:?}");
        let boot_id = std::fs::read_to_string(BOOT_ID).unwrap();
        assert_eq!((&*first.boot_id, &*others.boot_id), (boot_id.trim(), boot_id.trim()));
    }
}
