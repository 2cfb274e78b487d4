//! What the tests of the loader share.

use prism_plugin_abi::ffi::Observer;
use std::time::{Duration, Instant};

/// Watches over nothing.
pub(crate) struct Unwatched;

impl Observer for Unwatched {
    #[allow(clippy::disallowed_methods)] // nothing here depends on it
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn tick(&self) -> Duration {
        Duration::ZERO
    }

    fn long_poll(&self, _: Duration) {}
}
