//! The tests' plugin over Prism frames, on a bare session, so that it sees what really arrives.

use super::{Call, Received, Recorder, Speaks, answer, echoed, take_message};
use crate::wire;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use prism_plugin_abi::Code;
use prism_plugin_frames::{
    Accepted, CallId, Config, End, Method, OpenHead, ServerEvent, ServerSession, Stopped,
};
use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
};
use tokio::net::UnixStream;

/// A session that its driver and its calls share.
#[derive(Clone)]
struct Session(Arc<Mutex<ServerSession>>);

impl Session {
    fn lock(&self) -> MutexGuard<'_, ServerSession> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, id: CallId, end: End, data: Bytes) {
        self.lock().finish(id, end, data);
    }

    /// Sends as the client takes it.
    async fn send(&self, id: CallId, mut data: Bytes) -> Result<(), Stopped> {
        while !data.is_empty() {
            let capacity = poll_fn(|cx| self.lock().poll_capacity(cx, id)).await?;
            let chunk = data.split_to(capacity.min(data.len()));
            self.lock().send(id, chunk)?;
        }
        Ok(())
    }
}

pub(super) async fn connection(mut socket: UnixStream, recorder: Recorder) {
    let session = Session(Arc::new(Mutex::new(ServerSession::new(Config::default()))));
    poll_fn(|cx| {
        loop {
            let mut state = session.lock();
            let read = state.poll_read(cx, &mut socket);
            while let Some(accepted) = state.accept() {
                tokio::spawn(call(session.clone(), accepted, recorder.clone()));
            }
            while let Some(id) = state.next_cancelled() {
                state.finish(id, End::error(Code::Cancelled, "given up"), Bytes::new());
            }
            let written = state.poll_write(cx, &mut socket);
            match (read, written) {
                (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => return Poll::Ready(()),
                (Poll::Ready(Ok(())), _) => {}
                (Poll::Pending, _) => return Poll::Pending,
            }
        }
    })
    .await;
}

/// A call's body, as it comes.
struct Body {
    session: Session,
    id: CallId,
    here: Option<Bytes>,
    last: bool,
    all: BytesMut,
}

/// A call was given up before its end.
struct GivenUp;

impl Body {
    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, GivenUp> {
        let piece = match self.here.take() {
            Some(piece) => piece,
            None if self.last => return Ok(None),
            None => match poll_fn(|cx| self.session.lock().poll_recv(cx, self.id)).await {
                ServerEvent::Data(piece) => piece,
                ServerEvent::HalfClose => return Ok(None),
                ServerEvent::Cancelled(_) => return Err(GivenUp),
            },
        };
        self.all.extend_from_slice(&piece);
        Ok(Some(piece))
    }

    fn received(self, complete: bool) -> Received {
        Received { body: self.all.freeze(), trailers: HeaderMap::new(), complete }
    }
}

async fn call(session: Session, accepted: Accepted, recorder: Recorder) {
    let Accepted { id, head, body, last } = accepted;
    let here = Some(body.into_bytes()).filter(|here| !here.is_empty());
    let mut body = Body { session: session.clone(), id, here, last, all: BytesMut::new() };
    let headers = headers(&head);
    let method = match head.method {
        Method::ExecuteStream => return echo_stream(headers, body, &recorder).await,
        Method::Execute => "Execute",
        Method::Describe => "Describe",
        Method::Initialize => "Initialize",
        Method::HealthCheck => "HealthCheck",
        Method::GetMetrics => "GetMetrics",
        _ => "Shutdown",
    };
    let complete = loop {
        match body.next().await {
            Ok(Some(_)) => {}
            Ok(None) => break true,
            Err(GivenUp) => break false,
        }
    };
    let received = body.received(complete);
    if method == "Execute" {
        recorder.add(Call::new(method.to_owned(), headers, &received));
    }
    if !complete {
        return;
    }
    if method == "Initialize" {
        recorder.initialize(received.body.get(5..).unwrap_or_default());
    }
    match answer(method, received.body.get(5..).unwrap_or_default(), Speaks::Both).await {
        Some(reply) => session.finish(id, End::ok(), reply),
        None => session.finish(id, End::error(Code::Unimplemented, ""), Bytes::new()),
    }
}

/// Sends each message back before it reads the next: it can be held up by a reader, as any real one can.
async fn echo_stream(headers: HeaderMap, mut body: Body, recorder: &Recorder) {
    let (session, id) = (body.session.clone(), body.id);
    let _ = session.lock().open_answer(id);
    let mut pending = BytesMut::new();
    let complete = 'all: loop {
        let piece = match body.next().await {
            Ok(Some(piece)) => piece,
            Ok(None) => break true,
            Err(GivenUp) => break false,
        };
        pending.extend_from_slice(&piece);
        while let Some(message) = take_message(&mut pending) {
            if session.send(id, wire::framed(&echoed(&message))).await.is_err() {
                break 'all false;
            }
        }
    };
    recorder.add(Call::new("ExecuteStream".to_owned(), headers, &body.received(complete)));
    if complete {
        session.finish(id, End::ok(), Bytes::new());
    }
}

/// What the head says, under the names that it has in gRPC.
fn headers(head: &OpenHead) -> HeaderMap {
    let context = &head.context;
    let timeout = head.timeout.map(|timeout| format!("{}m", timeout.as_millis()));
    let instance = context.instance.0.to_string();
    let texts = [
        ("x-prism-namespace", Some(&*context.namespace)),
        ("x-prism-instance", Some(&*instance)),
        ("x-prism-principal", context.principal.as_deref()),
        ("x-request-id", Some(&*context.request_id).filter(|text| !text.is_empty())),
        ("traceparent", Some(&*context.traceparent).filter(|text| !text.is_empty())),
        ("grpc-timeout", timeout.as_deref()),
    ];
    let present = texts.into_iter().filter_map(|(name, text)| Some((name, text?)));
    present.map(|(name, text)| (name.parse().unwrap(), HeaderValue::from_str(text).unwrap())).collect()
}
