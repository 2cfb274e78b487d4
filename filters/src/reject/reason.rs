//! Every reason for which a request is refused. The same name appears in the access log, the metric
//! label, the HTTP error body and the gRPC status details.

pub use tonic::Code;

use http::StatusCode;
use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident, $text:literal, $code:ident $(, $http:ident)?;)*) => {
        /// Why a request is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its name as clients, logs and metrics see it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The gRPC code that it is answered with.
            #[must_use]
            pub const fn code(self) -> Code {
                match self { $(Self::$name => Code::$code,)* }
            }

            /// The HTTP status, where it is not the code's own.
            pub(super) const fn http_override(self) -> Option<StatusCode> {
                match self { $(Self::$name => reasons!(@http $($http)?),)* }
            }
        }
    };
    (@http) => { None };
    (@http $status:ident) => { Some(StatusCode::$status) };
}

reasons! {
    /// The call says neither by header nor by route which namespace it is for.
    MissingNamespace, "MISSING_NAMESPACE", NotFound;
    /// There is no such namespace.
    UnknownNamespace, "UNKNOWN_NAMESPACE", NotFound;
    /// The name is not one that a namespace can have, or it is given twice, or it contradicts the route.
    InvalidNamespace, "INVALID_NAMESPACE", InvalidArgument;
    /// The namespace's plugin declares no such operation.
    UnknownOperation, "UNKNOWN_OPERATION", Unimplemented;
    /// The operation exists, but is called through the other method (unary or streaming).
    WrongMethod, "WRONG_METHOD", Unimplemented;
    /// Nothing here answers to that path.
    NoRoute, "NO_ROUTE", Unimplemented, NOT_FOUND;
    /// The path is served, but not by that HTTP method.
    MethodNotAllowed, "METHOD_NOT_ALLOWED", Unimplemented, METHOD_NOT_ALLOWED;
    /// The path is not in its one canonical form.
    MalformedPath, "MALFORMED_PATH", InvalidArgument;
    /// A query parameter is repeated or cannot be read.
    MalformedQuery, "MALFORMED_QUERY", InvalidArgument;
    /// The content type is missing or not served.
    UnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE", InvalidArgument, UNSUPPORTED_MEDIA_TYPE;
    /// More header fields, or more bytes of them, than the listener takes.
    HeadersTooLarge, "HEADERS_TOO_LARGE", ResourceExhausted, REQUEST_HEADER_FIELDS_TOO_LARGE;
    /// The request's headers are not what HTTP allows.
    MalformedHeaders, "MALFORMED_HEADERS", InvalidArgument;
    /// The message is not what gRPC and protobuf allow, or a field that decides is given twice.
    MalformedMessage, "MALFORMED_MESSAGE", InvalidArgument;
    /// The message names no operation.
    MissingOperation, "MISSING_OPERATION", InvalidArgument;
    /// A later message of a stream names another operation than the first.
    OperationChanged, "OPERATION_CHANGED", InvalidArgument;
    /// The message is above the namespace's limit.
    MessageTooLarge, "MESSAGE_TOO_LARGE", ResourceExhausted;
    /// The message is compressed.
    CompressedMessage, "COMPRESSED_MESSAGE", Unimplemented;
    /// The client stopped in the middle of its request.
    ClientStalled, "CLIENT_STALLED", DeadlineExceeded, REQUEST_TIMEOUT;
    /// The request's body broke off.
    ClientGone, "CLIENT_GONE", Cancelled;
    /// The caller's deadline passed.
    DeadlineExceeded, "DEADLINE_EXCEEDED", DeadlineExceeded;
    /// The `grpc-timeout` header cannot be read.
    MalformedTimeout, "MALFORMED_TIMEOUT", InvalidArgument;
    /// The namespace's plugin is not there.
    PluginUnavailable, "PLUGIN_UNAVAILABLE", Unavailable;
    /// More calls wait for the plugin than may.
    PluginOverloaded, "PLUGIN_OVERLOADED", ResourceExhausted;
    /// The service of a forward route cannot be reached, or its connection broke.
    UpstreamUnavailable, "UPSTREAM_UNAVAILABLE", Unavailable;
    /// More requests wait for the service of a forward route than may.
    UpstreamOverloaded, "UPSTREAM_OVERLOADED", ResourceExhausted, SERVICE_UNAVAILABLE;
    /// The service of a forward route answered what its protocol does not allow.
    UpstreamProtocol, "UPSTREAM_PROTOCOL", Internal, BAD_GATEWAY;
    /// The plugin instance was replaced, and the stream did not end within the drain time: open it again.
    Reloaded, "RELOADED", Unavailable;
    /// The proxy is shutting down, and the call did not end within the drain time: another one may take it.
    Draining, "DRAINING", Unavailable;
    /// A web page of an origin that may not call here asks whether it may.
    OriginNotAllowed, "ORIGIN_NOT_ALLOWED", PermissionDenied;
    /// The call carries no credential, and the listener takes none without.
    MissingCredentials, "MISSING_CREDENTIALS", Unauthenticated;
    /// A credential is there and is not good: which and why is in the access log alone.
    InvalidCredentials, "INVALID_CREDENTIALS", Unauthenticated;
    /// Whoever judges a credential cannot be asked just now.
    AuthUnavailable, "AUTH_UNAVAILABLE", Unavailable;
    /// The caller may not do that, or there is no such namespace: one answer for both.
    AccessDenied, "ACCESS_DENIED", PermissionDenied;
    /// Whoever else has to allow the call cannot be asked just now, or answered what makes no sense.
    AuthzUnavailable, "AUTHZ_UNAVAILABLE", Unavailable;
    /// What the call does could not be written into the audit log.
    AuditUnavailable, "AUDIT_UNAVAILABLE", Unavailable;
    /// A filter refuses the call by a rule of its own, for which there is no reason in this list.
    RefusedByFilter, "REFUSED_BY_FILTER", PermissionDenied;
    /// The plugin refused the call.
    PluginRefused, "PLUGIN_REFUSED", Unknown;
    /// The operation failed inside the plugin.
    OperationFailed, "OPERATION_FAILED", Unknown;
    /// The plugin broke the protocol.
    PluginProtocol, "PLUGIN_PROTOCOL", Internal;
    /// A bug of ours.
    Internal, "INTERNAL", Internal;
}

impl Reason {
    /// Its place in [`Reason::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A code's name in capitals, as in `google/rpc/code.proto`.
#[must_use]
pub(crate) const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// The HTTP status of a gRPC code (`google/rpc/code.proto`, "HTTP Mapping").
pub(super) const fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        // 499 "Client Closed Request", as the mapping has it; the constant always builds.
        Code::Cancelled => match StatusCode::from_u16(499) {
            Ok(status) => status,
            Err(_) => StatusCode::BAD_REQUEST,
        },
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_names_of_their_own() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert_ne!(reason.code(), Code::Ok);
            assert_eq!(Reason::ALL.iter().filter(|other| other.name() == reason.name()).count(), 1);
        }
    }
}
