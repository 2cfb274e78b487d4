//! Bytes to frames, without I/O.

use crate::{
    OpenHead, ProtocolError,
    control::{CancelReason, GoAway, Settings},
    end::End,
    frame::Frame,
    wire::{Fields, HALF_CLOSE, HEADER, Header, Kind, MAX_CONTROL, MAX_HEAD},
};
use bytes::{Buf, Bytes, BytesMut};

#[cfg(test)]
mod tests;

/// Payloads up to this size are copied out of the read buffer; larger ones are slices that keep it alive. A slice
/// may then cost at most sixteen times its size (a read buffer has 64 KiB), and a copy at most 0.1 µs.
/// Frames up to this size come whole, and larger ones in pieces no smaller than it.
pub const COPY: usize = 4 << 10;

/// An incremental decoder. It never holds more than it was given, and asks for at most a head's worth of bytes
/// before it gives something back.
#[derive(Debug)]
pub struct Decoder {
    max_frame: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    Header,
    /// In the body of a large frame.
    Body {
        call: u32,
        left: usize,
        then: Then,
    },
    /// In a frame of a kind that is not known.
    Skip(usize),
}

/// Where frames go, one method per kind that has a body: a frame as a value is moved too often for what it is.
pub(crate) trait Sink {
    fn open(&mut self, call: u32, head: OpenHead, data: Bytes, last: bool) -> Result<(), ProtocolError>;
    fn data(&mut self, call: u32, data: Bytes, last: bool) -> Result<(), ProtocolError>;
    fn end(&mut self, call: u32, end: End, data: Bytes) -> Result<(), ProtocolError>;
    fn other(&mut self, frame: Frame) -> Result<(), ProtocolError>;
}

/// One frame.
struct One(Option<Frame>);

impl Sink for One {
    fn open(&mut self, call: u32, head: OpenHead, data: Bytes, last: bool) -> Result<(), ProtocolError> {
        self.other(Frame::Open { call, head, data, last })
    }

    fn data(&mut self, call: u32, data: Bytes, last: bool) -> Result<(), ProtocolError> {
        self.other(Frame::Data { call, data, last })
    }

    fn end(&mut self, call: u32, end: End, data: Bytes) -> Result<(), ProtocolError> {
        self.other(Frame::End { call, end, data })
    }

    fn other(&mut self, frame: Frame) -> Result<(), ProtocolError> {
        self.0 = Some(frame);
        Ok(())
    }
}

/// What follows the last byte of a large frame's body.
#[derive(Debug)]
enum Then {
    More,
    HalfClose,
    End(Box<End>),
}

impl Decoder {
    /// Accepts payloads up to `max_frame` bytes.
    #[must_use]
    pub fn new(max_frame: u32) -> Self {
        Self { max_frame, state: State::Header }
    }

    /// Whether the next byte begins a frame.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        matches!(self.state, State::Header)
    }

    /// Takes the next frame, or the next piece of a large one, off the front of `input`; `None` when more bytes
    /// are needed.
    ///
    /// # Errors
    /// [`ProtocolError`]: the peer is not to be understood any further. The decoder must not be used again.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
        let mut one = One(None);
        while one.0.is_none() && self.step(input, &mut one)? {}
        Ok(one.0)
    }

    /// Gives the next frame, or the next piece of a large one, to `sink`, or begins to skip an unknown one; `false`
    /// when more bytes are needed.
    #[inline]
    pub(crate) fn step<S: Sink>(
        &mut self,
        input: &mut BytesMut,
        sink: &mut S,
    ) -> Result<bool, ProtocolError> {
        match self.state {
            State::Header => {}
            State::Body { .. } => return self.body(input, sink),
            State::Skip(_) => {
                if !self.skip(input) {
                    return Ok(false);
                }
            }
        }
        let Some((header, rest)) = input.split_first_chunk::<HEADER>() else { return Ok(false) };
        let header = Header::decode(*header);
        let length = header.length as usize;
        match Kind::from_number(header.kind) {
            Some(kind @ (Kind::Open | Kind::Data | Kind::End)) => {
                self.check_length(kind.name(), header.length, self.max_frame)?;
                if rest.len() >= length {
                    Self::whole(kind, header, length, input, sink)?;
                    return Ok(true);
                }
                if length <= COPY {
                    return Ok(false);
                }
                self.begin_large(kind, header, input, sink)
            }
            Some(kind) => {
                self.check_length(kind.name(), header.length, MAX_CONTROL)?;
                let Some(payload) = rest.get(..length) else { return Ok(false) };
                let frame = control(kind, header.call, payload)?;
                input.advance(HEADER + length);
                sink.other(frame)?;
                Ok(true)
            }
            None => {
                self.check_length("unknown", header.length, self.max_frame)?;
                input.advance(HEADER);
                self.state = State::Skip(length);
                Ok(true)
            }
        }
    }

    /// Skips what is here of an unknown frame; `true` at its end.
    fn skip(&mut self, input: &mut BytesMut) -> bool {
        if let State::Skip(left) = &mut self.state {
            let skipped = (*left).min(input.len());
            input.advance(skipped);
            *left -= skipped;
            if *left > 0 {
                return false;
            }
        }
        self.state = State::Header;
        true
    }

    fn check_length(&self, kind: &'static str, length: u32, max: u32) -> Result<(), ProtocolError> {
        if length > max { Err(ProtocolError::TooLarge { kind, length, max }) } else { Ok(()) }
    }

    /// A frame that is here as a whole.
    #[inline]
    fn whole<S: Sink>(
        kind: Kind,
        header: Header,
        length: usize,
        input: &mut BytesMut,
        sink: &mut S,
    ) -> Result<(), ProtocolError> {
        let call = header.call;
        let last = header.flags & HALF_CLOSE != 0;
        match kind {
            Kind::Data => {
                input.advance(HEADER);
                sink.data(call, take(input, length), last)
            }
            Kind::Open => {
                input.advance(HEADER);
                let (head, data) = if length <= COPY {
                    // Head and data share one buffer, so that one allocation serves both.
                    let mut payload = take(input, length);
                    let head_length = head_length(&payload, kind)?;
                    payload.advance(2);
                    if payload.len() < head_length {
                        return Err(kind.malformed());
                    }
                    (payload.split_to(head_length), payload)
                } else {
                    // A call's context lives as long as the call and must not keep the read buffer.
                    let head_length = head_length(input, kind)?;
                    if 2 + head_length > length {
                        return Err(kind.malformed());
                    }
                    let head = Bytes::copy_from_slice(&input[2..2 + head_length]);
                    input.advance(2 + head_length);
                    (head, take(input, length - 2 - head_length))
                };
                sink.open(call, OpenHead::decode(&head)?, data, last)
            }
            _ => {
                let payload = &input[HEADER..HEADER + length];
                let head_length = head_length(payload, kind)?;
                let head = payload.get(2..2 + head_length).ok_or(kind.malformed())?;
                let end = End::decode(head)?;
                input.advance(HEADER + 2 + head_length);
                sink.end(call, end, take(input, length - 2 - head_length))
            }
        }
    }

    /// A large frame of which only the beginning is here.
    fn begin_large<S: Sink>(
        &mut self,
        kind: Kind,
        header: Header,
        input: &mut BytesMut,
        sink: &mut S,
    ) -> Result<bool, ProtocolError> {
        let (call, length) = (header.call, header.length as usize);
        let then = if header.flags & HALF_CLOSE != 0 { Then::HalfClose } else { Then::More };
        if kind == Kind::Data {
            input.advance(HEADER);
            self.state = State::Body { call, left: length, then };
            return self.body(input, sink);
        }
        let Some(payload) = input.get(HEADER..) else { return Ok(false) };
        if payload.len() < 2 {
            return Ok(false);
        }
        let head_length = head_length(payload, kind)?;
        if 2 + head_length > length {
            return Err(kind.malformed());
        }
        let Some(head) = payload.get(2..2 + head_length) else { return Ok(false) };
        let left = length - 2 - head_length;
        if kind == Kind::End {
            let end = Box::new(End::decode(head)?);
            input.advance(HEADER + 2 + head_length);
            self.state = State::Body { call, left, then: Then::End(end) };
            return self.body(input, sink);
        }
        let head = OpenHead::decode(&Bytes::copy_from_slice(head))?;
        input.advance(HEADER + 2 + head_length);
        let last = left == 0 && matches!(then, Then::HalfClose);
        self.state = if left == 0 { State::Header } else { State::Body { call, left, then } };
        sink.open(call, head, Bytes::new(), last)?;
        Ok(true)
    }

    /// The next piece of a large frame's body.
    fn body<S: Sink>(&mut self, input: &mut BytesMut, sink: &mut S) -> Result<bool, ProtocolError> {
        let State::Body { call, left, then } = &mut self.state else { return Ok(false) };
        let here = (*left).min(input.len());
        if here < (*left).min(COPY) {
            return Ok(false);
        }
        let data = take(input, here);
        *left -= here;
        let call = *call;
        if *left > 0 {
            sink.data(call, data, false)?;
            return Ok(true);
        }
        let then = std::mem::replace(then, Then::More);
        self.state = State::Header;
        match then {
            Then::More => sink.data(call, data, false)?,
            Then::HalfClose => sink.data(call, data, true)?,
            Then::End(end) => sink.end(call, *end, data)?,
        }
        Ok(true)
    }
}

/// The length of an OPEN's or END's head.
fn head_length(payload: &[u8], kind: Kind) -> Result<usize, ProtocolError> {
    let length = usize::from(Fields(payload).u16().ok_or(kind.malformed())?);
    if length > MAX_HEAD { Err(kind.malformed()) } else { Ok(length) }
}

/// Takes bytes that are there off the front.
fn take(input: &mut BytesMut, length: usize) -> Bytes {
    if length == 0 {
        return Bytes::new();
    }
    if length > COPY {
        return input.split_to(length).freeze();
    }
    let copy = Bytes::copy_from_slice(&input[..length]);
    input.advance(length);
    copy
}

fn control(kind: Kind, call: u32, payload: &[u8]) -> Result<Frame, ProtocolError> {
    let mut fields = Fields(payload);
    let eight = || payload.first_chunk::<8>().copied().ok_or(kind.malformed());
    Ok(match kind {
        Kind::Settings => Frame::Settings(Settings::decode(payload)?),
        Kind::Credit => Frame::Credit { call, bytes: fields.u32().ok_or(kind.malformed())? },
        Kind::Cancel => {
            let reason = CancelReason::from_number(fields.u8().ok_or(kind.malformed())?);
            Frame::Cancel { call, reason }
        }
        Kind::GoAway => Frame::GoAway(GoAway::decode(payload)?),
        Kind::Ping => Frame::Ping(eight()?),
        Kind::Pong => Frame::Pong(eight()?),
        // These have a body and come another way.
        Kind::Open | Kind::Data | Kind::End => return Err(kind.malformed()),
    })
}
