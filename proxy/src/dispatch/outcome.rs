//! A plugin's answer taken out of its envelope: for typed calls, whose client knows nothing of envelopes, and for the
//! gateway. The result streams from where it begins; what breaks after that is said in the trailers, or, where there are
//! none, by breaking the answer off.

use super::{call::Call, prefix, refusal, reply::Reply};
use crate::{dispatch::reply::check_whole, snapshot::Namespace};
use bytes::{BufMut, Bytes};
use bytestring::ByteString;
use http::HeaderMap;
use http_body::Frame;
use prism_filters::{
    Code, Reason, Rejection, Rpc,
    body::{BodyError, Duplex},
};
use prism_plugin_abi::{Error, Payload};
use prism_plugin_envelope::{Event, Expected, ProtocolError, Unwrap};
use prism_plugin_host::{ForwardError, InFlight, ReplyBody, WireReply, ok_trailers};
use prism_proto::envelope::{PREFIX_LEN, SMALL};
use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
    time::Duration,
};

/// What an envelope may have around a result of the largest size: a type's URL, the plugin's metrics.
const AROUND_RESULT: usize = 64 << 10;

/// When a call may be made again that an operation failed with for a reason that passes. Whoever has no opinion waits
/// a second: shorter than people do, longer than what is in the way of most calls.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// Whose answer it is, and what it must keep to.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) plugin: ByteString,
    pub(super) namespace: ByteString,
    /// The largest result.
    pub(super) limit: usize,
    /// Doing it twice does no harm.
    pub(super) idempotent: bool,
}

impl Subject {
    pub(super) fn of(call: &Call<'_>) -> Self {
        Self::new(call.namespace, call.idempotent)
    }

    pub(super) fn new(namespace: &Namespace, idempotent: bool) -> Self {
        Self {
            plugin: namespace.plugin().clone(),
            namespace: namespace.name().clone(),
            limit: namespace.max_message_bytes(),
            idempotent,
        }
    }

    /// The operation failed.
    fn failed(&self, error: Error) -> Rejection {
        let code = Code::from_i32(error.code.number());
        let rejection = Rejection::new(Reason::OperationFailed, error.message)
            .with_code(code)
            .about_plugin(&self.plugin)
            .in_namespace(&self.namespace);
        let passes = matches!(code, Code::Unavailable | Code::ResourceExhausted | Code::Aborted);
        if passes && self.idempotent { rejection.with_retry(RETRY) } else { rejection }
    }

    /// The plugin refused the call, by the call's own status.
    pub(super) fn refused(&self, status: &HeaderMap) -> Rejection {
        let message = status.get("grpc-message").map_or_else(String::new, |message| {
            percent_encoding::percent_decode(message.as_bytes()).decode_utf8_lossy().into_owned()
        });
        Rejection::new(Reason::PluginRefused, message).with_code(code(status)).about_plugin(&self.plugin)
    }

    fn broken(&self, error: &ProtocolError) -> Rejection {
        refusal(ForwardError::Protocol(error.to_string()), &self.plugin)
    }
}

/// A result of this length may pass.
pub(super) fn check_length(length: usize, limit: usize) -> Result<(), Rejection> {
    if length <= limit {
        return Ok(());
    }
    Err(Rejection::new(
        Reason::MessageTooLarge,
        format!(
            "the answer is a message of {length} bytes, above the namespace's limits.max_message_bytes of {limit}"
        ),
    ))
}

/// How a result travels on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Behind gRPC's prefix, the trailers after the last.
    Grpc,
    /// As it is.
    Plain,
}

/// The status of a gRPC answer; an answer without one is of unknown outcome.
pub(super) fn code(fields: &HeaderMap) -> Code {
    fields.get("grpc-status").map_or(Code::Unknown, |status| Code::from_bytes(status.as_bytes()))
}

/// An answer, and what is known of it.
pub(super) struct Outcome {
    unwrap: Unwrap,
    subject: Subject,
    framing: Framing,
    unary: bool,
    /// Where the rest comes from; `None` once it has ended.
    reply: Option<Reply>,
    /// What the plugin's answer ended with.
    trailers: Option<HeaderMap>,
    /// Taken and not handed out yet.
    next: Option<Frame<Bytes>>,
    /// A message has come; the plugin said that it was the last.
    answered: bool,
    is_final: bool,
    over: bool,
}

/// How a unary answer begins.
pub(super) enum Beginning {
    /// A result of so many bytes, which follow.
    Result { length: usize, typed: bool },
    /// The plugin refused the call with this status.
    Refused(HeaderMap),
}

impl Outcome {
    /// What came of a call. Its headers must have been taken.
    ///
    /// # Errors
    /// It is here as a whole, and breaks the protocol.
    pub(super) fn new(
        reply: ReplyBody,
        counted: InFlight,
        rpc: Rpc,
        expected: Expected,
        framing: Framing,
        subject: Subject,
    ) -> Result<Self, Rejection> {
        let unary = rpc == Rpc::Unary;
        let unwrap = if unary { Unwrap::unary(expected) } else { Unwrap::stream(expected) };
        let limit = subject.limit.saturating_add(AROUND_RESULT);
        let mut outcome = Self {
            unwrap,
            framing,
            unary,
            reply: None,
            trailers: None,
            next: None,
            answered: false,
            is_final: false,
            over: false,
            subject,
        };
        let (messages, trailers) = match reply {
            ReplyBody::Stream(source) => {
                let plugin = outcome.subject.plugin.clone();
                outcome.reply = Some(Reply::new(source, counted, rpc, limit, plugin));
                return Ok(outcome);
            }
            ReplyBody::Succeeded(messages) => (messages, ok_trailers()),
            ReplyBody::Whole { messages, trailers } => {
                (messages, trailers.map(|all| *all).unwrap_or_default())
            }
        };
        check_whole(&messages, unary, limit, &outcome.subject.plugin)?;
        let mut messages = messages;
        while let Some(piece) = messages.pop() {
            outcome.unwrap.push(piece);
        }
        outcome.trailers = Some(trailers);
        Ok(outcome)
    }

    /// Waits until it is clear what a unary answer is.
    ///
    /// # Errors
    /// The operation failed, or the answer breaks the protocol.
    pub(super) async fn begin(&mut self) -> Result<Beginning, Rejection> {
        loop {
            match poll_fn(|cx| self.poll_event(cx)).await? {
                Some(Event::Begin { length, typed }) => return Ok(Beginning::Result { length, typed }),
                Some(Event::Failed(error)) => return Err(self.subject.failed(error)),
                Some(_) => {}
                None => {
                    let status = self.trailers.take().unwrap_or_default();
                    return match code(&status) {
                        Code::Ok => Err(self
                            .subject
                            .broken(&ProtocolError::Truncated { declared: PREFIX_LEN, got: 0 })),
                        _ => Ok(Beginning::Refused(status)),
                    };
                }
            }
        }
    }

    /// All of a result that is here already, with the status that follows it; `None` if some of it is to come.
    ///
    /// # Errors
    /// It breaks the protocol.
    pub(super) fn whole(&mut self, length: usize) -> Option<Result<(Payload, HeaderMap), Rejection>> {
        if self.reply.is_some() {
            return None;
        }
        let mut result = Payload::new();
        let first = self.prefix(length);
        result.push(first);
        loop {
            match self.unwrap.next_event() {
                Ok(Some(Event::Piece(piece))) => result.push(piece),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => return Some(Err(self.subject.broken(&error))),
            }
        }
        if let Err(error) = self.unwrap.finish() {
            return Some(Err(self.subject.broken(&error)));
        }
        Some(Ok((result, self.trailers.take().unwrap_or_default())))
    }

    /// What stands before a result of this length; nothing, in plain framing.
    fn prefix(&mut self, length: usize) -> Bytes {
        if self.framing == Framing::Plain {
            return Bytes::new();
        }
        let mut bytes = prefix::with_room(length);
        if length <= SMALL {
            // In one piece with its prefix, as far as it is here.
            while bytes.len() < PREFIX_LEN + length {
                match self.unwrap.next_event() {
                    Ok(Some(Event::Piece(piece))) => bytes.put_slice(&piece),
                    _ => break,
                }
            }
        }
        bytes.freeze()
    }

    /// The next that can be said; `None` when the answer has ended, and `trailers` has how.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Event>, Rejection>> {
        loop {
            if let Some(event) = self.unwrap.next_event().map_err(|error| self.subject.broken(&error))? {
                if let Event::Begin { length, .. } = event {
                    check_length(length, self.subject.limit)?;
                }
                if self.is_final {
                    let problem = "a message follows the one that was the last";
                    let error = ProtocolError::Malformed { message: "StreamResponse", problem };
                    return Poll::Ready(Err(self.subject.broken(&error)));
                }
                if let Event::End { is_final } = event {
                    (self.answered, self.is_final) = (true, is_final);
                }
                return Poll::Ready(Ok(Some(event)));
            }
            let Some(reply) = &mut self.reply else {
                let ended = self.unwrap.finish();
                // What is cut off by a failure is told by that.
                if self.trailers.as_ref().is_some_and(|status| code(status) == Code::Ok) {
                    ended.map_err(|error| self.subject.broken(&error))?;
                }
                return Poll::Ready(Ok(None));
            };
            match ready!(reply.poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.unwrap.push(data),
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        self.reply = None;
                    }
                },
                Some(Err(BodyError::Rejected(rejection))) => return Poll::Ready(Err(rejection)),
                Some(Err(error)) => return Poll::Ready(Err(error.into())),
                None => self.reply = None,
            }
        }
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, Rejection>> {
        if let Some(frame) = self.next.take() {
            return Poll::Ready(Ok(Some(frame)));
        }
        loop {
            let frame = match ready!(self.poll_event(cx))? {
                Some(Event::Begin { length, .. }) => Frame::data(self.prefix(length)),
                Some(Event::Piece(piece)) => Frame::data(piece),
                Some(Event::End { .. }) => continue,
                Some(Event::Failed(error)) => return Poll::Ready(Err(self.subject.failed(error))),
                None => {
                    self.over = true;
                    return Poll::Ready(self.end());
                }
            };
            if frame.data_ref().is_some_and(|data| !data.is_empty()) {
                return Poll::Ready(Ok(Some(frame)));
            }
        }
    }

    fn end(&mut self) -> Result<Option<Frame<Bytes>>, Rejection> {
        let status = self.trailers.take().unwrap_or_default();
        match (code(&status), self.framing) {
            (Code::Ok, _) if self.unary && !self.answered => {
                Err(self.subject.broken(&ProtocolError::Truncated { declared: PREFIX_LEN, got: 0 }))
            }
            (Code::Ok, Framing::Plain) => Ok(None),
            (_, Framing::Plain) => Err(self.subject.refused(&status)),
            (_, Framing::Grpc) if status.is_empty() => {
                let problem = "it ended without a status";
                Err(self.subject.broken(&ProtocolError::Malformed { message: "answer", problem }))
            }
            (_, Framing::Grpc) => Ok(Some(Frame::trailers(status))),
        }
    }

    /// Hands this out first: a beginning that was waited for.
    pub(super) fn begun(mut self, length: usize) -> Self {
        let prefix = self.prefix(length);
        self.next = Some(prefix).filter(|prefix| !prefix.is_empty()).map(Frame::data);
        self
    }

    /// As a refusal, for those who have no trailers.
    pub(super) fn refused(&self, status: &HeaderMap) -> Rejection {
        self.subject.refused(status)
    }
}

impl Duplex for Outcome {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.over {
            return Poll::Ready(None);
        }
        match ready!(self.poll_out(cx)) {
            Ok(frame) => Poll::Ready(frame.map(Ok)),
            Err(rejection) => {
                // Dropping it cancels the call.
                (self.over, self.reply) = (true, None);
                Poll::Ready(Some(Err(rejection.into())))
            }
        }
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.reply {
            Some(reply) => reply.poll_progress(cx),
            None => Poll::Pending,
        }
    }
}

/// The status of an answer that has no messages, where it has one (gRPC over HTTP/2, "Trailers-Only").
pub(super) fn trailers_only(reply: &mut WireReply) -> Option<HeaderMap> {
    let headers = reply.headers.as_deref()?;
    headers.contains_key("grpc-status").then(|| reply.take_headers())
}
