//! gRPC's length-prefixed messages (gRPC over HTTP/2, "Length-Prefixed-Message"): one byte of flags,
//! four bytes of length, the message.

use crate::ProtocolError;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prism_plugin_abi::Payload;
use prism_proto::envelope::{PREFIX_LEN, Prefix, TooLong};
use prost::Message;

/// Cuts a byte stream into messages. Holds no more than what it was given and did not hand out yet.
#[derive(Debug)]
pub struct Deframer {
    buffer: Payload,
    /// The length of the message whose prefix is read already.
    wanted: Option<usize>,
    /// The longest message taken.
    limit: usize,
}

impl Default for Deframer {
    /// Without a limit: for who bounds what it pushes.
    fn default() -> Self {
        Self::with_limit(usize::MAX)
    }
}

impl Deframer {
    /// Refuses messages of more than `limit` bytes, by their prefix: before they are here.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Self { buffer: Payload::new(), wanted: None, limit }
    }

    /// Appends a piece as it arrived.
    pub fn push(&mut self, piece: Bytes) {
        self.buffer.push(piece);
    }

    /// The next whole message without its prefix; `None` until more bytes come.
    ///
    /// # Errors
    /// The message is compressed or too large, or its flags are unknown.
    pub fn next_message(&mut self) -> Result<Option<Payload>, ProtocolError> {
        let wanted = match self.wanted {
            Some(wanted) => wanted,
            None if self.buffer.len() < PREFIX_LEN => return Ok(None),
            None => {
                let wanted = read_prefix(&mut self.buffer)?;
                if wanted > self.limit {
                    return Err(ProtocolError::TooLarge { declared: wanted, limit: self.limit });
                }
                self.wanted = Some(wanted);
                wanted
            }
        };
        if self.buffer.len() < wanted {
            return Ok(None);
        }
        self.wanted = None;
        Ok(Some(self.buffer.split_to(wanted)))
    }

    /// Nothing of a message is left over: the stream may end here.
    #[must_use]
    pub fn is_between_messages(&self) -> bool {
        self.wanted.is_none() && self.buffer.is_empty()
    }
}

/// The length that the next message's prefix announces; `None` while the prefix is not all there.
pub(crate) fn announced(buffer: &Payload) -> Result<Option<usize>, ProtocolError> {
    let mut bytes = [0; PREFIX_LEN];
    let mut have = 0;
    for piece in buffer.pieces() {
        let take = piece.len().min(PREFIX_LEN - have);
        bytes[have..have + take].copy_from_slice(&piece[..take]);
        have += take;
        if have == PREFIX_LEN {
            return length(bytes).map(Some);
        }
    }
    Ok(None)
}

/// Takes the prefix off a body that must be exactly one message.
pub(crate) fn single(mut body: Payload) -> Result<Payload, ProtocolError> {
    if body.len() < PREFIX_LEN {
        return Err(ProtocolError::Truncated { declared: PREFIX_LEN, got: body.len() });
    }
    let declared = read_prefix(&mut body)?;
    match body.len() {
        got if got == declared => Ok(body),
        got if got < declared => Err(ProtocolError::Truncated { declared, got }),
        _ => Err(ProtocolError::Trailing),
    }
}

fn read_prefix(buffer: &mut Payload) -> Result<usize, ProtocolError> {
    let mut bytes = [0; PREFIX_LEN];
    buffer.copy_to_slice(&mut bytes);
    length(bytes)
}

fn length(prefix: [u8; PREFIX_LEN]) -> Result<usize, ProtocolError> {
    let prefix = Prefix::parse(prefix)?;
    if prefix.compressed { Err(ProtocolError::Compressed) } else { Ok(prefix.length as usize) }
}

/// A message of the control methods, framed.
///
/// # Errors
/// [`ProtocolError::TooLong`]
pub fn encode_control(message: &impl Message) -> Result<Bytes, ProtocolError> {
    let length = message.encoded_len();
    let prefix = u32::try_from(length).map_err(|_| TooLong(length))?;
    let mut frame = BytesMut::with_capacity(PREFIX_LEN + length);
    frame.put_slice(&Prefix { compressed: false, length: prefix }.encode());
    message.encode_raw(&mut frame);
    Ok(frame.freeze())
}
