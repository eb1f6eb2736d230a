//! What surrounds every request: its id, the host and origin checks, the security headers, the time limit, the counting.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use salvo::http::header::{self, HeaderName, HeaderValue};
use salvo::http::uri::Scheme;
use salvo::http::{Method, Version};
use salvo::prelude::*;
use tracing::Instrument;

use crate::api::http::body::forget_rest;
use crate::api::http::client;
use crate::api::http::cross_site::{self, allowed, origin};
use crate::api::http::error::{catch, write_error};
use crate::api::http::request::{REQUEST_ID, RequestId, peer};
use crate::api::state::{AppState, Reloadable};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::{Limit, RequestMethod};

const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");

/// Headers that must not come twice: the unit would go by one of them, and a proxy before it perhaps by the other.
const ONCE: [HeaderName; 6] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::ORIGIN,
    header::TRANSFER_ENCODING,
    HeaderName::from_static("last-event-id"),
    HeaderName::from_static("inference-header-content-length"),
];

/// Sent with every answer; a handler that needs another content policy sets its own.
const SECURITY_HEADERS: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'self'; frame-ancestors 'none'; base-uri 'none'"),
    (header::X_XSS_PROTECTION, "1; mode=block"),
    (header::REFERRER_POLICY, "strict-origin-when-cross-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Slower answers count in `slow_requests_total`, by the last part of the path (contract, section 6).
const SLOW: [(&str, Duration); 4] = [
    ("/api/vehicle/classify", Duration::from_millis(200)),
    ("/api/vehicle/classify-batch", Duration::from_secs(5)),
    ("/api/vehicle/report", Duration::from_secs(1)),
    ("/health", Duration::from_millis(100)),
];

/// The outermost layer. `api` travels in the depot from here.
pub struct Envelope(pub Arc<AppState>);

#[async_trait]
impl Handler for Envelope {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        let api = &self.0;
        api.metrics.active_requests.inc();
        let _active = Active(api);
        let id = RequestId::from_headers(req.headers());
        depot.insert_typed(id.clone());
        depot.insert_typed(api.clone());
        let span = tracing::error_span!("request", request_id = id.as_str());
        self.answer(&id, req, depot, res, ctrl).instrument(span).await;
    }
}

impl Envelope {
    /// Everything about one request, in its span: each line that it logs carries its id.
    async fn answer(
        &self,
        id: &RequestId,
        req: &mut Request,
        depot: &mut Depot,
        res: &mut Response,
        ctrl: &mut FlowCtrl,
    ) {
        let (api, begun) = (&self.0, Instant::now());
        let settings = api.reloadable();
        let admitted = client::identify(req, &settings.trusted_proxies).and_then(|()| admit(api, &settings, req));
        if let Err(error) = admitted {
            write_error(&error, req, depot, res);
            ctrl.skip_rest();
        } else if is_preflight(req) {
            answer_preflight(res);
            ctrl.skip_rest();
        } else {
            run(api, req, depot, res, ctrl).await;
        }
        if res.body.is_none()
            && res.status_code.is_some_and(|status| status.is_client_error() || status.is_server_error())
        {
            catch.handle(req, depot, res, ctrl).await;
        }
        set_headers(api, &settings, req, res, id);
        count(api, req, res, begun.elapsed());
        if res.status_code.is_some_and(|status| status.is_client_error() || status.is_server_error()) {
            forget_rest(req, api).await;
        }
    }
}

struct Active<'a>(&'a AppState);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.metrics.active_requests.dec();
    }
}

/// Runs the handlers within the time limit; a panic becomes a 500.
async fn run(api: &AppState, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
    let limit = Duration::from_millis(api.config.api.request_timeout_ms);
    let handlers = std::panic::AssertUnwindSafe(ctrl.call_next(req, depot, res)).catch_unwind();
    let error = match tokio::time::timeout(limit, handlers).await {
        Ok(Ok(_)) => return,
        Ok(Err(panic)) => {
            let said = panic
                .downcast_ref::<&str>()
                .map(ToString::to_string)
                .or_else(|| panic.downcast_ref::<String>().cloned());
            Error::internal("The unit failed on this request; its log says more under this request id.")
                .because(format!("a handler panicked: {}", said.unwrap_or_default()))
        }
        Err(_) => {
            api.metrics.count_limit(Limit::RequestTimeout);
            Error::unavailable(
                format!("The request took more than {limit:?}; try again later."),
                Duration::from_secs(1),
            )
        }
    };
    write_error(&error, req, depot, res);
}

/// Refuses heads that are too long or ambiguous, foreign hosts, foreign origins and callers that are too fast.
fn admit(api: &AppState, settings: &Reloadable, req: &Request) -> Result<()> {
    check_head(api, req)?;
    let host = host(req)?;
    let trusted = &settings.trusted_hosts;
    if !trusted.is_empty() && !host.is_some_and(|host| trusted.iter().any(|name| name.eq_ignore_ascii_case(host))) {
        return Err(Error::validation("This host name is not one of the unit's; see api.trusted_hosts."));
    }
    let foreign = origin(req).filter(|origin| is_preflight(req) && !allowed(settings, origin));
    if let Some(origin) = foreign {
        let origin = crate::imaging::display_name(Some(origin));
        let message = format!("The origin {origin:?} may not call this unit; see api.cors_origins.");
        return Err(Error::new(ErrorKind::Authorization, message));
    }
    cross_site::check(settings, req)?;
    match peer(req) {
        Some(peer) => settings
            .rates
            .take(peer, endpoint(api, req), Instant::now())
            .inspect_err(|_| api.metrics.count_limit(Limit::RequestRate)),
        None => Ok(()),
    }
}

/// The size of the head, and what a body may not come in: decompressing it would be a way around every limit.
fn check_head(api: &AppState, req: &Request) -> Result<()> {
    let headers = req.headers();
    let fields: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let target = req.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let limit = api.config.api.header_bytes_max;
    if fields + target > limit {
        api.metrics.count_limit(Limit::HeaderBytes);
        let message = format!("The request's target and headers have more than {limit} bytes.");
        return Err(Error::validation(message).detail("bytes_max", limit));
    }
    if let Some(name) = ONCE.iter().find(|name| headers.get_all(*name).iter().nth(1).is_some()) {
        return Err(Error::validation(format!("The header {name} is given twice.")));
    }
    let encoded = headers.get_all(header::CONTENT_ENCODING).iter().any(|coding| *coding != "identity")
        || headers
            .get(header::TRANSFER_ENCODING)
            .is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if encoded {
        let message = "Send the body as it is: no Content-Encoding is taken, and no Transfer-Encoding but chunked.";
        return Err(Error::new(ErrorKind::UnsupportedMediaType, message));
    }
    Ok(())
}

/// Host name without the port, from the request target or the Host header (RFC 9112, 3.2): there is at most one, and it looks
/// like one.
fn host(req: &Request) -> Result<Option<&str>> {
    let bad = || Error::validation("The Host header is missing, repeated or no host name.");
    let mut given = req.headers().get_all(header::HOST).iter();
    let in_header = given.next().map(|host| host.to_str().map_err(|_| bad())).transpose()?;
    if given.next().is_some() || (in_header.is_none() && req.version() == Version::HTTP_11) {
        return Err(bad());
    }
    let in_target = req.uri().authority().map(|authority| authority.as_str());
    let Some(authority) = in_target.or(in_header) else { return Ok(None) };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    if authority.is_empty() || !authority.bytes().all(plain) {
        return Err(bad());
    }
    let end = authority.rfind(':').filter(|&colon| !authority[colon..].contains(']'));
    Ok(Some(&authority[..end.unwrap_or(authority.len())]))
}

/// The route's pattern, for labels; all unknown paths share one. The same under `api.base_path`.
fn endpoint<'a>(api: &AppState, req: &'a Request) -> &'a str {
    let pattern = req.matched_path();
    let base = api.config.api.base_path.trim_start_matches('/');
    let under = pattern.trim_start_matches('/').strip_prefix(base).filter(|_| !base.is_empty());
    match under.unwrap_or(pattern) {
        "" if under.is_some() => "/",
        "" if req.uri().path() == "/" => "/",
        "" => "unknown",
        pattern => pattern,
    }
}

fn set_headers(api: &AppState, settings: &Reloadable, req: &Request, res: &mut Response, id: &RequestId) {
    let origin =
        origin(req).filter(|origin| allowed(settings, origin)).and_then(|origin| HeaderValue::from_str(origin).ok());
    let headers = res.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if api.config.api.behind_tls_proxy || *req.scheme() == Scheme::HTTPS {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
    }
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        headers.insert(REQUEST_ID, id);
    }
    if !settings.cors_origins.is_empty() {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let exposed = HeaderValue::from_static(
            "X-Request-Id, Retry-After, ETag, Link, X-Next-Cursor, X-Frame-Age-Ms, Inference-Header-Content-Length",
        );
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

fn count(api: &AppState, req: &Request, res: &Response, took: Duration) {
    let endpoint = match endpoint(api, req) {
        "unknown" => "unknown".to_owned(),
        pattern => format!("/{}", pattern.trim_start_matches('/')),
    };
    let status = res.status_code.unwrap_or(StatusCode::OK);
    let metrics = &api.metrics;
    metrics.count_request(RequestMethod::of(req.method().as_str()), &endpoint, status.as_u16(), took);
    if SLOW.iter().any(|(slow, threshold)| *slow == endpoint && took > *threshold) {
        metrics.count_slow_request(&endpoint);
    }
    let client = peer(req).map(tracing::field::display);
    tracing::debug!(method = %req.method(), endpoint, client, status = status.as_u16(), took_ms = took.as_secs_f64() * 1e3, "answered");
}

/// A browser's question before a cross-origin request (Fetch standard, CORS protocol).
fn is_preflight(req: &Request) -> bool {
    req.method() == Method::OPTIONS && req.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn answer_preflight(res: &mut Response) {
    res.status_code(StatusCode::NO_CONTENT);
    let headers = res.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PATCH, DELETE"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(
            "Authorization, Content-Type, If-None-Match, X-Request-Id, Last-Event-ID, Inference-Header-Content-Length",
        ),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
}

#[cfg(test)]
mod tests {
    use super::SLOW;
    use crate::metrics::SLOW_ENDPOINTS;

    #[test]
    fn every_threshold_has_its_series_from_the_start() {
        assert_eq!(SLOW.map(|(endpoint, _)| endpoint), SLOW_ENDPOINTS);
    }
}
