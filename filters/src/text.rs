//! Short texts that several hold. `Bytes` allocates once for the text and once more when it is first cloned; these
//! are one allocation.

use bytes::Bytes;
use bytestring::ByteString;

/// Longer than nearly every name of a namespace or an operation.
const SHORT: usize = 31;

struct Short {
    length: u8,
    text: [u8; SHORT],
}

impl AsRef<[u8]> for Short {
    fn as_ref(&self) -> &[u8] {
        &self.text[..usize::from(self.length)]
    }
}

/// A copy of `text` that costs little to clone.
#[must_use]
pub fn shared_text(text: &str) -> ByteString {
    let mut short = Short { length: 0, text: [0; SHORT] };
    match (u8::try_from(text.len()), short.text.get_mut(..text.len())) {
        (Ok(length), Some(place)) => {
            place.copy_from_slice(text.as_bytes());
            short.length = length;
            // It was text before it was copied.
            ByteString::try_from(Bytes::from_owner(short)).unwrap_or_default()
        }
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_any_length_is_the_text() {
        for length in 0..100 {
            let text = "ö1234567".repeat(12)[..].chars().take(length).collect::<String>();
            let shared = shared_text(&text);
            assert_eq!(shared, text.as_str());
            assert_eq!(shared.clone(), shared);
        }
    }
}
