//! The Open Inference Protocol, version 2, over REST, with its binary tensor data extension: standard clients such as
//! `tritonclient[http]` work unchanged.
//! <https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md>

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use salvo::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use salvo::prelude::*;
use serde::Serialize;
use serde_json::json;

use crate::api::http::access::{Caller, Gate};
use crate::api::http::body::read_budgeted;
use crate::api::http::error::Answer;
use crate::api::http::query;
use crate::api::resources::classify::classified;
use crate::api::resources::wire::Written;
use crate::api::state::AppState;
use crate::auth::Permission;
use crate::classifier::{LoadedModel, RUNTIME};
use crate::error::{Error, ErrorKind, Result};
use crate::inference::Upload;
use crate::record::{Classification, Outcome};

mod tensor;
mod wire;

use wire::{
    InferRequest, InferResponse, ModelReady, OipModel, ServerLive, ServerMetadata, ServerReady, TensorMetadata,
};

/// Where the JSON ends in a body with binary data behind it, in requests and answers.
const HEAD_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// Body, numbers and bitmap are in memory at the same time.
const MEMORY_PER_BODY: u64 = 3;
/// Candidates that a prediction carries.
const TOP_LABELS: usize = 5;

/// Everything below `/v2`.
pub fn routes() -> Router {
    let inferring = || Router::with_path("infer").hoop(Gate(Permission::Classify));
    let of_model = Router::with_path("models/{model}")
        .push(reading().get(model_metadata))
        .push(reading().path("ready").get(model_ready))
        .push(inferring().post(infer));
    let of_version = Router::with_path("models/{model}/versions/{version}")
        .push(reading().get(OfVersion(model_metadata)))
        .push(reading().path("ready").get(OfVersion(model_ready)))
        .push(inferring().post(OfVersion(infer)));
    Router::with_path("v2")
        .push(reading().get(server_metadata))
        .push(reading().path("health/live").get(server_live))
        .push(reading().path("health/ready").get(server_ready))
        .push(of_model)
        .push(of_version)
}

/// The same endpoint where the path names a version as well. The description of such a path is made from that of the path
/// without ([`crate::api::http::docs`]): an endpoint describes one set of parameters only.
struct OfVersion<H>(H);

#[async_trait]
impl<H: Handler> Handler for OfVersion<H> {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        self.0.handle(req, depot, res, ctrl).await;
    }
}

fn reading() -> Router {
    Router::new().hoop(Gate(Permission::Read))
}

/// The server
#[endpoint(
    tags("open inference protocol"),
    responses((status_code = 200, description = "Name and version", body = ServerMetadata)),
    security(["bearer" = []])
)]
pub async fn server_metadata(req: &mut Request) -> Answer<Json<ServerMetadata>> {
    query::only(req, &[])?;
    let extensions = vec!["binary_tensor_data"];
    Ok(Json(ServerMetadata { name: "vehicle-classifierd", version: env!("CARGO_PKG_VERSION"), extensions }))
}

/// Whether the server is live
#[endpoint(
    tags("open inference protocol"),
    responses((status_code = 200, description = "It is", body = ServerLive)),
    security(["bearer" = []])
)]
pub async fn server_live(req: &mut Request) -> Answer<Json<ServerLive>> {
    query::only(req, &[])?;
    Ok(Json(ServerLive { live: true }))
}

/// Whether the server can infer
#[endpoint(
    tags("open inference protocol"),
    responses((status_code = 200, description = "It can", body = ServerReady)),
    security(["bearer" = []])
)]
pub async fn server_ready(req: &mut Request, depot: &mut Depot) -> Answer<Json<ServerReady>> {
    query::only(req, &[])?;
    let api = AppState::of(depot)?;
    ready(&api).await?;
    Ok(Json(ServerReady { ready: true }))
}

async fn ready(api: &AppState) -> Result<()> {
    if api.store.health().await?.ok {
        return Ok(());
    }
    Err(Error::unavailable("The database does not answer; nothing can be stored.", Duration::from_secs(5)))
}

/// A model's inputs and outputs
///
/// The same with and without the version.
#[endpoint(
    tags("open inference protocol"),
    parameters(
        ("model" = String, Path, description = "Name of the active model")
    ),
    responses((status_code = 200, description = "What it takes and gives", body = OipModel)),
    security(["bearer" = []])
)]
pub async fn model_metadata(req: &mut Request, depot: &mut Depot) -> Answer<Json<OipModel>> {
    let api = AppState::of(depot)?;
    query::only(req, &[])?;
    let model = active(&api, req)?;
    let manifest = &model.manifest;
    let input = TensorMetadata { name: tensor::INPUT.to_owned(), datatype: "UINT8", shape: vec![-1, -1, -1, 3] };
    let outputs = manifest.attributes.iter().flat_map(|attribute| {
        let labels = attribute.labels.len().min(TOP_LABELS);
        tensor::outputs_of(&attribute.name, labels as i64)
    });
    Ok(Json(OipModel {
        name: manifest.name.clone(),
        versions: vec![manifest.version.clone()],
        platform: RUNTIME,
        inputs: vec![input],
        outputs: outputs.collect(),
    }))
}

/// Whether a model can infer
#[endpoint(
    tags("open inference protocol"),
    parameters(
        ("model" = String, Path, description = "Name of the active model")
    ),
    responses((status_code = 200, description = "It can", body = ModelReady)),
    security(["bearer" = []])
)]
pub async fn model_ready(req: &mut Request, depot: &mut Depot) -> Answer<Json<ModelReady>> {
    let api = AppState::of(depot)?;
    query::only(req, &[])?;
    let model = active(&api, req)?;
    ready(&api).await?;
    Ok(Json(ModelReady { name: model.manifest.name.clone(), ready: true }))
}

/// Infer
///
/// Classifies pictures given as tensors of RGB pixels, of any size: the unit resizes them as it does uploads. Answers once the
/// results are durably stored. With `Inference-Header-Content-Length`, the body is that many bytes of JSON and then the
/// tensor's bytes; the answer is of that kind when an output was asked for as binary data.
#[endpoint(
    tags("open inference protocol"),
    parameters(
        ("model" = String, Path, description = "Name of the active model"),
        ("Inference-Header-Content-Length" = Option<u64>, Header, description = "Where the JSON of the body ends")
    ),
    request_body(content = InferRequest, content_type = "application/json"),
    responses((status_code = 200, description = "What the model says", content(
        ("application/json" = InferResponse), ("application/octet-stream" = String)
    ))),
    security(["bearer" = []])
)]
pub async fn infer(req: &mut Request, depot: &mut Depot, res: &mut Response) -> Answer<Written> {
    let api = AppState::of(depot)?;
    query::only(req, &[])?;
    let model = active(&api, req)?;
    let deadline = Instant::now() + Duration::from_millis(api.config.api.request_timeout_ms);
    let head_bytes = head_length(req)?;
    let user = Caller::of(depot)?.name().to_owned();
    let (body, memory) = read_budgeted(req, depot, &api, MEMORY_PER_BODY).await?;
    let pictures_max = api.config.api.batch_files_max;
    let asked = tokio::task::spawn_blocking(move || tensor::read(&body, head_bytes, pictures_max));
    let asked = asked.await.map_err(|cause| Error::internal("The tensors cannot be read.").because(cause))??;
    let uploads = asked.bitmaps.into_iter().map(|bitmap| Upload {
        bytes: bitmap.into(),
        file_name: None,
        media_type: None,
        deadline,
        held: Some(memory.clone()),
    });
    let jobs = uploads.map(|upload| classified(&api, &user, upload));
    let done: Vec<Result<Classification>> = stream::iter(jobs).buffered(api.uploads.workers.max(1)).collect().await;
    let records = done.into_iter().collect::<Result<Vec<_>>>()?;
    let predictions: Vec<_> = records.iter().map(|record| record.predictions.clone()).collect();
    let (outputs, binary) = tensor::answers(&asked.request, &predictions)?;
    let details = json!({ "model": model.title(), "pictures": records.len() });
    let event = api.audit(req, Some(&user), "model.infer", req.uri().path(), Outcome::Success, details);
    api.store.record_classifications(records, event).await?;
    let answer = InferResponse {
        model_name: model.manifest.name.clone(),
        model_version: model.manifest.version.clone(),
        id: asked.request.id,
        outputs,
    };
    send(&answer, &binary, res)?;
    Ok(Written)
}

/// JSON alone, or JSON and the binary outputs behind it.
fn send(answer: &impl Serialize, binary: &[u8], res: &mut Response) -> Result<()> {
    let failed = || Error::internal("The answer cannot be written.");
    let mut body = serde_json::to_vec(answer).map_err(|cause| failed().because(cause))?;
    if binary.is_empty() {
        res.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    } else {
        res.headers_mut().insert(CONTENT_TYPE, OCTETS);
        res.headers_mut().insert(HEAD_LENGTH, HeaderValue::from(body.len()));
        body.extend_from_slice(binary);
    }
    res.write_body(body).map_err(|cause| failed().because(cause))
}

fn head_length(req: &Request) -> Result<Option<usize>> {
    let Some(value) = req.headers().get(&HEAD_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|value| value.parse().ok());
    length.map(Some).ok_or_else(|| Error::validation("Inference-Header-Content-Length must be a number of bytes."))
}

/// The model that runs; every other is refused.
fn active(api: &AppState, req: &Request) -> Result<Arc<LoadedModel>> {
    let model = api.model.get();
    let manifest = &model.manifest;
    let named = req.param::<&str>("model") == Some(&manifest.name);
    let versioned = req.param::<&str>("version").is_none_or(|version| version == manifest.version);
    if named && versioned {
        return Ok(model);
    }
    let message = format!("This model is not active here; {} is.", model.title());
    Err(Error::new(ErrorKind::NotFound, message))
}
