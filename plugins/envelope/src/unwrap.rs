//! Answers taken out of their envelopes as they arrive: the result's own bytes, in the pieces that they came in, without
//! what stands around them.
//!
//! An answer is decided before anything of it is handed out. Where the outcome stands before the result, as every encoder
//! writes it, the result streams on from there and is never held whole; what follows it is checked, because by then
//! nothing can be taken back. In any other order the message is collected first.

use crate::{
    ProtocolError, framing,
    reply::{Fields, Layout, STREAM, UNARY, decode},
};
use bytes::{Buf, Bytes};
use bytestring::ByteString;
use prism_plugin_abi::{Data, Error, Payload};
use prism_proto::envelope::{PREFIX_LEN, Prefix, field::any};
use std::ops::Range;

/// The result that is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A message of this type, by its URL. A message that is not there is an empty one, as protobuf has it.
    Typed(ByteString),
    /// Whatever comes, or nothing.
    Any,
}

impl Expected {
    /// The URL that its type must have.
    fn type_url(&self) -> Option<&str> {
        match self {
            Self::Typed(type_url) => Some(type_url),
            Self::Any => None,
        }
    }
}

/// What an answer turns out to be, piece by piece.
#[derive(Debug)]
pub enum Event {
    /// A result of so many bytes begins.
    Begin {
        /// Its length.
        length: usize,
        /// It is a message, and not raw bytes.
        typed: bool,
    },
    /// Bytes of it.
    Piece(Bytes),
    /// It is over, and so is the message around it; whatever followed it agrees with it. Without a [`Event::Begin`]
    /// before it, the message had no result.
    End {
        /// The plugin says that no other message follows.
        is_final: bool,
    },
    /// The operation failed.
    Failed(Error),
}

/// The most that may follow a result in its message: the plugin's metrics, some hundred bytes.
const MOST_AFTER_RESULT: usize = 64 << 10;

/// What stands before a result that streams: two fields' tags and lengths, and a type's URL.
const MOST_BEFORE_RESULT: usize = 1024;

enum State {
    Head,
    /// The result, and what follows it in the message.
    Result {
        remaining: usize,
        after: usize,
    },
    After {
        remaining: usize,
        kept: Payload,
    },
    /// All of it was here before anything was handed out.
    Whole {
        result: Payload,
        is_final: bool,
    },
    /// Nothing may follow.
    Over,
}

/// The result, a message of the type with this URL, in a unary answer that is here as a whole, in one piece, and written as every encoder writes it: which is
/// nearly every answer. Of any other `None`, for [`Unwrap`] to look at.
#[must_use]
pub fn result_of(answer: &[u8], type_url: &str) -> Option<Range<usize>> {
    let prefix = answer.first_chunk::<PREFIX_LEN>()?;
    let length = answer.len() - PREFIX_LEN;
    if Prefix::parse(*prefix) != Ok(Prefix { compressed: false, length: u32::try_from(length).ok()? }) {
        return None;
    }
    let head = read_head(&answer[PREFIX_LEN..], length, &UNARY, Some(type_url))?;
    let begin = PREFIX_LEN + head.skip;
    (head.skip + head.length == length).then_some(begin..answer.len())
}

/// Takes messages out of their envelopes.
pub struct Unwrap {
    layout: &'static Layout,
    expected: Expected,
    buffer: Payload,
    state: State,
}

impl Unwrap {
    /// Of an `ExecuteResponse`.
    #[must_use]
    pub fn unary(expected: Expected) -> Self {
        Self::new(&UNARY, expected)
    }

    /// Of `StreamResponse`s.
    #[must_use]
    pub fn stream(expected: Expected) -> Self {
        Self::new(&STREAM, expected)
    }

    fn new(layout: &'static Layout, expected: Expected) -> Self {
        Self { layout, expected, buffer: Payload::new(), state: State::Head }
    }

    /// More of the answer, gRPC's length prefixes included, cut anywhere.
    pub fn push(&mut self, piece: Bytes) {
        self.buffer.push(piece);
    }

    /// What can be said now; `None` until there is more.
    ///
    /// # Errors
    /// The answer breaks the protocol. What was handed out of it must not be taken for an answer.
    pub fn next_event(&mut self) -> Result<Option<Event>, ProtocolError> {
        loop {
            match &mut self.state {
                State::Head => {
                    let Some(length) = framing::announced(&self.buffer)? else { return Ok(None) };
                    if self.buffer.len() >= PREFIX_LEN + length {
                        self.buffer.advance(PREFIX_LEN);
                        let message = self.buffer.split_to(length);
                        return self.whole(message).map(Some);
                    }
                    let Some(head) = self.head(length) else { return Ok(None) };
                    self.buffer.advance(PREFIX_LEN + head.skip);
                    let after = length - head.skip - head.length;
                    if after > MOST_AFTER_RESULT {
                        return Err(self.contradiction("too much follows its result"));
                    }
                    self.state = State::Result { remaining: head.length, after };
                    return Ok(Some(Event::Begin { length: head.length, typed: head.typed }));
                }
                State::Result { remaining: 0, after } => {
                    self.state = State::After { remaining: *after, kept: Payload::new() };
                }
                State::Result { remaining, .. } => {
                    let Some(piece) = take(&mut self.buffer, *remaining) else { return Ok(None) };
                    *remaining -= piece.len();
                    return Ok(Some(Event::Piece(piece)));
                }
                State::After { remaining, kept } => {
                    while *remaining > 0 {
                        let Some(piece) = take(&mut self.buffer, *remaining) else { return Ok(None) };
                        *remaining -= piece.len();
                        kept.push(piece);
                    }
                    let kept = std::mem::take(kept);
                    self.state = self.between();
                    let is_final = self.check_after(kept)?;
                    return Ok(Some(Event::End { is_final }));
                }
                State::Whole { result, is_final } => {
                    if let Some(piece) = result.pop() {
                        return Ok(Some(Event::Piece(piece)));
                    }
                    let is_final = *is_final;
                    self.state = self.between();
                    return Ok(Some(Event::End { is_final }));
                }
                State::Over if self.buffer.is_empty() => return Ok(None),
                State::Over => return Err(ProtocolError::Trailing),
            }
        }
    }

    /// After a message: a unary answer is one.
    fn between(&self) -> State {
        if self.layout.has_success() { State::Over } else { State::Head }
    }

    /// The answer has ended.
    ///
    /// # Errors
    /// It ended inside a message.
    pub fn finish(&self) -> Result<(), ProtocolError> {
        match &self.state {
            State::Head if self.buffer.is_empty() => Ok(()),
            State::Head => {
                let declared = framing::announced(&self.buffer)?.unwrap_or(0) + PREFIX_LEN;
                Err(ProtocolError::Truncated { declared, got: self.buffer.len() })
            }
            State::Result { remaining, .. } | State::After { remaining, .. } => {
                Err(ProtocolError::Truncated { declared: *remaining, got: self.buffer.len() })
            }
            State::Over if !self.buffer.is_empty() => Err(ProtocolError::Trailing),
            State::Whole { .. } | State::Over => Ok(()),
        }
    }

    /// Decides a message that is all here.
    fn whole(&mut self, message: Payload) -> Result<Event, ProtocolError> {
        let fields = decode(self.layout, message)?;
        let is_final = fields.is_final(self.layout);
        let data = match fields.outcome(self.layout) {
            Ok(data) => data,
            Err(error) => return Ok(Event::Failed(error)),
        };
        let result = match (&self.expected, data) {
            (Expected::Typed(expected), Data::Typed { type_url, value }) if *expected == type_url => value,
            (Expected::Any, Data::Typed { value, .. }) => {
                return Ok(self.begin(value, true, is_final));
            }
            (Expected::Any, Data::Raw(value)) => return Ok(self.begin(value, false, is_final)),
            // The last word of a stream may be that it was the last one.
            (_, Data::Empty) if is_final => return Ok(Event::End { is_final }),
            (Expected::Any, Data::Empty) => return Ok(self.begin(Payload::new(), false, is_final)),
            (Expected::Typed(expected), other) => {
                let got = match other {
                    Data::Typed { type_url, .. } => type_url,
                    Data::Raw(_) => ByteString::from_static("raw bytes"),
                    Data::Empty => ByteString::from_static("none"),
                };
                return Err(ProtocolError::OtherResult { expected: expected.clone(), got });
            }
        };
        Ok(self.begin(result, true, is_final))
    }

    fn begin(&mut self, result: Payload, typed: bool, is_final: bool) -> Event {
        let length = result.len();
        self.state = State::Whole { result, is_final };
        Event::Begin { length, typed }
    }

    /// What stands before a result that can be streamed; `None` if that cannot be said, or is not so.
    fn head(&self, length: usize) -> Option<Head> {
        let mut bytes = [0; MOST_BEFORE_RESULT];
        let mut have = 0;
        for piece in self.buffer.pieces() {
            let take = piece.len().min(bytes.len() - have);
            bytes[have..have + take].copy_from_slice(&piece[..take]);
            have += take;
        }
        read_head(bytes.get(PREFIX_LEN..have)?, length, self.layout, self.expected.type_url())
    }

    /// What follows a result that was handed out already: nothing that says otherwise.
    fn check_after(&self, after: Payload) -> Result<bool, ProtocolError> {
        let fields = decode(self.layout, after)?;
        if fields.says_anything(self.layout) {
            return Err(self.contradiction("it contradicts itself after its result"));
        }
        Ok(fields.is_final(self.layout))
    }

    fn contradiction(&self, problem: &'static str) -> ProtocolError {
        ProtocolError::Malformed { message: self.layout.name, problem }
    }
}

/// The next piece, of at most so many bytes.
fn take(buffer: &mut Payload, most: usize) -> Option<Bytes> {
    let length = buffer.chunk().len().min(most);
    (length > 0).then(|| buffer.split_to(length).into_bytes())
}

struct Head {
    skip: usize,
    length: usize,
    typed: bool,
}

/// What stands before a result in a message of this length, of which at least the beginning is here; `None` if that cannot
/// be said, or is in another order.
fn read_head(bytes: &[u8], length: usize, layout: &Layout, expected: Option<&str>) -> Option<Head> {
    let mut at = Cursor { bytes, at: 0 };
    if layout.has_success() && (at.varint()? != tag(layout.flag, 0) || at.varint()? != 1) {
        return None;
    }
    let field = at.varint()?;
    let (typed, inner) = (field == tag(layout.typed, 2), at.length()?);
    let end = at.at.checked_add(inner)?;
    let length_of_result = if typed {
        if at.varint()? != tag(any::TYPE_URL, 2) {
            return None;
        }
        let url_length = at.length()?;
        let url = at.take(url_length)?;
        if expected.is_some_and(|expected| expected.as_bytes() != url) || at.varint()? != tag(any::VALUE, 2) {
            return None;
        }
        // A value that is not the last of its `Any` is for the decoder.
        at.length().filter(|length| at.at.checked_add(*length) == Some(end))?
    } else if field == tag(layout.raw, 2) && expected.is_none() {
        inner
    } else {
        return None;
    };
    // A length that lies is for the decoder to refuse.
    (end <= length).then_some(Head { skip: at.at, length: length_of_result, typed })
}

fn tag(field: u32, wire_type: u32) -> u64 {
    u64::from(field << 3 | wire_type)
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn varint(&mut self) -> Option<u64> {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(value);
            }
            shift += 7;
        }
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.varint()?).ok()
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }
}

impl Fields {
    fn is_final(&self, layout: &Layout) -> bool {
        !layout.has_success() && self.flag.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests;
