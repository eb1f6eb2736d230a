//! The ledger's types as they go out, over HTTP and from the command line.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use salvo::oapi::ToSchema;
use serde::{Deserialize, Serialize};

use crate::ledger::interval::{IntervalCount, Intervals, Way};
use crate::ledger::{Interval, Scheme};
use crate::record::PassageRow;

/// A vehicle that passed.
#[derive(Debug, Serialize, ToSchema)]
pub struct PassageWire {
    /// UUID.
    pub id: String,
    /// Goes up in the order of recording; `Last-Event-ID` of `/api/events`.
    pub sequence: i64,
    /// A label of the model's attribute `type` by consensus over the track, or `unclassified`.
    pub class: String,
    /// Of the class, 0…1; 0 when unclassified.
    pub confidence: f64,
    /// The consensus itself, most probable first.
    pub votes: Vec<Vote>,
    /// Pictures that voted.
    pub crops: u32,
    /// Name of the counting line that was crossed; null without lines.
    pub line: Option<String>,
    /// Null where unknown.
    pub direction: Option<String>,
    /// Null without lanes.
    pub lane: Option<String>,
    /// Null without a ground homography.
    pub speed_kmh: Option<f64>,
    /// First frame of the track; RFC 3339, UTC.
    #[salvo(schema(value_type = String, format = DateTime))]
    pub started_at: Timestamp,
    /// Last frame of the track.
    #[salvo(schema(value_type = String, format = DateTime))]
    pub ended_at: Timestamp,
    /// Decides the interval: the crossing of the line, or without one when it was seen last.
    #[salvo(schema(value_type = String, format = DateTime))]
    pub counted_at: Timestamp,
    /// False while the times may still be put right.
    pub clock_synced: bool,
    pub boot_id: String,
    pub model: String,
    pub model_version: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Vote {
    pub label: String,
    /// 0…1.
    pub probability: f64,
}

/// Without the digits that a single-precision number does not have.
fn widened(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_default()
}

impl From<PassageRow> for PassageWire {
    fn from(row: PassageRow) -> Self {
        let PassageRow { id, passage } = row;
        let votes = passage.votes.into_iter();
        Self {
            id: passage.id,
            sequence: id,
            class: passage.class,
            confidence: widened(passage.confidence),
            votes: votes.map(|vote| Vote { label: vote.label, probability: widened(vote.probability) }).collect(),
            crops: passage.crops,
            line: passage.line,
            direction: passage.direction,
            lane: passage.lane,
            speed_kmh: passage.speed_kmh.map(widened),
            started_at: passage.started.at,
            ended_at: passage.ended.at,
            counted_at: passage.counted.at,
            clock_synced: passage.counted.synced,
            boot_id: passage.counted.boot_id.to_string(),
            model: passage.model,
            model_version: passage.model_version,
        }
    }
}

/// Counts of a range, interval by interval without a hole.
#[derive(Debug, Serialize, ToSchema)]
pub struct CountsWire {
    /// `5m`, `15m`, `1h` or `1d`.
    pub interval: &'static str,
    /// Start of the first interval; RFC 3339, UTC.
    #[salvo(schema(value_type = String, format = DateTime))]
    pub from: Timestamp,
    /// End of the last interval.
    #[salvo(schema(value_type = String, format = DateTime))]
    pub to: Timestamp,
    /// Where days begin (IANA name).
    pub timezone: String,
    pub scheme: SchemeWire,
    /// Every interval of the range.
    pub intervals: Vec<IntervalWire>,
}

/// One interval.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct IntervalWire {
    #[salvo(schema(value_type = String, format = DateTime))]
    pub from: Timestamp,
    #[salvo(schema(value_type = String, format = DateTime))]
    pub to: Timestamp,
    /// The day that it begins on at the site: `2026-05-01`.
    #[salvo(schema(value_type = String, format = Date))]
    pub local_date: Date,
    /// The site's time zone (IANA name), whose day that is.
    pub timezone: String,
    /// 0…1: how much of the interval (of what has gone by of it) the unit was watching; null before it begins.
    pub coverage_ratio: Option<f64>,
    /// Seconds not watched by reason: `off`, `camera_down`, `frozen`, `obscured`, `overload`, `restart`, `clock`,
    /// `before_first_start`, `future`; empty when all was watched.
    pub reasons: BTreeMap<&'static str, f64>,
    /// Vehicles of all classes and directions: 0 when the unit watched and nobody passed, null when it was not watching.
    pub total: Option<u64>,
    /// One entry for each line and direction.
    pub counts: Vec<WayCounts>,
}

/// The counts of one line and direction.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct WayCounts {
    /// Null without lines.
    pub line: Option<String>,
    /// Null where unknown.
    pub direction: Option<String>,
    pub total: Option<u64>,
    /// By class, every class of the scheme: 0 watched and nobody passed, null not watching.
    pub classes: BTreeMap<String, Option<u64>>,
}

/// A class scheme, with what it cannot tell.
#[derive(Debug, Serialize, ToSchema)]
pub struct SchemeWire {
    /// `native`, `tls8+1` or `coba`.
    pub name: String,
    pub version: String,
    pub title: String,
    pub source: String,
    pub classes: Vec<ClassWire>,
    /// Types that the scheme does not count.
    pub left_out: Vec<NoteWire>,
    /// Classes of the scheme that a camera cannot tell: they are not counted as zero but not at all.
    pub cannot_tell: Vec<NoteWire>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ClassWire {
    pub class: String,
    /// The scheme's own number.
    pub code: Option<u32>,
    /// The model's types that it is made of.
    pub types: Vec<String>,
    pub note: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct NoteWire {
    pub name: String,
    /// The classes that its vehicles are counted in instead.
    pub counted_as: Vec<String>,
    pub note: String,
}

impl From<&Scheme> for SchemeWire {
    fn from(scheme: &Scheme) -> Self {
        let class = |class: &crate::ledger::scheme::Class| ClassWire {
            class: class.class.clone(),
            code: class.code,
            types: class.types.clone(),
            note: class.note.clone(),
        };
        let left_out = scheme.left_out.iter();
        let untold = scheme.cannot_tell.iter();
        Self {
            name: scheme.name.clone(),
            version: scheme.version.clone(),
            title: scheme.title.clone(),
            source: scheme.source.clone(),
            classes: scheme.classes.iter().map(class).collect(),
            left_out: left_out
                .map(|left| NoteWire { name: left.kind.clone(), counted_as: Vec::new(), note: left.note.clone() })
                .collect(),
            cannot_tell: untold
                .map(|untold| NoteWire {
                    name: untold.class.clone(),
                    counted_as: untold.counted_as.clone(),
                    note: untold.note.clone(),
                })
                .collect(),
        }
    }
}

impl CountsWire {
    /// The intervals as they go out.
    #[must_use]
    pub fn new(interval: Interval, zone: &TimeZone, scheme: &Scheme, found: &Intervals) -> Self {
        let ends = found.intervals.first().zip(found.intervals.last());
        let (from, to) = ends.map_or_else(Default::default, |(first, last)| (first.from, last.until));
        Self {
            interval: interval.name(),
            from,
            to,
            timezone: zone.iana_name().unwrap_or("UTC").to_owned(),
            scheme: scheme.into(),
            intervals: found
                .intervals
                .iter()
                .map(|one| IntervalWire::new(one, &found.ways, &found.classes, zone))
                .collect(),
        }
    }
}

impl IntervalWire {
    /// One interval, with every way and class of its range.
    #[must_use]
    pub fn new(found: &IntervalCount, ways: &[Way], classes: &[String], zone: &TimeZone) -> Self {
        let way = |way: &Way| {
            let row = found.vehicles.as_ref().and_then(|vehicles| vehicles.get(way));
            let cell = |column: usize| row.and_then(|row| row.get(column).copied());
            WayCounts {
                line: way.line.clone(),
                direction: way.direction.clone(),
                total: row.map(|row| row.iter().sum()),
                classes: classes.iter().enumerate().map(|(n, class)| (class.clone(), cell(n))).collect(),
            }
        };
        Self {
            from: found.from,
            to: found.until,
            local_date: zone.to_datetime(found.from).date(),
            timezone: zone.iana_name().unwrap_or("UTC").to_owned(),
            coverage_ratio: found.coverage_ratio.map(rounded),
            reasons: found.reasons.iter().map(|(reason, seconds)| (reason.name(), *seconds)).collect(),
            total: found.vehicles.as_ref().map(|vehicles| vehicles.values().flatten().sum()),
            counts: ways.iter().map(way).collect(),
        }
    }
}

/// Six digits: one second of a day is seen, watched (never 0) or missed (never 1).
fn rounded(ratio: f64) -> f64 {
    (ratio * 1e6).round() / 1e6
}

/// A technician's count of an interval, and what the unit had counted.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ValidationWire {
    /// UUID.
    pub id: String,
    #[salvo(schema(value_type = String, format = DateTime))]
    pub from: Timestamp,
    #[salvo(schema(value_type = String, format = DateTime))]
    pub to: Timestamp,
    /// `native`, `tls8+1` or `coba`.
    pub scheme: String,
    /// The counting line that was watched; null: all of them.
    pub line: Option<String>,
    /// Share of the five-minute slots around the interval that the unit was watching, when it was compared.
    pub coverage_ratio: Option<f64>,
    /// By direction and class, every pair that either side counted.
    pub classes: Vec<ClassError>,
    /// All of them together.
    pub total: TotalError,
    /// Vehicles that both sides put into the same class, of those the technician counted, 0…1; null when there were none.
    pub agreement: Option<f64>,
    pub note: Option<String>,
    /// Who counted.
    pub user: String,
    #[salvo(schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
}

/// One class (of one direction, where the technician named directions).
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClassError {
    /// Null: both directions together.
    pub direction: Option<String>,
    pub class: String,
    /// The technician's count.
    pub manual: u64,
    /// The unit's count.
    pub unit: u64,
    /// Unit less technician: positive when the unit counted too many.
    pub error: i64,
    /// Error as a share of the technician's count; null when that is 0.
    pub error_ratio: Option<f64>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TotalError {
    pub manual: u64,
    pub unit: u64,
    pub error: i64,
    pub error_ratio: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::rounded;

    const DAY_SECONDS: f64 = 86_400.0;

    #[test]
    fn one_second_of_a_day_is_told() {
        assert!(rounded(1.0 / DAY_SECONDS) > 0.0);
        assert!(rounded((DAY_SECONDS - 1.0) / DAY_SECONDS) < 1.0);
        assert_eq!((rounded(0.0), rounded(1.0)), (0.0, 1.0));
    }
}
