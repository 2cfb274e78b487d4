//! What a connection's frames and its handles share: its streams, its windows, and what is to be written.
//!
//! It is locked for moments only, and nearly always by the task that serves the connection; a body may be read, and given up, by
//! another thread.

mod life;
mod past;
mod receiving;
mod sending;

use crate::{
    error::{Error, Reason, Violation},
    flow::Window,
    frame::{self, DEFAULT_WINDOW, LEAST_FRAME, MOST_WINDOW},
    hpack::Encoder,
    output::Output,
    settings::Settings,
    stream::{Key, Streams},
};
use past::Past;
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
};

/// Frames that move nothing on, such as PING, that may come between two that do. A peer that sends more makes work for its own
/// sake. Such frames cost a few hundred nanoseconds each.
const MOST_IDLE_FRAMES: u32 = 10_000;

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
    /// Streams that wait for the connection's window or for room in the output, in the order that they came.
    blocked: VecDeque<Key>,

    /// What the connection may be sent.
    pub(crate) window: Window,
    /// What streams may be sent, as far as the peer has said that it knows.
    stream_window: u32,
    /// SETTINGS that the peer has not acknowledged, with the window that they give streams.
    unacknowledged: VecDeque<Option<u32>>,

    /// The last stream that the peer has opened.
    pub(crate) last: u32,
    past: Past,
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
            past: Past::new(settings.max_concurrent_streams),
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
}
