//! Whether a token that calls were let in by is still good.

use crate::Backing;
use prism_platform::time::Instant;
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Whether a token is still good, as far as anybody was told, and when that was.
pub(super) struct Standing {
    stands: AtomicBool,
    confirmed: Mutex<Instant>,
}

impl Standing {
    pub(super) fn new() -> Self {
        Self { stands: AtomicBool::new(true), confirmed: Mutex::new(Instant::now()) }
    }

    pub(super) fn confirm(&self) {
        *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn end(&self) {
        self.stands.store(false, Ordering::Release);
    }

    pub(super) fn is_fresh(&self, most: Duration) -> bool {
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < most
    }
}

impl Backing for Standing {
    fn stands(&self) -> bool {
        self.stands.load(Ordering::Acquire)
    }
}
