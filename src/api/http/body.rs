//! Reading request bodies: into memory only, within limits, never slower than the idle time allows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body_util::BodyExt;
use multra::{Constraints, Field, Multipart, SizeLimit};
use salvo::http::ReqBody;
use salvo::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use salvo::prelude::*;
use serde::de::DeserializeOwned;

use crate::api::http::access::Caller;
use crate::api::http::shares::Share;
use crate::api::state::AppState;
use crate::error::{Error, ErrorKind, Result};
use crate::inference::Upload;
use crate::metrics::Limit;

/// JSON and form bodies.
const FORM_BYTES_MAX: u64 = 16 << 10;
/// One text field of a multipart body.
const FIELD_BYTES_MAX: u64 = 4 << 10;
/// Boundaries, part headers and text fields of a multipart body, on top of its files.
const MULTIPART_OVERHEAD_BYTES: u64 = 256 << 10;
/// Headers of one part: a browser sends some hundred bytes.
const PART_HEADER_BYTES_MAX: u64 = 8 << 10;
/// What is still read of a refused request's body, so that the client gets to see the answer instead of a reset connection.
const REFUSED_BYTES_MAX: u64 = 64 << 20;
const REFUSED_TIME_MAX: Duration = Duration::from_secs(5);
/// Taken of the memory for uploads at once, at least: not every chunk takes the lock.
const MEMORY_STEP_BYTES: u64 = 16 << 10;

/// One file of an upload: what came, or why it was not kept.
#[derive(Debug)]
pub struct Received {
    /// The client's name for it, as it came.
    pub file_name: Option<String>,
    /// Payload too large for a file of a batch that is over the limit of one upload.
    pub upload: Result<Upload>,
}

/// Files and text fields of an upload.
#[derive(Debug, Default)]
pub struct Form {
    pub files: Vec<Received>,
    fields: Vec<(String, String)>,
}

/// What a body holds of the memory for uploads. It grows with what has come, not with what was announced: a client that
/// announces much and sends nothing takes no room from others. The uploads made of the body carry it along, until a worker is
/// done with the last one: a client that leaves meanwhile does not take them out of the queue.
#[derive(Debug)]
pub struct Budget(Share);

impl Budget {
    /// Of the caller's account; before a login all callers share one.
    fn of(api: &AppState, depot: &Depot) -> Self {
        Self(api.uploads.memory.of(Caller::of(depot).map_or("", Caller::name)))
    }

    /// Makes it cover `bytes` in all.
    fn cover(&mut self, api: &AppState, bytes: u64) -> Result<()> {
        let more = bytes.saturating_sub(self.0.amount());
        if more == 0 || self.0.grow(more.max(MEMORY_STEP_BYTES)) || self.0.grow(more) {
            return Ok(());
        }
        api.metrics.count_limit(Limit::UploadMemory);
        Err(Error::unavailable("The memory for uploads is taken; try again in a second.", Duration::from_secs(1)))
    }
}

impl Form {
    /// The value of a text field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

/// What an upload endpoint takes.
#[derive(Clone, Copy, Debug)]
pub struct UploadShape {
    /// Names of the multipart fields that carry files; the first is the documented one.
    pub names: &'static [&'static str],
    /// Names of its text fields.
    pub fields: &'static [&'static str],
    pub files_max: usize,
    pub bytes_max: u64,
}

impl UploadShape {
    /// Parts of a multipart body: every file, and every text field once.
    const fn parts_max(&self) -> usize {
        self.files_max + self.fields.len()
    }

    /// Of an endpoint that takes one picture.
    #[must_use]
    pub fn one_picture(api: &AppState) -> Self {
        Self { names: &["file"], fields: &[], files_max: 1, bytes_max: api.config.api.upload_bytes_max }
    }
}

/// Reads a multipart body, or a raw `image/*` body as its only file.
///
/// # Errors
/// Validation, payload too large, unsupported media type; unavailable when the memory for uploads is taken.
pub async fn read_form(req: &mut Request, depot: &Depot, api: &AppState, wanted: UploadShape) -> Result<Form> {
    let deadline = Instant::now() + Duration::from_millis(api.config.api.request_timeout_ms);
    let content_type = header(req, &CONTENT_TYPE).unwrap_or_default().to_owned();
    let bytes_max = wanted.bytes_max + MULTIPART_OVERHEAD_BYTES;
    let length = content_length(req);
    if let Some(length) = length.filter(|&length| length > bytes_max) {
        return Err(too_large("upload", length, wanted.bytes_max, api));
    }
    let budget = Budget::of(api, depot);
    let mut reading = Reading { api, deadline, wanted, form: Form::default(), budget, bytes: 0 };
    if let Ok(boundary) = multra::parse_boundary(&content_type) {
        reading.multipart(req, boundary, bytes_max).await?;
    } else if media_type(&content_type).starts_with("image/") {
        reading.raw(req, media_type(&content_type)).await?;
    } else {
        return Err(Error::new(
            ErrorKind::UnsupportedMediaType,
            format!(
                "Send multipart/form-data with the field `{}`, or the picture itself as image/jpeg or alike.",
                wanted.names[0]
            ),
        ));
    }
    if reading.form.files.is_empty() {
        return Err(Error::validation(format!(
            "The multipart field `{}` with the picture is missing.",
            wanted.names[0]
        )));
    }
    let memory: Arc<Budget> = Arc::new(reading.budget);
    for upload in reading.form.files.iter_mut().filter_map(|file| file.upload.as_mut().ok()) {
        upload.held = Some(memory.clone());
    }
    Ok(reading.form)
}

struct Reading<'a> {
    api: &'a AppState,
    deadline: Instant,
    wanted: UploadShape,
    form: Form,
    budget: Budget,
    bytes: u64,
}

impl Reading<'_> {
    async fn raw(&mut self, req: &mut Request, media_type: String) -> Result<()> {
        let limit = self.wanted.bytes_max.min(self.api.config.api.upload_bytes_max);
        let bytes = read_bytes(req, self.api, limit, 1, &mut self.budget).await?;
        let upload = self.upload(bytes, None, Some(media_type));
        self.form.files.push(Received { file_name: None, upload: Ok(upload) });
        Ok(())
    }

    async fn multipart(&mut self, req: &mut Request, boundary: String, bytes_max: u64) -> Result<()> {
        let sizes = SizeLimit::new().whole_stream(bytes_max).headers(PART_HEADER_BYTES_MAX);
        // One more file than are taken, so that the answer to it can say how many are.
        let limits = Constraints::new().size_limit(sizes).max_fields(self.wanted.parts_max() + 1);
        let mut multipart = Multipart::with_constraints(chunks(req.body_mut(), self.api), boundary, limits);
        while let Some(field) = multipart.next_field().await.map_err(|cause| self.broken(cause))? {
            let name = field.name().unwrap_or_default().to_owned();
            if self.wanted.names.contains(&name.as_str()) {
                self.file(field).await?;
            } else if !self.wanted.fields.contains(&name.as_str()) {
                return Err(self.unknown(&name));
            } else {
                if self.form.field(&name).is_some() {
                    return Err(Error::validation(format!("The field `{}` is given twice.", shown(&name))));
                }
                let value = self.collect(field, FIELD_BYTES_MAX, &name).await??;
                let value = String::from_utf8(value)
                    .map_err(|_| Error::validation(format!("The field `{}` is not UTF-8.", shown(&name))))?;
                self.form.fields.push((name, value));
            }
        }
        Ok(())
    }

    fn unknown(&self, name: &str) -> Error {
        let (file, fields) = (self.wanted.names[0], self.wanted.fields);
        let texts = if fields.is_empty() { String::new() } else { format!(", text as {}", fields.join(", ")) };
        let message = format!("There is no field {:?} here: send the picture as `{file}`{texts}.", shown(name));
        Error::validation(message).detail("field", shown(name))
    }

    async fn file(&mut self, field: Field<'_>) -> Result<()> {
        if self.form.files.len() == self.wanted.files_max {
            self.api.metrics.count_limit(Limit::BatchFiles);
            let most = self.wanted.files_max;
            return Err(Error::new(ErrorKind::PayloadTooLarge, format!("At most {most} file(s) may be sent at once."))
                .detail("files_max", most));
        }
        let file_name = field.file_name().map(str::to_owned).filter(|name| !name.is_empty());
        let media_type = field.content_type().map(|mime| mime.essence_str().to_owned());
        let label = crate::imaging::display_name(file_name.as_deref());
        let upload = match self.collect(field, self.api.config.api.upload_bytes_max, &label).await? {
            Ok(bytes) => Ok(self.upload(bytes, file_name.clone(), media_type)),
            // In a batch one bad file fails alone.
            Err(error) if self.wanted.files_max > 1 => Err(error),
            Err(error) => return Err(error),
        };
        self.form.files.push(Received { file_name, upload });
        Ok(())
    }

    fn upload(&self, bytes: Vec<u8>, file_name: Option<String>, media_type: Option<String>) -> Upload {
        Upload { bytes: bytes.into(), file_name, media_type, deadline: self.deadline, held: None }
    }

    /// Reads a field to its end, or to where the whole upload is too large. Inside: the bytes, or that this field alone is
    /// too large; what is beyond its limit is read and forgotten.
    async fn collect(&mut self, mut field: Field<'_>, limit: u64, label: &str) -> Result<Result<Vec<u8>>> {
        let mut bytes = Vec::new();
        let mut fits = true;
        while let Some(chunk) = field.chunk().await.map_err(|cause| self.broken(cause))? {
            self.bytes += chunk.len() as u64;
            if self.bytes > self.wanted.bytes_max {
                return Err(too_large("upload", self.bytes, self.wanted.bytes_max, self.api));
            }
            self.budget.cover(self.api, self.bytes)?;
            fits = fits && (bytes.len() + chunk.len()) as u64 <= limit;
            if fits {
                bytes.extend_from_slice(&chunk);
            } else {
                bytes = Vec::new();
            }
        }
        if fits {
            return Ok(Ok(bytes));
        }
        self.api.metrics.count_limit(Limit::UploadBytes);
        let message = format!("{}: more than {limit} bytes; send a smaller one.", shown(label));
        Ok(Err(Error::new(ErrorKind::PayloadTooLarge, message).detail("bytes_max", limit)))
    }

    fn broken(&self, cause: multra::Error) -> Error {
        match cause {
            multra::Error::StreamSizeExceeded { limit } => {
                too_large("upload", limit + 1, self.wanted.bytes_max, self.api)
            }
            multra::Error::StreamReadFailed(cause) => {
                Error::validation("The upload broke off or stalled before its end; send it again.").because(cause)
            }
            multra::Error::HeadersSizeExceeded { limit } => {
                Error::validation(format!("The headers of a part of the upload have more than {limit} bytes."))
                    .detail("bytes_max", limit)
            }
            multra::Error::FieldCountExceeded { .. } => {
                self.api.metrics.count_limit(Limit::BatchFiles);
                let most = self.wanted.parts_max();
                Error::new(ErrorKind::PayloadTooLarge, format!("At most {most} part(s) may be sent at once."))
                    .detail("parts_max", most)
            }
            other => Error::validation("The multipart body is malformed; send it as RFC 7578 says.").because(other),
        }
    }
}

/// Reads a small JSON or urlencoded body into `T`.
///
/// # Errors
/// Validation with the reason; unsupported media type for anything else.
pub async fn read_fields<T: DeserializeOwned>(req: &mut Request, depot: &Depot, api: &AppState) -> Result<T> {
    let media_type = media_type(header(req, &CONTENT_TYPE).unwrap_or_default());
    let bytes = read_bytes(req, api, FORM_BYTES_MAX, 1, &mut Budget::of(api, depot)).await?;
    if media_type == "application/json" {
        serde_json::from_slice(&bytes)
            .map_err(|cause| Error::validation(format!("The JSON body cannot be used: {cause}.")))
    } else if media_type == "application/x-www-form-urlencoded" {
        serde_urlencoded::from_bytes(&bytes)
            .map_err(|cause| Error::validation(format!("The form cannot be used: {cause}.")))
    } else {
        Err(Error::new(ErrorKind::UnsupportedMediaType, "Send application/json or application/x-www-form-urlencoded."))
    }
}

/// Reads a body of at most one upload's size, for each byte of which `times` bytes count against the memory for uploads.
///
/// # Errors
/// Validation, payload too large; unavailable when the memory for uploads is taken.
pub async fn read_budgeted(
    req: &mut Request,
    depot: &Depot,
    api: &AppState,
    times: u64,
) -> Result<(Vec<u8>, Arc<Budget>)> {
    let mut budget = Budget::of(api, depot);
    let body = read_bytes(req, api, api.config.api.upload_bytes_max, times, &mut budget).await?;
    Ok((body, Arc::new(budget)))
}

async fn read_bytes(req: &mut Request, api: &AppState, limit: u64, times: u64, budget: &mut Budget) -> Result<Vec<u8>> {
    if let Some(length) = content_length(req).filter(|&length| length > limit) {
        return Err(too_large("body", length, limit, api));
    }
    let mut body = std::pin::pin!(chunks(req.body_mut(), api));
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|cause| {
            Error::validation("The body broke off or stalled before its end; send it again.").because(cause)
        })?;
        let length = (bytes.len() + chunk.len()) as u64;
        if length > limit {
            return Err(too_large("body", length, limit, api));
        }
        budget.cover(api, length.saturating_mul(times))?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The body's data frames; each must come within the idle time. What is not taken of them stays in the body.
fn chunks<'a>(body: &'a mut ReqBody, api: &AppState) -> impl Stream<Item = std::io::Result<Bytes>> + Send + use<'a> {
    let idle = Duration::from_millis(api.config.api.idle_timeout_ms);
    let metrics = Arc::clone(&api.metrics);
    stream::unfold(Some((body, metrics)), move |state| async move {
        let (body, metrics) = state?;
        loop {
            let frame = match tokio::time::timeout(idle, body.frame()).await {
                Err(_) => {
                    metrics.count_limit(Limit::IdleTimeout);
                    // Nobody waits for its rest a second time.
                    *body = ReqBody::None;
                    return Some((Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "the client stalled")), None));
                }
                Ok(None) => return None,
                Ok(Some(Err(cause))) => return Some((Err(std::io::Error::other(cause)), None)),
                Ok(Some(Ok(frame))) => frame,
            };
            // Trailers carry no data.
            if let Ok(data) = frame.into_data() {
                return Some((Ok(data), Some((body, metrics))));
            }
        }
    })
}

/// Reads and forgets what is left of a refused request's body, within bounds: an HTTP server that closes a connection on which
/// something still comes resets it, and a client that is still sending then meets the reset before the answer.
pub(super) async fn forget_rest(req: &mut Request, api: &AppState) {
    // Who asked first waits for the answer before sending, and had better not be told to go on.
    if req.headers().contains_key(EXPECT) {
        return;
    }
    let mut rest = std::pin::pin!(chunks(req.body_mut(), api));
    let mut bytes = 0;
    let drain = async {
        while let Some(Ok(chunk)) = rest.next().await {
            bytes += chunk.len() as u64;
            if bytes > REFUSED_BYTES_MAX {
                break;
            }
        }
    };
    // When the time is up the connection is simply closed.
    let _ = tokio::time::timeout(REFUSED_TIME_MAX, drain).await;
}

fn too_large(what: &str, bytes: u64, limit: u64, api: &AppState) -> Error {
    api.metrics.count_limit(Limit::UploadBytes);
    let message = format!("The {what} has {bytes} bytes or more; at most {limit} are taken.");
    Error::new(ErrorKind::PayloadTooLarge, message).detail("bytes_max", limit)
}

fn header<'a>(req: &'a Request, name: &salvo::http::header::HeaderName) -> Option<&'a str> {
    req.headers().get(name)?.to_str().ok()
}

/// A media type without its parameters; letters of either case mean the same (RFC 9110, 8.3.1).
fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn content_length(req: &Request) -> Option<u64> {
    header(req, &CONTENT_LENGTH)?.parse().ok()
}

fn shown(name: &str) -> String {
    crate::imaging::display_name(Some(name))
}
