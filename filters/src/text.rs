//! Texts that several hold, and texts that are cut.
//!
//! `Bytes` allocates once for a text and once more when it is first cloned; a shared text is one allocation.

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

/// What follows `prefix`, which is in lower case. Media types are compared without regard to case (RFC 9110 section 8.3.1:
/// "The type and subtype tokens are case-insensitive").
#[must_use]
pub fn strip_media_type<'a>(value: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    let (head, rest) = value.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix.as_bytes()).then_some(rest)
}

/// At most `most` bytes of a text, cut between characters.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
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

    #[test]
    fn media_types_have_no_case() {
        for (value, rest) in [
            (&b"application/grpc"[..], Some(&b""[..])),
            (b"Application/GRPC+proto", Some(b"+proto")),
            (b"application/grp", None),
            (b"text/grpc-------", None),
            (b"", None),
        ] {
            assert_eq!(strip_media_type(value, "application/grpc"), rest);
        }
    }

    #[test]
    fn a_cut_never_loses_more_than_a_character() {
        let text = format!("{}{}", "a".repeat(511), "é".repeat(20));
        for most in 0..600 {
            let cut = cut(&text, most);
            assert!(text.starts_with(cut) && cut.len() <= most && cut.len() + 1 >= most.min(text.len()));
        }
    }
}
