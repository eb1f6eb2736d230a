//! How a failure is answered: one JSON shape for every error the server can give.

use std::sync::Arc;

use jiff::Timestamp;
use salvo::http::header::{ALLOW, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use salvo::oapi::{Components, EndpointOutRegister, Operation, ToSchema};
use salvo::prelude::*;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::api::http::request::RequestId;
use crate::api::state::AppState;
use crate::error::{Error, ErrorKind};
use crate::logging::mask;

/// The error body (contract, section 3).
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// For example `VALIDATION_ERROR`.
    pub error_code: &'static str,
    /// For people: what, where, and what to do.
    pub message: String,
    /// For programs; may be empty.
    #[salvo(schema(value_type = Object))]
    pub details: Map<String, Value>,
    pub request_id: String,
    /// RFC 3339, UTC.
    #[salvo(schema(value_type = String, format = DateTime))]
    pub timestamp: Timestamp,
    /// Below `/v2` only: the message again, where the Open Inference Protocol has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An error on its way to a client.
#[derive(Debug)]
pub struct ApiError(pub Error);

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

pub type Answer<T> = Result<T, ApiError>;

#[async_trait]
impl Writer for ApiError {
    async fn write(self, req: &mut Request, depot: &mut Depot, res: &mut Response) {
        write_error(&self.0, req, depot, res);
    }
}

/// Writes `error` as the response, counts it, and logs what the client must not see.
pub fn write_error(error: &Error, req: &Request, depot: &Depot, res: &mut Response) {
    let facts = error.kind().facts();
    if let Ok(api) = depot.get_typed::<Arc<AppState>>() {
        api.metrics.count_error(error.kind());
    }
    let request_id = RequestId::of(depot);
    if matches!(error.kind(), ErrorKind::Internal | ErrorKind::Config) {
        tracing::error!(request_id, path = req.uri().path(), "{}", error.chain());
    } else if error.kind() == ErrorKind::Unavailable {
        tracing::warn!(request_id, path = req.uri().path(), "{}", error.chain());
    }
    res.status_code(StatusCode::from_u16(facts.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    if error.kind() == ErrorKind::Authentication {
        res.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"vehicle-classifierd\""));
    }
    if facts.retry {
        let seconds = error.retry_after_hint().map_or(1, |after| after.as_secs().max(1));
        res.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    let message = mask(error.message()).into_owned();
    let body = ErrorBody {
        error_code: facts.code,
        error: req.uri().path().starts_with("/v2").then(|| message.clone()),
        message,
        details: error.details().clone(),
        request_id: request_id.to_owned(),
        timestamp: Timestamp::now(),
    };
    res.render(Json(body));
}

/// Answers what no handler answered: unknown paths, wrong methods, statuses without a body.
#[handler]
pub async fn catch(req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
    let path = req.uri().path();
    let error = match res.status_code {
        Some(StatusCode::METHOD_NOT_ALLOWED) => {
            let allowed = res.headers().get(ALLOW).and_then(|allow| allow.to_str().ok()).unwrap_or("another method");
            Error::new(ErrorKind::MethodNotAllowed, format!("{} is not possible here; use {allowed}.", req.method()))
        }
        Some(StatusCode::NOT_FOUND) | None => {
            Error::new(ErrorKind::NotFound, format!("There is nothing at {path}; /docs lists what there is."))
        }
        Some(StatusCode::PAYLOAD_TOO_LARGE) => Error::new(ErrorKind::PayloadTooLarge, "The request body is too large."),
        Some(StatusCode::UNSUPPORTED_MEDIA_TYPE) => {
            Error::new(ErrorKind::UnsupportedMediaType, "The content type of the request is not supported here.")
        }
        Some(status) if status.is_client_error() => Error::validation("The request cannot be understood."),
        Some(_) => Error::internal("The unit failed on this request; its log says more under this request id."),
    };
    write_error(&error, req, depot, res);
    ctrl.skip_rest();
}

/// The description gets each operation's errors from [`crate::api::http::docs`], which knows what can happen to it.
impl EndpointOutRegister for ApiError {
    fn register(_components: &mut Components, _operation: &mut Operation) {}
}
