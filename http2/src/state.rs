//! What a connection's frames and its handles share: its streams, its windows, and what is to be written.
//!
//! It is locked for moments only, and nearly always by the task that serves the connection; a body may be read, and given up, by
//! another thread.

use crate::{
    error::{Error, Reason, Violation},
    flow::Window,
    frame::{self, DEFAULT_WINDOW, Head, LEAST_FRAME, MOST_WINDOW, flag, kind},
    hpack::Encoder,
    output::Output,
    settings::Settings,
    stream::{End, Key, Sending, Stream, Streams},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
};

/// Streams that were reset from here: what the peer had sent before it knew is ignored.
const RESETS_KEPT: usize = 128;

/// Streams that have ended, whose peer may be told what it did wrong when it goes on.
const ENDED_KEPT: usize = 32;

/// Frames that move nothing on, such as PING, that may come between two that do. A peer that sends more makes work for its own
/// sake. Such frames cost a few hundred nanoseconds each.
const MOST_IDLE_FRAMES: u32 = 10_000;

/// What is read of a request that was refused here: what was in flight when the answer left.
const MOST_UNREAD: u32 = 64 << 10;

pub(crate) struct Shared(Mutex<State>);

impl Shared {
    pub(crate) fn new(state: State) -> Self {
        Self(Mutex::new(state))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A PING of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ping {
    No,
    Sent,
    Answered,
}

/// How far the end of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    No,
    /// GOAWAY was sent that lets every stream in, and a PING behind it: what the peer sent before it had read that comes before the
    /// answer (section 6.8).
    Announced,
    /// No stream after this one is served.
    After(u32),
}

pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) output: Output,
    pub(crate) encoder: Encoder,
    pub(crate) streams: Streams,

    /// What the connection may send.
    send_window: i64,
    peer_window: u32,
    peer_frame: usize,
    /// Streams that wait for a window or for room in the output, in the order that they came.
    blocked: VecDeque<Key>,

    /// What the connection may be sent.
    pub(crate) window: Window,
    /// What streams may be sent, as far as the peer has said that it knows.
    stream_window: u32,
    /// SETTINGS that the peer has not acknowledged, with the window that they give streams.
    unacknowledged: VecDeque<Option<u32>>,

    /// The last stream that the peer has opened.
    pub(crate) last: u32,
    resets: VecDeque<u32>,
    ended: VecDeque<u32>,
    pub(crate) leaving: Leaving,
    pub(crate) peer_leaves: bool,
    /// Set when the connection is over, for every handle that is left.
    pub(crate) over: Option<Error>,
    pub(crate) ping: Ping,
    pub(crate) pinger: Option<Waker>,
    idle_frames: u32,

    /// The connection's task is at work, and writes what there is at its end.
    pub(crate) at_work: bool,
    pub(crate) task: Option<Waker>,
}

/// Payloads of PING: whose answer it is.
pub(crate) const OUR_PING: [u8; 8] = *b"measure\0";
pub(crate) const LAST_PING: [u8; 8] = *b"goodbye\0";

impl State {
    pub(crate) fn new(settings: Settings) -> Self {
        let mut output = Output::default();
        let announced = frame::Announced {
            max_concurrent_streams: Some(settings.max_concurrent_streams),
            initial_window: (settings.stream_window != DEFAULT_WINDOW).then_some(settings.stream_window),
            max_frame: (settings.max_frame != LEAST_FRAME).then_some(settings.max_frame),
            max_header_list: Some(settings.max_header_list),
        };
        announced.write(output.frames());
        let mut state = Self {
            output,
            encoder: Encoder::new(),
            streams: Streams::default(),
            send_window: DEFAULT_WINDOW.into(),
            peer_window: DEFAULT_WINDOW,
            peer_frame: LEAST_FRAME as usize,
            blocked: VecDeque::new(),
            window: Window::of_connection(settings.connection_window),
            stream_window: DEFAULT_WINDOW,
            unacknowledged: VecDeque::from([Some(settings.stream_window)]),
            last: 0,
            resets: VecDeque::new(),
            ended: VecDeque::new(),
            leaving: Leaving::No,
            peer_leaves: false,
            over: None,
            ping: Ping::No,
            pinger: None,
            idle_frames: 0,
            at_work: false,
            task: None,
            settings,
        };
        state.open_window();
        state
    }

    /// Somebody who is not the connection's task has put something into the output.
    pub(crate) fn wake(&mut self) {
        if !self.at_work
            && let Some(task) = self.task.take()
        {
            task.wake();
        }
    }

    pub(crate) fn begin_work(&mut self, cx: &Context<'_>) {
        self.at_work = true;
        if !self.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            self.task = Some(cx.waker().clone());
        }
    }

    /// Counts a frame that moves nothing on.
    pub(crate) fn idle_frame(&mut self) -> Result<(), Violation> {
        self.idle_frames += 1;
        if self.idle_frames > MOST_IDLE_FRAMES {
            return Err(Violation::Connection(Reason::ENHANCE_YOUR_CALM, "too many frames that do nothing"));
        }
        Ok(())
    }

    /// Something was moved on, or time has passed.
    pub(crate) fn forgive(&mut self, frames: u32) {
        self.idle_frames = self.idle_frames.saturating_sub(frames);
    }

    // What the peer opens and closes.

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
    fn fail(&mut self, key: Key, error: Error) {
        let Some(stream) = self.streams.get(key) else { return };
        stream.failed = Some(error);
        stream.clear();
        stream.wake();
        self.close(key);
    }

    /// Closes a stream whose both sides are over, or that failed; forgets it when nobody has a handle of it.
    fn settle(&mut self, key: Key) {
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

    fn close(&mut self, key: Key) {
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

    /// Nobody reads a body any more: what comes of it takes no window of the connection, and is not asked for.
    pub(crate) fn forget_body(&mut self, key: Key) {
        let Some(stream) = self.streams.get(key) else { return };
        stream.has_no_reader = true;
        stream.forget_body();
        let held = stream.window.held();
        stream.window.release(held);
        self.discard(held);
    }

    /// The connection is over.
    pub(crate) fn end(&mut self, error: &Error) {
        if self.over.is_none() {
            self.over = Some(error.clone());
        }
        for key in self.streams.keys() {
            self.fail(key, error.clone());
        }
        if let Some(pinger) = self.pinger.take() {
            pinger.wake();
        }
    }

    /// Says that the connection ends.
    pub(crate) fn go_away(&mut self, reason: Reason, why: &str) {
        let last = match self.leaving {
            Leaving::After(last) => last,
            _ => self.last,
        };
        frame::write_goaway(self.output.frames(), last, reason, why);
        self.leaving = Leaving::After(last);
    }

    /// No stream is open, and none will be.
    pub(crate) fn is_done(&self) -> bool {
        self.streams.open() == 0 && (self.peer_leaves || matches!(self.leaving, Leaving::After(_)))
    }

    /// Begins an end that loses nothing (section 6.8).
    pub(crate) fn announce_end(&mut self) {
        if self.leaving == Leaving::No {
            frame::write_goaway(self.output.frames(), MOST_WINDOW, Reason::NO_ERROR, "");
            frame::write_ping(self.output.frames(), 0, LAST_PING);
            self.leaving = Leaving::Announced;
        }
    }

    // Receiving.

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
            stream.unread = stream.unread.map(|left| left.saturating_sub(bytes));
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
        Ok(())
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
            if !stream.received
                && !stream.closed
                && let Some(more) = stream.window.update()
            {
                frame::write_number(self.output.frames(), kind::WINDOW_UPDATE, stream.id, more);
            }
            self.open_window();
        }
    }

    // Sending.

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
    fn headers(&mut self, id: u32, status: Option<StatusCode>, headers: &HeaderMap, end: bool) {
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
        if !stream.writer.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            stream.writer = Some(cx.waker().clone());
        }
        self.block(key);
    }

    fn block(&mut self, key: Key) {
        if let Some(stream) = self.streams.get(key)
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
    fn pump(&mut self, key: Key) {
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

    /// There is more room for a stream.
    fn resume(&mut self, key: Key) {
        if self.streams.get(key).is_some_and(|stream| !stream.pending.is_empty()) {
            self.pump(key);
        }
        if let Some(stream) = self.streams.get(key)
            && stream.pending.is_empty()
            && let Some(writer) = stream.writer.take()
        {
            writer.wake();
        }
    }

    /// There is more room for all.
    pub(crate) fn resume_all(&mut self) {
        for _ in 0..self.blocked.len() {
            let Some(key) = self.blocked.pop_front() else { return };
            if let Some(stream) = self.streams.get(key) {
                stream.is_blocked = false;
            }
            self.resume(key);
        }
    }

    pub(crate) fn has_blocked(&self) -> bool {
        !self.blocked.is_empty()
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
        self.resume_all();
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

    // Settings.

    /// What the peer's SETTINGS say holds from here.
    pub(crate) fn apply(&mut self, setting: frame::Setting) -> Result<(), Violation> {
        match setting {
            frame::Setting::HeaderTableSize(size) => self.encoder.set_max_table(size),
            frame::Setting::MaxFrameSize(size) => self.peer_frame = size as usize,
            frame::Setting::InitialWindowSize(size) => {
                // Section 6.9.2: the difference is added to the window of every stream, which may become negative.
                let change = i64::from(size) - i64::from(self.peer_window);
                self.peer_window = size;
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
            }
            frame::Setting::Other => {}
        }
        Ok(())
    }

    /// The peer has acknowledged the oldest SETTINGS of ours.
    pub(crate) fn acknowledged(&mut self) {
        if let Some(Some(size)) = self.unacknowledged.pop_front() {
            self.stream_window = size;
            for key in self.streams.keys() {
                if let Some(stream) = self.streams.get(key) {
                    stream.window.resize(size);
                }
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
