//! The time, as one request reads it: by each clock once, for as long as it is worked on without a pause. Reading a clock costs as
//! much as a look-up in a map, and a call asks what time it is half a dozen times within a few microseconds.

use prism_platform::{Platform, time::Instant};
use std::{
    cell::Cell,
    time::{Duration, SystemTime},
};

/// For so long the two clocks are taken to go alike: a clock that is set meanwhile shows in a log that much later.
const ALIKE: Duration = Duration::from_secs(1);

/// One moment, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) at: Instant,
    pub(crate) wall: SystemTime,
}

impl Moment {
    pub(crate) fn now(platform: &Platform) -> Self {
        Self { at: Instant::now(), wall: platform.wall_clock() }
    }

    /// The time of day at `later`, which is now, for a log.
    pub(crate) fn wall_at(&self, later: Instant, platform: &Platform) -> SystemTime {
        let since = later.saturating_duration_since(self.at);
        if since < ALIKE { self.wall + since } else { platform.wall_clock() }
    }
}

/// A request's reading of the clocks.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// The request is being worked on: what is read is good until it pauses.
    is_running: Cell<bool>,
    now: Cell<Option<Instant>>,
    last: Cell<Option<Moment>>,
}

impl Clock {
    /// The request has arrived just now.
    pub(crate) fn arrived(&self, now: Instant) {
        self.now.set(Some(now));
    }

    /// It is worked on, until [`Clock::pause`].
    pub(crate) fn resume(&self) {
        self.is_running.set(true);
    }

    /// Time goes by from here.
    pub(crate) fn pause(&self) {
        self.is_running.set(false);
        self.now.set(None);
    }

    /// Now, or a moment ago.
    pub(crate) fn now(&self) -> Instant {
        self.now.get().filter(|_| self.is_running.get()).unwrap_or_else(|| {
            let now = Instant::now();
            self.now.set(self.is_running.get().then_some(now));
            now
        })
    }

    /// The same by both clocks.
    pub(crate) fn moment(&self, platform: &Platform) -> Moment {
        let at = self.now();
        self.last.get().filter(|last| last.at == at && self.is_running.get()).unwrap_or_else(|| {
            let moment = Moment { at, wall: platform.wall_clock() };
            self.last.set(Some(moment));
            moment
        })
    }

    /// The last that was asked for.
    pub(crate) fn last(&self) -> Option<Moment> {
        self.last.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_platform::SystemNet;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn it_stands_still_while_the_request_is_worked_on_and_never_else() {
        let platform = Platform::simulated(Arc::new(SystemNet), 7);
        let (clock, second) = (Clock::default(), Duration::from_secs(1));
        let begin = Instant::now();
        let before = clock.moment(&platform);
        for later in 1..3 {
            tokio::time::advance(second).await;
            assert_eq!(
                (clock.now(), clock.moment(&platform).wall),
                (begin + later * second, before.wall + later * second)
            );
        }
        clock.arrived(Instant::now());
        clock.resume();
        let here = clock.moment(&platform);
        tokio::time::advance(second).await;
        assert_eq!((clock.now(), clock.moment(&platform).wall), (here.at, here.wall));
        clock.pause();
        assert_eq!((clock.now(), clock.moment(&platform).wall), (here.at + second, here.wall + second));
        tokio::time::advance(second).await;
        // What was read while it did not stand still is not now.
        clock.resume();
        assert_eq!(clock.now(), here.at + 2 * second);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_day_follows_the_other_clock_for_a_moment_only() {
        let platform = Platform::simulated(Arc::new(SystemNet), 7);
        // As if it had been set since.
        let moment = Moment { at: Instant::now(), wall: SystemTime::UNIX_EPOCH };
        assert_eq!(moment.wall_at(moment.at + ALIKE / 2, &platform), SystemTime::UNIX_EPOCH + ALIKE / 2);
        assert_eq!(moment.wall_at(moment.at + ALIKE, &platform), platform.wall_clock());
    }
}
