//! The audit trail, for admins.

use salvo::prelude::*;

use crate::api::http::access::Caller;
use crate::api::http::error::Answer;
use crate::api::http::query::{self, List, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, cursor_text};
use crate::api::resources::traffic::zone;
use crate::api::resources::wire::{AuditPage, ChainWire, Reply};
use crate::api::state::AppState;
use crate::error::Result;
use crate::record::Outcome;
use crate::store::AuditFilter;

/// Audit trail
///
/// Newest first, in pages, with the state of the hash chain. `verify=true` walks the whole chain, which takes a second or so
/// for a million rows.
#[endpoint(
    tags("audit"),
    parameters(
        ("user" = Option<String>, Query, description = "Account or service token name", min_length = 1, max_length = 128),
        ("action" = Option<String>, Query, description = "For example `auth.token`", min_length = 1, max_length = 128),
        ("outcome" = Option<String>, Query, description = "`success`, `denied` or `failure`", pattern = "^(success|denied|failure)$"),
        ("from" = Option<String>, Query, format = DateTime, description = "RFC 3339, inclusive"),
        ("to" = Option<String>, Query, format = DateTime, description = "RFC 3339, exclusive"),
        ("limit" = Option<u32>, Query, description = "1 to 1000, 100 by default", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before", pattern = "^u[0-9a-fA-F]{1,16}-0$"),
        ("verify" = Option<bool>, Query, description = "Walk the whole hash chain")
    ),
    security(["bearer" = []])
)]
pub async fn list(req: &mut Request, depot: &mut Depot) -> Answer<Reply<AuditPage>> {
    let api = AppState::of(depot)?;
    query::only(req, &["user", "action", "outcome", "from", "to", "limit", "cursor", "verify"])?;
    let limit = query::limit(req, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX)?;
    let before = query::cursor(req, List::Audit)?.map(|(id, _)| id);
    let verify = query::flag(req, "verify")?;
    let (from, to) = query::range(req, &zone(&api)?)?;
    let filter = AuditFilter {
        user: query::word(req, "user")?,
        action: query::word(req, "action")?,
        outcome: query::parsed::<Outcome>(req, "outcome", "success, denied or failure")?,
        from,
        to,
    };
    let event = api.audit(
        req,
        Some(Caller::of(depot)?.name()),
        "audit.read",
        "/api/audit",
        Outcome::Success,
        serde_json::json!({ "verify": verify }),
    );
    api.store.record_audit(event).await?;
    let rows = api.store.audit_page(filter, before, limit).await?;
    let next_cursor =
        (rows.len() == limit as usize).then(|| rows.last().map(|row| cursor_text(List::Audit, row.id, 0))).flatten();
    let chain = chain(&api, verify).await?;
    Ok(Reply(AuditPage { events: rows.into_iter().map(Into::into).collect(), next_cursor, chain }))
}

async fn chain(api: &AppState, verify: bool) -> Result<ChainWire> {
    if !verify {
        let head = api.store.audit_head().await?;
        return Ok(ChainWire { rows: head.rows, head_hash: head.hash, intact: None, first_broken: None });
    }
    let check = api.store.verify_audit().await?;
    if let Some(row) = check.first_broken {
        tracing::error!(row, "the audit trail was tampered with: this is the first broken row");
    }
    Ok(ChainWire {
        rows: check.rows,
        head_hash: check.head_hash,
        intact: Some(check.first_broken.is_none()),
        first_broken: check.first_broken,
    })
}
