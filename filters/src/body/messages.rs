//! Reading what passes, without copying it: every gRPC message of a `DataService` call is checked as it
//! streams by, and the operation's name is read off its first bytes.
//!
//! What breaks a rule ends the body with an error *before* the piece that completes the message is
//! handed on, so that a plugin never sees a complete message that was refused. For the same reason the
//! last piece of a unary call is held until the client has ended its stream: a second message would
//! otherwise come after the first was acted upon.
//!
//! What the messages are, and what becomes of each, is `content.rs`.

mod content;

use super::{Body, BodyError, Stall, stall::stalled};
use crate::{Reason, Rejection};
use bytes::Bytes;
use bytestring::ByteString;
use content::{Content, InMessage};
use http_body::Frame;
use prism_plugin_abi::Payload;
use prism_proto::envelope::{PREFIX_LEN, Prefix, TypedRequest};
use std::{
    ops::Range,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

/// What a gRPC message must keep to.
#[derive(Clone, Copy, Debug)]
pub struct MessageLimits {
    /// The most that a message's length prefix may say, and the most that a compressed one may become.
    pub max_message_bytes: usize,
    /// Exactly one message.
    pub unary: bool,
    /// Messages may be compressed with gzip: the call's `grpc-encoding` says so.
    pub gzip: bool,
    /// How long an unfinished message or body may stand still. Silence between the messages of a stream
    /// is no stall.
    pub stall_timeout: Duration,
}

/// Parameters of an operation, checked.
#[derive(Debug)]
pub enum Parameters {
    /// The one message of a unary call, all of it, without gRPC's prefix.
    Whole(Payload),
    /// Requests with the parameters in them, as they arrive.
    Requests(Body),
}

/// A checked body.
pub(crate) struct Messages {
    inner: Body,
    limits: MessageLimits,
    /// Checked and not handed on yet.
    ready: Payload,
    state: State,
    messages: usize,
    content: Content,
    inner_ended: bool,
    stall: Stall,
}

/// gRPC's framing (PROTOCOL-HTTP2.md, "Length-Prefixed-Message"): one byte that says whether the message is
/// compressed, four with its length, big-endian, then the message.
enum State {
    Prefix { bytes: [u8; PREFIX_LEN], have: usize },
    Message { inside: InMessage, remaining: usize },
}

impl State {
    const START: Self = Self::Prefix { bytes: [0; PREFIX_LEN], have: 0 };
}

impl Messages {
    /// Of requests that name their operation, which are handed on as they are.
    pub(crate) fn new(inner: Body, limits: MessageLimits) -> Self {
        Self::of(inner, limits, Content::Requests { operation: None })
    }

    /// Of parameters, each of which is put into a request of its own.
    fn wrapped(inner: Body, limits: MessageLimits, request: Arc<TypedRequest>) -> Self {
        Self::of(inner, limits, Content::Params(request))
    }

    /// Parameters, each of which is put into a request of its own, unless nearly every call's case holds: the one message
    /// and the end of the call are here in one piece. Takes no more than is here.
    pub(crate) fn parameters(
        mut body: Body,
        limits: MessageLimits,
        request: &Arc<TypedRequest>,
        cx: &mut Context<'_>,
    ) -> Result<Parameters, BodyError> {
        let first = body.poll_next(cx);
        if let Poll::Ready(Some(Ok(frame))) = &first
            && limits.unary
            && body.is_end()
            && let Some(message) = frame.data_ref().and_then(|piece| only_message(piece, limits))
        {
            return Ok(Parameters::Whole(message.into()));
        }
        let mut messages = Self::wrapped(body, limits, Arc::clone(request));
        if let Poll::Ready(frame) = first {
            messages.take(frame)?;
        }
        if messages.between_messages() {
            messages.take_what_is_here(cx)?;
        }
        Ok(Parameters::Requests(messages.into_body()))
    }

    fn of(inner: Body, limits: MessageLimits, content: Content) -> Self {
        Self {
            inner,
            limits,
            ready: Payload::new(),
            state: State::START,
            messages: 0,
            content,
            inner_ended: false,
            stall: Stall::new(limits.stall_timeout),
        }
    }

    /// The operation that the first message names, read without handing anything on.
    pub(crate) fn poll_operation(&mut self, cx: &mut Context<'_>) -> Poll<Result<ByteString, BodyError>> {
        loop {
            if let Some(operation) = self.content.operation() {
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

    /// Takes what is here without waiting, up to the end of the first message, or of the one that must be the only
    /// one: what is here as a whole travels as a whole.
    fn take_what_is_here(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        while !self.inner_ended && (self.messages == 0 || self.limits.unary) {
            match self.poll_inner(cx) {
                // It is arriving.
                Poll::Ready(Ok(())) if !self.between_messages() => break,
                Poll::Ready(result) => result?,
                Poll::Pending => break,
            }
        }
        Ok(())
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
        Poll::Ready(self.take(frame))
    }

    /// Checks what came, or that this may be the end.
    fn take(&mut self, frame: Option<Result<Frame<Bytes>, BodyError>>) -> Result<(), BodyError> {
        match frame.transpose()?.map(Frame::into_data) {
            Some(Ok(piece)) => {
                self.check(&piece)?;
                if self.inner.is_end() {
                    self.check_end()?;
                }
            }
            // A client's trailers say nothing that a plugin may hear.
            Some(Err(_)) | None => self.check_end()?,
        }
        Ok(())
    }

    fn between_messages(&self) -> bool {
        matches!(self.state, State::Prefix { have: 0, .. })
    }

    fn at_boundary(&self) -> bool {
        self.between_messages() && self.messages > 0
    }

    /// Checks a piece, and makes of it what is to be handed on.
    fn check(&mut self, piece: &Bytes) -> Result<(), Rejection> {
        // Where it is looked at, and from where on nothing of it is in `ready` yet.
        let (mut at, mut from) = (0, 0);
        while at < piece.len() {
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
                    let begin = at;
                    let take = (piece.len() - at).min(PREFIX_LEN - *have);
                    bytes[*have..*have + take].copy_from_slice(&piece[at..at + take]);
                    let split = *have > 0;
                    *have += take;
                    at += take;
                    if *have < PREFIX_LEN {
                        // It is handed on, if at all, when it is known.
                        self.hand_on(piece, from..begin);
                        return Ok(());
                    }
                    let bytes = *bytes;
                    let prefix = self.announced(bytes)?;
                    let length = prefix.length as usize;
                    if !prefix.compressed && self.content.passes() {
                        if split {
                            self.ready.push(Bytes::copy_from_slice(&bytes));
                            from = at;
                        }
                    } else {
                        self.hand_on(piece, from..begin);
                        from = at;
                    }
                    let here = &piece[at..piece.len().min(at + length)];
                    let begun =
                        self.content.begin(prefix, here, self.messages == 0, self.limits, &mut self.ready)?;
                    match begun {
                        // All of it is here, as it is of nearly every unary call: nothing of it is kept.
                        None => {
                            at += length;
                            if !self.content.passes() {
                                from = at;
                            }
                            self.messages += 1;
                            self.state = State::START;
                        }
                        Some(inside) => {
                            self.state = State::Message { inside, remaining: length };
                            if length == 0 {
                                self.end_message()?;
                            }
                        }
                    }
                }
                State::Message { inside, remaining } => {
                    let take = (piece.len() - at).min(*remaining);
                    let withheld = self.content.push(inside, &piece[at..at + take])?;
                    *remaining -= take;
                    at += take;
                    if withheld {
                        from = at;
                    }
                    if *remaining == 0 {
                        self.end_message()?;
                    }
                }
            }
        }
        self.hand_on(piece, from..piece.len());
        Ok(())
    }

    fn hand_on(&mut self, piece: &Bytes, part: Range<usize>) {
        // Nearly always all of it.
        self.ready.push(if part.len() == piece.len() { piece.clone() } else { piece.slice(part) });
    }

    /// A message's prefix, as far as it may be so.
    fn announced(&self, prefix: [u8; PREFIX_LEN]) -> Result<Prefix, Rejection> {
        let malformed = |error| Rejection::new(Reason::MalformedMessage, format!("{error}"));
        let prefix = Prefix::parse(prefix).map_err(malformed)?;
        if prefix.compressed && !self.limits.gzip {
            return Err(Rejection::new(
                Reason::CompressedMessage,
                "a message is marked as compressed, but the call's grpc-encoding does not say how: it may be gzip",
            )
            .with_header("grpc-accept-encoding", "identity,gzip"));
        }
        let (length, limit) = (prefix.length as usize, self.limits.max_message_bytes);
        if length > limit {
            return Err(Rejection::new(
                Reason::MessageTooLarge,
                format!(
                    "a message of {length} bytes is above the namespace's limits.max_message_bytes of {limit}"
                ),
            ));
        }
        Ok(prefix)
    }

    /// The last byte of a message that was not here at once has come.
    fn end_message(&mut self) -> Result<(), Rejection> {
        let State::Message { inside, .. } = std::mem::replace(&mut self.state, State::START) else {
            return Ok(());
        };
        self.content.end(inside, self.messages == 0, &mut self.ready)?;
        self.messages += 1;
        Ok(())
    }

    fn check_end(&mut self) -> Result<(), Rejection> {
        self.inner_ended = true;
        match &self.state {
            State::Prefix { have: 0, .. } if self.messages > 0 || self.content.may_be_empty(self.limits) => {
                Ok(())
            }
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

/// The message that is all that this piece has, where it is neither compressed nor longer than it may be.
fn only_message(piece: &Bytes, limits: MessageLimits) -> Option<Bytes> {
    let prefix = Prefix::parse(*piece.first_chunk()?).ok()?;
    let length = piece.len() - PREFIX_LEN;
    let is_only =
        !prefix.compressed && prefix.length as usize == length && length <= limits.max_message_bytes;
    is_only.then(|| piece.slice(PREFIX_LEN..))
}

fn missing_operation() -> Rejection {
    Rejection::new(Reason::MissingOperation, "the first message names no operation: set field 1, `operation`")
}

#[cfg(test)]
mod tests;
