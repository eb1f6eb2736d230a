//! What goes into the ledger: the vehicles that passed, and when the unit was looking.

use serde::{Deserialize, Serialize};

use crate::clock::Stamp;
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
    /// When it is counted: the crossing of the line, or the middle of the track without one.
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

/// A stretch of time in which the unit was watching, or was not for one reason. Stretches follow one another without
/// overlap; what no stretch covers was [`Gap::Restart`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchSpan {
    pub from: Stamp,
    pub until: Stamp,
    /// None: watching.
    pub gap: Option<Gap>,
}
