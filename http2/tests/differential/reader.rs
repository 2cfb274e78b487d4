//! The test's own reading of what the client says: where frames end, and what header blocks hold, by a decoder of its own.

use crate::reference::{Raw, Reference};
use std::collections::BTreeSet;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const WITH_PRIORITY: u8 = 0x20;

/// One frame, and what it means.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) is_first_frame: bool,
    /// It comes within another's header block.
    pub(crate) interrupts: bool,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
    /// A header block has begun, and has not ended with this frame.
    pub(crate) is_within: bool,
    /// The header block that ends with it.
    pub(crate) block: Option<Block>,
}

#[derive(Debug)]
pub(crate) struct Block {
    /// It opens its stream.
    pub(crate) is_first: bool,
    /// Nothing follows.
    pub(crate) end: bool,
    /// None: it is no HPACK.
    pub(crate) fields: Option<Vec<Raw>>,
}

pub(crate) struct Reader {
    reference: Reference,
    open: Option<(bool, Vec<u8>)>,
    seen: BTreeSet<u32>,
    last_head: u32,
    is_new: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            reference: Reference::new(4096),
            open: None,
            seen: BTreeSet::new(),
            last_head: 0,
            is_new: true,
        }
    }
}

/// Whole frames, as their lengths say.
pub(crate) fn frames(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let head: &[u8; 9] = bytes.first_chunk()?;
        let whole = 9 + u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (frame, rest) = bytes.split_at_checked(whole)?;
        bytes = rest;
        Some(frame)
    })
}

impl Step {
    /// And no acknowledgement of them.
    pub(crate) fn is_settings(&self) -> bool {
        self.kind == SETTINGS && self.flags & ACK == 0
    }

    /// The client says nothing more on this stream.
    pub(crate) fn ends_stream(&self) -> bool {
        match self.kind {
            DATA => self.flags & END_STREAM != 0,
            RST_STREAM => true,
            _ => self.block.as_ref().is_some_and(|block| block.end),
        }
    }

    /// Sections 6.1 to 6.9.
    pub(crate) fn has_wrong_size(&self) -> bool {
        let length = self.payload.len();
        match self.kind {
            DATA | HEADERS => {
                let padding = usize::from(self.flags & PADDED != 0);
                let priority = if self.kind == HEADERS && self.flags & WITH_PRIORITY != 0 { 5 } else { 0 };
                length < padding + priority
            }
            PRIORITY => length != 5,
            RST_STREAM | WINDOW_UPDATE => length != 4,
            SETTINGS if self.flags & ACK != 0 => length != 0,
            SETTINGS => !length.is_multiple_of(6),
            PING => length != 8,
            GOAWAY => length < 8,
            _ => false,
        }
    }

    /// Of WINDOW_UPDATE.
    pub(crate) fn number(&self) -> Option<u32> {
        self.payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes) & 0x7fff_ffff)
    }

    /// Of PRIORITY, and of HEADERS with its fields.
    pub(crate) fn depends_on_itself(&self) -> bool {
        let at = match self.kind {
            PRIORITY => 0,
            HEADERS if self.flags & WITH_PRIORITY != 0 => usize::from(self.flags & PADDED != 0),
            _ => return false,
        };
        let on = self.payload.get(at..).and_then(|rest| rest.first_chunk());
        on.is_some_and(|on| u32::from_be_bytes(*on) & 0x7fff_ffff == self.stream)
    }
}

impl Reader {
    pub(crate) fn read(&mut self, frame: &[u8]) -> Step {
        let (head, payload) = frame.split_at(9);
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        let mut step = Step {
            is_first_frame: std::mem::take(&mut self.is_new),
            interrupts: self.open.is_some() && (kind != CONTINUATION || self.last_head != stream),
            kind,
            flags,
            stream,
            payload: payload.to_vec(),
            is_within: false,
            block: None,
        };
        match kind {
            HEADERS => {
                self.last_head = stream;
                let fragment = fragment(flags, payload);
                self.open = fragment.map(|fragment| (flags & END_STREAM != 0, fragment.to_vec()));
            }
            CONTINUATION => {
                if let Some((_, block)) = &mut self.open {
                    block.extend(payload);
                }
            }
            _ => {
                step.is_within = self.open.is_some();
                return step;
            }
        }
        if flags & END_HEADERS == 0 {
            step.is_within = true;
        } else if let Some((end, block)) = self.open.take() {
            let fields = self.reference.decode(&block);
            step.block = Some(Block { is_first: self.seen.insert(stream), end, fields });
        }
        step
    }
}

/// A frame's part of the block: without padding and priority.
fn fragment(flags: u8, payload: &[u8]) -> Option<&[u8]> {
    let mut rest = payload;
    let mut padding = 0;
    if flags & PADDED != 0 {
        padding = usize::from(*rest.split_off_first()?);
    }
    if flags & WITH_PRIORITY != 0 {
        rest = rest.get(5..)?;
    }
    rest.get(..rest.len().checked_sub(padding)?)
}
