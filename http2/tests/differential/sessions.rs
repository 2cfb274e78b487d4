//! What a client says: a session from a grammar, and what is done to it.

use crate::{blocks::Writer, chance::Chance, fields};

/// A frame's type, flags, stream and payload.
type Frame = (u8, u8, u32, Vec<u8>);

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

fn padded(chance: &mut Chance, flags: &mut u8, payload: &mut Vec<u8>) {
    if chance.one_in(6) {
        *flags |= PADDED;
        let padding = chance.index(9);
        payload.insert(0, padding as u8);
        payload.resize(payload.len() + padding, 0);
    }
}

/// HEADERS and their CONTINUATIONs.
fn head(chance: &mut Chance, stream: u32, end: bool, mut block: Vec<u8>) -> Vec<Frame> {
    let mut pieces = Vec::new();
    while chance.one_in(6) {
        let cut = chance.index(block.len() + 1);
        pieces.push(block.split_off(cut));
    }
    let mut flags = if end { END_STREAM } else { 0 };
    if pieces.is_empty() {
        flags |= END_HEADERS;
    }
    if chance.one_in(6) {
        flags |= PRIORITY;
        block.splice(0..0, [0, 0, 0, 2 * chance.index(3) as u8, 9]);
    }
    padded(chance, &mut flags, &mut block);
    let mut frames = vec![(HEADERS, flags, stream, block)];
    while let Some(piece) = pieces.pop() {
        let flags = if pieces.is_empty() { END_HEADERS } else { 0 };
        frames.push((CONTINUATION, flags, stream, piece));
    }
    frames
}

/// A frame that no request needs.
fn aside(chance: &mut Chance, stream: u32) -> Frame {
    let number = |number: u32| number.to_be_bytes().to_vec();
    let setting = [0, 1, 2, 3, 4, 5, 6, 8, 0xabcd][chance.index(9)] as u16;
    let value = [0, 1, 2, 100, 4096, 16_384, 65_535, (1 << 24) - 1, 1 << 24, 0x7fff_ffff, 0x8000_0000]
        [chance.index(11)];
    match chance.index(10) {
        0 => (6, chance.index(2) as u8, 0, vec![7; 8]),
        1 => (4, 0, 0, [&setting.to_be_bytes()[..], &number(value)].concat()),
        2 => (4, 0, 0, vec![]),
        3 => (8, 0, 0, number(chance.index(3) as u32)),
        4 => (8, 0, stream, number(chance.index(3) as u32)),
        5 => (2, 0, stream, vec![0, 0, 0, chance.index(6) as u8, 3]),
        6 => (3, 0, stream, number(chance.index(16) as u32)),
        7 => (7, 0, 0, vec![0; 8 + chance.index(3)]),
        8 => (0xfe, chance.index(256) as u8, stream, vec![1; chance.index(20)]),
        _ => (0, 0, stream, vec![]),
    }
}

/// Frames of one request in their order.
fn request(chance: &mut Chance, writer: &mut Writer, stream: u32, damaged: bool) -> Vec<Frame> {
    let mut pieces: Vec<Vec<u8>> = (0..chance.index(4)).map(|at| vec![at as u8; chance.index(30)]).collect();
    if chance.one_in(10) {
        pieces.push(vec![b'l'; chance.index(9_000)]);
    }
    if chance.one_in(3) {
        pieces.clear();
    }
    let has_trailers = chance.one_in(4);
    let length: usize = pieces.iter().map(Vec::len).sum();
    let mut list = fields::request(chance);
    if chance.one_in(3) {
        list.push((b"content-length".into(), length.to_string().into()));
    }
    if damaged {
        fields::damage(chance, &mut list);
    }
    let block = writer.block(chance, &list);
    let mut frames = head(chance, stream, pieces.is_empty() && !has_trailers, block);
    let count = pieces.len();
    for (at, mut piece) in pieces.into_iter().enumerate() {
        let mut flags = if at + 1 == count && !has_trailers { END_STREAM } else { 0 };
        padded(chance, &mut flags, &mut piece);
        frames.push((0, flags, stream, piece));
    }
    if has_trailers {
        let mut list = fields::trailers(chance);
        if damaged && chance.one_in(2) {
            fields::damage(chance, &mut list);
        }
        let block = writer.block(chance, &list);
        frames.extend(head(chance, stream, true, block));
    }
    frames
}

/// Changes a frame, or the order of frames.
fn damage(chance: &mut Chance, frames: &mut Vec<Frame>) {
    let (at, other) = (chance.index(frames.len()), chance.index(frames.len()));
    match chance.index(12) {
        0 => drop(frames.remove(at)),
        1 => frames.insert(other, frames[at].clone()),
        2 => frames.swap(at, other),
        3 => frames[at].0 = chance.index(12) as u8,
        4 => frames[at].1 ^= 1 << chance.index(8),
        5 => frames[at].2 = [0, 1, 2, 3, 4, 5, 7, 99, 0x7fff_ffff][chance.index(9)],
        6 => frames[at].2 ^= 1 << 31,
        7 => drop(frames[at].3.pop()),
        8 => frames[at].3.push(chance.index(256) as u8),
        _ => {
            let payload = &mut frames[at].3;
            if !payload.is_empty() {
                let byte = chance.index(payload.len());
                payload[byte] ^= 1 << chance.index(8);
            }
        }
    }
}

/// All bytes behind the preface. `whole`: only fields are damaged, and only requests are sent.
pub(crate) fn session(chance: &mut Chance, whole: bool) -> Vec<u8> {
    let mut writer = Writer::default();
    let mut frames: Vec<Frame> = vec![(4, 0, 0, vec![])];
    let damaged_fields = chance.one_in(2);
    for at in 0..1 + chance.index(5) {
        let stream = 2 * at as u32 + 1;
        let is_damaged = damaged_fields && chance.one_in(2);
        for frame in request(chance, &mut writer, stream, is_damaged) {
            // Not within a header block.
            if !whole && chance.one_in(12) && frame.0 != CONTINUATION {
                frames.push(aside(chance, stream));
            }
            frames.push(frame);
        }
    }
    if !whole && chance.one_in(2) {
        for _ in 0..1 + chance.index(3) {
            damage(chance, &mut frames);
            if frames.is_empty() {
                break;
            }
        }
    }
    let mut bytes = Vec::new();
    for (kind, flags, stream, payload) in frames {
        let mut length = payload.len() as u32;
        if !whole && chance.one_in(400) {
            length = (length + chance.index(9) as u32).saturating_sub(4);
        }
        bytes.extend(&length.to_be_bytes()[1..]);
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
    }
    bytes
}
