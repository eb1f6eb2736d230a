//! The time of a recording that is replayed as fast as possible: a clip's frames are as far apart as when they were taken,
//! however quick the machine is.

use std::time::Duration;

use crate::clock::Stamp;
use crate::frame::Frame;

/// Tells the times of a clip's frames.
pub(super) struct ClipClock {
    /// The recording's own frames a second.
    fps: f64,
    /// When the replay began.
    begun: Option<Stamp>,
}

impl ClipClock {
    pub fn new(fps: f64) -> Self {
        Self { fps, begun: None }
    }

    /// Seconds since the clip's beginning, and the moment of the frame: as if a camera had begun to take the clip when its
    /// replay began.
    pub fn moment(&mut self, frame: &Frame) -> (f64, Stamp) {
        if frame.sequence == 0 {
            self.begun = None;
        }
        let begun = self.begun.get_or_insert_with(|| frame.captured.clone());
        let at = frame.sequence as f64 / self.fps;
        let since = Duration::try_from_secs_f64(at).unwrap_or_default();
        let stamp = Stamp {
            // Only at the end of the calendar is there no such moment.
            at: begun.at.checked_add(since).unwrap_or(begun.at),
            monotonic: begun.monotonic.saturating_add(since),
            ..begun.clone()
        };
        (at, stamp)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::*;
    use crate::frame::Encoding;

    fn frame(sequence: u64, captured: f64) -> Frame {
        let monotonic = Duration::from_secs_f64(captured);
        let at = Timestamp::UNIX_EPOCH + monotonic;
        let captured = Stamp { at, monotonic, synced: true, boot_id: Arc::from("boot") };
        Frame { sequence, captured, bytes: Arc::from([]), encoding: Encoding::File, label: Arc::from("") }
    }

    #[test]
    fn frames_are_as_far_apart_as_when_they_were_taken() {
        let mut clock = ClipClock::new(12.5);
        // One is read at once, another after a pause of the machine: neither matters.
        let moments: Vec<_> = [(0, 100.0), (1, 100.001), (25, 107.0)].map(|(n, at)| clock.moment(&frame(n, at))).into();
        let times: Vec<_> = moments.iter().map(|(at, stamp)| (*at, stamp.monotonic.as_millis())).collect();
        assert_eq!(times, [(0.0, 100_000), (0.08, 100_080), (2.0, 102_000)]);
        assert!(moments.iter().all(|(_, stamp)| stamp.at == Timestamp::UNIX_EPOCH + stamp.monotonic && stamp.synced));
        // The source was opened anew.
        assert_eq!(clock.moment(&frame(0, 200.0)).1.monotonic, Duration::from_secs(200));
    }

    #[test]
    fn a_clip_without_end_ends_with_the_calendar() {
        let mut clock = ClipClock::new(0.001);
        clock.moment(&frame(0, 5.0));
        assert_eq!(clock.moment(&frame(u64::MAX, 6.0)).1.at, Timestamp::UNIX_EPOCH + Duration::from_secs(5));
    }
}
