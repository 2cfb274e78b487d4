//! Page tokens: what a backend needs to go on, in an envelope that says whose it is.
//!
//! The checksum catches tokens of another backend, another prefix or another tongue. It is no signature:
//! whoever may scan may see every key anyway, so there is nothing to gain by forging one.

use std::fmt::Write as _;

/// An envelope around `state`, as text.
pub(super) fn encode(backend: &str, prefix: &str, state: &[u8]) -> String {
    let sum = checksum(backend, prefix, state).to_be_bytes();
    let mut text = String::with_capacity(2 * (sum.len() + state.len()));
    for byte in sum.iter().chain(state) {
        // Into a string; it cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// What [`encode`] was given; `None` for any other text.
pub(super) fn decode(backend: &str, prefix: &str, text: &str) -> Option<Vec<u8>> {
    let (digits, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let bytes: Option<Vec<u8>> =
        digits.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?)).collect();
    let bytes = bytes?;
    let (sum, state) = bytes.split_first_chunk::<8>()?;
    (u64::from_be_bytes(*sum) == checksum(backend, prefix, state)).then(|| state.to_vec())
}

/// FNV-1a: the same in every build, so that a token outlives the process that made it.
fn checksum(backend: &str, prefix: &str, state: &[u8]) -> u64 {
    let lengths = [backend.len() as u64, prefix.len() as u64].map(u64::to_be_bytes);
    let parts = [lengths.as_flattened(), backend.as_bytes(), prefix.as_bytes(), state];
    parts
        .into_iter()
        .flatten()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tokens_come_back(prefix in ".{0,20}", state in prop::collection::vec(any::<u8>(), 0..50)) {
            let token = encode("b", &prefix, &state);
            prop_assert_eq!(decode("b", &prefix, &token), Some(state));
            prop_assert_eq!(decode("c", &prefix, &token), None);
            prop_assert_eq!(decode("b", &format!("{prefix}x"), &token), None);
        }

        #[test]
        fn other_texts_do_not(text in "[0-9a-f]{0,60}", noise in ".{0,40}") {
            prop_assert_eq!(decode("b", "p", &text), None);
            prop_assert_eq!(decode("b", "p", &noise), None);
        }

        #[test]
        fn damage_is_seen(at in any::<prop::sample::Index>(), digit in "[0-9a-g]") {
            let mut token = encode("b", "p", b"state");
            let at = at.index(token.len());
            let same = token[at..].starts_with(&digit);
            token.replace_range(at..=at, &digit);
            prop_assert_eq!(decode("b", "p", &token).is_some(), same);
        }
    }
}
