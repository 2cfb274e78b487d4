//! Reading a request's head: which protocol, what for, whose. What a client says about itself that only the
//! proxy may say (`x-prism-*`) is dropped here, before any filter runs.

use crate::{edge::Limits, snapshot::Route};
use bytestring::ByteString;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use prism_filters::{
    Body, Protocol, Reason, Rejection, Rpc,
    fields::{drop_where, is_claim},
    grpc_web::is_translated,
    shared_text, strip_media_type,
};
use prism_platform::time::Instant;
use std::time::Duration;

const NAMESPACE: &str = "x-prism-namespace";
const NAMESPACE_FIELD: HeaderName = HeaderName::from_static(NAMESPACE);

/// What a request asks of us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A method of `prism.data.v1.DataService`.
    Data(Rpc),
    /// A gRPC method of some other service: of one that the namespace's plugin declares, if of any.
    Typed,
    /// `POST /v1/{namespace}/{operation}`.
    Gateway,
    /// `GET /v1/{namespace}`, or the same as OpenAPI: what there is.
    Description { openapi: bool },
    /// A gRPC service of the listener's own: health or reflection.
    Local,
    /// Whatever the route's service makes of it.
    Forward,
    /// Nothing that is served; of a typed method, only that it was not called as gRPC.
    Nothing,
}

/// A request's head, read.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) protocol: Protocol,
    pub(crate) target: Target,
    /// Empty where none was named.
    pub(crate) namespace: ByteString,
    /// The gateway's operation; a gRPC call has it in its body.
    pub(crate) operation: ByteString,
    pub(crate) deadline: Option<Instant>,
    /// The call's messages may be compressed with gzip.
    pub(crate) gzip: bool,
    /// What is already known to be wrong. `plugin_dispatch` says it.
    pub(crate) refusal: Option<Rejection>,
}

impl Head {
    pub(crate) fn read(request: &mut Request<Body>, route: Option<&Route>, limits: &Limits) -> Self {
        let fields = Fields::read(request.headers());
        let protocol = protocol_of(request, fields.content_type);
        let mut head = Self {
            protocol,
            target: Target::Nothing,
            namespace: ByteString::new(),
            operation: ByteString::new(),
            deadline: None,
            gzip: false,
            refusal: None,
        };
        let outcome = head.fill(request, &fields, route, limits);
        head.refusal = outcome.err();
        let (namespace, others) = (fields.namespace.is_some(), fields.other_claims);
        if namespace {
            request.headers_mut().remove(NAMESPACE_FIELD);
        }
        if others {
            drop_where(request.headers_mut(), |name| is_claim(name.as_str()));
        }
        head
    }

    fn fill(
        &mut self,
        request: &Request<Body>,
        fields: &Fields<'_>,
        route: Option<&Route>,
        limits: &Limits,
    ) -> Result<(), Rejection> {
        if request.headers().len() > limits.max_header_fields {
            return Err(Rejection::new(
                Reason::HeadersTooLarge,
                format!("a request may have {} header fields here", limits.max_header_fields),
            ));
        }
        // What is no HTTP/1.1 is answered as such, in whatever protocol it was meant.
        check_http1(request).inspect_err(|_| self.protocol = Protocol::Http)?;
        let path = request.uri().path();
        if let Some(forward) = route.and_then(Route::forward)
            && (forward.is_particular() || !is_local(path))
        {
            // No namespace, no operation: whatever the client says of those is dropped like its other claims.
            self.target = Target::Forward;
            if self.protocol == Protocol::Grpc {
                self.deadline = fields.timeout.map(deadline).transpose()?.flatten();
            }
            return Ok(());
        }
        let named = fields.namespace()?;
        let in_path = match path {
            "/prism.data.v1.DataService/Execute" => {
                self.target = Target::Data(Rpc::Unary);
                None
            }
            "/prism.data.v1.DataService/ExecuteStream" => {
                self.target = Target::Data(Rpc::Streaming);
                None
            }
            _ if is_local(path) => {
                self.target = Target::Local;
                None
            }
            _ => match path.strip_prefix("/v1/") {
                Some(rest) => Some(self.gateway(request.method(), rest)?),
                None => {
                    let service = path.strip_prefix('/').unwrap_or_default();
                    if self.protocol == Protocol::Grpc && prism_proto::reserved(service).is_none() {
                        self.target = Target::Typed;
                    }
                    None
                }
            },
        };
        self.namespace = agreed_namespace(route.and_then(Route::namespace), named, in_path)?;
        self.deadline = fields.timeout.map(deadline).transpose()?.flatten();
        if matches!(self.target, Target::Data(_) | Target::Typed | Target::Local) {
            require_grpc(self.protocol, request, self.target == Target::Local)?;
        }
        if matches!(self.target, Target::Data(_) | Target::Typed) {
            self.gzip = fields.gzip()?;
        }
        Ok(())
    }
}

impl Head {
    /// A path of the gateway, without `/v1/`. Answers the namespace in it.
    fn gateway(&mut self, method: &Method, rest: &str) -> Result<ByteString, Rejection> {
        let (namespace, operation) = gateway_path(rest)?;
        let reads = method == Method::GET;
        self.target = match operation {
            None => Target::Description { openapi: false },
            Some("openapi.json") if reads => Target::Description { openapi: true },
            Some(operation) => {
                self.operation = shared_text(operation);
                Target::Gateway
            }
        };
        if matches!(self.target, Target::Description { .. }) && !reads {
            return Err(Rejection::new(
                Reason::MethodNotAllowed,
                "what a namespace has is asked with GET; an operation is called with POST /v1/{namespace}/{operation}",
            )
            .with_header("allow", "GET"));
        }
        Ok(shared_text(namespace))
    }
}

/// The host that a request is for, with its port where it names one. RFC 9112 section 3.2.2: "the origin server MUST
/// ignore the received Host header field (if any)" where the request line itself has the host.
pub(crate) fn authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    match uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => headers.get(header::HOST)?.to_str().ok(),
    }
}

fn is_local(path: &str) -> bool {
    path.starts_with("/grpc.health.v1.Health/") || path.starts_with("/grpc.reflection.")
}

/// The fields that the edge itself reads, picked out in one pass: a look-up each would hash each name.
#[derive(Default)]
struct Fields<'a> {
    content_type: Option<&'a HeaderValue>,
    timeout: Option<&'a HeaderValue>,
    encoding: Option<&'a HeaderValue>,
    /// `x-prism-namespace`, and whether there are several.
    namespace: Option<&'a HeaderValue>,
    namespace_repeated: bool,
    /// There is some other `x-prism-*`.
    other_claims: bool,
}

impl<'a> Fields<'a> {
    fn read(headers: &'a HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            match name.as_str() {
                "content-type" => fields.content_type = fields.content_type.or(Some(value)),
                "grpc-timeout" => fields.timeout = fields.timeout.or(Some(value)),
                "grpc-encoding" => fields.encoding = fields.encoding.or(Some(value)),
                NAMESPACE => {
                    fields.namespace_repeated = fields.namespace.is_some();
                    fields.namespace = Some(value);
                }
                other => fields.other_claims |= is_claim(other),
            }
        }
        fields
    }

    /// Whether messages may be compressed, and in the one way that is undone here (gRPC's compression.md: "UNIMPLEMENTED"
    /// for what "is not supported by the server", with `grpc-accept-encoding`).
    fn gzip(&self) -> Result<bool, Rejection> {
        match self.encoding.map(HeaderValue::as_bytes) {
            None | Some(b"identity") => Ok(false),
            Some(b"gzip") => Ok(true),
            Some(_) => Err(Rejection::new(
                Reason::CompressedMessage,
                "messages compressed in this way are not taken: send them with grpc-encoding gzip or identity",
            )
            .with_header("grpc-accept-encoding", "identity,gzip")),
        }
    }

    /// The one `x-prism-namespace` header. Header names are lower case by now, whatever the client wrote.
    fn namespace(&self) -> Result<Option<&'a str>, Rejection> {
        if self.namespace_repeated {
            return Err(invalid_namespace("x-prism-namespace is given more than once: give it once"));
        }
        let text = self.namespace.map(HeaderValue::to_str).transpose();
        text.map_err(|_| invalid_namespace("x-prism-namespace is not plain text"))
    }
}

/// The content type is gRPC's.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(is_grpc_type)
}

/// `application/grpc`, `application/grpc+proto`, with parameters or without (gRPC over HTTP/2, "Requests" and
/// "Responses"); not `application/grpc-web`, which is another protocol.
fn is_grpc_type(content_type: &HeaderValue) -> bool {
    let rest = strip_media_type(content_type.as_bytes(), "application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// gRPC is spoken over HTTP/2 only: its outcome is in trailers, which HTTP/1.1 clients seldom read, so that a
/// failure could look like success. What came as gRPC-Web is answered so, and has its outcome in the body.
fn protocol_of(request: &Request<Body>, content_type: Option<&HeaderValue>) -> Protocol {
    let possible = request.version() == Version::HTTP_2 || is_translated(request);
    let grpc = possible && content_type.is_some_and(is_grpc_type);
    if grpc { Protocol::Grpc } else { Protocol::Http }
}

/// What hyper lets pass and RFC 9112 does not.
fn check_http1(request: &Request<Body>) -> Result<(), Rejection> {
    if request.version() == Version::HTTP_2 {
        return Ok(());
    }
    let malformed = |message| Rejection::new(Reason::MalformedHeaders, message);
    // Section 3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message
    // that lacks a Host header field and to any request message that contains more than one Host".
    let hosts = request.headers().get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        return Err(malformed("an HTTP/1.1 request has exactly one Host header"));
    }
    // Section 6.1: a body in a coding that we do not undo would reach the plugin as something else than was sent.
    let mut codings = request.headers().get_all(header::TRANSFER_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")) {
        return Err(malformed("the only transfer coding that is taken is chunked"));
    }
    Ok(())
}

/// A request for a gRPC method is gRPC. A service of the listener's own has no JSON.
///
/// # Errors
/// It is not.
pub(crate) fn require_grpc(
    protocol: Protocol,
    request: &Request<Body>,
    local: bool,
) -> Result<(), Rejection> {
    if request.method() != Method::POST {
        return Err(Rejection::new(Reason::MethodNotAllowed, "gRPC methods are called with POST")
            .with_header("allow", "POST"));
    }
    if protocol != Protocol::Grpc {
        let json = if local { "" } else { ", or in JSON with POST /v1/{namespace}/{operation}" };
        return Err(Rejection::new(
            Reason::UnsupportedMediaType,
            format!(
                "this path is a gRPC method: call it over HTTP/2 with content-type application/grpc, from a web page as \
                 gRPC-Web where the filter `grpc_web` is{json}"
            ),
        ));
    }
    Ok(())
}

fn agreed_namespace(
    route: Option<&ByteString>,
    header: Option<&str>,
    path: Option<ByteString>,
) -> Result<ByteString, Rejection> {
    let mut agreed: Option<ByteString> = None;
    let header = header.map(shared_text);
    for name in [route.cloned(), path, header].into_iter().flatten() {
        if !is_namespace(&name) {
            return Err(invalid_namespace(
                "a namespace's name is 1 to 63 of a-z, 0-9 and `-`, and does not begin with `-`",
            ));
        }
        match &agreed {
            Some(earlier) if *earlier != name => {
                return Err(invalid_namespace(
                    "the request names two namespaces: what the route or path says and the x-prism-namespace \
                     header differ",
                ));
            }
            _ => agreed = Some(name),
        }
    }
    Ok(agreed.unwrap_or_default())
}

fn invalid_namespace(message: &'static str) -> Rejection {
    Rejection::new(Reason::InvalidNamespace, message)
}

/// `[a-z0-9]([a-z0-9-]{0,62})`
fn is_namespace(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && !name.starts_with('-')
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// The segments of a gateway's path, in the one form that routing and authorization both see. Routes are matched on the
/// path as it is written, so a second way to write it (`%64emo` for `demo`) would be a way around them: no escape
/// is taken, and an operation whose name needs one is called over gRPC.
fn gateway_path(rest: &str) -> Result<(&str, Option<&str>), Rejection> {
    let malformed = |message| Rejection::new(Reason::MalformedPath, message);
    let mut segments = rest.split('/');
    let (Some(namespace), operation, None) = (segments.next(), segments.next(), segments.next()) else {
        return Err(malformed("a gateway path is /v1/{namespace}/{operation}"));
    };
    for segment in std::iter::once(namespace).chain(operation) {
        if segment.is_empty() || segment == "." || segment == ".." || segment.contains(['%', '\\']) {
            return Err(malformed("a path segment is empty, a dot, or has an escape: write it plainly"));
        }
    }
    Ok((namespace, operation))
}

/// `grpc-timeout`: at most eight digits and a unit (gRPC over HTTP/2, "Timeout").
fn deadline(value: &HeaderValue) -> Result<Option<Instant>, Rejection> {
    let malformed = || {
        Rejection::new(
            Reason::MalformedTimeout,
            "grpc-timeout is one to eight digits and one of H, M, S, m, u, n",
        )
    };
    let text = value.to_str().map_err(|_| malformed())?;
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(malformed)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed());
    }
    let amount: u64 = digits.parse().map_err(|_| malformed())?;
    let timeout = match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return Err(malformed()),
    };
    // A deadline in the far future is none.
    Ok(Instant::now().checked_add(timeout))
}

#[cfg(test)]
mod tests;
