//! The interface's suite, this backend's own bounds, and a model.

use super::*;
use futures_util::{FutureExt, StreamExt};
use prism_plugin_sdk::{
    abi::{Code, Error, InstanceId},
    kv::EventKind,
    testing::{Instance, KvCapabilities, kv_suite},
};
use prism_proto::kv::v1::{SetRequest, SetResponse, WatchRequest};
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;

async fn instance(config: serde_json::Value) -> Result<Instance, Error> {
    Instance::initialize(memory(), 7, &config, &[]).await
}

async fn set(instance: &Instance, key: &str, value: Vec<u8>, ttl_ms: Option<i64>) -> Result<bool, Error> {
    let request = SetRequest { key: key.into(), value: value.into(), ttl_ms, condition: 0 };
    instance.call("set", &request).await.map(|answer: SetResponse| answer.applied)
}

#[tokio::test(start_paused = true)]
async fn the_interface() {
    kv_suite(&instance(json!({})).await.unwrap(), KvCapabilities { watch: true, proxied: false }).await;
}

#[tokio::test]
async fn configuration_is_checked() {
    for (config, words) in [
        (json!({ "max_byte": 1 }), "unknown field `max_byte`"),
        (json!({ "max_bytes": "1" }), "config.max_bytes"),
        (json!({ "max_bytes": 0 }), "config.max_bytes"),
        (json!({ "max_bytes": -1 }), "config.max_bytes"),
        (json!({ "watch_buffer": 0 }), "config.watch_buffer"),
        (json!({ "watch_buffer": 1_000_001 }), "config.watch_buffer"),
    ] {
        let error = instance(config.clone()).await.err().unwrap();
        assert_eq!(error.code, Code::InvalidArgument, "{config}");
        assert!(error.message.contains(words), "{config}: {error}");
    }
}

#[tokio::test]
async fn it_counts_what_it_holds() {
    let instance = instance(json!({})).await.unwrap();
    let _ = set(&instance, "k", vec![0; 100], None).await;
    let watching = instance.open("watch", &WatchRequest::default()).await.unwrap();
    let holds = |watchers| {
        let bytes = u32::try_from(101 + Config::OVERHEAD).unwrap();
        CustomMetrics::new()
            .gauge("keys", 1.0)
            .gauge("stored_bytes", bytes.into())
            .gauge("watchers", watchers)
    };
    assert_eq!(instance.plugin.metrics(instance.id).await.unwrap().custom, holds(1.0));
    drop(watching);
    assert_eq!(instance.plugin.metrics(instance.id).await.unwrap().custom, holds(0.0));
}

#[tokio::test(start_paused = true)]
async fn a_full_store_refuses_and_says_what_to_raise() {
    let instance = instance(json!({ "max_bytes": 10_000 })).await.unwrap();
    let full = |outcome: Result<bool, Error>| {
        let error = outcome.unwrap_err();
        assert_eq!(error.code, Code::ResourceExhausted);
        assert!(error.message.contains("`max_bytes`"), "{error}");
    };
    full(set(&instance, "k", vec![0; 10_000], None).await);
    let room = 10_000 - Config::OVERHEAD - 1;
    assert_eq!(set(&instance, "k", vec![0; room], None).await, Ok(true));
    full(set(&instance, "l", vec![], None).await);
    full(set(&instance, "k", vec![0; room + 1], None).await);
    // Replacing needs room for the difference alone, and what was refused changed nothing.
    assert_eq!(set(&instance, "k", vec![1; room], Some(1000)).await, Ok(true));
    full(set(&instance, "l", vec![], None).await);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(set(&instance, "l", vec![0; room], None).await, Ok(true), "what has expired makes room");
    // Empty values cost too: keys alone cannot fill memory.
    let small = self::instance(json!({ "max_bytes": 100 * Config::OVERHEAD })).await.unwrap();
    let mut stored = 0;
    while set(&small, &stored.to_string(), vec![], None).await.is_ok() {
        stored += 1;
    }
    assert!((90..100).contains(&stored), "{stored}");
}

#[tokio::test(start_paused = true)]
async fn nothing_pins_the_request_it_came_in() {
    let store = Memory::init(InitContext {
        instance: InstanceId(1),
        namespace: String::new(),
        backend_type: String::new(),
        config: Config::default(),
        credentials: Default::default(),
    });
    let store = store.await.unwrap();
    let request = Bytes::from(vec![1; 1 << 20]);
    store.set("k".into(), request.slice(..100_000), None, Condition::Always).await.unwrap();
    assert!(request.is_unique(), "the store holds no part of it");
}

#[tokio::test(start_paused = true)]
async fn watchers_are_bounded() {
    let instance =
        instance(json!({ "max_watchers": 2, "watch_buffer": 3, "watch_buffer_bytes": 100 })).await.unwrap();
    let prefix = WatchRequest { prefix: "w".into() };
    let watch = || instance.open("watch", &prefix);
    let mut slow = watch().await.unwrap();
    let other = watch().await.unwrap();
    assert_eq!(watch().await.err().unwrap().code, Code::ResourceExhausted);
    drop(other);
    let mut heavy = instance.open("watch", &WatchRequest { prefix: "h".into() }).await.unwrap();
    for _ in 0..4 {
        set(&instance, "w", vec![], None).await.unwrap();
    }
    // One that has fallen behind still holds what it has not read: it counts.
    assert_eq!(watch().await.err().unwrap().code, Code::ResourceExhausted);
    // What was buffered is still told, then the end, and its reason.
    for _ in 0..3 {
        assert!(slow.next().await.unwrap().is_ok());
    }
    let error = slow.next().await.unwrap().unwrap_err();
    assert_eq!(error.code, Code::ResourceExhausted);
    assert!(error.message.contains("`watch_buffer`"));
    assert!(slow.next().await.is_none());
    // By bytes: one event of any size, but not two.
    set(&instance, "h", vec![0; 1000], None).await.unwrap();
    set(&instance, "h", vec![], None).await.unwrap();
    assert!(heavy.next().await.unwrap().is_ok());
    assert_eq!(heavy.next().await.unwrap().unwrap_err().code, Code::ResourceExhausted);
    // Both places are free again, and an ended watcher does not hold a new one back.
    let first = watch().await.unwrap();
    let mut second = watch().await.unwrap();
    drop(first);
    assert!(second.next().now_or_never().is_none());
    instance.plugin.shutdown(instance.id).await;
    assert_eq!(second.next().await.unwrap().unwrap_err().code, Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn many_keys_expire_at_once_and_the_sweeper_ends_with_its_instance() {
    let instance = instance(json!({})).await.unwrap();
    for number in 0..2000 {
        set(&instance, &number.to_string(), vec![0; 10], Some(1000)).await.unwrap();
    }
    set(&instance, "stays", vec![], Some(5000)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let health = instance.plugin.health(instance.id).await;
    assert_eq!(health.details["keys"], "1");
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = alive();
    instance.plugin.shutdown(instance.id).await;
    drop(instance);
    tokio::task::yield_now().await;
    assert_eq!(alive(), before - 1);
}

#[derive(Clone, Debug)]
enum Step {
    Set(u8, u8, Option<u64>, Condition),
    Get(u8),
    Delete(u8),
    Scan(usize),
    Sweep,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let condition =
        prop_oneof![Just(Condition::Always), Just(Condition::IfAbsent), Just(Condition::IfPresent)];
    prop_oneof![
        4 => (0..8_u8, any::<u8>(), prop::option::of(1..50_u64), condition)
            .prop_map(|(key, value, ttl, condition)| Step::Set(key, value, ttl, condition)),
        2 => (0..8_u8).prop_map(Step::Get),
        1 => (0..8_u8).prop_map(Step::Delete),
        1 => (1..5_usize).prop_map(Step::Scan),
        1 => Just(Step::Sweep),
        2 => (0..30_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn the_store_does_what_a_map_would(steps in prop::collection::vec(step(), 1..200)) {
        let mut store = Store::new(Config::default());
        let start = Instant::now();
        let mut now = start;
        let mut model: BTreeMap<String, (u8, Option<Instant>)> = BTreeMap::new();
        let mut told: BTreeMap<String, u8> = BTreeMap::new();
        let mut watcher = store.watch(String::new()).unwrap();
        for step in steps {
            model.retain(|_, (_, expires)| expires.is_none_or(|at| at > now));
            match step {
                Step::Set(key, value, ttl, condition) => {
                    let key = key.to_string();
                    let expires = ttl.map(|ttl| now + Duration::from_millis(ttl));
                    let holds = match condition {
                        Condition::Always => true,
                        Condition::IfAbsent => !model.contains_key(&key),
                        Condition::IfPresent => model.contains_key(&key),
                    };
                    let set = store.set(&key, vec![value].into(), expires, condition, now).unwrap();
                    prop_assert_eq!(set.applied, holds);
                    if holds {
                        model.insert(key, (value, expires));
                    }
                }
                Step::Get(key) => {
                    let key = key.to_string();
                    let found = store.get(&key, now).map(|found| (found.value[0], found.ttl.map(|ttl| now + ttl)));
                    prop_assert_eq!(found, model.get(&key).copied());
                }
                Step::Delete(key) => {
                    let key = key.to_string();
                    prop_assert_eq!(store.delete(&key, now), model.remove(&key).is_some());
                }
                Step::Scan(page_size) => {
                    let (mut keys, mut after) = (Vec::new(), None);
                    loop {
                        let page = store.scan("", page_size, after.as_deref(), now);
                        keys.extend(page.keys);
                        let Some(next) = page.next else { break };
                        after = Some(String::from_utf8(next).unwrap());
                    }
                    prop_assert_eq!(keys, model.keys().cloned().collect::<Vec<_>>());
                }
                Step::Sweep => {
                    let next = store.sweep(now);
                    prop_assert_eq!(next, model.values().filter_map(|(_, expires)| *expires).min());
                    let bytes: usize = model.keys().map(|key| key.len() + 1 + Config::OVERHEAD).sum();
                    prop_assert_eq!(store.usage(), (model.len(), bytes));
                }
                Step::Wait(ms) => now += Duration::from_millis(ms),
            }
        }
        // Whoever watched from the beginning knows the end.
        store.sweep(now);
        model.retain(|_, (_, expires)| expires.is_none_or(|at| at > now));
        while let Some(Some(event)) = watcher.next().now_or_never() {
            let event = event.unwrap();
            match event.kind() {
                EventKind::Put => drop(told.insert(event.key, event.value[0])),
                EventKind::Delete | EventKind::Expire => {
                    prop_assert!(told.remove(&event.key).is_some());
                }
            }
        }
        let want: BTreeMap<_, _> = model.into_iter().map(|(key, (value, _))| (key, value)).collect();
        prop_assert_eq!(told, want);
    }
}
