//! A log that many write to: a queue with room for so many records, and one thread that empties it.
//!
//! A place in the queue is taken before there is a record, asynchronously, and the record is put there when there is one,
//! without waiting: so a call knows before it does anything that what it does can be written down.

use crate::{
    chain::{Chain, OpenError},
    line::Hash,
    settings::LogSettings,
    writer::Writer,
};
use bytes::{Bytes, BytesMut};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Sender},
    },
    thread::{self, Thread},
    time::{Duration, SystemTime},
};
use tokio::sync::Semaphore;

/// The longest record that is taken; a longer one is a bug of who makes it, and is counted as dropped.
pub const MOST_RECORD: usize = 32 << 10;

/// Records are put side by side into pieces of memory of this size: a hundred calls' in one. Each in its own would be allocated
/// here and freed by the log's thread, and come back long after the processor's caches have forgotten it.
const PIECE: usize = 64 << 10;

thread_local!(static PIECES: RefCell<BytesMut> = RefCell::default());

/// A copy of a record, for the log's thread.
fn packed(record: &[u8]) -> Bytes {
    let pack = |piece: &RefCell<BytesMut>| {
        let mut piece = piece.borrow_mut();
        if piece.capacity() < record.len() {
            *piece = BytesMut::with_capacity(PIECE.max(record.len()));
        }
        piece.extend_from_slice(record);
        piece.split().freeze()
    };
    // A thread that ends has none any more.
    PIECES.try_with(pack).unwrap_or_else(|_| Bytes::copy_from_slice(record))
}

/// How long the thread sleeps at most.
pub(crate) const IDLE: Duration = Duration::from_secs(1);

/// The time of day.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Told of every change, by the log's thread.
pub type Watcher = Box<dyn Fn(&Status) + Send>;

/// How a log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The segment that is being written, or the last one; 0 where there is none.
    pub segment: u64,
    /// The number of its last line.
    pub seq: u64,
    /// The hash of its last line: whoever keeps it elsewhere can tell later that nothing of before was changed.
    pub head: Hash,
    /// Records that this process has written.
    pub records: u64,
    /// Records that this process could not write.
    pub dropped: u64,
    /// Calls that were refused because they could not have been written down.
    pub refused: u64,
    /// Why nothing can be written just now.
    pub problem: Option<String>,
}

/// A log, open for writing. When the last handle is gone, its thread writes what it still has, signs and ends.
pub struct Log {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) settings: LogSettings,
    pub(crate) room: Semaphore,
    pub(crate) queue: Sender<Bytes>,
    /// How many records were ever put there.
    pub(crate) queued: AtomicU64,
    pub(crate) failing: AtomicBool,
    pub(crate) dropped: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) stop: AtomicBool,
    /// The thread sleeps, or is about to.
    pub(crate) asleep: AtomicBool,
    pub(crate) thread: OnceLock<Thread>,
    pub(crate) status: Mutex<Status>,
    pub(crate) ended: (Mutex<bool>, Condvar),
}

/// Why there is no place for a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit log cannot be written: {0}")]
pub struct Failing(pub String);

/// A place in the queue. Dropped without a record, it is given back.
#[derive(Debug)]
pub struct Slot(Option<Arc<Shared>>);

/// A log, if somebody still holds it, and what its thread works with.
type Known = (Weak<Log>, Arc<Shared>);

/// Logs of this process by their folder, those that are about to end included: a folder has one writer.
static OPEN: Mutex<BTreeMap<PathBuf, Known>> = Mutex::new(BTreeMap::new());

impl Log {
    /// Opens a log, or finds the one that this process has open. Blocks for a moment: the last segment is read.
    ///
    /// # Errors
    /// Its folder or its key cannot be used, it is open otherwise, or what it is to go on with is not a log.
    pub fn open(settings: LogSettings, clock: Clock, watcher: Watcher) -> Result<Arc<Self>, OpenError> {
        let dir = fs::canonicalize(&settings.dir)
            .map_err(|source| OpenError::Folder { dir: settings.dir.clone(), source })?;
        let settings = LogSettings { dir: dir.clone(), ..settings };
        let mut open = lock(&OPEN);
        open.retain(|_, (log, shared)| log.strong_count() > 0 || !*lock(&shared.ended.0));
        if let Some((log, shared)) = open.get(&dir) {
            let same = shared.settings == settings;
            if let Some(log) = log.upgrade() {
                return if same { Ok(log) } else { Err(OpenError::Differs { dir }) };
            }
            let shared = Arc::clone(shared);
            if same && let Some(log) = shared.revive() {
                open.insert(dir, (Arc::downgrade(&log), shared));
                return Ok(log);
            }
            // Its last words have to be there before a new one goes on from them.
            if !shared.await_end(IDLE) {
                return Err(OpenError::Differs { dir });
            }
        }
        let chain = Chain::open(settings.clone(), clock())?;
        let (queue, records) = mpsc::channel();
        let shared = Arc::new(Shared {
            room: Semaphore::new(settings.queue),
            settings,
            queue,
            queued: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            thread: OnceLock::new(),
            status: Mutex::new(Status {
                segment: chain.segment(),
                seq: chain.seq(),
                head: chain.head(),
                records: 0,
                dropped: 0,
                refused: 0,
                problem: None,
            }),
            ended: (Mutex::new(false), Condvar::new()),
        });
        tracing::info!(
            dir = %dir.display(), seq = chain.seq(), head = %chain.head(), key = %chain.key().public(), "audit log opened"
        );
        let writer = Writer::new(Arc::clone(&shared), chain, records, clock, watcher);
        let thread = thread::Builder::new()
            .name("prism-audit".to_owned())
            .spawn(move || writer.run())
            .map_err(OpenError::Thread)?;
        let _ = shared.thread.set(thread.thread().clone());
        let log = Arc::new(Self { shared: Arc::clone(&shared) });
        open.insert(dir, (Arc::downgrade(&log), shared));
        Ok(log)
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.shared.settings.dir
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut status = lock(&self.shared.status).clone();
        status.dropped = self.shared.dropped.load(Ordering::Relaxed);
        status.refused = self.shared.refused.load(Ordering::Relaxed);
        status
    }

    /// A place for a record, at once or when there is one: bounded by the caller, who may drop the future at any time.
    /// Waits on no lock and blocks no thread.
    ///
    /// # Errors
    /// Nothing can be written just now, and why.
    pub async fn reserve(&self) -> Result<Slot, Failing> {
        if self.shared.failing.load(Ordering::Relaxed) {
            let problem = lock(&self.shared.status).problem.clone();
            return Err(Failing(problem.unwrap_or_default()));
        }
        // It is never closed.
        if let Ok(permit) = self.shared.room.acquire().await {
            permit.forget();
        }
        Ok(Slot(Some(Arc::clone(&self.shared))))
    }

    /// A place for a record, if nothing speaks against it: what is to be tried before [`Log::reserve`], which says what does.
    #[must_use]
    pub fn reserve_at_once(&self) -> Option<Slot> {
        if self.shared.failing.load(Ordering::Relaxed) { None } else { self.try_reserve() }
    }

    /// A place for a record, if there is one.
    #[must_use]
    pub fn try_reserve(&self) -> Option<Slot> {
        self.shared.room.try_acquire().ok()?.forget();
        Some(Slot(Some(Arc::clone(&self.shared))))
    }

    /// Something happened that will not be in the log. The next record that is says how often.
    pub fn count_dropped(&self) {
        self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        self.shared.wake();
    }

    /// A call was refused that would not have been in the log, and is not either.
    pub fn count_refused(&self) {
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
        self.shared.wake();
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.wake();
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Slot {
    /// Puts a record there: the inside of a JSON object, on one line, with at least `kind` and `time`. Never waits.
    pub fn put(mut self, record: impl AsRef<[u8]>) {
        let record = record.as_ref();
        let Some(shared) = self.0.take() else { return };
        // Without a way out in the middle, many bytes are looked at at once.
        let has_end = record.iter().fold(false, |found, byte| found | (*byte == b'\n'));
        if record.len() > MOST_RECORD || has_end {
            shared.dropped.fetch_add(1, Ordering::Relaxed);
            shared.room.add_permits(1);
        } else {
            // The receiving end lives until every slot is gone.
            let _ = shared.queue.send(packed(record));
            shared.queued.fetch_add(1, Ordering::SeqCst);
            if !shared.asleep.load(Ordering::SeqCst) {
                // It looks at what was queued after it has said that it sleeps.
                return;
            }
        }
        shared.wake();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.room.add_permits(1);
            shared.wake();
        }
    }
}

impl Shared {
    fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Takes up a log that its last user has left and that has calls under way, if its thread has not ended.
    fn revive(self: &Arc<Self>) -> Option<Arc<Log>> {
        let ended = lock(&self.ended.0);
        if *ended {
            return None;
        }
        self.stop.store(false, Ordering::SeqCst);
        Some(Arc::new(Log { shared: Arc::clone(self) }))
    }

    /// Waits until the thread has ended; answers whether it has.
    fn await_end(&self, timeout: Duration) -> bool {
        let (ended, told) = &self.ended;
        let waited = told.wait_timeout_while(lock(ended), timeout, |ended| !*ended);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Waits until every log that nobody holds any more has written its last line, and answers whether all have: what a process
/// does before it exits. Blocks.
#[must_use]
pub fn finish(timeout: Duration) -> bool {
    let ending: Vec<Arc<Shared>> = {
        let open = lock(&OPEN);
        open.values()
            .filter(|(log, _)| log.strong_count() == 0)
            .map(|(_, shared)| Arc::clone(shared))
            .collect()
    };
    ending.iter().all(|shared| shared.await_end(timeout))
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
