//! Lines that repeat: of each place in the program so many are written a minute, the rest are counted. What a stranger or a
//! broken camera does thirty times a second never fills the log.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Target of lines about single camera frames, as `frame::LOG_TARGET` says it: one a minute is written.
const FRAMES: &str = "vehicle_classifierd::frames";
/// Target of the lines that say how many were not written.
const COUNTS: &str = "vehicle_classifierd::repeats";
const WINDOW: Duration = Duration::from_secs(60);
/// Lines of one place in a window: more than the states that a camera or a connection goes through in that time.
const LINES_MAX: u32 = 20;
/// Characters kept of the last line that was not written.
const SAMPLE_CHARS_MAX: usize = 200;

/// Withholds lines that repeat.
#[derive(Default)]
pub(super) struct Repeats {
    /// By callsite: there are as many as the program has places that log.
    places: Mutex<HashMap<Identifier, Place>>,
}

/// The lines of one place in the program.
#[derive(Debug, Default)]
struct Place {
    since: Option<Instant>,
    written: u32,
    withheld: u64,
    /// The last line that was not written.
    sample: String,
}

/// Lines of an earlier window that were not written.
#[derive(Debug, PartialEq)]
struct Withheld {
    count: u64,
    sample: String,
}

impl Place {
    /// What was withheld in a window that is over.
    fn settle(&mut self, now: Instant) -> Option<Withheld> {
        if self.since.is_some_and(|since| now.saturating_duration_since(since) < WINDOW) {
            return None;
        }
        let place = std::mem::take(self);
        (place.withheld > 0).then_some(Withheld { count: place.withheld, sample: place.sample })
    }

    /// Whether one more line is written.
    fn admit(&mut self, now: Instant, lines_max: u32, line: impl FnOnce() -> String) -> bool {
        self.since.get_or_insert(now);
        if self.written < lines_max {
            self.written += 1;
            return true;
        }
        self.withheld += 1;
        self.sample = line();
        false
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // Whoever asks for more than the usual lines gets them all.
        if *metadata.level() > Level::INFO || metadata.target() == COUNTS {
            return true;
        }
        let now = Instant::now();
        let lines_max = if metadata.target() == FRAMES { 1 } else { LINES_MAX };
        let (admitted, withheld) = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            let withheld: Vec<Withheld> = places.values_mut().filter_map(|place| place.settle(now)).collect();
            let admitted = places.entry(metadata.callsite()).or_default().admit(now, lines_max, || sample(event));
            (admitted, withheld)
        };
        for Withheld { count, sample } in withheld {
            tracing::warn!(target: COUNTS, "{count} more lines of this kind were not written, the last: {sample}");
        }
        admitted
    }
}

/// The beginning of an event's message.
fn sample(event: &Event<'_>) -> String {
    let mut message = Sample::default();
    event.record(&mut message);
    message.0
}

#[derive(Default)]
struct Sample(String);

impl Visit for Sample {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}").chars().take(SAMPLE_CHARS_MAX).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_repeat_are_counted_and_the_count_comes_with_the_next_minute() {
        let (mut place, begun) = (Place::default(), Instant::now());
        let mut written = 0;
        for number in 0..1_800_u32 {
            let now = begun + Duration::from_millis(u64::from(number) * 1_000 / 30);
            assert_eq!(place.settle(now), None);
            written += u32::from(place.admit(now, 1, || format!("frame {number}")));
        }
        assert_eq!(written, 1);
        let next = begun + WINDOW;
        assert_eq!(place.settle(next), Some(Withheld { count: 1_799, sample: "frame 1799".into() }));
        assert!(place.admit(next, 1, String::new));
        assert_eq!(place.settle(next + WINDOW), None, "nothing was withheld");
    }
}
