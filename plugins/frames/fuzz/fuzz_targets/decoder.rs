//! Any bytes, cut in any way, decode to the same frames or the same error; nothing panics and nothing piles up.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use prism_plugin_frames::{Decoder, Frame, HEADER, MAX_FRAME, MAX_HEAD, ProtocolError};

/// What was decoded, whatever the pieces: neighbouring data of a call joined.
#[derive(Debug, Default, PartialEq)]
struct Flat(Vec<(Vec<u8>, Vec<u8>)>);

impl Flat {
    fn add(&mut self, frame: Frame) {
        let what = |frame: Frame| {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            (bytes, Vec::new())
        };
        let (call, data, then) = match frame {
            Frame::Open { call, head, data, last } => {
                self.0.push(what(Frame::Open { call, head, data: Bytes::new(), last: false }));
                (call, data, last.then(|| (b"half close".to_vec(), call.to_le_bytes().to_vec())))
            }
            Frame::Data { call, data, last } => {
                (call, data, last.then(|| (b"half close".to_vec(), call.to_le_bytes().to_vec())))
            }
            Frame::End { call, end, data } => {
                (call, data, Some(what(Frame::End { call, end, data: Bytes::new() })))
            }
            other => return self.0.push(what(other)),
        };
        let key = [b"data".as_slice(), &call.to_le_bytes()].concat();
        match self.0.last_mut() {
            Some((known, body)) if *known == key => body.extend_from_slice(&data),
            _ => self.0.push((key, data.to_vec())),
        }
        self.0.extend(then);
    }
}

fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Flat, Option<ProtocolError>) {
    let mut decoder = Decoder::new(MAX_FRAME);
    let mut input = BytesMut::new();
    let mut flat = Flat::default();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(frame)) => flat.add(frame),
                Ok(None) => break,
                Err(error) => return (flat, Some(error)),
            }
        }
        assert!(input.len() < HEADER + 2 + MAX_HEAD, "{} bytes wait", input.len());
    }
    (flat, None)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((size, bytes)) = bytes.split_first() else { return };
    let (at_once, error) = decode(std::iter::once(bytes));
    let (in_pieces, error_in_pieces) = decode(bytes.chunks(usize::from(*size).max(1)));
    // A large frame whose rest never comes is given out as far as it is there, more or less of it.
    match error {
        Some(_) => assert_eq!(error, error_in_pieces),
        None => assert_eq!(error_in_pieces, None),
    }
    let complete = |flat: &Flat| flat.0.len().saturating_sub(1);
    let both = complete(&at_once).min(complete(&in_pieces));
    assert_eq!(at_once.0[..both], in_pieces.0[..both]);
    assert!(at_once.0.len().abs_diff(in_pieces.0.len()) <= 2);
});
