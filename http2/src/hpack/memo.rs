//! Long strings that come with every call although no table has them, such as `authorization`, which clients
//! never index: the same Huffman code again is the same value again.

use http::{
    HeaderValue,
    uri::{Authority, PathAndQuery},
};

use super::{Field, name::Name};

/// Shorter code is decoded as fast as it is looked for.
const SHORTEST: usize = 16;
/// The most code that all memories of a connection hold together; the values are no more than 8/5 of that. A token of a
/// large issuer has 2 KiB.
const MOST: usize = 4096;
/// `authorization`, `:path`, and two others.
const SLOTS: usize = 4;

#[derive(Default)]
pub(super) struct Memo {
    memories: Vec<Memory>,
    /// The memory that goes next.
    oldest: usize,
    /// The last codes that were not remembered, so that only what comes twice is: a value that is always another would
    /// push the others out.
    seen: [u64; SLOTS],
    oldest_seen: usize,
}

struct Memory {
    code: Box<[u8]>,
    value: Checked,
    len: usize,
}

/// A value, checked as one of its field.
enum Checked {
    Value(HeaderValue),
    Path(PathAndQuery),
    Authority(Authority),
}

impl Memo {
    /// Whether strings such as this are worth remembering.
    #[inline]
    pub(super) fn wants(code: &[u8]) -> bool {
        (SHORTEST..=MOST).contains(&code.len())
    }

    /// The field of that name whose value is `code`, with the value's length, if the code is remembered.
    pub(super) fn recall(&self, name: &Name, code: &[u8]) -> Option<(Field, usize)> {
        for memory in self.memories.iter().filter(|memory| *memory.code == *code) {
            let field = match (name, &memory.value) {
                (Name::Header(name), Checked::Value(value)) => Field::Header(name.clone(), value.clone()),
                (Name::Path, Checked::Path(path)) => Field::Path(path.clone()),
                (Name::Authority, Checked::Authority(authority)) => Field::Authority(authority.clone()),
                _ => continue,
            };
            return Some((field, memory.len));
        }
        None
    }

    /// Whether `code` is here for the second time in a short while, and is to be given to [`Memo::remember`].
    pub(super) fn again(&mut self, code: &[u8]) -> bool {
        let print = print(code);
        if self.seen.contains(&print) {
            return true;
        }
        self.seen[self.oldest_seen % SLOTS] = print;
        self.oldest_seen = (self.oldest_seen + 1) % SLOTS;
        false
    }

    /// Keeps `field`, whose value is `code` and `len` octets long. The value must have memory of its own.
    pub(super) fn remember(&mut self, code: &[u8], field: &Field, len: usize) {
        let value = match field {
            Field::Header(_, value) => Checked::Value(value.clone()),
            Field::Path(path) => Checked::Path(path.clone()),
            Field::Authority(authority) => Checked::Authority(authority.clone()),
            _ => return,
        };
        let memory = Memory { code: code.into(), value, len };
        if self.memories.len() < SLOTS {
            self.memories.push(memory);
        } else {
            self.memories[self.oldest % SLOTS] = memory;
            self.oldest = (self.oldest + 1) % SLOTS;
        }
        while self.memories.iter().map(|memory| memory.code.len()).sum::<usize>() > MOST {
            self.memories.remove(0);
            self.oldest = 0;
        }
    }
}

/// Tells codes apart well enough to see one come again; where it is wrong, a memory is wasted and no more.
fn print(code: &[u8]) -> u64 {
    let word = |octets: Option<&[u8; 8]>| octets.map_or(0, |octets| u64::from_be_bytes(*octets));
    let (first, last) = (word(code.first_chunk()), word(code.last_chunk()));
    let mixed = (first ^ last.rotate_left(23) ^ code.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 29
}
