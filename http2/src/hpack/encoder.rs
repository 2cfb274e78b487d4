//! Encoding header blocks. Nothing is Huffman-coded: what that saves on the wire it costs the processor.

use super::{OVERHEAD, static_table::STATIC};
use http::{HeaderName, HeaderValue, StatusCode, header};
use std::collections::VecDeque;

/// What is used of the table. A search goes through all of it.
const MOST_ENTRIES: usize = 24;

/// A longer value goes into no table.
const MOST_VALUE: usize = 64;

struct Entry {
    name: HeaderName,
    value: HeaderValue,
    size: usize,
}

pub(crate) struct Encoder {
    entries: VecDeque<Entry>,
    size: usize,
    limit: usize,
    /// The smallest limit since the last block, and the last, where the peer has to be told (RFC 7541 section 4.2).
    resized: Option<(usize, usize)>,
}

/// What the table is at most: the protocol's default. A peer that has room for more gets no more.
const MOST_TABLE: usize = 4096;

/// Its values differ with each answer: only its name is worth a place.
fn changes(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "age"
            | "content-length"
            | "content-range"
            | "date"
            | "etag"
            | "expires"
            | "grpc-message"
            | "last-modified"
            | "location"
            | "set-cookie"
            | "traceparent"
            | "x-request-id"
    )
}

/// The index of a name in the static table, and of a name with this value.
fn fixed(name: &HeaderName, value: &[u8]) -> (usize, bool) {
    let name = name.as_str();
    // Names of requests' pseudo-headers and statuses come first, and are no headers.
    let names = STATIC.iter().enumerate().skip(14).filter(|(_, (other, _))| other.len() == name.len());
    let mut found = 0;
    for (at, (_, other)) in names.filter(|(_, (other, _))| *other == name) {
        if !value.is_empty() && other.as_bytes() == value {
            return (at + 1, true);
        }
        found = at + 1;
    }
    (found, false)
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self { entries: VecDeque::new(), size: 0, limit: MOST_TABLE, resized: None }
    }

    /// What the peer's SETTINGS_HEADER_TABLE_SIZE says.
    pub(crate) fn set_max_table(&mut self, size: u32) {
        let size = usize::try_from(size).unwrap_or(usize::MAX).min(MOST_TABLE);
        if size == self.limit && self.resized.is_none() {
            return;
        }
        let least = self.resized.map_or(size, |(least, _)| least.min(size));
        self.resized = Some((least, size));
        self.limit = size;
        self.evict(0);
    }

    fn evict(&mut self, size: usize) {
        while (self.size + size > self.limit || self.entries.len() >= MOST_ENTRIES)
            && let Some(entry) = self.entries.pop_back()
        {
            self.size -= entry.size;
        }
    }

    /// Says at a block's beginning what has become of the table.
    fn resize(&mut self, out: &mut Vec<u8>) {
        if let Some((least, last)) = self.resized.take() {
            if least < last {
                integer(out, 0x20, 5, least);
            }
            integer(out, 0x20, 5, last);
        }
    }

    /// An answer's status, which comes first.
    pub(crate) fn encode_status(&mut self, status: StatusCode, out: &mut Vec<u8>) {
        self.resize(out);
        let index = match status.as_u16() {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => {
                integer(out, 0, 4, 8);
                return string(out, status.as_str().as_bytes());
            }
        };
        integer(out, 0x80, 7, index);
    }

    /// A field behind it.
    pub(crate) fn encode(&mut self, name: &HeaderName, value: &HeaderValue, out: &mut Vec<u8>) {
        self.resize(out);
        let mut known = None;
        for (at, entry) in self.entries.iter().enumerate() {
            if entry.name == *name {
                if entry.value == *value {
                    return integer(out, 0x80, 7, STATIC.len() + 1 + at);
                }
                known = known.or(Some(STATIC.len() + 1 + at));
            }
        }
        let (index, is_whole) = match known {
            Some(index) => (index, false),
            None => fixed(name, value.as_bytes()),
        };
        if is_whole {
            return integer(out, 0x80, 7, index);
        }
        let size = name.as_str().len() + value.len() + OVERHEAD;
        let is_new = index == 0 || !changes(name);
        let form = if value.is_sensitive() || *name == header::SET_COOKIE {
            Form::Never
        } else if is_new && value.len() <= MOST_VALUE && size <= self.limit {
            Form::Indexed
        } else {
            Form::Plain
        };
        match form {
            Form::Indexed => integer(out, 0x40, 6, index),
            Form::Plain => integer(out, 0, 4, index),
            Form::Never => integer(out, 0x10, 4, index),
        }
        if index == 0 {
            string(out, name.as_str().as_bytes());
        }
        string(out, value.as_bytes());
        if matches!(form, Form::Indexed) {
            self.evict(size);
            self.size += size;
            self.entries.push_front(Entry { name: name.clone(), value: value.clone(), size });
        }
    }
}

enum Form {
    Indexed,
    Plain,
    Never,
}

/// RFC 7541 section 5.1.
fn integer(out: &mut Vec<u8>, pattern: u8, prefix: u32, value: usize) {
    let mask = (1_usize << prefix) - 1;
    if value < mask {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | mask as u8);
    let mut rest = value - mask;
    while rest > 127 {
        out.push((rest & 127) as u8 | 128);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Section 5.2, without Huffman code.
fn string(out: &mut Vec<u8>, text: &[u8]) {
    integer(out, 0, 7, text.len());
    out.extend_from_slice(text);
}
