//! What comes of bodies, and the windows that they take (RFC 9113 section 5.2).

use super::State;
use crate::{
    error::{Reason, Violation},
    frame::{self, kind},
    stream::Key,
};
use bytes::Bytes;

impl State {
    /// Opens the connection's window as far as it was read.
    pub(crate) fn open_window(&mut self) {
        if let Some(more) = self.window.update() {
            frame::write_number(self.output.frames(), kind::WINDOW_UPDATE, 0, more);
        }
    }

    /// Bytes that nobody will read.
    pub(crate) fn discard(&mut self, bytes: u32) {
        self.window.release(bytes);
        self.open_window();
    }

    /// DATA for a stream: its payload, and how many bytes it counts for. Its windows were looked at.
    pub(crate) fn receive(
        &mut self,
        key: Key,
        payload: Bytes,
        padding: u32,
        end: bool,
    ) -> Result<(), Violation> {
        let Some(stream) = self.streams.get(key) else { return Ok(()) };
        let id = stream.id;
        let bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        if let Some(promised) = &mut stream.promised {
            // Section 8.1.1: "A request or response is also malformed if the value of a Content-Length header field does not
            // equal the sum of the DATA frame payload lengths that form the content".
            match promised.checked_sub(u64::from(bytes)) {
                Some(left) if left == 0 || !end => *promised = left,
                // What it has received is given back when it is reset.
                _ => return Err(Violation::Stream(id, Reason::PROTOCOL_ERROR)),
            }
        }
        if stream.has_no_reader || stream.unread.is_some() {
            stream.unread = stream.unread.map(|left| left.saturating_sub(bytes + padding));
            let held = stream.window.held();
            stream.window.release(held);
            self.discard(held);
            if end {
                self.received(key);
            } else {
                self.settle(key);
            }
            return Ok(());
        }
        stream.put(payload);
        if padding > 0 {
            stream.window.release(padding);
            self.window.release(padding);
        }
        if let Some(reader) = stream.reader.take() {
            reader.wake();
        }
        if end {
            self.received(key);
        }
        self.open_windows(key);
        Ok(())
    }

    /// Opens both windows as far as they are free.
    fn open_windows(&mut self, key: Key) {
        if let Some(stream) = self.streams.get(key)
            && !stream.received
            && !stream.closed
            && !stream.has_no_reader
            && stream.unread.is_none()
            && let Some(more) = stream.window.update()
        {
            frame::write_number(self.output.frames(), kind::WINDOW_UPDATE, stream.id, more);
        }
        self.open_window();
    }

    /// The request's last frame has come.
    pub(crate) fn received(&mut self, key: Key) {
        if let Some(stream) = self.streams.get(key) {
            stream.received = true;
            if let Some(reader) = stream.reader.take() {
                reader.wake();
            }
        }
        self.settle(key);
    }

    /// A reader has taken so much of a body.
    pub(crate) fn taken(&mut self, key: Key, bytes: u32) {
        if let Some(stream) = self.streams.get(key) {
            // What was given up with its stream is not given back twice.
            let bytes = bytes.min(stream.window.held());
            stream.window.release(bytes);
            self.window.release(bytes);
            self.open_windows(key);
        }
    }

    /// Nobody reads a body any more: what comes of it takes no window of the connection, and is not asked for.
    pub(crate) fn forget_body(&mut self, key: Key) {
        let Some(stream) = self.streams.get(key) else { return };
        stream.has_no_reader = true;
        stream.forget_body();
        let held = stream.window.held();
        stream.window.release(held);
        self.discard(held);
    }

    /// The peer has acknowledged the oldest SETTINGS of ours.
    pub(crate) fn acknowledged(&mut self) {
        if let Some(Some(size)) = self.unacknowledged.pop_front() {
            self.stream_window = size;
            for key in self.streams.keys() {
                if let Some(stream) = self.streams.get(key) {
                    stream.window.resize(size);
                }
                // A peer whose window has become less than nothing sends nothing that would have this looked at again.
                self.open_windows(key);
            }
        }
    }

    /// Gives streams another window. False: the peer has not acknowledged the SETTINGS before, and keeps the window that it has.
    pub(crate) fn set_stream_window(&mut self, size: u32) -> bool {
        if !self.unacknowledged.is_empty() {
            return false;
        }
        if size != self.stream_window {
            let announced = frame::Announced { initial_window: Some(size), ..frame::Announced::default() };
            announced.write(self.output.frames());
            self.unacknowledged.push_back(Some(size));
        }
        true
    }
}
