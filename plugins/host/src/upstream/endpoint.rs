//! Where a plugin in another process listens.

use super::{Target, connection::Upstream};
use crate::{frames::Frames, grpc::Grpc, worker::WorkerLocal};
use std::{
    fmt,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// What all workers and the supervisors know of an endpoint.
#[derive(Default)]
pub(crate) struct Shared {
    /// Counts the times that the plugin was seen to be up. A failure remembered from before is out of date.
    epoch: AtomicU64,
    /// Connections that ended because the plugin broke the transport's protocol.
    violations: AtomicU64,
}

impl Shared {
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    pub(super) fn count_violation(&self) {
        self.violations.fetch_add(1, Ordering::Relaxed);
    }
}

/// Where a plugin listens. Workers keep one connection each for it and transport, whatever the number of
/// namespaces.
pub(crate) struct Endpoint {
    target: Arc<Target>,
    shared: Arc<Shared>,
}

/// A worker's ways to one endpoint. Only one of them is used, unless plugins of different versions follow
/// each other there.
pub(super) struct Ways {
    pub(super) grpc: Rc<Upstream<Grpc>>,
    pub(super) frames: Rc<Upstream<Frames>>,
}

impl Endpoint {
    pub(crate) fn new(target: Target) -> Self {
        Self { target: Arc::new(target), shared: Arc::default() }
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// The plugin is up: workers may dial at once.
    pub(crate) fn is_up(&self) {
        self.shared.epoch.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that ended because the plugin broke the transport's protocol.
    pub(crate) fn violations(&self) -> u64 {
        self.shared.violations.load(Ordering::Relaxed)
    }

    /// This worker's ways to the endpoint.
    pub(super) fn ways(self: &Arc<Self>, worker: &WorkerLocal) -> Rc<Ways> {
        worker.slot(self, || Ways {
            grpc: Rc::new(Upstream::new(worker, &self.target, &self.shared)),
            frames: Rc::new(Upstream::new(worker, &self.target, &self.shared)),
        })
    }
}

#[cfg(test)]
impl Endpoint {
    /// This worker's open connection for frames, and its calls under way or waiting.
    pub(crate) fn frames(
        self: &Arc<Self>,
        worker: &WorkerLocal,
    ) -> (Option<Rc<super::Connection<Frames>>>, usize) {
        let frames = &self.ways(worker).frames;
        (frames.open(), frames.active())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.target)
    }
}
