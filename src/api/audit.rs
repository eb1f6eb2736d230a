//! The audit trail, for admins.

use salvo::prelude::*;

use crate::api::access::Caller;
use crate::api::error::Answer;
use crate::api::wire::{AuditPage, Reply};
use crate::api::{api, query};
use crate::record::Outcome;
use crate::store::AuditFilter;

const PAGE_DEFAULT: u32 = 100;
const PAGE_MAX: u32 = 1_000;

/// Audit trail
///
/// Newest first, in pages.
#[endpoint(
    tags("audit"),
    parameters(
        ("user" = Option<String>, Query, description = "Account or service token name"),
        ("action" = Option<String>, Query, description = "For example `auth.token`"),
        ("outcome" = Option<String>, Query, description = "`success`, `denied` or `failure`"),
        ("from" = Option<String>, Query, description = "RFC 3339, inclusive"),
        ("to" = Option<String>, Query, description = "RFC 3339, exclusive"),
        ("limit" = Option<usize>, Query, description = "1 to 1000, 100 by default"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before")
    ),
    security(["bearer" = []])
)]
pub async fn list(req: &mut Request, depot: &mut Depot) -> Answer<Reply<AuditPage>> {
    let api = api(depot)?;
    query::only(req, &["user", "action", "outcome", "from", "to", "limit", "cursor"])?;
    let limit = query::limit(req, PAGE_DEFAULT, PAGE_MAX)?;
    let before = query::parsed::<i64>(req, "cursor", "the next_cursor of an earlier page")?;
    let filter = AuditFilter {
        user: query::text(req, "user").map(str::to_owned),
        action: query::text(req, "action").map(str::to_owned),
        outcome: query::parsed::<Outcome>(req, "outcome", "success, denied or failure")?,
        from: query::moment(req, "from")?,
        to: query::moment(req, "to")?,
    };
    let event = api.audit(
        req,
        Some(Caller::of(depot)?.name()),
        "audit.read",
        "/api/audit",
        Outcome::Success,
        serde_json::Value::Null,
    );
    api.store.record_audit(event).await?;
    let rows = api.store.audit_page(filter, before, limit).await?;
    let next_cursor = (rows.len() == limit as usize).then(|| rows.last().map(|row| row.id.to_string())).flatten();
    Ok(Reply(AuditPage { events: rows.into_iter().map(Into::into).collect(), next_cursor }))
}
