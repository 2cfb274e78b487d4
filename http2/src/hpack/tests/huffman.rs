//! Huffman code against appendix B in full and a decoder of single bits.

use proptest::prelude::*;

use super::{
    blocks::{bits, huffman as encode, octets},
    codes::CODES,
    reference,
};
use crate::hpack::{HpackError, huffman};

fn decode(code: &[u8]) -> Result<Vec<u8>, HpackError> {
    let mut out = vec![0; huffman::room(code.len())];
    let len = huffman::decode(code, &mut out)?;
    out.truncate(len);
    Ok(out)
}

/// Nothing decodes to two things, and every bit leads somewhere.
#[test]
fn the_code_is_complete() {
    let longest = 1_u64 << 30;
    assert_eq!(CODES.iter().map(|(_, len)| longest >> len).sum::<u64>(), longest);
    let mut spans: Vec<_> =
        CODES.iter().map(|(code, len)| (u64::from(*code) << (30 - len), longest >> len)).collect();
    spans.sort_unstable();
    assert!(spans.windows(2).all(|pair| pair[0].0 + pair[0].1 == pair[1].0));
}

#[test]
fn every_pair_of_symbols_is_what_it_was() {
    for a in 0..=255 {
        assert_eq!(decode(&encode(&[a])), Ok(vec![a]));
        for b in 0..=255 {
            let text = [a, b];
            assert_eq!(decode(&encode(&text)), Ok(text.to_vec()));
            // In the middle of other text, so that each way of decoding comes to it.
            let text = [b"0123456789", &text[..], b"the rest, and more of it"].concat();
            assert_eq!(decode(&encode(&text)), Ok(text));
        }
    }
}

#[test]
fn nothing_is_the_empty_string() {
    assert_eq!(decode(&[]), Ok(Vec::new()));
}

#[test]
fn the_largest_strings_have_room() {
    for len in 0..200 {
        // Five bits a symbol, and no code is shorter.
        let text = vec![b'a'; len];
        assert_eq!(decode(&encode(&text)), Ok(text));
    }
}

#[test]
fn padding_of_eight_bits_or_more_is_refused() {
    for text in [&b""[..], b"a", b"0000000a", b"0000000000000000", b"a longer text, of many symbols"] {
        for more in 1..12 {
            let mut code = encode(text);
            code.extend(vec![0xff; more]);
            assert_eq!(decode(&code), Err(HpackError::Huffman), "{text:?} and {more}");
        }
    }
}

#[test]
fn padding_with_a_zero_is_refused() {
    for text in ["a", "aa", "aaa", "aaaa", "aaaaa", "aaaaaa", "aaaaaaa", "a longer text of many sym"] {
        let symbols: Vec<_> = text.bytes().map(usize::from).collect();
        let missing = bits(&symbols).len().next_multiple_of(8) - bits(&symbols).len();
        for zero in 0..missing.min(5) {
            let mut bits = bits(&symbols);
            bits.extend((0..missing).map(|bit| bit != zero));
            let code = octets(bits, true);
            // A zero may also begin a symbol that ends there: then the plain decoder reads it too.
            assert_eq!(decode(&code).ok(), reference::huffman(&code), "{text} {zero}");
            assert_ne!(decode(&code), Ok(text.into()));
        }
    }
    assert_eq!(decode(&octets(bits(&[usize::from(b'a')]), false)), Err(HpackError::Huffman));
}

#[test]
fn eos_is_refused_wherever_it_is() {
    for before in 0..40 {
        for after in [0, 1, 7, 30] {
            let mut symbols = vec![usize::from(b'e'); before];
            symbols.push(256);
            symbols.extend(vec![usize::from(b'0'); after]);
            assert_eq!(decode(&octets(bits(&symbols), true)), Err(HpackError::Huffman), "{before} {after}");
        }
    }
}

#[test]
fn all_short_codes_are_what_the_plain_decoder_says() {
    for a in 0..=255 {
        assert_eq!(decode(&[a]).ok(), reference::huffman(&[a]));
        for b in 0..=255 {
            assert_eq!(decode(&[a, b]).ok(), reference::huffman(&[a, b]));
        }
    }
}

proptest! {
    #[test]
    fn any_code_is_what_the_plain_decoder_says(code in proptest::collection::vec(any::<u8>(), 0..80)) {
        prop_assert_eq!(decode(&code).ok(), reference::huffman(&code));
    }

    /// Such octets begin the long codes.
    #[test]
    fn any_long_code_is_too(code in proptest::collection::vec(prop_oneof![Just(0xff_u8), Just(0xfe_u8), any::<u8>()], 0..80)) {
        prop_assert_eq!(decode(&code).ok(), reference::huffman(&code));
    }

    #[test]
    fn any_text_is_what_it_was(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(decode(&encode(&text)), Ok(text));
    }

    #[test]
    fn any_printable_text_is_what_it_was(text in "[ -~]{0,300}") {
        prop_assert_eq!(decode(&encode(text.as_bytes())), Ok(text.into_bytes()));
    }

    /// Room that is too small is an error and no panic.
    #[test]
    fn too_little_room_is_no_panic(text in "[ -~]{1,60}", room in 0..60_usize) {
        let mut out = vec![0; room];
        if let Ok(len) = huffman::decode(&encode(text.as_bytes()), &mut out) {
            prop_assert_eq!(&out[..len], text.as_bytes());
        }
    }
}
