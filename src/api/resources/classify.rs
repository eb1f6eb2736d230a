//! Uploads in, stored predictions out.

use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use salvo::oapi::ToSchema;
use salvo::prelude::*;
use serde::Deserialize;
use serde_json::json;

use crate::api::http::access::Caller;
use crate::api::http::body::{UploadShape, read_form};
use crate::api::http::error::Answer;
use crate::api::http::query;
use crate::api::resources::wire::{
    BatchAnswer, BatchError, BatchResult, BatchSummary, ClassificationWire, Created, ImageFacts, by_attribute,
};
use crate::api::state::AppState;
use crate::error::{Error, ErrorKind, Result};
use crate::imaging::display_name;
use crate::inference::Upload;
use crate::metrics::Limit;
use crate::record::{Classification, Origin, Outcome};

/// One picture as multipart field.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read only as a schema: the body is streamed")]
pub struct FileForm {
    /// JPEG, PNG, BMP, GIF (first frame) or WebP.
    #[salvo(schema(value_type = String, format = Binary))]
    file: String,
}

/// Several pictures as repeated multipart field.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read only as a schema: the body is streamed")]
pub struct FilesForm {
    /// JPEG, PNG, BMP, GIF (first frame) or WebP.
    #[salvo(schema(value_type = Vec<String>, format = Binary, min_items = 1))]
    files: Vec<String>,
}

/// Classify a picture
///
/// Takes multipart/form-data with the field `file`, or the picture itself as `image/*` body. Answers once the result is
/// durably stored.
#[endpoint(
    tags("vehicle"),
    request_body(content = FileForm, content_type = "multipart/form-data"),
    security(["bearer" = []])
)]
pub async fn classify(req: &mut Request, depot: &mut Depot) -> Answer<Created<ClassificationWire>> {
    let api = AppState::of(depot)?;
    query::only(req, &[])?;
    let user = Caller::of(depot)?.name().to_owned();
    let mut form = read_form(req, depot, &api, UploadShape::one_picture(&api)).await?;
    let record = classified(&api, &user, form.files.remove(0).upload?).await?;
    let details = json!({ "model": record.model, "sha256": record.picture.sha256 });
    let event = api.audit(req, Some(&user), "vehicle.classify", &record.id, Outcome::Success, details);
    let wire = wired(&record);
    api.store.record_classifications(vec![record], event).await?;
    Ok(Created(wire))
}

/// Runs one upload through the queue and makes its record; nothing is stored yet.
pub(super) async fn classified(api: &AppState, user: &str, upload: Upload) -> Result<Classification> {
    let file_name = upload.file_name.as_deref().map(|name| display_name(Some(name)));
    let mut place = api.uploads.places.of(user);
    if !place.grow(1) {
        api.metrics.count_limit(Limit::UploadQueue);
        let message = "All places for uploads are taken that one account may have; try again in a second.";
        return Err(Error::unavailable(message, Duration::from_secs(1)));
    }
    let answer = api.uploads.queue.submit(user, upload).await?;
    Ok(recorded(api, Some(user.to_owned()), file_name, answer))
}

fn recorded(
    api: &AppState,
    user: Option<String>,
    file_name: Option<String>,
    answer: crate::classifier::PictureAnswer,
) -> Classification {
    Classification {
        id: uuid::Uuid::new_v4().to_string(),
        origin: Origin::Upload,
        user,
        file_name,
        confidence: answer.confidence(),
        processing_time_ms: milliseconds(answer.timings.total()),
        predictions: answer.predictions,
        picture: answer.picture,
        model: answer.model,
        model_version: answer.model_version,
        created: api.clock.now(),
    }
}

/// To the microsecond.
fn milliseconds(time: std::time::Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// A record as it goes out.
pub(super) fn wired(record: &Classification) -> ClassificationWire {
    ClassificationWire {
        classification_id: record.id.clone(),
        predictions: by_attribute(&record.predictions),
        overall_confidence: record.confidence,
        processing_time_ms: record.processing_time_ms,
        model: record.model.clone(),
        model_version: record.model_version.clone(),
        image: ImageFacts {
            width: record.picture.width,
            height: record.picture.height,
            format: record.picture.format.clone(),
            sha256: record.picture.sha256.clone(),
        },
    }
}

/// Classify several pictures
///
/// Takes multipart/form-data with the repeated field `files`. One bad file fails alone; the others are stored, in one
/// transaction, before the answer. A batch of which every file fails is an error: the one that all files share, else
/// VALIDATION_ERROR, with `summary` and `results` in `details`.
#[endpoint(
    tags("vehicle"),
    request_body(content = FilesForm, content_type = "multipart/form-data"),
    security(["bearer" = []])
)]
pub async fn classify_batch(req: &mut Request, depot: &mut Depot) -> Answer<Created<BatchAnswer>> {
    let api = AppState::of(depot)?;
    query::only(req, &[])?;
    let user = Caller::of(depot)?.name().to_owned();
    let limits = &api.config.api;
    let wanted = UploadShape {
        names: &["files", "file"],
        fields: &[],
        files_max: limits.batch_files_max,
        bytes_max: limits.batch_bytes_max,
    };
    let mut form = read_form(req, depot, &api, wanted).await?;
    let names: Vec<_> =
        form.files.iter().map(|file| file.file_name.as_deref().map(|name| display_name(Some(name)))).collect();
    // As many at once as there are workers: a batch keeps them busy without filling the queue that others wait in.
    let jobs =
        std::mem::take(&mut form.files).into_iter().map(async |file| classified(&api, &user, file.upload?).await);
    let done: Vec<Result<Classification>> = stream::iter(jobs).buffered(api.uploads.workers.max(1)).collect().await;
    let answer = batch_answer(names, &done);
    let details = json!({ "files": answer.summary.total_files, "failed": answer.summary.failed });
    for error in done.iter().filter_map(|result| result.as_ref().err()) {
        api.metrics.count_error(error.kind());
    }
    let failure = common_failure(&done);
    let outcome = if failure.is_some() { Outcome::Failure } else { Outcome::Success };
    let event = api.audit(req, Some(&user), "vehicle.classify_batch", "/api/vehicle/classify-batch", outcome, details);
    api.store.record_classifications(done.into_iter().filter_map(Result::ok).collect(), event).await?;
    match failure {
        None => Ok(Created(answer)),
        Some(error) => {
            Err(error.detail("summary", json!(answer.summary)).detail("results", json!(answer.results)).into())
        }
    }
}

/// The error of a batch without a single success: of the kind that all its files have in common, else of a bad request.
fn common_failure(done: &[Result<Classification>]) -> Option<Error> {
    let errors: Vec<_> = done.iter().map(|result| result.as_ref().err()).collect::<Option<_>>()?;
    let first = errors.first()?;
    let kind =
        if errors.iter().all(|error| error.kind() == first.kind()) { first.kind() } else { ErrorKind::Validation };
    let message = format!("None of the {} files could be classified; `details.results` says why.", errors.len());
    let wait = errors.iter().filter_map(|error| error.retry_after_hint()).max();
    let error = Error::new(kind, message);
    Some(wait.into_iter().fold(error, Error::retry_after))
}

fn batch_answer(names: Vec<Option<String>>, done: &[Result<Classification>]) -> BatchAnswer {
    let successful: Vec<_> = done.iter().flatten().collect();
    let total: f64 = successful.iter().map(|record| record.processing_time_ms).sum();
    let summary = BatchSummary {
        total_files: done.len(),
        successful: successful.len(),
        failed: done.len() - successful.len(),
        average_processing_time_ms: if successful.is_empty() { 0.0 } else { total / successful.len() as f64 },
    };
    let result = |(index, (file_name, result)): (usize, (Option<String>, &Result<Classification>))| match result {
        Ok(record) => BatchResult { index, file_name, status: "success", data: Some(wired(record)), error: None },
        Err(error) => {
            let error = BatchError { error_code: error.kind().facts().code, message: error.message().to_owned() };
            BatchResult { index, file_name, status: "error", data: None, error: Some(error) }
        }
    };
    BatchAnswer { summary, results: names.into_iter().zip(done).enumerate().map(result).collect() }
}
