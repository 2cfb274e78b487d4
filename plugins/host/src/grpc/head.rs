//! The head of a call to a plugin: the trusted context as gRPC metadata.

use crate::{channel::ForwardError, upstream::time_left};
use bytes::Bytes;
use bytestring::ByteString;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    header::{CONTENT_TYPE, TE},
};
use prism_plugin_abi::{CallContext, Code, Error};
use std::time::Duration;

const NAMESPACE: HeaderName = HeaderName::from_static("x-prism-namespace");
const PRINCIPAL: HeaderName = HeaderName::from_static("x-prism-principal");
const INSTANCE: HeaderName = HeaderName::from_static("x-prism-instance");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Fields of nearly every call. Room for all that there are would be twice the memory, and past what the allocator has at
/// hand.
const FIELDS: usize = 6;

/// Builds a call's head.
pub(crate) fn request(uri: Uri, context: &CallContext) -> Result<Request<()>, ForwardError> {
    let mut headers = HeaderMap::with_capacity(FIELDS);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(INSTANCE, HeaderValue::from(context.instance.0));
    insert(&mut headers, &NAMESPACE, &context.namespace)?;
    if let Some(principal) = &context.principal {
        insert(&mut headers, &PRINCIPAL, principal)?;
    }
    if !context.request_id.is_empty() {
        insert_unique(&mut headers, &REQUEST_ID, &context.request_id)?;
    }
    if !context.traceparent.is_empty() {
        insert_unique(&mut headers, &TRACEPARENT, &context.traceparent)?;
    }
    if let Some(left) = time_left(context)? {
        headers.insert(GRPC_TIMEOUT, once(timeout(left)));
    }
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Ok(request)
}

fn insert(headers: &mut HeaderMap, name: &HeaderName, text: &ByteString) -> Result<(), ForwardError> {
    headers.insert(name, value(name, text)?);
    Ok(())
}

fn insert_unique(headers: &mut HeaderMap, name: &HeaderName, text: &ByteString) -> Result<(), ForwardError> {
    headers.insert(name, once(value(name, text)?));
    Ok(())
}

/// A value that never comes again: HPACK is told not to remember it (RFC 7541 section 6.2.3), which would cost time and
/// push out of its table what does come again.
fn once(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

fn value(name: &HeaderName, text: &ByteString) -> Result<HeaderValue, ForwardError> {
    let bytes: Bytes = text.as_bytes().clone();
    HeaderValue::from_maybe_shared(bytes).map_err(|_| {
        // Leaving it out would make another call of it.
        Error::channel(Code::Internal, format!("`{name}` holds characters that no header may")).into()
    })
}

/// gRPC over HTTP/2, "Timeout": at most eight digits and a unit. Rounded down, so that the plugin gives up
/// first; never to zero, which is no timeout.
#[must_use]
pub fn timeout(left: Duration) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    let (value, unit) = match left {
        left if left.as_micros() <= MOST => (left.as_micros().max(1), 'u'),
        left if left.as_millis() <= MOST => (left.as_millis(), 'm'),
        left => (u128::from(left.as_secs()).min(MOST), 'S'),
    };
    HeaderValue::try_from(format!("{value}{unit}")).unwrap_or_else(|_| HeaderValue::from_static("1u"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_platform::time::Instant;
    use prism_plugin_abi::InstanceId;

    #[test]
    fn a_timeout_has_at_most_eight_digits() {
        for (left, text) in [
            (Duration::from_nanos(1), "1u"),
            (Duration::from_millis(1500), "1500000u"),
            (Duration::from_micros(99_999_999), "99999999u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(100_000), "100000S"),
            (Duration::MAX, "99999999S"),
        ] {
            assert_eq!(timeout(left), text);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_context_is_all_there_and_nothing_else() {
        let context = CallContext {
            instance: InstanceId(u64::MAX),
            namespace: "orders".into(),
            principal: Some("spiffe://x/y".into()),
            request_id: "r-1".into(),
            traceparent: "00-aa-bb-01".into(),
            deadline: Some((Instant::now() + Duration::from_secs(2)).into_std()),
        };
        let request = request(Uri::from_static("http://localhost/x"), &context).unwrap();
        let mut fields: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        fields.sort();
        assert_eq!(
            fields,
            [
                "content-type: application/grpc",
                "grpc-timeout: 2000000u",
                "te: trailers",
                "traceparent: 00-aa-bb-01",
                "x-prism-instance: 18446744073709551615",
                "x-prism-namespace: orders",
                "x-prism-principal: spiffe://x/y",
                "x-request-id: r-1",
            ]
        );
        assert_eq!(request.method(), Method::POST);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_said_is_refused_and_not_left_out() {
        let context = CallContext { principal: Some("a\r\nb".into()), ..Default::default() };
        let refused = request(Uri::from_static("http://localhost/x"), &context).unwrap_err();
        assert!(matches!(refused, ForwardError::Refused(error) if error.code == Code::Internal));
        let context = CallContext { deadline: Some(Instant::now().into_std()), ..Default::default() };
        let refused = request(Uri::from_static("http://localhost/x"), &context).unwrap_err();
        assert!(matches!(refused, ForwardError::Refused(error) if error.code == Code::DeadlineExceeded));
    }
}
