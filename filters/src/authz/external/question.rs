//! What an authorizer is told of a call.

use super::{
    Settings,
    wire::{Address, Attributes, CheckRequest, HttpRequest, Metadata, Peer, Request, SocketAddress},
};
use crate::{Body, BuildError, RequestContext, authz::claims::Name, fields::same};
use http::{HeaderMap, HeaderName, header};
use prost_types::{ListValue, Struct, Timestamp, value::Kind};
use serde_json::Value;
use std::{collections::HashMap, time::SystemTime};

/// Under which the caller's claims stand in `metadata_context.filter_metadata`.
const CALLER: &str = "prism.caller";

/// What is asked about every call.
pub(super) struct Question {
    headers: Box<[HeaderName]>,
    claims: Box<[Name]>,
}

/// What the call is about to do, through which listener, and when.
pub(super) struct What<'a> {
    pub(super) operation: &'a str,
    pub(super) kind: &'a str,
    pub(super) listener: &'a str,
    pub(super) at: SystemTime,
}

impl Question {
    pub(super) fn new(settings: &Settings) -> Result<Self, BuildError> {
        let name = |name: &String| {
            HeaderName::try_from(name.as_str())
                .map_err(|error| BuildError::new(format!("`{name}` is no header's name")).caused_by(error))
        };
        Ok(Self {
            headers: settings.headers.iter().map(name).collect::<Result<_, _>>()?,
            claims: settings.claims.iter().map(|name| Name::new(name)).collect(),
        })
    }

    pub(super) fn about(
        &self,
        cx: &RequestContext,
        head: &http::Request<Body>,
        what: &What<'_>,
    ) -> CheckRequest {
        let principal = cx.principal().map(ToString::to_string).unwrap_or_default();
        let extensions = [
            ("namespace", cx.namespace().to_string()),
            ("operation", what.operation.to_owned()),
            ("kind", what.kind.to_owned()),
            ("principal", principal.clone()),
            ("listener", what.listener.to_owned()),
        ];
        let address = cx.peer().map(|peer| Address {
            socket_address: Some(SocketAddress {
                address: peer.ip().to_string(),
                port_value: Some(peer.port().into()),
            }),
        });
        CheckRequest {
            attributes: Some(Attributes {
                source: Some(Peer { address, principal }),
                request: Some(Request {
                    time: Some(Timestamp::from(what.at)),
                    http: Some(self.http(cx, head)),
                }),
                context_extensions: extensions.map(|(name, value)| (name.to_owned(), value)).into(),
                metadata_context: self.metadata(cx),
            }),
        }
    }

    fn http(&self, cx: &RequestContext, head: &http::Request<Body>) -> HttpRequest {
        let (uri, headers) = (head.uri(), head.headers());
        let host = uri.authority().map(ToString::to_string);
        let length =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        HttpRequest {
            id: cx.request_id().to_string(),
            method: head.method().to_string(),
            headers: self.named(headers),
            // Envoy: with the query.
            path: uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            host: host.or_else(|| text(headers, &header::HOST)).unwrap_or_default(),
            scheme: uri.scheme_str().unwrap_or_default().to_owned(),
            // Envoy: -1 where it is not known.
            size: length.unwrap_or(-1),
            protocol: format!("{:?}", head.version()),
        }
    }

    fn named(&self, headers: &HeaderMap) -> HashMap<String, String> {
        let found = self.headers.iter().filter_map(|name| Some((name.to_string(), text(headers, name)?)));
        found.collect()
    }

    fn metadata(&self, cx: &RequestContext) -> Option<Metadata> {
        if self.claims.is_empty() {
            return None;
        }
        let credentials = || cx.caller().into_iter().flat_map(|caller| caller.credentials());
        // Where several credentials say it, the first of them: a caller has no say in their order.
        let claim = |name: &Name| {
            let value = credentials().find_map(|credential| name.find(credential.claims()))?;
            Some((name.as_str().to_owned(), said(value)))
        };
        let fields = self.claims.iter().filter_map(claim).collect();
        Some(Metadata { filter_metadata: HashMap::from([(CALLER.to_owned(), Struct { fields })]) })
    }
}

/// All values of a header, as RFC 9110 section 5.3 joins them; those of other spellings too, which a service may take for it.
/// What is no UTF-8 in them is replaced.
fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let alike = |other: &HeaderName| other != name && same(other.as_str(), name.as_str());
    let alike = headers.iter().filter(|(other, _)| alike(other)).map(|(_, value)| value);
    let values = headers.get_all(name).iter().chain(alike);
    let mut values = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
    let first = values.next()?.into_owned();
    Some(values.fold(first, |all, value| all + "," + &value))
}

/// JSON as protobuf has it. It is as deep as a credential's claims are, which is bounded where they are read.
fn said(value: &Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(values) => Kind::ListValue(ListValue { values: values.iter().map(said).collect() }),
        Value::Object(object) => Kind::StructValue(Struct {
            fields: object.iter().map(|(name, value)| (name.clone(), said(value))).collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}
