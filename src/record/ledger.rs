//! What goes into the ledger: the vehicles that passed, and when the unit was looking.

use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
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

    /// The slot that `at` falls into: its start, and the start of the next one. Days begin as `zone` has them; the other
    /// widths at multiples since 1970 UTC.
    #[must_use]
    pub fn slot(self, at: Timestamp, zone: &TimeZone) -> (Timestamp, Timestamp) {
        if self == Self::Day {
            return day(at, zone).unwrap_or((at, at));
        }
        let start = at.as_second().div_euclid(self.seconds()) * self.seconds();
        let moment = |second| Timestamp::from_second(second).unwrap_or(at);
        (moment(start), moment(start + self.seconds()))
    }
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
