//! Counts as an XLSX workbook, one sheet a table. Texts are written as texts: a spreadsheet takes none for a formula.

use rust_xlsxwriter::{ExcelDateTime, Format, Workbook, Worksheet, XlsxError};

use crate::error::{Error, Result};
use crate::ledger::wide::{Cell, Wide};
use crate::ledger::wire::IntervalWire;

/// Of an XLSX file (ECMA-376).
pub const MEDIA_TYPE: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

/// Characters that a time takes, for the first three columns.
const TIME_WIDTH: f64 = 20.0;
/// The column of the local time, which is a date for the spreadsheet.
const LOCAL: u16 = 2;

/// One sheet.
#[derive(Clone, Copy, Debug)]
pub struct Sheet<'a> {
    pub name: &'a str,
    pub intervals: &'a [IntervalWire],
    pub wide: &'a Wide,
}

/// The workbook as a file.
///
/// # Errors
/// Internal when it cannot be written, for example for more rows than a sheet has.
pub fn workbook(sheets: &[Sheet<'_>]) -> Result<Vec<u8>> {
    written(sheets).map_err(|cause| Error::internal("The workbook cannot be written.").because(cause))
}

fn written(sheets: &[Sheet<'_>]) -> std::result::Result<Vec<u8>, XlsxError> {
    let mut book = Workbook::new();
    for sheet in sheets {
        fill(book.add_worksheet(), sheet)?;
    }
    book.save_to_buffer()
}

fn fill(page: &mut Worksheet, sheet: &Sheet<'_>) -> std::result::Result<(), XlsxError> {
    let (head, moment) = (Format::new().set_bold(), Format::new().set_num_format("yyyy-mm-dd hh:mm"));
    page.set_name(sheet.name)?.set_freeze_panes(1, LOCAL + 1)?;
    for (column, name) in (0..).zip(sheet.wide.columns()) {
        page.write_string_with_format(0, column, name, &head)?;
    }
    for column in 0..=LOCAL {
        page.set_column_width(column, TIME_WIDTH)?;
    }
    for (row, interval) in (1..).zip(sheet.intervals) {
        for (column, cell) in (0..).zip(sheet.wide.row(interval)) {
            match cell {
                Cell::Empty => {}
                Cell::Text(_) if column == LOCAL => {
                    let local = sheet.wide.local(interval.from);
                    let (year, month, day) = (local.year(), local.month(), local.day());
                    let time = (local.hour(), local.minute(), local.second());
                    let date = ExcelDateTime::from_ymd(year.unsigned_abs(), month.unsigned_abs(), day.unsigned_abs())?
                        .and_hms(time.0.unsigned_abs().into(), time.1.unsigned_abs(), f64::from(time.2))?;
                    page.write_datetime_with_format(row, column, date, &moment)?;
                }
                Cell::Text(text) => drop(page.write_string(row, column, text)?),
                // Far fewer vehicles than a double holds exactly.
                Cell::Count(count) => drop(page.write_number(row, column, count as f64)?),
                Cell::Ratio(ratio) => drop(page.write_number(row, column, ratio)?),
            }
        }
    }
    Ok(())
}
