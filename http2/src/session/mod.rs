//! What the peer's frames do (RFC 9113 section 6): each is checked here, and changes the connection's state.

mod blocks;
mod frames;

use crate::{
    error::{Error, Violation},
    frame::{self, HEAD, Head, flag, kind},
    hpack::Decoder,
    settings::Settings,
    state::State,
    stream::Key,
};
use bytes::{Buf, BytesMut};
use http::Request;
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
    depends_on_itself: bool,
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
                frames::data(state, head, frame.freeze())
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
        let done = frames::data(state, Head { length, flags, ..head }, buffer.split_to(length).freeze());
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
            kind::PRIORITY => frames::priority(state, head, payload),
            kind::RST_STREAM => frames::rst_stream(state, head, payload),
            kind::SETTINGS => frames::settings(state, head, payload),
            kind::PING => frames::ping(state, head, payload),
            kind::GOAWAY => frames::goaway(state, head, payload),
            kind::WINDOW_UPDATE => frames::window_update(state, head, payload),
            kind::PUSH_PROMISE => Err(Violation::protocol("a client promises nothing")),
            // Section 4.1: "Implementations MUST ignore and discard frames of unknown types."
            _ => state.idle_frame(),
        }
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

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        match violation {
            Violation::Stream(_, reason) => Self::Refused(reason),
            Violation::Connection(reason, why) => Self::Connection(reason, why),
        }
    }
}
