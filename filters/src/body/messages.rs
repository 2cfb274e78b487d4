//! Reading what passes, without copying it: every gRPC message of a `DataService` call is checked as it
//! streams by, and the operation's name is read off its first bytes.
//!
//! What breaks a rule ends the body with an error *before* the piece that completes the message is
//! handed on, so that a plugin never sees a complete message that was refused. For the same reason the
//! last piece of a unary call is held until the client has ended its stream: a second message would
//! otherwise come after the first was acted upon.

use super::{Body, BodyError, Stall, stall::stalled};
use crate::{Reason, Rejection, shared_text};
use bytes::Bytes;
use bytestring::ByteString;
use http_body::Frame;
use prism_plugin_abi::Payload;
use prism_proto::scan::{ScanError, Scanner, scan_whole};
use std::{
    task::{Context, Poll, ready},
    time::Duration,
};

/// What a gRPC message must keep to.
#[derive(Clone, Copy, Debug)]
pub struct MessageLimits {
    /// The most that a message's length prefix may say.
    pub max_message_bytes: usize,
    /// Exactly one message.
    pub unary: bool,
    /// How long an unfinished message or body may stand still. Silence between the messages of a stream
    /// is no stall.
    pub stall_timeout: Duration,
}

/// A checked body.
pub(crate) struct Messages {
    inner: Body,
    limits: MessageLimits,
    /// Checked and not handed on yet.
    ready: Payload,
    state: State,
    messages: usize,
    operation: Option<ByteString>,
    inner_ended: bool,
    stall: Stall,
}

/// gRPC's framing (PROTOCOL-HTTP2.md, "Length-Prefixed-Message"): one byte that says whether the message is
/// compressed, four with its length, big-endian, then the message.
enum State {
    Prefix {
        bytes: [u8; 5],
        have: usize,
    },
    /// Boxed, because nearly every message is here as a whole when its prefix is.
    Message {
        scanner: Box<Scanner>,
        remaining: usize,
    },
}

impl State {
    const START: Self = Self::Prefix { bytes: [0; 5], have: 0 };
}

impl Messages {
    pub(crate) fn new(inner: Body, limits: MessageLimits) -> Self {
        Self {
            inner,
            limits,
            ready: Payload::new(),
            state: State::START,
            messages: 0,
            operation: None,
            inner_ended: false,
            stall: Stall::new(limits.stall_timeout),
        }
    }

    /// The operation that the first message names, read without handing anything on.
    pub(crate) fn poll_operation(&mut self, cx: &mut Context<'_>) -> Poll<Result<ByteString, BodyError>> {
        loop {
            if let Some(operation) = &self.operation {
                let operation = operation.clone();
                // Often everything is here already; then it need not be looked at again.
                while self.limits.unary && !self.inner_ended && self.at_boundary() {
                    match self.poll_inner(cx) {
                        Poll::Ready(result) => result?,
                        Poll::Pending => break,
                    }
                }
                return Poll::Ready(Ok(operation));
            }
            if self.inner_ended {
                // A stream that ends without any message names no operation either.
                return Poll::Ready(Err(missing_operation().into()));
            }
            ready!(self.poll_inner(cx))?;
        }
    }

    /// What is left, as a body.
    pub(crate) fn into_body(self) -> Body {
        if self.inner_ended { Body::whole(self.ready, None) } else { Body::from_messages(Box::new(self)) }
    }

    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let hold = self.limits.unary && self.at_boundary() && !self.inner_ended;
            if !(hold && self.ready.is_single())
                && let Some(piece) = self.ready.pop()
            {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if self.inner_ended {
                return Poll::Ready(None);
            }
            if let Err(error) = ready!(self.poll_inner(cx)) {
                self.inner_ended = true;
                self.ready = Payload::new();
                self.inner = Body::empty();
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    /// Takes and checks one more piece, or finds the end.
    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let frame = match self.inner.poll_next(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                if self.limits.unary || !self.at_boundary() {
                    ready!(self.stall.poll_waiting(cx));
                    return Poll::Ready(Err(stalled(self.limits.stall_timeout).into()));
                }
                return Poll::Pending;
            }
        };
        self.stall.progress();
        match frame.transpose()?.map(Frame::into_data) {
            Some(Ok(piece)) => {
                self.check(&piece)?;
                self.ready.push(piece);
                if self.inner.is_end() {
                    self.check_end()?;
                }
            }
            // A client's trailers say nothing that a plugin may hear.
            Some(Err(_)) | None => self.check_end()?,
        }
        Poll::Ready(Ok(()))
    }

    fn at_boundary(&self) -> bool {
        matches!(self.state, State::Prefix { have: 0, .. }) && self.messages > 0
    }

    fn check(&mut self, piece: &Bytes) -> Result<(), Rejection> {
        let mut rest = &piece[..];
        while !rest.is_empty() {
            match &mut self.state {
                // At its first byte, and not when its prefix is complete: a plugin that has the one message may act
                // on it before it hears that the call was wrong.
                State::Prefix { .. } if self.limits.unary && self.messages > 0 => {
                    return Err(Rejection::new(
                        Reason::MalformedMessage,
                        "a unary call carries one message, not several",
                    ));
                }
                State::Prefix { bytes, have } => {
                    let take = rest.len().min(5 - *have);
                    bytes[*have..*have + take].copy_from_slice(&rest[..take]);
                    *have += take;
                    rest = &rest[take..];
                    if *have == 5 {
                        let prefix = *bytes;
                        let length = self.announced(prefix)?;
                        if self.messages == 0 && length <= rest.len() {
                            // All of it is here, as it is of nearly every unary call: nothing of it is kept.
                            let (message, later) = rest.split_at(length);
                            rest = later;
                            self.state = State::START;
                            let named = scan_whole(message).map_err(malformed)?;
                            self.finish(named)?;
                        } else {
                            self.begin(length)?;
                        }
                    }
                }
                State::Message { scanner, remaining } => {
                    let take = rest.len().min(*remaining);
                    let (now, later) = rest.split_at(take);
                    scanner.push(now).map_err(malformed)?;
                    *remaining -= take;
                    rest = later;
                    let done = *remaining == 0;
                    if self.operation.is_none()
                        && let Some(operation) = scanner.operation().filter(|operation| !operation.is_empty())
                    {
                        self.operation = Some(shared_text(operation));
                    }
                    if done {
                        self.end_message()?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The length that a message's prefix announces.
    fn announced(&self, prefix: [u8; 5]) -> Result<usize, Rejection> {
        match prefix[0] {
            0 => {}
            1 => {
                return Err(Rejection::new(
                    Reason::CompressedMessage,
                    "compressed messages are not accepted: send them with grpc-encoding identity",
                )
                .with_header("grpc-accept-encoding", "identity"));
            }
            other => {
                return Err(Rejection::new(
                    Reason::MalformedMessage,
                    format!("the compression flag of a gRPC message is 0 or 1, not {other}"),
                ));
            }
        }
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        if length > self.limits.max_message_bytes {
            return Err(Rejection::new(
                Reason::MessageTooLarge,
                format!(
                    "a message of {length} bytes is above the namespace's limits.max_message_bytes of {}",
                    self.limits.max_message_bytes
                ),
            ));
        }
        Ok(length)
    }

    /// A message of which some is still to come.
    fn begin(&mut self, length: usize) -> Result<(), Rejection> {
        let scanner = if self.messages == 0 { Scanner::new(length) } else { Scanner::later(length) };
        self.state = State::Message { scanner: Box::new(scanner), remaining: length };
        if length == 0 { self.end_message() } else { Ok(()) }
    }

    /// The last byte of a message that came in pieces was scanned.
    fn end_message(&mut self) -> Result<(), Rejection> {
        let State::Message { scanner, .. } = std::mem::replace(&mut self.state, State::START) else {
            return Ok(());
        };
        let named = scanner.finish().map_err(malformed)?;
        self.finish(named.as_deref())
    }

    /// A message is complete and well-formed, and names this operation.
    fn finish(&mut self, named: Option<&str>) -> Result<(), Rejection> {
        self.messages += 1;
        let named = named.filter(|named| !named.is_empty());
        match (&self.operation, named) {
            (None, Some(named)) => {
                self.operation = Some(shared_text(named));
                Ok(())
            }
            (None, None) => Err(missing_operation()),
            (Some(fixed), Some(named)) if **fixed != *named => Err(Rejection::new(
                Reason::OperationChanged,
                format!(
                    "the stream's first message named operation `{fixed}`; a later one may not name another"
                ),
            )),
            _ => Ok(()),
        }
    }

    fn check_end(&mut self) -> Result<(), Rejection> {
        self.inner_ended = true;
        match &self.state {
            State::Prefix { have: 0, .. } if self.messages > 0 || !self.limits.unary => Ok(()),
            State::Prefix { have: 0, .. } => {
                Err(Rejection::new(Reason::MalformedMessage, "the call ended without a message"))
            }
            State::Prefix { .. } => Err(Rejection::new(
                Reason::MalformedMessage,
                "the call ended inside a message's length prefix",
            )),
            State::Message { remaining, .. } => Err(Rejection::new(
                Reason::MalformedMessage,
                format!("the call ended {remaining} bytes before the length that its message announced"),
            )),
        }
    }
}

fn missing_operation() -> Rejection {
    Rejection::new(Reason::MissingOperation, "the first message names no operation: set field 1, `operation`")
}

fn malformed(error: ScanError) -> Rejection {
    Rejection::new(Reason::MalformedMessage, error.to_string())
}

#[cfg(test)]
mod tests;
