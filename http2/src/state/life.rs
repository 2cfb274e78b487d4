//! How streams are opened, reset and forgotten (RFC 9113 section 5.1).

use super::State;
use crate::{
    error::{Error, Reason},
    flow::Window,
    frame::{self, kind},
    stream::{Key, Sending, Stream},
};
use http::{HeaderMap, StatusCode};

/// Streams that were reset from here: what the peer had sent before it knew is ignored.
const RESETS_KEPT: usize = 128;

/// Streams that have ended, whose peer may be told what it did wrong when it goes on.
const ENDED_KEPT: usize = 32;

/// What is read of a request that was refused here: what was in flight when the answer left.
const MOST_UNREAD: u32 = 64 << 10;

impl State {
    /// Opens a stream that the peer has begun, with one handle of it.
    pub(crate) fn open(&mut self, id: u32, promised: Option<u64>) -> Key {
        self.forgive(16);
        let window = Window::new(self.stream_window);
        self.streams.insert(Stream::new(id, promised, window, self.peer_window.into()))
    }

    pub(crate) fn is_full(&self) -> bool {
        self.streams.open() >= self.settings.max_concurrent_streams as usize
    }

    /// Answers a request that nobody is shown.
    pub(crate) fn refuse(&mut self, id: u32, status: StatusCode, end: bool) {
        let key = self.open(id, None);
        if let Some(stream) = self.streams.get(key) {
            stream.unread = Some(MOST_UNREAD);
        }
        if end {
            self.received(key);
        }
        self.send_head(key, status, &HeaderMap::new(), true);
        self.release(key);
    }

    /// Whether a stream was never opened. Section 5.1.1: streams of even numbers are the server's, and it opens none.
    pub(crate) fn is_idle(&self, id: u32) -> bool {
        id > self.last || id.is_multiple_of(2)
    }

    /// Whether a stream that is not open was reset from here, not long ago.
    pub(crate) fn was_reset(&self, id: u32) -> bool {
        self.resets.contains(&id)
    }

    pub(crate) fn has_ended(&self, id: u32) -> bool {
        self.ended.contains(&id)
    }

    /// Ends a stream from here.
    pub(crate) fn reset(&mut self, id: u32, reason: Reason) {
        frame::write_number(self.output.frames(), kind::RST_STREAM, id, reason.into());
        if self.resets.len() == RESETS_KEPT {
            self.resets.pop_front();
        }
        self.resets.push_back(id);
        if let Some(key) = self.streams.find(id) {
            self.fail(key, Error::Refused(reason));
        }
    }

    /// Ends a stream that the peer has reset.
    pub(crate) fn reset_by_peer(&mut self, id: u32, reason: Reason) {
        if let Some(key) = self.streams.find(id) {
            self.fail(key, Error::Reset(reason));
        }
    }

    /// A stream is over before its end.
    pub(super) fn fail(&mut self, key: Key, error: Error) {
        let Some(stream) = self.streams.get(key) else { return };
        stream.failed = Some(error);
        stream.clear();
        stream.wake();
        self.close(key);
    }

    /// Closes a stream whose both sides are over, or that failed; forgets it when nobody has a handle of it.
    pub(super) fn settle(&mut self, key: Key) {
        let Some(stream) = self.streams.get(key) else { return };
        if stream.closed {
            if stream.refs == 0 {
                let unread = stream.window.held();
                self.streams.remove(key);
                self.discard(unread);
            }
        } else if stream.received && stream.has_sent() {
            self.close(key);
        } else if stream.refs == 0 && stream.sending != Sending::Ended {
            let id = stream.id;
            self.reset(id, Reason::CANCEL);
        } else if stream.refs == 0 && stream.has_sent() && stream.unread.is_none_or(|left| left == 0) {
            // RFC 9113 section 8.1: "a server MAY request that the client abort transmission of a request without error by
            // sending a RST_STREAM with an error code of NO_ERROR after sending a complete response".
            let id = stream.id;
            self.reset(id, Reason::NO_ERROR);
        }
    }

    pub(super) fn close(&mut self, key: Key) {
        let Some(stream) = self.streams.get(key) else { return };
        let id = stream.id;
        let (forgotten, blocked) = (stream.refs == 0, stream.is_blocked);
        let held = stream.window.held();
        // What was received is given back now, unless there is something of it, and somebody to take it.
        if forgotten || !stream.has_body() {
            stream.window.release(held);
            self.window.release(held);
        }
        stream.closed = true;
        self.streams.close(id);
        if blocked {
            self.blocked.retain(|other| *other != key);
        }
        if self.ended.len() == ENDED_KEPT {
            self.ended.pop_front();
        }
        self.ended.push_back(id);
        if forgotten {
            self.streams.remove(key);
        }
        self.open_window();
    }

    /// A handle is gone.
    pub(crate) fn release(&mut self, key: Key) {
        let Some(stream) = self.streams.get(key) else { return };
        stream.refs = stream.refs.saturating_sub(1);
        if stream.refs == 0 {
            self.settle(key);
        }
    }
}
