//! Manual counts: a technician counts for a while, and the unit answers how far it was off.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use salvo::oapi::ToSchema;
use salvo::prelude::*;
use serde::Deserialize;
use serde_json::json;

use crate::api::http::access::Caller;
use crate::api::http::body::read_fields;
use crate::api::http::error::Answer;
use crate::api::http::query::{self, List, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, cursor_text};
use crate::api::resources::traffic::wire::ValidationPage;
use crate::api::resources::traffic::{check_names, load, zone};
use crate::api::resources::wire::{Created, Reply};
use crate::api::state::AppState;
use crate::error::{Error, Result};
use crate::ledger::interval::{Interval, Kinds, Ledger, intervals};
use crate::ledger::names;
use crate::ledger::scheme::SchemeName;
use crate::ledger::wire::{ClassError, TotalError, ValidationWire};
use crate::record::{Count, Outcome, SlotWidth};
use crate::store::Validation;

/// Longer than anybody counts.
const INTERVAL_MAX: SignedDuration = SignedDuration::from_hours(24);
const COUNTS_MAX: usize = 200;
const COUNT_MAX: u64 = 1_000_000;
const NOTE_CHARACTERS_MAX: usize = 500;

/// A technician's count.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[salvo(schema(example = json!({
    "from": "2026-05-04T12:00:00Z", "to": "2026-05-04T12:15:00Z", "note": "from the bridge",
    "counts": [
        { "class": "car", "direction": "north", "count": 41 },
        { "class": "bus", "direction": "north", "count": 2 }
    ]
})))]
pub struct ValidationForm {
    /// Inclusive; RFC 3339.
    #[salvo(schema(value_type = String, format = DateTime))]
    from: String,
    /// Exclusive, and past; at most 24 hours after `from`.
    #[salvo(schema(value_type = String, format = DateTime))]
    to: String,
    /// `native` (default), `tls8+1` or `coba`.
    scheme: Option<String>,
    /// The counting line that was watched; all of them when absent.
    line: Option<String>,
    /// One for each class (and direction, when directions were told apart). What is not listed was not seen.
    counts: Vec<ManualCount>,
    /// At most 500 characters.
    note: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ManualCount {
    /// A class of the scheme.
    class: String,
    /// With every count, or with none: then both directions are compared together.
    direction: Option<String>,
    count: u64,
}

/// Compare a manual count
///
/// Answers with the unit's own count of the same time and its error by class, and keeps both.
#[endpoint(
    tags("traffic"),
    request_body(content = ValidationForm, content_type = "application/json"),
    security(["bearer" = []])
)]
pub async fn compare(req: &mut Request, depot: &mut Depot) -> Answer<Created<ValidationWire>> {
    let api = AppState::of(depot)?;
    query::only(req, &[])?;
    let form: ValidationForm = read_fields(req, depot, &api).await?;
    let user = Caller::of(depot)?.name().to_owned();
    let now = api.clock.now();
    let name = form.scheme.as_deref().map_or(Ok(SchemeName::Native), str::parse)?;
    let scheme = load(&api, name)?;
    let classes: Vec<_> = scheme.class_names().collect();
    let (from, to) = span(&form, &zone(&api)?, now.at)?;
    check(&form, &classes)?;
    check_names(&api, form.line.as_deref(), None, None).await?;
    for direction in form.counts.iter().filter_map(|count| count.direction.as_deref()) {
        check_names(&api, None, Some(direction), None).await?;
    }
    let mut rows = api.store.passages_between(from, to).await?;
    if let Some(line) = &form.line {
        rows.retain(|row| row.line.as_ref() == Some(line));
    }
    let by_direction = form.counts.iter().any(|count| count.direction.is_some());
    let unit = rows.iter().filter_map(|row| {
        let direction = row.direction.clone().filter(|_| by_direction);
        Some(((direction, scheme.class_of(&row.class)?.to_owned()), row.vehicles))
    });
    let manual = form.counts.iter().map(|count| ((count.direction.clone(), count.class.clone()), count.count));
    let (classes, total, agreement) = compared(manual, unit);
    let coverage_ratio = coverage(&api, from, to).await?;
    if coverage_ratio.is_none_or(|ratio| ratio <= 0.0) && total.unit == 0 {
        let text = "The unit was not watching then (coverage_ratio 0), so there is nothing to compare: /api/traffic/counts says why.";
        return Err(Error::validation(text).detail("coverage_ratio", 0).into());
    }
    let validation = ValidationWire {
        id: uuid::Uuid::new_v4().to_string(),
        from,
        to,
        scheme: scheme.name.clone(),
        coverage_ratio,
        line: form.line,
        classes,
        total,
        agreement,
        note: form.note,
        user: user.clone(),
        created_at: now.at,
    };
    let kept = Validation {
        id: validation.id.clone(),
        from: validation.from,
        until: validation.to,
        body: serde_json::to_value(&validation)
            .map_err(|cause| Error::internal("The comparison cannot be stored.").because(cause))?,
        user,
        created: now,
    };
    let details = json!({ "manual": validation.total.manual, "unit": validation.total.unit });
    let name = Some(kept.user.as_str());
    let event = api.audit(req, name, "traffic.validate", &kept.id, Outcome::Success, details);
    api.store.record_validation(kept, event).await?;
    Ok(Created(validation))
}

/// Manual counts
///
/// Newest first, in pages, as they were answered.
#[endpoint(
    tags("traffic"),
    parameters(
        ("limit" = Option<u32>, Query, description = "1 to 1000, 100 by default", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before", pattern = "^v[0-9a-fA-F]{1,16}-0$")
    ),
    security(["bearer" = []])
)]
pub async fn list(req: &mut Request, depot: &mut Depot) -> Answer<Reply<ValidationPage>> {
    let api = AppState::of(depot)?;
    query::only(req, &["limit", "cursor"])?;
    let limit = query::limit(req, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX)?;
    let before = query::cursor(req, List::Validations)?.map(|(id, _)| id);
    let mut rows = api.store.validations_page(before, limit + 1).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_cursor = rows.last().filter(|_| more).map(|(id, _)| cursor_text(List::Validations, *id, 0));
    let validations = rows.into_iter().map(|(_, body)| {
        serde_json::from_value(body).map_err(|cause| Error::internal("A comparison cannot be read.").because(cause))
    });
    Ok(Reply(ValidationPage { validations: validations.collect::<Result<_>>()?, next_cursor }))
}

fn span(form: &ValidationForm, zone: &TimeZone, now: Timestamp) -> Result<(Timestamp, Timestamp)> {
    let moment = |field: &str, text: &str| names::moment(text, zone).map_err(|error| error.detail("field", field));
    let (from, to) = (moment("from", &form.from)?, moment("to", &form.to)?);
    let bad = |field: &str, text: String| Err(Error::validation(text).detail("field", field));
    if from >= to {
        return bad("from", "`from` must lie before `to`.".into());
    }
    if to > now {
        return bad("to", "`to` lies in the future: count first.".into());
    }
    if to.duration_since(from) > INTERVAL_MAX {
        return bad("to", format!("An interval has at most {} hours.", INTERVAL_MAX.as_hours()));
    }
    Ok((from, to))
}

fn check(form: &ValidationForm, classes: &[&str]) -> Result<()> {
    let bad = |field: &str, text: String| Err(Error::validation(text).detail("field", field));
    if form.counts.len() > COUNTS_MAX {
        return bad("counts", format!("At most {COUNTS_MAX} counts may be sent."));
    }
    if form.note.as_ref().is_some_and(|note| note.chars().count() > NOTE_CHARACTERS_MAX) {
        return bad("note", format!("A note has at most {NOTE_CHARACTERS_MAX} characters."));
    }
    let named = form.counts.iter().filter(|count| count.direction.is_some()).count();
    if named != 0 && named != form.counts.len() {
        return bad("counts", "Name a direction with every count, or with none.".into());
    }
    for (n, count) in form.counts.iter().enumerate() {
        if !classes.contains(&count.class.as_str()) {
            let text = format!("{:?} is no class of the scheme; there are: {}.", count.class, classes.join(", "));
            return bad("counts", text);
        }
        if count.count > COUNT_MAX {
            return bad("counts", format!("A count is at most {COUNT_MAX}."));
        }
        let same = |other: &ManualCount| other.class == count.class && other.direction == count.direction;
        if form.counts[..n].iter().any(same) {
            return bad("counts", format!("{:?} is counted twice in the same direction.", count.class));
        }
    }
    Ok(())
}

type Kind = (Option<String>, String);

/// Both counts side by side; the agreement is the share of the technician's vehicles that the unit has in the same class.
fn compared(
    manual: impl Iterator<Item = (Kind, u64)>,
    unit: impl Iterator<Item = (Kind, u64)>,
) -> (Vec<ClassError>, TotalError, Option<f64>) {
    let mut sides: BTreeMap<Kind, (u64, u64)> = BTreeMap::new();
    for (kind, count) in manual {
        sides.entry(kind).or_default().0 += count;
    }
    for (kind, count) in unit {
        sides.entry(kind).or_default().1 += count;
    }
    let manual: u64 = sides.values().map(|side| side.0).sum();
    let unit: u64 = sides.values().map(|side| side.1).sum();
    let both: u64 = sides.values().map(|side| side.0.min(side.1)).sum();
    let classes = sides.into_iter().map(|((direction, class), (manual, unit))| {
        let (error, error_ratio) = error(manual, unit);
        ClassError { direction, class, manual, unit, error, error_ratio }
    });
    let (difference, error_ratio) = error(manual, unit);
    let total = TotalError { manual, unit, error: difference, error_ratio };
    (classes.collect(), total, ratio(both.cast_signed(), manual))
}

fn error(manual: u64, unit: u64) -> (i64, Option<f64>) {
    let error = unit.cast_signed().saturating_sub(manual.cast_signed());
    (error, ratio(error, manual))
}

/// Counts are far smaller than what a double holds exactly.
fn ratio(part: i64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64 * 1e4).round() / 1e4)
}

/// The mean over the five-minute slots that the interval touches, as far as they have begun.
async fn coverage(api: &AppState, from: Timestamp, to: Timestamp) -> Result<Option<f64>> {
    let zone = zone(api)?;
    let start = SlotWidth::FiveMinutes.slot(from, &zone).0;
    let page = api.store.counts(SlotWidth::FiveMinutes, start, to).await?;
    let none: &[Count] = &[];
    let ledger = Ledger {
        counts: none,
        coverage: &page.coverage,
        zone: &page.zone,
        first_watch: page.first_watch,
        watched_until: page.watched_until,
        now: api.clock.wall(),
    };
    let native = crate::ledger::Scheme::native([]);
    let found = intervals(Interval::FiveMinutes, start, to, ledger, &native, Kinds::of(Vec::new(), none, &native));
    let ratios: Vec<f64> = found.intervals.iter().filter_map(|slot| slot.coverage_ratio).collect();
    let sum: f64 = ratios.iter().sum();
    Ok((!ratios.is_empty()).then(|| (sum / ratios.len() as f64 * 1e4).round() / 1e4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(direction: Option<&str>, class: &str) -> Kind {
        (direction.map(str::to_owned), class.to_owned())
    }

    #[test]
    fn errors_are_told_by_class_and_cannot_cancel_out_in_the_agreement() {
        let manual = [(kind(None, "car"), 10), (kind(None, "bus"), 2)];
        let unit = [(kind(None, "car"), 9), (kind(None, "car"), 2), (kind(None, "truck"), 1)];
        let (classes, total, agreement) = compared(manual.into_iter(), unit.into_iter());
        let rows: Vec<_> =
            classes.iter().map(|row| (row.class.as_str(), row.manual, row.unit, row.error, row.error_ratio)).collect();
        assert_eq!(rows, [("bus", 2, 0, -2, Some(-1.0)), ("car", 10, 11, 1, Some(0.1)), ("truck", 0, 1, 1, None)]);
        assert_eq!(total, TotalError { manual: 12, unit: 12, error: 0, error_ratio: Some(0.0) });
        assert_eq!(agreement, Some(0.8333));
        let (none, nothing, agreement) = compared([].into_iter(), [].into_iter());
        assert!(none.is_empty() && nothing.error_ratio.is_none() && agreement.is_none());
    }
}
