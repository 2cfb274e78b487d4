//! A gRPC answer in gRPC-Web: the same messages, then the trailers as one more of them.

use super::{Form, is_rest, text::encode_next};
use crate::{
    Body, Code,
    body::{BodyError, Duplex, Framing, GRPC_STATUS},
    text::strip_media_type,
    trailers_of,
};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use std::task::{Context, Poll, ready};

/// Writes an answer in this form. One that is not gRPC (a filter's own page, a forwarded server's error) stays as it is:
/// clients read its HTTP status.
pub(super) fn translate(response: &mut Response<Body>, form: Form) {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let rest = content_type.and_then(|value| strip_media_type(value.as_bytes(), "application/grpc"));
    let Some(rest) = rest.filter(|rest| is_rest(rest)) else { return };
    // What `application/grpc` means is said to clients, some of which look for it.
    let rest = if rest.is_empty() { b"+proto" } else { rest };
    let content_type = HeaderValue::from_bytes(&[form.media_type().as_bytes(), rest].concat());
    // What followed was a header's value before.
    let Ok(content_type) = content_type else { return };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.remove(header::CONTENT_LENGTH);
    let status_sent = headers.contains_key(GRPC_STATUS);
    // "Trailers-only responses: no change to the gRPC protocol spec. Trailers may be sent together with response
    // headers, with no message in the body" (PROTOCOL-WEB.md).
    if !response.body().is_end() {
        let inner = std::mem::take(response.body_mut());
        let state = State::Open { inner, status_sent };
        let answer =
            Answer { state, form, pending: Bytes::new(), messages: Framing::default(), broken: false };
        *response.body_mut() = Body::from_duplex(Box::new(answer));
    }
}

struct Answer {
    state: State,
    form: Form,
    /// Of the last piece, what is not encoded yet.
    pending: Bytes,
    messages: Framing,
    /// Something of what was handed on need not have arrived.
    broken: bool,
}

enum State {
    Open {
        inner: Body,
        /// The headers said how the call went: the body may end without saying it.
        status_sent: bool,
    },
    Over,
}

impl Duplex for Answer {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if !self.pending.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(self.next_piece()))));
            }
            let State::Open { inner, status_sent } = &mut self.state else { return Poll::Ready(None) };
            let ended = match ready!(inner.poll_next(cx)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    self.messages.skip(&data);
                    self.pending = data;
                    continue;
                }
                None if *status_sent => Ok(None),
                None => Ok(Some(no_status())),
                Some(Ok(Err(frame))) => Ok(Some(frame.into_trailers().unwrap_or_default())),
                // It was refused when its headers were out; so it is said where every outcome is.
                Some(Err(BodyError::Rejected(rejection))) => Ok(Some(trailers_of(&rejection))),
                Some(Err(error)) => Err(error),
            };
            self.state = State::Over;
            match ended {
                Ok(trailers) if !self.broken && self.messages.is_between() => {
                    self.pending = trailers.map(|trailers| frame(&trailers)).unwrap_or_default();
                }
                // Trailers would be read as a part of the message, and what a client makes of an answer without any is
                // its own affair. One that breaks off is no success for any.
                Ok(_) => {
                    return Poll::Ready(Some(Err(BodyError::Other(
                        "the answer ended inside a message".into(),
                    ))));
                }
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.state {
            State::Open { inner, .. } => {
                ready!(inner.poll_progress(cx));
                self.pending = Bytes::new();
                self.broken = true;
                Poll::Ready(())
            }
            State::Over => Poll::Pending,
        }
    }
}

impl Answer {
    /// Of what is pending: all of it in bytes, some of it in text.
    fn next_piece(&mut self) -> Bytes {
        match self.form {
            Form::Binary => std::mem::take(&mut self.pending),
            Form::Text => encode_next(&mut self.pending),
        }
    }
}

/// An answer without trailers is cut off: a client that finds no status must not take it for a success.
fn no_status() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert(GRPC_STATUS, HeaderValue::from(Code::Unknown as i32));
    trailers.insert("grpc-message", HeaderValue::from_static("the answer ended without a status"));
    trailers
}

/// "8th (MSB) bit of the 1st gRPC frame byte: 1: trailers" and "Key-value pairs encoded as a HTTP/1 headers block (without
/// the terminating newline)" (PROTOCOL-WEB.md). Names are lower-case in a [`HeaderMap`], and no value of one has a line's
/// end in it. Values of `-bin` stay in their base64, as Envoy leaves them and clients read them.
fn frame(trailers: &HeaderMap) -> Bytes {
    let lines = trailers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    let length: usize = lines.sum();
    let mut frame = BytesMut::with_capacity(PREFIX + length);
    frame.put_u8(TRAILERS);
    // Header lists are limited, far below what would not fit.
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    for (name, value) in trailers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            frame.put_slice(part);
        }
    }
    frame.freeze()
}

/// The length of a message's prefix: a byte of flags, four of its length.
const PREFIX: usize = 5;
const TRAILERS: u8 = 0x80;
