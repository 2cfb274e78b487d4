//! The access log's buffer and the thread that empties it.
//!
//! A worker never waits for the log: it takes a buffer that nobody holds, or drops the line and counts it.

use super::{AccessLogSettings, Format};
use crate::{BuildContext, BuildError};
use prometheus::IntCounter;
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, TryLockError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How long a line waits at most while the log is quiet: short enough for a person who watches it.
const FLUSH_INTERVAL: Duration = Duration::from_millis(50);

/// Buffers that workers choose from. Each worker begins at another, so that two seldom want the same.
const SHARDS: usize = 8;

/// An open access log. The last handle's drop writes what is left and ends the thread.
pub(super) struct AccessLog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    format: Format,
}

struct Shared {
    shards: [Mutex<Vec<u8>>; SHARDS],
    shard_bytes: usize,
    dropped: IntCounter,
    stop: AtomicBool,
}

impl AccessLog {
    /// Opens it; `None` when it is switched off.
    pub(super) fn open(
        settings: &AccessLogSettings,
        cx: &BuildContext<'_>,
    ) -> Result<Option<Self>, BuildError> {
        let sink = match settings.path.as_str() {
            "off" => return Ok(None),
            "stdout" => Sink::Stdout,
            "stderr" => Sink::Stderr,
            path => {
                let path = cx.base_dir.join(path);
                let file = open(&path).map_err(|error| {
                    BuildError::new(format!("access_log.path: cannot append to {}: {error}", path.display()))
                })?;
                Sink::File { path, file }
            }
        };
        let shared = Arc::new(Shared {
            shards: std::array::from_fn(|_| Mutex::new(Vec::new())),
            shard_bytes: settings.buffer_bytes.as_usize() / SHARDS,
            dropped: cx.metrics.access_log_dropped.clone(),
            stop: AtomicBool::new(false),
        });
        let writer = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("prism-access-log".to_owned())
            .spawn(move || writer.run(sink))
            .map_err(|error| BuildError::new("cannot start the access log's thread").caused_by(error))?;
        Ok(Some(Self { shared, thread: Some(thread), format: settings.format }))
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Adds a line, or drops and counts it. Never waits.
    pub(super) fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let first = shard_of_this_thread();
        for offset in 0..SHARDS {
            // Trying is not waiting: a buffer that is being emptied is passed over.
            let shard = &self.shared.shards[(first + offset) % SHARDS];
            let Some(mut buffer) = try_lock(shard) else { continue };
            if buffer.len() >= self.shared.shard_bytes {
                continue;
            }
            write(&mut buffer);
            let is_half_full = buffer.len() * 2 >= self.shared.shard_bytes;
            // Before it is woken: on a busy core it runs at once, and would wait for this lock.
            drop(buffer);
            if is_half_full && let Some(thread) = &self.thread {
                thread.thread().unpark();
            }
            return;
        }
        self.shared.dropped.inc();
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It ends after one last write. A panic in it was printed when it happened.
            let _ = thread.join();
        }
    }
}

fn shard_of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static SHARD: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
    SHARD.with(|shard| *shard)
}

fn try_lock(shard: &Mutex<Vec<u8>>) -> Option<MutexGuard<'_, Vec<u8>>> {
    match shard.try_lock() {
        Ok(guard) => Some(guard),
        // Whoever panicked left whole lines or one cut line behind; the log goes on.
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

impl Shared {
    fn run(&self, mut sink: Sink) {
        let mut batch = Vec::new();
        loop {
            let stop = self.stop.load(Ordering::Acquire);
            let mut wrote = false;
            for shard in &self.shards {
                batch.clear();
                {
                    let mut buffer = shard.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    std::mem::swap(&mut *buffer, &mut batch);
                }
                if !batch.is_empty() {
                    wrote = true;
                    if sink.write(&batch).is_err() {
                        self.dropped.inc_by(batch.iter().filter(|byte| **byte == b'\n').count() as u64);
                    }
                }
            }
            if stop {
                return;
            }
            if !wrote {
                thread::park_timeout(FLUSH_INTERVAL);
            }
        }
    }
}

enum Sink {
    Stdout,
    Stderr,
    File { path: PathBuf, file: File },
}

fn open(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl Sink {
    fn write(&mut self, batch: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(batch)?;
                out.flush()
            }
            Self::Stderr => io::stderr().lock().write_all(batch),
            Self::File { path, file } => {
                // Moved away or deleted: the name means another file now.
                let here = std::fs::metadata(&*path).map(|named| (named.dev(), named.ino())).ok();
                let open_file = file.metadata().map(|open| (open.dev(), open.ino())).ok();
                if here != open_file {
                    *file = open(path)?;
                }
                file.write_all(batch)
            }
        }
    }
}
