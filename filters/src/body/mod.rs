//! One body type for requests and responses, over HTTP/2, HTTP/1.1, plugins and ready bytes.
//!
//! Payload moves as [`Bytes`]; nothing here copies or collects.

mod framing;
mod h1;
mod inflate;
mod messages;
mod observed;
mod stall;

pub use framing::Framing;
pub use h1::H1Rest;
pub use inflate::Inflate;
pub(crate) use messages::Messages;
pub use messages::{MessageLimits, Parameters};
pub use observed::{End, Observer};
pub use stall::Stall;

use crate::Rejection;
use bytes::Bytes;
use h1::H1Body;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
use http_body_util::BodyExt;
use observed::Observed;
use prism_http2::RecvStream;
use prism_plugin_abi::Payload;
use stall::Unstalled;
use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

/// An error of somebody else's kind.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The peer reset the stream, or its connection broke.
    #[error("http/2: {0}")]
    H2(#[from] prism_http2::Error),
    /// The connection broke or the peer's framing was wrong.
    #[error("http/1.1: {0}")]
    H1(#[source] hyper::Error),
    /// What came may not go on.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// What went wrong is in the body already, as its last words: it ends here, and whoever sends it ends it as a whole one.
    #[error(transparent)]
    Told(Rejection),
    /// Whoever produces the body failed.
    #[error("{0}")]
    Other(#[source] BoxError),
}

/// A body that can make progress in the other direction while nobody takes its frames: the answer of a
/// bidirectional call, whose upload must go on even when the client does not read.
pub trait Duplex: Send {
    /// The next frame.
    ///
    /// # Errors
    /// The producer failed; the body is over.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>>;

    /// Moves whatever can move without taking a frame. Ready when the body broke meanwhile: the next frame is the
    /// error, and whatever was taken before it needs not be waited for.
    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Nothing more will come. `false` when that is not known yet.
    fn is_end(&self) -> bool {
        false
    }
}

/// A request or response body. Dropping it cancels whatever produces it.
#[derive(Default)]
pub struct Body(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Whole {
        pieces: Payload,
        trailers: Trailers,
    },
    H2(H2Body),
    H1(H1Body),
    Messages(Box<Messages>),
    Duplex(Box<dyn Duplex>),
    Observed(Box<Observed>),
    Boxed(Pin<Box<dyn http_body::Body<Data = Bytes, Error = BoxError> + Send>>),
}

/// What follows a body that is all at hand.
#[derive(Default)]
enum Trailers {
    #[default]
    None,
    /// `grpc-status: 0` alone, which nearly every call ends with. Made when it is sent, because a map takes more
    /// moving about, and more memory, than all the rest of a small answer.
    Ok,
    Given(Box<HeaderMap>),
}

impl Trailers {
    fn take(&mut self) -> Option<HeaderMap> {
        match std::mem::take(self) {
            Self::None => None,
            Self::Ok => {
                let mut trailers = HeaderMap::with_capacity(1);
                trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
                Some(trailers)
            }
            Self::Given(trailers) => Some(*trailers),
        }
    }
}

/// Made once: looking a name up by its text parses it each time.
pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

impl Body {
    /// No bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Pieces that are all at hand, and the trailers after them.
    #[must_use]
    pub fn whole(pieces: Payload, trailers: Option<Box<HeaderMap>>) -> Self {
        Self(Kind::Whole { pieces, trailers: trailers.map_or(Trailers::None, Trailers::Given) })
    }

    /// The messages of a gRPC call that went well, all at hand, and `grpc-status: 0` after them.
    #[must_use]
    pub fn succeeded(messages: Payload) -> Self {
        Self(Kind::Whole { pieces: messages, trailers: Trailers::Ok })
    }

    /// A body received over HTTP/2. What is unread of it when it is dropped goes to `drain`.
    #[must_use]
    pub fn from_h2(stream: RecvStream, drain: Arc<dyn Drain>) -> Self {
        if stream.is_end_stream() {
            return Self::empty();
        }
        Self(Kind::H2(H2Body { stream: Some(stream), held: 0, data_done: false, drain }))
    }

    /// A body received over HTTP/1.1. What is unread of it when it is dropped goes to `rest`.
    #[must_use]
    pub fn from_h1(incoming: hyper::body::Incoming, rest: Arc<H1Rest>) -> Self {
        Self(Kind::H1(H1Body::new(incoming, rest)))
    }

    /// A body with two directions.
    #[must_use]
    pub fn from_duplex(duplex: Box<dyn Duplex>) -> Self {
        Self(Kind::Duplex(duplex))
    }

    /// Any other body.
    pub fn new<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Kind::Boxed(Box::pin(body.map_err(Into::into))))
    }

    /// The same body, which is over (with [`Reason::ClientStalled`](crate::Reason)) when it stands still for
    /// `timeout`. Not for a stream of messages, where silence between two is no stall.
    #[must_use]
    pub fn unless_stalled(self, timeout: Duration) -> Self {
        if self.is_end() { self } else { Self::from_duplex(Box::new(Unstalled::new(self, timeout))) }
    }

    /// The same gRPC body, which is over when a message that has begun stands still for `timeout`.
    #[must_use]
    pub fn unless_a_message_stalls(self, timeout: Duration) -> Self {
        if self.is_end() { self } else { Self::from_duplex(Box::new(Unstalled::in_a_message(self, timeout))) }
    }

    /// Checks every gRPC message that passes against `limits`; see [`Messages`].
    pub(crate) fn from_messages(messages: Box<Messages>) -> Self {
        Self(Kind::Messages(messages))
    }

    /// Tells `observer` what passes and how it ends.
    #[must_use]
    pub fn observed(self, observer: Box<dyn Observer>) -> Self {
        Self(Kind::Observed(Box::new(Observed::new(self, observer))))
    }

    /// The next frame; `None` after the last. Not polling is back-pressure.
    ///
    /// # Errors
    /// The body broke and is over.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match &mut self.0 {
            Kind::Empty => None,
            Kind::Whole { pieces, trailers } => match pieces.pop() {
                Some(piece) => Some(Ok(Frame::data(piece))),
                None => trailers.take().map(|trailers| Ok(Frame::trailers(trailers))),
            },
            Kind::H2(body) => ready!(body.poll_next(cx)),
            Kind::H1(incoming) => ready!(incoming.poll_next(cx)).map(|frame| frame.map_err(BodyError::H1)),
            Kind::Messages(messages) => ready!(messages.poll_next(cx)),
            Kind::Duplex(duplex) => ready!(duplex.poll_frame(cx)),
            Kind::Observed(observed) => ready!(observed.poll_next(cx)),
            Kind::Boxed(body) => {
                ready!(body.as_mut().poll_frame(cx)).map(|frame| frame.map_err(BodyError::Other))
            }
        };
        Poll::Ready(frame)
    }

    /// Moves along what can move without taking a frame ([`Duplex::poll_progress`]).
    pub fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Kind::Duplex(duplex) => duplex.poll_progress(cx),
            Kind::Observed(observed) => observed.poll_progress(cx),
            _ => Poll::Pending,
        }
    }

    /// What was taken of it last was not delivered: to who watches it, it was dropped, even if nothing more was to come.
    pub fn abandon(&mut self) {
        if let Kind::Observed(observed) = &mut self.0 {
            observed.abandon();
        }
    }

    /// Nothing more will come: no data and no trailers. `false` when that is not known yet.
    #[must_use]
    pub fn is_end(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Messages(_) => false,
            Kind::Duplex(duplex) => duplex.is_end(),
            Kind::Whole { pieces, trailers } => pieces.is_empty() && matches!(trailers, Trailers::None),
            Kind::H2(body) => body.stream.as_ref().is_none_or(RecvStream::is_end_stream),
            Kind::H1(incoming) => incoming.is_end(),
            Kind::Observed(observed) => observed.inner().is_end(),
            Kind::Boxed(body) => body.is_end_stream(),
        }
    }

    /// All its pieces, where all of them are at hand.
    ///
    /// # Errors
    /// Gives the body back when something is still to come, or trailers follow.
    pub fn into_whole(self) -> Result<Payload, Self> {
        match self.0 {
            Kind::Empty => Ok(Payload::new()),
            Kind::Whole { pieces, trailers: Trailers::None } => Ok(pieces),
            other => Err(Self(other)),
        }
    }

    /// How many bytes are still to come, where that is known.
    #[must_use]
    pub fn exact_len(&self) -> Option<u64> {
        match &self.0 {
            Kind::Empty => Some(0),
            Kind::Whole { pieces, .. } => Some(pieces.len() as u64),
            Kind::H1(incoming) => incoming.exact_len(),
            Kind::Observed(observed) => observed.inner().exact_len(),
            Kind::Boxed(body) => body.size_hint().exact(),
            Kind::H2(_) | Kind::Messages(_) | Kind::Duplex(_) => None,
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::whole(bytes.into(), None)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::Empty => "Body::Empty",
            Kind::Whole { .. } => "Body::Whole",
            Kind::H2(_) => "Body::H2",
            Kind::H1(_) => "Body::H1",
            Kind::Messages(_) => "Body::Messages",
            Kind::Duplex(_) => "Body::Duplex",
            Kind::Observed(_) => "Body::Observed",
            Kind::Boxed(_) => "Body::Boxed",
        })
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // For hyper, to which an error is a connection to be cut.
        self.get_mut()
            .poll_next(cx)
            .map(|frame| frame.filter(|frame| !matches!(frame, Err(BodyError::Told(_)))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_end()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.exact_len().map_or_else(http_body::SizeHint::default, http_body::SizeHint::with_exact)
    }
}

/// Where an unread rest of a request goes, to be read and thrown away for a moment: a peer that is still
/// sending would else see a reset before it reads the answer.
pub trait Drain: Send + Sync {
    /// Takes what is left of a request.
    fn take(&self, rest: RecvStream);

    /// So many bytes of a body have been taken by their reader, and their window was given back. What the windows'
    /// growth is decided by.
    fn took(&self, bytes: usize);
}

struct H2Body {
    /// `None` once it ended.
    stream: Option<RecvStream>,
    /// Bytes handed out whose window is given back when the consumer comes for more: that is what
    /// carries back-pressure to the sender.
    held: usize,
    data_done: bool,
    drain: Arc<dyn Drain>,
}

impl H2Body {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        if self.held > 0 {
            let held = std::mem::take(&mut self.held);
            stream.release(held);
            self.drain.took(held);
        }
        if !self.data_done {
            match ready!(stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    self.held = data.len();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => {
                    self.stream = None;
                    return Poll::Ready(Some(Err(error.into())));
                }
                None => self.data_done = true,
            }
        }
        let trailers = ready!(stream.poll_trailers(cx));
        self.stream = None;
        Poll::Ready(
            trailers.map_err(BodyError::from).map(|trailers| trailers.map(Frame::trailers)).transpose(),
        )
    }
}

impl Drop for H2Body {
    fn drop(&mut self) {
        if let Some(mut stream) = self.stream.take().filter(|stream| !stream.is_end_stream()) {
            stream.release(self.held);
            self.drain.take(stream);
        }
    }
}
