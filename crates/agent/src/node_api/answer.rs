//! Answers: text as kubelet's plain errors, JSON, streams.

use client::{Body, full_body};
use cri::ErrorKind;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};

/// What every handler gives.
pub type Answer = Response<Body>;

fn with_type(status: StatusCode, kind: &'static str, body: impl Into<bytes::Bytes>) -> Answer {
    let mut answer = Response::new(full_body(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// Plain text.
pub fn text(status: StatusCode, body: impl Into<String>) -> Answer {
    with_type(status, "text/plain; charset=utf-8", body.into())
}

/// JSON.
pub fn json(body: Vec<u8>) -> Answer {
    with_type(StatusCode::OK, "application/json", body)
}

/// Metrics in the text format.
pub fn metrics(body: String) -> Answer {
    with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", body)
}

/// 404 with upstream's text.
pub fn not_found(body: impl Into<String>) -> Answer {
    text(StatusCode::NOT_FOUND, body)
}

/// 400 with upstream's text.
pub fn bad_request(body: impl Into<String>) -> Answer {
    text(StatusCode::BAD_REQUEST, body)
}

/// What the runtime refused.
pub fn runtime_error(error: &cri::Error) -> Answer {
    let status = if error.kind == ErrorKind::NotFound {
        StatusCode::NOT_FOUND
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    text(status, error.message.clone())
}
