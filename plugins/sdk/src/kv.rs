//! `prism.kv.v1` for the author of a key-value backend: the rules of the interface, once.
//!
//! A backend implements [`KeyValue`] and hands its calls to [`execute`] and [`watch`]; keys, times to live,
//! page sizes and tokens are checked here, and typed and raw forms both come out right.

mod token;

use crate::{Params, typed_reply, typed_reply_ending_in};
use bytes::Bytes;
use futures_core::Stream;
use futures_util::StreamExt;
use prism_plugin_abi::{Code, Data, Error, Request, ResponseStream};
use prism_proto::kv::v1::{
    DeleteRequest, DeleteResponse, Entry, ExistsRequest, ExistsResponse, GetRequest, GetResponse,
    MultiGetRequest, MultiGetResponse, ScanRequest, ScanResponse, SetRequest, SetResponse, WatchRequest,
};
use std::{collections::HashMap, future::Future, time::Duration};

pub use prism_proto::kv::v1::{WatchEvent, set_request::Condition, watch_event::Kind as EventKind};

/// The longest key, in bytes.
pub const MAX_KEY: usize = 1024;
/// The largest page of a scan, in keys.
pub const MAX_PAGE: usize = 1000;
/// The page of a scan that names no size, in keys.
pub const DEFAULT_PAGE: usize = 100;
/// The most bytes of values that one `multi_get` collects. A key may be named a million times in a small
/// request; without a bound the answer would be all of memory. As much as a server sends in one message.
pub const MAX_MULTI_GET: usize = 64 << 20;

/// The field of `GetResponse` that holds the value.
const GET_VALUE: u32 = 2;

/// A value that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// It.
    pub value: Bytes,
    /// Until it expires; `None` when it does not, or when nobody asked.
    pub ttl: Option<Duration>,
}

/// A page of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// At most as many keys as were asked for.
    pub keys: Vec<String>,
    /// What the backend needs to go on; `None` at the end. The client gets it in a checked envelope, for
    /// the same prefix only.
    pub next: Option<Vec<u8>>,
}

/// A key-value backend. Arguments obey the interface's rules already.
pub trait KeyValue: Send + Sync {
    /// What tells this backend's page tokens from another's.
    const TOKEN: &'static str;

    /// The value under a key; with the time it has left, if that is wanted.
    fn get(&self, key: &str, with_ttl: bool) -> impl Future<Output = Result<Option<Found>, Error>> + Send;

    /// Stores a value; `false` when the condition did not hold. Keeps no earlier time to live.
    fn set(
        &self,
        key: String,
        value: Bytes,
        ttl: Option<Duration>,
        condition: Condition,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Removes keys and counts those that were there.
    fn delete(&self, keys: Vec<String>) -> impl Future<Output = Result<usize, Error>> + Send;

    /// Whether a key is there.
    fn exists(&self, key: &str) -> impl Future<Output = Result<bool, Error>> + Send;

    /// The values under different keys, in their order. Fails rather than collect more than
    /// [`MAX_MULTI_GET`] bytes ([`too_many_bytes`]).
    fn multi_get(&self, keys: &[String]) -> impl Future<Output = Result<Vec<Option<Bytes>>, Error>> + Send;

    /// Keys with a prefix; `from` is [`Page::next`] of the page before.
    ///
    /// # Errors
    /// `None` of [`Page::next`]'s making in `from`: [`foreign_token`].
    fn scan(
        &self,
        prefix: &str,
        page_size: usize,
        from: Option<&[u8]>,
    ) -> impl Future<Output = Result<Page, Error>> + Send;

    /// What happens to keys with a prefix from when the future resolves on.
    fn watch(
        &self,
        prefix: String,
    ) -> impl Future<Output = Result<impl Stream<Item = Result<WatchEvent, Error>> + Send + 'static, Error>> + Send;
}

/// A unary operation of the interface.
///
/// # Errors
/// `INVALID_ARGUMENT` by the rules of the interface; whatever the backend says.
pub async fn execute<B: KeyValue>(backend: &B, request: Request) -> Result<Data, Error> {
    match (&*request.operation, request.is_raw()) {
        ("get", true) => raw_get(backend, request).await,
        ("set", true) => raw_set(backend, request).await,
        ("get", false) => {
            let GetRequest { key, with_ttl } = request.typed()?;
            check_key(&key)?;
            Ok(match backend.get(&key, with_ttl).await? {
                None => typed_reply(&GetResponse::default()),
                Some(found) => {
                    // A key that has less than a millisecond left has some left.
                    let ttl_ms = found.ttl.filter(|_| with_ttl).map(|ttl| millis(ttl).max(1));
                    let head = GetResponse { found: true, ttl_ms, ..GetResponse::default() };
                    typed_reply_ending_in(&head, GET_VALUE, found.value)
                }
            })
        }
        ("set", false) => {
            let SetRequest { key, value, ttl_ms, condition } = request.typed()?;
            let condition = Condition::try_from(condition)
                .map_err(|_| Error::invalid(format!("condition {condition} is none of those defined")))?;
            check_key(&key)?;
            let applied = backend.set(key, value, ttl(ttl_ms)?, condition).await?;
            Ok(typed_reply(&SetResponse { applied }))
        }
        ("delete", _) => {
            let DeleteRequest { keys } = request.typed()?;
            keys.iter().try_for_each(|key| check_key(key))?;
            let deleted = if keys.is_empty() { 0 } else { backend.delete(keys).await? };
            Ok(typed_reply(&DeleteResponse { deleted: i64::try_from(deleted).unwrap_or(i64::MAX) }))
        }
        ("exists", _) => {
            let ExistsRequest { key } = request.typed()?;
            check_key(&key)?;
            Ok(typed_reply(&ExistsResponse { exists: backend.exists(&key).await? }))
        }
        ("multi_get", _) => multi_get(backend, request.typed()?).await,
        ("scan", _) => {
            let ScanRequest { prefix, page_size, page_token } = request.typed()?;
            check_prefix(&prefix)?;
            let size = self::page_size(page_size)?;
            let from = match &*page_token {
                "" => None,
                token => Some(token::decode(B::TOKEN, &prefix, token).ok_or_else(foreign_token)?),
            };
            let page = backend.scan(&prefix, size, from.as_deref()).await?;
            let next = page.next.map(|next| token::encode(B::TOKEN, &prefix, &next));
            Ok(typed_reply(&ScanResponse { keys: page.keys, next_page_token: next.unwrap_or_default() }))
        }
        (operation, _) => {
            let message = format!("`{operation}` is no unary operation of prism.kv.v1");
            Err(Error::channel(Code::Unimplemented, message))
        }
    }
}

/// The streaming operation of the interface.
///
/// # Errors
/// As for [`execute`].
pub async fn watch<B: KeyValue>(backend: &B, request: Request) -> Result<ResponseStream, Error> {
    if &*request.operation != "watch" {
        let message = format!("`{}` is no streaming operation of prism.kv.v1", request.operation);
        return Err(Error::channel(Code::Unimplemented, message));
    }
    let WatchRequest { prefix } = request.typed()?;
    check_prefix(&prefix)?;
    let events = backend.watch(prefix).await?;
    Ok(Box::pin(events.map(|event| event.map(|event| typed_reply(&event)))))
}

async fn raw_get<B: KeyValue>(backend: &B, request: Request) -> Result<Data, Error> {
    let key = request.raw()?.into_bytes();
    let key = std::str::from_utf8(&key).map_err(|_| Error::invalid("the key in raw_params is not UTF-8"))?;
    check_key(key)?;
    match backend.get(key, false).await? {
        Some(found) => Ok(Data::Raw(found.value.into())),
        None => Err(Error::operation(Code::NotFound, "no value under this key")),
    }
}

async fn raw_set<B: KeyValue>(backend: &B, request: Request) -> Result<Data, Error> {
    let key = request.metadata("key").ok_or_else(|| {
        Error::invalid(
            "`set` with raw_params needs the key in metadata[\"key\"] (HTTP: the query parameter `key`)",
        )
    })?;
    check_key(key)?;
    let ttl_ms = match request.metadata("ttl_ms") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| {
            Error::invalid(format!("metadata[\"ttl_ms\"] is `{text}`, not a whole number of milliseconds"))
        })?),
    };
    let (key, ttl) = (key.to_owned(), ttl(ttl_ms)?);
    backend.set(key, request.raw()?.into_bytes(), ttl, Condition::Always).await?;
    Ok(Data::Raw(Bytes::new().into()))
}

async fn multi_get<B: KeyValue>(
    backend: &B,
    MultiGetRequest { keys }: MultiGetRequest,
) -> Result<Data, Error> {
    keys.iter().try_for_each(|key| check_key(key))?;
    let mut different = keys.clone();
    different.sort_unstable();
    different.dedup();
    let values = if different.is_empty() { Vec::new() } else { backend.multi_get(&different).await? };
    let values: HashMap<_, _> = different.iter().zip(values).collect();
    let mut bytes = 0;
    let mut entries = Vec::with_capacity(keys.len());
    for key in &keys {
        let value = values.get(key).cloned().flatten();
        bytes += value.as_ref().map_or(0, Bytes::len);
        if bytes > MAX_MULTI_GET {
            return Err(too_many_bytes());
        }
        entries.push(Entry { key: key.clone(), found: value.is_some(), value: value.unwrap_or_default() });
    }
    Ok(typed_reply(&MultiGetResponse { entries }))
}

/// The error of a `multi_get` whose values would be too many.
#[must_use]
pub fn too_many_bytes() -> Error {
    Error::operation(
        Code::ResourceExhausted,
        format!("the values exceed {MAX_MULTI_GET} bytes together; ask for fewer keys at a time"),
    )
}

/// The error of a page token that this backend did not make for this prefix.
#[must_use]
pub fn foreign_token() -> Error {
    Error::invalid("the page_token was not made by this backend for this prefix; begin again without one")
}

/// The error that ends a watcher who does not keep up.
#[must_use]
pub fn fell_behind(buffer: usize) -> Error {
    Error::operation(
        Code::ResourceExhausted,
        format!("the watcher fell more than {buffer} events behind; read faster, or raise `watch_buffer`"),
    )
}

fn check_key(key: &str) -> Result<(), Error> {
    if key.is_empty() {
        return Err(Error::invalid("the key is empty; a key has 1 to 1024 bytes"));
    }
    check_text(key, "key")
}

fn check_prefix(prefix: &str) -> Result<(), Error> {
    check_text(prefix, "prefix")
}

fn check_text(text: &str, what: &str) -> Result<(), Error> {
    if text.len() > MAX_KEY {
        return Err(Error::invalid(format!("the {what} has {} bytes, the most is {MAX_KEY}", text.len())));
    }
    if text.contains('\0') {
        return Err(Error::invalid(format!("the {what} contains NUL")));
    }
    Ok(())
}

fn page_size(size: i32) -> Result<usize, Error> {
    match usize::try_from(size) {
        Ok(0) => Ok(DEFAULT_PAGE),
        Ok(size) if size <= MAX_PAGE => Ok(size),
        _ => Err(Error::invalid(format!(
            "page_size is {size}; it is 1 to {MAX_PAGE}, or 0 for {DEFAULT_PAGE}"
        ))),
    }
}

fn ttl(ttl_ms: Option<i64>) -> Result<Option<Duration>, Error> {
    match ttl_ms {
        None => Ok(None),
        Some(ms) => match u64::try_from(ms) {
            Ok(ms) if ms > 0 => Ok(Some(Duration::from_millis(ms))),
            _ => Err(Error::invalid(format!("ttl_ms is {ms}; it is at least 1, or absent for no expiry"))),
        },
    }
}

/// Whole milliseconds, as the interface counts.
fn millis(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)
}
