//! A decoder as plain as RFC 7541 is, slow and unlike the other in everything: what the two say has to be the same.

use std::{collections::HashMap, sync::LazyLock};

use super::codes::CODES;

/// Name, value, and whether it is "never indexed".
pub(super) type Raw = (Vec<u8>, Vec<u8>, bool);

pub(super) struct Reference {
    table: Vec<(Vec<u8>, Vec<u8>)>,
    limit: usize,
    most: usize,
}

impl Reference {
    pub(super) fn new(most: usize) -> Self {
        Self { table: Vec::new(), limit: 4096, most }
    }

    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.table.len(), self.table.iter().map(|(name, value)| name.len() + value.len() + 32).sum())
    }

    /// The fields, or none where the block is wrong.
    pub(super) fn decode(&mut self, block: &[u8]) -> Option<Vec<Raw>> {
        let mut fields = Vec::new();
        let mut at = 0;
        while at < block.len() {
            let first = block[at];
            if first >= 0x80 {
                let index = integer(block, &mut at, 7)?;
                let (name, value) = self.entry(index)?;
                fields.push((name, value, false));
            } else if first >= 0x40 {
                let (name, value) = self.literal(block, &mut at, 6)?;
                self.table.insert(0, (name.clone(), value.clone()));
                self.evict();
                fields.push((name, value, false));
            } else if first >= 0x20 {
                let size = integer(block, &mut at, 5)?;
                if !fields.is_empty() || size > self.most {
                    return None;
                }
                self.limit = size;
                self.evict();
            } else {
                let (name, value) = self.literal(block, &mut at, 4)?;
                fields.push((name, value, first >= 0x10));
            }
        }
        Some(fields)
    }

    fn evict(&mut self) {
        while self.sizes().1 > self.limit {
            self.table.pop();
        }
    }

    fn entry(&self, index: usize) -> Option<(Vec<u8>, Vec<u8>)> {
        let owned = |(name, value): &(&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        match index {
            0 => None,
            1..=61 => Some(owned(&STATIC[index - 1])),
            _ => self.table.get(index - 62).cloned(),
        }
    }

    fn literal(&self, block: &[u8], at: &mut usize, prefix: u32) -> Option<(Vec<u8>, Vec<u8>)> {
        let name = match integer(block, at, prefix)? {
            0 => string(block, at)?,
            index => self.entry(index)?.0,
        };
        Some((name, string(block, at)?))
    }
}

fn integer(block: &[u8], at: &mut usize, prefix: u32) -> Option<usize> {
    let all = (1 << prefix) - 1;
    let mut value = usize::from(*block.get(*at)?) & all;
    *at += 1;
    if value < all {
        return Some(value);
    }
    for shift in [0, 7, 14, 21] {
        let octet = usize::from(*block.get(*at)?);
        *at += 1;
        value += (octet % 128) << shift;
        if octet < 128 {
            return Some(value);
        }
    }
    None
}

fn string(block: &[u8], at: &mut usize) -> Option<Vec<u8>> {
    let coded = *block.get(*at)? >= 0x80;
    let len = integer(block, at, 7)?;
    let octets = block.get(*at..*at + len)?;
    *at += len;
    if coded { huffman(octets) } else { Some(octets.to_vec()) }
}

/// Bit by bit: a symbol is whatever the bits since the last one are the code of.
pub(super) fn huffman(code: &[u8]) -> Option<Vec<u8>> {
    static SYMBOLS: LazyLock<HashMap<(u32, u32), usize>> =
        LazyLock::new(|| CODES.iter().enumerate().map(|(symbol, code)| (*code, symbol)).collect());
    let symbols = &*SYMBOLS;
    let mut text = Vec::new();
    let (mut bits, mut len) = (0_u32, 0_u32);
    for octet in code {
        for bit in (0..8).rev() {
            bits = bits << 1 | u32::from(octet >> bit & 1);
            len += 1;
            if let Some(symbol) = symbols.get(&(bits, len)) {
                // EOS is no octet.
                text.push(u8::try_from(*symbol).ok()?);
                (bits, len) = (0, 0);
            }
        }
    }
    (len < 8 && bits == (1 << len) - 1).then_some(text)
}

/// Whether RFC 9113 section 8.2.1 allows a field that is no pseudo-header's.
pub(super) fn allowed(name: &[u8], value: &[u8]) -> bool {
    let token = |octet: &u8| {
        octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(octet)
    };
    let blank = |octet: Option<&u8>| matches!(octet, Some(b' ' | b'\t'));
    let text = |octet: &u8| *octet == b'\t' || (*octet >= b' ' && *octet != 0x7f);
    let name_is = !name.is_empty() && name.len() < 1 << 16 && name.iter().all(token);
    name_is && value.iter().all(text) && !blank(value.first()) && !blank(value.last())
}

/// RFC 7541 appendix A.
#[rustfmt::skip]
pub(super) const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""),
    ("cache-control", ""), ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""),
    ("content-length", ""), ("content-location", ""), ("content-range", ""), ("content-type", ""),
    ("cookie", ""), ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""),
    ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""),
    ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""),
    ("via", ""), ("www-authenticate", ""),
];
