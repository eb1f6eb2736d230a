//! What goes into the ledger: the vehicles that passed, and when the unit was looking.

use std::str::FromStr;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::clock::Stamp;
use crate::error::Error;
use crate::record::LabelProbability;

/// The class of a passage for which there is too little evidence, or whose evidence disagrees.
pub const UNCLASSIFIED: &str = "unclassified";

/// One vehicle that passed, once.
#[derive(Clone, Debug, PartialEq)]
pub struct Passage {
    /// UUID, given when the track ends: a passage that is recorded twice is one row.
    pub id: String,
    /// A label of the model's attribute `type`, or [`UNCLASSIFIED`].
    pub class: String,
    /// Of the class, 0…1: the consensus over the track's crops; 0 when unclassified.
    pub confidence: f32,
    /// The consensus itself, most probable first; empty when no crop was good enough.
    pub votes: Vec<LabelProbability>,
    /// How many crops were classified.
    pub crops: u32,
    /// Name of the counting line that was crossed; none where no lines are configured.
    pub line: Option<String>,
    /// A name that the line gives, or none where it is unknown.
    pub direction: Option<String>,
    /// Name of the lane, where lanes are configured.
    pub lane: Option<String>,
    /// Kilometres an hour, where a ground homography is configured.
    pub speed_kmh: Option<f32>,
    /// First and last frame of the track.
    pub started: Stamp,
    pub ended: Stamp,
    /// When it is counted: the crossing of the line, or without one when it was seen last.
    pub counted: Stamp,
    pub model: String,
    pub model_version: String,
    /// JPEG of the best crop, where the configuration keeps crops.
    pub crop: Option<Vec<u8>>,
}

/// Why nothing was counted for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gap {
    /// No camera is configured, or a replay has ended.
    Off,
    /// The camera cannot be opened, or has gone.
    CameraDown,
    /// Frames come, but the picture stands still.
    Frozen,
    /// Black, overexposed or covered.
    Obscured,
    /// Frames came faster than they could be looked at, by more than the tracker bridges.
    Overload,
    /// The unit was starting, stopping or without power.
    Restart,
    /// The wall clock jumped: the interval's place in time is not known.
    Clock,
}

impl Gap {
    pub const ALL: [Self; 7] =
        [Self::Off, Self::CameraDown, Self::Frozen, Self::Obscured, Self::Overload, Self::Restart, Self::Clock];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::CameraDown => "camera_down",
            Self::Frozen => "frozen",
            Self::Obscured => "obscured",
            Self::Overload => "overload",
            Self::Restart => "restart",
            Self::Clock => "clock",
        }
    }
}

impl FromStr for Gap {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|gap| gap.name() == text)
            .ok_or_else(|| Error::validation(format!("Unknown reason {text:?} for not watching.")))
    }
}

/// A stretch of time in which the unit was watching, or was not for one reason. Stretches follow one another without
/// overlap; what no stretch covers was [`Gap::Restart`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoverageSpan {
    pub from: Stamp,
    pub until: Stamp,
    /// None: watching.
    pub gap: Option<Gap>,
}

/// A passage with its place in the ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct PassageRow {
    /// Goes up in the order of recording and is never used again; what resumes behind it misses nothing.
    pub id: i64,
    /// The crop stays in the store.
    pub passage: Passage,
}

/// The slots that are kept: everything longer is put together from these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SlotWidth {
    FiveMinutes,
    Hour,
    /// A day of the unit's time zone, with 23 or 25 hours when its clocks change.
    Day,
}

impl SlotWidth {
    pub const ALL: [Self; 3] = [Self::FiveMinutes, Self::Hour, Self::Day];

    /// Nominal seconds: the name of the width in the store.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        match self {
            Self::FiveMinutes => 300,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }

    /// The slot that `at` falls into: its start, and the start of the next one. Days and hours begin as `zone` has them; five
    /// minutes at multiples since 1970 UTC, which is the same in every zone of today.
    #[must_use]
    pub fn slot(self, at: Timestamp, zone: &TimeZone) -> (Timestamp, Timestamp) {
        match self {
            Self::FiveMinutes => part(at, self.seconds(), 0),
            Self::Hour => hour(at, zone),
            Self::Day => day(at, zone).unwrap_or((at, at)),
        }
    }
}

/// The part of so many seconds that `at` falls into on a clock that is `offset` seconds ahead of UTC.
fn part(at: Timestamp, seconds: i64, offset: i64) -> (Timestamp, Timestamp) {
    let start = (at.as_second() + offset).div_euclid(seconds) * seconds - offset;
    let moment = |second| Timestamp::from_second(second).unwrap_or(at);
    (moment(start), moment(start + seconds))
}

/// The hour of the zone's clock. Where the clock is set by half an hour (Lord Howe), the hour in which that happens has two parts
/// or only half of its length: no slot contains the change.
fn hour(at: Timestamp, zone: &TimeZone) -> (Timestamp, Timestamp) {
    let offset = |at: Timestamp| i64::from(zone.to_offset(at).seconds());
    let second = SignedDuration::from_secs(1);
    let (mut start, mut end) = part(at, SlotWidth::Hour.seconds(), offset(at));
    if offset(start) != offset(at)
        && let Some(change) = zone.preceding(at.saturating_add(second).unwrap_or(at)).next()
    {
        start = start.max(change.timestamp());
    }
    if offset(end.saturating_sub(second).unwrap_or(at)) != offset(at)
        && let Some(change) = zone.following(at).next()
    {
        end = end.min(change.timestamp());
    }
    (start, end)
}

/// None only at the ends of the calendar.
fn day(at: Timestamp, zone: &TimeZone) -> Option<(Timestamp, Timestamp)> {
    let start = at.to_zoned_datetime(zone.clone()).start_of_day().ok()?;
    let next = start.tomorrow().ok()?.start_of_day().ok()?;
    Some((start.timestamp(), next.timestamp()))
}

/// How many vehicles of one kind passed in one slot; never zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// When the slot starts.
    pub slot: Timestamp,
    pub line: Option<String>,
    pub direction: Option<String>,
    pub class: String,
    pub vehicles: u64,
}

/// How much of one slot the unit was watching, or was not for one reason; never nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// When the slot starts.
    pub slot: Timestamp,
    /// None: watching.
    pub gap: Option<Gap>,
    pub milliseconds: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lengths in minutes of the hours of a local day.
    fn hours(zone: &str, day: &str) -> Vec<i64> {
        let zone = TimeZone::get(zone).unwrap();
        let noon = day.parse::<jiff::civil::Date>().unwrap().at(12, 0, 0, 0).to_zoned_datetime(zone.clone()).unwrap();
        let (start, end) = SlotWidth::Day.slot(noon.timestamp(), &zone);
        let (mut at, mut minutes) = (start, Vec::new());
        while at < end {
            let (from, until) = SlotWidth::Hour.slot(at, &zone);
            assert_eq!(from, at, "a slot begins where the one before ends");
            let within = until.checked_sub(SignedDuration::from_secs(1)).unwrap();
            assert_eq!(
                SlotWidth::Hour.slot(within, &zone),
                (from, until),
                "one slot, from its first to its last second"
            );
            minutes.push(until.duration_since(from).as_mins());
            at = until;
        }
        assert_eq!(at, end, "the day ends with an hour");
        minutes
    }

    #[test]
    fn hours_are_those_of_the_clock_at_the_site() {
        for zone in
            ["Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe", "Europe/Berlin", "UTC"]
        {
            assert_eq!(hours(zone, "2026-06-15"), [60; 24], "{zone}");
        }
        assert_eq!(hours("Europe/Berlin", "2026-03-29").len(), 23);
        assert_eq!(hours("Europe/Berlin", "2026-10-25").len(), 25);
        assert_eq!(hours("America/St_Johns", "2026-03-08"), [60; 23]);
        assert_eq!(hours("America/St_Johns", "2026-11-01"), [60; 25]);
        let (spring, autumn) = (hours("Australia/Lord_Howe", "2026-10-04"), hours("Australia/Lord_Howe", "2026-04-05"));
        assert_eq!((spring.len(), spring.iter().sum::<i64>()), (24, 23 * 60 + 30), "{spring:?}");
        assert_eq!((autumn.len(), autumn.iter().sum::<i64>()), (25, 24 * 60 + 30), "{autumn:?}");
        let zone = TimeZone::get("Asia/Kolkata").unwrap();
        let at: Timestamp = "2026-05-01T06:45:00Z".parse().unwrap();
        let (from, until) = SlotWidth::Hour.slot(at, &zone);
        assert_eq!(
            (from.to_string(), until.to_string()),
            ("2026-05-01T06:30:00Z".into(), "2026-05-01T07:30:00Z".into())
        );
    }
}
