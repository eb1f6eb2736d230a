//! Query parameters: every one is known, typed and bounded, or the request is refused.

use std::str::FromStr;

use jiff::Timestamp;
use salvo::prelude::*;

use crate::error::{Error, Result};

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

/// A moment (RFC 3339).
///
/// # Errors
/// Validation.
pub fn moment(req: &Request, name: &str) -> Result<Option<Timestamp>> {
    parsed(req, name, "a time such as 2026-05-01T12:00:00Z")
}

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
