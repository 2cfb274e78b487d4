//! A service over HTTP/1.1, on hyper: one request at a time on each connection.

use super::{
    Outgoing, Reply, Service, framing,
    heard::{Heard, Listening},
    pool::{Dial, Lease, Pool, Pooled},
};
use crate::{
    channel::{BoxError, ForwardError, ReplySource, WireBody},
    upstream::{Failed, Target, Who},
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use prism_platform::Platform;
use prism_tls::alpn;
use send_wrapper::SendWrapper;
use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

/// Header fields of an answer: as many as the listener takes of a request.
const MAX_HEADERS: usize = 100;

/// Size of an answer's head, and of the read buffer: as the listener's for a request.
pub(super) const MAX_HEAD: usize = 32 << 10;

/// One open HTTP/1.1 connection.
pub(super) struct Http1 {
    send: http1::SendRequest<Uploading>,
    heard: Heard,
}

impl Pooled for Http1 {
    async fn dial(
        platform: &Platform,
        target: &Target,
    ) -> Result<(Self, impl Future<Output = ()> + 'static), String> {
        let io = target.connect(platform, alpn::HTTP1, Who::Control).await?;
        let (io, heard) = Listening::new(io);
        let (send, connection) = http1::Builder::new()
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|error| error.to_string())?;
        // Its error is also that of the request on it.
        let driver = async move { drop(connection.await) };
        Ok((Self { send, heard }, driver))
    }

    fn is_ready(&self) -> bool {
        self.send.is_ready()
    }

    fn is_closed(&self) -> bool {
        self.send.is_closed()
    }
}

/// Sends one request, once. One that may be repeated counts as not begun when the connection had been idle before and not a
/// byte of an answer came: what such a one loses was perhaps never read.
pub(super) async fn attempt(
    pool: &Rc<Pool<Http1>>,
    service: &Service,
    dial: Dial,
    outgoing: &impl Outgoing,
    body: WireBody,
) -> Result<Reply, Failed> {
    let mut lease = match pool.lease(dial).await {
        Ok(lease) => lease,
        Err(error) => return Err(Failed::NotBegun(error, Some(body))),
    };
    let head = outgoing.head(service)?;
    let again = lease.reused && outgoing.is_idempotent();
    let spare = match &body {
        WireBody::Whole(payload) if again => Some(WireBody::Whole(payload.clone())),
        _ => None,
    };
    let (uploading, failure) = Uploading::new(body, outgoing.content_length());
    let mut request = head.map(|()| uploading);
    if request.body().length.is_none() {
        // RFC 9112 section 6.3: "A user agent that sends a request that contains a message body MUST send either a valid
        // Content-Length header field or use the chunked transfer coding". hyper would leave out that of a GET or HEAD.
        request.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let method = request.method().clone();
    let heard = lease.connection.heard.clone();
    heard.begin();
    let sent = lease.connection.send.try_send_request(request).await;
    let response = match sent {
        Ok(response) => response,
        Err(mut refused) => {
            // Not a byte of it was written: hyper gives it back.
            let untouched = refused.take_message().map(|request| request.into_body().body);
            let error = match heard.is_too_much() {
                true => ForwardError::Protocol("it sends interim answers, and no answer".to_owned()),
                false => broken(&refused.into_error(), &failure),
            };
            return Err(match untouched.or(spare.filter(|_| heard.is_nothing())) {
                Some(body) => Failed::NotBegun(error, Some(body)),
                None => Failed::Broken(error),
            });
        }
    };
    heard.end();
    let (mut head, incoming) = response.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let message = "it switched the protocol, which nobody had asked for".to_owned();
        return Err(Failed::Broken(ForwardError::Protocol(message)));
    }
    framing::settle(&mut head)?;
    if incoming.is_end_stream() || !framing::has_content(&method, head.status) {
        pool.give_back(lease);
        return Ok(Reply::whole(head, Bytes::new().into(), None));
    }
    let answer = Answer { incoming, failure, lease: Some((lease, Rc::clone(pool))) };
    // It stays on this worker, as every answer does.
    Ok(Reply::stream(head, Box::new(SendWrapper::new(answer))))
}

/// Why the client's side of an upload failed.
type Failure = Arc<Mutex<Option<BoxError>>>;

fn broken(error: &hyper::Error, failure: &Failure) -> ForwardError {
    if let Some(error) = failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return ForwardError::Source(error);
    }
    if error.is_parse() {
        return ForwardError::Protocol(format!("it sent what HTTP/1.1 does not allow ({error})"));
    }
    ForwardError::Unavailable(format!("the connection broke: {error}"))
}

/// An answer that is still arriving.
struct Answer {
    incoming: Incoming,
    failure: Failure,
    lease: Option<(Lease<Http1>, Rc<Pool<Http1>>)>,
}

impl Answer {
    /// All of it is here: the connection may have another request.
    fn release(&mut self) {
        if let Some((lease, pool)) = self.lease.take() {
            pool.give_back(lease);
        }
    }
}

impl ReplySource for SendWrapper<Answer> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ForwardError>>> {
        let this = &mut **self;
        if this.lease.is_none() {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(Pin::new(&mut this.incoming).poll_frame(cx)) {
            Some(Ok(frame)) => {
                if this.incoming.is_end_stream() || !frame.is_data() {
                    this.release();
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                this.lease = None;
                Some(Err(broken(&error, &this.failure)))
            }
            None => {
                this.release();
                None
            }
        })
    }

    fn poll_progress(&mut self, _: &mut Context<'_>) {
        // The connection's own task moves the upload.
    }
}

/// A request's body on its way out.
struct Uploading {
    body: WireBody,
    length: Option<u64>,
    failure: Failure,
}

impl Uploading {
    fn new(body: WireBody, length: Option<u64>) -> (Self, Failure) {
        let failure = Failure::default();
        let length = match &body {
            WireBody::Whole(payload) => Some(payload.len() as u64),
            WireBody::Stream(_) => length,
        };
        (Self { body, length, failure: Arc::clone(&failure) }, failure)
    }
}

/// The client's side failed; why is said elsewhere.
#[derive(Debug, thiserror::Error)]
#[error("the request broke off")]
struct BrokeOff;

impl Body for Uploading {
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        let this = &mut *self;
        let piece = match &mut this.body {
            WireBody::Whole(payload) => payload.pop().map(Ok),
            WireBody::Stream(source) => ready!(source.poll_piece(cx)),
        };
        Poll::Ready(match piece {
            None => None,
            Some(Ok(piece)) => {
                this.length = this.length.map(|length| length.saturating_sub(piece.len() as u64));
                Some(Ok(Frame::data(piece)))
            }
            Some(Err(error)) => {
                // The message is cut off on the wire, so that nobody takes it for the whole.
                *this.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Some(Err(BrokeOff))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.body, WireBody::Whole(payload) if payload.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
