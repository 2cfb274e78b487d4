//! How a call fails.

use std::{borrow::Cow, fmt};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// `google.rpc.Code`, without OK: an error is never OK.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum Code { $($(#[$doc])* $name = $number,)* }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The code with this number; [`Code::Unknown`] for 0 and for numbers that are none, so that
            /// a failure can never read as success.
            #[must_use]
            pub const fn from_number(number: i32) -> Self {
                match number { $($number => Self::$name,)* _ => Self::Unknown }
            }

            /// Its name in capitals, as in `google/rpc/code.proto`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// The caller gave up.
    Cancelled = 1, "CANCELLED";
    /// Nobody knows.
    Unknown = 2, "UNKNOWN";
    /// The request can never succeed as it is.
    InvalidArgument = 3, "INVALID_ARGUMENT";
    /// Too late.
    DeadlineExceeded = 4, "DEADLINE_EXCEEDED";
    /// No such thing.
    NotFound = 5, "NOT_FOUND";
    /// It exists already.
    AlreadyExists = 6, "ALREADY_EXISTS";
    /// The caller may not.
    PermissionDenied = 7, "PERMISSION_DENIED";
    /// Some bound is reached.
    ResourceExhausted = 8, "RESOURCE_EXHAUSTED";
    /// The system is not in the state that this needs; something must be changed first.
    FailedPrecondition = 9, "FAILED_PRECONDITION";
    /// A conflict; the whole sequence may be tried again.
    Aborted = 10, "ABORTED";
    /// Past the end.
    OutOfRange = 11, "OUT_OF_RANGE";
    /// There is no such operation.
    Unimplemented = 12, "UNIMPLEMENTED";
    /// A broken invariant on the server's side.
    Internal = 13, "INTERNAL";
    /// Not now; trying again may help.
    Unavailable = 14, "UNAVAILABLE";
    /// Data is lost for good.
    DataLoss = 15, "DATA_LOSS";
    /// Nobody knows who the caller is.
    Unauthenticated = 16, "UNAUTHENTICATED";
}

impl Code {
    /// Its number on the wire.
    #[must_use]
    pub const fn number(self) -> i32 {
        self as i32
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where an error belongs on the wire (architecture §5, "Errors").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The operation failed: `success = false` in the answer, under gRPC status OK.
    Operation,
    /// The call never became an operation, or the way to it broke: the gRPC status itself.
    Channel,
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Error {
    /// What kind of failure.
    pub code: Code,
    /// What happened and what to do, for a person.
    pub message: Cow<'static, str>,
    /// Where it belongs.
    pub scope: Scope,
}

impl Error {
    /// The operation failed.
    pub fn operation(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), scope: Scope::Operation }
    }

    /// The call never became an operation.
    pub fn channel(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), scope: Scope::Channel }
    }

    /// The operation was asked for with parameters that can never work.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::operation(Code::InvalidArgument, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_reads_as_success() {
        for number in -1..40 {
            let code = Code::from_number(number);
            assert!((1..=16).contains(&code.number()));
            assert_eq!(code.number() == number, (1..=16).contains(&number), "{number}");
        }
        assert_eq!(Code::ALL.len(), 16);
    }
}
