//! The decoder against arbitrary frames, arbitrary cuts and arbitrary bytes.

use super::*;
use crate::{CHUNK, MAX_FRAME, testing};
use proptest::prelude::*;

/// Frames as they are, whatever the pieces in which they came: neighbouring data of a call joined.
#[derive(Debug, Default, PartialEq)]
struct Flat(Vec<(Vec<u8>, Vec<u8>)>);

impl Flat {
    fn add(&mut self, frame: Frame) {
        let (call, mut what, data, last) = match frame {
            Frame::Open { call, head, data, last } => {
                self.0.push((
                    encoded(&Frame::Open { call, head, data: Bytes::new(), last: false }),
                    Vec::new(),
                ));
                (call, Vec::new(), data, last)
            }
            Frame::Data { call, data, last } => (call, Vec::new(), data, last),
            Frame::End { call, end, data } => {
                (call, encoded(&Frame::End { call, end, data: Bytes::new() }), data, false)
            }
            other => return self.0.push((encoded(&other), Vec::new())),
        };
        let key = format!("data of {call}").into_bytes();
        match self.0.last_mut() {
            Some((known, body)) if *known == key => body.extend_from_slice(&data),
            _ => self.0.push((key, data.to_vec())),
        }
        if last {
            what = format!("half close of {call}").into_bytes();
        }
        if !what.is_empty() {
            self.0.push((what, Vec::new()));
        }
    }
}

fn encoded(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}

fn flat(frames: &[Frame]) -> Flat {
    let mut flat = Flat::default();
    frames.iter().cloned().for_each(|frame| flat.add(frame));
    flat
}

fn all(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(encoded).collect()
}

/// Decodes what comes in these pieces, and checks that nothing piles up.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Flat, ProtocolError> {
    let mut decoder = Decoder::new(MAX_FRAME);
    let mut input = BytesMut::new();
    let mut flat = Flat::default();
    for piece in pieces {
        input.extend_from_slice(piece);
        while let Some(frame) = decoder.decode(&mut input)? {
            flat.add(frame);
        }
        assert!(input.len() < HEADER + 2 + MAX_HEAD, "{} bytes wait", input.len());
    }
    assert!(input.is_empty() && decoder.is_between_frames());
    Ok(flat)
}

proptest! {
    #[test]
    fn frames_come_back_whatever_the_cut(frames in prop::collection::vec(testing::frame(300), 1..8)) {
        let bytes = all(&frames);
        let expected = Ok(flat(&frames));
        prop_assert_eq!(&decode([&bytes[..]]), &expected);
        prop_assert_eq!(&decode(bytes.chunks(1)), &expected);
        for cut in 0..bytes.len() {
            prop_assert_eq!(&decode([&bytes[..cut], &bytes[cut..]]), &expected);
        }
    }

    #[test]
    fn large_frames_come_back_in_pieces(
        frames in prop::collection::vec(testing::frame(CHUNK), 1..6),
        size in prop_oneof![1..20_usize, 1..20_000_usize, 1..200_000_usize],
    ) {
        let bytes = all(&frames);
        prop_assert_eq!(decode(bytes.chunks(size)), Ok(flat(&frames)));
    }

    #[test]
    fn unknown_kinds_are_skipped(
        frames in prop::collection::vec(testing::frame(5_000), 1..5),
        kinds in prop::collection::vec((10..=u8::MAX, any::<[u8; 3]>(), any::<u32>(), 0..6_000_usize), 5),
        size in 1..9_000_usize,
    ) {
        let mut bytes = Vec::new();
        for (frame, (kind, [flags, reserved @ ..], call, length)) in frames.iter().zip(kinds) {
            let header = Header { length: length as u32, kind, flags, call };
            bytes.extend_from_slice(&header.encode());
            // Reserved bytes mean nothing.
            let at = bytes.len() - 6;
            bytes[at..at + 2].copy_from_slice(&reserved);
            bytes.resize(bytes.len() + length, 0xFF);
            frame.encode(&mut bytes);
        }
        prop_assert_eq!(decode(bytes.chunks(size)), Ok(flat(&frames)));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_000), size in 1..2_000_usize) {
        survive(&bytes, size);
    }

    #[test]
    fn no_mangled_frame_panics(
        frames in prop::collection::vec(testing::frame(6_000), 1..4),
        mangled in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        size in 1..9_000_usize,
    ) {
        let mut bytes = all(&frames);
        for (at, byte) in mangled {
            let at = at.index(bytes.len().min(200));
            bytes[at] = byte;
        }
        survive(&bytes, size);
    }

    #[test]
    fn longer_payloads_of_a_later_minor_are_read(extra in prop::collection::vec(any::<u8>(), 0..50)) {
        let settings = Settings { minor: 9, max_calls: 3, initial_credit: 5, max_frame: MAX_FRAME };
        for frame in [
            Frame::Settings(settings),
            Frame::Credit { call: 1, bytes: 2 },
            Frame::Cancel { call: 1, reason: CancelReason::Gone },
            Frame::Ping([3; 8]),
        ] {
            let mut bytes = encoded(&frame);
            bytes.extend_from_slice(&extra);
            let length = (bytes.len() - HEADER) as u32;
            bytes[..4].copy_from_slice(&length.to_le_bytes());
            prop_assert_eq!(decode([&bytes[..]]), Ok(flat(&[frame])));
        }
    }
}

/// Decodes until the first error; there need not be one.
fn survive(bytes: &[u8], size: usize) {
    let mut decoder = Decoder::new(MAX_FRAME);
    let mut input = BytesMut::new();
    for piece in bytes.chunks(size) {
        input.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

fn refused(bytes: &[u8]) -> ProtocolError {
    decode([bytes]).expect_err("it was accepted")
}

/// A frame with this payload.
fn raw(kind: u8, payload: &[u8]) -> Vec<u8> {
    let header = Header { length: payload.len() as u32, kind, flags: 0, call: 0 };
    [&header.encode()[..], payload].concat()
}

#[test]
fn lengths_are_checked_before_anything_comes() {
    for kind in 0..=255_u8 {
        let control = matches!(kind, 1 | 5..=9);
        let max = if control { MAX_CONTROL } else { MAX_FRAME };
        for length in [max + 1, u32::MAX] {
            let header = Header { length, kind, flags: 0, call: 0 };
            // The header alone is enough.
            let error = refused(&header.encode());
            assert!(matches!(error, ProtocolError::TooLarge { .. }), "{kind}: {error}");
        }
    }
}

#[test]
fn a_flood_of_empty_unknown_frames_is_skipped() {
    let header = Header { length: 0, kind: 200, flags: 0, call: 0 };
    let mut bytes = header.encode().repeat(1_000_000);
    Frame::Ping([1; 8]).encode(&mut bytes);
    assert_eq!(decode([&bytes[..]]), Ok(flat(&[Frame::Ping([1; 8])])));
}

#[test]
fn short_payloads_are_malformed() {
    for (kind, length) in [(1, 16), (2, 28), (4, 8), (5, 4), (6, 1), (7, 12), (8, 8), (9, 8)] {
        for short in 0..length {
            let error = refused(&raw(kind, &vec![0; short]));
            assert!(matches!(error, ProtocolError::Malformed(_)), "{kind} with {short} bytes: {error}");
        }
    }
}

#[test]
fn heads_that_lie_about_their_lengths_are_malformed() {
    let head = OpenHead { context: testing::context(), ..OpenHead::default() };
    let open = encoded(&Frame::Open { call: 0, head, data: Bytes::from_static(b"body"), last: true });
    // The length of the head, and those of its four texts.
    for at in [HEADER, HEADER + 4, HEADER + 6, HEADER + 8, HEADER + 10] {
        for lie in [MAX_HEAD as u16 + 1, u16::MAX] {
            let mut bytes = open.clone();
            bytes[at..at + 2].copy_from_slice(&lie.to_le_bytes());
            assert_eq!(refused(&bytes), ProtocolError::Malformed("OPEN"), "at {at}");
        }
    }
    let end = End::error(prism_plugin_abi::Code::Internal, "broken");
    let end = encoded(&Frame::End { call: 0, end, data: Bytes::new() });
    for at in [HEADER, HEADER + 4, HEADER + 6] {
        let mut bytes = end.clone();
        bytes[at..at + 2].copy_from_slice(&1_000_u16.to_le_bytes());
        assert_eq!(refused(&bytes), ProtocolError::Malformed("END"), "at {at}");
    }
}

#[test]
fn texts_that_are_not_utf8_are_malformed() {
    let head = OpenHead { context: testing::context(), ..OpenHead::default() };
    let mut bytes = encoded(&Frame::Open { call: 0, head, data: Bytes::new(), last: true });
    *bytes.last_mut().unwrap() = 0xFF;
    assert_eq!(refused(&bytes), ProtocolError::Malformed("OPEN"));

    let mut bytes = encoded(&Frame::End {
        call: 0,
        end: End::error(prism_plugin_abi::Code::Internal, "x"),
        data: Bytes::new(),
    });
    *bytes.last_mut().unwrap() = 0xFF;
    assert_eq!(refused(&bytes), ProtocolError::Malformed("END"));
}

#[test]
fn small_payloads_do_not_keep_the_read_buffer() {
    let mut input = BytesMut::with_capacity(64 << 10);
    input.extend_from_slice(&all(&[Frame::Data { call: 1, data: vec![7; COPY].into(), last: false }]));
    let before = input.as_ptr();
    let frame = Decoder::new(MAX_FRAME).decode(&mut input).unwrap().unwrap();
    let Frame::Data { data, .. } = frame else { panic!("{frame:?}") };
    assert_eq!(data.len(), COPY);
    assert!(input.try_reclaim(64 << 10), "something refers to the buffer");
    assert_eq!(input.as_ptr(), before);
}

#[test]
fn a_context_does_not_keep_the_read_buffer() {
    for whole in [true, false] {
        let head = OpenHead { context: testing::context(), ..OpenHead::default() };
        let open = encoded(&Frame::Open { call: 0, head, data: vec![7; 2 * COPY].into(), last: true });
        let mut input = BytesMut::with_capacity(64 << 10);
        input.extend_from_slice(if whole { &open } else { &open[..COPY] });
        let frame = Decoder::new(MAX_FRAME).decode(&mut input).unwrap().unwrap();
        let Frame::Open { head, data, .. } = frame else { panic!("{frame:?}") };
        drop(data);
        input.clear();
        assert!(input.try_reclaim(64 << 10), "something refers to the buffer");
        assert_eq!(head.context.namespace, testing::context().namespace);
    }
}

#[test]
fn large_payloads_are_slices() {
    let mut input =
        BytesMut::from(&all(&[Frame::Data { call: 1, data: vec![7; COPY + 1].into(), last: false }])[..]);
    let place = input[HEADER..].as_ptr();
    let frame = Decoder::new(MAX_FRAME).decode(&mut input).unwrap().unwrap();
    let Frame::Data { data, .. } = frame else { panic!("{frame:?}") };
    assert_eq!(data.as_ptr(), place);
}

#[test]
fn a_code_that_is_none_is_no_success() {
    for code in 1..=255_u8 {
        let end = End::decode(&[code, 0, 0, 0, 0, 0]).unwrap();
        assert!(!end.is_ok(), "{code}");
    }
}
