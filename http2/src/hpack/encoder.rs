//! Writes header blocks (RFC 7541 sections 3 and 6).

mod lookup;
mod policy;

use std::collections::VecDeque;

use http::{HeaderName, HeaderValue, StatusCode};
use lookup::{Prints, static_index};
use policy::Policy;

use super::{INITIAL_TABLE, OVERHEAD, integer, static_table};

/// How many fields are looked at again before one is put into the table: the fields of two answers.
const SEEN: usize = 16;
/// Index 8 of the static table is `:status: 200`.
const STATUS: usize = 8;

/// The writing half of a connection's HPACK.
///
/// A field goes into the table when it comes for the second time among [`SEEN`] others, so what is always another
/// value does not push out what is always the same; a name that neither table has goes in at once, with the value that it has,
/// so that later literals can refer to it. Strings are not Huffman-coded: what repeats is an index, and the rest would cost more
/// time than it saves octets.
pub(crate) struct Encoder {
    /// The newest first. They are copies: a value may be cut from a large buffer of an upstream, which would live as long.
    entries: VecDeque<Entry>,
    size: usize,
    /// What `size` may be: what the last size update said.
    limit: usize,
    /// The sizes that the next block has to begin with: the smallest since the last block, and the last.
    pending: Option<(usize, usize)>,
    seen: [u64; SEEN],
    oldest_seen: usize,
}

struct Entry {
    prints: Prints,
    /// The name, and after it the value.
    octets: Box<[u8]>,
    name: usize,
}

impl Entry {
    fn size(&self) -> usize {
        self.octets.len() + OVERHEAD
    }
}

impl Encoder {
    /// An encoder whose peer has a table of 4096 octets.
    pub(crate) fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            limit: INITIAL_TABLE,
            pending: None,
            seen: [0; SEEN],
            oldest_seen: 0,
        }
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE, to be told between two blocks. Of a larger one no more than 4096 octets are
    /// used: they hold whatever repeats, and what they hold is looked through for each field.
    pub(crate) fn set_max_table(&mut self, size: u32) {
        let size = usize::try_from(size).unwrap_or(INITIAL_TABLE).min(INITIAL_TABLE);
        let smallest = self.pending.map_or(self.limit, |(smallest, _)| smallest).min(size);
        self.pending = Some((smallest, size)).filter(|&sizes| sizes != (self.limit, self.limit));
    }

    /// Writes `:status`, which comes first in its block.
    pub(crate) fn encode_status(&mut self, status: StatusCode, out: &mut Vec<u8>) {
        self.begin(out);
        let index = match status.as_u16() {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => {
                integer::write(0x00, 0x0f, STATUS, out);
                return string(status.as_str().as_bytes(), out);
            }
        };
        out.push(0x80 | index);
    }

    /// Writes a field. A value that is marked sensitive, and one that is a credential, is sent as "never indexed".
    pub(crate) fn encode(&mut self, name: &HeaderName, value: &HeaderValue, out: &mut Vec<u8>) {
        self.begin(out);
        let (name, value, sensitive) = (name.as_str().as_bytes(), value.as_bytes(), value.is_sensitive());
        let prints = Prints::new(name, value);
        let mut named = None;
        for (nth, entry) in self.entries.iter().enumerate() {
            if entry.prints.name != prints.name {
                continue;
            }
            let (entry_name, entry_value) = entry.octets.split_at(entry.name);
            if entry_name != name {
                continue;
            }
            if entry.prints.field == prints.field && entry_value == value && !sensitive {
                return integer::write(0x80, 0x7f, static_table::ENTRIES.len() + 1 + nth, out);
            }
            named.get_or_insert(static_table::ENTRIES.len() + 1 + nth);
        }
        let named = static_index(name, prints.name).or(named);
        let (first, mask) = match Policy::of(name, value.len(), sensitive) {
            Policy::Never => (0x10, 0x0f),
            _ if OVERHEAD + name.len() + value.len() > self.limit => (0x00, 0x0f),
            Policy::Index if named.is_none() || self.again(prints.field) => (0x40, 0x3f),
            Policy::IndexName if named.is_none() => (0x40, 0x3f),
            Policy::Index | Policy::IndexName => (0x00, 0x0f),
        };
        match named {
            Some(index) => integer::write(first, mask, index, out),
            None => {
                out.push(first);
                string(name, out);
            }
        }
        string(value, out);
        if first == 0x40 {
            self.insert(Entry { prints, octets: [name, value].concat().into(), name: name.len() });
        }
    }

    /// RFC 7541 section 4.2: "In the case that this size is changed more than once in that interval, the smallest maximum table
    /// size that occurs in that interval MUST be signaled in a dynamic table size update. The final maximum size is always
    /// signaled, resulting in at most two dynamic table size updates."
    #[inline]
    fn begin(&mut self, out: &mut Vec<u8>) {
        let Some((smallest, last)) = self.pending.take() else { return };
        if smallest < last.min(self.limit) {
            integer::write(0x20, 0x1f, smallest, out);
            self.evict(smallest);
        }
        integer::write(0x20, 0x1f, last, out);
        self.evict(last);
        self.limit = last;
    }

    /// Whether the field has been here a short while ago.
    fn again(&mut self, print: u64) -> bool {
        if self.seen.contains(&print) {
            return true;
        }
        self.seen[self.oldest_seen % SEEN] = print;
        self.oldest_seen = (self.oldest_seen + 1) % SEEN;
        false
    }

    /// The entry is no larger than the table.
    fn insert(&mut self, entry: Entry) {
        self.evict(self.limit.saturating_sub(entry.size()));
        self.size += entry.size();
        self.entries.push_front(entry);
    }

    fn evict(&mut self, limit: usize) {
        while self.size > limit
            && let Some(entry) = self.entries.pop_back()
        {
            self.size -= entry.size();
        }
    }

    #[cfg(test)]
    pub(super) fn table_sizes(&self) -> (usize, usize) {
        (self.entries.len(), self.size)
    }
}

/// A string as it is (RFC 7541 section 5.2).
#[inline]
fn string(octets: &[u8], out: &mut Vec<u8>) {
    integer::write(0x00, 0x7f, octets.len(), out);
    out.extend_from_slice(octets);
}
