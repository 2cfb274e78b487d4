//! Borrowed text and bytes, read with their bounds checked, and kept in one allocation for each message.

use super::layout::Str;
use bytes::Bytes;
use bytestring::ByteString;
use std::ops::Range;

/// What the other side sent is not what the ABI allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken(pub(super) &'static str);

/// What `text` lends; `None` for none.
///
/// # Safety
/// Unless null, `text.data` points to `text.len` bytes that stay as they are for `'a`.
pub(super) unsafe fn read<'a>(text: Str, max: usize) -> Result<Option<&'a [u8]>, Broken> {
    if text.data.is_null() {
        return if text.len == 0 { Ok(None) } else { Err(Broken("a null pointer stands for text")) };
    }
    if text.len > max {
        return Err(Broken("a text is longer than any may be"));
    }
    // SAFETY: not null, and the rest is the caller's promise. `max` is far below `isize::MAX`.
    Ok(Some(unsafe { std::slice::from_raw_parts(text.data, text.len) }))
}

/// Gathers the texts of one message, so that all of them cost one allocation.
pub(super) struct Texts<'a> {
    parts: Parts<'a>,
    bytes: usize,
    longest: usize,
}

/// Nearly every message has a handful of texts.
#[derive(Default)]
struct Parts<'a> {
    first: [&'a str; 8],
    count: usize,
    rest: Vec<&'a str>,
}

impl<'a> Texts<'a> {
    /// Of at most `longest` bytes each.
    pub(super) fn new(longest: usize) -> Self {
        Self { parts: Parts::default(), bytes: 0, longest }
    }

    /// Notes a text, and where it will be.
    ///
    /// # Safety
    /// As for [`read`].
    pub(super) unsafe fn add(&mut self, text: Str) -> Result<Option<Range<usize>>, Broken> {
        // SAFETY: the caller's promise is the same.
        let Some(bytes) = (unsafe { read(text, self.longest) })? else { return Ok(None) };
        let text = std::str::from_utf8(bytes).map_err(|_| Broken("a text is not UTF-8"))?;
        let start = self.bytes;
        self.bytes += text.len();
        match self.parts.first.get_mut(self.parts.count) {
            Some(place) => {
                *place = text;
                self.parts.count += 1;
            }
            None => self.parts.rest.push(text),
        }
        Ok(Some(start..self.bytes))
    }

    /// The copy.
    pub(super) fn copy(self) -> Copied {
        if self.bytes == 0 {
            return Copied(Bytes::new());
        }
        let parts = self.parts.first[..self.parts.count].iter().chain(&self.parts.rest);
        if self.bytes <= Inline::MAX {
            let mut inline = Inline { len: 0, bytes: [0; Inline::MAX] };
            for part in parts {
                inline.bytes[inline.len..inline.len + part.len()].copy_from_slice(part.as_bytes());
                inline.len += part.len();
            }
            return Copied(Bytes::from_owner(inline));
        }
        let mut all = Vec::with_capacity(self.bytes);
        parts.for_each(|part| all.extend_from_slice(part.as_bytes()));
        Copied(Bytes::from_owner(all))
    }
}

/// Texts that live inside the allocation that counts who uses them.
struct Inline {
    len: usize,
    bytes: [u8; Self::MAX],
}

impl Inline {
    const MAX: usize = 240;
}

impl AsRef<[u8]> for Inline {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The texts of a message.
pub(super) struct Copied(Bytes);

impl Copied {
    /// One of them.
    pub(super) fn get(&self, range: Option<Range<usize>>) -> Option<ByteString> {
        let range = range?;
        if range.is_empty() {
            return Some(ByteString::new());
        }
        // SAFETY: `Texts::add` noted whole texts, each checked to be UTF-8, and `copy` put them end to end.
        Some(unsafe { ByteString::from_bytes_unchecked(self.0.slice(range)) })
    }
}
