//! What a channel and the supervisor of its instance tell each other.

use super::{PeerIdentity, Protocol};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;

/// What a channel and the supervisor of its instance tell each other.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// The process on which `Initialize` ran; 0 where there is no telling.
    peer: AtomicU64,
    /// Calls travel in frames.
    frames: AtomicBool,
    /// Calls may go there.
    serves: AtomicBool,
    /// Calls met a plugin that does not know the instance.
    nudge: Notify,
}

impl Link {
    /// `Initialize` ran on this process, which takes calls over `protocol`.
    pub(crate) fn initialized_on(&self, peer: Option<PeerIdentity>, protocol: Protocol) {
        self.frames.store(protocol == Protocol::Frames, Ordering::Release);
        self.peer.store(peer.map_or(0, PeerIdentity::number), Ordering::Release);
    }

    /// Whether calls may go there.
    pub(crate) fn set_serves(&self, serves: bool) {
        self.serves.store(serves, Ordering::Release);
    }

    pub(super) fn serves(&self) -> bool {
        self.serves.load(Ordering::Acquire)
    }

    /// What calls travel over.
    pub(crate) fn protocol(&self) -> Protocol {
        match self.frames.load(Ordering::Acquire) {
            true => Protocol::Frames,
            false => Protocol::Grpc,
        }
    }

    /// The process at the other end is the one that knows the instance.
    pub(super) fn is_initialized(&self, peer: Option<PeerIdentity>) -> bool {
        match self.peer.load(Ordering::Acquire) {
            0 => true,
            expected => peer.is_some_and(|peer| peer.number() == expected),
        }
    }

    /// A call met a plugin that has to be initialized again.
    pub(super) fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// Resolves when a call met a plugin that has to be initialized again.
    pub(crate) async fn nudged(&self) {
        self.nudge.notified().await;
    }
}
