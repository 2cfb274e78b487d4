//! Header blocks: HEADERS, their CONTINUATIONs, and the requests and trailers that they are (RFC 9113 sections 6.2, 6.10 and 8).

use super::{Block, Incoming, Session};
use crate::{
    error::{Reason, Violation},
    frame::{self, Head, flag},
    request::{Collected, Trailers},
    state::State,
    stream::Key,
};
use http::StatusCode;

/// More are not made room for before they are there.
const MOST_LIKELY: usize = 24;

/// Section 4.3: "A decoding error in a field block MUST be treated as a connection error of type COMPRESSION_ERROR."
const COMPRESSION: Violation =
    Violation::Connection(Reason::COMPRESSION_ERROR, "a header block cannot be decoded");

impl Session {
    pub(super) fn headers(&mut self, state: &mut State, head: Head, payload: &[u8]) -> Result<(), Violation> {
        // Section 5.1.1: "Streams initiated by a client MUST use odd-numbered stream identifiers".
        if head.stream.is_multiple_of(2) {
            return Err(Violation::protocol("HEADERS of a stream that no client can open"));
        }
        let (front, back) = frame::padding(head, payload)?;
        let mut fragment = &payload[front..payload.len() - back];
        let mut depends_on_itself = false;
        if head.has(flag::PRIORITY) {
            let Some((priority, rest)) = fragment.split_at_checked(5) else {
                // Section 6.2: "Padding that exceeds the size remaining for the field block fragment MUST be treated as a
                // PROTOCOL_ERROR."
                if payload.len() >= front + 5 {
                    return Err(Violation::protocol("padding reaches into the priority"));
                }
                return Err(Violation::size("HEADERS are too short for their priority"));
            };
            depends_on_itself = frame::number(priority) == Some(head.stream);
            fragment = rest;
        }
        let end = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.whole(state, head.stream, end, depends_on_itself, fragment);
        }
        let bytes = fragment.to_vec();
        self.block = Some(Block { stream: head.stream, end, depends_on_itself, bytes, frames: 0 });
        Ok(())
    }

    pub(super) fn continuation(
        &mut self,
        state: &mut State,
        head: Head,
        payload: &[u8],
    ) -> Result<(), Violation> {
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
        self.whole(state, block.stream, block.end, block.depends_on_itself, &block.bytes)
    }

    /// A whole header block, unless its stream depends on itself.
    fn whole(
        &mut self,
        state: &mut State,
        id: u32,
        end: bool,
        depends_on_itself: bool,
        block: &[u8],
    ) -> Result<(), Violation> {
        // RFC 7540 section 5.3.1: "A stream cannot depend on itself. An endpoint MUST treat this as a stream error (Section
        // 5.4.2) of type PROTOCOL_ERROR." A stream that is open already, or over, depends on nothing any more.
        if depends_on_itself && state.is_idle(id) {
            state.last = id;
            self.skip(block)?;
            return Err(Violation::Stream(id, Reason::PROTOCOL_ERROR));
        }
        self.fields(state, id, end, block)
    }

    /// A whole header block.
    fn fields(&mut self, state: &mut State, id: u32, end: bool, block: &[u8]) -> Result<(), Violation> {
        if let Some(key) = state.streams.find(id) {
            return self.trailers(state, key, end, block);
        }
        if state.is_too_late(id) {
            self.skip(block)?;
            return state.idle_frame();
        }
        if id <= state.last {
            if state.was_reset(id) {
                self.skip(block)?;
                return state.idle_frame();
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
