//! An instance that is built and not promoted yet: a change that is made as a whole, or not at all, is decided
//! when the instances of all its namespaces are there.

use super::{Inner, NamespaceSlot};
use crate::instance::{Backend, InstanceSpec, Status};
use prism_platform::time::{self, Instant};
use std::{fmt, mem, sync::Arc};

/// What a namespace would have after a change. Whatever it has now is not touched before [`Held::promote`];
/// dropped without that, what was built for the change is shut down again.
#[must_use = "dropping it gives the change up"]
pub struct Held {
    slot: Arc<Inner>,
    what: What,
}

enum What {
    /// It serves already, at least when it was asked; what may have been pending is no longer wanted.
    Active(InstanceSpec),
    /// An earlier change is waiting for it already: that is not for this one to decide.
    Pending,
    /// Built for this change.
    New(Arc<Backend>),
    /// The slot is retired, or the decision was carried out.
    Nothing,
}

impl NamespaceSlot {
    /// Builds an instance of `spec` beside whatever answers for the namespace, and holds it there until it is
    /// decided whether it takes over. Returns at once, whatever the plugin does.
    ///
    /// # Panics
    /// Outside a tokio runtime, as [`NamespaceSlot::apply`].
    pub fn hold(&self, spec: InstanceSpec) -> Held {
        let inner = &self.0;
        let mut changing = inner.lock();
        while changing.tasks.try_join_next().is_some() {}
        let what = if changing.retired {
            What::Nothing
        } else if inner.active.load().as_ref().is_some_and(|active| *active.spec() == spec) {
            What::Active(spec)
        } else if changing.pending.as_ref().is_some_and(|pending| *pending.backend.spec() == spec) {
            What::Pending
        } else {
            let backend = inner.build(&mut changing, spec);
            changing.held.push(Arc::clone(&backend));
            What::New(backend)
        };
        drop(changing);
        Held { slot: Arc::clone(inner), what }
    }
}

impl Held {
    /// The instance that was built for the change; `None` where it needs none.
    #[must_use]
    pub fn instance(&self) -> Option<&Arc<Backend>> {
        match &self.what {
            What::New(backend) => Some(backend),
            What::Active(_) | What::Pending | What::Nothing => None,
        }
    }

    /// Waits until what was built serves or has failed once, at most until `deadline`.
    pub async fn settled(&self, deadline: Instant) {
        if let What::New(backend) = &self.what {
            // In vain or not: `unready` says how it is.
            let _ = time::timeout_at(deadline, backend.wait_until(Status::is_verdict)).await;
        }
    }

    /// How the instance is that was built for the change, where it does not serve at this moment.
    #[must_use]
    pub fn unready(&self) -> Option<Arc<Status>> {
        self.instance().map(|backend| backend.status()).filter(|status| !status.state.serves())
    }

    /// Lets it take over, however it is; the one that it replaces drains. Of a slot that was retired meanwhile
    /// nothing takes over.
    pub fn promote(mut self) {
        match mem::replace(&mut self.what, What::Nothing) {
            What::New(backend) => self.slot.take_over(backend),
            // What was pending then may have taken over meanwhile.
            What::Active(spec) => drop(NamespaceSlot(Arc::clone(&self.slot)).apply(spec)),
            What::Pending | What::Nothing => {}
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let What::New(backend) = &self.what {
            self.slot.let_go(backend);
        }
    }
}

impl Inner {
    fn take_over(&self, backend: Arc<Backend>) {
        let mut changing = self.lock();
        let before = changing.held.len();
        changing.held.retain(|held| !Arc::ptr_eq(held, &backend));
        if changing.held.len() == before {
            return;
        }
        self.abandon(&mut changing);
        let replaced = self.active.swap(Some(backend));
        drop(changing);
        if let Some(replaced) = replaced {
            replaced.retire(Instant::now() + self.options.drain);
        }
    }

    /// No call has begun on it, so there is nothing to drain.
    fn let_go(&self, backend: &Arc<Backend>) {
        self.lock().held.retain(|held| !Arc::ptr_eq(held, backend));
        backend.retire(Instant::now());
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("instance", &self.instance()).finish_non_exhaustive()
    }
}
