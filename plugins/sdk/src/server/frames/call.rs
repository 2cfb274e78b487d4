//! One call: its request as it arrives, the plugin's future, its answer as the client takes it.

use super::inbox::Inbox;
use crate::server::{TRANSPORTS, outcome};
use bytes::Buf;
use prism_plugin_abi::{self as abi, CallContext, Code, Error, Opening, Payload, Plugin, ResponseStream};
use prism_plugin_envelope::{
    Deframer, ProtocolError, control, decode_message, encode_control, encode_reply, encode_stream_reply,
};
use prism_plugin_frames::{Accepted, CallId, End, Method, ServerEvent, ServerSession};
use prism_proto::envelope::{PREFIX_LEN, Prefix};
use prost::Message;
use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::time::Instant;

/// What the calls of a connection share.
pub(super) struct Shared {
    pub(super) session: ServerSession,
    pub(super) plugin: Arc<dyn Plugin>,
    pub(super) max_message_bytes: usize,
}

/// An accepted call. Dropping it drops the plugin's future; a panic in that harms nobody.
pub(super) struct Call {
    id: CallId,
    /// Tells it from earlier calls in its place.
    pub(super) serial: u64,
    work: Work,
}

/// What a call has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Its waker is called when it can move on.
    Pending,
    /// It has been finished.
    Done,
}

type Control = Pin<Box<dyn Future<Output = Result<Payload, Error>> + Send>>;

enum Work {
    /// The request of a unary method arrives.
    Request {
        method: Method,
        context: CallContext,
        incoming: Incoming,
        message: Option<Payload>,
    },
    /// A stream's first message arrives.
    First {
        context: CallContext,
        incoming: Incoming,
    },
    Unary(abi::Call),
    Control(Control),
    Opening {
        opening: Opening,
        inbox: Inbox,
    },
    Answers {
        answers: ResponseStream,
        inbox: Inbox,
        opened: bool,
    },
    Over,
}

/// The client's bytes.
struct Incoming {
    deframer: Deframer,
    ended: bool,
}

impl Incoming {
    /// Takes what came next.
    fn poll(&mut self, session: &mut ServerSession, id: CallId, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(session.poll_recv(cx, id)) {
            ServerEvent::Data(bytes) => self.deframer.push(bytes),
            ServerEvent::HalfClose => self.ended = true,
            // The connection is told, and ends the call.
            ServerEvent::Cancelled(_) => return Poll::Pending,
        }
        Poll::Ready(())
    }

    fn next_message(&mut self) -> Result<Option<Payload>, Error> {
        self.deframer.next_message().map_err(|error| outcome::unreadable(&error))
    }
}

/// A panic of the plugin is the failure of one call.
fn contain<T>(run: impl FnOnce() -> T) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| outcome::panicked())
}

impl Drop for Call {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Call {
    /// Begins a call, and moves it along as far as it goes; `None` when that was to its end.
    pub(super) fn begin(
        accepted: Accepted,
        deadline: Option<Instant>,
        serial: u64,
        shared: &mut Shared,
        cx: &mut Context<'_>,
    ) -> Option<Self> {
        let Accepted { id, head, mut body, last } = accepted;
        let context = CallContext { deadline: deadline.map(Instant::into_std), ..head.context };
        if head.method == Method::Execute && last && shared.is_whole(&body) {
            body.advance(PREFIX_LEN);
            let work = Work::Unary(shared.execute(id, context, body, cx)?);
            return Some(Self { id, serial, work });
        }
        let mut incoming = Incoming { deframer: Deframer::with_limit(shared.max_message_bytes), ended: last };
        while let Some(piece) = body.pop() {
            incoming.deframer.push(piece);
        }
        let work = match head.method {
            Method::ExecuteStream => Work::First { context, incoming },
            method => Work::Request { method, context, incoming, message: None },
        };
        let mut call = Self { id, serial, work };
        (call.step(shared, cx) == Step::Pending).then_some(call)
    }

    pub(super) fn waits_for_first_message(&self) -> bool {
        matches!(self.work, Work::First { .. })
    }

    /// Ends it with an error.
    pub(super) fn fail(mut self, shared: &mut Shared, error: Error) {
        self.give_up();
        shared.session.finish(self.id, end(error), Payload::new());
    }

    fn give_up(&mut self) {
        let work = std::mem::replace(&mut self.work, Work::Over);
        let _ = contain(|| drop(work));
    }

    /// Moves it along.
    pub(super) fn step(&mut self, shared: &mut Shared, cx: &mut Context<'_>) -> Step {
        let outcome = match contain(|| self.advance(shared, cx)) {
            Ok(Poll::Pending) => return Step::Pending,
            Ok(Poll::Ready(outcome)) => outcome,
            Err(panicked) => Err(panicked),
        };
        self.give_up();
        shared.finish(self.id, outcome);
        Step::Done
    }

    /// Ready with the last bytes of the answer, or with the call's status.
    fn advance(&mut self, shared: &mut Shared, cx: &mut Context<'_>) -> Poll<Result<Payload, Error>> {
        let id = self.id;
        loop {
            self.work = match &mut self.work {
                Work::Request { method, context, incoming, message } => {
                    loop {
                        match incoming.next_message()? {
                            Some(only) if message.is_none() => *message = Some(only),
                            _ => {}
                        }
                        if message.is_some() && !incoming.deframer.is_between_messages() {
                            return Poll::Ready(Err(outcome::unreadable(&ProtocolError::Trailing)));
                        }
                        if incoming.ended {
                            break;
                        }
                        ready!(incoming.poll(&mut shared.session, id, cx));
                    }
                    let message = message.take().ok_or_else(outcome::cut_short)?;
                    shared.start(*method, std::mem::take(context), message)?
                }
                Work::First { context, incoming } => {
                    let first = loop {
                        if let Some(first) = incoming.next_message()? {
                            break first;
                        }
                        if incoming.ended {
                            return Poll::Ready(Err(match incoming.deframer.is_between_messages() {
                                true => outcome::first_message_missing(),
                                false => outcome::cut_short(),
                            }));
                        }
                        ready!(incoming.poll(&mut shared.session, id, cx));
                    };
                    let first = decode_message(first)?;
                    let rest = std::mem::take(&mut incoming.deframer);
                    let (inbox, rest) = Inbox::new(rest, first.operation.clone(), cx.waker().clone());
                    let opening = shared.plugin.execute_stream(std::mem::take(context), first, rest);
                    Work::Opening { opening, inbox }
                }
                Work::Unary(call) => {
                    let reply = outcome::in_band(ready!(call.as_mut().poll(cx)))?;
                    return Poll::Ready(shared.framed(encode_reply(reply)));
                }
                Work::Control(call) => return call.as_mut().poll(cx),
                Work::Opening { opening, inbox } => match opening.as_mut().poll(cx) {
                    Poll::Pending => {
                        feed(&mut shared.session, id, inbox, cx);
                        return Poll::Pending;
                    }
                    Poll::Ready(Err(error)) => {
                        let failed = outcome::in_band(Err(error))?;
                        return Poll::Ready(shared.framed(encode_stream_reply(failed)));
                    }
                    Poll::Ready(Ok(answers)) => match std::mem::replace(&mut self.work, Work::Over) {
                        Work::Opening { inbox, .. } => Work::Answers { answers, inbox, opened: false },
                        work => work,
                    },
                },
                Work::Answers { answers, inbox, opened } => {
                    let rest = shared.poll_answers(id, answers, opened, cx);
                    if rest.is_pending() {
                        if !std::mem::replace(opened, true) {
                            // An error says that the call takes no more; the connection is told.
                            let _ = shared.session.open_answer(id);
                        }
                        feed(&mut shared.session, id, inbox, cx);
                    }
                    return rest;
                }
                Work::Over => return Poll::Pending,
            };
        }
    }
}

/// Gives the plugin what it waits for, as far as it is here.
fn feed(session: &mut ServerSession, id: CallId, inbox: &Inbox, cx: &mut Context<'_>) {
    while inbox.wants() {
        match session.poll_recv(cx, id) {
            Poll::Ready(ServerEvent::Data(bytes)) => inbox.push(bytes),
            Poll::Ready(ServerEvent::HalfClose) => inbox.end(Ok(())),
            Poll::Ready(ServerEvent::Cancelled(_)) | Poll::Pending => return,
        }
    }
}

impl Shared {
    /// A body is exactly one message, of a length that is taken. Of one that is not, something is to be said.
    fn is_whole(&self, body: &Payload) -> bool {
        let Some(prefix) = body.chunk().first_chunk::<PREFIX_LEN>() else { return false };
        let length = body.len() - PREFIX_LEN;
        length <= self.max_message_bytes
            && Prefix::parse(*prefix).is_ok_and(|said| !said.compressed && said.length as usize == length)
    }

    /// Calls the plugin and polls the call once. What is ready then, as most small calls of most plugins are,
    /// is finished here and never becomes a [`Call`]; the others are returned.
    fn execute(
        &mut self,
        id: CallId,
        context: CallContext,
        message: Payload,
        cx: &mut Context<'_>,
    ) -> Option<abi::Call> {
        let called = contain(|| {
            let mut call = self.plugin.execute(context, decode_message(message)?);
            Ok::<_, Error>(match call.as_mut().poll(cx) {
                Poll::Ready(outcome) => Ok(outcome),
                Poll::Pending => Err(call),
            })
        });
        let reply = match called.and_then(|called| called) {
            Ok(Err(pending)) => return Some(pending),
            Ok(Ok(outcome)) => outcome::in_band(outcome).and_then(|reply| self.framed(encode_reply(reply))),
            Err(error) => Err(error),
        };
        self.finish(id, reply);
        None
    }

    fn finish(&mut self, id: CallId, outcome: Result<Payload, Error>) {
        match outcome {
            Ok(rest) => self.session.finish(id, End::ok(), rest),
            Err(error) => self.session.finish(id, end(error), Payload::new()),
        }
    }

    /// Calls the plugin.
    fn start(&self, method: Method, context: CallContext, message: Payload) -> Result<Work, Error> {
        if method == Method::Execute {
            let request = decode_message(message)?;
            return Ok(Work::Unary(self.plugin.execute(context, request)));
        }
        let plugin = Arc::clone(&self.plugin);
        Ok(Work::Control(Box::pin(async move {
            let plugin = &*plugin;
            match method {
                Method::Describe => encode(&control::describe(plugin, &TRANSPORTS)),
                Method::Initialize => encode(&control::initialize(plugin, decode(message)?).await),
                Method::HealthCheck => encode(&control::health(plugin, &decode(message)?).await),
                Method::GetMetrics => encode(&control::metrics(plugin, &decode(message)?).await?),
                Method::Shutdown => encode(&control::shutdown(plugin, &decode(message)?).await),
                other => Err(Error::channel(
                    Code::Unimplemented,
                    format!("frames method {} is not known here", other.number()),
                )),
            }
        })))
    }

    /// A message of the answer.
    fn framed(&self, encoded: Result<Payload, ProtocolError>) -> Result<Payload, Error> {
        let framed = encoded.map_err(|error| outcome::unreadable(&error))?;
        match framed.len().saturating_sub(PREFIX_LEN) {
            length if length > self.max_message_bytes => Err(outcome::unreadable(&ProtocolError::TooLarge {
                declared: length,
                limit: self.max_message_bytes,
            })),
            _ => Ok(framed),
        }
    }

    /// Sends what the plugin has for as long as the client takes it. Ready with the last bytes.
    fn poll_answers(
        &mut self,
        id: CallId,
        answers: &mut ResponseStream,
        opened: &mut bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Payload, Error>> {
        loop {
            // A client that takes no more has given the call up; the connection is told, and ends it.
            let Ok(_) = ready!(self.session.poll_capacity(cx, id)) else { return Poll::Pending };
            let Some(item) = ready!(answers.as_mut().poll_next(cx)) else {
                return Poll::Ready(Ok(Payload::new()));
            };
            let item = outcome::in_band(item)?;
            let last = item.is_err();
            let message = self.framed(encode_stream_reply(item))?;
            if last {
                return Poll::Ready(Ok(message));
            }
            *opened = true;
            let Ok(()) = self.session.send(id, message) else { return Poll::Pending };
        }
    }
}

fn encode(message: &impl Message) -> Result<Payload, Error> {
    encode_control(message).map(Payload::from).map_err(|error| outcome::unreadable(&error))
}

fn decode<M: Message + Default>(message: Payload) -> Result<M, Error> {
    M::decode(message).map_err(|error| Error::channel(Code::InvalidArgument, error.to_string()))
}

/// The one mapping of an error to the call's status, as [`convert::status`](crate::server::convert::status)
/// is for gRPC.
fn end(error: Error) -> End {
    match error.message {
        Cow::Borrowed(message) => End::error(error.code, bytestring::ByteString::from_static(message)),
        Cow::Owned(message) => End::error(error.code, message),
    }
}
