//! What every plugin that declares `prism.kv.v1` must do, whatever is behind it and however it is reached.

use super::{Instance, Protocol, calls::reply, calls::typed, protocol_suite};
use bytes::Bytes;
use futures_util::StreamExt;
use prism_plugin_abi::{Code, Data, Error, Payload, Plugin, ResponseStream};
use prism_proto::kv::v1::{
    DeleteRequest, DeleteResponse, ExistsRequest, ExistsResponse, GetRequest, GetResponse, MultiGetRequest,
    MultiGetResponse, ScanRequest, ScanResponse, SetRequest, SetResponse, WatchEvent, WatchRequest,
    set_request::Condition, watch_event::Kind,
};
use prost::{Message, Name};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::{sleep, timeout};

/// What a backend may lack.
#[derive(Clone, Copy, Debug)]
pub struct KvCapabilities {
    /// It can watch as it is configured. Where not, `watch` must be FAILED_PRECONDITION.
    pub watch: bool,
    /// A proxy stands before it, which answers itself for operations without a name, and chooses the instance.
    pub proxied: bool,
}

/// Only against hanging: no answer takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the whole suite on an instance. It uses keys that begin with `suite/` and expects to find none.
///
/// # Panics
/// When the plugin breaks a rule of the interface.
pub async fn kv_suite(instance: &Instance, capabilities: KvCapabilities) {
    let kv = Kv(instance);
    describes_itself(&*instance.plugin);
    if capabilities.watch {
        // First, because it leaves keys behind that the rest must not find.
        protocol_suite(instance, &protocol(capabilities.proxied)).await;
        forgets_the_protocols_keys(kv).await;
    }
    values_come_back(kv).await;
    conditions_hold(kv).await;
    values_expire(kv).await;
    deletes_and_counts(kv).await;
    many_at_once(kv).await;
    raw_forms(kv).await;
    scans(kv).await;
    foreign_tokens(kv).await;
    bad_keys_are_refused(kv).await;
    bad_params_are_refused(kv).await;
    if capabilities.watch {
        watches(kv).await;
        watches_expiry(kv).await;
    } else {
        let error = refused(kv.watch("suite/").await).await;
        assert_eq!(error.code, Code::FailedPrecondition);
    }
    let metrics = instance.plugin.metrics(instance.id).await;
    if let Ok(metrics) = metrics {
        assert!(metrics.requests_total > metrics.requests_failed && metrics.requests_failed > 0);
    }
    let health = instance.plugin.health(instance.id).await;
    assert_eq!(health.status, prism_plugin_abi::HealthStatus::Healthy, "{}", health.message);
}

/// The interface's raw forms and its stream, for what every plugin must do.
fn protocol(proxied: bool) -> Protocol {
    Protocol {
        proxied,
        write: "set",
        read: Some("get"),
        slots: Some(("key", "suite/protocol/")),
        stream: "watch",
        opening: typed(&WatchRequest { prefix: "suite/protocol/provoked".into() }),
        echoes: false,
        largest: 3 << 20,
    }
}

async fn forgets_the_protocols_keys(kv: Kv<'_>) {
    let (keys, _) = kv.scan("suite/protocol/", 0).await;
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    assert_eq!(kv.delete(&keys).await, Ok(i64::try_from(keys.len()).unwrap_or_default()));
}

#[derive(Clone, Copy)]
struct Kv<'a>(&'a Instance);

impl Kv<'_> {
    async fn get(self, key: &str) -> Result<Option<Bytes>, Error> {
        let request = GetRequest { key: key.into(), with_ttl: false };
        let answer: GetResponse = self.0.call("get", &request).await?;
        assert_eq!(answer.ttl_ms, None, "nobody asked");
        Ok(answer.found.then_some(answer.value))
    }

    async fn ttl(self, key: &str) -> Option<i64> {
        let request = GetRequest { key: key.into(), with_ttl: true };
        let answer: GetResponse =
            self.0.call("get", &request).await.unwrap_or_else(|error| panic!("{error}"));
        assert!(answer.found, "{key}");
        answer.ttl_ms
    }

    async fn set_with(
        self,
        key: &str,
        value: impl Into<Bytes>,
        ttl_ms: Option<i64>,
        condition: Condition,
    ) -> Result<bool, Error> {
        let request =
            SetRequest { key: key.into(), value: value.into(), ttl_ms, condition: condition.into() };
        self.0.call("set", &request).await.map(|answer: SetResponse| answer.applied)
    }

    async fn set(self, key: &str, value: impl Into<Bytes>) {
        assert_eq!(self.set_with(key, value, None, Condition::Always).await, Ok(true), "{key}");
    }

    async fn delete(self, keys: &[&str]) -> Result<i64, Error> {
        let request = DeleteRequest { keys: keys.iter().map(|&key| key.into()).collect() };
        self.0.call("delete", &request).await.map(|answer: DeleteResponse| answer.deleted)
    }

    async fn exists(self, key: &str) -> Result<bool, Error> {
        let answer = self.0.call("exists", &ExistsRequest { key: key.into() }).await;
        answer.map(|answer: ExistsResponse| answer.exists)
    }

    async fn multi_get(self, keys: &[&str]) -> Result<MultiGetResponse, Error> {
        let request = MultiGetRequest { keys: keys.iter().map(|&key| key.into()).collect() };
        self.0.call("multi_get", &request).await
    }

    async fn page(self, prefix: &str, page_size: i32, token: &str) -> Result<ScanResponse, Error> {
        let request = ScanRequest { prefix: prefix.into(), page_size, page_token: token.into() };
        self.0.call("scan", &request).await
    }

    /// Every key with this prefix, and how many pages it took.
    async fn scan(self, prefix: &str, page_size: i32) -> (BTreeSet<String>, usize) {
        let (mut keys, mut token, mut pages) = (BTreeSet::new(), String::new(), 0);
        let most = if page_size == 0 { 100 } else { usize::try_from(page_size).unwrap_or_default() };
        loop {
            let page = self.page(prefix, page_size, &token).await;
            let page = page.unwrap_or_else(|error| panic!("page {pages} of `{prefix}`: {error}"));
            assert!(page.keys.len() <= most, "{} keys, {most} were asked for", page.keys.len());
            keys.extend(page.keys);
            pages += 1;
            assert!(pages < 100_000, "the scan does not end");
            if page.next_page_token.is_empty() {
                return (keys, pages);
            }
            token = page.next_page_token;
        }
    }

    async fn watch(self, prefix: &str) -> Result<ResponseStream, Error> {
        self.0.open("watch", &WatchRequest { prefix: prefix.into() }).await
    }
}

#[track_caller]
fn invalid<T: std::fmt::Debug>(outcome: Result<T, Error>, what: &str) {
    match outcome {
        Err(error) => {
            assert_eq!(error.code, Code::InvalidArgument, "{what}: {error}");
            assert!(!error.message.is_empty(), "{what}: no reason");
        }
        Ok(answer) => panic!("{what} was accepted: {answer:?}"),
    }
}

/// The error of a stream that fails to open: where there is a network between, its first item.
async fn refused(opened: Result<ResponseStream, Error>) -> Error {
    match opened {
        Err(error) => error,
        Ok(mut stream) => match timeout(PATIENCE, stream.next()).await {
            Ok(Some(Err(error))) => error,
            other => panic!("the stream opened: {other:?}"),
        },
    }
}

fn describes_itself(plugin: &dyn Plugin) {
    let description = plugin.describe();
    assert!(description.interfaces.iter().any(|interface| interface == "prism.kv.v1"));
    for wanted in crate::operations("prism.kv.v1") {
        let found = description.operations.iter().find(|info| info.name == wanted.name);
        let found = found.unwrap_or_else(|| panic!("`{}` is not declared", wanted.name));
        assert_eq!(format!("{found:?}"), format!("{wanted:?}"), "declared as the interface states it");
    }
}

async fn values_come_back(kv: Kv<'_>) {
    assert_eq!(kv.get("suite/none").await, Ok(None));
    for (key, value) in [
        ("suite/plain", Bytes::from_static(b"value")),
        ("suite/empty", Bytes::new()),
        ("suite/binary", (0..=255).collect()),
        ("suite/ключ 🔑\n\t\"*?[]\\", Bytes::from_static(b"any text is a key")),
        ("suite/large", Bytes::from(vec![0xa5; 3 << 20])),
    ] {
        kv.set(key, value.clone()).await;
        assert_eq!(kv.get(key).await.map(|found| found.map(|found| found == value)), Ok(Some(true)), "{key}");
        kv.set(key, "second").await;
        assert_eq!(kv.get(key).await, Ok(Some(Bytes::from_static(b"second"))), "{key}");
        assert_eq!(kv.ttl(key).await, None);
        assert_eq!(kv.delete(&[key]).await, Ok(1));
    }
    let longest = format!("suite/{}", "k".repeat(1024 - 6));
    kv.set(&longest, "v").await;
    assert_eq!(kv.exists(&longest).await, Ok(true));
    assert_eq!(kv.delete(&[&longest]).await, Ok(1));

    // A message that arrives in many pieces.
    let value = Bytes::from((0..100_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
    let request = SetRequest { key: "suite/pieces".into(), value: value.clone(), ..SetRequest::default() };
    let encoded = Bytes::from(request.encode_to_vec());
    let pieces: Payload =
        (0..encoded.len()).step_by(4096).map(|at| encoded.slice(at..encoded.len().min(at + 4096))).collect();
    let params = Data::Typed { type_url: SetRequest::type_url().into(), value: pieces.clone() };
    let answer = kv.0.send("set", params, &[]).await.and_then(reply::<SetResponse>);
    assert_eq!(answer.map(|answer| answer.applied), Ok(true));
    assert!(kv.get("suite/pieces").await == Ok(Some(value)));
    let raw = kv.0.send("set", Data::Raw(pieces), &[("key", "suite/pieces")]).await;
    assert!(matches!(raw, Ok(Data::Raw(_) | Data::Empty)), "{raw:?}");
    assert!(kv.get("suite/pieces").await == Ok(Some(encoded)));
    assert_eq!(kv.delete(&["suite/pieces"]).await, Ok(1));
}

async fn conditions_hold(kv: Kv<'_>) {
    let key = "suite/condition";
    assert_eq!(kv.set_with(key, "a", None, Condition::IfPresent).await, Ok(false));
    assert_eq!(kv.get(key).await, Ok(None));
    assert_eq!(kv.set_with(key, "b", None, Condition::IfAbsent).await, Ok(true));
    assert_eq!(kv.set_with(key, "c", Some(60_000), Condition::IfAbsent).await, Ok(false));
    assert_eq!((kv.get(key).await, kv.ttl(key).await), (Ok(Some("b".into())), None), "untouched");
    assert_eq!(kv.set_with(key, "d", None, Condition::IfPresent).await, Ok(true));
    assert_eq!(kv.get(key).await, Ok(Some("d".into())));
    let request = SetRequest { key: key.into(), condition: 7, ..SetRequest::default() };
    invalid(kv.0.call::<_, SetResponse>("set", &request).await, "condition 7");
    assert_eq!(kv.delete(&[key]).await, Ok(1));
}

async fn values_expire(kv: Kv<'_>) {
    let key = "suite/ttl";
    for ttl in [0, -1, i64::MIN] {
        invalid(kv.set_with(key, "v", Some(ttl), Condition::Always).await, "a ttl of 0 or less");
    }
    assert_eq!(kv.get(key).await, Ok(None));
    assert_eq!(kv.set_with(key, "v", Some(60_000), Condition::Always).await, Ok(true));
    let left = kv.ttl(key).await.unwrap_or_default();
    assert!((1..=60_000).contains(&left), "{left}");
    kv.set(key, "w").await;
    assert_eq!(kv.ttl(key).await, None, "an earlier ttl is not kept");
    // Expired, it counts as absent everywhere.
    assert_eq!(kv.set_with(key, "v", Some(30), Condition::IfPresent).await, Ok(true));
    gone(kv, key).await;
    assert_eq!(kv.exists(key).await, Ok(false));
    assert_eq!(kv.delete(&[key]).await, Ok(0));
    assert_eq!(kv.set_with(key, "x", None, Condition::IfPresent).await, Ok(false));
    assert_eq!(kv.set_with(key, "x", None, Condition::IfAbsent).await, Ok(true));
    assert_eq!(kv.ttl(key).await, None);
    assert_eq!(kv.delete(&[key]).await, Ok(1));
}

async fn gone(kv: Kv<'_>, key: &str) {
    let waiting = async {
        while kv.get(key).await != Ok(None) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(PATIENCE, waiting).await.is_ok(), "{key} does not expire");
}

async fn deletes_and_counts(kv: Kv<'_>) {
    assert_eq!(kv.delete(&[]).await, Ok(0));
    assert_eq!(kv.delete(&["suite/none"]).await, Ok(0));
    kv.set("suite/d1", "").await;
    kv.set("suite/d2", "").await;
    assert_eq!(kv.exists("suite/d1").await, Ok(true));
    assert_eq!(kv.delete(&["suite/d1", "suite/none", "suite/d2", "suite/d1"]).await, Ok(2));
    assert_eq!(kv.exists("suite/d1").await, Ok(false));
    assert_eq!(kv.delete(&["suite/d1", "suite/d2"]).await, Ok(0));
}

async fn many_at_once(kv: Kv<'_>) {
    assert_eq!(kv.multi_get(&[]).await.map(|answer| answer.entries.len()), Ok(0));
    kv.set("suite/m1", "one").await;
    kv.set("suite/m2", "").await;
    let asked = ["suite/m2", "suite/none", "suite/m1", "suite/m2"];
    let answer = kv.multi_get(&asked).await.unwrap_or_else(|error| panic!("{error}"));
    let entries: Vec<_> =
        answer.entries.iter().map(|entry| (&*entry.key, entry.found, &*entry.value)).collect();
    let want: [(_, _, &[u8]); 4] = [
        ("suite/m2", true, b""),
        ("suite/none", false, b""),
        ("suite/m1", true, b"one"),
        ("suite/m2", true, b""),
    ];
    assert_eq!(entries, want);
    // A small request for more than memory.
    kv.set("suite/m1", vec![1; 1 << 20]).await;
    let error = kv.multi_get(&["suite/m1"; 100]).await.err().map(|error| error.code);
    assert_eq!(error, Some(Code::ResourceExhausted));
    assert_eq!(kv.delete(&["suite/m1", "suite/m2"]).await, Ok(2));
}

async fn raw_forms(kv: Kv<'_>) {
    let key = "suite/raw";
    let absent = kv.0.raw("get", key, &[]).await;
    assert_eq!(absent.map_err(|error| error.code), Err(Code::NotFound));
    assert!(kv.0.raw("set", "stored", &[("key", key)]).await.is_ok());
    assert_eq!(kv.0.raw("get", key, &[]).await, Ok("stored".into()));
    assert_eq!(kv.ttl(key).await, None);
    assert!(kv.0.raw("set", "again", &[("key", key), ("ttl_ms", "60000")]).await.is_ok());
    assert!(kv.ttl(key).await.is_some());
    assert!(kv.0.raw("set", "", &[("key", key)]).await.is_ok());
    assert_eq!(kv.0.raw("get", key, &[]).await, Ok(Bytes::new()));
    for metadata in [
        &[][..],
        &[("key", "")],
        &[("Key", key)],
        &[("key", key), ("ttl_ms", "")],
        &[("key", key), ("ttl_ms", "0")],
        &[("key", key), ("ttl_ms", "-5")],
        &[("key", key), ("ttl_ms", "1.5")],
        &[("key", key), ("ttl_ms", "99999999999999999999")],
    ] {
        invalid(kv.0.raw("set", "no", metadata).await, &format!("{metadata:?}"));
    }
    invalid(kv.0.raw("get", "", &[]).await, "an empty key");
    invalid(kv.0.raw("get", vec![b'k', 0xff], &[]).await, "a key that is no UTF-8");
    for operation in ["delete", "exists", "multi_get", "scan"] {
        invalid(kv.0.raw(operation, key, &[]).await, operation);
    }
    assert_eq!(kv.0.raw("get", key, &[]).await, Ok(Bytes::new()), "untouched by what was refused");
    assert_eq!(kv.delete(&[key]).await, Ok(1));
}

async fn scans(kv: Kv<'_>) {
    assert_eq!(kv.scan("suite/", 0).await.0, BTreeSet::new(), "what the tests before left behind");
    let keys: BTreeSet<String> = (0..250).map(|number| format!("suite/scan/{number:03}")).collect();
    for key in &keys {
        kv.set(key, "v").await;
    }
    kv.set("suite/scam", "v").await;
    for size in [0, 1, 7, 100, 1000] {
        let (found, pages) = kv.scan("suite/scan/", size).await;
        assert_eq!(found, keys, "page_size {size}");
        assert!(size == 1000 || pages > 1);
    }
    assert_eq!(kv.scan("suite/scan/24", 3).await.0.len(), 10);
    assert_eq!(kv.scan("suite/scan/000", 10).await.0.len(), 1);
    assert_eq!(kv.scan("suite/scan/000x", 10).await.0.len(), 0);
    for size in [-1, 1001, i32::MIN, i32::MAX] {
        invalid(kv.page("suite/scan/", size, "").await, "a page size out of range");
    }

    // Keys that come and go while a scan is under way do not disturb those that stay.
    let mut page = kv.page("suite/scan/", 50, "").await.unwrap_or_else(|error| panic!("{error}"));
    let mut found: BTreeSet<String> = page.keys.drain(..).collect();
    let mut round = 0;
    while !page.next_page_token.is_empty() {
        round += 1;
        kv.set(&format!("suite/scan/new{round}"), "v").await;
        assert_eq!(kv.delete(&[&format!("suite/scan/new{}", round - 1)]).await, Ok(i64::from(round > 1)));
        let token = page.next_page_token;
        page = kv.page("suite/scan/", 50, &token).await.unwrap_or_else(|error| panic!("{error}"));
        found.extend(page.keys.drain(..));
    }
    assert!(found.is_superset(&keys));
    assert_eq!(kv.delete(&[&format!("suite/scan/new{round}")]).await, Ok(1));
    // Two scans at once keep to themselves.
    let token =
        kv.page("suite/scan/", 50, "").await.unwrap_or_else(|error| panic!("{error}")).next_page_token;
    let one = kv.page("suite/scan/", 50, &token).await;
    assert_eq!(kv.page("suite/scan/", 50, &token).await, one, "a token may be used twice");

    let all: Vec<&str> = keys.iter().map(String::as_str).chain(["suite/scam"]).collect();
    assert_eq!(kv.delete(&all).await, Ok(251));

    // Characters that mean something to somebody mean themselves here.
    let odd =
        ["suite/*a", "suite/?a", "suite/[ab]", "suite/\\*", "suite/^a", "suite/-", "suite/a", "suite/b"];
    for key in odd {
        kv.set(key, "v").await;
    }
    for prefix in ["suite/*", "suite/?", "suite/[ab]", "suite/[", "suite/\\", "suite/^", "suite/-"] {
        let want: BTreeSet<String> =
            odd.iter().filter(|key| key.starts_with(prefix)).map(|&key| key.into()).collect();
        assert_eq!(kv.scan(prefix, 10).await.0, want, "{prefix}");
    }
    assert_eq!(kv.delete(&odd).await, Ok(8));
}

async fn foreign_tokens(kv: Kv<'_>) {
    let keys: Vec<String> = (0..30).map(|number| format!("suite/token/{number}")).collect();
    for key in &keys {
        kv.set(key, "v").await;
    }
    // The first page may be empty, and the only one that is the last is not of interest.
    let token =
        kv.page("suite/token/", 1, "").await.unwrap_or_else(|error| panic!("{error}")).next_page_token;
    assert!(!token.is_empty());
    assert!(kv.page("suite/token/", 1, &token).await.is_ok());
    let cut = &token[..token.len() - 2];
    let changed = format!("{}{}", if token.starts_with('0') { '1' } else { '0' }, &token[1..]);
    let long = "0".repeat(100_000);
    for foreign in ["0", "x", "00", "AAAA", "deadbeef", "0000000000000000", "🔑", cut, &changed, &long] {
        invalid(kv.page("suite/token/", 1, foreign).await, "a foreign token");
    }
    invalid(kv.page("suite/other/", 1, &token).await, "a token of another prefix");
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    assert_eq!(kv.delete(&keys).await, Ok(30));
}

async fn bad_keys_are_refused(kv: Kv<'_>) {
    let long = "k".repeat(1025);
    let many = "ж".repeat(513);
    for key in ["", "a\0b", "\0", &long, &many] {
        let name = key.get(..key.len().min(4)).unwrap_or("(long)");
        invalid(kv.get(key).await, name);
        invalid(kv.set_with(key, "v", None, Condition::Always).await, name);
        invalid(kv.delete(&["suite/fine", key]).await, name);
        invalid(kv.exists(key).await, name);
        invalid(kv.multi_get(&["suite/fine", key]).await, name);
        invalid(kv.0.raw("get", key.to_owned(), &[]).await, name);
        invalid(kv.0.raw("set", "v", &[("key", key)]).await, name);
        if !key.is_empty() {
            invalid(kv.page(key, 0, "").await, name);
            assert_eq!(refused(kv.watch(key).await).await.code, Code::InvalidArgument, "{name}");
        }
    }
}

async fn bad_params_are_refused(kv: Kv<'_>) {
    for operation in ["get", "set", "delete", "exists", "multi_get", "scan"] {
        let other = typed(&prism_proto::plugin::DescribeRequest {});
        invalid(kv.0.send(operation, other, &[]).await, operation);
        invalid(kv.0.send(operation, Data::Empty, &[]).await, operation);
        let info = crate::operations("prism.kv.v1").into_iter().find(|info| info.name == operation);
        let type_url = prism_proto::type_url(&info.map(|info| info.params_type).unwrap_or_default());
        // Field 1 with a length that is not there.
        let malformed =
            Data::Typed { type_url: type_url.into(), value: Bytes::from_static(b"\x0a\x7f").into() };
        invalid(kv.0.send(operation, malformed, &[]).await, operation);
    }
    let error = refused(kv.0.open("watch", &GetRequest::default()).await).await;
    assert_eq!(error.code, Code::InvalidArgument);
}

async fn event(stream: &mut ResponseStream) -> (Kind, String, Bytes) {
    let item = timeout(PATIENCE, stream.next()).await;
    let item = item.unwrap_or_else(|_| panic!("no event came"));
    let item = item.unwrap_or_else(|| panic!("the stream ended"));
    let event: WatchEvent = item.and_then(reply).unwrap_or_else(|error| panic!("{error}"));
    (event.kind(), event.key, event.value)
}

async fn watches(kv: Kv<'_>) {
    kv.set("suite/watch/before", "v").await;
    let mut some = kv.watch("suite/watch/").await.unwrap_or_else(|error| panic!("{error}"));
    let mut odd = kv.watch("suite/w*/").await.unwrap_or_else(|error| panic!("{error}"));
    kv.set("suite/other", "not seen").await;
    let put =
        |key: &str, value: &'static str| (Kind::Put, key.to_owned(), Bytes::from_static(value.as_bytes()));
    kv.set("suite/watch/a", "1").await;
    assert_eq!(event(&mut some).await, put("suite/watch/a", "1"));
    assert_eq!(kv.set_with("suite/watch/a", "no", None, Condition::IfAbsent).await, Ok(false));
    kv.set("suite/watch/b", "").await;
    assert_eq!(event(&mut some).await, put("suite/watch/b", ""));
    let absent = kv.delete(&["suite/watch/none", "suite/watch/a", "suite/other"]).await;
    assert_eq!(absent, Ok(2));
    assert_eq!(event(&mut some).await, (Kind::Delete, "suite/watch/a".into(), Bytes::new()));
    kv.set("suite/w*/x", "odd").await;
    assert_eq!(event(&mut odd).await, put("suite/w*/x", "odd"));
    // A second watcher sees what happens from now on, and a dropped one disturbs nobody.
    drop(odd);
    let mut late = kv.watch("suite/watch/b").await.unwrap_or_else(|error| panic!("{error}"));
    kv.set("suite/watch/b", "2").await;
    assert_eq!(event(&mut late).await, put("suite/watch/b", "2"));
    assert_eq!(event(&mut some).await, put("suite/watch/b", "2"));
    assert_eq!(kv.delete(&["suite/watch/before", "suite/watch/b", "suite/w*/x"]).await, Ok(3));
}

async fn watches_expiry(kv: Kv<'_>) {
    let mut stream = kv.watch("suite/expire/").await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(kv.set_with("suite/expire/a", "v", Some(150), Condition::Always).await, Ok(true));
    assert_eq!(event(&mut stream).await, (Kind::Put, "suite/expire/a".into(), "v".into()));
    // Nobody touches the key: the event comes by itself.
    assert_eq!(event(&mut stream).await, (Kind::Expire, "suite/expire/a".into(), Bytes::new()));
    assert_eq!(kv.get("suite/expire/a").await, Ok(None));
}
