//! Where an outcome belongs, on either transport, and the errors that the server itself makes.

use prism_plugin_abi::{Code, Data, Error, Request, Scope};
use prism_plugin_envelope::ProtocolError;
use std::time::Duration;

/// How long a stream's first message may take to follow its start. The proxy sends both at once; a stream
/// without it would stay for ever.
pub(super) const FIRST_MESSAGE: Duration = Duration::from_secs(30);

/// What goes into the answer: a result, or the operation's own failure.
///
/// # Errors
/// What is the status of the call itself: it never became an operation, or the way to it broke.
pub(super) fn in_band(outcome: Result<Data, Error>) -> Result<Result<Data, Error>, Error> {
    match outcome {
        Err(error) if error.scope == Scope::Channel => Err(error),
        outcome => Ok(outcome),
    }
}

/// A message after the first of a stream of `operation`.
///
/// # Errors
/// It names another operation.
pub(super) fn later(operation: &str, message: Request) -> Result<Request, Error> {
    if message.operation.is_empty() || message.operation == operation {
        return Ok(message);
    }
    Err(Error::invalid(format!("the stream is `{operation}`; a later message names `{}`", message.operation)))
}

pub(super) fn first_message_late() -> Error {
    Error::channel(Code::DeadlineExceeded, "the stream's first message did not come")
}

pub(super) fn first_message_missing() -> Error {
    Error::channel(Code::InvalidArgument, "the stream ended before its first message")
}

pub(super) fn stopping() -> Error {
    Error::channel(Code::Unavailable, "the plugin is stopping and the time for calls in flight is over")
}

/// The bytes of a call are not the messages they should be.
pub(super) fn unreadable(error: &ProtocolError) -> Error {
    let code = match error {
        ProtocolError::TooLarge { .. } => Code::ResourceExhausted,
        _ => Code::InvalidArgument,
    };
    Error::channel(code, error.to_string())
}

pub(super) fn cut_short() -> Error {
    Error::channel(Code::InvalidArgument, "the stream ended within a message")
}

pub(super) fn overdue() -> Error {
    Error::channel(Code::DeadlineExceeded, "the call's deadline passed in the plugin")
}

pub(super) fn given_up() -> Error {
    Error::channel(Code::Cancelled, "the client gave the call up")
}

pub(super) fn panicked() -> Error {
    // The panic hook has printed where and why; what it says may hold data and is not for callers.
    Error::channel(Code::Internal, "the plugin panicked in this call; its log says where")
}
