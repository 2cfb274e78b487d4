//! Keyspace notifications as the interface's events.
//!
//! Each watcher has a connection of its own. A task moves what Redis says into a bounded buffer of keys, at
//! once, because the client library's own queue has no bound. The stream takes keys from there and reads
//! the values at the pace of its client; so a value may be newer than its event, and is never older.

use crate::{Backend, error, glob};
use bytes::Bytes;
use futures_core::Stream;
use futures_util::{StreamExt, stream};
use prism_plugin_sdk::{
    abi::{Code, Error},
    kv::{EventKind, WatchEvent, fell_behind},
};
use redis::{aio::PubSubStream, cmd};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

/// Opens a watcher; the subscription is in place when this resolves.
pub(crate) async fn open(
    backend: Arc<Backend>,
    prefix: String,
) -> Result<impl Stream<Item = Result<WatchEvent, Error>> + Send + 'static, Error> {
    let permit = backend.watchers.clone().try_acquire_owned().map_err(|_| {
        let most = backend.config.max_watchers;
        Error::operation(
            Code::ResourceExhausted,
            format!("the namespace has {most} watchers, its most; raise `max_watchers`"),
        )
    })?;
    let channels = channels(&backend).await?;
    let subscribed = timeout(
        Duration::from_millis(backend.config.connect_timeout_ms + backend.config.command_timeout_ms),
        async {
            let mut subscription = backend.client.get_async_pubsub().await?;
            subscription.psubscribe(channels.pattern(backend.database, &backend.physical(&prefix))).await?;
            Ok(subscription.split())
        },
    );
    let (sink, messages) = subscribed
        .await
        .map_err(|_| Error::operation(Code::Unavailable, "redis: does not answer while being subscribed to"))?
        .map_err(|error| error::redis(&error))?;
    let (sender, keys) = mpsc::channel(backend.config.watch_buffer);
    let (why, end) = oneshot::channel();
    let wanted = backend.physical(&prefix).into_bytes();
    let task = tokio::spawn(async move {
        // The connection lives as long as its sink.
        let _sink = sink;
        let error = pump(channels, messages, &wanted, &sender).await;
        // Nobody listens when the stream was dropped.
        let _ = why.send(error);
    });
    let watcher = Watcher { backend, keys, end: Some(end), _task: AbortOnDrop(task), _permit: permit };
    Ok(stream::unfold(watcher, |mut watcher| async {
        let item = watcher.next().await?;
        Some((item, watcher))
    }))
}

/// Where Redis announces what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Channels {
    /// `__keyspace@0__:key`, the message is the event.
    Keyspace,
    /// `__keyevent@0__:event`, the message is the key.
    Keyevent,
}

impl Channels {
    fn pattern(self, database: i64, prefix: &str) -> String {
        match self {
            Self::Keyspace => format!("__keyspace@{database}__:{}", glob(prefix)),
            Self::Keyevent => format!("__keyevent@{database}__:*"),
        }
    }

    /// What a setting of `notify-keyspace-events` allows; an error that says what it lacks.
    fn of(flags: &str, evicts: bool) -> Result<Self, String> {
        let has = |flag| flags.contains(flag);
        let missing: String = ['g', '$', 'x', 'e']
            .into_iter()
            .filter(|flag| !has('A') && !has(*flag) && (evicts || *flag != 'e'))
            .collect();
        match (has('K'), has('E'), missing.is_empty()) {
            (true, _, true) => Ok(Self::Keyspace),
            (false, true, true) => Ok(Self::Keyevent),
            (false, false, _) => Err(format!("K{missing}")),
            _ => Err(missing),
        }
    }
}

/// Asks Redis whether it announces enough.
async fn channels(backend: &Backend) -> Result<Channels, Error> {
    if backend.config.assume_notifications {
        return Ok(Channels::Keyspace);
    }
    let get = |name: &'static str| async move {
        let asked = backend.query::<HashMap<String, String>>(cmd("CONFIG").arg("GET").arg(name)).await;
        match asked {
            Ok(mut answer) => Ok(answer.remove(name).unwrap_or_default()),
            Err(error) if matches!(error.code, Code::Unavailable | Code::DeadlineExceeded) => Err(error),
            Err(error) => Err(Error::operation(
                Code::FailedPrecondition,
                format!(
                    "redis does not say what `notify-keyspace-events` is ({}); where it is known to hold Kg$xe, \
                     set `assume_notifications: true` in the namespace's config",
                    error.message
                ),
            )),
        }
    };
    let flags = get("notify-keyspace-events").await?;
    let evicts = get("maxmemory-policy").await? != "noeviction";
    Channels::of(&flags, evicts).map_err(|missing| {
        Error::operation(
            Code::FailedPrecondition,
            format!(
                "redis cannot be watched: its setting `notify-keyspace-events` is \"{flags}\" and lacks \
                 \"{missing}\"; run CONFIG SET notify-keyspace-events KA"
            ),
        )
    })
}

/// What an announced event means to the interface; `None` for those that it does not report.
fn meaning(event: &[u8]) -> Option<EventKind> {
    match event {
        b"set" | b"setrange" | b"setbit" | b"append" | b"incrby" | b"incrbyfloat" | b"rename_to"
        | b"copy_to" | b"move_to" | b"restore" => Some(EventKind::Put),
        b"del" | b"rename_from" | b"move_from" => Some(EventKind::Delete),
        b"expired" | b"evicted" => Some(EventKind::Expire),
        _ => None,
    }
}

/// Moves events into the buffer until that must end, and says why.
async fn pump(
    channels: Channels,
    mut messages: PubSubStream,
    prefix: &[u8],
    sender: &mpsc::Sender<(EventKind, Vec<u8>)>,
) -> Error {
    while let Some(message) = messages.next().await {
        let Ok(channel) = message.get_channel::<Vec<u8>>() else { continue };
        // Everything behind the first colon; the database's number has none.
        let Some(colon) = channel.iter().position(|byte| *byte == b':') else { continue };
        let (name, payload) = (&channel[colon + 1..], message.get_payload_bytes());
        let (event, key) = match channels {
            Channels::Keyspace => (payload, name),
            Channels::Keyevent => (name, payload),
        };
        let Some(kind) = meaning(event).filter(|_| key.starts_with(prefix)) else { continue };
        match sender.try_send((kind, key.to_vec())) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return fell_behind(sender.max_capacity()),
            Err(mpsc::error::TrySendError::Closed(_)) => break,
        }
    }
    Error::operation(Code::Unavailable, "redis: the subscription's connection was lost; watch again")
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Watcher {
    backend: Arc<Backend>,
    keys: mpsc::Receiver<(EventKind, Vec<u8>)>,
    end: Option<oneshot::Receiver<Error>>,
    _task: AbortOnDrop,
    _permit: OwnedSemaphorePermit,
}

impl Watcher {
    /// The next event; the reason of the end; then nothing.
    async fn next(&mut self) -> Option<Result<WatchEvent, Error>> {
        self.end.as_ref()?;
        loop {
            let next = tokio::select! {
                biased;
                next = self.keys.recv() => next,
                // A semaphore without permits is acquired by nobody: this resolves when it is closed.
                _ = self.backend.open.acquire() => {
                    self.end = None;
                    let error = Error::channel(Code::Unavailable, "the namespace's instance was shut down");
                    return Some(Err(error));
                }
            };
            let Some((kind, physical)) = next else {
                let why = self.end.take()?.await;
                let lost = |_| Error::operation(Code::Internal, "the watcher's task is gone");
                return Some(Err(why.unwrap_or_else(lost)));
            };
            let Some(key) = self.backend.logical(&physical) else { continue };
            let (kind, value) = match kind {
                EventKind::Put => match self.value(&physical).await {
                    Ok(Some(value)) => (EventKind::Put, value),
                    Ok(None) => (EventKind::Delete, Bytes::new()),
                    // Of another type, and so none of this interface's keys.
                    Err(error) if error.code == Code::FailedPrecondition => continue,
                    Err(error) => {
                        self.end = None;
                        return Some(Err(error));
                    }
                },
                kind => (kind, Bytes::new()),
            };
            return Some(Ok(WatchEvent { kind: kind.into(), key, value }));
        }
    }

    async fn value(&self, physical: &[u8]) -> Result<Option<Bytes>, Error> {
        self.backend.query(cmd("GET").arg(physical)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_judged() {
        for (flags, evicts, want) in [
            ("AKE", true, Ok(Channels::Keyspace)),
            ("KA", true, Ok(Channels::Keyspace)),
            ("AE", true, Ok(Channels::Keyevent)),
            ("Kg$x", false, Ok(Channels::Keyspace)),
            ("Kg$xe", true, Ok(Channels::Keyspace)),
            ("Eg$xe", true, Ok(Channels::Keyevent)),
            ("", false, Err("Kg$x")),
            ("A", false, Err("K")),
            ("Kg$x", true, Err("e")),
            ("K$x", false, Err("g")),
            ("Kgx", false, Err("$")),
            ("Eg$", false, Err("x")),
            ("K", true, Err("g$xe")),
        ] {
            assert_eq!(Channels::of(flags, evicts), want.map_err(str::to_owned), "{flags} {evicts}");
        }
    }
}
