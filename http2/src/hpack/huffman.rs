//! Decodes Huffman code (RFC 7541 section 5.2 and appendix B), up to two symbols with each look into a table.

use super::HpackError;

/// Bits of code that a look into [`TABLE`] takes. Twelve hold two letters or digits of most text; with 16 KiB the table still
/// leaves the first cache to others.
const BITS: u32 = 12;
const LONGEST: usize = 30;

/// How many bits the code of each octet has, and that of EOS: appendix B's last column.
///
/// That is all there is to know: the code is canonical. Codes of one length follow each other in the order of their symbols,
/// and the shorter come first.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];

/// The code by length: what a canonical code needs.
struct Canonical {
    /// The first code of each length, its bits at the top of 32.
    first: [u64; LONGEST + 1],
    /// What the last code of each length is below.
    limit: [u64; LONGEST + 1],
    /// Where each length's symbols start in `symbols`.
    offset: [u16; LONGEST + 1],
    /// All symbols by length, then by value.
    symbols: [u16; 257],
}

static CODE: Canonical = canonical();
static TABLE: [u32; 1 << BITS] = table();

const fn canonical() -> Canonical {
    let mut code = Canonical {
        first: [0; LONGEST + 1],
        limit: [0; LONGEST + 1],
        offset: [0; LONGEST + 1],
        symbols: [0; 257],
    };
    let (mut next, mut at, mut len) = (0_u64, 0, 1);
    while len <= LONGEST {
        code.first[len] = next;
        code.offset[len] = at as u16;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == len {
                code.symbols[at] = symbol as u16;
                at += 1;
                next += 1 << (32 - len);
            }
            symbol += 1;
        }
        code.limit[len] = next;
        len += 1;
    }
    code
}

/// The symbol that `window` (the next 32 bits) starts with and its length, for lengths from `shortest`.
const fn find(code: &Canonical, window: u32, shortest: usize) -> (u16, u32) {
    let mut len = shortest;
    // The longest length's limit is above every window, because the code is complete.
    while len < LONGEST && window as u64 >= code.limit[len] {
        len += 1;
    }
    let nth = (window as u64 - code.first[len]) >> (32 - len);
    (code.symbols[code.offset[len] as usize + nth as usize], len as u32)
}

/// For every `BITS` bits an [`entry`]; zero where the first symbol is longer.
const fn table() -> [u32; 1 << BITS] {
    let code = canonical();
    let mut table = [0; 1 << BITS];
    let mut i = 0;
    while i < table.len() {
        let window = (i as u32) << (32 - BITS);
        let (a, a_bits) = find(&code, window, 1);
        if a_bits <= BITS {
            let (b, b_bits) = find(&code, window << a_bits, 1);
            let all = a_bits + b_bits;
            table[i] = if all <= BITS { entry(a, b, a_bits, all, 2) } else { entry(a, 0, a_bits, a_bits, 1) };
        }
        i += 1;
    }
    table
}

/// From the lowest bit: six for the bits of all symbols, so that a shift by the entry is a shift by those; two for how many symbols
/// they are; eight for the bits of the first; the first symbol; the second.
const fn entry(a: u16, b: u16, a_bits: u32, all: u32, count: u32) -> u32 {
    all | count << 6 | a_bits << 8 | (a as u32) << 16 | (b as u32) << 24
}

/// The room that [`decode`] wants for `len` octets of code: no symbol is shorter than five bits, and eight octets are written
/// at a time.
pub(super) fn room(len: usize) -> usize {
    len * 8 / 5 + 8
}

/// Decodes `code` into `out`, which has [`room`] for it, and tells how many octets came out.
pub(super) fn decode(code: &[u8], out: &mut [u8]) -> Result<usize, HpackError> {
    // The bits to come, from the top; those below the first `bits` are the same ones that the next refill brings.
    let (mut window, mut bits, mut rest, mut len) = (0_u64, 0_u32, code, 0);
    while let Some(next) = rest.first_chunk() {
        window |= u64::from_be_bytes(*next) >> bits;
        rest = &rest[(63 - bits as usize) / 8..];
        bits |= 56;
        // Four looks take 48 bits at most, and give eight octets at most.
        let (mut octets, mut count) = (0_u64, 0);
        for _ in 0..4 {
            let found = TABLE[(window >> (64 - BITS)) as usize];
            if found == 0 {
                if bits >= LONGEST as u32 {
                    let (symbol, used) = find(&CODE, (window >> 32) as u32, BITS as usize + 1);
                    octets |= u64::from(octet(symbol)?) << (8 * count);
                    count += 1;
                    window <<= used;
                    bits -= used;
                }
                break;
            }
            octets |= u64::from(found >> 16) << (8 * count);
            count += found >> 6 & 3;
            window <<= found & 63;
            bits -= found & 63;
        }
        put(out, len, octets)?;
        len += count as usize;
    }
    finish(window, bits, rest, out, len)
}

/// The last octets of a code: `rest` has at most seven, and `bits` of `window` came before them.
fn finish(
    mut window: u64,
    mut bits: u32,
    mut rest: &[u8],
    out: &mut [u8],
    mut len: usize,
) -> Result<usize, HpackError> {
    loop {
        while bits <= 56
            && let Some((next, others)) = rest.split_first()
        {
            window |= u64::from(*next) << (56 - bits);
            bits += 8;
            rest = others;
        }
        if bits == 0 {
            return Ok(len);
        }
        // As if ones went on for ever: a symbol that needs some of them is padding.
        let padded = if bits < 64 { window | u64::MAX >> bits } else { window };
        let found = TABLE[(padded >> (64 - BITS)) as usize];
        let (all, first) = (found & 63, found >> 8 & 0xff);
        let (octets, count, used) = if found == 0 {
            let (symbol, used) = find(&CODE, (padded >> 32) as u32, BITS as usize + 1);
            if used > bits {
                return padding(padded, bits, len);
            }
            (u32::from(octet(symbol)?), 1, used)
        } else if all <= bits {
            (found >> 16, found >> 6 & 3, all)
        } else if first <= bits {
            (found >> 16 & 0xff, 1, first)
        } else {
            return padding(padded, bits, len);
        };
        put(out, len, u64::from(octets))?;
        len += count as usize;
        window <<= used;
        bits -= used;
    }
}

/// RFC 7541 section 5.2: "A padding strictly longer than 7 bits MUST be treated as a decoding error. A padding not
/// corresponding to the most significant bits of the code for the EOS symbol MUST be treated as a decoding error."
fn padding(padded: u64, bits: u32, len: usize) -> Result<usize, HpackError> {
    if bits < 8 && padded == u64::MAX { Ok(len) } else { Err(HpackError::Huffman) }
}

/// RFC 7541 section 5.2: "A Huffman-encoded string literal containing the EOS symbol MUST be treated as a decoding error."
fn octet(symbol: u16) -> Result<u8, HpackError> {
    u8::try_from(symbol).map_err(|_| HpackError::Huffman)
}

/// Writes octets, the lowest first. `room` says that there always is some.
#[inline]
fn put(out: &mut [u8], at: usize, octets: u64) -> Result<(), HpackError> {
    *out.get_mut(at..).and_then(|out| out.first_chunk_mut()).ok_or(HpackError::Huffman)? =
        octets.to_le_bytes();
    Ok(())
}
