//! Finds a field in a table without comparing it with every entry.

use super::super::static_table;

/// Places of [`NAMES`]: enough that most names have their own.
const PLACES: usize = 256;

/// Short digests. Different fields may have the same, so what they find is compared.
#[derive(Clone, Copy)]
pub(super) struct Prints {
    pub(super) name: u32,
    pub(super) field: u64,
}

impl Prints {
    #[inline]
    pub(super) fn new(name: &[u8], value: &[u8]) -> Self {
        let name = name_print(name);
        let ends = ends(value).rotate_left(32) ^ u64::from(name) ^ (value.len() as u64) << 24;
        let field = ends.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { name, field: field ^ field >> 31 }
    }
}

/// The first and the last eight octets, which may overlap. What differs between them only is found by comparing.
#[inline]
fn ends(octets: &[u8]) -> u64 {
    match (octets.first_chunk(), octets.last_chunk()) {
        (Some(first), Some(last)) => u64::from_le_bytes(*first) ^ u64::from_le_bytes(*last).rotate_left(29),
        _ => octets.iter().fold(0, |sum, octet| sum << 8 | u64::from(*octet)),
    }
}

/// The name's length, and three of its octets.
#[inline]
const fn name_print(name: &[u8]) -> u32 {
    let [.., last] = name else { return 0 };
    let middle = name[name.len() / 2];
    u32::from_le_bytes([name[0], middle, *last, name.len() as u8])
}

const fn place(print: u32) -> usize {
    (print.wrapping_mul(0x9e37_79b1) >> 24) as usize % PLACES
}

/// The static names by their place, as indices of the static table; where a place is taken, the name is in the next that is not.
static NAMES: [u8; PLACES] = names();

const fn names() -> [u8; PLACES] {
    let mut names = [0; PLACES];
    let mut nth = 0;
    while nth < static_table::NAMES.len() {
        let mut at = place(name_print(static_table::NAMES[nth].as_bytes()));
        while names[at] != 0 {
            at = (at + 1) % PLACES;
        }
        names[at] = (nth + static_table::FIRST_HEADER) as u8;
        nth += 1;
    }
    names
}

/// The index of the static table's entry of that name, no pseudo-header's. `print` is the name's.
#[inline]
pub(super) fn static_index(name: &[u8], print: u32) -> Option<usize> {
    let mut at = place(print);
    while NAMES[at] != 0 {
        let index = usize::from(NAMES[at]);
        if static_table::NAMES[index - static_table::FIRST_HEADER].as_bytes() == name {
            return Some(index);
        }
        at = (at + 1) % PLACES;
    }
    None
}
