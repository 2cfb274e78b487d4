//! What the proxy vouches for in a call. A client cannot influence any of it.

use bytestring::ByteString;
use std::{fmt, time::Instant};

/// Which configured instance of a plugin a call is for. The proxy draws it at random, per namespace
/// and attempt, so that two proxies may share a plugin. 0 stands for "none named": the RFC's plain
/// protocol, with one instance per namespace and process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub u64);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The trusted context of one call.
#[derive(Clone, Debug, Default)]
pub struct CallContext {
    /// The instance that answers.
    pub instance: InstanceId,
    /// The namespace that the client asked for, or that the route set.
    pub namespace: ByteString,
    /// Who calls, as authentication established; `None` when nothing authenticated the call.
    pub principal: Option<ByteString>,
    /// The request's id, as in the access log. Empty where none was assigned.
    pub request_id: ByteString,
    /// W3C `traceparent` to continue. Empty where there is none.
    pub traceparent: ByteString,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
}
