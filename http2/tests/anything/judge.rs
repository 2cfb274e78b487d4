//! What a server may say, whatever it was told: whole frames of its own kinds, in an order that streams allow, and no more of
//! bodies than the client gave windows for.

use std::collections::HashMap;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What windows begin with (RFC 9113 section 6.9.2).
const WINDOW: u64 = 65_535;

struct Frame<'a> {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: &'a [u8],
}

impl Frame<'_> {
    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The frames that are whole, and how many bytes are not.
fn frames(mut bytes: &[u8]) -> (Vec<Frame<'_>>, usize) {
    let mut frames = Vec::new();
    while let Some((&[l0, l1, l2, kind, flags, s0, s1, s2, s3], rest)) = bytes.split_first_chunk() {
        let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
        frames.push(Frame { kind, flags, stream, payload });
        bytes = rest;
    }
    (frames, bytes.len())
}

/// The most that the client ever allowed: of a stream by SETTINGS, and of each by its updates, 0 being the connection.
fn allowed(client: &[u8]) -> (u64, HashMap<u32, u64>) {
    let (mut initial, mut updates) = (WINDOW, HashMap::new());
    for frame in frames(client).0 {
        match (frame.kind, frame.payload) {
            (WINDOW_UPDATE, &[a, b, c, d]) => {
                *updates.entry(frame.stream).or_default() +=
                    u64::from(u32::from_be_bytes([a & 0x7f, b, c, d]));
            }
            (SETTINGS, payload) => {
                for setting in payload.chunks_exact(6) {
                    if let &[0, 4, a, b, c, d] = setting {
                        initial = initial.max(u64::from(u32::from_be_bytes([a, b, c, d])));
                    }
                }
            }
            _ => {}
        }
    }
    (initial, updates)
}

#[derive(Default)]
struct Stream {
    data: u64,
    has_head: bool,
    ended: bool,
    was_reset: bool,
}

/// Looks at all that a server said to a client.
pub(crate) fn judge(client: &[u8], server: &[u8]) {
    let (initial, updates) = allowed(client);
    let more = |stream: u32| updates.get(&stream).copied().unwrap_or(0);
    let mut streams: HashMap<u32, Stream> = HashMap::new();
    let mut sent = 0;
    let mut open_block = None;
    for frame in frames(server).0 {
        assert!(frame.payload.len() <= 16_384 || frame.kind != DATA, "nobody asked for frames of that size");
        assert_eq!(open_block.is_some(), frame.kind == CONTINUATION, "header blocks are not interrupted");
        assert_eq!(open_block.unwrap_or(frame.stream), frame.stream);
        let stream = streams.entry(frame.stream).or_default();
        assert!(frame.stream == 0 || !stream.was_reset, "a frame of type {} after RST_STREAM", frame.kind);
        match frame.kind {
            DATA => {
                assert!(stream.has_head && !stream.ended);
                sent += frame.payload.len() as u64;
                stream.data += frame.payload.len() as u64;
                stream.ended = frame.has(END_STREAM);
                assert!(sent <= WINDOW + more(0), "above the connection's window");
                assert!(stream.data <= initial + more(frame.stream), "above the stream's window");
            }
            HEADERS => {
                assert!(
                    !stream.ended && stream.has_head <= frame.has(END_STREAM),
                    "a head, and at most trailers"
                );
                stream.has_head = true;
                stream.ended = frame.has(END_STREAM);
            }
            RST_STREAM => {
                assert_eq!((frame.stream != 0, frame.payload.len()), (true, 4));
                stream.was_reset = true;
            }
            WINDOW_UPDATE => assert!(matches!(frame.payload, [_, _, _, _]) && frame.payload != [0; 4]),
            // SETTINGS, PING, GOAWAY.
            4 | 6 | 7 => assert_eq!(frame.stream, 0),
            CONTINUATION => {}
            other => panic!("a frame of type {other}"),
        }
        let is_block = matches!(frame.kind, HEADERS | CONTINUATION);
        open_block = (is_block && !frame.has(END_HEADERS)).then_some(frame.stream);
    }
}

/// Whether these bytes end where a frame does.
pub(crate) fn ends_whole(server: &[u8]) -> bool {
    frames(server).1 == 0
}
