//! One call over frames: a slot in its connection's session. No task, no channel, no lock; what it waits for wakes
//! it where it is.

use super::{
    connection::{Frames, Shared},
    reply::{self, FramesReply},
};
use crate::{
    channel::{ForwardError, ReplyBody, Rpc, WireBody, WireReply, WireSource},
    upstream::{Admitted, Connection, Failed, GATHER, Reply, Sink, Upload, rejoin, time_left},
};
use bytes::Bytes;
use prism_plugin_abi::{CallContext, Code, Error, Payload};
use prism_plugin_frames::{Broken, CallHead, CallId, CancelReason, ClientEvent, Method, OpenError};
use send_wrapper::SendWrapper;
use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, ready},
};

/// An open call. Dropping it cancels it; of a call that is over, dropping it does nothing.
pub(super) struct OpenCall {
    shared: Rc<Shared>,
    id: CallId,
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.shared.session().cancel(self.id, CancelReason::Gone);
    }
}

impl OpenCall {
    pub(super) fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<ClientEvent> {
        self.shared.session().poll_recv(cx, self.id)
    }

    fn sink(&self) -> CallSink {
        CallSink { shared: Rc::clone(&self.shared), id: self.id }
    }
}

/// Where a call's body goes.
struct CallSink {
    shared: Rc<Shared>,
    id: CallId,
}

impl Sink for CallSink {
    fn poll_capacity(&mut self, cx: &mut Context<'_>, _: usize) -> Poll<Option<usize>> {
        self.shared.session().poll_capacity(cx, self.id).map(Result::ok)
    }

    fn send(&mut self, piece: Bytes, last: bool) -> bool {
        self.shared.session().send(self.id, piece, last).is_ok()
    }

    fn cancel(&mut self) {
        self.shared.session().cancel(self.id, CancelReason::Body);
    }
}

impl Sink for SendWrapper<CallSink> {
    fn poll_capacity(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Option<usize>> {
        (**self).poll_capacity(cx, wanted)
    }

    fn send(&mut self, piece: Bytes, last: bool) -> bool {
        (**self).send(piece, last)
    }

    fn cancel(&mut self) {
        (**self).cancel();
    }
}

/// Sends one call, once.
pub(super) async fn attempt(
    connection: Rc<Connection<Frames>>,
    rpc: Rpc,
    context: &CallContext,
    admitted: &mut Option<Admitted>,
    body: WireBody,
) -> Result<WireReply, Failed> {
    let (first, rest) = match body {
        WireBody::Whole(payload) => (payload, None),
        WireBody::Stream(mut source) => {
            // What is here already travels with the head. Nothing is sent for a client that has failed.
            match poll_fn(|cx| Poll::Ready(source.poll_piece(cx))).await {
                Poll::Pending => (Payload::new(), Some(source)),
                Poll::Ready(Some(Ok(piece))) => (piece.into(), Some(source)),
                Poll::Ready(Some(Err(error))) => return Err(ForwardError::Source(error).into()),
                Poll::Ready(None) => (Payload::new(), None),
            }
        }
    };
    let (call, first, rest) = open(&connection, rpc, context, first, rest).await?;
    drop(connection);
    let mut sent = Sent::new(call, first, rest);
    poll_fn(|cx| sent.poll(cx, admitted)).await
}

/// A call that was sent, until its answer begins.
pub(crate) struct Sent {
    /// `None` once the answer has it.
    call: Option<OpenCall>,
    upload: Option<Upload<CallSink>>,
    /// What went with the head, in case the plugin does not begin with it.
    first: Payload,
    gathered: Payload,
}

impl Sent {
    fn new(call: OpenCall, first: Payload, rest: Option<Box<dyn WireSource>>) -> Self {
        let upload = rest.map(|source| Upload::new(call.sink(), WireBody::Stream(source)));
        Self { call: Some(call), upload, first, gathered: Payload::new() }
    }

    /// Sends a call whose body is here, if there is room for it now; hands the body back if not.
    pub(crate) fn now(
        connection: &Connection<Frames>,
        rpc: Rpc,
        context: &CallContext,
        body: Payload,
    ) -> Result<Self, Payload> {
        let shared = connection.carrier.shared();
        let Ok(timeout) = time_left(context) else { return Err(body) };
        let head = CallHead { method: method(rpc), timeout, context };
        let opened = shared.session().open(&head, body.clone(), true);
        match opened {
            Ok(id) => Ok(Self::new(OpenCall { shared: Rc::clone(shared), id }, body, None)),
            // The way with all the waits finds out why.
            Err(_) => Err(body),
        }
    }

    /// The answer's beginning, all of it where it is small. `admitted` goes with it.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        admitted: &mut Option<Admitted>,
    ) -> Poll<Result<WireReply, Failed>> {
        if let Some(upload) = &mut self.upload
            && let Poll::Ready(Err(error)) = upload.poll(cx)
        {
            return Poll::Ready(Err(error.into()));
        }
        let over = || Failed::Broken(ForwardError::Unavailable("the call ended already".into()));
        let Some(call) = &self.call else { return Poll::Ready(Err(over())) };
        let answer = match ready!(gather(call, &mut self.gathered, cx)) {
            Gathered::Broken(broken) if !broken.begun => {
                let first = std::mem::take(&mut self.first);
                let again = match self.upload.take() {
                    None => Some(WireBody::Whole(first)),
                    Some(upload) => upload.rewind().map(|rest| rejoin(first, rest)),
                };
                return Poll::Ready(Err(Failed::NotBegun(unavailable(&broken), again)));
            }
            Gathered::Broken(broken) => return Poll::Ready(Err(unavailable(&broken).into())),
            Gathered::All(end) => Some(end),
            Gathered::Begun => None,
        };
        let (Some(call), Some(admitted)) = (self.call.take(), admitted.take()) else {
            return Poll::Ready(Err(over()));
        };
        let gathered = std::mem::take(&mut self.gathered);
        if let Some(end) = answer {
            return Poll::Ready(Ok(reply::whole(&end, gathered)));
        }
        // An answer is `Send` because hyper wants its bodies to be, but it stays on its worker, whose connection
        // it came from: the wrapper turns "stays" into a panic should anybody ever move one, where a lock would
        // be paid for by every frame.
        let receive = SendWrapper::new(FramesReply::new(call, gathered));
        let upload = self.upload.take().map(|upload| upload.map(SendWrapper::new));
        let body = ReplyBody::Stream(Box::new(Reply::new(receive, upload, admitted)));
        Poll::Ready(Ok(WireReply { headers: None, body }))
    }
}

fn method(rpc: Rpc) -> Method {
    match rpc {
        Rpc::Execute => Method::Execute,
        Rpc::ExecuteStream => Method::ExecuteStream,
    }
}

type Opened = (OpenCall, Payload, Option<Box<dyn WireSource>>);

/// Opens the call once there is room for it. Hands back the beginning of its body too, in case the plugin does not
/// begin with it.
async fn open(
    connection: &Connection<Frames>,
    rpc: Rpc,
    context: &CallContext,
    first: Payload,
    rest: Option<Box<dyn WireSource>>,
) -> Result<Opened, Failed> {
    let method = method(rpc);
    let shared = connection.carrier.shared();
    let error = loop {
        // Anew after a wait, which took some of the time.
        let head = CallHead { method, timeout: time_left(context)?, context };
        let opened = shared.session().open(&head, first.clone(), rest.is_none());
        let room = match opened {
            Ok(id) => return Ok((OpenCall { shared: Rc::clone(shared), id }, first, rest)),
            Err(OpenError::Full) => poll_fn(|cx| shared.session().poll_ready(cx)).await,
            Err(error) => break error,
        };
        if let Err(error) = room {
            break error;
        }
    };
    Err(match error {
        OpenError::Overloaded => ForwardError::Overloaded(error.to_string()).into(),
        // Leaving some of it out would make another call of it.
        OpenError::HeadTooLarge(_) => {
            ForwardError::from(Error::channel(Code::Internal, error.to_string())).into()
        }
        _ => {
            // The connection takes no more calls; nothing was sent, so any body is still at hand.
            connection.close();
            let body = match rest {
                None => WireBody::Whole(first),
                Some(rest) => rejoin(first, WireBody::Stream(rest)),
            };
            Failed::NotBegun(ForwardError::Unavailable(error.to_string()), Some(body))
        }
    })
}

/// What there is of an answer.
enum Gathered {
    /// All of it.
    All(prism_plugin_frames::End),
    /// It has begun.
    Begun,
    Broken(Broken),
}

/// Takes what is here of an answer; all of it where it is small, which is the case of nearly every call.
fn gather(call: &OpenCall, gathered: &mut Payload, cx: &mut Context<'_>) -> Poll<Gathered> {
    let mut begun = !gathered.is_empty();
    loop {
        match call.poll_recv(cx) {
            Poll::Ready(ClientEvent::Data(data)) => gathered.push(data),
            Poll::Ready(ClientEvent::Opened) => {}
            Poll::Ready(ClientEvent::End(end)) => return Poll::Ready(Gathered::All(end)),
            Poll::Ready(ClientEvent::Broken(broken)) => return Poll::Ready(Gathered::Broken(broken)),
            Poll::Pending if begun => return Poll::Ready(Gathered::Begun),
            Poll::Pending => return Poll::Pending,
        }
        begun = true;
        if gathered.len() >= GATHER {
            return Poll::Ready(Gathered::Begun);
        }
    }
}

pub(super) fn unavailable(broken: &Broken) -> ForwardError {
    ForwardError::Unavailable(format!("the connection broke: {}", broken.reason))
}
