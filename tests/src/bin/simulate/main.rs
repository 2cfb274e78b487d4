//! One seed of the deterministic simulation: a proxy with the in-memory plugin and two clients, on a made-up
//! network, with a configuration swap in mid-load. Prints what happened; the same seed prints the same.
//!
//! A process of its own per seed, because some sources of chance (a hash map's keys) are per process.

mod client;
mod net;

use client::{Client, Outcome};
use prism_config::Source;
use prism_edge::{Builtins, Mode, Options, Proxy};
use prism_filters::registry;
use prism_platform::Platform;
use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc, time::Duration};

/// When the configuration is swapped, and how long the clients call: well before and well after it.
const SWAP_AT: Duration = Duration::from_millis(500);
const CALLS: usize = 60;

const BEFORE: &str = "
listeners: [{ name: edge, address: 0.0.0.0:50051, filters: [{ trace: { access_log: { path: off } } }, plugin_dispatch] }]
workers: 2
namespaces:
  - { name: demo, backend: memory, limits: { max_message_bytes: 1KiB } }
";
const AFTER: &str = "
listeners: [{ name: edge, address: 0.0.0.0:50051, filters: [{ trace: { access_log: { path: off }, request_id: accept } }, plugin_dispatch] }]
workers: 2
namespaces:
  - { name: demo, backend: memory, limits: { max_message_bytes: 64KiB } }
  - { name: late, backend: memory }
";

type Log = Rc<RefCell<BTreeMap<&'static str, Vec<String>>>>;

fn main() {
    let seed: u64 = match std::env::args().nth(1).and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed,
        None => panic!("usage: simulate SEED"),
    };
    let log = Log::default();
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(Duration::from_secs(60))
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(20))
        .build();
    sim.host("proxy", move || async move {
        proxy(seed).await;
        Ok(())
    });
    for name in ["one", "two"] {
        let log = Rc::clone(&log);
        sim.client(name, async move {
            let lines = call(name).await;
            log.borrow_mut().insert(name, lines);
            Ok(())
        });
    }
    if let Err(error) = sim.run() {
        panic!("seed {seed}: {error}");
    }
    for (name, lines) in log.borrow().iter() {
        for line in lines {
            println!("{name} {line}");
        }
    }
}

async fn proxy(seed: u64) {
    let source = |text: &str| Source { name: "simulation".into(), text: text.into(), base_dir: ".".into() };
    let options = Options {
        platform: Platform::simulated(Arc::new(net::Turmoil), seed),
        filters: registry::builtin(),
        builtins: Builtins::standard(),
        source: source(BEFORE),
        file: None,
        admin: false,
    };
    let (proxy, workers) = Proxy::start(options).await.expect("the configuration serves");
    for worker in workers {
        tokio::task::spawn_local(worker.run());
    }
    let control = proxy.control();
    let swap = async move {
        tokio::time::sleep(SWAP_AT).await;
        let accepted = control.apply(source(AFTER), Mode::Apply).await.expect("the change is taken");
        assert_eq!(accepted.version, 2);
        std::future::pending::<()>().await;
    };
    proxy.run(swap, std::future::pending()).await;
}

/// Calls until well after the swap. Panics on what may never happen; returns what may differ between seeds.
async fn call(name: &'static str) -> Vec<String> {
    let client = Client::connect("proxy", 50051).await;
    let mut watch = client.watch("demo", &format!("{name}/")).await;
    let mut lines = Vec::new();
    let (mut late, mut large) = (false, false);
    for number in 0..CALLS {
        let key = format!("{name}/{number}");
        assert_eq!(client.set("demo", &key, 10).await, Outcome::Ok, "{name} {number}");
        assert_eq!(watch.next().await, key, "the stream that was open before the swap goes on");

        // Both changes of the new version show from one moment on, and never go away again.
        late = step(late, client.set("late", &key, 10).await, tonic::Code::NotFound);
        large = step(
            large,
            client.set("demo", &format!("large/{key}"), 2000).await,
            tonic::Code::ResourceExhausted,
        );
        lines.push(format!("{number} {:?} late={late} large={large}", turmoil::elapsed()));
    }
    assert!(late && large, "{name} never saw the new version");
    lines.push(format!("request ids {:?}", client.request_ids()));
    lines
}

fn step(seen: bool, outcome: Outcome, before: tonic::Code) -> bool {
    match outcome {
        Outcome::Ok => true,
        Outcome::Refused(code) => {
            assert!(!seen && code == before, "{code:?} after the new version was seen: {seen}");
            false
        }
    }
}
