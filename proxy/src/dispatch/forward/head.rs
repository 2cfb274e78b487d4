//! The head of a forwarded request: what the client said, without what it may not say, and what the proxy says.

use super::{Passage, path};
use crate::head::{authority, is_grpc};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header, uri::PathAndQuery};
use prism_filters::{
    Body, Protocol, Reason, Rejection, RequestContext,
    fields::{Named, begins, is, is_hop_by_hop},
};
use prism_platform::time::Instant;
use prism_plugin_abi::{Code, Error};
use prism_plugin_host::{ForwardError, Outgoing, Service, Version, grpc_timeout};
use std::borrow::Cow;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const PRINCIPAL: HeaderName = HeaderName::from_static("x-prism-principal");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A request that is about to be forwarded.
pub(super) struct Head<'a> {
    cx: &'a RequestContext,
    request: &'a Request<Body>,
    target: PathAndQuery,
    authority: Option<&'a str>,
    length: Option<u64>,
    secured: bool,
}

impl<'a> Head<'a> {
    /// # Errors
    /// The request may not be forwarded.
    pub(super) fn new(
        cx: &'a RequestContext,
        to: &Passage<'_>,
        request: &'a Request<Body>,
    ) -> Result<Self, Rejection> {
        path::check(request.uri().path())?;
        let written = to.route.path(request.uri().path());
        if let Cow::Owned(rewritten) = &written {
            path::check(rewritten)?;
        }
        path::check_final(&written)?;
        Ok(Self {
            cx,
            target: target(&written, request.uri().query())?,
            authority: checked_authority(request)?,
            // A gRPC call's length is in its messages; what a filter made of them is perhaps not what was announced.
            length: match cx.protocol() {
                Protocol::Grpc => None,
                Protocol::Http => content_length(request.headers())?,
            },
            secured: to.secured,
            request,
        })
    }

    /// What the client said, without what belongs to its connection and what only the proxy may say.
    fn fields(&self) -> HeaderMap {
        let from = self.request.headers();
        let connection = Named::of(from);
        let mut fields = HeaderMap::with_capacity(from.len() + 4);
        for (name, value) in from {
            if !is_dropped(name) && !connection.has(name) {
                fields.append(name, value.clone());
            }
        }
        fields
    }
}

/// What a client's word is not taken for, whoever is behind. Claims of the proxy's own (`x-prism-*`) are dropped before
/// the filters.
fn is_dropped(name: &HeaderName) -> bool {
    let own = [header::HOST, header::CONTENT_LENGTH, header::EXPECT, header::PROXY_AUTHORIZATION];
    let stated = [&REQUEST_ID, &TRACEPARENT, &GRPC_TIMEOUT];
    let text = name.as_str();
    is_hop_by_hop(name)
        || own.iter().chain(stated).any(|other| is(text, other.as_str()))
        // All of them, whoever made them up: a service behind some other proxy trusts `-prefix`, `-ssl`, `-server` too.
        || begins(text, "x-forwarded-")
        || is(text, "forwarded")
        || is(text, "x-real-ip")
}

/// The path and query for the service.
fn target(path: &str, query: Option<&str>) -> Result<PathAndQuery, Rejection> {
    let text = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    text.try_into().map_err(|_| Rejection::new(Reason::MalformedPath, "the rewritten path is none"))
}

/// The host that the request is for.
///
/// # Errors
/// It names two, or one that is none.
fn checked_authority(request: &Request<Body>) -> Result<Option<&str>, Rejection> {
    let malformed = |message| Rejection::new(Reason::MalformedHeaders, message);
    let Some(authority) = authority(request.uri(), request.headers()) else { return Ok(None) };
    // RFC 9113 section 8.3.1: "A server SHOULD treat a request as malformed if it contains a Host header field that
    // identifies an entity that differs from the entity in the ":authority" pseudo-header field."
    let same = |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes());
    if request.version() == http::Version::HTTP_2 && !request.headers().get_all(header::HOST).iter().all(same)
    {
        return Err(malformed("the Host header and :authority name two hosts: send one of them"));
    }
    match authority.parse::<http::uri::Authority>() {
        Ok(parsed) if !parsed.as_str().contains('@') => Ok(Some(authority)),
        _ => Err(malformed("the request's host is none")),
    }
}

/// What the client said about its body's length. A second field of the name makes it two lengths, even if they are equal
/// here: whoever is behind may take the other.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Rejection> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let (Some(length), more) = (lengths.next(), lengths.next()) else { return Ok(None) };
    let digits = |value: &HeaderValue| {
        let text = value.to_str().ok()?;
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
    };
    match (digits(length), more) {
        (Some(length), None) => Ok(Some(length)),
        _ => Err(Rejection::new(Reason::MalformedHeaders, "content-length is one number, given once")),
    }
}

impl Outgoing for Head<'_> {
    fn head(&self, service: &Service) -> Result<Request<()>, ForwardError> {
        let version = service.version();
        let refused =
            |message: &'static str| ForwardError::from(Error::channel(Code::InvalidArgument, message));
        let grpc = is_grpc(self.request.headers());
        if grpc && version == Version::Http1 {
            let message = "the service behind this route speaks HTTP/1.1, over which there is no gRPC";
            return Err(Error::channel(Code::Unimplemented, message).into());
        }
        let authority = self.authority.unwrap_or(service.authority());
        let mut fields = self.fields();
        let text = |text: &str| {
            HeaderValue::try_from(text).map_err(|_| refused("a header holds what no header may"))
        };
        let mut uri = Uri::builder().path_and_query(self.target.clone());
        match version {
            Version::Http2 => {
                let scheme = if service.is_secured() { "https" } else { "http" };
                uri = uri.scheme(scheme).authority(authority);
                // RFC 9113 section 8.2.2: TE "MUST NOT contain any value other than "trailers"".
                let trailers = self.request.headers().get_all(header::TE).iter();
                let asks = |value: &HeaderValue| {
                    value
                        .to_str()
                        .is_ok_and(|te| te.split(',').any(|it| it.trim().eq_ignore_ascii_case("trailers")))
                };
                if grpc || trailers.into_iter().any(asks) {
                    fields.insert(header::TE, HeaderValue::from_static("trailers"));
                }
                if let Some(length) = self.length {
                    fields.insert(header::CONTENT_LENGTH, length.into());
                }
            }
            // Its framing is the library's to say, from the body's length.
            Version::Http1 => {
                fields.insert(header::HOST, text(authority)?);
            }
        }
        if !self.cx.request_id().is_empty() {
            fields.insert(REQUEST_ID, text(self.cx.request_id())?);
            fields.insert(TRACEPARENT, text(self.cx.traceparent())?);
        }
        if let Some(principal) = self.cx.principal() {
            fields.insert(PRINCIPAL, text(principal)?);
        }
        if let Some(peer) = self.cx.peer() {
            fields.insert(FORWARDED_FOR, text(&peer.ip().to_string())?);
        }
        fields.insert(FORWARDED_PROTO, HeaderValue::from_static(if self.secured { "https" } else { "http" }));
        if let Some(deadline) = self.cx.deadline() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::channel(Code::DeadlineExceeded, "the deadline has passed").into());
            }
            fields.insert(GRPC_TIMEOUT, grpc_timeout(left));
        }
        let mut head = Request::new(());
        *head.method_mut() = self.request.method().clone();
        *head.uri_mut() = uri.build().map_err(|_| refused("the request's host or path is none"))?;
        *head.version_mut() = match version {
            Version::Http1 => http::Version::HTTP_11,
            Version::Http2 => http::Version::HTTP_2,
        };
        *head.headers_mut() = fields;
        Ok(head)
    }

    fn is_idempotent(&self) -> bool {
        self.request.method().is_idempotent()
    }

    fn content_length(&self) -> Option<u64> {
        self.length
    }
}
