//! Requests to the whole HTTP side, as an admin: the one who reaches everything.

use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use salvo::Request;
use salvo::http::body::Frame;
use salvo::http::uri::Uri;
use salvo::http::{HeaderName, Method, ReqBody};
use serde_json::Value;

use super::unit::{Reply, answer};

const UPLOADS: [&str; 3] = ["/api/vehicle/classify", "/api/vehicle/classify-batch", "/api/vehicle/report"];
/// Pieces of a body: a boundary may lie across two of them.
const PIECE_BYTES: [usize; 4] = [1, 7, 64, 4_096];

/// A multipart body with the boundary `XbX`, to the upload endpoints.
pub fn multipart(body: &[u8]) {
    let place = UPLOADS[body.len() % UPLOADS.len()];
    let piece = PIECE_BYTES[body.len() / UPLOADS.len() % PIECE_BYTES.len()];
    let mut request = asked(Method::POST, place.parse().unwrap(), body, piece);
    request.headers_mut().insert("content-type", "multipart/form-data; boundary=XbX".parse().unwrap());
    sound(place, &answer(request));
}

/// The target of a GET: path, query, cursors.
pub fn query(target: &[u8]) {
    let Ok(uri) = Uri::try_from(target) else { return };
    if uri.path_and_query().is_none() || !uri.path().starts_with('/') {
        return;
    }
    let shown = uri.to_string();
    sound(&shown, &answer(asked(Method::GET, uri, b"", 1)));
}

/// A request as text: method and target, lines of headers, an empty line, the body.
pub fn request(text: &[u8]) {
    let end = text.windows(2).position(|pair| pair == b"\n\n").unwrap_or(text.len());
    let (head, body) = (&text[..end], text.get(end + 2..).unwrap_or_default());
    let Ok(head) = std::str::from_utf8(head) else { return };
    let mut lines = head.lines();
    let Some((method, target)) = lines.next().and_then(|line| line.split_once(' ')) else { return };
    let (Ok(method), Ok(uri)) = (method.parse::<Method>(), target.parse::<Uri>()) else { return };
    // Each of these takes 19 MiB and a twentieth of a second; and the own account has to stay.
    let costly = ["/auth/token", "/auth/password", "/auth/logout", "/api/users/alma"];
    if !uri.path().starts_with('/') || costly.iter().any(|path| uri.path().eq_ignore_ascii_case(path)) {
        return;
    }
    let shown = format!("{method} {uri}");
    let mut request = asked(method, uri, body, PIECE_BYTES[3]);
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
            request.headers_mut().insert(name, value);
        }
    }
    sound(&shown, &answer(request));
}

fn asked(method: Method, uri: Uri, body: &[u8], piece: usize) -> Request {
    let pieces: Vec<_> = body
        .chunks(piece.max(body.len() / 64))
        .map(|piece| Ok::<_, salvo::BoxedError>(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    let mut request = Request::new();
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    request.headers_mut().insert("host", "unit".parse().unwrap());
    let inner = Box::pin(StreamBody::new(stream::iter(pieces)));
    request.replace_body(ReqBody::Boxed { inner, fuse_config: None });
    request
}

/// No failure of the unit's own, and one shape for every refusal.
fn sound(asked: &str, reply: &Reply) {
    let text = String::from_utf8_lossy(&reply.body);
    // The store or a worker may be busy for a moment; anything else from 500 on is a fault.
    assert!(reply.status < 500 || reply.status == 503, "{asked}: {} {text}", reply.status);
    assert!(reply.headers.contains_key("x-request-id"), "{asked}");
    if reply.status >= 400 {
        let body: Value = serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("{asked}: {text}"));
        assert!(body["error_code"].is_string() && body["message"].is_string(), "{asked}: {text}");
    }
}
