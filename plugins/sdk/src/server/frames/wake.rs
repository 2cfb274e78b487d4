//! Which of a connection's calls want to be polled.
//!
//! Every slot has one waker, made when it is first used and kept for all calls that will ever be in it: a
//! wake-up that comes too late polls the next call once more than needed, which every future allows.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Poll, Wake, Waker},
};

/// The slots of a connection that were woken.
pub(super) struct Woken {
    shared: Arc<Shared>,
    slots: Vec<Option<(Arc<Slot>, Waker)>>,
}

struct Shared {
    state: Mutex<State>,
    /// The connection is at work and looks at the list before it rests, so there is nobody to wake. Said to be
    /// over before that last look: who comes after it finds that.
    at_work: AtomicBool,
}

struct State {
    woken: Vec<u32>,
    connection: Waker,
}

struct Slot {
    index: u32,
    /// It stands in the list, whose lock guards this.
    queued: AtomicBool,
    shared: Arc<Shared>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Slot {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let connection = {
            let mut state = self.shared.lock();
            if self.queued.swap(true, Relaxed) {
                return;
            }
            state.woken.push(self.index);
            (!self.shared.at_work.load(SeqCst)).then(|| state.connection.clone())
        };
        if let Some(connection) = connection {
            connection.wake();
        }
    }
}

impl Woken {
    pub(super) fn new() -> Self {
        let state = State { woken: Vec::new(), connection: Waker::noop().clone() };
        let shared = Shared { state: Mutex::new(state), at_work: AtomicBool::new(true) };
        Self { shared: Arc::new(shared), slots: Vec::new() }
    }

    /// The waker of a slot. Slots are few and counted from 0: the table grows to the largest.
    pub(super) fn waker(&mut self, index: u32) -> &Waker {
        let place = index as usize;
        if self.slots.len() <= place {
            self.slots.resize_with(place + 1, || None);
        }
        let shared = &self.shared;
        let (_, waker) = self.slots[place].get_or_insert_with(|| {
            let shared = Arc::clone(shared);
            let slot = Arc::new(Slot { index, queued: AtomicBool::new(false), shared });
            let waker = Waker::from(Arc::clone(&slot));
            (slot, waker)
        });
        waker
    }

    /// The connection begins to work.
    pub(super) fn begin(&self) {
        self.shared.at_work.store(true, SeqCst);
    }

    /// Puts those that were woken since the last time into `slots`, which must be empty.
    pub(super) fn take(&mut self, slots: &mut Vec<u32>) {
        let mut state = self.shared.lock();
        std::mem::swap(&mut state.woken, slots);
        for index in &*slots {
            if let Some(Some((slot, _))) = self.slots.get(*index as usize) {
                slot.queued.store(false, Relaxed);
            }
        }
    }

    /// The connection has nothing more to do: pending, unless a slot was woken in the meantime. From now on
    /// such a slot wakes the connection.
    pub(super) fn poll_rest(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.at_work.store(false, SeqCst);
        let mut state = self.shared.lock();
        if !state.woken.is_empty() {
            return Poll::Ready(());
        }
        if !state.connection.will_wake(cx.waker()) {
            state.connection.clone_from(cx.waker());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn taken(woken: &mut Woken) -> Vec<u32> {
        let mut slots = Vec::new();
        woken.take(&mut slots);
        slots
    }

    #[test]
    fn each_slot_is_listed_once_and_wakes_only_who_rests() {
        let count = Arc::new(Count::default());
        let task = Waker::from(Arc::clone(&count));
        let mut cx = Context::from_waker(&task);
        let mut woken = Woken::new();
        let (two, zero) = (woken.waker(2).clone(), woken.waker(0).clone());
        assert!(two.will_wake(woken.waker(2)), "a slot keeps its waker");
        woken.begin();
        two.wake_by_ref();
        zero.wake_by_ref();
        two.wake_by_ref();
        assert_eq!(count.0.load(SeqCst), 0, "it is at work");
        assert!(woken.poll_rest(&mut cx).is_ready(), "and has more to do");
        assert_eq!(taken(&mut woken), [2, 0]);
        assert!(woken.poll_rest(&mut cx).is_pending());
        zero.wake_by_ref();
        two.wake_by_ref();
        assert!(count.0.load(SeqCst) >= 1);
        woken.begin();
        assert_eq!(taken(&mut woken), [0, 2]);
        assert!(taken(&mut woken).is_empty());
    }

    const WAKES: usize = 10_000;

    struct Unpark(std::thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    #[test]
    fn no_wake_up_is_lost_between_threads() {
        let mut woken = Woken::new();
        let waker = woken.waker(0).clone();
        let (sent, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let thread = std::thread::spawn({
            let (sent, seen) = (Arc::clone(&sent), Arc::clone(&seen));
            move || {
                for number in 1..=WAKES {
                    sent.store(number, SeqCst);
                    waker.wake_by_ref();
                    // Each must be seen before the next: one that is lost hangs here.
                    while seen.load(SeqCst) < number {
                        std::thread::yield_now();
                    }
                }
            }
        });
        let task = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut cx = Context::from_waker(&task);
        while seen.load(SeqCst) < WAKES {
            woken.begin();
            if !taken(&mut woken).is_empty() {
                seen.store(sent.load(SeqCst), SeqCst);
            }
            if woken.poll_rest(&mut cx).is_pending() && seen.load(SeqCst) < WAKES {
                std::thread::park();
            }
        }
        thread.join().unwrap();
    }
}
