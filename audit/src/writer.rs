//! The thread of a log: takes what is in its queue, puts it into the chain and the chain into files, and says how that goes.

use crate::{
    chain::{Chain, WriteError, inside, time},
    log::{Clock, IDLE, Shared, Status, Watcher, lock},
};
use bytes::Bytes;
use serde_json::json;
use std::{
    sync::{Arc, atomic::Ordering, mpsc::Receiver},
    thread,
    time::{Duration, SystemTime},
};

/// How many bytes of records go into one write.
const BATCH_BYTES: usize = 256 << 10;

/// Pause after a write: what comes meanwhile goes into the next one, and the thread is woken at most so often. It is also
/// what a `kill -9` can take of the last records.
const LINGER: Duration = Duration::from_millis(2);

/// How long a disk that failed is left alone. Somebody has to make room; that takes longer.
const RETRY: Duration = Duration::from_millis(500);

/// The log's thread.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    chain: Chain,
    records: Receiver<Bytes>,
    clock: Clock,
    watcher: Watcher,
    /// How many dropped records and refused calls the chain tells of already.
    told: (u64, u64),
    /// How many records were ever taken from the queue.
    taken: u64,
    /// Places of records that are in the chain and not in the file.
    held: usize,
    /// Records that are in the file.
    written: u64,
}

/// What a turn of the thread did.
enum Turn {
    /// There was nothing to write; it need not look again for so long.
    Nothing(Duration),
    /// It wrote.
    Wrote,
    /// It wrote, and there is more.
    Full,
}

/// Tells who waits for it that the thread has ended, however it did.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        *lock(&self.0.ended.0) = true;
        self.0.ended.1.notify_all();
    }
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        chain: Chain,
        records: Receiver<Bytes>,
        clock: Clock,
        watcher: Watcher,
    ) -> Self {
        Self { shared, chain, records, clock, watcher, told: (0, 0), taken: 0, held: 0, written: 0 }
    }

    /// Writes until nobody holds the log any more.
    pub(crate) fn run(mut self) {
        let _ended = Ended(Arc::clone(&self.shared));
        (self.watcher)(&self.status(None));
        loop {
            // Asked for first: what was put before it was set is seen below.
            let stop = self.shared.stop.load(Ordering::SeqCst);
            let pause = match self.turn() {
                Ok(Turn::Full) => Duration::ZERO,
                Ok(Turn::Wrote) => LINGER,
                Ok(Turn::Nothing(sleep)) => {
                    if stop && self.is_unused() && self.end() {
                        return;
                    }
                    sleep
                }
                Err(error) => {
                    self.fail(&error);
                    // Whoever stops the proxy is not to wait for a disk.
                    if stop && self.end() {
                        return;
                    }
                    RETRY
                }
            };
            self.pause(pause);
        }
    }

    /// Nobody holds a place, so nothing more can come.
    fn is_unused(&self) -> bool {
        self.shared.room.available_permits() == self.shared.settings.queue
    }

    fn losses(&self) -> (u64, u64) {
        (self.shared.dropped.load(Ordering::Relaxed), self.shared.refused.load(Ordering::Relaxed))
    }

    fn has_news(&self) -> bool {
        self.shared.queued.load(Ordering::SeqCst) != self.taken || self.losses() != self.told
    }

    fn pause(&self, pause: Duration) {
        if pause <= LINGER || self.shared.failing.load(Ordering::Relaxed) {
            // Nobody can hurry it.
            return thread::sleep(pause);
        }
        self.shared.asleep.store(true, Ordering::SeqCst);
        if !self.has_news() {
            thread::park_timeout(pause.min(IDLE));
        }
        self.shared.asleep.store(false, Ordering::SeqCst);
    }

    fn turn(&mut self) -> Result<Turn, WriteError> {
        let failing = self.shared.failing.load(Ordering::Relaxed);
        if !failing && !self.has_news() {
            let next = self.chain.tick((self.clock)())?;
            return Ok(Turn::Nothing(next.unwrap_or(IDLE)));
        }
        let now = (self.clock)();
        self.chain.prepare(now)?;
        let mut bytes = 0;
        while bytes < BATCH_BYTES
            && let Ok(record) = self.records.try_recv()
        {
            bytes += record.len();
            self.chain.append(&record);
            self.taken += 1;
            self.held += 1;
        }
        self.tell_losses(now);
        self.chain.flush()?;
        self.chain.tick(now)?;
        self.written += self.held as u64;
        self.shared.room.add_permits(std::mem::take(&mut self.held));
        if failing {
            tracing::info!(dir = %self.shared.settings.dir.display(), "the audit log is written again");
        }
        self.publish(None);
        Ok(if bytes < BATCH_BYTES { Turn::Wrote } else { Turn::Full })
    }

    /// A gap is never silent: the chain says how many records are not in it.
    fn tell_losses(&mut self, now: SystemTime) {
        let losses = self.losses();
        if losses == self.told {
            return;
        }
        let fields = json!({
            "kind": "dropped",
            "time": time(now),
            "records": losses.0 - self.told.0,
            "refused": losses.1 - self.told.1,
        });
        self.chain.append(&inside(&fields));
        self.told = losses;
    }

    fn fail(&mut self, error: &WriteError) {
        let problem = error.to_string();
        if lock(&self.shared.status).problem.as_ref() != Some(&problem) {
            tracing::error!("the audit log cannot be written: {problem}");
        }
        self.publish(Some(problem));
    }

    fn publish(&self, problem: Option<String>) {
        let status = self.status(problem);
        (self.watcher)(&status);
        self.shared.failing.store(status.problem.is_some(), Ordering::Relaxed);
        *lock(&self.shared.status) = status;
    }

    fn status(&self, problem: Option<String>) -> Status {
        let (dropped, refused) = self.losses();
        Status {
            segment: self.chain.segment(),
            seq: self.chain.seq(),
            head: self.chain.head(),
            records: self.written,
            dropped,
            refused,
            problem,
        }
    }

    /// Signs what there is and ends, unless somebody has opened the log again. Answers whether it has ended.
    fn end(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut ended = lock(&shared.ended.0);
        if !shared.stop.load(Ordering::SeqCst) {
            return false;
        }
        let left = self.held as u64 + self.shared.queued.load(Ordering::SeqCst) - self.taken;
        if let Err(error) = self.chain.end((self.clock)()) {
            tracing::error!(
                lost = left,
                "the audit log could not be ended, and its last records are lost: {error}"
            );
            self.shared.dropped.fetch_add(left, Ordering::Relaxed);
            self.publish(Some(error.to_string()));
        } else {
            self.publish(None);
        }
        self.chain.unlock();
        *ended = true;
        true
    }
}
