//! Parameters and results over the boundary: texts lent, buffers handed over.

use super::{
    MAX_MESSAGE_BYTES, MAX_PIECES,
    buffer::{discard, give, take},
    layout::{Buffer, Data as Ffi, PRISM_EMPTY, PRISM_RAW, PRISM_TYPED, Str},
    text::{Broken, Copied, Texts},
};
use crate::{Data, Payload};
use bytestring::ByteString;
use std::{mem::MaybeUninit, ops::Range, ptr};

/// Keeps what an [`Ffi`] points to.
pub(super) struct Outgoing {
    type_url: ByteString,
    /// Nearly every payload is one piece.
    one: MaybeUninit<Buffer>,
    many: Vec<Buffer>,
}

impl Outgoing {
    pub(super) fn new() -> Self {
        Self { type_url: ByteString::new(), one: MaybeUninit::uninit(), many: Vec::new() }
    }

    /// What the other side is told. Its buffers belong to whoever is given this; the rest is lent until the next
    /// use of `self`, which must stay where it is.
    pub(super) fn lend(&mut self, data: Data) -> Ffi {
        let (kind, payload) = match data {
            Data::Empty => return Ffi::EMPTY,
            Data::Typed { type_url, value } => {
                self.type_url = type_url;
                (PRISM_TYPED, value)
            }
            Data::Raw(payload) => {
                self.type_url = ByteString::new();
                (PRISM_RAW, payload)
            }
        };
        let (buffers, count) = self.fill(payload);
        Ffi { kind, type_url: Str::of(self.type_url.as_bytes()), buffers, count }
    }

    fn fill(&mut self, mut payload: Payload) -> (*mut Buffer, usize) {
        if payload.is_empty() {
            return (ptr::null_mut(), 0);
        }
        if payload.is_single() {
            let only = payload.pop().unwrap_or_default();
            return (ptr::from_mut(self.one.write(give(only))), 1);
        }
        // More pieces than may cross would be refused over there; here they can still be gathered.
        if payload.pieces().count() > MAX_PIECES {
            return self.fill(payload.into_bytes().into());
        }
        self.many.clear();
        while let Some(piece) = payload.pop() {
            self.many.push(give(piece));
        }
        (self.many.as_mut_ptr(), self.many.len())
    }
}

/// Data that has come in, its texts not copied yet.
pub(super) struct Incoming {
    kind: u32,
    type_url: Option<Range<usize>>,
    payload: Payload,
}

impl Incoming {
    /// Takes the buffers, and notes the texts. On an error the buffers are given back, where they can be read.
    ///
    /// # Safety
    /// What `data` points to is null or valid, for `'a` where it is text; its buffers are handed over.
    pub(super) unsafe fn read<'a>(data: Ffi, texts: &mut Texts<'a>) -> Result<Self, Broken> {
        // SAFETY: the caller's promise is the same.
        let payload = unsafe { payload(data.buffers, data.count) }?;
        // SAFETY: as above.
        let type_url = unsafe { texts.add(data.type_url) }?;
        match data.kind {
            PRISM_EMPTY | PRISM_RAW | PRISM_TYPED => Ok(Self { kind: data.kind, type_url, payload }),
            _ => Err(Broken("data of an unknown kind")),
        }
    }

    pub(super) fn finish(self, texts: &Copied) -> Data {
        match self.kind {
            PRISM_TYPED => {
                Data::Typed { type_url: texts.get(self.type_url).unwrap_or_default(), value: self.payload }
            }
            PRISM_RAW => Data::Raw(self.payload),
            _ => Data::Empty,
        }
    }
}

/// # Safety
/// Unless null, `buffers` points to `count` buffers, which are handed over.
unsafe fn payload(buffers: *mut Buffer, count: usize) -> Result<Payload, Broken> {
    if count == 0 {
        return Ok(Payload::new());
    }
    if buffers.is_null() {
        return Err(Broken("a null pointer stands for buffers"));
    }
    if count > MAX_PIECES {
        return Err(Broken("more buffers than a message may have"));
    }
    // Looked at as a whole first, so that nothing is read through a length that cannot be.
    let mut total = 0usize;
    let mut problem = None;
    for at in 0..count {
        // SAFETY: `at` is below `count`.
        let buffer = unsafe { &*buffers.add(at) };
        if buffer.data.is_null() && buffer.len > 0 {
            problem = Some("a null pointer stands for bytes");
        }
        total = total.saturating_add(buffer.len);
    }
    if total > MAX_MESSAGE_BYTES {
        problem = Some("a message is longer than any may be (4 GiB)");
    }
    let mut payload = Payload::new();
    for at in 0..count {
        // SAFETY: `at` is below `count`, and each buffer is read once and never looked at again.
        let buffer = unsafe { ptr::read(buffers.add(at)) };
        if problem.is_none() {
            // SAFETY: handed over, and its bytes are as the caller promises.
            payload.push(unsafe { take(buffer) });
        } else {
            // SAFETY: as above; its bytes are not looked at.
            unsafe { discard(buffer) };
        }
    }
    problem.map_or(Ok(payload), |problem| Err(Broken(problem)))
}
