//! The head of an OPEN: which method, and what the proxy vouches for.

use crate::{
    ProtocolError,
    wire::{Fields, Kind},
};
use bytes::Bytes;
use bytestring::ByteString;
use prism_plugin_abi::{CallContext, InstanceId};
use std::time::Duration;

/// A method of `prism.plugin.BackendPlugin`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// One `ExecuteRequest`, one `ExecuteResponse`.
    #[default]
    Execute,
    /// Streams of `StreamRequest` and `StreamResponse`.
    ExecuteStream,
    /// `DescribeRequest`, `DescribeResponse`.
    Describe,
    /// `InitializeRequest`, `InitializeResponse`.
    Initialize,
    /// `HealthCheckRequest`, `HealthCheckResponse`.
    HealthCheck,
    /// `GetMetricsRequest`, `GetMetricsResponse`.
    GetMetrics,
    /// `ShutdownRequest`, `ShutdownResponse`.
    Shutdown,
    /// One that a later minor version added; a server session answers it with UNIMPLEMENTED by itself.
    Other(u8),
}

impl Method {
    /// Its number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Execute => 1,
            Self::ExecuteStream => 2,
            Self::Describe => 3,
            Self::Initialize => 4,
            Self::HealthCheck => 5,
            Self::GetMetrics => 6,
            Self::Shutdown => 7,
            Self::Other(number) => number,
        }
    }

    /// What a number on the wire means.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Execute,
            2 => Self::ExecuteStream,
            3 => Self::Describe,
            4 => Self::Initialize,
            5 => Self::HealthCheck,
            6 => Self::GetMetrics,
            7 => Self::Shutdown,
            number => Self::Other(number),
        }
    }
}

/// The head of a call to be opened, borrowed from who opens it.
#[derive(Clone, Copy, Debug)]
pub struct CallHead<'a> {
    /// What is called.
    pub method: Method,
    /// What is left of the caller's patience; `None`: it waits for ever. A server ends the call when this has
    /// passed, counted from the OPEN's arrival. Whole microseconds travel, at least one.
    pub timeout: Option<Duration>,
    /// The trusted context. Its `deadline` does not travel: `timeout` does.
    pub context: &'a CallContext,
}

/// The head of a call that arrived.
#[derive(Clone, Debug, Default)]
pub struct OpenHead {
    /// What is called.
    pub method: Method,
    /// See [`CallHead::timeout`].
    pub timeout: Option<Duration>,
    /// The trusted context, without a deadline: who has a clock sets it from `timeout`. Its texts are slices
    /// of one buffer.
    pub context: CallContext,
}

/// Bytes before the texts.
const FIXED: usize = 26;
/// Flag in the head: there is a principal (it may be empty).
const HAS_PRINCIPAL: u8 = 1;

impl CallHead<'_> {
    pub(crate) fn encoded_len(&self) -> usize {
        let context = self.context;
        FIXED
            + context.namespace.len()
            + context.principal.as_ref().map_or(0, |principal| principal.len())
            + context.request_id.len()
            + context.traceparent.len()
    }

    /// Appends the head; the caller has seen that [`CallHead::encoded_len`] is within
    /// [`MAX_HEAD`](crate::MAX_HEAD), so every length fits its field.
    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        let context = self.context;
        let principal = context.principal.as_deref().unwrap_or_default();
        let texts = [&*context.namespace, principal, &*context.request_id, &*context.traceparent];
        let micros = self.timeout.map_or(0, |timeout| {
            // 0 stands for "none", so a deadline that has just passed travels as the shortest there is.
            u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX).max(1)
        });
        let mut fixed = [0; FIXED];
        fixed[0] = self.method.number();
        fixed[1] = if context.principal.is_some() { HAS_PRINCIPAL } else { 0 };
        for (field, text) in fixed[2..10].chunks_exact_mut(2).zip(texts) {
            field.copy_from_slice(&(text.len() as u16).to_le_bytes());
        }
        fixed[10..18].copy_from_slice(&context.instance.0.to_le_bytes());
        fixed[18..].copy_from_slice(&micros.to_le_bytes());
        to.extend_from_slice(&fixed);
        for text in texts {
            to.extend_from_slice(text.as_bytes());
        }
    }
}

impl OpenHead {
    /// Reads a head; its texts become slices of `head`. What follows them is of a later minor version and
    /// ignored.
    pub(crate) fn decode(head: &Bytes) -> Result<Self, ProtocolError> {
        Self::parse(head).ok_or(Kind::Open.malformed())
    }

    fn parse(head: &Bytes) -> Option<Self> {
        let mut fields = Fields(head);
        let method = Method::from_number(fields.u8()?);
        let flags = fields.u8()?;
        let lengths = [fields.u16()?, fields.u16()?, fields.u16()?, fields.u16()?];
        let instance = InstanceId(fields.u64()?);
        let micros = fields.u64()?;
        let mut at = FIXED;
        let mut text = |length: u16| {
            let end = at + usize::from(length);
            if end > head.len() {
                return None;
            }
            // An empty slice would count a reference for nothing.
            let text = if length == 0 { Bytes::new() } else { head.slice(at..end) };
            at = end;
            ByteString::try_from(text).ok()
        };
        let namespace = text(lengths[0])?;
        let principal = text(lengths[1])?;
        let request_id = text(lengths[2])?;
        let traceparent = text(lengths[3])?;
        let context = CallContext {
            instance,
            namespace,
            principal: (flags & HAS_PRINCIPAL != 0).then_some(principal),
            request_id,
            traceparent,
            deadline: None,
        };
        Some(Self { method, timeout: (micros != 0).then(|| Duration::from_micros(micros)), context })
    }
}
