//! How long a failed dial is remembered, and what is said of it.

use super::Target;
use prism_platform::{Platform, time::Instant};
use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

/// A failed dial is remembered so long, doubling from the first to the last: long enough that a thousand
/// calls make one attempt, short enough that nobody notices when the peer is back.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_millis(250);

/// Between two reasons that are told of one peer. Whoever mends something sees what is wrong now, and a peer that fails in
/// turn in one way and another (the addresses of a name do) does not fill the log.
const TELLING: Duration = Duration::from_secs(1);

/// Dials that failed in a row, of one worker to one peer.
#[derive(Default)]
pub(crate) struct Backoff {
    failures: Cell<u32>,
    /// The reason that the log has, and since when.
    told: RefCell<Option<(String, Instant)>>,
}

impl Backoff {
    /// A dial succeeded. Says so where it was told that it did not.
    pub(crate) fn reset(&self, target: &Target) {
        self.failures.set(0);
        if self.told.borrow_mut().take().is_some() {
            tracing::info!(address = %target, "it can be connected to again");
        }
    }

    /// A dial failed: until when that is remembered.
    pub(crate) fn failed(&self, platform: &Platform) -> Instant {
        let failures = self.failures.get();
        self.failures.set(failures.saturating_add(1));
        let pause = LAST_PAUSE.min(FIRST_PAUSE * 2_u32.pow(failures.min(8)));
        Instant::now() + pause / 2 + platform.jitter(pause / 2)
    }

    /// Says why a dial failed: the first time in a row, and when it is another reason than before.
    pub(crate) fn tell(&self, reason: &str) {
        if self.is_news(reason) {
            tracing::warn!(reason, "a service cannot be connected to");
        }
    }

    fn is_news(&self, reason: &str) -> bool {
        let now = Instant::now();
        let mut told = self.told.borrow_mut();
        let news = told.as_ref().is_none_or(|(last, at)| last != reason && now - *at >= TELLING);
        if news {
            *told = Some((reason.to_owned(), now));
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_platform::time;

    #[tokio::test(start_paused = true)]
    async fn a_reason_is_told_once_and_another_one_too() {
        let target = Target::here("127.0.0.1:1".parse().unwrap());
        let backoff = Backoff::default();
        assert!(backoff.is_news("refused"));
        assert!(!backoff.is_news("refused"));
        // Too soon: it is told when it lasts.
        assert!(!backoff.is_news("no HTTP/2"));
        time::sleep(TELLING).await;
        assert!(!backoff.is_news("refused"));
        assert!(backoff.is_news("no HTTP/2"));
        assert!(!backoff.is_news("no HTTP/2"));
        time::sleep(TELLING).await;
        assert!(backoff.is_news("refused"));
        backoff.reset(&target);
        assert!(backoff.is_news("refused"));
    }
}
