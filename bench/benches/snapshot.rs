//! Loading the current snapshot, alone and while another thread swaps it.
#![allow(missing_docs)] // criterion's macros

use arc_swap::ArcSwap;
use criterion::{Criterion, criterion_group, criterion_main};
use prism_config::Source;
use prism_edge::Snapshot;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

fn snapshot(version: u64) -> Snapshot {
    let source = Source { name: "bench".to_owned(), text: String::new(), base_dir: ".".into() };
    let registry =
        prism_edge::config_registry(&prism_filters::registry::builtin(), &prism_edge::Builtins::standard());
    let config = prism_config::parse(&source, &registry).expect("an empty file is valid");
    Snapshot::new(version, Arc::new(config), HashMap::new(), HashMap::new())
}

fn load(c: &mut Criterion) {
    let current = Arc::new(ArcSwap::from_pointee(snapshot(1)));
    let mut group = c.benchmark_group("snapshot");
    group.bench_function("load", |b| b.iter(|| current.load_full().version()));

    let stop = Arc::new(AtomicBool::new(false));
    let swapper = thread::spawn({
        let (current, stop) = (Arc::clone(&current), Arc::clone(&stop));
        move || {
            let pair = [Arc::new(snapshot(2)), Arc::new(snapshot(3))];
            for next in pair.iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                current.store(Arc::clone(next));
                thread::yield_now();
            }
        }
    });
    group.bench_function("load while it is swapped without pause", |b| {
        b.iter(|| current.load_full().version());
    });
    stop.store(true, Ordering::Relaxed);
    swapper.join().expect("the swapper ends");
    group.finish();
}

criterion_group!(benches, load);
criterion_main!(benches);
