//! `grpc_web`: calls from browsers, which can neither send gRPC's framing of HTTP/2 nor read its trailers.
//!
//! ```yaml
//! - grpc_web
//! ```
//!
//! gRPC-Web (PROTOCOL-WEB.md of the gRPC project) has the same messages, so a call becomes gRPC before anything of it is
//! read, and the answer gRPC-Web after everything else: whatever is between knows gRPC alone, refusals included.

mod answer;
mod text;

use crate::{
    Body, BuildContext, BuildError, Decorators, Filter, FilterFuture, FilterType, Next, RequestContext,
    text::strip_media_type,
};
use http::{HeaderName, HeaderValue, Method, Request, header};
use prism_config::Phase;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const X_GRPC_WEB: HeaderName = HeaderName::from_static("x-grpc-web");

/// Settings of `grpc_web`: none. Both of its forms are taken (`application/grpc-web` and the base64 of
/// `application/grpc-web-text`), over HTTP/1.1 and HTTP/2, for every service that is called here over gRPC. Where it stands
/// in the chain does not matter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {}

/// The filter.
pub struct GrpcWeb;

/// That a request was gRPC-Web: it is a gRPC call, whatever the version of HTTP that it came over.
#[derive(Clone)]
struct Translated;

/// The request came as gRPC-Web and is gRPC now.
#[must_use]
pub fn is_translated<B>(request: &Request<B>) -> bool {
    request.extensions().get::<Translated>().is_some()
}

impl FilterType for GrpcWeb {
    const NAME: &'static str = "grpc_web";
    const PHASE: Phase = Phase::Request;
    type Settings = Settings;

    fn build(_: Settings, _: &BuildContext<'_>, _: Option<&Self>) -> Result<Self, BuildError> {
        Ok(Self)
    }
}

impl Filter for GrpcWeb {
    fn arrive<'a>(&'a self, request: &mut Request<Body>, answer: &mut Decorators<'a>) {
        if let Some(form) = translate(request) {
            answer.add(move |response| answer::translate(response, form));
        }
    }

    fn call<'a>(
        &'a self,
        cx: &'a RequestContext,
        request: &'a mut Request<Body>,
        next: Next<'a>,
    ) -> FilterFuture<'a> {
        // All of it happens before the first filter and after the last.
        next.call(cx, request)
    }
}

/// How the bytes of a body are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As they are.
    Binary,
    /// In base64, for clients that cannot hold bytes, or that read a stream as text.
    Text,
}

impl Form {
    /// The form that a media type names, and what it says behind that (`+proto`, parameters).
    fn of(media_type: &[u8]) -> Option<(Self, &[u8])> {
        let rest = strip_media_type(media_type, "application/grpc-web")?;
        let (form, rest) = match strip_media_type(rest, "-text") {
            Some(rest) => (Self::Text, rest),
            None => (Self::Binary, rest),
        };
        is_rest(rest).then_some((form, rest))
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Binary => "application/grpc-web",
            Self::Text => "application/grpc-web-text",
        }
    }
}

/// What may follow a media type's name: the messages' format, or parameters.
fn is_rest(rest: &[u8]) -> bool {
    matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// Makes a gRPC-Web call gRPC. Answers how the answer is to be written; `None` for every other request, which stays
/// as it is.
fn translate(request: &mut Request<Body>) -> Option<Form> {
    if request.method() != Method::POST {
        return None;
    }
    let content_type = request.headers().get(header::CONTENT_TYPE)?;
    let (form, rest) = Form::of(content_type.as_bytes())?;
    let content_type = HeaderValue::from_bytes(&[b"application/grpc", rest].concat()).ok()?;
    let accepted = accepted(request.headers().get_all(header::ACCEPT));
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    // "Te → "te" "trailers" # Used to detect incompatible proxies" (PROTOCOL-HTTP2.md): servers insist on it.
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    // That of the text, where there is one; and what is gRPC has no use for the other.
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(X_GRPC_WEB);
    if form == Form::Text {
        let body = std::mem::take(request.body_mut());
        *request.body_mut() = text::decoded(body);
    }
    request.extensions_mut().insert(Translated);
    Some(accepted.unwrap_or(form))
}

/// "The client library should indicate to the server via the "Accept" header that the response stream needs to be text
/// encoded" (PROTOCOL-WEB.md). Who accepts neither form by name gets the one that it sent.
fn accepted<'a>(accept: impl IntoIterator<Item = &'a HeaderValue>) -> Option<Form> {
    let ranges = accept.into_iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    ranges.filter_map(|range| Form::of(range.trim_ascii())).map(|(form, _)| form).next()
}

#[cfg(test)]
mod tests;
