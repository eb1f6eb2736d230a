//! `export counts`: as rows of a table, as objects, or laid out for a spreadsheet.

use std::io::Write;

use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::cli::export::{Format, Output, Span};
use crate::cli::{Context, unwritable};
use crate::clock::Clock;
use crate::daemon;
use crate::error::{Error, Result};
use crate::ledger::interval::{Kinds, Ledger, intervals};
use crate::ledger::names::ways;
use crate::ledger::scheme::SchemeName;
use crate::ledger::table;
use crate::ledger::wide::{Cell, Wide};
use crate::ledger::wire::IntervalWire;
use crate::ledger::workbook::{Sheet, workbook};
use crate::ledger::{Interval, Scheme};
use crate::store::Store;

/// Intervals in memory at once; a workbook holds all of its own.
const PAGE_INTERVALS: i64 = 500;

#[derive(Args)]
pub struct Counts {
    #[command(flatten)]
    pub span: Span,
    /// csv, json: one object a line, or xlsx: a workbook of days and hours
    #[arg(long, value_enum, default_value_t = CountsFormat::Csv)]
    format: CountsFormat,
    /// Of CSV: a row for each class, or one row an interval with a column a class
    #[arg(long, value_enum, default_value_t = Layout::Long)]
    layout: Layout,
    /// Begin a CSV file with a byte order mark, for Excel
    #[arg(long)]
    bom: bool,
    /// 5m, 15m (default), 1h or 1d; not for xlsx
    #[arg(long)]
    interval: Option<String>,
    /// native, tls8+1 or coba
    #[arg(long, default_value = "native")]
    scheme: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CountsFormat {
    Csv,
    Json,
    Xlsx,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Layout {
    Long,
    Wide,
}

impl Counts {
    /// The interval and the scheme, when everything asked for goes together.
    pub fn kind(&self) -> Result<(Interval, SchemeName)> {
        if self.format != CountsFormat::Csv && (self.bom || self.layout == Layout::Wide) {
            return Err(Error::validation("--layout and --bom are only for --format csv."));
        }
        if self.format == CountsFormat::Xlsx && self.interval.is_some() {
            return Err(Error::validation("A workbook has a sheet of days and one of hours: leave --interval away."));
        }
        Ok((self.interval.as_deref().map_or(Ok(Interval::QuarterHour), str::parse)?, self.scheme.parse()?))
    }
}

/// What is counted.
struct Source<'a> {
    store: &'a Store,
    scheme: Scheme,
    kinds: Kinds,
    zone: &'a TimeZone,
    now: Timestamp,
}

pub fn export(
    store: &Store,
    context: &Context,
    range: (Timestamp, Timestamp),
    counts: &Counts,
    (interval, scheme): (Interval, SchemeName),
    zone: &TimeZone,
) -> Result<()> {
    let scheme = self::scheme(context, scheme)?;
    let widest = if counts.format == CountsFormat::Xlsx { Interval::Day } else { interval };
    let (start, end) = around(widest, range, zone);
    let counted = store.counted_kinds(widest.width(), start, end).wait()?;
    let kinds = Kinds::of(ways(&context.loaded.config.traffic), &counted, &scheme);
    let mut classes = kinds.classes.clone();
    classes.sort();
    let wide = Wide::new(classes, kinds.ways.clone(), zone.clone());
    let source = Source { store, scheme, kinds, zone, now: context.clock.now().at };
    if counts.format == CountsFormat::Xlsx {
        return book(&source, range, &wide);
    }
    if counts.bom {
        std::io::stdout().write_all(table::BYTE_ORDER_MARK.as_bytes()).map_err(unwritable)?;
    }
    let format = if counts.format == CountsFormat::Csv { Format::Csv } else { Format::Json };
    let columns: Vec<String> = match counts.layout {
        Layout::Long => table::INTERVAL_COLUMNS.map(str::to_owned).into(),
        Layout::Wide => wide.columns().iter().map(|column| table::text(column)).collect(),
    };
    let mut output = Output::begin(format, &columns.iter().map(String::as_str).collect::<Vec<_>>())?;
    source.each(interval, range, |found| match counts.layout {
        Layout::Long => output.write(found, table::interval(found, zone)),
        Layout::Wide => output.write(found, [wide.row(found).iter().map(Cell::csv).collect()]),
    })?;
    output.end()
}

/// Days and hours, each on a sheet.
fn book(source: &Source<'_>, range: (Timestamp, Timestamp), wide: &Wide) -> Result<()> {
    let mut found = Vec::new();
    for interval in [Interval::Day, Interval::Hour] {
        let mut rows = Vec::new();
        source.each(interval, range, |one| {
            rows.push(one.clone());
            Ok(())
        })?;
        found.push((interval.name(), rows));
    }
    let sheets: Vec<_> = found.iter().map(|(name, intervals)| Sheet { name, intervals, wide }).collect();
    std::io::stdout().write_all(&workbook(&sheets)?).map_err(unwritable)
}

/// Whole intervals.
fn around(interval: Interval, (from, to): (Timestamp, Timestamp), zone: &TimeZone) -> (Timestamp, Timestamp) {
    (interval.around(from, zone).0, interval.around(to - SignedDuration::from_micros(1), zone).1)
}

impl Source<'_> {
    /// Each interval of the range, page by page.
    fn each(
        &self,
        interval: Interval,
        range: (Timestamp, Timestamp),
        mut take: impl FnMut(&IntervalWire) -> Result<()>,
    ) -> Result<()> {
        let (mut start, end) = around(interval, range, self.zone);
        while start < end {
            // Days have not all the same length: the piece ends with a whole one.
            let until = start + SignedDuration::from_secs(interval.seconds() * PAGE_INTERVALS);
            let until = interval.around(until, self.zone).0.min(end);
            let page = self.store.counts(interval.width(), start, until).wait()?;
            let ledger = Ledger {
                counts: &page.counts,
                coverage: &page.coverage,
                zone: &page.zone,
                first_watch: page.first_watch,
                watched_until: page.watched_until,
                now: self.now,
            };
            let found = intervals(interval, start, until, ledger, &self.scheme, self.kinds.clone());
            for one in &found.intervals {
                take(&IntervalWire::new(one, &found.ways, &found.classes, &page.zone))?;
            }
            start = until;
        }
        Ok(())
    }
}

/// The native scheme needs the model's labels, the others need none.
fn scheme(context: &Context, name: SchemeName) -> Result<Scheme> {
    if name != SchemeName::Native {
        return name.load([]);
    }
    let model = daemon::load_model(&context.loaded, &context.state_directory()?)?;
    name.load(model.manifest.type_labels())
}
