//! `export reports|classifications|passages|counts|audit`: to standard output, page by page, so that a year takes no more memory than an hour.

use std::io::{BufWriter, StdoutLock, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use indicatif::ProgressBar;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::api::{CLASSIFICATION_COLUMNS, REPORT_COLUMNS, StoredClassification, report_row};
use crate::cli::{Context, complain, progress, unwritable};
use crate::error::{Error, Result};
use crate::ledger::names::moment;
use crate::ledger::table::{self, Table};
use crate::ledger::wire::PassageWire;
use crate::record::AuditRow;
use crate::store::{AuditFilter, ClassificationFilter, PassageFilter, PassagePlace, ReportFilter, Store};

mod counts;
use counts::Counts;

/// The command was not written as it should be (sysexits leave it to the shell's custom).
const USAGE: u8 = 2;
/// Rows in memory at once.
const PAGE_ROWS: u32 = 500;

#[derive(Subcommand)]
pub enum ExportCommand {
    /// Vehicle reports, newest first
    Reports(Range),
    /// Classified pictures, newest first
    Classifications(Range),
    /// The vehicles that passed, oldest first
    Passages(Range),
    /// Counts by class, direction and interval; every interval of the range, an empty count where nobody was watching
    Counts(Counts),
    /// The audit trail, newest first
    Audit(Range),
}

#[derive(Args)]
pub struct Range {
    #[command(flatten)]
    span: Span,
    /// csv, or json: one object a line
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
}

#[derive(Args)]
pub struct Span {
    /// 2026-05-01, or 2026-05-01T12:00:00Z; days are those of the unit's time zone
    #[arg(long, value_name = "T")]
    from: String,
    /// The end, itself outside the range
    #[arg(long, value_name = "T")]
    to: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Csv,
    Json,
}

pub fn run(command: &ExportCommand, context: &Context) -> Result<ExitCode> {
    let zone = TimeZone::get(&context.loaded.config.unit.timezone)
        .map_err(|cause| Error::config("unit.timezone is no known time zone.").because(cause))?;
    let (range, counted) = match command {
        ExportCommand::Reports(range)
        | ExportCommand::Classifications(range)
        | ExportCommand::Passages(range)
        | ExportCommand::Audit(range) => (&range.span, None),
        ExportCommand::Counts(counts) => (&counts.span, Some(counts)),
    };
    let asked = span(range, &zone).and_then(|span| Ok((span, counted.map(Counts::kind).transpose()?)));
    let (span, counted) = match asked {
        Ok(asked) => asked,
        Err(error) => {
            complain(&error);
            return Ok(ExitCode::from(USAGE));
        }
    };
    let store = context.store()?;
    let done = match (command, counted) {
        (ExportCommand::Reports(range), _) => reports(&store, span, range.format),
        (ExportCommand::Classifications(range), _) => classifications(&store, span, range.format),
        (ExportCommand::Passages(range), _) => passages(&store, span, range.format),
        (ExportCommand::Counts(counts), Some(kind)) => counts::export(&store, context, span, counts, kind, &zone),
        (ExportCommand::Audit(range), _) => audit(&store, span, range.format),
        (ExportCommand::Counts(_), None) => Ok(()),
    };
    store.close();
    done.map(|()| ExitCode::SUCCESS)
}

fn span(range: &Span, zone: &TimeZone) -> Result<(Timestamp, Timestamp)> {
    let (from, to) = (moment(&range.from, zone)?, moment(&range.to, zone)?);
    if from >= to {
        let text = "--from must lie before --to, which is not in the range itself: for one day, give the next as --to.";
        return Err(Error::validation(text));
    }
    Ok((from, to))
}

/// Standard output as a table or as one object a line.
struct Output {
    lines: Lines,
    progress: ProgressBar,
}

enum Lines {
    Csv(Box<Table<BufWriter<StdoutLock<'static>>>>),
    Json(BufWriter<StdoutLock<'static>>),
}

impl Output {
    fn begin(format: Format, columns: &[&str]) -> Result<Self> {
        let output = BufWriter::new(std::io::stdout().lock());
        let lines = match format {
            Format::Csv => Lines::Csv(Box::new(Table::new(output, columns)?)),
            Format::Json => Lines::Json(output),
        };
        Ok(Self { lines, progress: progress::rows() })
    }

    fn write(&mut self, object: &impl Serialize, rows: impl IntoIterator<Item = Vec<String>>) -> Result<()> {
        self.progress.inc(1);
        match &mut self.lines {
            Lines::Csv(table) => rows.into_iter().try_for_each(|row| table.row(&row)),
            Lines::Json(output) => {
                let line = serde_json::to_string(object).map_err(unwritable)?;
                writeln!(output, "{line}").map_err(unwritable)
            }
        }
    }

    fn end(mut self) -> Result<()> {
        self.progress.finish_and_clear();
        match &mut self.lines {
            Lines::Csv(table) => table.flush(),
            Lines::Json(output) => output.flush().map_err(unwritable),
        }
    }
}

fn passages(store: &Store, (from, to): (Timestamp, Timestamp), format: Format) -> Result<()> {
    let mut output = Output::begin(format, &table::PASSAGE_COLUMNS)?;
    let filter = PassageFilter { from: Some(from), to: Some(to), ..PassageFilter::default() };
    let mut place = None;
    loop {
        let rows = store.passages_following(filter.clone(), place, PAGE_ROWS).wait()?;
        let Some(last) = rows.last() else { return output.end() };
        place = Some(PassagePlace::of(last));
        for row in rows {
            let passage = PassageWire::from(row);
            output.write(&passage, [table::passage(&passage)])?;
        }
    }
}

fn classifications(store: &Store, (from, to): (Timestamp, Timestamp), format: Format) -> Result<()> {
    let mut output = Output::begin(format, &CLASSIFICATION_COLUMNS)?;
    let filter = ClassificationFilter { from: Some(from), to: Some(to), ..ClassificationFilter::default() };
    let mut place = None;
    loop {
        let rows = store.classifications_page(filter.clone(), place, PAGE_ROWS).wait()?;
        let Some((last, _)) = rows.last() else { return output.end() };
        place = Some(*last);
        for (_, record) in &rows {
            let classification = StoredClassification::from(record);
            output.write(&classification, [classification.row()])?;
        }
    }
}

fn reports(store: &Store, (from, to): (Timestamp, Timestamp), format: Format) -> Result<()> {
    let mut output = Output::begin(format, &REPORT_COLUMNS)?;
    let filter = ReportFilter { from: Some(from), to: Some(to), ..ReportFilter::default() };
    let mut place = None;
    loop {
        let rows = store.report_page(filter.clone(), place, PAGE_ROWS).wait()?;
        let Some((last, _)) = rows.last() else { return output.end() };
        place = Some(*last);
        for (_, report) in rows {
            let body = report.body.clone();
            output.write(&body, [report_row(report)?])?;
        }
    }
}

fn audit(store: &Store, (from, to): (Timestamp, Timestamp), format: Format) -> Result<()> {
    let columns =
        ["id", "created_at", "user", "action", "resource", "outcome", "ip_address", "clock_synced", "details", "hash"];
    let mut output = Output::begin(format, &columns)?;
    let filter = AuditFilter { from: Some(from), to: Some(to), ..AuditFilter::default() };
    let mut before = None;
    loop {
        let rows = store.audit_page(filter.clone(), before, PAGE_ROWS).wait()?;
        let Some(last) = rows.last() else { return output.end() };
        before = Some(last.id);
        for row in &rows {
            let cells = audit_row(row);
            let object: serde_json::Map<_, _> =
                columns.iter().zip(audit_values(row)).map(|(name, value)| ((*name).to_owned(), value)).collect();
            output.write(&object, [cells])?;
        }
    }
}

fn audit_values(row: &AuditRow) -> [serde_json::Value; 10] {
    let event = &row.event;
    [
        row.id.into(),
        event.at.at.to_string().into(),
        event.user.clone().into(),
        event.action.clone().into(),
        event.resource.clone().into(),
        event.outcome.name().into(),
        event.ip_address.clone().into(),
        event.at.synced.into(),
        event.details.clone(),
        row.hash.clone().into(),
    ]
}

fn audit_row(row: &AuditRow) -> Vec<String> {
    let cell = |value: serde_json::Value| match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => table::text(&text),
        other => table::text(&other.to_string()),
    };
    audit_values(row).into_iter().map(cell).collect()
}
