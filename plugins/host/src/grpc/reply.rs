//! A plugin's answer on its way to the client.

use super::{
    connection::Admitted,
    upload::{Ended, Upload},
};
use crate::{
    channel::{ForwardError, ReplyBody, ReplySource, WireReply},
    status::GRPC_STATUS,
};
use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderName, Response, StatusCode, header::CONTENT_TYPE};
use http_body::Frame;
use prism_plugin_abi::Payload;
use std::task::{Context, Poll, ready};

/// An answer that is here up to this size is handed over whole, which spares it the way through a stream.
const GATHER: usize = 16 << 10;

/// What happened to a call that h2 reports as broken.
pub(crate) fn broken(error: &h2::Error) -> ForwardError {
    match error.reason() {
        Some(reason) if error.is_library() => {
            ForwardError::Protocol(format!("it sent what HTTP/2 does not allow ({reason:?})"))
        }
        Some(reason) if error.is_go_away() => {
            ForwardError::Unavailable(format!("it closed the connection ({reason:?})"))
        }
        Some(reason) => ForwardError::Unavailable(format!("it reset the call ({reason:?})")),
        None => ForwardError::Unavailable(format!("the connection broke: {error}")),
    }
}

/// The plugin says that it has not begun with the call (RFC 9113 section 8.7).
pub(crate) fn not_begun(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
}

/// Makes a reply of response headers and what follows them.
pub(crate) fn reply(
    response: Response<RecvStream>,
    upload: Option<Upload>,
    admitted: Admitted,
    cx: &mut Context<'_>,
) -> Result<WireReply, ForwardError> {
    let (mut head, receive) = response.into_parts();
    check(head.status, &head.headers)?;
    strip(&mut head.headers);
    if receive.is_end_stream() {
        // Trailers-only: the headers are the trailers. Dropping the upload tells the plugin to want no more.
        let body = ReplyBody::Whole { messages: Payload::new(), trailers: HeaderMap::new() };
        return match head.headers.contains_key(GRPC_STATUS) {
            true => Ok(WireReply { headers: head.headers, body }),
            false => Err(no_status()),
        };
    }
    let reply = Reply {
        receive,
        upload,
        gathered: Payload::new(),
        unreleased: 0,
        failed: None,
        admitted: Some(admitted),
    };
    Ok(WireReply { headers: head.headers, body: reply.gather(cx)? })
}

pub(crate) fn check(status: StatusCode, headers: &HeaderMap) -> Result<(), ForwardError> {
    if status != StatusCode::OK {
        return Err(ForwardError::Protocol(format!("it answered HTTP status {status}")));
    }
    let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    // gRPC over HTTP/2, "Content-Type": application/grpc [("+proto" / "+json" / {custom})]
    let suffix = content_type.strip_prefix(b"application/grpc");
    if !matches!(suffix, Some([] | [b'+' | b';', ..])) {
        let content_type = String::from_utf8_lossy(&content_type[..content_type.len().min(100)]);
        return Err(ForwardError::Protocol(format!("it answered content type `{content_type}`")));
    }
    match headers.get("grpc-encoding") {
        Some(encoding) if encoding != "identity" => Err(ForwardError::Protocol(
            "it answered with a compressed message, which was not negotiated".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// Takes out what belongs to the hop or is the proxy's to say. Connection-specific headers h2 refuses itself
/// (RFC 9113 section 8.2.2); `te` it lets through.
fn strip(headers: &mut HeaderMap) {
    let ours = |name: &HeaderName| name == "te" || name.as_str().starts_with("x-prism-");
    while let Some(name) = headers.keys().find(|name| ours(name)).cloned() {
        headers.remove(name);
    }
}

fn no_status() -> ForwardError {
    ForwardError::Protocol("its answer ended without a grpc-status".to_owned())
}

struct Reply {
    receive: RecvStream,
    upload: Option<Upload>,
    /// What came together with the headers.
    gathered: Payload,
    /// Bytes handed out for which the plugin has not got new window yet.
    unreleased: usize,
    /// The client's side failed while nobody asked for a frame.
    failed: Option<ForwardError>,
    /// `None` after the last frame.
    admitted: Option<Admitted>,
}

impl Reply {
    /// Hands over as a whole what is here as a whole.
    fn gather(mut self, cx: &mut Context<'_>) -> Result<ReplyBody, ForwardError> {
        while self.gathered.len() < GATHER {
            match self.receive.poll_data(cx) {
                Poll::Ready(Some(Ok(piece))) => self.gathered.push(piece),
                Poll::Ready(Some(Err(error))) => return Err(broken(&error)),
                Poll::Ready(None) => match self.receive.poll_trailers(cx) {
                    Poll::Ready(Ok(trailers)) => {
                        let trailers = checked(trailers)?;
                        return Ok(ReplyBody::Whole { messages: self.gathered, trailers });
                    }
                    Poll::Ready(Err(error)) => return Err(broken(&error)),
                    Poll::Pending => break,
                },
                Poll::Pending => break,
            }
        }
        Ok(ReplyBody::Stream(Box::new(self)))
    }

    /// Moves the upload along.
    fn drive_upload(&mut self, cx: &mut Context<'_>) {
        let Some(upload) = &mut self.upload else { return };
        match upload.poll(cx) {
            Poll::Pending => return,
            Poll::Ready(Ended::Source(error)) => self.failed = Some(ForwardError::Source(error)),
            // A plugin that wants no more may still answer (RFC 9113 section 8.1).
            Poll::Ready(Ended::Sent | Ended::Stopped) => {}
        }
        self.upload = None;
    }

    fn finish(&mut self) {
        self.upload = None;
        self.admitted = None;
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame<Bytes>, ForwardError>> {
        if let Some(piece) = self.gathered.pop() {
            self.unreleased += piece.len();
            return Poll::Ready(Ok(Frame::data(piece)));
        }
        // The consumer is back, so what it got has left the proxy.
        let consumed = std::mem::take(&mut self.unreleased);
        if consumed > 0 && self.receive.flow_control().release_capacity(consumed).is_err() {
            return Poll::Ready(Err(ForwardError::Protocol("its flow control does not add up".to_owned())));
        }
        loop {
            match ready!(self.receive.poll_data(cx)) {
                Some(Ok(piece)) if piece.is_empty() => {}
                Some(Ok(piece)) => {
                    self.unreleased = piece.len();
                    return Poll::Ready(Ok(Frame::data(piece)));
                }
                Some(Err(error)) => return Poll::Ready(Err(broken(&error))),
                None => {
                    let trailers = ready!(self.receive.poll_trailers(cx)).map_err(|error| broken(&error))?;
                    return Poll::Ready(checked(trailers).map(Frame::trailers));
                }
            }
        }
    }
}

fn checked(trailers: Option<HeaderMap>) -> Result<HeaderMap, ForwardError> {
    let mut trailers =
        trailers.filter(|trailers| trailers.contains_key(GRPC_STATUS)).ok_or_else(no_status)?;
    strip(&mut trailers);
    Ok(trailers)
}

impl ReplySource for Reply {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ForwardError>>> {
        if self.admitted.is_none() {
            return Poll::Ready(None);
        }
        self.drive_upload(cx);
        let frame = match self.failed.take() {
            Some(error) => Err(error),
            None => ready!(self.poll_next(cx)),
        };
        if !matches!(&frame, Ok(frame) if frame.is_data()) {
            // With the last frame handed out, an unfinished upload has no reader any more.
            self.finish();
        }
        Poll::Ready(Some(frame))
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) {
        self.drive_upload(cx);
    }
}
