//! What a namespace keeps across configuration changes: the instance that serves it, and the one that will.

mod held;

pub use held::Held;

use super::{Backend, DeclaredMethod, InFlight, InstanceSpec, Status, SupervisionOptions};
use crate::supervisor;
use arc_swap::ArcSwapOption;
use prism_platform::{
    Platform,
    time::{self, Instant},
};
use prism_plugin_abi::Kind;
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::task::{AbortHandle, JoinSet};

/// What became of a specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is what serves already.
    Unchanged,
    /// Its instance is being built and answers for the namespace from now on.
    Started,
    /// Its instance is being built beside the one that serves, and takes over once it is ready.
    Pending,
}

/// A namespace's place for instances. Everything it starts ends with it, or with [`NamespaceSlot::retire`].
pub struct NamespaceSlot(Arc<Inner>);

struct Inner {
    platform: Platform,
    options: Arc<SupervisionOptions>,
    active: ArcSwapOption<Backend>,
    changing: Mutex<Changing>,
}

#[derive(Default)]
struct Changing {
    pending: Option<Pending>,
    /// Built for changes that are not decided yet.
    held: Vec<Arc<Backend>>,
    /// Supervisors of all instances, and whoever waits to promote one.
    tasks: JoinSet<()>,
    retired: bool,
}

struct Pending {
    backend: Arc<Backend>,
    promoter: AbortHandle,
}

impl NamespaceSlot {
    /// An empty place.
    #[must_use]
    pub fn new(platform: Platform, options: Arc<SupervisionOptions>) -> Self {
        Self(Arc::new(Inner {
            platform,
            options,
            active: ArcSwapOption::empty(),
            changing: Mutex::default(),
        }))
    }

    /// Makes `spec` the namespace's instance. Returns at once, whatever the plugin does.
    ///
    /// An instance that has served stays until its successor is ready. One that never has is replaced
    /// now, because nobody would miss it. Does nothing once the slot is retired.
    ///
    /// # Panics
    /// Outside a tokio runtime: the supervisor runs on the control plane's.
    pub fn apply(&self, spec: InstanceSpec) -> Applied {
        let inner = &self.0;
        let mut changing = inner.lock();
        while changing.tasks.try_join_next().is_some() {}
        let active = inner.active.load_full();
        if changing.retired || active.as_ref().is_some_and(|active| *active.spec() == spec) {
            inner.abandon(&mut changing);
            return Applied::Unchanged;
        }
        if changing.pending.as_ref().is_some_and(|pending| *pending.backend.spec() == spec) {
            return Applied::Pending;
        }
        inner.abandon(&mut changing);
        let backend = inner.build(&mut changing, spec);
        match active {
            Some(active) if active.was_ready() => {
                let promoter =
                    changing.tasks.spawn(promote_when_ready(Arc::downgrade(inner), Arc::clone(&backend)));
                changing.pending = Some(Pending { backend, promoter });
                Applied::Pending
            }
            replaced => {
                inner.active.store(Some(backend));
                if let Some(replaced) = replaced {
                    replaced.retire(Instant::now() + inner.options.drain);
                }
                Applied::Started
            }
        }
    }

    /// The instance that answers for the namespace, serving or not.
    #[must_use]
    pub fn active(&self) -> Option<Arc<Backend>> {
        self.0.active.load_full()
    }

    /// The instance that will take over once it is ready. Its status says why it has not.
    #[must_use]
    pub fn pending(&self) -> Option<Arc<Backend>> {
        self.0.lock().pending.as_ref().map(|pending| Arc::clone(&pending.backend))
    }

    /// Counts a call in on the instance that answers now; `None` when there is none (any more).
    #[must_use]
    pub fn enter(&self) -> Option<InFlight> {
        // Borrowed at first: nearly every call is counted in at once, and that takes a handle of its own.
        if let Some(call) = self.0.active.load().as_ref()?.enter() {
            return Some(call);
        }
        let mut active = self.0.active.load_full()?;
        loop {
            if let Some(call) = active.enter() {
                return Some(call);
            }
            // Retired between the two lines above, so another is there, unless the slot itself is retired.
            let next = self.0.active.load_full()?;
            if Arc::ptr_eq(&next, &active) {
                return None;
            }
            active = next;
        }
    }

    /// The typed method of this path, as the instance that answers now declares it; `None` too where nothing is known of
    /// it yet.
    #[must_use]
    pub fn method(&self, path: &str) -> Option<DeclaredMethod> {
        let active = self.0.active.load();
        DeclaredMethod::find(active.as_ref()?.load_status().operations.as_ref()?, path)
    }

    /// The kind of the operation of that name, as the instance that answers now declares it; `None` too where nothing is
    /// known of it yet.
    #[must_use]
    pub fn kind(&self, operation: &str) -> Option<Kind> {
        let active = self.0.active.load();
        Some(active.as_ref()?.load_status().operations.as_ref()?.get(operation)?.kind)
    }

    /// Waits until the newest instance serves or has failed once, and says how it is then; at `deadline`, how it
    /// is. `None`: there is none.
    pub async fn first_verdict(&self, deadline: Instant) -> Option<Arc<Status>> {
        let newest = self.pending().or_else(|| self.active())?;
        let verdict = time::timeout_at(deadline, newest.wait_until(Status::is_verdict)).await;
        let status = verdict.unwrap_or_else(|_| newest.status());
        if status.state.serves() {
            // So that whoever waited finds it in place.
            self.0.promote(&newest);
        }
        Some(status)
    }

    /// Gives up the pending instance; the one that serves stays.
    pub fn abandon(&self) {
        self.0.abandon(&mut self.0.lock());
    }

    /// Takes no more calls, lets those under way end for at most `drain`, then shuts the instances down.
    /// [`Retired::finished`] waits for that; dropping it ends them where they are.
    pub fn retire(&self, drain: Duration) -> Retired {
        let mut changing = self.0.lock();
        changing.retired = true;
        self.0.abandon(&mut changing);
        for held in changing.held.drain(..) {
            held.retire(Instant::now());
        }
        if let Some(active) = self.0.active.load_full() {
            active.retire(Instant::now() + drain);
        }
        Retired { tasks: std::mem::take(&mut changing.tasks) }
    }
}

impl fmt::Debug for NamespaceSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamespaceSlot")
            .field("active", &self.active())
            .field("pending", &self.pending())
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Changing> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new instance, and who watches over it.
    fn build(&self, changing: &mut Changing, spec: InstanceSpec) -> Arc<Backend> {
        let before = self.active.load().as_ref().and_then(|active| active.known_operations());
        let backend = Arc::new(Backend::new(spec, &self.platform, before));
        let supervised =
            supervisor::run(Arc::clone(&backend), self.platform.clone(), Arc::clone(&self.options));
        changing.tasks.spawn(supervised);
        backend
    }

    /// No call has begun on a pending instance, so there is nothing to drain.
    fn abandon(&self, changing: &mut Changing) {
        if let Some(Pending { backend, promoter }) = changing.pending.take() {
            promoter.abort();
            backend.retire(Instant::now());
        }
    }

    /// Lets the pending instance take over, if it is still the pending one.
    fn promote(&self, backend: &Arc<Backend>) {
        let mut changing = self.lock();
        if !changing.pending.as_ref().is_some_and(|pending| Arc::ptr_eq(&pending.backend, backend)) {
            return;
        }
        changing.pending = None;
        let replaced = self.active.swap(Some(Arc::clone(backend)));
        drop(changing);
        if let Some(replaced) = replaced {
            replaced.retire(Instant::now() + self.options.drain);
        }
    }
}

async fn promote_when_ready(slot: Weak<Inner>, backend: Arc<Backend>) {
    backend.wait_until(|status| status.state.serves()).await;
    if let Some(slot) = slot.upgrade() {
        slot.promote(&backend);
    }
}

/// Instances on their way out.
#[must_use = "dropping it ends the instances without draining them"]
#[derive(Debug)]
pub struct Retired {
    tasks: JoinSet<()>,
}

impl Retired {
    /// Waits until all of them are shut down: the drain, and the `Shutdown` call's own deadline.
    pub async fn finished(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}
