//! What the service manager hears: READY late, the watchdog only while all parts make progress, last words in the status.

use std::time::Duration;

use systemd::daemon::{
    STATE_READY, STATE_RELOADING, STATE_STATUS, STATE_STOPPING, STATE_WATCHDOG, notify, watchdog_enabled,
};

use crate::daemon::{Progress, WATCH_PERIOD};

fn tell(states: &[(&str, &str)]) {
    if let Err(cause) = notify(states.iter()) {
        tracing::warn!("the service manager cannot be told: {cause}");
    }
}

pub fn ready(status: &str) {
    tell(&[(STATE_READY, "1"), (STATE_STATUS, status)]);
}

pub fn stopping() {
    tell(&[(STATE_STOPPING, "1"), (STATE_STATUS, "Finishing what was begun")]);
}

pub fn reloading() {
    tell(&[(STATE_RELOADING, "1")]);
}

pub fn reloaded() {
    tell(&[(STATE_READY, "1")]);
}

/// Pings the watchdog while there is progress. A hung part stops the pings, and the service manager restarts the unit.
pub async fn watchdog(progress: Progress) {
    // Half of WatchdogSec, as sd_watchdog_enabled(3) advises; without a watchdog the parts are still looked at.
    let asked = watchdog_enabled().ok().filter(|micros| *micros > 0).map(|micros| Duration::from_micros(micros / 2));
    let mut beat = tokio::time::interval(asked.map_or(WATCH_PERIOD, |period| period.min(WATCH_PERIOD)));
    let mut hung = false;
    loop {
        beat.tick().await;
        match progress.stuck() {
            None => {
                hung = false;
                if asked.is_some() {
                    tell(&[(STATE_WATCHDOG, "1")]);
                    progress.metrics.watchdog_pings.inc();
                }
            }
            Some(part) if !hung => {
                hung = true;
                tracing::error!("{part} makes no progress; the watchdog is not fed any more");
                tell(&[(STATE_STATUS, &format!("{part} makes no progress"))]);
            }
            Some(_) => {}
        }
    }
}
