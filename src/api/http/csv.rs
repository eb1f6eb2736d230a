//! Tables as CSV (RFC 4180) in answers; `ledger::table` makes them.

use salvo::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderName, HeaderValue, LINK};
use salvo::prelude::*;

use crate::error::{Error, Result};
use crate::ledger::table::MEDIA_TYPE;

const CSV: HeaderValue = HeaderValue::from_static(MEDIA_TYPE);
const NEXT_CURSOR: HeaderName = HeaderName::from_static("x-next-cursor");

/// Answers with a table as a file; where more follows, `X-Next-Cursor` and `Link: …; rel="next"` (RFC 8288) say so.
///
/// # Errors
/// Internal when the answer cannot be made.
pub fn answer(
    req: &Request,
    res: &mut Response,
    file_name: &'static str,
    table: Vec<u8>,
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
