//! What belongs to one worker and to no other: its upstream connections and the tasks that drive them.

use foldhash::HashMap;
use prism_platform::Platform;
use std::{
    any::Any,
    cell::{Cell, RefCell},
    fmt,
    future::Future,
    rc::Rc,
    sync::{Arc, Weak},
};
use tokio::task::JoinSet;

/// A worker's own store. It never leaves the worker's thread, so nothing in it needs a lock.
pub struct WorkerLocal {
    platform: Platform,
    slots: RefCell<HashMap<usize, Slot>>,
    tasks: Rc<RefCell<JoinSet<()>>>,
    turn: Cell<usize>,
}

struct Slot {
    owner: Weak<dyn Any + Send + Sync>,
    value: Rc<dyn Any>,
}

impl WorkerLocal {
    /// An empty store.
    #[must_use]
    pub fn new(platform: Platform) -> Self {
        Self { platform, slots: RefCell::default(), tasks: Rc::default(), turn: Cell::new(0) }
    }

    /// Sockets, clock and chance.
    #[must_use]
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// What this worker keeps for `owner`, made on first use. It goes when `owner` is dropped anywhere
    /// (noticed when the next slot is made) or when the worker ends.
    ///
    /// # Panics
    /// When one owner asks for two different types: a bug in the transport.
    pub fn slot<O, T>(&self, owner: &Arc<O>, make: impl FnOnce() -> T) -> Rc<T>
    where
        O: Send + Sync + 'static,
        T: 'static,
    {
        let key = Arc::as_ptr(owner).cast::<()>() as usize;
        if let Some(slot) = self.slots.borrow().get(&key) {
            // An address is reused only after its owner is gone, and then the weak reference is dead.
            if slot.owner.strong_count() > 0 {
                return Rc::clone(&slot.value).downcast().expect("one owner keeps one type per worker");
            }
        }
        let value = Rc::new(make());
        let owner: Arc<dyn Any + Send + Sync> = Arc::<O>::clone(owner);
        let mut slots = self.slots.borrow_mut();
        slots.retain(|_, slot| slot.owner.strong_count() > 0);
        slots.insert(key, Slot { owner: Arc::downgrade(&owner), value: Rc::<T>::clone(&value) });
        value
    }

    /// One more each time: for whoever chooses between equals.
    pub(crate) fn turn(&self) -> usize {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        turn
    }

    /// Runs tasks that end with this worker at the latest: connections' drivers, never a call. It outlives the
    /// borrow of this store, for a call that has to dial again.
    pub(crate) fn spawner(&self) -> Spawner {
        Spawner(Rc::downgrade(&self.tasks))
    }
}

/// Runs tasks that end with their worker. Weak, or a task that holds one would keep itself alive.
#[derive(Clone)]
pub(crate) struct Spawner(std::rc::Weak<RefCell<JoinSet<()>>>);

impl Spawner {
    /// Runs a task; drops it at once when the worker is gone.
    ///
    /// # Panics
    /// Outside a [`tokio::task::LocalSet`], on which every worker runs.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let Some(tasks) = self.0.upgrade() else { return };
        let mut tasks = tasks.borrow_mut();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_local(task);
    }
}

impl fmt::Debug for WorkerLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerLocal").field("slots", &self.slots.borrow().len()).finish_non_exhaustive()
    }
}
