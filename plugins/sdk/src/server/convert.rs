//! Between the wire's messages and the call types.

use bytestring::ByteString;
use prism_plugin_abi::{CallContext, Data, Error, InstanceId, Request};
use prism_proto::{
    google::protobuf::Any,
    plugin::{
        ExecuteRequest, ExecuteResponse, StreamRequest, StreamResponse, execute_request, execute_response,
        stream_request, stream_response,
    },
};
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;
use tonic::{Code, Status, metadata::MetadataMap};

pub(super) fn status(error: &Error) -> Status {
    Status::new(Code::from(error.code.number()), error.message.clone())
}

fn typed(any: Any) -> Data {
    Data::Typed { type_url: any.type_url.into(), value: any.value.into() }
}

fn pairs(metadata: HashMap<String, String>) -> Vec<(ByteString, ByteString)> {
    metadata.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
}

pub(super) fn request(message: ExecuteRequest) -> Request {
    Request {
        operation: message.operation.into(),
        params: match message.params {
            None => Data::Empty,
            Some(execute_request::Params::TypedParams(any)) => typed(any),
            Some(execute_request::Params::RawParams(bytes)) => Data::Raw(bytes.into()),
        },
        metadata: pairs(message.metadata),
    }
}

pub(super) fn stream_request(message: StreamRequest) -> Request {
    Request {
        operation: message.operation.into(),
        params: match message.params {
            None => Data::Empty,
            Some(stream_request::Params::TypedParams(any)) => typed(any),
            Some(stream_request::Params::RawParams(bytes)) => Data::Raw(bytes.into()),
        },
        metadata: pairs(message.metadata),
    }
}

pub(super) fn response(outcome: Result<Data, Error>) -> ExecuteResponse {
    use execute_response::Result as Wire;
    match outcome {
        Ok(data) => ExecuteResponse {
            success: true,
            result: match data {
                Data::Empty => None,
                Data::Typed { type_url, value } => Some(Wire::TypedResult(any(&type_url, value))),
                Data::Raw(payload) => Some(Wire::RawResult(payload.into_bytes())),
            },
            ..Default::default()
        },
        Err(error) => ExecuteResponse {
            success: false,
            error: error.message.to_string(),
            error_code: error.code.number(),
            ..Default::default()
        },
    }
}

pub(super) fn stream_response(outcome: Result<Data, Error>) -> StreamResponse {
    use stream_response::Result as Wire;
    match outcome {
        Ok(data) => StreamResponse {
            result: match data {
                Data::Empty => None,
                Data::Typed { type_url, value } => Some(Wire::TypedResult(any(&type_url, value))),
                Data::Raw(payload) => Some(Wire::RawResult(payload.into_bytes())),
            },
            ..Default::default()
        },
        Err(error) => StreamResponse {
            result: None,
            is_final: true,
            error: error.message.to_string(),
            error_code: error.code.number(),
        },
    }
}

fn any(type_url: &str, value: prism_plugin_abi::Payload) -> Any {
    Any { type_url: type_url.to_owned(), value: value.into_bytes() }
}

/// The trusted context, from gRPC metadata alone. A header that is given twice, or that cannot be read, is
/// refused: whoever sends it is no proxy of ours.
pub(super) fn context(metadata: &MetadataMap) -> Result<CallContext, Status> {
    let text = |name: &str| -> Result<Option<ByteString>, Status> {
        let mut values = metadata.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Status::invalid_argument(format!("`{name}` is given twice")));
        }
        // Names are UTF-8; `to_str` would take visible ASCII alone.
        let value = std::str::from_utf8(value.as_bytes());
        let value = value.map_err(|_| Status::invalid_argument(format!("`{name}` is not UTF-8")))?;
        Ok(Some(value.into()))
    };
    let instance = match text("x-prism-instance")? {
        None => InstanceId(0),
        Some(number) => InstanceId(number.parse().map_err(|_| {
            Status::invalid_argument("`x-prism-instance` is not an unsigned 64-bit number in decimal")
        })?),
    };
    let deadline = match text("grpc-timeout")? {
        None => None,
        // A time beyond what the clock can hold is no deadline.
        Some(timeout) => Instant::now().checked_add(grpc_timeout(&timeout)?).map(Instant::into_std),
    };
    Ok(CallContext {
        instance,
        namespace: text("x-prism-namespace")?.unwrap_or_default(),
        principal: text("x-prism-principal")?,
        request_id: text("x-request-id")?.unwrap_or_default(),
        traceparent: text("traceparent")?.unwrap_or_default(),
        deadline,
    })
}

/// "Timeout" of the gRPC over HTTP/2 protocol: at most eight digits and a unit.
fn grpc_timeout(text: &str) -> Result<Duration, Status> {
    let wrong = || {
        Status::invalid_argument(format!("`grpc-timeout` is `{text}`: not up to 8 digits and one of HMSmun"))
    };
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(wrong());
    }
    let value: u64 = digits.parse().map_err(|_| wrong())?;
    match unit {
        "H" => Ok(Duration::from_secs(value * 3600)),
        "M" => Ok(Duration::from_secs(value * 60)),
        "S" => Ok(Duration::from_secs(value)),
        "m" => Ok(Duration::from_millis(value)),
        "u" => Ok(Duration::from_micros(value)),
        "n" => Ok(Duration::from_nanos(value)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &'static str)]) -> Result<CallContext, Status> {
        let mut metadata = MetadataMap::new();
        for (name, value) in pairs {
            metadata.append(*name, value.parse().unwrap());
        }
        context(&metadata)
    }

    #[test]
    fn the_context_comes_from_headers() {
        let context = read(&[
            ("x-prism-namespace", "ns"),
            ("x-prism-instance", "18446744073709551615"),
            ("x-prism-principal", "me"),
            ("x-request-id", "r"),
            ("traceparent", "t"),
            ("grpc-timeout", "99999999H"),
        ])
        .unwrap();
        assert_eq!(context.instance, InstanceId(u64::MAX));
        assert_eq!((&*context.namespace, context.principal.as_deref()), ("ns", Some("me")));
        assert_eq!((&*context.request_id, &*context.traceparent), ("r", "t"));
        assert!(context.deadline.is_some());
        let none = read(&[]).unwrap();
        assert_eq!((none.instance, none.principal, none.deadline), (InstanceId(0), None, None));
    }

    #[test]
    fn headers_that_no_proxy_sends_are_refused() {
        for (name, value) in [
            ("x-prism-instance", "0x1"),
            ("x-prism-instance", "-1"),
            ("x-prism-instance", ""),
            ("x-prism-instance", "18446744073709551616"),
            ("grpc-timeout", ""),
            ("grpc-timeout", "S"),
            ("grpc-timeout", "1"),
            ("grpc-timeout", "123456789S"),
            ("grpc-timeout", "1s"),
            ("grpc-timeout", "+1S"),
            ("grpc-timeout", "1.5S"),
        ] {
            assert_eq!(read(&[(name, value)]).unwrap_err().code(), Code::InvalidArgument, "{name}: {value}");
        }
        let names =
            ["x-prism-namespace", "x-prism-instance", "x-prism-principal", "x-request-id", "traceparent"];
        for name in names {
            assert_eq!(
                read(&[(name, "1"), (name, "1")]).unwrap_err().code(),
                Code::InvalidArgument,
                "{name}"
            );
        }
    }
}
