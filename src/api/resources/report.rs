//! Vehicle reports: made from an upload, stored, and served again as JSON or as a page.

use salvo::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, HeaderValue, IF_NONE_MATCH};
use salvo::oapi::ToSchema;
use salvo::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::http::access::Caller;
use crate::api::http::body::{UploadShape, read_form};
use crate::api::http::error::Answer;
use crate::api::http::query::{self, Format};
use crate::api::page::PAGE_POLICY;
use crate::api::resources::classify::{classified, wired};
use crate::api::resources::wire::{Created, Reply, Success, Written};
use crate::api::state::AppState;
use crate::error::{Error, ErrorKind, Result};
use crate::record::{Outcome, Report};
use crate::report::{self, ReportBody};

const VEHICLE_ID_BYTES_MAX: usize = 64;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read only as a schema: the body is streamed")]
pub struct ReportForm {
    /// JPEG, PNG, BMP, GIF (first frame) or WebP.
    #[salvo(schema(value_type = String, format = Binary))]
    file: String,
    /// At most 64 letters, digits, `.`, `_`, `:` and `-`, at least one a letter or digit; made up when absent or, as forms
    /// send a field that nobody filled in, empty.
    // No null: a form has none.
    #[salvo(schema(value_type = String, required = false, pattern = "^([._:-]*[A-Za-z0-9][A-Za-z0-9._:-]*)?$", max_length = 64))]
    vehicle_id: Option<String>,
    /// `json` (default) or `html`.
    #[salvo(schema(value_type = String, required = false, pattern = "^(json|html)$"))]
    format: Option<String>,
}

/// Make a report
///
/// Classifies the picture and stores a report of it. Answers once both are durably stored.
#[endpoint(
    tags("vehicle"),
    parameters(
        ("vehicle_id" = Option<String>, Query, description = "As the form's field, for a picture that is sent raw", pattern = "^([._:-]*[A-Za-z0-9][A-Za-z0-9._:-]*)?$", max_length = 64),
        ("format" = Option<String>, Query, description = "As the form's field", pattern = "^(json|html)$")
    ),
    request_body(content = ReportForm, content_type = "multipart/form-data"),
    responses((status_code = 201, description = "The report, as JSON or as HTML", content(
        ("application/json" = Success<ReportBody>), ("text/html" = String)
    ))),
    security(["bearer" = []])
)]
pub async fn create(req: &mut Request, depot: &mut Depot, res: &mut Response) -> Answer<Written> {
    let api = AppState::of(depot)?;
    query::only(req, &["vehicle_id", "format"])?;
    let user = Caller::of(depot)?.name().to_owned();
    let wanted = UploadShape { fields: &["vehicle_id", "format"], ..UploadShape::one_picture(&api) };
    let mut form = read_form(req, depot, &api, wanted).await?;
    let (of_form, of_query) = (form.field("format"), query::text(req, "format"));
    let format =
        query::format(of_query).and_then(|format| of_form.map_or(Ok(format), |text| query::format(Some(text))))?;
    let given = |text: Option<&str>| text.filter(|id| !id.is_empty()).map(checked_vehicle_id).transpose();
    let (of_form, of_query) = (given(form.field("vehicle_id"))?, given(query::text(req, "vehicle_id"))?);
    let vehicle_id = of_form.or(of_query).unwrap_or_else(|| format!("vehicle-{}", uuid::Uuid::new_v4().simple()));
    let record = classified(&api, &user, form.files.remove(0).upload?).await?;
    let unit = report::Issuer { unit: &api.unit_id, site: &api.config.unit.site, location: &api.config.unit.location };
    let body = ReportBody::new(
        &vehicle_id,
        &record,
        &unit,
        serde_json::to_value(wired(&record).predictions).unwrap_or_default(),
    );
    let stored = Report {
        id: body.report_id.clone(),
        vehicle_id: vehicle_id.clone(),
        user: user.clone(),
        class: body.summary.vehicle_type.clone(),
        confidence: record.confidence,
        body: serde_json::to_value(&body)
            .map_err(|cause| Error::internal("The report cannot be written.").because(cause))?,
        created: record.created.clone(),
    };
    let event =
        api.audit(req, Some(&user), "vehicle.report", &vehicle_id, Outcome::Success, json!({ "report_id": stored.id }));
    api.store.record_report(stored, record, event).await?;
    api.reports.written(&vehicle_id);
    res.status_code(StatusCode::CREATED);
    match format {
        Format::Json => Created(body).render(res),
        Format::Html => page(&body, res)?,
    }
    Ok(Written)
}

/// The newest report of a vehicle
///
/// `If-None-Match` with the ETag of an earlier answer gives 304 while nothing newer is stored.
#[endpoint(
    tags("vehicle"),
    parameters(
        ("vehicle_id" = String, Path, description = "At most 64 letters, digits, `.`, `_`, `:` and `-`, at least one a letter or digit", pattern = "^[._:-]*[A-Za-z0-9][A-Za-z0-9._:-]*$", max_length = 64),
        ("format" = Option<String>, Query, description = "`json` (default) or `html`", pattern = "^(json|html)$")
    ),
    responses(
        (status_code = 200, description = "The report, as JSON or as HTML", content(
            ("application/json" = Success<ReportBody>), ("text/html" = String)
        )),
        (status_code = 304, description = "Nothing newer than the presented ETag")
    ),
    security(["bearer" = []])
)]
pub async fn newest(req: &mut Request, depot: &mut Depot, res: &mut Response) -> Answer<Written> {
    let api = AppState::of(depot)?;
    query::only(req, &["format"])?;
    let format = query::format(query::text(req, "format"))?;
    let vehicle_id = checked_vehicle_id(&req.param::<String>("vehicle_id").unwrap_or_default())?;
    let stored = newest_of(&api, &vehicle_id).await?;
    let outcome = if stored.is_some() { Outcome::Success } else { Outcome::Failure };
    let event =
        api.audit(req, Some(Caller::of(depot)?.name()), "vehicle.report.read", &vehicle_id, outcome, Value::Null);
    api.store.record_audit(event).await?;
    let stored = stored
        .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("There is no report of the vehicle {vehicle_id:?}.")))?;
    answer(req, res, format, stored)
}

/// From memory, else from the store.
async fn newest_of(api: &AppState, vehicle_id: &str) -> Result<Option<Report>> {
    let writes_at_miss = match api.reports.find(vehicle_id) {
        Ok(report) => return Ok(Some(report)),
        Err(writes_at_miss) => writes_at_miss,
    };
    let stored = api.store.newest_report(vehicle_id).await?;
    if let Some(report) = &stored {
        api.reports.read(report, writes_at_miss);
    }
    Ok(stored)
}

fn answer(req: &Request, res: &mut Response, format: Format, stored: Report) -> Answer<Written> {
    let kind = if format == Format::Json { "json" } else { "html" };
    // Weak: the envelope carries the time of the answer.
    let etag = format!("W/\"{}-{kind}\"", stored.id);
    let known = req.headers().get(IF_NONE_MATCH).and_then(|known| known.to_str().ok()).is_some_and(|known| {
        known.trim() == "*"
            || known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag.trim_start_matches("W/"))
    });
    if let Ok(value) = HeaderValue::from_str(&etag) {
        res.headers_mut().insert(ETAG, value);
    }
    res.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if known {
        res.status_code(StatusCode::NOT_MODIFIED);
        return Ok(Written);
    }
    let body: ReportBody = serde_json::from_value(stored.body)
        .map_err(|cause| Error::internal("The stored report cannot be read.").because(cause))?;
    match format {
        Format::Json => Reply(body).render(res),
        Format::Html => page(&body, res)?,
    }
    Ok(Written)
}

fn page(body: &ReportBody, res: &mut Response) -> Result<()> {
    let html = body.html()?;
    res.headers_mut().insert(CONTENT_SECURITY_POLICY, PAGE_POLICY);
    res.render(Text::Html(html));
    Ok(())
}

/// A vehicle id is a key, never a path.
fn checked_vehicle_id(text: &str) -> Result<String> {
    let fits = (1..=VEHICLE_ID_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte))
        && text.bytes().any(|byte| byte.is_ascii_alphanumeric());
    if fits {
        return Ok(text.to_owned());
    }
    Err(Error::validation("A vehicle id has at most 64 letters, digits, `.`, `_`, `:` and `-`.")
        .detail("field", "vehicle_id"))
}
