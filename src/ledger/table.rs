//! Tables as comma-separated values (RFC 4180): a header, CRLF, quotes where needed, and no cell that a spreadsheet would
//! take for a formula.

use std::io::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::error::{Error, Result};
use crate::ledger::wire::{IntervalWire, PassageWire};

/// Media type, with the header line that RFC 4180 lets one declare.
pub const MEDIA_TYPE: &str = "text/csv; charset=utf-8; header=present";

/// Columns of [`passage`].
pub const PASSAGE_COLUMNS: [&str; 17] = [
    "id",
    "sequence",
    "class",
    "confidence",
    "crops",
    "line",
    "direction",
    "lane",
    "speed_kmh",
    "started_at",
    "ended_at",
    "counted_at",
    "clock_synced",
    "boot_id",
    "model",
    "model_version",
    "votes",
];

/// Columns of [`interval`].
pub const INTERVAL_COLUMNS: [&str; 11] = [
    "from",
    "to",
    "line",
    "direction",
    "class",
    "vehicles",
    "coverage_ratio",
    "reasons",
    "local_date",
    "timezone",
    "from_local",
];

/// What Excel needs before a CSV file to take it for UTF-8.
pub const BYTE_ORDER_MARK: &str = "\u{feff}";

/// A table that is written row by row.
pub struct Table<W: Write>(csv::Writer<W>);

impl<W: Write> Table<W> {
    /// Begins with the header.
    ///
    /// # Errors
    /// Internal when it cannot be written.
    pub fn new(output: W, columns: &[&str]) -> Result<Self> {
        let writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(output);
        let mut table = Self(writer);
        table.row(columns)?;
        Ok(table)
    }

    /// One row; cells whose text comes from outside have been through [`text`].
    ///
    /// # Errors
    /// Internal when it cannot be written.
    pub fn row<S: AsRef<str>>(&mut self, cells: &[S]) -> Result<()> {
        self.0.write_record(cells.iter().map(AsRef::as_ref)).map_err(|error| match error.into_kind() {
            csv::ErrorKind::Io(cause) => unwritable(cause),
            other => unwritable(std::io::Error::other(format!("{other:?}"))),
        })
    }

    /// Hands on what is held back.
    ///
    /// # Errors
    /// Internal when it cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.0.flush().map_err(unwritable)
    }
}

/// A whole table in memory.
///
/// # Errors
/// Internal; memory always takes what is written to it.
pub fn in_memory(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut table = Table::new(&mut bytes, columns)?;
    for row in rows {
        table.row(&row)?;
    }
    table.flush()?;
    drop(table);
    Ok(bytes)
}

/// The message of a table that cannot be written; its cause is the writer's error.
pub const UNWRITABLE: &str = "The table cannot be written.";

fn unwritable(cause: std::io::Error) -> Error {
    Error::internal(UNWRITABLE).because(cause)
}

/// A cell that is a text. A spreadsheet takes one that begins so for a formula and runs it (OWASP, CSV injection); a leading
/// apostrophe makes it text. Numbers of ours, which may begin with a minus, are not passed through here.
#[must_use]
pub fn text(cell: &str) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) { format!("'{cell}") } else { cell.to_owned() }
}

/// The moment on the clock of the site, with its distance from UTC.
#[must_use]
pub fn local(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

fn text_of(cell: Option<&String>) -> String {
    cell.map_or_else(String::new, |cell| text(cell))
}

fn optional<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(String::new, ToString::to_string)
}

/// The row of one passage.
#[must_use]
pub fn passage(passage: &PassageWire) -> Vec<String> {
    let votes: Vec<_> = passage.votes.iter().map(|vote| format!("{}:{}", vote.label, vote.probability)).collect();
    vec![
        passage.id.clone(),
        passage.sequence.to_string(),
        text(&passage.class),
        passage.confidence.to_string(),
        passage.crops.to_string(),
        text_of(passage.line.as_ref()),
        text_of(passage.direction.as_ref()),
        text_of(passage.lane.as_ref()),
        optional(passage.speed_kmh.as_ref()),
        passage.started_at.to_string(),
        passage.ended_at.to_string(),
        passage.counted_at.to_string(),
        passage.clock_synced.to_string(),
        passage.boot_id.clone(),
        text(&passage.model),
        text(&passage.model_version),
        text(&votes.join(" ")),
    ]
}

/// The rows of one interval: one for each line, direction and class. An empty `vehicles` means that nobody looked.
pub fn interval<'a>(interval: &'a IntervalWire, zone: &TimeZone) -> impl Iterator<Item = Vec<String>> + use<'a> {
    let local = local(interval.from, zone);
    let reasons: Vec<_> = interval.reasons.iter().map(|(reason, seconds)| format!("{reason}:{seconds}")).collect();
    let reasons = reasons.join(" ");
    interval.counts.iter().flat_map(move |way| {
        let (reasons, local) = (reasons.clone(), local.clone());
        way.classes.iter().map(move |(class, vehicles)| {
            vec![
                interval.from.to_string(),
                interval.to.to_string(),
                text_of(way.line.as_ref()),
                text_of(way.direction.as_ref()),
                text(class),
                optional(vehicles.as_ref()),
                optional(interval.coverage_ratio.as_ref()),
                reasons.clone(),
                interval.local_date.to_string(),
                interval.timezone.clone(),
                local.clone(),
            ]
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_never_formulas() {
        let rows = [
            vec!["a,b".to_owned(), "say \"hi\"".to_owned()],
            vec![text("=HYPERLINK(\"x\")"), "-1.5".to_owned()],
            vec![text("@SUM(A1)"), text("-4")],
        ];
        let text = String::from_utf8(in_memory(&["one", "two"], rows).unwrap()).unwrap();
        assert_eq!(
            text,
            "one,two\r\n\"a,b\",\"say \"\"hi\"\"\"\r\n\"'=HYPERLINK(\"\"x\"\")\",-1.5\r\n'@SUM(A1),'-4\r\n"
        );
    }
}
