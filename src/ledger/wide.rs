//! Counts as analysts lay them out: one row an interval, a column a class.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::ledger::interval::Way;
use crate::ledger::table;
use crate::ledger::wire::IntervalWire;

/// One cell of the table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Empty,
    Text(String),
    Count(u64),
    Ratio(f64),
}

impl Cell {
    /// As a cell of a CSV file, never a formula.
    #[must_use]
    pub fn csv(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Text(text) => table::text(text),
            Self::Count(count) => count.to_string(),
            Self::Ratio(ratio) => ratio.to_string(),
        }
    }
}

/// The layout of a range: the same columns for all of its intervals.
#[derive(Clone, Debug)]
pub struct Wide {
    classes: Vec<String>,
    ways: Vec<Way>,
    zone: TimeZone,
}

impl Wide {
    #[must_use]
    pub const fn new(classes: Vec<String>, ways: Vec<Way>, zone: TimeZone) -> Self {
        Self { classes, ways, zone }
    }

    /// The layout for intervals that are all there already.
    #[must_use]
    pub fn of(intervals: &[IntervalWire], zone: TimeZone) -> Self {
        let counts = intervals.first().map(|interval| interval.counts.as_slice()).unwrap_or_default();
        let classes = counts.first().map(|way| way.classes.keys().cloned().collect()).unwrap_or_default();
        let way =
            |way: &crate::ledger::wire::WayCounts| Way { line: way.line.clone(), direction: way.direction.clone() };
        Self::new(classes, counts.iter().map(way).collect(), zone)
    }

    /// Each class over all lines and directions, then, where there are several, each class of each.
    #[must_use]
    pub fn columns(&self) -> Vec<String> {
        let mut columns: Vec<String> = ["from", "to", "from_local", "total"].map(str::to_owned).into();
        columns.extend(self.classes.iter().cloned());
        for way in self.several() {
            let names: Vec<&str> = [&way.line, &way.direction].into_iter().flatten().map(String::as_str).collect();
            columns.extend(self.classes.iter().map(|class| format!("{class} ({})", names.join(" "))));
        }
        columns.extend(["coverage_ratio", "reasons"].map(str::to_owned));
        columns
    }

    fn several(&self) -> &[Way] {
        if self.ways.len() > 1 { &self.ways } else { &[] }
    }

    /// The moment on the clock of the site.
    #[must_use]
    pub fn local(&self, at: Timestamp) -> DateTime {
        at.to_zoned_datetime(self.zone.clone()).datetime()
    }

    /// The row of one interval. What was not watched is empty.
    #[must_use]
    pub fn row(&self, interval: &IntervalWire) -> Vec<Cell> {
        let mut cells = vec![
            Cell::Text(interval.from.to_string()),
            Cell::Text(interval.to.to_string()),
            Cell::Text(table::local(interval.from, &self.zone)),
            number(interval.total),
        ];
        let of_class = |class: &String, way: Option<&Way>| {
            let counts = interval.counts.iter().filter(|counts| {
                way.is_none_or(|way| (&way.line, &way.direction) == (&counts.line, &counts.direction))
            });
            let found: Vec<u64> = counts.filter_map(|counts| *counts.classes.get(class)?).collect();
            let watched = interval.total.is_some();
            number(watched.then(|| found.iter().sum()))
        };
        cells.extend(self.classes.iter().map(|class| of_class(class, None)));
        for way in self.several() {
            cells.extend(self.classes.iter().map(|class| of_class(class, Some(way))));
        }
        let reasons: Vec<_> = interval.reasons.iter().map(|(reason, seconds)| format!("{reason}:{seconds}")).collect();
        cells.push(interval.coverage_ratio.map_or(Cell::Empty, Cell::Ratio));
        cells.push(if reasons.is_empty() { Cell::Empty } else { Cell::Text(reasons.join(" ")) });
        cells
    }
}

fn number(count: Option<u64>) -> Cell {
    count.map_or(Cell::Empty, Cell::Count)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ledger::wire::WayCounts;

    fn interval(vehicles: Option<(u64, u64)>) -> IntervalWire {
        let way = |direction: &str, car: Option<u64>| WayCounts {
            line: Some("gate".into()),
            direction: Some(direction.into()),
            total: car,
            classes: BTreeMap::from([("car".to_owned(), car)]),
        };
        IntervalWire {
            from: "2026-05-04T12:00:00Z".parse().unwrap(),
            to: "2026-05-04T13:00:00Z".parse().unwrap(),
            local_date: "2026-05-04".parse().unwrap(),
            timezone: "Europe/Berlin".to_owned(),
            coverage_ratio: Some(if vehicles.is_some() { 1.0 } else { 0.0 }),
            reasons: if vehicles.is_some() { BTreeMap::new() } else { BTreeMap::from([("off", 3_600.0)]) },
            total: vehicles.map(|(north, south)| north + south),
            counts: vec![way("north", vehicles.map(|it| it.0)), way("=south", vehicles.map(|it| it.1))],
        }
    }

    #[test]
    fn one_row_an_interval_has_each_class_and_each_direction_and_nothing_where_nobody_watched() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let (seen, unseen) = (interval(Some((3, 4))), interval(None));
        let wide = Wide::of(std::slice::from_ref(&seen), zone);
        let columns = wide.columns();
        let expected = ["from", "to", "from_local", "total", "car", "car (gate north)", "car (gate =south)"];
        assert_eq!(columns[..7], expected);
        let row: Vec<_> = wide.row(&seen).iter().map(Cell::csv).collect();
        assert_eq!(row[2..], ["2026-05-04T14:00:00+02:00", "7", "7", "3", "4", "1", ""]);
        let row: Vec<_> = wide.row(&unseen).iter().map(Cell::csv).collect();
        assert_eq!(row[3..], ["", "", "", "", "0", "off:3600"]);
        assert_eq!(row.len(), columns.len());
    }
}
