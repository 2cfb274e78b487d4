//! A streaming answer on its way to the client, and the rest of the upload beside it.

use super::{Admitted, Sink, Upload};
use crate::channel::{ForwardError, ReplySource};
use bytes::Bytes;
use http_body::Frame;
use std::task::{Context, Poll, ready};

/// An answer that is here up to this size is handed over whole, which spares it the way through a stream.
pub(crate) const GATHER: usize = 16 << 10;

/// What a transport receives of an answer.
pub(crate) trait Receive {
    /// The next frame; trailers are the last one, and `None` is the end without any. Not polling it is
    /// back-pressure.
    ///
    /// # Errors
    /// The call broke before its end came.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, ForwardError>>;
}

/// An answer that is still arriving.
pub(crate) struct Reply<R, S> {
    receive: R,
    upload: Option<Upload<S>>,
    /// The client's side failed while nobody asked for a frame.
    failed: Option<ForwardError>,
    /// `None` after the last frame.
    admitted: Option<Admitted>,
}

impl<R: Receive, S: Sink> Reply<R, S> {
    pub(crate) fn new(receive: R, upload: Option<Upload<S>>, admitted: Admitted) -> Self {
        let upload = upload.and_then(Upload::unfinished);
        Self { receive, upload, failed: None, admitted: Some(admitted) }
    }

    /// Moves the upload along.
    fn drive_upload(&mut self, cx: &mut Context<'_>) {
        let Some(upload) = &mut self.upload else { return };
        if let Poll::Ready(ended) = upload.poll(cx) {
            self.failed = ended.err();
            self.upload = None;
        }
    }
}

impl<R: Receive + Send, S: Sink + Send> ReplySource for Reply<R, S> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ForwardError>>> {
        if self.admitted.is_none() {
            return Poll::Ready(None);
        }
        self.drive_upload(cx);
        let frame = match self.failed.take() {
            Some(error) => Err(error),
            None => ready!(self.receive.poll_next(cx)),
        };
        if !matches!(&frame, Ok(Some(frame)) if frame.is_data()) {
            // With the last frame handed out, an unfinished upload has no reader any more.
            self.upload = None;
            self.admitted = None;
        }
        Poll::Ready(frame.transpose())
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) {
        self.drive_upload(cx);
    }
}
