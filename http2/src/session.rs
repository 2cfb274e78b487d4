//! What the peer's frames do (RFC 9113 section 6): each is checked here, and changes the connection's state.

use crate::{
    error::{Error, Reason, Violation},
    frame::{self, HEAD, Head, flag, kind},
    hpack::Decoder,
    request::{Collected, Trailers},
    settings::Settings,
    state::{LAST_PING, Leaving, OUR_PING, Ping, State},
    stream::Key,
};
use bytes::{Buf, Bytes, BytesMut};
use http::{Request, StatusCode};
use std::collections::VecDeque;

/// A request that nobody has taken yet. It holds one handle of its stream.
pub(crate) struct Incoming {
    pub(crate) key: Key,
    pub(crate) request: Request<()>,
}

/// A header block whose end has not come.
struct Block {
    stream: u32,
    end: bool,
    bytes: Vec<u8>,
    frames: usize,
}

/// Less of a DATA frame is not given out before the rest has come.
const LEAST_PART: usize = 1024;

/// The peer's side of a connection.
pub(crate) struct Session {
    decoder: Decoder,
    block: Option<Block>,
    /// A DATA frame of which a part was given out already; its length is that of the rest.
    rest: Option<Head>,
    /// The peer's first frame has come.
    begun: bool,
    pub(crate) incoming: VecDeque<Incoming>,
    max_frame: usize,
    max_header_list: usize,
    /// How many fields the last request had: how many there will be room for at once in the next one.
    likely_fields: usize,
}

/// More are not made room for before they are there.
const MOST_LIKELY: usize = 24;

impl Session {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            decoder: Decoder::new(frame::HEADER_TABLE),
            block: None,
            rest: None,
            begun: false,
            incoming: VecDeque::new(),
            max_frame: settings.max_frame as usize,
            max_header_list: settings.max_header_list as usize,
            likely_fields: 0,
        }
    }

    /// How long a header block may be as it is sent. Twice what it may be as it is counted is more than any encoder makes of one that is
    /// accepted; six whole frames are there so that a client whose cookies have grown is told so (431), and not cut off.
    fn most_block(&self) -> usize {
        (2 * self.max_header_list).max(6 * self.max_frame)
    }

    /// Takes every whole frame from the buffer.
    pub(crate) fn frames(&mut self, buffer: &mut BytesMut, state: &mut State) -> Result<(), Violation> {
        loop {
            if let Some(head) = self.rest.take() {
                if !self.part(head, buffer, state)? {
                    break;
                }
                continue;
            }
            let Some(head) = buffer.first_chunk().map(Head::parse) else { break };
            // Section 4.2: "An endpoint MUST send an error code of FRAME_SIZE_ERROR if a frame exceeds the size defined in
            // SETTINGS_MAX_FRAME_SIZE". Of the connection, always: one that may change its state must not be skipped.
            if head.length > self.max_frame {
                return Err(Violation::size("a frame is longer than SETTINGS_MAX_FRAME_SIZE"));
            }
            let whole = HEAD + head.length;
            let is_data = head.kind == kind::DATA && self.block.is_none() && self.begun;
            if buffer.len() < whole {
                if is_data && !head.has(flag::PADDED) && buffer.len() >= HEAD + LEAST_PART {
                    buffer.advance(HEAD);
                    self.rest = Some(head);
                    continue;
                }
                buffer.reserve(whole - buffer.len());
                break;
            }
            let done = if is_data {
                let mut frame = buffer.split_to(whole);
                frame.advance(HEAD);
                data(state, head, frame.freeze())
            } else {
                let done = self.frame(state, head, &buffer[HEAD..whole]);
                buffer.advance(whole);
                done
            };
            answer(state, done)?;
        }
        Ok(())
    }

    /// Gives out what there is of a DATA frame that is longer than what has come: it needs not be put together, and so not be
    /// moved, and its reader needs not wait. To the windows it is as if it had been two. False: there is nothing.
    fn part(&mut self, head: Head, buffer: &mut BytesMut, state: &mut State) -> Result<bool, Violation> {
        let length = head.length.min(buffer.len());
        if length < head.length {
            self.rest = Some(Head { length: head.length - length, ..head });
        }
        if length == 0 {
            return Ok(false);
        }
        let flags = if length < head.length { 0 } else { head.flags };
        let done = data(state, Head { length, flags, ..head }, buffer.split_to(length).freeze());
        answer(state, done)?;
        Ok(true)
    }

    fn frame(&mut self, state: &mut State, head: Head, payload: &[u8]) -> Result<(), Violation> {
        if !self.begun {
            // Section 3.4: "The client connection preface ... This sequence MUST be followed by a SETTINGS frame".
            if head.kind != kind::SETTINGS || head.has(flag::ACK) {
                return Err(Violation::protocol("the first frame is no SETTINGS"));
            }
            self.begun = true;
        }
        // Section 6.10: nothing comes between a header block's frames.
        if let Some(block) = &self.block
            && (head.kind != kind::CONTINUATION || head.stream != block.stream)
        {
            return Err(Violation::protocol("a header block is interrupted"));
        }
        match head.kind {
            kind::HEADERS => self.headers(state, head, payload),
            kind::CONTINUATION => self.continuation(state, head, payload),
            kind::PRIORITY => priority(state, head, payload),
            kind::RST_STREAM => rst_stream(state, head, payload),
            kind::SETTINGS => settings(state, head, payload),
            kind::PING => ping(state, head, payload),
            kind::GOAWAY => goaway(state, head, payload),
            kind::WINDOW_UPDATE => window_update(state, head, payload),
            kind::PUSH_PROMISE => Err(Violation::protocol("a client promises nothing")),
            // Section 4.1: "Implementations MUST ignore and discard frames of unknown types."
            _ => state.idle_frame(),
        }
    }

    fn headers(&mut self, state: &mut State, head: Head, payload: &[u8]) -> Result<(), Violation> {
        // Section 5.1.1: "Streams initiated by a client MUST use odd-numbered stream identifiers".
        if head.stream.is_multiple_of(2) {
            return Err(Violation::protocol("HEADERS of a stream that no client can open"));
        }
        let (front, back) = frame::padding(head, payload)?;
        let mut fragment = &payload[front..payload.len() - back];
        if head.has(flag::PRIORITY) {
            let Some((priority, rest)) = fragment.split_at_checked(5) else {
                return Err(Violation::size("HEADERS are too short for their priority"));
            };
            if frame::number(priority) == Some(head.stream) {
                // Section 5.3.1 of RFC 7540: "A stream cannot depend on itself."
                return Err(Violation::protocol("a stream depends on itself"));
            }
            fragment = rest;
        }
        let end = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.fields(state, head.stream, end, fragment);
        }
        self.block = Some(Block { stream: head.stream, end, bytes: fragment.to_vec(), frames: 0 });
        Ok(())
    }

    fn continuation(&mut self, state: &mut State, head: Head, payload: &[u8]) -> Result<(), Violation> {
        let most = self.most_block();
        let Some(block) = &mut self.block else {
            return Err(Violation::protocol("CONTINUATION of no header block"));
        };
        block.frames += 1;
        // As many as a block of that size takes when each is full, and some more: what is sent in crumbs (CVE-2024-27316 and its
        // kin) is there to make work.
        if block.bytes.len() + payload.len() > most || block.frames > 8 + most / self.max_frame {
            return Err(Violation::Connection(Reason::ENHANCE_YOUR_CALM, "a header block does not end"));
        }
        block.bytes.extend_from_slice(payload);
        if !head.has(flag::END_HEADERS) {
            return Ok(());
        }
        let Some(block) = self.block.take() else { return Ok(()) };
        self.fields(state, block.stream, block.end, &block.bytes)
    }

    /// A whole header block.
    fn fields(&mut self, state: &mut State, id: u32, end: bool, block: &[u8]) -> Result<(), Violation> {
        if let Some(key) = state.streams.find(id) {
            return self.trailers(state, key, end, block);
        }
        if id <= state.last {
            if state.was_reset(id) {
                return self.skip(block);
            }
            if state.has_ended(id) {
                return Err(Violation::Connection(
                    Reason::STREAM_CLOSED,
                    "HEADERS of a stream that has ended",
                ));
            }
            // Section 5.1.1: "The identifier of a newly established stream MUST be numerically greater than all streams that
            // the initiating endpoint has opened".
            return Err(Violation::protocol("HEADERS of a stream whose number is too low"));
        }
        if let Leaving::After(last) = state.leaving
            && id > last
        {
            return self.skip(block);
        }
        state.last = id;
        if state.is_full() {
            self.skip(block)?;
            return Err(Violation::Stream(id, Reason::REFUSED_STREAM));
        }
        let mut collected = Collected::new(self.max_header_list, self.likely_fields);
        let decoded = self.decoder.decode(block, |field, size| collected.add(field, size));
        decoded.map_err(|_| COMPRESSION)?;
        let is_too_large = collected.is_too_large();
        let Some((request, promised)) = collected.request().filter(|(_, promised)| {
            // Section 8.1.1, of a body that there is not.
            !end || promised.is_none_or(|bytes| bytes == 0)
        }) else {
            if is_too_large {
                // RFC 6585 section 5.
                state.refuse(id, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, end);
                return state.idle_frame();
            }
            return Err(Violation::Stream(id, Reason::PROTOCOL_ERROR));
        };
        // Requests of one client are alike.
        self.likely_fields = request.headers().len().min(MOST_LIKELY);
        let key = state.open(id, promised);
        if end {
            if let Some(stream) = state.streams.get(key) {
                stream.is_bare = true;
            }
            state.received(key);
        }
        self.incoming.push_back(Incoming { key, request });
        Ok(())
    }

    fn trailers(&mut self, state: &mut State, key: Key, end: bool, block: &[u8]) -> Result<(), Violation> {
        let mut trailers = Trailers::new(self.max_header_list);
        let decoded = self.decoder.decode(block, |field, size| trailers.add(field, size));
        decoded.map_err(|_| COMPRESSION)?;
        let Some(stream) = state.streams.get(key) else { return Ok(()) };
        if stream.received {
            return Err(Violation::Stream(stream.id, Reason::STREAM_CLOSED));
        }
        let is_short = stream.promised.is_some_and(|left| left > 0);
        match trailers.finish() {
            // Section 8.1: "A HEADERS frame without the END_STREAM flag set" behind the first is malformed.
            Some(fields) if end && !is_short => {
                stream.trailers = Some(fields).filter(|fields| !fields.is_empty());
            }
            _ => return Err(Violation::Stream(stream.id, Reason::PROTOCOL_ERROR)),
        }
        state.received(key);
        Ok(())
    }

    /// A header block that nobody wants: the table must stay in step.
    fn skip(&mut self, block: &[u8]) -> Result<(), Violation> {
        self.decoder.decode(block, |_, _| {}).map_err(|_| COMPRESSION)
    }
}

/// Resets the stream where a frame was wrong for its stream alone.
fn answer(state: &mut State, done: Result<(), Violation>) -> Result<(), Violation> {
    if let Err(Violation::Stream(id, reason)) = done {
        state.idle_frame()?;
        // Once is enough, of a frame that comes in parts.
        if state.streams.find(id).is_some() || !state.was_reset(id) {
            state.reset(id, reason);
        }
        return Ok(());
    }
    done
}

/// Section 4.3: "A decoding error in a field block MUST be treated as a connection error of type COMPRESSION_ERROR."
const COMPRESSION: Violation =
    Violation::Connection(Reason::COMPRESSION_ERROR, "a header block cannot be decoded");

fn data(state: &mut State, head: Head, mut payload: Bytes) -> Result<(), Violation> {
    if head.stream == 0 {
        return Err(Violation::protocol("DATA of no stream"));
    }
    let (front, back) = frame::padding(head, &payload)?;
    // Section 6.9.1: padding counts too. A frame's length fits.
    let counted = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    payload.advance(front);
    payload.truncate(payload.len() - back);
    let end = head.has(flag::END_STREAM);
    if !state.window.receive(counted) {
        return Err(Violation::Connection(Reason::FLOW_CONTROL_ERROR, "DATA beyond the connection's window"));
    }
    let Some(key) = state.streams.find(head.stream) else {
        state.discard(counted);
        if head.stream > state.last {
            return Err(Violation::protocol("DATA of a stream that was not opened"));
        }
        if state.was_reset(head.stream) {
            return Ok(());
        }
        return Err(Violation::Stream(head.stream, Reason::STREAM_CLOSED));
    };
    let Some(stream) = state.streams.get(key) else { return Ok(()) };
    let refused = if stream.received {
        Some(Reason::STREAM_CLOSED)
    } else if stream.window.receive(counted) {
        None
    } else {
        Some(Reason::FLOW_CONTROL_ERROR)
    };
    if let Some(reason) = refused {
        state.discard(counted);
        return Err(Violation::Stream(head.stream, reason));
    }
    if payload.is_empty() && !end {
        state.idle_frame()?;
    }
    let padding = counted - u32::try_from(payload.len()).unwrap_or(counted);
    state.receive(key, payload, padding, end)
}

fn priority(state: &mut State, head: Head, payload: &[u8]) -> Result<(), Violation> {
    if head.stream == 0 {
        return Err(Violation::protocol("PRIORITY of no stream"));
    }
    // RFC 9113 section 6.3: "A PRIORITY frame with a length other than 5 octets MUST be treated as a stream error of type
    // FRAME_SIZE_ERROR."
    if payload.len() != 5 {
        return Err(Violation::Stream(head.stream, Reason::FRAME_SIZE_ERROR));
    }
    if frame::number(payload) == Some(head.stream) {
        return Err(Violation::Stream(head.stream, Reason::PROTOCOL_ERROR));
    }
    state.idle_frame()
}

fn rst_stream(state: &mut State, head: Head, payload: &[u8]) -> Result<(), Violation> {
    let Some(code) =
        payload.first_chunk().map(|code| u32::from_be_bytes(*code)).filter(|_| payload.len() == 4)
    else {
        return Err(Violation::size("RST_STREAM has not four bytes"));
    };
    if head.stream == 0 || head.stream > state.last {
        return Err(Violation::protocol("RST_STREAM of a stream that was not opened"));
    }
    state.reset_by_peer(head.stream, code.into());
    state.idle_frame()
}

fn settings(state: &mut State, head: Head, payload: &[u8]) -> Result<(), Violation> {
    if head.stream != 0 {
        return Err(Violation::protocol("SETTINGS of a stream"));
    }
    if head.has(flag::ACK) {
        if !payload.is_empty() {
            return Err(Violation::size("an acknowledgement of SETTINGS says something"));
        }
        state.acknowledged();
        return state.idle_frame();
    }
    for setting in frame::settings(payload)? {
        state.apply(setting?)?;
    }
    let ack = Head { length: 0, kind: kind::SETTINGS, flags: flag::ACK, stream: 0 };
    state.output.frames().extend(ack.bytes());
    state.idle_frame()
}

fn ping(state: &mut State, head: Head, payload: &[u8]) -> Result<(), Violation> {
    let Some(payload) = payload.first_chunk::<8>().filter(|_| payload.len() == 8) else {
        return Err(Violation::size("PING has not eight bytes"));
    };
    if head.stream != 0 {
        return Err(Violation::protocol("PING of a stream"));
    }
    if !head.has(flag::ACK) {
        frame::write_ping(state.output.frames(), flag::ACK, *payload);
        return state.idle_frame();
    }
    match *payload {
        OUR_PING if state.ping == Ping::Sent => {
            state.ping = Ping::Answered;
            if let Some(pinger) = state.pinger.take() {
                pinger.wake();
            }
        }
        LAST_PING if state.leaving == Leaving::Announced => state.go_away(Reason::NO_ERROR, ""),
        _ => {}
    }
    state.idle_frame()
}

fn goaway(state: &mut State, head: Head, payload: &[u8]) -> Result<(), Violation> {
    if head.stream != 0 {
        return Err(Violation::protocol("GOAWAY of a stream"));
    }
    if payload.len() < 8 {
        return Err(Violation::size("GOAWAY is too short"));
    }
    state.peer_leaves = true;
    state.idle_frame()
}

fn window_update(state: &mut State, head: Head, payload: &[u8]) -> Result<(), Violation> {
    let Some(more) = frame::number(payload).filter(|_| payload.len() == 4) else {
        return Err(Violation::size("WINDOW_UPDATE has not four bytes"));
    };
    state.idle_frame()?;
    if head.stream == 0 {
        // Section 6.9: "errors on the connection flow-control window MUST be treated as a connection error".
        if more == 0 {
            return Err(Violation::protocol("WINDOW_UPDATE by nothing"));
        }
        return state.grow(more);
    }
    if head.stream > state.last {
        return Err(Violation::protocol("WINDOW_UPDATE of a stream that was not opened"));
    }
    let Some(key) = state.streams.find(head.stream) else { return Ok(()) };
    if more == 0 {
        return Err(Violation::Stream(head.stream, Reason::PROTOCOL_ERROR));
    }
    state.grow_stream(key, more)
}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        match violation {
            Violation::Stream(_, reason) => Self::Refused(reason),
            Violation::Connection(reason, why) => Self::Connection(reason, why),
        }
    }
}
