//! Decoding header blocks.

use super::{
    HpackError, OVERHEAD,
    field::{Field, Malformed, Name},
    huffman,
    static_table::STATIC,
};
use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use std::{collections::VecDeque, sync::LazyLock};

/// Values of literals lie side by side in pieces of memory of this size.
const ARENA: usize = 1024;

/// Huffman codes that are remembered with what they say: of paths and of values as long as credentials are, which clients (nghttp2)
/// send with each call and never put into the table, so that nobody can find them out by trying (RFC 7541 section 7.1). Whoever
/// compares them here compares all of them, and only this connection's.
const REMEMBERED: usize = 3;
const LEAST_REMEMBERED: usize = 16;
const MOST_REMEMBERED: usize = 4096;

#[derive(Clone)]
struct Entry {
    name: Name,
    field: Result<Field, Malformed>,
    size: usize,
}

static FIXED: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let entry = |(name, value): &(&'static str, &'static str)| {
        let name = Name::parse(name.as_bytes());
        let field = match &name {
            Name::Header(name) => Ok(Field::Header(name.clone(), HeaderValue::from_static(value))),
            // An index of these without a value would be malformed, and is.
            other => Field::new(other, Bytes::from_static(value.as_bytes())),
        };
        Entry { name, field, size: 0 }
    };
    let sized = STATIC.iter().map(|all| Entry { size: all.0.len() + all.1.len() + OVERHEAD, ..entry(all) });
    sized.collect()
});

struct Remembered {
    code: Box<[u8]>,
    field: Field,
}

impl Remembered {
    /// The field of that name with this value.
    fn field(&self, name: &Name) -> Option<(Field, usize)> {
        match (name, &self.field) {
            (Name::Path, Field::Path(path)) => Some((self.field.clone(), path.as_str().len())),
            (Name::Header(name), Field::Header(_, value)) => {
                Some((Field::Header(name.clone(), value.clone()), value.len()))
            }
            _ => None,
        }
    }
}

pub(crate) struct Decoder {
    entries: VecDeque<Entry>,
    size: usize,
    /// What the peer has chosen, and what it may.
    limit: usize,
    most: usize,
    arena: BytesMut,
    scratch: Vec<u8>,
    remembered: VecDeque<Remembered>,
}

impl Decoder {
    /// With a table of at most so many bytes, as SETTINGS_HEADER_TABLE_SIZE has them.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            limit: most,
            most,
            arena: BytesMut::new(),
            scratch: Vec::new(),
            remembered: VecDeque::new(),
        }
    }

    /// Decodes a whole block. Each field is given to `sink` with its size (RFC 7541 section 4.1), also if it is malformed: the table
    /// stays in step.
    pub(crate) fn decode(
        &mut self,
        block: &[u8],
        mut sink: impl FnMut(Result<Field, Malformed>, usize),
    ) -> Result<(), HpackError> {
        let mut rest = block;
        let mut may_resize = true;
        while let Some(first) = rest.first().copied() {
            if first & 0x80 != 0 {
                let index = integer(&mut rest, 7)?;
                let entry = self.entry(index)?;
                sink(entry.field.clone(), entry.size);
            } else if first & 0xe0 == 0x20 {
                let size = integer(&mut rest, 5)?;
                // Section 4.2: at the beginning of a block, and not above what was allowed.
                if !may_resize || size > self.most {
                    return Err(HpackError::SizeUpdate);
                }
                self.limit = size;
                self.evict(0);
                continue;
            } else {
                let indexed = first & 0x40 != 0;
                let index = integer(&mut rest, if indexed { 6 } else { 4 })?;
                self.literal(&mut rest, index, indexed, first & 0x10 != 0, &mut sink)?;
            }
            may_resize = false;
        }
        Ok(())
    }

    fn entry(&self, index: usize) -> Result<&Entry, HpackError> {
        let index = index.checked_sub(1).ok_or(HpackError::Index)?;
        let fixed = &*FIXED;
        fixed.get(index).or_else(|| self.entries.get(index - fixed.len())).ok_or(HpackError::Index)
    }

    fn literal(
        &mut self,
        rest: &mut &[u8],
        index: usize,
        indexed: bool,
        sensitive: bool,
        sink: &mut impl FnMut(Result<Field, Malformed>, usize),
    ) -> Result<(), HpackError> {
        let (name, name_length) = if index > 0 {
            let entry = self.entry(index)?;
            (entry.name.clone(), entry.name_length())
        } else {
            let text = string(rest)?;
            self.scratch.clear();
            match text {
                (text, false) => (Name::parse(text), text.len()),
                (code, true) => {
                    huffman::decode(code, &mut self.scratch).map_err(|_| HpackError::Huffman)?;
                    (Name::parse(&self.scratch), self.scratch.len())
                }
            }
        };
        let (text, is_code) = string(rest)?;
        let memo = is_code && !indexed && (LEAST_REMEMBERED..=MOST_REMEMBERED).contains(&text.len());
        if memo {
            let known = self.remembered.iter().filter(|known| *known.code == *text);
            if let Some((mut field, length)) = known.filter_map(|known| known.field(&name)).next() {
                mark(&mut field, sensitive);
                sink(Ok(field), name_length + length + OVERHEAD);
                return Ok(());
            }
        }
        let value = if is_code {
            self.scratch.clear();
            huffman::decode(text, &mut self.scratch).map_err(|_| HpackError::Huffman)?;
            let scratch = std::mem::take(&mut self.scratch);
            let value = self.keep(&scratch);
            self.scratch = scratch;
            value
        } else {
            self.keep(text)
        };
        let size = name_length + value.len() + OVERHEAD;
        let mut field = Field::new(&name, value);
        if let Ok(field) = &mut field {
            mark(field, sensitive);
            if memo && matches!(field, Field::Path(_) | Field::Header(..)) {
                if self.remembered.len() == REMEMBERED {
                    self.remembered.pop_front();
                }
                self.remembered.push_back(Remembered { code: text.into(), field: field.clone() });
            }
        }
        if indexed {
            self.evict(size);
            // Section 4.4: one that is larger than the table empties it, and that is no error.
            if size <= self.limit {
                self.size += size;
                self.entries.push_front(Entry { name, field: field.clone(), size });
            }
        }
        sink(field, size);
        Ok(())
    }

    /// A copy, in the arena.
    fn keep(&mut self, text: &[u8]) -> Bytes {
        if text.is_empty() {
            return Bytes::new();
        }
        if self.arena.capacity() < text.len() {
            self.arena = BytesMut::with_capacity(ARENA.max(text.len()));
        }
        self.arena.extend_from_slice(text);
        self.arena.split().freeze()
    }

    /// Makes room for an entry of this size.
    fn evict(&mut self, size: usize) {
        while self.size + size > self.limit
            && let Some(entry) = self.entries.pop_back()
        {
            self.size -= entry.size;
        }
    }
}

impl Entry {
    fn name_length(&self) -> usize {
        match &self.name {
            Name::Method | Name::Scheme | Name::Status => 7,
            Name::Authority => 10,
            Name::Path => 5,
            Name::Protocol => 9,
            Name::Header(name) => name.as_str().len(),
            // It will be refused; what it counts for does not matter.
            Name::Malformed => 0,
        }
    }
}

/// A value that was never to be put into a table is to go into no other, either (section 7.1.3).
fn mark(field: &mut Field, sensitive: bool) {
    if let Field::Header(_, value) = field {
        value.set_sensitive(sensitive);
    }
}

/// Section 5.1, with a prefix of so many bits.
fn integer(rest: &mut &[u8], prefix: u32) -> Result<usize, HpackError> {
    let (first, mut more) = rest.split_first().ok_or(HpackError::Truncated)?;
    let mask = (1_u8 << prefix) - 1;
    let mut value = usize::from(first & mask);
    if value == usize::from(mask) {
        let mut shift = 0;
        loop {
            let (byte, behind) = more.split_first().ok_or(HpackError::Integer)?;
            more = behind;
            // Beyond 2^28 there is nothing that we could mean.
            if shift > 21 {
                return Err(HpackError::Integer);
            }
            value += usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *rest = more;
    Ok(value)
}

/// Section 5.2: the bytes of a string, and whether they are Huffman code.
fn string<'a>(rest: &mut &'a [u8]) -> Result<(&'a [u8], bool), HpackError> {
    let is_code = rest.first().ok_or(HpackError::Truncated)? & 0x80 != 0;
    let length = integer(rest, 7)?;
    let (text, behind) = rest.split_at_checked(length).ok_or(HpackError::Truncated)?;
    *rest = behind;
    Ok((text, is_code))
}
