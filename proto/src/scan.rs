//! Reads the operation's name out of a passing `ExecuteRequest` or `StreamRequest`, and checks every
//! top-level field on the way, without decoding or keeping the payload.
//!
//! Protobuf lets a later duplicate of a field win. Whoever authorizes a call by the first `operation` it
//! sees must therefore know that there is no second one, or a caller is authorized for one operation and
//! runs another. So the whole message is walked:
//!
//! * `operation`, `typed_params` and `raw_params` occur at most once each, and only one of the two params
//!   (`metadata` is a map and repeats by nature);
//! * the known fields are length-delimited, tags are well-formed, and no length points past the message;
//! * the operation is UTF-8 of at most [`MAX_OPERATION`] bytes, and complete within the first
//!   [`OPERATION_WITHIN`] bytes (in a stream's later messages anywhere, see [`Scanner::later`]);
//! * groups and undefined wire types are refused; other unknown fields are skipped, and may repeat: they
//!   mean nothing to a reader of this protocol, and a later version's repeated field must pass.
//!
//! [`scan_whole`] is for a message in one slice; [`Scanner`] takes it in pieces, split anywhere. Both give
//! the same answer, and the same error, for the same bytes.

#[cfg(test)]
mod tests;

/// The longest name of an operation, in bytes. Real ones have a dozen; the bound keeps what a scanner
/// holds small.
pub const MAX_OPERATION: usize = 256;

/// The operation must be complete within this many bytes. Nobody can be authorized before it is known,
/// so this bounds what is read on behalf of a caller who may have no right to send anything.
pub const OPERATION_WITHIN: usize = 64 * 1024;

/// Why a message is refused. All of these are the sender's fault: `INVALID_ARGUMENT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// A tag names field 0, which does not exist.
    #[error("malformed message: a tag names field number 0")]
    FieldZero,
    /// A tag is longer than five bytes or exceeds 32 bits.
    #[error("malformed message: a tag exceeds 32 bits")]
    TagRange,
    /// A wire type that is undefined, or a group.
    #[error("malformed message: field {field} has wire type {wire_type}, a group or undefined")]
    WireType {
        /// The field's number.
        field: u32,
        /// Its wire type: 3, 4, 6 or 7.
        wire_type: u8,
    },
    /// A known field that is not length-delimited.
    #[error("malformed message: `{}` has wire type {wire_type}, not 2 (length-delimited)", name(*.field))]
    NotLengthDelimited {
        /// The field's number.
        field: u32,
        /// Its wire type.
        wire_type: u8,
    },
    /// A varint is longer than ten bytes or exceeds 64 bits.
    #[error("malformed message: a varint exceeds 64 bits")]
    Varint,
    /// The message ends within a field, or a field's length points past the end.
    #[error("truncated message: a field reaches past the end of the message")]
    Truncated,
    /// A field that may occur once occurs again.
    #[error("`{}` is given twice; a field of the request may be given once", name(*.field))]
    Duplicate {
        /// The field's number.
        field: u32,
    },
    /// Both `typed_params` and `raw_params`.
    #[error("params are given twice: `typed_params` and `raw_params` exclude each other")]
    ParamsTwice,
    /// The operation's name is too long.
    #[error("the operation's name has {length} bytes, the most is {MAX_OPERATION}")]
    OperationTooLong {
        /// Its length in bytes.
        length: u64,
    },
    /// The operation's name is not text.
    #[error("the operation's name is not UTF-8")]
    OperationNotUtf8,
    /// The operation is not complete within [`OPERATION_WITHIN`] bytes.
    #[error("the operation is not within the first {OPERATION_WITHIN} bytes of the message; send it first")]
    OperationHidden,
    /// More bytes were pushed than the message was said to have.
    #[error("the message is longer than its length prefix says")]
    Excess,
}

fn name(field: u32) -> &'static str {
    match field {
        OPERATION => "operation",
        TYPED_PARAMS => "typed_params",
        RAW_PARAMS => "raw_params",
        _ => "metadata",
    }
}

const OPERATION: u32 = crate::envelope::field::request::OPERATION;
const TYPED_PARAMS: u32 = crate::envelope::field::request::TYPED_PARAMS;
const RAW_PARAMS: u32 = crate::envelope::field::request::RAW_PARAMS;
const METADATA: u32 = crate::envelope::field::request::METADATA;

const LENGTH_DELIMITED: u8 = 2;

/// What follows a tag.
enum Follows {
    Varint,
    Fixed(usize),
    Length { operation: bool },
}

/// Which of the fields that may occur once have occurred.
#[derive(Clone, Copy, Debug, Default)]
struct Seen(u8);

impl Seen {
    fn field(&mut self, tag: u32) -> Result<Follows, ScanError> {
        let (field, wire_type) = (tag >> 3, (tag & 7) as u8);
        match field {
            0 => return Err(ScanError::FieldZero),
            OPERATION..=METADATA if wire_type != LENGTH_DELIMITED => {
                return Err(if matches!(wire_type, 0 | 1 | 5) {
                    ScanError::NotLengthDelimited { field, wire_type }
                } else {
                    ScanError::WireType { field, wire_type }
                });
            }
            OPERATION | TYPED_PARAMS | RAW_PARAMS => {
                let bit = 1 << field;
                if self.0 & bit != 0 {
                    return Err(ScanError::Duplicate { field });
                }
                self.0 |= bit;
                let params = (1 << TYPED_PARAMS) | (1 << RAW_PARAMS);
                if self.0 & params == params {
                    return Err(ScanError::ParamsTwice);
                }
            }
            _ => {}
        }
        match wire_type {
            0 => Ok(Follows::Varint),
            1 => Ok(Follows::Fixed(8)),
            2 => Ok(Follows::Length { operation: field == OPERATION }),
            5 => Ok(Follows::Fixed(4)),
            _ => Err(ScanError::WireType { field, wire_type }),
        }
    }
}

/// A varint that is being read.
#[derive(Clone, Copy, Debug, Default)]
struct Varint {
    value: u64,
    shift: u32,
}

impl Varint {
    /// Takes one more byte; the value when it was the last.
    #[inline]
    fn byte(&mut self, byte: u8) -> Result<Option<u64>, ScanError> {
        // The tenth byte holds the 64th bit alone.
        if self.shift == 63 && byte > 1 {
            return Err(ScanError::Varint);
        }
        self.value |= u64::from(byte & 0x7f) << self.shift;
        self.shift += 7;
        Ok((byte < 0x80).then_some(self.value))
    }

    /// The same for a tag: five bytes, 32 bits.
    #[inline]
    fn tag_byte(&mut self, byte: u8) -> Result<Option<u32>, ScanError> {
        if self.shift == 28 && byte > 0x0f {
            return Err(ScanError::TagRange);
        }
        #[allow(clippy::cast_possible_truncation)] // five bytes, the last at most 15
        Ok(self.byte(byte)?.map(|tag| tag as u32))
    }
}

/// How many bytes a field's value has, checked against what is left of the message.
fn value_length(length: u64, operation: bool, remaining: usize) -> Result<usize, ScanError> {
    if operation && length > MAX_OPERATION as u64 {
        return Err(ScanError::OperationTooLong { length });
    }
    usize::try_from(length).ok().filter(|length| *length <= remaining).ok_or(ScanError::Truncated)
}

/// The name of the operation in a message that is at hand in one slice; `None` when it names none.
/// An empty name that is given is `Some("")`.
///
/// # Errors
/// [`ScanError`], by the rules of this [module](self).
pub fn scan_whole(message: &[u8]) -> Result<Option<&str>, ScanError> {
    let mut seen = Seen::default();
    let mut operation = None;
    let mut at = 0;
    while at < message.len() {
        let hidden_from = if operation.is_some() { usize::MAX } else { OPERATION_WITHIN };
        let mut next = || {
            let byte = *message.get(at).ok_or(ScanError::Truncated)?;
            if at >= hidden_from {
                return Err(ScanError::OperationHidden);
            }
            at += 1;
            Ok(byte)
        };
        let mut tag = Varint::default();
        let tag = loop {
            if let Some(tag) = tag.tag_byte(next()?)? {
                break tag;
            }
        };
        let follows = seen.field(tag)?;
        let (length, is_operation) = match follows {
            Follows::Fixed(length) => (length as u64, false),
            Follows::Varint | Follows::Length { .. } => {
                let mut varint = Varint::default();
                let value = loop {
                    if let Some(value) = varint.byte(next()?)? {
                        break value;
                    }
                };
                match follows {
                    Follows::Length { operation } => (value, operation),
                    _ => continue,
                }
            }
        };
        let end = at + value_length(length, is_operation, message.len() - at)?;
        if end > hidden_from {
            return Err(ScanError::OperationHidden);
        }
        if is_operation {
            operation =
                Some(std::str::from_utf8(&message[at..end]).map_err(|_| ScanError::OperationNotUtf8)?);
        }
        at = end;
    }
    Ok(operation)
}

/// Scans a message that passes in pieces. Holds the operation's name and a few numbers, never payload.
#[derive(Debug)]
pub struct Scanner {
    message_len: usize,
    /// By where the operation must be complete, if it is given.
    operation_within: usize,
    /// Bytes seen.
    at: usize,
    seen: Seen,
    state: State,
    /// Filled by [`State::Operation`].
    name: Vec<u8>,
    operation: Option<String>,
    failed: Option<ScanError>,
}

#[derive(Debug)]
enum State {
    Tag(Varint),
    /// An unknown field's value, of no interest.
    Varint(Varint),
    Length {
        varint: Varint,
        operation: bool,
    },
    Skip {
        left: usize,
    },
    Operation {
        left: usize,
    },
}

impl Scanner {
    /// For a message of this many bytes, as the gRPC length prefix says.
    #[must_use]
    pub fn new(message_len: usize) -> Self {
        Self::within(message_len, OPERATION_WITHIN)
    }

    /// For a later message of a stream. Its operation is fixed and its caller authorized, so the message may leave
    /// it out, and is not held to name it early: protobuf omits an empty name, which would make every later message
    /// of more than [`OPERATION_WITHIN`] bytes an error.
    #[must_use]
    pub fn later(message_len: usize) -> Self {
        Self::within(message_len, usize::MAX)
    }

    fn within(message_len: usize, operation_within: usize) -> Self {
        Self {
            message_len,
            operation_within,
            at: 0,
            seen: Seen::default(),
            state: State::Tag(Varint::default()),
            name: Vec::new(),
            operation: None,
            failed: None,
        }
    }

    /// Takes the next piece of the message.
    ///
    /// # Errors
    /// [`ScanError`], by the rules of this [module](self), as soon as the bytes so far break one; and from
    /// then on always the same.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ScanError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let pushed = self.advance(bytes);
        self.failed = pushed.err();
        pushed
    }

    /// The operation's name, as soon as its field was read completely. `None` until then, and for a message
    /// that names none. An empty name that is given is `Some("")`.
    ///
    /// That the name is known does not mean that the message is sound: a second one may follow, and is an
    /// error of a later [`push`](Self::push).
    #[must_use]
    pub fn operation(&self) -> Option<&str> {
        self.operation.as_deref()
    }

    /// Bytes of the message that were not pushed yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.message_len - self.at
    }

    /// The operation's name, at the end of the message; `None` when it names none.
    ///
    /// # Errors
    /// [`ScanError::Truncated`] when bytes are missing; the error of an earlier [`push`](Self::push).
    pub fn finish(self) -> Result<Option<String>, ScanError> {
        match self.failed {
            Some(error) => Err(error),
            None if self.at < self.message_len => Err(ScanError::Truncated),
            None => Ok(self.operation),
        }
    }

    fn advance(&mut self, mut bytes: &[u8]) -> Result<(), ScanError> {
        let excess = bytes.len() > self.remaining();
        if excess {
            bytes = &bytes[..self.remaining()];
        }
        while let Some((&byte, _)) = bytes.split_first() {
            let taken = match &mut self.state {
                State::Skip { left } => {
                    let taken = bytes.len().min(*left);
                    *left -= taken;
                    taken
                }
                State::Operation { left } => {
                    let taken = bytes.len().min(*left);
                    *left -= taken;
                    self.name.extend_from_slice(&bytes[..taken]);
                    taken
                }
                State::Tag(_) | State::Varint(_) | State::Length { .. } => {
                    if self.operation.is_none() && self.at >= self.operation_within {
                        return Err(ScanError::OperationHidden);
                    }
                    1
                }
            };
            self.at += taken;
            bytes = &bytes[taken..];
            self.step(byte)?;
        }
        if excess {
            return Err(ScanError::Excess);
        }
        // Skips are checked against the end when they begin; only a varint can be cut off here.
        let between_fields = matches!(self.state, State::Tag(Varint { shift: 0, .. }));
        if self.at == self.message_len && !between_fields { Err(ScanError::Truncated) } else { Ok(()) }
    }

    /// Takes one byte of a number, or notices that a skip has ended.
    fn step(&mut self, byte: u8) -> Result<(), ScanError> {
        match &mut self.state {
            State::Tag(varint) => {
                if let Some(tag) = varint.tag_byte(byte)? {
                    match self.seen.field(tag)? {
                        Follows::Varint => self.state = State::Varint(Varint::default()),
                        Follows::Fixed(length) => self.value(length as u64, false)?,
                        Follows::Length { operation } => {
                            self.state = State::Length { varint: Varint::default(), operation };
                        }
                    }
                }
            }
            State::Varint(varint) => {
                if varint.byte(byte)?.is_some() {
                    self.state = State::Tag(Varint::default());
                }
            }
            State::Length { varint, operation } => {
                let operation = *operation;
                if let Some(length) = varint.byte(byte)? {
                    self.value(length, operation)?;
                }
            }
            State::Skip { left: 0 } => self.state = State::Tag(Varint::default()),
            State::Operation { left: 0 } => self.operation_ends()?,
            State::Skip { .. } | State::Operation { .. } => {}
        }
        Ok(())
    }

    /// A value of this many bytes begins here.
    fn value(&mut self, length: u64, operation: bool) -> Result<(), ScanError> {
        let length = value_length(length, operation, self.remaining())?;
        if self.operation.is_none() && self.at + length > self.operation_within {
            return Err(ScanError::OperationHidden);
        }
        self.state = match (operation, length) {
            (true, left) => State::Operation { left },
            (false, 0) => State::Tag(Varint::default()),
            (false, left) => State::Skip { left },
        };
        if operation && length == 0 { self.operation_ends() } else { Ok(()) }
    }

    fn operation_ends(&mut self) -> Result<(), ScanError> {
        let name = std::mem::take(&mut self.name);
        self.operation = Some(String::from_utf8(name).map_err(|_| ScanError::OperationNotUtf8)?);
        self.state = State::Tag(Varint::default());
        Ok(())
    }
}
