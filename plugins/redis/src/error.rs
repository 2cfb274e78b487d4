//! What Redis says, as codes that clients know.

use prism_plugin_sdk::abi::{Code, Error};
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// A URL or setting that can never work. The URL itself is not shown: it may hold a password.
pub(crate) fn invalid_url(error: &RedisError) -> Error {
    Error::invalid(format!("config.url: {error}; write redis://host:port/database or unix:///path"))
}

/// A failed command or connection.
pub(crate) fn redis(error: &RedisError) -> Error {
    Error::operation(code(error), format!("redis: {error}"))
}

fn code(error: &RedisError) -> Code {
    if error.is_timeout() {
        return Code::DeadlineExceeded;
    }
    match error.code() {
        Some("NOAUTH" | "WRONGPASS") => return Code::Unauthenticated,
        Some("OOM") => return Code::ResourceExhausted,
        Some("WRONGTYPE") => return Code::FailedPrecondition,
        // Redis refuses to write while its snapshots fail, or with too few replicas.
        Some("MISCONF" | "NOREPLICAS") => return Code::Unavailable,
        _ => {}
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => Code::Unauthenticated,
        ErrorKind::InvalidClientConfig => Code::InvalidArgument,
        ErrorKind::Io => Code::Unavailable,
        ErrorKind::Server(kind) => match kind {
            ServerErrorKind::BusyLoading
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown => Code::Unavailable,
            ServerErrorKind::ReadOnly => Code::FailedPrecondition,
            ServerErrorKind::NoPerm => Code::PermissionDenied,
            ServerErrorKind::ResponseError => response(error.detail().unwrap_or_default()),
            _ => Code::Unknown,
        },
        _ if error.is_connection_dropped() || error.is_connection_refusal() => Code::Unavailable,
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Code::Internal,
        _ => Code::Unknown,
    }
}

/// Redis calls nearly everything ERR and tells the rest in words.
fn response(detail: &str) -> Code {
    if detail.contains("invalid expire time") || detail.contains("DB index is out of range") {
        Code::InvalidArgument
    } else if detail.contains("max number of clients") {
        Code::Unavailable
    } else {
        Code::Unknown
    }
}
