//! Query parameters: every one is known, typed and bounded, or the request is refused.

use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use salvo::prelude::*;

use crate::error::{Error, Result};
use crate::ledger::names;

/// Refuses parameters that the endpoint does not know, and repeated ones: a misspelt filter must not silently match all.
///
/// # Errors
/// Validation, naming the parameter and what there is.
pub fn only(req: &Request, known: &[&str]) -> Result<()> {
    let queries = req.queries();
    for (name, values) in queries.iter_all() {
        if !known.contains(&name.as_str()) {
            let there = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let name = crate::imaging::display_name(Some(name));
            return Err(Error::validation(format!(
                "The query parameter {name:?} is not known here; there are: {there}."
            )));
        }
        if values.len() > 1 {
            return Err(Error::validation(format!("The query parameter {name:?} is given twice.")));
        }
    }
    Ok(())
}

/// A parameter's text; none when it is absent.
#[must_use]
pub fn text<'a>(req: &'a Request, name: &str) -> Option<&'a str> {
    req.queries().get(name).map(String::as_str)
}

/// A parameter read as `T`.
///
/// # Errors
/// Validation, saying what is wanted.
pub fn parsed<T: FromStr>(req: &Request, name: &str, wanted: &str) -> Result<Option<T>> {
    let bad = || Error::validation(format!("The query parameter `{name}` must be {wanted}.")).detail("parameter", name);
    text(req, name).map(|text| text.parse().map_err(|_| bad())).transpose()
}

/// A moment (RFC 3339), or the start of a day of `zone`.
///
/// # Errors
/// Validation.
pub fn moment(req: &Request, name: &str, zone: &TimeZone) -> Result<Option<Timestamp>> {
    let read = |text| names::moment(text, zone).map_err(|error| error.detail("parameter", name));
    text(req, name).map(read).transpose()
}

/// Rows of a page of any list.
pub const PAGE_ROWS_DEFAULT: u32 = 100;
pub const PAGE_ROWS_MAX: u32 = 1_000;

/// The page size, from 1 to `most`.
///
/// # Errors
/// Validation.
pub fn limit(req: &Request, default: u32, most: u32) -> Result<u32> {
    let wanted = format!("a number from 1 to {most}");
    match parsed(req, "limit", &wanted)? {
        None => Ok(default),
        Some(limit) if (1..=most).contains(&limit) => Ok(limit),
        Some(_) => {
            Err(Error::validation(format!("The query parameter `limit` must be {wanted}."))
                .detail("parameter", "limit"))
        }
    }
}

/// Both ends of a range of time, `from` included and `to` not; days are those of `zone`.
///
/// # Errors
/// Validation, also for a range that is empty.
pub fn range(req: &Request, zone: &TimeZone) -> Result<(Option<Timestamp>, Option<Timestamp>)> {
    let (from, to) = (moment(req, "from", zone)?, moment(req, "to", zone)?);
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        return Err(Error::validation(
            "`from` must lie before `to`, which is not in the range itself: for one day, give the next as `to`.",
        )
        .detail("parameter", "from"));
    }
    Ok((from, to))
}

/// A number from 0 to 1.
///
/// # Errors
/// Validation.
pub fn share(req: &Request, name: &str) -> Result<Option<f32>> {
    const WANTED: &str = "a number from 0 to 1";
    match parsed::<f32>(req, name, WANTED)? {
        Some(share) if !(0.0..=1.0).contains(&share) => {
            Err(Error::validation(format!("The query parameter `{name}` must be {WANTED}.")).detail("parameter", name))
        }
        share => Ok(share),
    }
}

/// `true` or `false`; false when absent.
///
/// # Errors
/// Validation.
pub fn flag(req: &Request, name: &str) -> Result<bool> {
    Ok(parsed(req, name, "true or false")?.unwrap_or_default())
}

/// The name of a class, an action or alike, as filters take them.
///
/// # Errors
/// Validation for an empty one and for one longer than any stored.
pub fn word(req: &Request, name: &str) -> Result<Option<String>> {
    const CHARACTERS_MAX: usize = 128;
    match text(req, name) {
        Some(word) if !(1..=CHARACTERS_MAX).contains(&word.chars().count()) => {
            let message = format!("The query parameter `{name}` must have from 1 to {CHARACTERS_MAX} characters.");
            Err(Error::validation(message).detail("parameter", name))
        }
        word => Ok(word.map(str::to_owned)),
    }
}

/// The lists that have pages. A cursor begins with its list's letter, so that no list takes another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    Audit,
    Classifications,
    Passages,
    Reports,
    Validations,
}

impl List {
    const fn letter(self) -> char {
        match self {
            Self::Audit => 'u',
            Self::Classifications => 'c',
            Self::Passages => 'p',
            Self::Reports => 'r',
            Self::Validations => 'v',
        }
    }
}

/// The place after which the page begins: `next_cursor` of the one before. A letter and two numbers in hexadecimal; clients are
/// not to look inside.
///
/// # Errors
/// Validation, also for a cursor of another list.
pub fn cursor(req: &Request, list: List) -> Result<Option<(i64, i64)>> {
    let bad = || {
        Error::validation("The query parameter `cursor` must be the `next_cursor` of an earlier page of this list.")
            .detail("parameter", "cursor")
    };
    text(req, "cursor").map(|text| read_cursor(list, text).ok_or_else(bad)).transpose()
}

fn read_cursor(list: List, text: &str) -> Option<(i64, i64)> {
    let (first, second) = text.strip_prefix(list.letter())?.split_once('-')?;
    let number = |hex: &str| {
        let plain = !hex.is_empty() && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        plain.then(|| u64::from_str_radix(hex, 16).ok().map(u64::cast_signed)).flatten()
    };
    Some((number(first)?, number(second)?))
}

/// A place as the client gets it.
#[must_use]
pub fn cursor_text(list: List, first: i64, second: i64) -> String {
    format!("{}{:x}-{:x}", list.letter(), first.cast_unsigned(), second.cast_unsigned())
}

/// How a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    Json,
    Csv,
}

/// `json` (default) or `csv`.
///
/// # Errors
/// Validation.
pub fn listing(req: &Request) -> Result<Listing> {
    match text(req, "format") {
        None | Some("json") => Ok(Listing::Json),
        Some("csv") => Ok(Listing::Csv),
        Some(_) => Err(Error::validation("`format` must be json or csv.").detail("parameter", "format")),
    }
}

/// How a report is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Html,
}

/// `json` (default) or `html`.
///
/// # Errors
/// Validation.
pub fn format(text: Option<&str>) -> Result<Format> {
    match text {
        None | Some("json") => Ok(Format::Json),
        Some("html") => Ok(Format::Html),
        Some(_) => Err(Error::validation("`format` must be json or html.").detail("parameter", "format")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was_and_nothing_else_is_one() {
        for place in [(0, 0), (1_777_000_000_000_000, 42), (-1, i64::MAX), (i64::MIN, 1)] {
            let text = cursor_text(List::Reports, place.0, place.1);
            assert_eq!(read_cursor(List::Reports, &text), Some(place));
            for other in [List::Audit, List::Passages, List::Validations] {
                assert_eq!(read_cursor(other, &text), None, "{other:?}");
            }
        }
        for bad in ["", "-", "1", "1-", "-1", "1-2-3", "+1-2", "1- 2", "x-1", "11111111111111111-1", "1'--"] {
            assert_eq!(read_cursor(List::Passages, &format!("p{bad}")), None, "{bad:?}");
            assert_eq!(read_cursor(List::Passages, bad), None, "{bad:?}");
        }
    }
}
