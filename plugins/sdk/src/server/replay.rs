//! A connection whose first bytes were read to see what it speaks, and are read again by who serves it.

use prism_plugin_frames::{Detection, detect};
use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// RFC 9113, section 3.4: what a connection that speaks HTTP/2 begins with.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes that are looked at, at most: Prism frames say who they are in fewer. All of HTTP/2's, because whoever takes over
/// waits for the rest of them without end.
const LOOK: usize = HTTP2.len();

/// A connection that gives its first bytes once more.
#[derive(Debug)]
pub(super) struct Replay<T> {
    head: [u8; LOOK],
    /// What is still to be given of `head`.
    from: usize,
    to: usize,
    io: T,
}

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// Prism frames.
    Frames,
    /// Something else.
    Other,
    /// The peer closed before it could be told.
    Closed,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Replay<T> {
    /// Reads until it is certain what the connection speaks.
    ///
    /// Dropped before it is ready, it has lost what it read: drop the connection with it.
    ///
    /// # Errors
    /// What reading says.
    pub(super) async fn look(mut io: T) -> io::Result<(Self, First)> {
        let mut head = [0; LOOK];
        let mut read = 0;
        let first = loop {
            match detect(&head[..read]) {
                Detection::Frames => break First::Frames,
                // What is neither is refused by who takes over, at once.
                Detection::Other if read < LOOK && HTTP2.starts_with(&head[..read]) => {}
                Detection::Other => break First::Other,
                Detection::NeedMore => {}
            }
            match io.read(&mut head[read..]).await? {
                0 => break First::Closed,
                more => read += more,
            }
        };
        Ok((Self { head, from: 0, to: read, io }, first))
    }
}

impl<T> Connected for Replay<T> {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl<T: AsyncRead + Unpin> AsyncRead for Replay<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.from == self.to {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let count = buf.remaining().min(self.to - self.from);
        buf.put_slice(&self.head[self.from..self.from + count]);
        self.from += count;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Replay<T> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    const PREFACE: &[u8] = &prism_plugin_frames::PREFACE;

    /// Every way to cut what is sent: the verdict is the same, and nothing of it is lost.
    async fn told(sent: &[u8]) -> First {
        let mut verdicts = Vec::new();
        for cut in 0..=sent.len() {
            let (mut near, far) = tokio::io::duplex(64);
            let (first, second) = sent.split_at(cut);
            let look = tokio::spawn(Replay::look(far));
            near.write_all(first).await.unwrap();
            tokio::task::yield_now().await;
            // Refused where the verdict fell before.
            near.write_all(second).await.unwrap();
            near.shutdown().await.unwrap();
            let (mut replay, verdict) = look.await.unwrap().unwrap();
            let mut read = Vec::new();
            replay.read_to_end(&mut read).await.unwrap();
            assert_eq!(read, sent, "cut at {cut}");
            verdicts.push(verdict);
        }
        assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{verdicts:?}");
        verdicts[0]
    }

    #[tokio::test]
    async fn the_first_bytes_tell_and_are_given_again() {
        assert_eq!(told(PREFACE).await, First::Frames);
        assert_eq!(told(&[PREFACE, b" and more"].concat()).await, First::Frames);
        // A version that nobody here speaks is for those to refuse who speak another.
        assert_eq!(told(b"\0PRISM/9").await, First::Frames);
        assert_eq!(told(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await, First::Other);
        assert_eq!(told(b"\0PRISMatic").await, First::Other);
        assert_eq!(told(b"x").await, First::Other);
        for end in 0..7 {
            assert_eq!(told(&PREFACE[..end]).await, First::Closed);
        }
        // Half of HTTP/2's preface says nothing yet.
        for end in 1..HTTP2.len() {
            assert_eq!(told(&HTTP2[..end]).await, First::Closed);
        }
    }

    #[tokio::test]
    async fn a_small_buffer_gets_the_first_bytes_in_pieces() {
        let (mut near, far) = tokio::io::duplex(64);
        near.write_all(b"\0PRISM/1hij").await.unwrap();
        drop(near);
        let (mut replay, _) = Replay::look(far).await.unwrap();
        let mut read = Vec::new();
        let mut buffer = [0; 3];
        loop {
            match replay.read(&mut buffer).await.unwrap() {
                0 => break,
                count => read.extend_from_slice(&buffer[..count]),
            }
        }
        assert_eq!(read, b"\0PRISM/1hij");
    }
}
