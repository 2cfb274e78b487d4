//! A plugin's server on the session of the frames crate, and one call on it.

use super::plugin::{Gone, Head, PluginCall, Serve};
use bytes::Bytes;
use prism_plugin_abi::{Code, Payload};
use prism_plugin_frames::{Accepted, CallId, CancelReason, Config, End, Method, ServerEvent, ServerSession};
use std::{
    cell::RefCell,
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
};

/// What the server lets a call send before it takes any of it.
pub(crate) const CREDIT: u32 = 64 << 10;

/// The sessions of all connections, in the order in which they came.
pub(crate) type Sessions = Rc<RefCell<Vec<Session>>>;
pub(crate) type Session = Rc<RefCell<ServerSession>>;

/// What a server's session is made from.
pub(crate) fn config(at_once: Option<u32>) -> Config {
    let config = Config { initial_credit: CREDIT, max_credit: CREDIT, ..Config::default() };
    Config { max_calls: at_once.unwrap_or(config.max_calls), ..config }
}

/// Serves a connection until it ends.
pub(crate) async fn drive(mut io: impl AsyncRead + AsyncWrite + Unpin, session: Session, serve: Serve) {
    let mut calls = JoinSet::new();
    poll_fn(|cx| {
        let read = session.borrow_mut().poll_read(cx, &mut io);
        while let Some(accepted) = take(&session) {
            let call = FramesCall::new(Rc::clone(&session), accepted);
            calls.spawn_local(serve(PluginCall::Frames(call)));
        }
        while calls.try_join_next().is_some() {}
        let written = session.borrow_mut().poll_write(cx, &mut io);
        match (read, written) {
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => Poll::Ready(()),
            (Poll::Ready(Ok(())), _) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            (Poll::Pending, _) => Poll::Pending,
        }
    })
    .await;
    // A plugin works on what it began; its calls learn that the connection is gone.
    while calls.join_next().await.is_some() {}
}

fn take(session: &Session) -> Option<Accepted> {
    session.borrow_mut().accept()
}

pub(crate) struct FramesCall {
    session: Session,
    id: CallId,
    head: Head,
    first: Payload,
    last: bool,
}

impl Drop for FramesCall {
    fn drop(&mut self) {
        self.session.borrow_mut().finish(self.id, End::error(Code::Cancelled, "dropped"), Payload::new());
    }
}

fn gone(reason: CancelReason) -> Gone {
    match reason {
        CancelReason::Connection => Gone::Broken,
        _ => Gone::Cancelled,
    }
}

impl FramesCall {
    fn new(session: Session, accepted: Accepted) -> Self {
        let Accepted { id, head, body, last } = accepted;
        let context = &head.context;
        let head = Head {
            method: match head.method {
                Method::Execute => "Execute".to_owned(),
                Method::ExecuteStream => "ExecuteStream".to_owned(),
                other => panic!("{other:?} over frames"),
            },
            instance: context.instance.0.to_string(),
            namespace: context.namespace.to_string(),
            principal: context.principal.as_ref().map(ToString::to_string),
            request_id: context.request_id.to_string(),
            traceparent: context.traceparent.to_string(),
            timed: head.timeout.is_some(),
        };
        Self { session, id, head, first: body, last }
    }

    pub(crate) fn head(&self) -> Head {
        self.head.clone()
    }

    pub(crate) async fn piece(&mut self) -> Option<Result<Bytes, Gone>> {
        if let Some(piece) = self.first.pop() {
            return Some(Ok(piece));
        }
        if self.last {
            return None;
        }
        match poll_fn(|cx| self.poll_recv(cx)).await {
            ServerEvent::Data(piece) => Some(Ok(piece)),
            ServerEvent::HalfClose => {
                self.last = true;
                None
            }
            ServerEvent::Cancelled(reason) => Some(Err(gone(reason))),
        }
    }

    fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<ServerEvent> {
        self.session.borrow_mut().poll_recv(cx, self.id)
    }

    pub(crate) fn begin(&mut self) {
        // A call that takes no more says so elsewhere.
        let _ = self.session.borrow_mut().open_answer(self.id);
    }

    pub(crate) fn send(&mut self, piece: Bytes) {
        let _ = self.session.borrow_mut().send(self.id, piece);
    }

    pub(crate) async fn room(&mut self) -> Option<usize> {
        poll_fn(|cx| self.session.borrow_mut().poll_capacity(cx, self.id)).await.ok()
    }

    pub(crate) fn end(self, code: u32, message: &str, details: &'static [u8]) {
        let mut end = match code {
            0 => End::ok(),
            code => End::error(Code::from_number(code.try_into().unwrap()), message.to_owned()),
        };
        end.details = Bytes::from_static(details);
        self.session.borrow_mut().finish(self.id, end, Payload::new());
    }

    /// Resolves when the client gives the call up, whatever else it sends.
    pub(crate) async fn cancelled(&mut self) -> Gone {
        poll_fn(|cx| {
            loop {
                match std::task::ready!(self.poll_recv(cx)) {
                    ServerEvent::Data(_) => {}
                    ServerEvent::Cancelled(reason) => return Poll::Ready(gone(reason)),
                    // It registers nobody from here on, so it is asked.
                    ServerEvent::HalfClose => match self.session.borrow_mut().cancelled(self.id) {
                        Some(reason) => return Poll::Ready(gone(reason)),
                        None => {
                            cx.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                    },
                }
            }
        })
        .await
    }
}
