//! Names and values that nearly all requests have: as statics they cost no allocation, and a clone of one counts nothing.

use bytes::Bytes;
use http::HeaderName;

macro_rules! names {
    ($($name:literal)*) => {
        /// Of the names that `http` has no constant for.
        pub(super) fn name(name: &[u8]) -> Option<HeaderName> {
            $(if name == $name.as_bytes() {
                static NAME: HeaderName = HeaderName::from_static($name);
                return Some(NAME.clone());
            })*
            None
        }
    };
}

names! {
    "grpc-timeout" "grpc-encoding" "grpc-accept-encoding" "grpc-trace-bin" "traceparent" "tracestate" "x-request-id"
    "x-forwarded-for" "x-forwarded-proto" "x-api-key"
}

const VALUES: [&str; 15] = [
    "application/grpc",
    "application/grpc+proto",
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/json",
    "trailers",
    "gzip",
    "identity",
    "gzip,deflate",
    "gzip, deflate",
    "gzip, deflate, br",
    "identity,deflate,gzip",
    "identity, deflate, gzip",
    "*/*",
    "no-cache",
];

/// The same value, static if it is known. For what a table keeps: it is looked for once, and then cloned with every request.
pub(super) fn value(value: Bytes) -> Bytes {
    match VALUES.iter().find(|known| value == known.as_bytes()) {
        Some(known) => Bytes::from_static(known.as_bytes()),
        None => value,
    }
}
