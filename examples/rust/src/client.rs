//! The keys of one namespace.

use crate::{
    errors,
    kv::{
        DeleteRequest, GetRequest, SetRequest, WatchEvent, WatchRequest,
        key_value_service_client::KeyValueServiceClient,
    },
    retry::retried,
};
use std::{convert::Infallible, time::Duration};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{
    Code, Request, Response, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

/// A stream without a deadline waits for good when its server vanishes without a word. This long, then a new one.
const WATCH: Duration = Duration::from_secs(600);
/// Between two tries to open a watch again.
const PAUSE: Duration = Duration::from_secs(1);

/// Cheap to clone; all clones share a connection.
#[derive(Clone)]
pub(crate) struct Client {
    stub: KeyValueServiceClient<Channel>,
    namespace: MetadataValue<Ascii>,
    /// How long a call may take, all of its attempts together.
    timeout: Duration,
}

impl Client {
    /// Connects with the first call, and again whenever the connection was lost.
    pub(crate) fn new(address: &str, namespace: &str, timeout: Duration) -> Result<Self, Status> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| Status::invalid_argument(format!("the address {address}: {error}")))?;
        let namespace = namespace
            .parse()
            .map_err(|error| Status::invalid_argument(format!("the namespace {namespace}: {error}")))?;
        Ok(Self { stub: KeyValueServiceClient::new(endpoint.connect_lazy()), namespace, timeout })
    }

    /// What every call says: where it goes, and until when it is wanted.
    fn request<T>(&self, message: T, deadline: Instant) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("x-prism-namespace", self.namespace.clone());
        request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        request
    }

    /// Not retried: of a call that got no answer nobody knows whether it was carried out, and its condition would fail
    /// the second time.
    pub(crate) async fn set(&self, key: &str, value: Vec<u8>) -> Result<bool, Status> {
        let deadline = Instant::now() + self.timeout;
        let message = SetRequest { key: key.to_owned(), value, ..Default::default() };
        let call = async { self.stub.clone().set(self.request(message, deadline)).await };
        Ok(in_time(deadline, call).await?.applied)
    }

    /// The value, or `None`: an absent key is no error. A read, so that it may be made again.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Status> {
        let deadline = Instant::now() + self.timeout;
        let attempt = || async {
            let message = GetRequest { key: key.to_owned(), with_ttl: false };
            self.stub.clone().get(self.request(message, deadline)).await
        };
        let answer = in_time(deadline, retried(attempt)).await?;
        Ok(answer.found.then_some(answer.value))
    }

    /// How many of them were there.
    pub(crate) async fn delete(&self, keys: &[&str]) -> Result<i64, Status> {
        let deadline = Instant::now() + self.timeout;
        let message = DeleteRequest { keys: keys.iter().map(ToString::to_string).collect() };
        let call = async { self.stub.clone().delete(self.request(message, deadline)).await };
        Ok(in_time(deadline, call).await?.deleted)
    }

    /// What happens to keys with this prefix from now on: the stream is open when its headers are here.
    pub(crate) async fn watch(
        &self,
        prefix: &str,
        timeout: Duration,
    ) -> Result<Streaming<WatchEvent>, Status> {
        let deadline = Instant::now() + timeout;
        let attempt = || async {
            let message = WatchRequest { prefix: prefix.to_owned() };
            self.stub.clone().watch(self.request(message, deadline)).await
        };
        in_time(deadline, retried(attempt)).await
    }

    /// The same for good. What happens between two streams is not reported: read again what must not be missed.
    pub(crate) async fn follow(
        &self,
        prefix: &str,
        mut on_event: impl FnMut(WatchEvent),
    ) -> Result<Infallible, Status> {
        loop {
            let ended = match self.watch(prefix, WATCH).await {
                Ok(mut events) => loop {
                    match events.message().await {
                        Ok(Some(event)) => on_event(event),
                        Ok(None) => break None,
                        Err(status) => break Some(status),
                    }
                },
                Err(status) => Some(status),
            };
            if let Some(status) = ended {
                // The proxy or the plugin is replaced or away (RELOADED, DRAINING, PLUGIN_UNAVAILABLE), the
                // connection broke (of which tonic says UNKNOWN), or the stream's time is over. Anything else would
                // be the same again.
                if !matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Unknown) {
                    return Err(status);
                }
                eprintln!("watch ended, opening it again: {}", errors::explain(&status));
            }
            sleep(PAUSE).await;
        }
    }
}

/// The answer, or DEADLINE_EXCEEDED. tonic ends a call in time by itself, but calls that CANCELLED ("Timeout expired"),
/// which is what a caller's own giving up looks like.
async fn in_time<T>(
    deadline: Instant,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Status> {
    let late = || Status::deadline_exceeded("the deadline passed");
    match timeout_at(deadline, call).await {
        Err(_) => Err(late()),
        Ok(Err(status)) if status.code() == Code::Cancelled && Instant::now() >= deadline => Err(late()),
        Ok(answer) => answer.map(Response::into_inner),
    }
}
