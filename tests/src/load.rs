//! Clients that call without pause until they are told to stop.

use crate::client::grpc::Client;
use bytes::Bytes;
use prism_proto::plugin::{ExecuteRequest, execute_request::Params, execute_response};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use tokio::task::JoinSet;

/// Running clients. Each has a value of its own, sends it, has it back and compares.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
    clients: JoinSet<Vec<String>>,
}

/// What they saw.
#[derive(Debug)]
pub struct Outcome {
    /// How many calls they made.
    pub calls: u64,
    /// How many of them were answered.
    pub answered: u64,
    /// What failed.
    pub failures: Vec<String>,
}

impl Outcome {
    /// What failed although it may have been begun. The others are safe to call again: those that could not connect,
    /// and those above a GOAWAY's last stream, which a client "can treat ... as though they had never been created"
    /// (RFC 9113, section 6.8). The latter happens to clients that answer the drain's PING before they send the
    /// requests that they have queued, as the `h2` crate does.
    pub fn lost(&self) -> Vec<&str> {
        let never_begun = |failure: &str| {
            failure.to_lowercase().contains("connect") || failure.contains("GoAway(b\"\", NO_ERROR, Remote)")
        };
        self.failures.iter().map(String::as_str).filter(|failure| !never_begun(failure)).collect()
    }
}

impl Load {
    /// Starts so many clients of a key-value namespace, each on a connection of its own.
    #[must_use]
    pub fn start(port: u16, namespace: &str, clients: usize) -> Self {
        Self::of(port, namespace, clients, Calls::SetAndGet)
    }

    /// Starts so many clients of a namespace that has an operation `echo`.
    #[must_use]
    pub fn start_echo(port: u16, namespace: &str, clients: usize) -> Self {
        Self::of(port, namespace, clients, Calls::Echo)
    }

    fn of(port: u16, namespace: &str, clients: usize, what: Calls) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            calls: Arc::default(),
            answered: Arc::default(),
            clients: JoinSet::new(),
        };
        for number in 0..clients {
            let client = Client::new(port, namespace);
            let (stop, calls) = (Arc::clone(&load.stop), Arc::clone(&load.calls));
            let answered = Arc::clone(&load.answered);
            load.clients.spawn(async move {
                let key = format!("load-{number}");
                let mut failures = Vec::new();
                for round in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let (done, made) = match what {
                        Calls::SetAndGet => (round_trip(&client, &key, round, &answered).await, 2),
                        Calls::Echo => (echo(&client, &key, round, &answered).await, 1),
                    };
                    failures.extend(done.err());
                    calls.fetch_add(made, Ordering::Relaxed);
                }
                failures
            });
        }
        load
    }

    /// How many calls were answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// How many calls were made so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Lets the clients finish their call and stops them.
    ///
    /// # Panics
    /// When a client does.
    pub async fn stop(mut self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        while let Some(client) = self.clients.join_next().await {
            failures.extend(client.unwrap());
        }
        Outcome { calls: self.calls(), answered: self.answered.load(Ordering::Relaxed), failures }
    }
}

/// What a client calls.
#[derive(Debug, Clone, Copy)]
enum Calls {
    SetAndGet,
    Echo,
}

async fn echo(client: &Client, key: &str, round: u64, answered: &AtomicU64) -> Result<(), String> {
    let value = Bytes::from(format!("{key} {round}"));
    let params = Some(Params::RawParams(value.clone()));
    let message = ExecuteRequest { operation: "echo".into(), params, ..ExecuteRequest::default() };
    let answer = client.execute(message).await.map_err(|status| format!("echo: {status:?}"))?;
    answered.fetch_add(1, Ordering::Relaxed);
    match answer.result {
        Some(execute_response::Result::RawResult(back)) if back == value => Ok(()),
        _ => Err(format!("{answer:?}, not {value:?}")),
    }
}

async fn round_trip(client: &Client, key: &str, round: u64, answered: &AtomicU64) -> Result<(), String> {
    let value = round.to_string();
    client.set(key, value.clone()).await.map_err(|status| format!("set: {status:?}"))?;
    answered.fetch_add(1, Ordering::Relaxed);
    let found = client.get(key).await.map_err(|status| format!("get: {status:?}"))?;
    answered.fetch_add(1, Ordering::Relaxed);
    if found.as_deref() == Some(value.as_bytes()) { Ok(()) } else { Err(format!("{found:?}, not {value}")) }
}
