//! Tables as CSV (RFC 4180) in answers; `ledger::table` makes them.

use salvo::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderName, HeaderValue, LINK};
use salvo::prelude::*;

use crate::api::http::query;
use crate::error::{Error, Result};
use crate::ledger::table::{BYTE_ORDER_MARK, MEDIA_TYPE};

const CSV: HeaderValue = HeaderValue::from_static(MEDIA_TYPE);
const NEXT_CURSOR: HeaderName = HeaderName::from_static("x-next-cursor");

/// Answers with a table as a file; where more follows, `X-Next-Cursor` and `Link: …; rel="next"` (RFC 8288) say so.
/// With `bom=true` it begins with a byte order mark.
///
/// # Errors
/// Internal when the answer cannot be made.
pub fn answer(
    req: &Request,
    res: &mut Response,
    file_name: &'static str,
    mut table: Vec<u8>,
    next: Option<&str>,
) -> Result<()> {
    if query::flag(req, "bom")? {
        table.splice(..0, BYTE_ORDER_MARK.bytes());
    }
    let failed = || Error::internal("The table cannot be sent.");
    if let Some(cursor) = next {
        let value = HeaderValue::from_str(cursor).map_err(|cause| failed().because(cause))?;
        let link = HeaderValue::from_str(&format!("<{}>; rel=\"next\"", next_page(req, cursor)))
            .map_err(|cause| failed().because(cause))?;
        res.headers_mut().insert(NEXT_CURSOR, value);
        res.headers_mut().insert(LINK, link);
    }
    file(res, file_name, CSV, table)
}

/// Answers with a file to be kept.
///
/// # Errors
/// Internal when the answer cannot be made.
pub fn file(res: &mut Response, name: &'static str, media_type: HeaderValue, content: Vec<u8>) -> Result<()> {
    let failed = || Error::internal("The table cannot be sent.");
    let name = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""));
    res.headers_mut().insert(CONTENT_DISPOSITION, name.map_err(|cause| failed().because(cause))?);
    res.headers_mut().insert(CONTENT_TYPE, media_type);
    res.write_body(content).map_err(|cause| failed().because(cause))
}

/// The same request with another cursor. Relative: a proxy may put a path before the unit's.
fn next_page(req: &Request, cursor: &str) -> String {
    let kept = req
        .uri()
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty() && pair.split('=').next() != Some("cursor"));
    let query: Vec<&str> = kept.collect();
    let separator = if query.is_empty() { "" } else { "&" };
    format!("?{}{separator}cursor={cursor}", query.join("&"))
}
