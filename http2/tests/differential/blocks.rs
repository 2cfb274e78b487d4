//! Writes header blocks in every form that RFC 7541 has, with a table of its own.

use crate::{chance::Chance, codes::CODES, fields::Field};
use std::collections::VecDeque;

/// Index and field of some entries of the static table (RFC 7541 appendix A).
const STATIC: [(usize, &str, &str); 14] = [
    (1, ":authority", ""),
    (2, ":method", "GET"),
    (3, ":method", "POST"),
    (4, ":path", "/"),
    (5, ":path", "/index.html"),
    (6, ":scheme", "http"),
    (7, ":scheme", "https"),
    (16, "accept-encoding", "gzip, deflate"),
    (23, "authorization", ""),
    (28, "content-length", ""),
    (31, "content-type", ""),
    (32, "cookie", ""),
    (38, "host", ""),
    (57, "transfer-encoding", ""),
];

pub(crate) struct Writer {
    table: VecDeque<Field>,
    limit: usize,
}

impl Default for Writer {
    fn default() -> Self {
        Self { table: VecDeque::new(), limit: 4096 }
    }
}

impl Writer {
    pub(crate) fn block(&mut self, chance: &mut Chance, fields: &[Field]) -> Vec<u8> {
        let mut out = Vec::new();
        if chance.one_in(10) {
            for _ in 0..1 + chance.index(2) {
                // What some of the fields fit in exactly, among others.
                let some = &fields[..chance.index(fields.len() + 1)];
                self.limit = [0, 200, 4096, size(some.iter()).min(4096)][chance.index(4)];
                self.evict();
                integer(0x20, 0x1f, self.limit, &mut out);
            }
        }
        for (name, value) in fields {
            let entries = || {
                let fixed =
                    STATIC.iter().map(|(index, name, value)| (*index, name.as_bytes(), value.as_bytes()));
                let dynamic = self.table.iter().enumerate();
                fixed.chain(dynamic.map(|(nth, (name, value))| (62 + nth, &name[..], &value[..])))
            };
            let whole = entries().find(|(_, other, content)| *other == &name[..] && *content == &value[..]);
            if let Some((index, ..)) = whole.filter(|_| !chance.one_in(8)) {
                integer(0x80, 0x7f, index, &mut out);
                continue;
            }
            let named = entries().find(|(_, other, _)| *other == &name[..]).filter(|_| !chance.one_in(4));
            let named = named.map(|(index, ..)| index);
            let (first, mask) = [(0x40, 0x3f), (0x00, 0x0f), (0x10, 0x0f)][chance.index(3)];
            integer(first, mask, named.unwrap_or(0), &mut out);
            if named.is_none() {
                string(chance, name, &mut out);
            }
            string(chance, value, &mut out);
            if first == 0x40 {
                self.table.push_front((name.clone(), value.clone()));
                self.evict();
            }
        }
        out
    }

    fn evict(&mut self) {
        while size(self.table.iter()) > self.limit {
            self.table.pop_back();
        }
    }
}

/// RFC 7541 section 4.1.
fn size<'a>(fields: impl Iterator<Item = &'a Field>) -> usize {
    fields.map(|(name, value)| name.len() + value.len() + 32).sum()
}

fn string(chance: &mut Chance, text: &[u8], out: &mut Vec<u8>) {
    if chance.one_in(2) {
        integer(0x00, 0x7f, text.len(), out);
        out.extend(text);
        return;
    }
    let (mut code, mut octet, mut bits) = (Vec::new(), 0_u8, 0);
    for (symbol, length) in text.iter().map(|octet| CODES[usize::from(*octet)]) {
        for bit in (0..length).rev() {
            octet = octet << 1 | (symbol >> bit & 1) as u8;
            bits += 1;
            if bits % 8 == 0 {
                code.push(octet);
            }
        }
    }
    // Padding is of ones (RFC 7541 section 5.2).
    if bits % 8 != 0 {
        let left = 8 - bits % 8;
        code.push(octet << left | ((1_u16 << left) - 1) as u8);
    }
    integer(0x80, 0x7f, code.len(), out);
    out.extend(code);
}

fn integer(first: u8, mask: u8, value: usize, out: &mut Vec<u8>) {
    if value < usize::from(mask) {
        return out.push(first | value as u8);
    }
    out.push(first | mask);
    let mut rest = value - usize::from(mask);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
