//! The one place where a refusal becomes an answer: gRPC status, trailers-only, or an HTTP status with a
//! JSON body, by the request's protocol.

use super::{Rejection, reason::code_name};
use crate::{Body, Protocol, RequestContext, text::cut};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use serde::Serialize;
use std::collections::HashMap;
use tonic_types::{ErrorDetails, StatusExt};

/// "domain" of the `google.rpc.ErrorInfo` that every refusal carries.
const DOMAIN: &str = "prism-edge";

/// The answer to a refused request.
#[must_use]
pub fn respond(cx: &RequestContext, rejection: &Rejection) -> Response<Body> {
    let mut response = match cx.protocol() {
        Protocol::Grpc => grpc(cx, rejection),
        Protocol::Http => http(cx, rejection),
    };
    for (name, value) in &rejection.0.headers {
        response.headers_mut().append(name.clone(), value.clone());
    }
    response
}

fn grpc(cx: &RequestContext, rejection: &Rejection) -> Response<Body> {
    let mut headers = status(rejection, Some(cx));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = headers;
    response
}

/// The trailers of an answer that was refused after its headers were sent.
#[must_use]
pub fn trailers_of(rejection: &Rejection) -> HeaderMap {
    status(rejection, None)
}

/// `grpc-status`, `grpc-message` and `grpc-status-details-bin` with a `google.rpc.ErrorInfo`, and a
/// `google.rpc.RetryInfo` where the call may be made again.
fn status(rejection: &Rejection, cx: Option<&RequestContext>) -> HeaderMap {
    let mut info = HashMap::from([("filter".to_owned(), rejection.filter().to_owned())]);
    if let Some(cx) = cx {
        info.insert("config_version".to_owned(), cx.config_version().to_string());
        if !cx.namespace().is_empty() {
            info.insert("namespace".to_owned(), cx.namespace().to_string());
        }
    }
    if let Some(namespace) = &rejection.0.namespace {
        info.insert("namespace".to_owned(), namespace.clone());
    }
    if let Some(plugin) = &rejection.0.plugin {
        info.insert("plugin".to_owned(), plugin.clone());
    }
    let mut details = ErrorDetails::with_error_info(rejection.reason().name(), DOMAIN, info);
    if let Some(after) = rejection.0.retry {
        details.set_retry_info(Some(after));
    }
    let message = cut(rejection.message(), MOST_MESSAGE);
    let status = tonic::Status::with_error_details(rejection.code(), message, details);
    let mut headers = HeaderMap::with_capacity(6);
    if status.add_header(&mut headers).is_err() {
        // Only a message that no header can hold gets here; the code alone still tells what happened.
        headers.insert("grpc-status", HeaderValue::from(rejection.code() as i32));
    }
    headers
}

fn http(cx: &RequestContext, rejection: &Rejection) -> Response<Body> {
    let json = error_json(rejection, cx.request_id());
    let mut response = Response::new(Body::from(Bytes::from(json)));
    *response.status_mut() = rejection.http_status();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(after) = rejection.0.retry {
        // In whole seconds (RFC 9110, section 10.2.3).
        response.headers_mut().insert(header::RETRY_AFTER, after.as_secs().into());
    }
    response
}

/// A refusal as a JSON object.
#[must_use]
pub fn error_json(rejection: &Rejection, request_id: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct ErrorBody<'a> {
        code: &'a str,
        message: &'a str,
        reason: &'a str,
        request_id: &'a str,
    }
    let body = ErrorBody {
        code: code_name(rejection.code()),
        message: rejection.message(),
        reason: rejection.reason().name(),
        request_id,
    };
    // Strings always serialize.
    serde_json::to_vec(&body).unwrap_or_default()
}

/// `grpc-message` is percent-encoded, at worst to three times its length, and at most 1 KiB then: peers limit
/// their header lists.
const MOST_MESSAGE: usize = 1024 / 3;
