//! An HTTP/2 client that does next to nothing, so that what is counted is the proxy. It sends what a client with
//! a warm header table sends, and looks at no more than how many bytes came back and whether the call has ended.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// RFC 9113, section 6: types of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
/// RFC 9113, sections 6.1, 6.2 and 6.5: flags.
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// RFC 9113, section 6.5.2.
const SETTINGS_INITIAL_WINDOW_SIZE: u16 = 4;
/// RFC 9113, section 6.9.1: the largest window, and the one that a connection begins with.
const LARGEST_WINDOW: u32 = (1 << 31) - 1;
const FIRST_WINDOW: u32 = (1 << 16) - 1;

/// A connection that calls one operation over and over.
pub(super) struct Client {
    io: DuplexStream,
    received: BytesMut,
    sent: BytesMut,
    next_stream: u32,
    /// The headers of the first call, which fill the server's table, and of every other.
    first: Vec<u8>,
    others: Vec<u8>,
    message: Bytes,
}

impl Client {
    pub(super) async fn new(
        mut io: DuplexStream,
        path: &str,
        namespace: &str,
        authorization: Option<&str>,
        message: Bytes,
    ) -> Self {
        let mut hello = BytesMut::from(&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..]);
        head(&mut hello, 6, SETTINGS, 0, 0);
        hello.put_u16(SETTINGS_INITIAL_WINDOW_SIZE);
        hello.put_u32(LARGEST_WINDOW);
        head(&mut hello, 4, WINDOW_UPDATE, 0, 0);
        hello.put_u32(LARGEST_WINDOW - FIRST_WINDOW);
        io.write_all(&hello).await.expect("an open connection");
        Self {
            io,
            received: BytesMut::with_capacity(64 << 10),
            sent: BytesMut::with_capacity(64 << 10),
            next_stream: 1,
            first: first_block(path, namespace, authorization),
            others: other_block(authorization.is_some()),
            message,
        }
    }

    /// Calls so many times at once, and waits until all have ended. Returns how many bytes of DATA came back.
    ///
    /// # Panics
    /// When a call is reset or the connection closed.
    pub(super) async fn call(&mut self, at_once: u32) -> usize {
        for _ in 0..at_once {
            let block = if self.next_stream == 1 { &self.first } else { &self.others };
            head(&mut self.sent, block.len(), HEADERS, END_HEADERS, self.next_stream);
            self.sent.put_slice(block);
            head(&mut self.sent, self.message.len(), DATA, END_STREAM, self.next_stream);
            self.sent.put_slice(&self.message);
            self.next_stream += 2;
        }
        self.io.write_all(&self.sent).await.expect("an open connection");
        self.sent.clear();
        let (mut ended, mut data) = (0, 0);
        while ended < at_once {
            while let Some((kind, flags, length)) = self.frame() {
                if kind == DATA {
                    data += length;
                }
                if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                    ended += 1;
                }
                assert!(kind != RST_STREAM && kind != GOAWAY, "the proxy gives up: frame type {kind}");
                if kind == SETTINGS && flags & ACK == 0 {
                    let mut ack = BytesMut::new();
                    head(&mut ack, 0, SETTINGS, ACK, 0);
                    self.io.write_all(&ack).await.expect("an open connection");
                }
            }
            if ended < at_once {
                let count = self.io.read_buf(&mut self.received).await.expect("an open connection");
                assert!(count > 0, "the proxy closed the connection");
            }
        }
        data
    }

    /// Takes a whole frame off what was received: its type, its flags and the length of its payload.
    fn frame(&mut self) -> Option<(u8, u8, usize)> {
        let start = self.received.first_chunk::<9>()?;
        let length = usize::from(start[0]) << 16 | usize::from(start[1]) << 8 | usize::from(start[2]);
        let (kind, flags) = (start[3], start[4]);
        if self.received.len() < 9 + length {
            return None;
        }
        self.received.advance(9 + length);
        Some((kind, flags, length))
    }
}

/// RFC 9113, section 4.1: a frame's header.
fn head(to: &mut BytesMut, length: usize, kind: u8, flags: u8, stream: u32) {
    to.put_uint(length as u64, 3);
    to.put_u8(kind);
    to.put_u8(flags);
    to.put_u32(stream);
}

/// RFC 7541, section 6.2.1: literals that enter the table. Their names: 4 `:path`, 1 `:authority`, 31
/// `content-type`, 23 `authorization` of the static table, or a new one (0).
fn first_block(path: &str, namespace: &str, authorization: Option<&str>) -> Vec<u8> {
    // `:method: POST` and `:scheme: http` stand in the static table as they are.
    let mut block = vec![0x80 | 3, 0x80 | 6];
    let mut literal = |index: u8, name: &str, value: &str| {
        block.push(0x40 | index);
        for text in [name, value].into_iter().filter(|text| !text.is_empty()) {
            length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    };
    literal(4, "", path);
    literal(1, "", "edge");
    literal(31, "", "application/grpc");
    literal(0, "te", "trailers");
    literal(0, "x-prism-namespace", namespace);
    if let Some(authorization) = authorization {
        literal(23, "", authorization);
    }
    block
}

/// RFC 7541, section 5.1: an integer behind one bit.
fn length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        return block.push(u8::try_from(length).expect("less than 127"));
    };
    block.push(127);
    while rest >= 128 {
        block.push(0x80 | u8::try_from(rest % 128).expect("less than 128"));
        rest /= 128;
    }
    block.push(u8::try_from(rest).expect("less than 128"));
}

/// RFC 7541, section 2.3.3: the same by their numbers. The dynamic table begins at 62 with the last that entered.
fn other_block(has_authorization: bool) -> Vec<u8> {
    let entered = if has_authorization { 6 } else { 5 };
    [3, 6].into_iter().chain((62..62 + entered).rev()).map(|index| 0x80 | index).collect()
}
