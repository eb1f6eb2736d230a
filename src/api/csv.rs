//! Tables as CSV (RFC 4180), safe to open in a spreadsheet.

use salvo::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderName, HeaderValue, LINK};
use salvo::prelude::*;

use crate::error::{Error, Result};

const CSV: HeaderValue = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
const NEXT_CURSOR: HeaderName = HeaderName::from_static("x-next-cursor");

/// A spreadsheet takes a field that begins so for a formula and runs it (OWASP, CSV injection). A leading quote mark makes it
/// text. Numbers that are ours, which may begin with a minus, are not passed through here.
#[must_use]
pub fn text(field: &str) -> String {
    if field.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) { format!("'{field}") } else { field.to_owned() }
}

/// A header line and the rows; every row has as many fields as the header.
#[must_use]
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = String::new();
    line(&mut table, header.iter().copied());
    for row in rows {
        line(&mut table, row.iter().map(String::as_str));
    }
    table
}

fn line<'a>(table: &mut String, fields: impl Iterator<Item = &'a str>) {
    for (place, field) in fields.enumerate() {
        if place > 0 {
            table.push(',');
        }
        if field.contains(['"', ',', '\r', '\n']) {
            table.push('"');
            table.push_str(&field.replace('"', "\"\""));
            table.push('"');
        } else {
            table.push_str(field);
        }
    }
    table.push_str("\r\n");
}

/// Answers with a table as a file; where more follows, `X-Next-Cursor` and `Link: …; rel="next"` (RFC 8288) say so.
///
/// # Errors
/// Internal when the answer cannot be made.
pub fn answer(
    req: &Request,
    res: &mut Response,
    file_name: &'static str,
    table: String,
    next: Option<&str>,
) -> Result<()> {
    let failed = || Error::internal("The table cannot be sent.");
    if let Some(cursor) = next {
        let value = HeaderValue::from_str(cursor).map_err(|cause| failed().because(cause))?;
        let link = HeaderValue::from_str(&format!("<{}>; rel=\"next\"", next_page(req, cursor)))
            .map_err(|cause| failed().because(cause))?;
        res.headers_mut().insert(NEXT_CURSOR, value);
        res.headers_mut().insert(LINK, link);
    }
    let name = HeaderValue::from_str(&format!("attachment; filename=\"{file_name}\""));
    res.headers_mut().insert(CONTENT_DISPOSITION, name.map_err(|cause| failed().because(cause))?);
    res.headers_mut().insert(CONTENT_TYPE, CSV);
    res.write_body(table).map_err(|cause| failed().because(cause))
}

/// The same request with another cursor.
fn next_page(req: &Request, cursor: &str) -> String {
    let kept = req
        .uri()
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty() && pair.split('=').next() != Some("cursor"));
    let query: Vec<&str> = kept.collect();
    let separator = if query.is_empty() { "" } else { "&" };
    format!("{}?{}{separator}cursor={cursor}", req.uri().path(), query.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_and_formulas_are_text() {
        let row =
            vec![text("=HYPERLINK(\"http://x\")"), text("a,b"), "-1.5".to_owned(), text("two\nlines"), text("@x")];
        let table = table(&["one", "two", "three", "four", "five"], [row]);
        assert_eq!(
            table,
            "one,two,three,four,five\r\n\"'=HYPERLINK(\"\"http://x\"\")\",\"a,b\",-1.5,\"two\nlines\",'@x\r\n"
        );
    }
}
