//! How streams are opened, reset and forgotten (RFC 9113 section 5.1).

use super::{Leaving, State};
use crate::{
    error::{Error, Reason},
    flow::Window,
    frame::{self, kind},
    stream::{Key, Sending, Stream},
};
use http::{HeaderMap, StatusCode};

/// Streams that are over while there are still handles of them, beyond as many as can be open: more than a client gives up in
/// earnest before there was a turn for those that serve it.
const MORE_KEPT: usize = 1_000;

/// What is read of a request that was refused here: what was in flight when the answer left.
const MOST_UNREAD: u32 = 64 << 10;

impl State {
    /// Opens a stream that the peer has begun, with one handle of it.
    pub(crate) fn open(&mut self, id: u32, promised: Option<u64>) -> Key {
        self.forgive(16);
        let window = Window::new(self.stream_window);
        self.streams.insert(Stream::new(id, promised, window, self.peer_window.into()))
    }

    /// Whether no stream can be opened now. One that its client has reset is not open any more, and costs what it did until whoever
    /// serves it has noticed ("rapid reset", CVE-2023-44487; the same of those that a client has us reset, CVE-2025-8671).
    pub(crate) fn is_full(&self) -> bool {
        let most = self.settings.max_concurrent_streams as usize;
        self.streams.open() >= most || self.streams.kept() >= most.saturating_add(MORE_KEPT)
    }

    /// Answers a request that nobody is shown.
    pub(crate) fn refuse(&mut self, id: u32, status: StatusCode, end: bool) {
        let key = self.open(id, None);
        let window = self.stream_window;
        if let Some(stream) = self.streams.get(key) {
            // Its window is not opened again, so that is all that can come.
            stream.unread = Some(MOST_UNREAD.min(window));
        }
        if end {
            self.received(key);
        }
        self.send_head(key, status, &HeaderMap::new(), true);
        self.release(key);
    }

    /// Whether a stream that is not open was reset from here, not long ago.
    pub(crate) fn was_reset(&self, id: u32) -> bool {
        self.past.was_reset(id)
    }

    pub(crate) fn has_ended(&self, id: u32) -> bool {
        self.past.has_ended(id)
    }

    /// Whether the peer has not begun a stream (section 5.1): "Receiving any frame other than HEADERS or PRIORITY on a stream in this
    /// state MUST be treated as a connection error". Those of even numbers would be begun from here, and never are.
    pub(crate) fn is_idle(&self, id: u32) -> bool {
        id.is_multiple_of(2) || (id > self.last && !self.is_too_late(id))
    }

    /// Whether a stream comes behind the last that is served. Section 6.8: "the sender can discard frames for streams initiated by
    /// the receiver with identifiers higher than the identified last stream".
    pub(crate) fn is_too_late(&self, id: u32) -> bool {
        matches!(self.leaving, Leaving::After(last) if id > last)
    }

    /// Ends a stream from here.
    pub(crate) fn reset(&mut self, id: u32, reason: Reason) {
        frame::write_number(self.output.frames(), kind::RST_STREAM, id, reason.into());
        self.past.reset(id);
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
        self.past.end(id);
        if forgotten {
            self.streams.remove(key);
        }
        self.open_window();
    }

    /// Nobody will answer any more. Whoever reads the body elsewhere is told so, and its client need not wait for that.
    pub(crate) fn give_up(&mut self, key: Key) {
        if let Some(stream) = self.streams.get(key)
            && !stream.closed
            && stream.sending != Sending::Ended
        {
            let id = stream.id;
            self.reset(id, Reason::CANCEL);
        }
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
