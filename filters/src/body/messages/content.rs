//! What messages are, and what becomes of each: requests are scanned and handed on as they are, parameters are put into
//! requests, and what is compressed is inflated first.

use super::{MessageLimits, missing_operation};
use crate::{Reason, Rejection, body::Inflate, shared_text};
use bytes::{BufMut, Bytes};
use bytestring::ByteString;
use prism_plugin_abi::Payload;
use prism_proto::{
    envelope::{Prefix, SMALL, TooLong, TypedRequest},
    scan::{ScanError, Scanner, scan_whole},
};
use std::sync::Arc;

pub(super) enum Content {
    /// `ExecuteRequest`s or `StreamRequest`s, of which the first names the operation.
    Requests { operation: Option<ByteString> },
    /// Parameters of an operation, and how they become requests.
    Params(Arc<TypedRequest>),
}

/// A message of which some is still to come.
pub(super) enum InMessage {
    /// Boxed, because nearly every message is here as a whole when its prefix is.
    Scanned(Box<Scanner>),
    /// Whoever understands it looks at it.
    Passed,
    Compressed(Box<Inflate>),
}

impl Content {
    /// The operation that requests name, as soon as it is known. Of parameters whoever wraps them knows it.
    pub(super) fn operation(&self) -> Option<&ByteString> {
        match self {
            Self::Requests { operation } => operation.as_ref(),
            Self::Params(_) => None,
        }
    }

    /// What is not compressed is handed on as it is, prefix included.
    pub(super) fn passes(&self) -> bool {
        matches!(self, Self::Requests { .. })
    }

    /// A stream may end before its first message. Of parameters there must be one, because it brings the operation.
    pub(super) fn may_be_empty(&self, limits: MessageLimits) -> bool {
        !limits.unary && self.passes()
    }

    /// A message begins, of which so much is here. `None`: it is all here, and done with.
    pub(super) fn begin(
        &mut self,
        prefix: Prefix,
        here: &[u8],
        first: bool,
        limits: MessageLimits,
        ready: &mut Payload,
    ) -> Result<Option<InMessage>, Rejection> {
        let length = prefix.length as usize;
        if prefix.compressed {
            let inflate = Inflate::new(limits.max_message_bytes);
            return Ok(Some(InMessage::Compressed(Box::new(inflate))));
        }
        match self {
            Self::Requests { operation } => {
                if first && here.len() == length {
                    finish(operation, scan_whole(here).map_err(malformed)?)?;
                    return Ok(None);
                }
                let scanner = if first { Scanner::new(length) } else { Scanner::later(length) };
                Ok(Some(InMessage::Scanned(Box::new(scanner))))
            }
            Self::Params(request) => {
                let mut head = request.head(first, length).map_err(too_long)?;
                // In the head's own room.
                let whole = here.len() == length && length <= SMALL;
                if whole {
                    head.put_slice(here);
                }
                ready.push(head.freeze());
                Ok((!whole).then_some(InMessage::Passed))
            }
        }
    }

    /// More of a message. Whether it is withheld: what becomes of it is not known yet.
    pub(super) fn push(&mut self, inside: &mut InMessage, piece: &[u8]) -> Result<bool, Rejection> {
        match inside {
            InMessage::Passed => Ok(false),
            InMessage::Compressed(inflate) => inflate.push(piece).map(|()| true),
            InMessage::Scanned(scanner) => {
                scanner.push(piece).map_err(malformed)?;
                if let Self::Requests { operation: operation @ None } = self
                    && let Some(found) = scanner.operation().filter(|found| !found.is_empty())
                {
                    *operation = Some(shared_text(found));
                }
                Ok(false)
            }
        }
    }

    /// All of a message was pushed.
    pub(super) fn end(
        &mut self,
        inside: InMessage,
        first: bool,
        ready: &mut Payload,
    ) -> Result<(), Rejection> {
        match (self, inside) {
            (_, InMessage::Passed) => Ok(()),
            (Self::Requests { operation }, InMessage::Scanned(scanner)) => {
                let named = scanner.finish().map_err(malformed)?;
                finish(operation, named.as_deref())
            }
            (Self::Requests { operation }, InMessage::Compressed(inflate)) => {
                let message = inflate.finish()?;
                let mut scanner =
                    if first { Scanner::new(message.len()) } else { Scanner::later(message.len()) };
                message.pieces().try_for_each(|piece| scanner.push(piece)).map_err(malformed)?;
                finish(operation, scanner.finish().map_err(malformed)?.as_deref())?;
                // What is inflated is no longer than the limit, which fits.
                let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
                ready.push(Bytes::copy_from_slice(&Prefix { compressed: false, length }.encode()));
                append(ready, message);
                Ok(())
            }
            (Self::Params(request), InMessage::Compressed(inflate)) => {
                let message = inflate.finish()?;
                let mut head = request.head(first, message.len()).map_err(too_long)?;
                if message.len() <= SMALL {
                    message.pieces().for_each(|piece| head.put_slice(piece));
                    ready.push(head.freeze());
                } else {
                    ready.push(head.freeze());
                    append(ready, message);
                }
                Ok(())
            }
            // Only requests are scanned.
            (Self::Params(_), InMessage::Scanned(_)) => Ok(()),
        }
    }
}

fn append(ready: &mut Payload, mut message: Payload) {
    while let Some(piece) = message.pop() {
        ready.push(piece);
    }
}

fn too_long(error: TooLong) -> Rejection {
    Rejection::new(Reason::MessageTooLarge, error.to_string())
}

/// A message is complete and well-formed, and names this operation.
fn finish(operation: &mut Option<ByteString>, named: Option<&str>) -> Result<(), Rejection> {
    let named = named.filter(|named| !named.is_empty());
    match (&*operation, named) {
        (None, Some(named)) => {
            *operation = Some(shared_text(named));
            Ok(())
        }
        (None, None) => Err(missing_operation()),
        (Some(fixed), Some(named)) if **fixed != *named => Err(Rejection::new(
            Reason::OperationChanged,
            format!("the stream's first message named operation `{fixed}`; a later one may not name another"),
        )),
        _ => Ok(()),
    }
}

fn malformed(error: ScanError) -> Rejection {
    Rejection::new(Reason::MalformedMessage, error.to_string())
}
