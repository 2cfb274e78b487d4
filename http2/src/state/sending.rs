//! What goes into the output: heads, bodies as far as the windows allow, and what follows them.

use super::State;
use crate::{
    error::{Reason, Violation},
    frame::{self, Head, MOST_WINDOW, flag, kind},
    stream::{End, Key, Sending},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::task::Context;

impl State {
    /// Sends an answer's head. False: the stream is over.
    pub(crate) fn send_head(&mut self, key: Key, status: StatusCode, headers: &HeaderMap, end: bool) -> bool {
        let Some(stream) = self.streams.get(key) else { return false };
        if stream.closed || stream.sending != Sending::Nothing {
            return false;
        }
        stream.sending = if end { Sending::Ended } else { Sending::Body };
        let id = stream.id;
        self.headers(id, Some(status), headers, end);
        if end {
            self.settle(key);
        }
        true
    }

    /// A header block as HEADERS and as many CONTINUATIONs as it takes.
    pub(super) fn headers(&mut self, id: u32, status: Option<StatusCode>, headers: &HeaderMap, end: bool) {
        let out = self.output.frames();
        let start = out.len();
        out.extend([0; frame::HEAD]);
        if let Some(status) = status {
            self.encoder.encode_status(status, out);
        }
        for (name, value) in headers {
            self.encoder.encode(name, value, out);
        }
        let length = out.len() - start - frame::HEAD;
        let end = if end { flag::END_STREAM } else { 0 };
        if length <= self.peer_frame {
            let head = Head { length, kind: kind::HEADERS, flags: flag::END_HEADERS | end, stream: id };
            out[start..start + frame::HEAD].copy_from_slice(&head.bytes());
            return;
        }
        let block = out.split_off(start + frame::HEAD);
        out.truncate(start);
        let last = block.len().div_ceil(self.peer_frame) - 1;
        for (at, fragment) in block.chunks(self.peer_frame).enumerate() {
            let kind = if at == 0 { kind::HEADERS } else { kind::CONTINUATION };
            let flags = if at == 0 { end } else { 0 } | if at == last { flag::END_HEADERS } else { 0 };
            out.extend(Head { length: fragment.len(), kind, flags, stream: id }.bytes());
            out.extend_from_slice(fragment);
        }
    }

    /// How many bytes of a stream's body can go into the output now.
    pub(crate) fn room(&mut self, key: Key) -> usize {
        let (full, window) = (self.output.len() >= self.settings.most_output, self.send_window);
        let Some(stream) = self.streams.get(key) else { return 0 };
        if full || !stream.pending.is_empty() {
            return 0;
        }
        let window = window.min(stream.send_window).max(0);
        usize::try_from(window).unwrap_or(usize::MAX).min(self.settings.most_turn)
    }

    /// Has a stream's writer woken when there is room.
    pub(crate) fn await_room(&mut self, key: Key, cx: &Context<'_>) {
        let Some(stream) = self.streams.get(key) else { return };
        stream.wants_room = true;
        if !stream.writer.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            stream.writer = Some(cx.waker().clone());
        }
        self.block(key);
    }

    /// Has a stream found when there is more room for all. One that has used up its own window is found by what opens that.
    pub(super) fn block(&mut self, key: Key) {
        if let Some(stream) = self.streams.get(key)
            && stream.send_window > 0
            && !std::mem::replace(&mut stream.is_blocked, true)
        {
            self.blocked.push_back(key);
        }
    }

    /// Puts a piece of a body into the output, or behind what waits for a window.
    pub(crate) fn send_data(&mut self, key: Key, payload: Bytes) {
        let Some(stream) = self.streams.get(key) else { return };
        if stream.closed || stream.sending != Sending::Body || payload.is_empty() {
            return;
        }
        stream.pending.push_back(payload);
        self.pump(key);
    }

    /// Ends a body.
    pub(crate) fn send_end(&mut self, key: Key, end: End) {
        let Some(stream) = self.streams.get(key) else { return };
        if stream.closed || stream.sending != Sending::Body {
            return;
        }
        stream.sending = Sending::Ended;
        stream.end = Some(end);
        self.pump(key);
    }

    /// Moves what waits into the output, as far as the windows allow.
    pub(super) fn pump(&mut self, key: Key) {
        let Some(stream) = self.streams.get(key) else { return };
        let id = stream.id;
        while let Some(payload) = stream.pending.front_mut() {
            let window = self.send_window.min(stream.send_window).max(0);
            let most = usize::try_from(window).unwrap_or(usize::MAX).min(self.peer_frame);
            if most == 0 {
                return self.block(key);
            }
            let part = if payload.len() <= most {
                stream.pending.pop_front().unwrap_or_default()
            } else {
                payload.split_to(most)
            };
            let length = part.len();
            self.send_window -= length as i64;
            stream.send_window -= length as i64;
            // Clients answer a frame with a PING, and with window updates for both windows: Go's for each 4 KiB that it reads.
            self.idle_frames = self.idle_frames.saturating_sub(4 + (length / 512) as u32);
            // The last one says that it is, and saves a frame.
            let end = stream.pending.is_empty() && matches!(stream.end, Some(End::Data));
            if end {
                stream.end = None;
            }
            let flags = if end { flag::END_STREAM } else { 0 };
            self.output.frames().extend(Head { length, kind: kind::DATA, flags, stream: id }.bytes());
            self.output.payload(part);
        }
        match stream.end.take() {
            None => {}
            Some(End::Trailers(trailers)) if !trailers.is_empty() => self.headers(id, None, &trailers, true),
            Some(_) => {
                let head = Head { length: 0, kind: kind::DATA, flags: flag::END_STREAM, stream: id };
                self.output.frames().extend(head.bytes());
            }
        }
        self.settle(key);
    }

    /// There may be more room for a stream. How much its writer was woken for.
    pub(super) fn resume(&mut self, key: Key) -> usize {
        if self.streams.get(key).is_some_and(|stream| !stream.pending.is_empty()) {
            self.pump(key);
        }
        let room = self.room(key);
        let Some(stream) = self.streams.get(key).filter(|stream| stream.wants_room) else { return 0 };
        if room == 0 {
            // To be woken for nothing would have it wait again, and be woken again.
            self.block(key);
            return 0;
        }
        stream.wants_room = false;
        if let Some(writer) = stream.writer.take() {
            writer.wake();
        }
        room
    }

    /// There is more room for all: as many are woken as there is room for. They may not want it any more, so this must be asked
    /// again when they have had their turn.
    pub(crate) fn resume_all(&mut self) {
        let mut promised = 0;
        for _ in 0..self.blocked.len() {
            if self.send_window <= promised {
                return;
            }
            let Some(key) = self.blocked.pop_front() else { return };
            if let Some(stream) = self.streams.get(key) {
                stream.is_blocked = false;
            }
            promised += self.resume(key) as i64;
        }
    }

    /// Whether there are streams that wait, and room for one at least.
    pub(crate) fn can_resume(&self) -> bool {
        !self.blocked.is_empty() && self.send_window > 0 && self.output.len() <= self.settings.most_output / 4
    }

    /// WINDOW_UPDATE of the connection.
    pub(crate) fn grow(&mut self, more: u32) -> Result<(), Violation> {
        self.send_window += i64::from(more);
        if self.send_window > i64::from(MOST_WINDOW) {
            return Err(Violation::Connection(
                Reason::FLOW_CONTROL_ERROR,
                "the connection's window is above 2^31-1",
            ));
        }
        // While the output is full nobody could go on, and all would be asked in vain: whatever empties it asks again.
        if self.output.len() < self.settings.most_output {
            self.resume_all();
        }
        Ok(())
    }

    /// WINDOW_UPDATE of a stream.
    pub(crate) fn grow_stream(&mut self, key: Key, more: u32) -> Result<(), Violation> {
        let Some(stream) = self.streams.get(key) else { return Ok(()) };
        stream.send_window += i64::from(more);
        if stream.send_window > i64::from(MOST_WINDOW) {
            return Err(Violation::Stream(stream.id, Reason::FLOW_CONTROL_ERROR));
        }
        self.resume(key);
        Ok(())
    }

    /// What the peer's SETTINGS say of new streams' windows holds from here.
    pub(crate) fn resize_all(&mut self, size: u32) -> Result<(), Violation> {
        // Section 6.9.2: the difference is added to the window of every stream, which may become negative.
        let change = i64::from(size) - i64::from(self.peer_window);
        self.peer_window = size;
        if change == 0 {
            return Ok(());
        }
        for key in self.streams.keys() {
            let Some(stream) = self.streams.get(key) else { continue };
            stream.send_window += change;
            if stream.send_window > i64::from(MOST_WINDOW) {
                return Err(Violation::Connection(
                    Reason::FLOW_CONTROL_ERROR,
                    "INITIAL_WINDOW_SIZE makes a window larger than 2^31-1",
                ));
            }
            if change > 0 {
                self.resume(key);
            }
        }
        Ok(())
    }

    /// What else the peer's SETTINGS say.
    pub(crate) fn apply(&mut self, setting: frame::Setting) {
        match setting {
            frame::Setting::HeaderTableSize(size) => self.encoder.set_max_table(size),
            frame::Setting::MaxFrameSize(size) => self.peer_frame = size as usize,
            frame::Setting::InitialWindowSize(_) | frame::Setting::Other => {}
        }
    }
}
