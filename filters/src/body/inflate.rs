//! What is compressed with gzip, inflated under a bound.

use crate::{Reason, Rejection};
use bytes::{BufMut, BytesMut};
use flate2::write::GzDecoder;
use prism_plugin_abi::Payload;
use std::io::{self, Write};

/// Something that is being inflated as it arrives. What it becomes is bounded while it becomes it: a bomb is noticed when
/// it is as large as it may be, whatever it would have become.
pub struct Inflate(GzDecoder<Bounded>);

/// Pieces that are filled one after the other: what is inflated is never moved to make room for more.
struct Bounded {
    pieces: Payload,
    filling: BytesMut,
    limit: usize,
    exceeded: bool,
}

/// Of the first piece: most of what is compressed is small. Of all others it is what a socket's read brings.
const FIRST_PIECE: usize = 4 << 10;
const PIECE: usize = 64 << 10;

impl Write for Bounded {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<usize> {
        let written = bytes.len();
        if written > self.limit - self.pieces.len() - self.filling.len() {
            self.exceeded = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        while !bytes.is_empty() {
            if self.filling.len() == self.filling.capacity() {
                let size = if self.filling.is_empty() { FIRST_PIECE } else { PIECE };
                self.pieces
                    .push(std::mem::replace(&mut self.filling, BytesMut::with_capacity(size)).freeze());
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.filling.capacity() - self.filling.len()));
            self.filling.put_slice(now);
            bytes = later;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Inflate {
    /// To at most so many bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(GzDecoder::new(Bounded {
            pieces: Payload::new(),
            filling: BytesMut::new(),
            limit,
            exceeded: false,
        }))
    }

    /// More of it.
    ///
    /// # Errors
    /// It is not what gzip makes, or becomes too large.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), Rejection> {
        self.0.write_all(piece).map_err(|error| self.wrong(&error))
    }

    /// All of it was pushed: what it has become.
    ///
    /// # Errors
    /// It is not all there, or not what it says that it is.
    pub fn finish(mut self) -> Result<Payload, Rejection> {
        match self.0.try_finish() {
            Ok(()) => {
                let Bounded { pieces, filling, .. } = self.0.get_mut();
                pieces.push(std::mem::take(filling).freeze());
                Ok(std::mem::take(pieces))
            }
            Err(error) => Err(self.wrong(&error)),
        }
    }

    fn wrong(&self, error: &io::Error) -> Rejection {
        let Bounded { limit, exceeded, .. } = self.0.get_ref();
        if *exceeded {
            return Rejection::new(
                Reason::MessageTooLarge,
                format!(
                    "what is compressed becomes more than the {limit} bytes that the namespace's \
                     limits.max_message_bytes leaves room for"
                ),
            );
        }
        Rejection::new(
            Reason::MalformedMessage,
            format!("what is compressed is not what gzip makes: {error}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use flate2::{Compression, write::GzEncoder};

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn inflate(bytes: &[u8], size: usize, limit: usize) -> Result<Bytes, Reason> {
        let mut inflate = Inflate::new(limit);
        for piece in bytes.chunks(size) {
            inflate.push(piece).map_err(|rejection| rejection.reason())?;
        }
        inflate.finish().map(Payload::into_bytes).map_err(|rejection| rejection.reason())
    }

    #[test]
    fn what_was_deflated_is_inflated_however_it_is_cut() {
        for message in [&b""[..], b"x", &[7; 100_000]] {
            let deflated = gzip(message);
            for size in [1, 2, 5, 17, deflated.len()] {
                assert_eq!(inflate(&deflated, size, 100_000).unwrap(), message);
            }
        }
    }

    #[test]
    fn a_bomb_is_held_to_the_limit() {
        // A thousand to one.
        let bomb = gzip(&vec![0; 64 << 20]);
        assert!(bomb.len() < 70_000);
        assert_eq!(inflate(&bomb, 1000, 1 << 20), Err(Reason::MessageTooLarge));
        assert_eq!(inflate(&gzip(&[7; 1001]), 1000, 1000), Err(Reason::MessageTooLarge));
        assert!(inflate(&gzip(&[7; 1000]), 1000, 1000).is_ok());
    }

    #[test]
    fn what_is_not_whole_or_not_gzip_is_refused() {
        let deflated = gzip(b"a message that is compressed");
        for end in 0..deflated.len() {
            assert_eq!(inflate(&deflated[..end], 1000, 1000), Err(Reason::MalformedMessage), "{end}");
        }
        for at in 0..deflated.len() {
            let mut wrong = deflated.clone();
            wrong[at] ^= 0x55;
            // Some bytes of the head say nothing about the content: the time, the system.
            if let Ok(inflated) = inflate(&wrong, 1000, 1000) {
                assert_eq!(inflated, &b"a message that is compressed"[..], "{at}");
            }
        }
        for more in [&b"x"[..], &deflated] {
            let two = [&deflated, more].concat();
            assert_eq!(inflate(&two, 1000, 1000), Err(Reason::MalformedMessage));
        }
        assert_eq!(inflate(b"not gzip at all", 3, 1000), Err(Reason::MalformedMessage));
    }
}
