//! HTTP/2 or HTTP/1.1, told by the first bytes ("prior knowledge", RFC 9113 §3.3), where no handshake has told it before.

use super::linger::Lingering;
use bytes::{Buf, Bytes, BytesMut};
use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    sync::{Arc, atomic::AtomicBool},
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// RFC 9113 §3.4: "the connection preface starts with a sequence of 24 octets".
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) enum Detected {
    Http2(Replay),
    Http1(Replay),
}

/// Reads until it is clear which protocol the client speaks.
pub(super) async fn detect(mut io: Lingering) -> io::Result<Detected> {
    // Room for a whole small request, so that the usual first read needs no second.
    let mut seen = BytesMut::with_capacity(1024);
    loop {
        if io.read_buf(&mut seen).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let compared = seen.len().min(PREFACE.len());
        if seen[..compared] != PREFACE[..compared] {
            // A client that wants HTTP/2 and gets its preface wrong must see the connection end (RFC 9113
            // §3.4), not an HTTP/1.1 answer; and only a request line can begin HTTP/1.1.
            return if may_be_http1(&seen) {
                Ok(Detected::Http1(Replay { seen: seen.freeze(), io }))
            } else {
                Err(io::ErrorKind::InvalidData.into())
            };
        }
        if compared == PREFACE.len() {
            return Ok(Detected::Http2(Replay { seen: seen.freeze(), io }));
        }
    }
}

/// Whether these bytes can begin a request line (RFC 9112 §3: `method SP request-target SP HTTP-version`),
/// possibly after empty lines (§2.2). A line that is complete must end in an HTTP/1 version.
fn may_be_http1(seen: &[u8]) -> bool {
    let start = seen.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(seen.len());
    let line = &seen[start..];
    let Some(end) = line.iter().position(|byte| *byte == b'\n') else { return true };
    let line = line[..end].strip_suffix(b"\r").unwrap_or(&line[..end]);
    line.rsplit(|byte| *byte == b' ').next().is_some_and(|version| version.starts_with(b"HTTP/1."))
}

/// A connection whose first bytes are read again.
pub(super) struct Replay {
    seen: Bytes,
    io: Lingering,
}

impl AsyncRead for Replay {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.seen.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let take = self.seen.len().min(buf.remaining());
        buf.put_slice(&self.seen[..take]);
        self.seen.advance(take);
        if self.seen.is_empty() {
            self.seen = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Replay {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl From<Lingering> for Replay {
    /// Nothing was read yet.
    fn from(io: Lingering) -> Self {
        Self { seen: Bytes::new(), io }
    }
}

impl Replay {
    /// See [`Lingering::unfinished`].
    pub(super) fn unfinished(&self) -> Arc<AtomicBool> {
        self.io.unfinished()
    }

    /// How many reads brought bytes so far: tells an idle peer from a live one without a clock.
    pub(super) fn reads(&self) -> Rc<Cell<u64>> {
        self.io.reads()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_request_line_begins_http1() {
        for text in
            ["G", "GET / HTTP/1.1\r\n", "\r\nGET / HTTP/1.0\r\nHost: x", "POST /a b", "GET /x HTTP/1.1\n"]
        {
            assert!(may_be_http1(text.as_bytes()), "{text:?}");
        }
        for text in
            ["INVALID CONNECTION PREFACE\r\n\r\n", "\u{16}\u{3}\u{1}\n", "GET / HTTP/2.0\r\n", "hello\n"]
        {
            assert!(!may_be_http1(text.as_bytes()), "{text:?}");
        }
    }
}
