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

/// With calls open and nothing heard for so long, the plugin is asked. As often as its health is checked: a
/// quiet plugin costs two small frames, a busy one none.
const QUIET: Duration = Duration::from_secs(5);

/// What it is given to answer. Long, because a plugin that computes without a pause answers late and is alive;
/// together with the above as long as three health checks that fail, which would end its instance too.
const PATIENCE: Duration = Duration::from_secs(10);

/// Watches one connection. Its timer is set at most once in [`QUIET`], whatever the number of calls, and never on
/// an idle connection.
#[derive(Default)]
pub(super) struct Liveness {
    timer: Option<Pin<Box<Sleep>>>,
    watching: bool,
    /// Frames received when the timer was set.
    heard: u64,
    asked: bool,
}

impl Liveness {
    /// Looks after the connection; ready when the plugin is given up, of which its calls have been told.
    pub(super) fn poll(&mut self, session: &mut ClientSession, cx: &mut Context<'_>) -> Poll<()> {
        if !self.watching {
            if session.open_calls() == 0 {
                return Poll::Pending;
            }
            self.watch(session, QUIET, false);
        }
        while let Some(timer) = &mut self.timer {
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let heard = session.frames_received() != self.heard;
            if session.open_calls() == 0 && !session.is_ping_outstanding() {
                self.watching = false;
                return Poll::Pending;
            }
            if heard {
                self.watch(session, QUIET, false);
            } else if !self.asked {
                session.ping();
                self.watch(session, PATIENCE, true);
            } else {
                session.close(&format!("it did not answer a ping within {} s", PATIENCE.as_secs()));
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    fn watch(&mut self, session: &ClientSession, pause: Duration, asked: bool) {
        self.watching = true;
        self.heard = session.frames_received();
        self.asked = asked;
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(Instant::now() + pause),
            None => self.timer = Some(Box::pin(time::sleep(pause))),
        }
    }
}
