//! One instance of a plugin for one namespace, as requests and the control plane see it.

use super::{
    Counted, EndpointStatus, InstanceSpec, OperationTable, Status, Tally,
    seat::{self, Entry, Seat},
};
use crate::{
    channel::PluginChannel, in_process::InProcessChannel, instance::Transport, upstream::RemoteChannel,
};
use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use prism_platform::{Platform, time, time::Instant};
use prism_plugin_abi::{InstanceId, Metrics};
use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, watch};

/// How long calls that were told to end may take for it: a worker has to be woken.
const CUT: Duration = Duration::from_secs(1);

/// One instance of a plugin for one namespace. It never blocks a request: when it does not serve, its status
/// says why.
pub struct Backend {
    spec: InstanceSpec,
    instance: InstanceId,
    /// What the instance could do in whose place it was built.
    before: Option<Arc<OperationTable>>,
    /// Where it is: at one place, except for a remote plugin's.
    seats: Vec<Seat>,
    /// What is known of each seat.
    entries: Mutex<Vec<Entry>>,
    /// How it is with all its seats together.
    status: ArcSwap<Status>,
    /// Counts status changes.
    changed: watch::Sender<u64>,
    counted: ArcSwapOption<Counted>,
    failed_polls: AtomicU64,
    channel: Arc<dyn PluginChannel>,
    was_ready: AtomicBool,
    retiring: AtomicBool,
    /// Set once the drain's deadline is known.
    drain_until: watch::Sender<Option<Instant>>,
    /// The drain's deadline has passed with calls still open.
    cut: watch::Sender<bool>,
    in_flight: AtomicUsize,
    idle: Notify,
}

impl Backend {
    pub(crate) fn new(spec: InstanceSpec, platform: &Platform, before: Option<Arc<OperationTable>>) -> Self {
        let seat = Seat::new;
        let (channel, seats): (Arc<dyn PluginChannel>, Vec<Seat>) = match spec.plugin.transport() {
            Transport::InProcess(plugin) => {
                (Arc::new(InProcessChannel::new(plugin.clone())), vec![seat(None)])
            }
            Transport::Process { .. } | Transport::Remote(_) => {
                let endpoints = spec.plugin.endpoints();
                let seats: Vec<_> = endpoints.iter().map(|it| seat(Some(Arc::clone(it)))).collect();
                let links = seats.iter().map(|seat| Arc::clone(&seat.link));
                (Arc::new(RemoteChannel::new(endpoints.iter().cloned().zip(links).collect())), seats)
            }
        };
        // 0 stands for "no instance named".
        let instance = InstanceId(platform.random_u64().max(1));
        Self {
            spec,
            instance,
            before,
            entries: Mutex::new(seats.iter().map(|_| Entry::new()).collect()),
            seats,
            status: ArcSwap::from_pointee(Status::new()),
            changed: watch::Sender::new(0),
            counted: ArcSwapOption::empty(),
            failed_polls: AtomicU64::new(0),
            channel,
            was_ready: AtomicBool::new(false),
            retiring: AtomicBool::new(false),
            drain_until: watch::Sender::new(None),
            cut: watch::Sender::new(false),
            in_flight: AtomicUsize::new(0),
            idle: Notify::new(),
        }
    }

    /// What it was built from.
    #[must_use]
    pub fn spec(&self) -> &InstanceSpec {
        &self.spec
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        self.status.load_full()
    }

    /// What it was last heard to be able to do, or else what the one before it could.
    pub(crate) fn known_operations(&self) -> Option<Arc<OperationTable>> {
        self.load_status().operations.clone().or_else(|| self.before.clone())
    }

    /// How it is, for a request: cheaper than [`Backend::status`], to be held for a moment only.
    #[must_use]
    pub fn load_status(&self) -> Guard<Arc<Status>> {
        self.status.load()
    }

    /// It serves.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status.load().state.serves()
    }

    /// It has served at some time.
    #[must_use]
    pub fn was_ready(&self) -> bool {
        self.was_ready.load(Ordering::Relaxed)
    }

    /// What it counted, as it last said; `None` while it does not serve, and when it does not count.
    #[must_use]
    pub fn counted(&self) -> Option<Arc<Counted>> {
        self.counted.load_full()
    }

    /// What the process at a seat says that it counted; `None` when it does not say any more.
    pub(crate) fn count(&self, seat: usize, metrics: Option<Metrics>, tally: &Mutex<Tally>) {
        let mut entries = self.entries();
        if let Some(entry) = entries.get_mut(seat) {
            entry.counts.set(metrics);
        }
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = seat::sum(&entries).map(|metrics| tally.take(&metrics));
        self.counted.store(counted.map(Arc::new));
    }

    /// How often it was asked for that and gave no answer that could be read in time.
    #[must_use]
    pub fn failed_polls(&self) -> u64 {
        self.failed_polls.load(Ordering::Relaxed)
    }

    pub(crate) fn poll_failed(&self) {
        self.failed_polls.fetch_add(1, Ordering::Relaxed);
    }

    /// The way to it.
    #[must_use]
    pub fn channel(&self) -> &Arc<dyn PluginChannel> {
        &self.channel
    }

    /// Its number, for [`CallContext::instance`](prism_plugin_abi::CallContext::instance).
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// Calls that hold an [`InFlight`].
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Counts a call in; `None` when the instance is being retired, which means that there is another.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Option<InFlight> {
        // Counted before `retiring` is read, and `retire` sets it before it counts: one of the two sees the
        // other, so no call begins on an instance that is shut down.
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let call = InFlight(Arc::clone(self));
        (!self.retiring.load(Ordering::SeqCst)).then_some(call)
    }

    /// Resolves when calls still open must end: with UNAVAILABLE, reason `reloaded`.
    pub async fn cut(&self) {
        let mut cut = self.cut.subscribe();
        if cut.wait_for(|cut| *cut).await.is_err() {
            // The sender is in `self`.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the status satisfies `wanted`. Without a deadline of its own.
    pub async fn wait_until(&self, mut wanted: impl FnMut(&Status) -> bool) -> Arc<Status> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let status = self.status();
            if wanted(&status) || changed.changed().await.is_err() {
                return status;
            }
        }
    }

    /// How it is at each endpoint of its plugin; nothing, when that lives in this process.
    #[must_use]
    pub fn endpoints(&self) -> Vec<EndpointStatus> {
        let entries = self.entries();
        let seats = self.seats.iter().zip(entries.iter());
        let shown = seats.filter_map(|(seat, entry)| {
            let endpoint = seat.endpoint.as_ref()?.target().to_string();
            Some(EndpointStatus { endpoint, state: entry.status.state, reason: entry.status.reason.clone() })
        });
        shown.collect()
    }

    pub(crate) fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// How it is at one seat.
    pub(crate) fn seat_status(&self, seat: usize) -> Status {
        self.entries().get(seat).map_or_else(Status::new, |entry| entry.status.clone())
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the status at one seat, and with it the status of all together; `since` moves with the state.
    pub(crate) fn update(&self, seat: usize, change: impl FnOnce(&mut Status)) {
        let mut entries = self.entries();
        if let (Some(entry), Some(seat)) = (entries.get_mut(seat), self.seats.get(seat)) {
            let before = entry.status.state;
            change(&mut entry.status);
            if entry.status.state != before {
                entry.status.since = Instant::now();
            }
            // Calls that were counted in before may still have to be sent.
            if entry.status.state != super::State::Draining {
                seat.link.set_serves(entry.status.state.serves());
            }
        }
        let mut status = match entries.as_slice() {
            [entry] => entry.status.clone(),
            several => seat::together(several, |index| self.seat_name(index).unwrap_or_default()),
        };
        let before = self.status.load();
        status.since = if status.state == before.state { before.since } else { Instant::now() };
        if status.state.serves() {
            self.was_ready.store(true, Ordering::Relaxed);
        }
        // Under the lock: of two seats that change, the last one's view is what stays.
        self.status.store(Arc::new(status));
        drop(entries);
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The endpoint, for a person; `None` in this process.
    pub(crate) fn seat_name(&self, seat: usize) -> Option<String> {
        Some(self.seats.get(seat)?.endpoint.as_ref()?.target().to_string())
    }

    /// Takes no more calls; those under way may end until `deadline`. Its supervisor does the rest.
    pub(crate) fn retire(&self, deadline: Instant) {
        self.retiring.store(true, Ordering::SeqCst);
        self.drain_until
            .send_modify(|until| *until = Some(until.map_or(deadline, |known| known.min(deadline))));
    }

    /// Resolves when it is being retired.
    pub(crate) async fn retired(&self) {
        let mut until = self.drain_until.subscribe();
        if until.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for the calls under way, at most until the deadline; then tells them to end, and lets them: what the plugin would say
    /// of its own end is not what their callers are to hear.
    pub(crate) async fn drained(&self) {
        let mut until = self.drain_until.subscribe();
        loop {
            let deadline = (*until.borrow_and_update()).unwrap_or_else(Instant::now);
            if self.in_flight() == 0 {
                return;
            }
            tokio::select! {
                () = self.idle.notified() => {}
                _ = until.changed() => {}
                () = time::sleep_until(deadline) => {
                    self.cut.send_replace(true);
                    let ended = async {
                        while self.in_flight() > 0 {
                            self.idle.notified().await;
                        }
                    };
                    // One whose caller takes nothing does not hear of it.
                    let _ = time::timeout(CUT, ended).await;
                    return;
                }
            }
        }
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("spec", &self.spec)
            .field("instance", &self.instance)
            .field("state", &self.status.load().state)
            .finish_non_exhaustive()
    }
}

/// A call on a backend, held until its response body ends or is dropped.
#[derive(Debug)]
pub struct InFlight(Arc<Backend>);

impl Deref for InFlight {
    type Target = Arc<Backend>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let last = self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && self.0.retiring.load(Ordering::SeqCst) {
            self.0.idle.notify_one();
        }
    }
}
