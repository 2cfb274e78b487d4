//! Whether the process at the other end still runs: one that is stopped (SIGSTOP), or hangs, holds its socket
//! open and says nothing.

use prism_platform::time::{self, Instant, Sleep};
use prism_plugin_frames::ClientSession;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

/// How often somebody looks whether anything was heard, while calls are open. As often as health is checked: a
/// quiet plugin costs two small frames every other time, a busy one none.
const INTERVAL: Duration = Duration::from_secs(5);

/// Intervals without a word until the plugin is given up; it is asked after the first. 10 to 15 s to answer are
/// long, because a plugin that computes without a pause answers late and is alive; and as long as it takes for
/// three failed health checks to end its instance anyway.
const SILENCE: u32 = 3;

/// Watches one connection. Its timer is set once an interval, whatever the number of calls, and never on an idle
/// connection.
#[derive(Default)]
pub(super) struct Liveness {
    timer: Option<Pin<Box<Sleep>>>,
    watching: bool,
    /// Frames received when somebody looked last.
    heard: u64,
    /// Intervals in a row without a frame.
    silent: u32,
}

impl Liveness {
    /// Looks after the connection; ready when the plugin is given up, of which its calls have been told.
    pub(super) fn poll(&mut self, session: &mut ClientSession, cx: &mut Context<'_>) -> Poll<()> {
        if !self.watching {
            if session.open_calls() == 0 {
                return Poll::Pending;
            }
            self.watching = true;
            self.silent = 0;
            self.heard = session.frames_received();
            self.set();
        }
        while let Some(timer) = &mut self.timer {
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let heard = session.frames_received();
            self.silent = if heard == self.heard { self.silent + 1 } else { 0 };
            self.heard = heard;
            if session.open_calls() == 0 && !session.is_ping_outstanding() {
                self.watching = false;
                return Poll::Pending;
            }
            if self.silent == SILENCE {
                let silence = (INTERVAL * SILENCE).as_secs();
                session.close(&format!("it did not answer a ping, and said nothing for {silence} s"));
                return Poll::Ready(());
            }
            if self.silent > 0 {
                session.ping();
            }
            self.set();
        }
        Poll::Pending
    }

    fn set(&mut self) {
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(Instant::now() + INTERVAL),
            None => self.timer = Some(Box::pin(time::sleep(INTERVAL))),
        }
    }
}
