//! Messages as bytes over Prism frames: a task that drives a session for all its calls.

use super::{Messages, Replies, with_prefix};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use prism_plugin_abi::{CallContext, Code, Error, Payload};
use prism_plugin_envelope::Deframer;
use prism_plugin_frames::{CallHead, CallId, CancelReason, ClientEvent, ClientSession, Config, Method};
use std::{
    collections::BTreeMap,
    future::poll_fn,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};
use tokio::{net::UnixStream, sync::mpsc, time::Instant};

#[derive(Clone)]
pub(super) struct Wire {
    commands: mpsc::UnboundedSender<Command>,
    calls: Arc<AtomicU64>,
}

enum Command {
    Open(u64, Open),
    Cancel(u64),
}

struct Open {
    method: Method,
    context: CallContext,
    messages: Messages,
    events: mpsc::UnboundedSender<Event>,
}

enum Event {
    Opened,
    Data(Bytes),
    End(Result<(), Error>),
}

/// A call's answer. Dropping it cancels the call.
struct Answer {
    number: u64,
    commands: mpsc::UnboundedSender<Command>,
    events: mpsc::UnboundedReceiver<Event>,
    deframer: Deframer,
}

impl Drop for Answer {
    fn drop(&mut self) {
        drop(self.commands.send(Command::Cancel(self.number)));
    }
}

fn over() -> Error {
    Error::channel(Code::Unavailable, "the connection is over")
}

impl Answer {
    async fn event(&mut self) -> Event {
        self.events.recv().await.unwrap_or_else(|| Event::End(Err(over())))
    }

    fn message(&mut self) -> Option<Result<Payload, Error>> {
        let protocol =
            |error: prism_plugin_envelope::ProtocolError| Error::channel(Code::Internal, error.to_string());
        self.deframer.next_message().map_err(protocol).transpose()
    }

    fn messages(self) -> impl Stream<Item = Result<Payload, Error>> {
        stream::unfold(Some(self), |answer| async {
            let mut answer = answer?;
            loop {
                if let Some(message) = answer.message() {
                    return Some((message, Some(answer)));
                }
                match answer.event().await {
                    Event::Opened => {}
                    Event::Data(bytes) => answer.deframer.push(bytes),
                    Event::End(Ok(())) => return None,
                    Event::End(Err(error)) => return Some((Err(error), None)),
                }
            }
        })
    }
}

fn method(name: &str) -> Result<Method, Error> {
    Ok(match name {
        "Execute" => Method::Execute,
        "ExecuteStream" => Method::ExecuteStream,
        "Describe" => Method::Describe,
        "Initialize" => Method::Initialize,
        "HealthCheck" => Method::HealthCheck,
        "GetMetrics" => Method::GetMetrics,
        "Shutdown" => Method::Shutdown,
        _ => return Err(Error::invalid(format!("`{name}` is no method"))),
    })
}

impl Wire {
    /// Connects.
    ///
    /// # Panics
    /// When nobody answers there.
    #[expect(clippy::disallowed_methods, reason = "a plugin's tests have no platform seam")]
    pub(super) async fn connect(path: PathBuf) -> Self {
        let io =
            UnixStream::connect(&path).await.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (commands, receiver) = mpsc::unbounded_channel();
        let driver = Driver {
            io,
            session: ClientSession::new(Config::default()),
            commands: receiver,
            waiting: BTreeMap::new(),
            calls: BTreeMap::new(),
        };
        tokio::spawn(driver.run());
        Self { commands, calls: Arc::default() }
    }

    fn open(&self, method: Method, context: &CallContext, messages: Messages) -> Result<Answer, Error> {
        let number = self.calls.fetch_add(1, Relaxed);
        let (events, receiver) = mpsc::unbounded_channel();
        let open = Open { method, context: context.clone(), messages, events };
        self.commands.send(Command::Open(number, open)).map_err(|_| over())?;
        let commands = self.commands.clone();
        Ok(Answer { number, commands, events: receiver, deframer: Deframer::default() })
    }

    pub(super) async fn unary(
        &self,
        name: &str,
        context: &CallContext,
        message: Payload,
    ) -> Result<Payload, Error> {
        let messages = Box::pin(stream::iter([message]));
        let answer = self.open(method(name)?, context, messages)?;
        let messages = answer.messages().collect::<Vec<_>>().await;
        let mut messages = messages.into_iter().collect::<Result<Vec<_>, _>>()?;
        match messages.pop() {
            Some(message) if messages.is_empty() => Ok(message),
            _ => Err(Error::channel(Code::Internal, "not exactly one message")),
        }
    }

    pub(super) async fn stream(&self, context: &CallContext, messages: Messages) -> Result<Replies, Error> {
        let mut answer = self.open(Method::ExecuteStream, context, messages)?;
        match answer.event().await {
            Event::Opened => {}
            Event::Data(bytes) => answer.deframer.push(bytes),
            Event::End(Ok(())) => return Ok(Box::pin(stream::empty())),
            Event::End(Err(error)) => return Err(error),
        }
        Ok(Box::pin(answer.messages()))
    }
}

struct Sending {
    id: CallId,
    /// `None` when all of it is sent.
    messages: Option<Messages>,
    events: mpsc::UnboundedSender<Event>,
}

struct Driver {
    io: UnixStream,
    session: ClientSession,
    commands: mpsc::UnboundedReceiver<Command>,
    /// Not opened yet.
    waiting: BTreeMap<u64, Open>,
    calls: BTreeMap<u64, Sending>,
}

impl Driver {
    async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let read = self.session.poll_read(cx, &mut self.io);
            let commanded = self.poll_commands(cx);
            self.open_waiting(cx);
            self.calls.retain(|_, call| call.poll(&mut self.session, cx).is_pending());
            let written = self.session.poll_write(cx, &mut self.io);
            let over = matches!(read, Poll::Ready(Err(_))) || matches!(written, Poll::Ready(Err(_)));
            let unused = commanded.is_ready() && self.calls.is_empty() && self.waiting.is_empty();
            if over || unused || (self.session.is_going_away() && self.calls.is_empty()) {
                return Poll::Ready(());
            }
            ready!(read).unwrap_or_default();
        }
    }

    /// Ready when nobody will ask for anything more.
    fn poll_commands(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(command) = ready!(self.commands.poll_recv(cx)) {
            match command {
                Command::Open(number, open) => {
                    self.waiting.insert(number, open);
                }
                Command::Cancel(number) => {
                    self.waiting.remove(&number);
                    if let Some(call) = self.calls.remove(&number) {
                        self.session.cancel(call.id, CancelReason::Gone);
                    }
                }
            }
        }
        Poll::Ready(())
    }

    fn open_waiting(&mut self, cx: &mut Context<'_>) {
        while let Some((number, open)) = self.waiting.pop_first() {
            if self.session.poll_ready(cx).is_pending() {
                self.waiting.insert(number, open);
                return;
            }
            let Open { method, context, messages, events } = open;
            let timeout = context.deadline.map(|at| at.saturating_duration_since(Instant::now().into_std()));
            let head = CallHead { method, timeout, context: &context };
            match self.session.open(&head, Payload::new(), false) {
                Ok(id) => {
                    self.calls.insert(number, Sending { id, messages: Some(messages), events });
                }
                Err(error) => {
                    let error = Error::channel(Code::Unavailable, error.to_string());
                    drop(events.send(Event::End(Err(error))));
                }
            }
        }
    }
}

impl Sending {
    /// Ready when the call is over.
    fn poll(&mut self, session: &mut ClientSession, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let event = match session.poll_recv(cx, self.id) {
                Poll::Pending => break,
                Poll::Ready(ClientEvent::Opened) => Event::Opened,
                Poll::Ready(ClientEvent::Data(bytes)) => Event::Data(bytes),
                Poll::Ready(ClientEvent::End(end)) => Event::End(match end.code {
                    None => Ok(()),
                    Some(code) => Err(Error::channel(code, end.message.to_string())),
                }),
                Poll::Ready(ClientEvent::Broken(broken)) => {
                    Event::End(Err(Error::channel(Code::Unavailable, broken.reason.to_string())))
                }
            };
            let last = matches!(event, Event::End(_));
            // Who does not want it has dropped the call, and says so.
            drop(self.events.send(event));
            if last {
                return Poll::Ready(());
            }
        }
        while let Some(messages) = &mut self.messages {
            if !matches!(session.poll_capacity(cx, self.id), Poll::Ready(Ok(_))) {
                break;
            }
            match Pin::new(messages).poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(message)) => {
                    let _ = session.send(self.id, with_prefix(&message), false);
                }
                Poll::Ready(None) => {
                    self.messages = None;
                    let _ = session.send(self.id, Payload::new(), true);
                }
            }
        }
        Poll::Pending
    }
}
