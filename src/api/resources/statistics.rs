//! How much the store holds of what.

use salvo::prelude::*;

use crate::api::http::error::Answer;
use crate::api::http::query;
use crate::api::resources::wire::Reply;
use crate::api::state::AppState;

mod wire;
use wire::StatisticsWire;

/// Statistics
///
/// How many reports, classifications, passages, accounts and audit rows the store keeps, since when, and of which classes.
/// Counts of traffic by interval are at `/api/traffic/counts`.
#[endpoint(tags("health"), security(["bearer" = []]))]
pub async fn statistics(req: &mut Request, depot: &mut Depot) -> Answer<Reply<StatisticsWire>> {
    let api = AppState::of(depot)?;
    query::only(req, &[])?;
    let found = api.store.statistics().await?;
    let head = api.store.audit_head().await?;
    Ok(Reply(StatisticsWire {
        users: found.users,
        reports: found.reports.into(),
        classifications: found.classifications.into(),
        passages: found.passages.into(),
        validations: found.validations,
        audit_rows: head.rows,
        average_confidence: found.confidence_mean,
        average_processing_time_ms: found.processing_time_ms_mean,
        store_bytes: api.store.health().await.map_or(0, |health| health.bytes),
    }))
}
