//! Intervals of counts. Every interval of a range is there, and says how much of it was watched: nobody passed (zero) is
//! something else than nobody looked (none).

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::error::{Error, Result};
use crate::ledger::Scheme;
use crate::record::{Count, Coverage, Gap, SlotWidth};

/// Coverage is written every ten seconds; what is younger than this is not missing but not written yet.
const WRITTEN_WITHIN: SignedDuration = SignedDuration::from_secs(30);
/// Less than this is rounding, not time.
const ROUNDING_MS: i64 = 50;

/// How long an interval is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    FiveMinutes,
    QuarterHour,
    Hour,
    /// Of the unit's time zone.
    Day,
}

impl Interval {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FiveMinutes => "5m",
            Self::QuarterHour => "15m",
            Self::Hour => "1h",
            Self::Day => "1d",
        }
    }

    /// The width of the stored slots that it is put together from.
    #[must_use]
    pub const fn width(self) -> SlotWidth {
        match self {
            Self::FiveMinutes | Self::QuarterHour => SlotWidth::FiveMinutes,
            Self::Hour => SlotWidth::Hour,
            Self::Day => SlotWidth::Day,
        }
    }

    /// Nominal seconds.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        match self {
            Self::QuarterHour => 900,
            _ => self.width().seconds(),
        }
    }

    /// The interval that `at` falls into: its start, and the start of the next one.
    #[must_use]
    pub fn around(self, at: Timestamp, zone: &TimeZone) -> (Timestamp, Timestamp) {
        if self != Self::QuarterHour {
            return self.width().slot(at, zone);
        }
        let start = at.as_second().div_euclid(self.seconds()) * self.seconds();
        let moment = |second| Timestamp::from_second(second).unwrap_or(at);
        (moment(start), moment(start + self.seconds()))
    }
}

impl FromStr for Interval {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::FiveMinutes, Self::QuarterHour, Self::Hour, Self::Day]
            .into_iter()
            .find(|interval| interval.name() == text)
            .ok_or_else(|| Error::validation(format!("There is no interval {text:?}: use 5m, 15m, 1h or 1d.")))
    }
}

/// Why an interval has no counts, or not all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    Gap(Gap),
    /// The unit had never been started yet.
    BeforeFirstStart,
    /// Still to come.
    Future,
}

impl Reason {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gap(gap) => gap.name(),
            Self::BeforeFirstStart => "before_first_start",
            Self::Future => "future",
        }
    }
}

/// A line with one of its directions; both none where no lines are configured.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    pub line: Option<String>,
    pub direction: Option<String>,
}

/// One interval with its counts.
#[derive(Clone, Debug, PartialEq)]
pub struct IntervalCount {
    pub from: Timestamp,
    pub until: Timestamp,
    /// 0…1 of the time that has gone by; none before the interval begins.
    pub coverage_ratio: Option<f64>,
    /// Seconds not watched, by reason.
    pub reasons: BTreeMap<Reason, f64>,
    /// Vehicles by way, class by class in the scheme's order; none when nobody looked (and nobody was counted).
    pub vehicles: Option<BTreeMap<Way, Vec<u64>>>,
}

/// What the store says of a range.
#[derive(Clone, Copy, Debug)]
pub struct Ledger<'a> {
    pub counts: &'a [Count],
    pub coverage: &'a [Coverage],
    pub zone: &'a TimeZone,
    pub first_watch: Option<Timestamp>,
    pub watched_until: Timestamp,
    pub now: Timestamp,
}

/// A range of intervals in one scheme, each with the same ways and classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Intervals {
    pub ways: Vec<Way>,
    /// The scheme's classes, then those of earlier models that were counted in the range.
    pub classes: Vec<String>,
    pub intervals: Vec<IntervalCount>,
}

/// What the counts of a range are told apart by: the same in each of its intervals, however the range is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kinds {
    pub ways: Vec<Way>,
    /// The scheme's classes, then those of earlier models that were counted in the range.
    pub classes: Vec<String>,
}

impl Kinds {
    /// `configured` ways are there even when nobody took them.
    #[must_use]
    pub fn of<'a>(configured: Vec<Way>, counted: impl IntoIterator<Item = &'a Count>, scheme: &Scheme) -> Self {
        let mut ways: BTreeSet<Way> = configured.into_iter().collect();
        let mut classes: Vec<String> = scheme.class_names().map(str::to_owned).collect();
        let mut earlier = BTreeSet::new();
        for count in counted {
            ways.insert(way(count));
            let class = scheme.class_of(&count.class).filter(|class| !classes.iter().any(|known| known == class));
            earlier.extend(class.map(str::to_owned));
        }
        if ways.is_empty() {
            ways.insert(Way { line: None, direction: None });
        }
        classes.extend(earlier);
        Self { ways: ways.into_iter().collect(), classes }
    }
}

fn way(count: &Count) -> Way {
    Way { line: count.line.clone(), direction: count.direction.clone() }
}

/// Every interval from the one that `from` falls into to the one before `to`, as the ledger has them.
#[must_use]
pub fn intervals(
    interval: Interval,
    from: Timestamp,
    to: Timestamp,
    ledger: Ledger<'_>,
    scheme: &Scheme,
    kinds: Kinds,
) -> Intervals {
    let Kinds { ways, classes } = kinds;
    let empty: BTreeMap<Way, Vec<u64>> = ways.iter().map(|way| (way.clone(), vec![0; classes.len()])).collect();
    let mut intervals = Vec::new();
    let (mut counts, mut coverage) = (ledger.counts, ledger.coverage);
    let mut at = from;
    while at < to {
        let (start, end) = interval.around(at, ledger.zone);
        let mut found = covered(start, end, taken(&mut coverage, end, |part| part.slot), ledger);
        let mine = taken(&mut counts, end, |count| count.slot);
        if found.coverage_ratio.is_some_and(|ratio| ratio > 0.0) || !mine.is_empty() {
            let mut vehicles = empty.clone();
            for count in mine {
                let class = scheme.class_of(&count.class);
                let column = classes.iter().position(|known| Some(known.as_str()) == class);
                if let (Some(column), Some(row)) = (column, vehicles.get_mut(&way(count))) {
                    row[column] += count.vehicles;
                }
            }
            found.vehicles = Some(vehicles);
        }
        intervals.push(found);
        // Only at the end of the calendar is there no next interval.
        at = if end > at { end } else { to };
    }
    Intervals { ways, classes, intervals }
}

/// Takes what lies before `end` from the front of a sorted list.
fn taken<'a, T>(rest: &mut &'a [T], end: Timestamp, slot: impl Fn(&T) -> Timestamp) -> &'a [T] {
    let (mine, others) = rest.split_at(rest.partition_point(|item| slot(item) < end));
    *rest = others;
    mine
}

/// The interval without its counts.
fn covered(start: Timestamp, end: Timestamp, parts: &[Coverage], ledger: Ledger<'_>) -> IntervalCount {
    let mut reasons: BTreeMap<Reason, f64> = BTreeMap::new();
    let mut add = |reason, milliseconds: i64| {
        if milliseconds > ROUNDING_MS {
            *reasons.entry(reason).or_default() += seconds(milliseconds);
        }
    };
    let behind = ledger.now.duration_since(ledger.watched_until);
    let waiting = behind >= SignedDuration::ZERO && behind <= WRITTEN_WITHIN;
    let known_until = if waiting { ledger.watched_until } else { ledger.now };
    let elapsed = milliseconds(start, end.min(known_until));
    if elapsed == 0 {
        add(Reason::Future, milliseconds(start, end));
        return IntervalCount { from: start, until: end, coverage_ratio: None, reasons, vehicles: None };
    }
    let first = ledger.first_watch.unwrap_or(Timestamp::MAX);
    let before = milliseconds(start, end.min(known_until).min(first));
    add(Reason::BeforeFirstStart, before);
    let mut watched = 0;
    let mut accounted = before;
    for part in parts {
        let milliseconds = i64::try_from(part.milliseconds).unwrap_or(i64::MAX);
        accounted += milliseconds;
        match part.gap {
            None => watched += milliseconds,
            Some(gap) => add(Reason::Gap(gap), milliseconds),
        }
    }
    // What nothing accounts for, the unit was not there; what is accounted for twice, the clock was set back.
    add(Reason::Gap(Gap::Restart), elapsed - accounted);
    add(Reason::Gap(Gap::Clock), accounted - elapsed);
    let missing = elapsed - watched;
    let ratio = if missing <= ROUNDING_MS { 1.0 } else { seconds(watched) / seconds(elapsed) };
    IntervalCount { from: start, until: end, coverage_ratio: Some(ratio), reasons, vehicles: None }
}

fn milliseconds(from: Timestamp, until: Timestamp) -> i64 {
    (until.as_millisecond() - from.as_millisecond()).max(0)
}

/// Exact: a day has far fewer milliseconds than a double has digits.
fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intervals(
        interval: Interval,
        from: Timestamp,
        to: Timestamp,
        ledger: Ledger<'_>,
        scheme: &Scheme,
        known: &[Way],
    ) -> Intervals {
        let kinds = Kinds::of(known.to_vec(), ledger.counts, scheme);
        super::intervals(interval, from, to, ledger, scheme, kinds)
    }

    fn at(second: i64) -> Timestamp {
        // 2026-05-04T12:00:00Z
        Timestamp::from_second(1_777_896_000 + second).unwrap()
    }

    fn count(second: i64, direction: &str, class: &str, vehicles: u64) -> Count {
        let (line, direction) = (Some("gate".into()), Some(direction.into()));
        Count { slot: at(second), line, direction, class: class.into(), vehicles }
    }

    fn part(second: i64, gap: Option<Gap>, seconds: u64) -> Coverage {
        Coverage { slot: at(second), gap, milliseconds: seconds * 1_000 }
    }

    fn ledger<'a>(counts: &'a [Count], coverage: &'a [Coverage], zone: &'a TimeZone, now: i64) -> Ledger<'a> {
        Ledger { counts, coverage, zone, first_watch: Some(at(0)), watched_until: at(now), now: at(now) }
    }

    /// (coverage in percent, reasons, total) of each interval.
    fn summary(found: &Intervals) -> Vec<(Option<i64>, String, Option<u64>)> {
        let line = |interval: &IntervalCount| {
            let reasons: Vec<_> =
                interval.reasons.iter().map(|(reason, seconds)| format!("{} {seconds}", reason.name())).collect();
            (
                interval.coverage_ratio.map(|ratio| (ratio * 100.0).round() as i64),
                reasons.join(", "),
                interval.vehicles.as_ref().map(|vehicles| vehicles.values().flatten().sum()),
            )
        };
        found.intervals.iter().map(line).collect()
    }

    #[test]
    fn nobody_passed_is_something_else_than_nobody_looked() {
        let counts = [count(300, "north", "car", 2), count(300, "south", "bus", 1)];
        let coverage = [
            part(0, None, 300),
            part(300, None, 150),
            part(300, Some(Gap::Frozen), 150),
            part(600, Some(Gap::CameraDown), 300),
            // 900: nothing at all was written.
            part(1_200, None, 60),
        ];
        let native = Scheme::native(["background", "car", "bus"]);
        let zone = TimeZone::UTC;
        // The last stretch was written at 1,260, and it is 1,265 now.
        let facts = Ledger { now: at(1_265), ..ledger(&counts, &coverage, &zone, 1_260) };
        let found = intervals(Interval::FiveMinutes, at(-300), at(1_800), facts, &native, &[]);
        assert_eq!(
            summary(&found),
            [
                (Some(0), "before_first_start 300".into(), None),
                (Some(100), String::new(), Some(0)),
                (Some(50), "frozen 150".into(), Some(3)),
                (Some(0), "camera_down 300".into(), None),
                (Some(0), "restart 300".into(), None),
                (Some(100), String::new(), Some(0)),
                (None, "future 300".into(), None),
            ]
        );
        assert_eq!(found.classes, ["bus", "car", "unclassified"]);
        // Ways that were taken anywhere in the range are there everywhere in it.
        let zero = found.intervals[1].vehicles.as_ref().unwrap();
        assert!(zero.len() == 2 && zero.values().all(|row| row == &[0, 0, 0]), "{zero:?}");
        let ways: Vec<_> = found.intervals[2].vehicles.as_ref().unwrap().values().cloned().collect();
        assert_eq!(ways, [[0, 2, 0], [1, 0, 0]]);
    }

    #[test]
    fn quarter_hours_and_days_add_up_and_a_configured_way_is_there_before_anybody_took_it() {
        let counts = [count(0, "north", "car", 2), count(300, "north", "suv", 3), count(900, "north", "bicycle", 1)];
        let coverage = [part(0, None, 300), part(300, None, 300), part(600, None, 300), part(900, None, 900)];
        let tls = crate::ledger::scheme::SchemeName::Tls.load([]).unwrap();
        let zone = TimeZone::UTC;
        let south = Way { line: Some("gate".into()), direction: Some("south".into()) };
        let facts = ledger(&counts, &coverage, &zone, 1_800);
        let found = intervals(Interval::QuarterHour, at(10), at(1_800), facts, &tls, &[south]);
        // The bicycle is no motor vehicle.
        assert_eq!(summary(&found), [(Some(100), String::new(), Some(5)), (Some(100), String::new(), Some(0))]);
        assert_eq!((found.intervals[0].from, found.ways.len()), (at(0), 2));
        let hour = [part(0, None, 3_600)];
        let late = Ledger { coverage: &hour, ..ledger(&counts[..1], &[], &zone, 86_400) };
        let days = intervals(Interval::Hour, at(0), at(1), late, &tls, &[]);
        assert_eq!(summary(&days), [(Some(100), String::new(), Some(2))]);
    }

    #[test]
    fn days_have_as_many_hours_as_they_have() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let from: Timestamp = "2026-03-28T23:00:00Z".parse().unwrap();
        let to: Timestamp = "2026-03-30T22:00:00Z".parse().unwrap();
        let native = Scheme::native([]);
        let facts = Ledger { now: to, ..ledger(&[], &[], &zone, 0) };
        let found = intervals(Interval::Day, from, to, facts, &native, &[]);
        let hours: Vec<_> = found.intervals.iter().map(|day| day.until.duration_since(day.from).as_hours()).collect();
        assert_eq!(hours, [23, 24]);
    }

    #[test]
    fn time_that_was_counted_twice_is_the_clocks_doing() {
        let coverage = [part(0, None, 400)];
        let zone = TimeZone::UTC;
        let native = Scheme::native([]);
        let found = intervals(Interval::FiveMinutes, at(0), at(1), ledger(&[], &coverage, &zone, 900), &native, &[]);
        assert_eq!(summary(&found), [(Some(100), "clock 100".into(), Some(0))]);
    }

    #[test]
    fn what_is_not_written_yet_is_not_missing_until_it_is_late() {
        let coverage = [part(0, None, 100)];
        let (zone, native) = (TimeZone::UTC, Scheme::native([]));
        let seen = |now| {
            let facts = Ledger { now: at(now), ..ledger(&[], &coverage, &zone, 100) };
            summary(&intervals(Interval::FiveMinutes, at(0), at(1), facts, &native, &[])).remove(0)
        };
        assert_eq!(seen(120), (Some(100), String::new(), Some(0)));
        assert_eq!(seen(200), (Some(50), "restart 100".into(), Some(0)));
    }

    #[test]
    fn a_counted_vehicle_is_told_even_when_the_coverage_was_lost() {
        let (zone, native) = (TimeZone::UTC, Scheme::native(["car"]));
        let counts = [count(0, "north", "car", 1)];
        let found = intervals(Interval::FiveMinutes, at(0), at(1), ledger(&counts, &[], &zone, 900), &native, &[]);
        assert_eq!(summary(&found), [(Some(0), "restart 300".into(), Some(1))]);
    }
}
