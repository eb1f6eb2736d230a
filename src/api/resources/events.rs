//! Server-sent events (WHATWG HTML, section 9.2): passages as they are recorded, and changes of the unit's health.
//!
//! Passages are read from the store by their place in the order of recording: a client that comes back with the last id it
//! saw misses none, however long it was away (as far as retention kept them). Nothing is queued for a slow client: the next
//! rows are read when it has taken the last ones, and the server's stall limit ends one that takes nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::unfold;
use salvo::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use salvo::prelude::*;
use serde::Serialize;
use serde_json::json;

use crate::api::http::access::{Caller, TICKET};
use crate::api::http::error::Answer;
use crate::api::http::query;
use crate::api::http::stay::Place;
use crate::api::http::tickets::LIFETIME;
use crate::api::resources::health;
use crate::api::resources::wire::{TicketAnswer, Written};
use crate::api::state::AppState;
use crate::error::{Error, Result};
use crate::ledger::wire::PassageWire;
use crate::metrics::Limit;

/// Rows of one read: what is in memory for one client.
const ROWS_MAX: u32 = 64;
/// How often it is looked for new passages.
const LOOK_PERIOD: Duration = Duration::from_millis(250);
/// How often health is looked at.
const HEALTH_PERIOD: Duration = Duration::from_secs(1);
/// A comment this often tells both ends that the other one is there; well within the connection's idle limit.
const KEEP_ALIVE_PERIOD: Duration = Duration::from_secs(10);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A ticket for streams
///
/// For browsers, whose `EventSource` and `img` send no token: `?ticket=` opens `/api/events`, `/api/camera/stream` or
/// `/api/camera/snapshot` once, within `expires_in` seconds.
#[endpoint(tags("traffic"), security(["bearer" = []]))]
pub async fn ticket(req: &mut Request, depot: &mut Depot) -> Answer<Json<TicketAnswer>> {
    let api = AppState::of(depot)?;
    query::only(req, &[])?;
    let issued = api.tickets.issue(Caller::of(depot)?.claims.clone(), Instant::now());
    let issued = issued.inspect_err(|_| api.metrics.count_limit(Limit::Tickets))?;
    Ok(Json(TicketAnswer { ticket: issued, expires_in: LIFETIME.as_secs() }))
}

/// Events
///
/// `text/event-stream`: `passage` (as in `/api/traffic/passages`; its `id` resumes behind it), `health` (as in `/health`, at
/// first and whenever it changes), `gap` (passages that retention had deleted meanwhile), `reset` (the ledger was begun
/// anew). Without `Last-Event-ID` it begins with the next passage.
#[endpoint(
    tags("traffic"),
    parameters(
        ("Last-Event-ID" = Option<i64>, Header, description = "`id` of the last event seen: resumes behind it without loss", minimum = 0),
        ("last_event_id" = Option<i64>, Query, description = "The same for clients that cannot set headers; 0 begins with the first passage kept", minimum = 0),
        ("ticket" = Option<String>, Query, description = "Instead of a token: a ticket of `POST /api/events/ticket`")
    ),
    responses((status_code = 200, description = "Events until either side ends them", body = String, content_type = "text/event-stream")),
    security(["bearer" = []])
)]
pub async fn events(req: &mut Request, depot: &mut Depot, res: &mut Response) -> Answer<Written> {
    let api = AppState::of(depot)?;
    query::only(req, &["last_event_id", TICKET])?;
    let last = last_event_id(req)?;
    let place = Place::take(&api, depot, &api.streams.events, Limit::EventClients)?;
    let (after, first) = start(&api, last).await?;
    let feed = Feed { api, place, after, first, health: String::new(), looked: None, spoke: Instant::now() };
    let pieces = unfold(feed, |mut feed| async move {
        let piece = feed.next().await?;
        Some((Ok::<Bytes, Infallible>(piece.into()), feed))
    });
    let headers = res.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // For proxies that would collect the answer before passing it on.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    res.stream(pieces);
    Ok(Written)
}

fn last_event_id(req: &Request) -> Result<Option<i64>> {
    let bad = || {
        Error::validation("Last-Event-ID must be the id of an event of this unit: a number.")
            .detail("parameter", "last_event_id")
    };
    let read = |text: &str| text.parse().ok().filter(|id| *id >= 0).ok_or_else(bad);
    let header = req.headers().get(LAST_EVENT_ID).map(|value| value.to_str().map_err(|_| bad())).transpose()?;
    let of_header = header.filter(|text| !text.is_empty()).map(read).transpose()?;
    let of_query = query::text(req, "last_event_id").map(read).transpose()?;
    // Browsers send the header by themselves, when they resume what the query began.
    Ok(of_header.or(of_query))
}

/// Behind which passage to begin, and what to tell first.
async fn start(api: &AppState, last: Option<i64>) -> Result<(i64, String)> {
    let (oldest, newest) = api.store.passage_ids().await?.unwrap_or((1, 0));
    let mut first = "retry: 3000\n\n".to_owned();
    let Some(last) = last else { return Ok((newest, first)) };
    if last > newest {
        first.push_str(&event("reset", None, &json!({ "newest": newest })));
        return Ok((0, first));
    }
    if last + 1 < oldest && last > 0 {
        first.push_str(&event("gap", None, &json!({ "first_missing": last + 1, "last_missing": oldest - 1 })));
    }
    Ok((last, first))
}

/// One client's stream.
struct Feed {
    api: Arc<AppState>,
    place: Place,
    /// Id of the last passage sent.
    after: i64,
    first: String,
    /// The health last told, without its clock.
    health: String,
    looked: Option<Instant>,
    spoke: Instant,
}

impl Feed {
    /// The next piece of the stream; none at its end.
    async fn next(&mut self) -> Option<String> {
        loop {
            if !self.place.goes_on().await {
                return None;
            }
            let mut text = std::mem::take(&mut self.first);
            self.look_at_health(&mut text).await;
            // A client of a store in trouble comes back and resumes.
            let rows = self.api.store.passages_recorded_after(self.after, ROWS_MAX).await.ok()?;
            let full = rows.len() == ROWS_MAX as usize;
            for row in rows {
                self.after = row.id;
                text.push_str(&event("passage", Some(row.id), &PassageWire::from(row)));
            }
            if text.is_empty() && self.spoke.elapsed() >= KEEP_ALIVE_PERIOD {
                text.push_str(": keep-alive\n\n");
            }
            if !text.is_empty() {
                self.spoke = Instant::now();
                return Some(text);
            }
            if !full {
                self.place.pause(LOOK_PERIOD).await;
            }
        }
    }

    async fn look_at_health(&mut self, text: &mut String) {
        if self.looked.is_some_and(|at| at.elapsed() < HEALTH_PERIOD) {
            return;
        }
        self.looked = Some(Instant::now());
        let found = health::look(&self.api).await;
        let Ok(mut seen) = serde_json::to_value(&found) else { return };
        // These change all the time and mean nothing.
        if let Some(fields) = seen.as_object_mut() {
            fields.remove("timestamp");
            fields.remove("uptime_seconds");
        }
        let seen = seen.to_string();
        if seen != self.health {
            self.health = seen;
            text.push_str(&event("health", None, &found));
        }
    }
}

/// One event; JSON has no line breaks of its own, so its text is one line.
fn event(name: &str, id: Option<i64>, content: &impl Serialize) -> String {
    let content = serde_json::to_string(content).unwrap_or_default();
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("{id}event: {name}\ndata: {content}\n\n")
}
