//! Asking an instance what it counted. Beside everything else that is done with it: a plugin that counts
//! slowly, wrongly or not at all serves all the same.

use super::{Session, Supervisor};
use prism_platform::time::{self, Instant};
use prism_plugin_abi::{Code, Error, Metrics};
use std::{convert::Infallible, time::Duration};
use tokio::sync::watch;

/// Answers that may fail to come, in a row, before the last one is no longer shown: one may be chance, and
/// later the figures would be a tale of long ago.
const MISSES: u32 = 3;

impl Supervisor<'_> {
    /// Asks at once and then at the plugin's interval, until it is dropped.
    pub(super) async fn poll_metrics(&self, session: &Session) -> Infallible {
        let mut interval = self.backend.spec().plugin.metrics_interval();
        let mut misses = 0_u32;
        loop {
            let asked = Instant::now();
            match self.ask(session).await {
                Ok(metrics) => {
                    misses = 0;
                    self.backend.count(self.index, metrics, self.tally);
                }
                Err(error) => {
                    misses = misses.saturating_add(1);
                    self.failed(&error, misses);
                }
            }
            self.until_next(&mut interval, asked).await;
        }
    }

    /// `None`: it does not count.
    async fn ask(&self, session: &Session) -> Result<Option<Metrics>, Error> {
        match session.metrics(self.backend.instance(), self.options.metrics_deadline).await {
            Err(error) if error.code == Code::Unimplemented => Ok(None),
            answer => answer,
        }
    }

    fn failed(&self, error: &Error, misses: u32) {
        self.backend.poll_failed();
        // Once until it answers again: a plugin that cannot count must not fill the log.
        if misses == 1 {
            tracing::warn!(
                namespace = self.backend.spec().namespace,
                plugin = self.backend.spec().plugin.name(),
                %error,
                "plugin instance does not say what it counted"
            );
        }
        if misses >= MISSES {
            self.backend.count(self.index, None, self.tally);
        }
    }

    /// A tenth of the pause is chance: namespaces that were made together must not ask together for ever.
    async fn until_next(&self, interval: &mut watch::Receiver<Duration>, asked: Instant) {
        loop {
            let pause = *interval.borrow_and_update();
            let next = asked + pause - self.platform.jitter(pause / 10);
            tokio::select! {
                () = time::sleep_until(next) => return,
                // The sender is in the plugin's specification, which outlives this.
                Ok(()) = interval.changed() => {}
            }
        }
    }
}
