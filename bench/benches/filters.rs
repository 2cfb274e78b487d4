//! Filters one by one, all of them together, the message checker, and the way to a builtin: a small unary call, from
//! its head to the last byte of its answer. What a filter costs is its line less the line without any.
//!
//! The goals: no filter above 0.3 µs, all together at most 1 µs, dispatch to a builtin at most 0.5 µs.
#![allow(missing_docs)] // criterion's macros

use criterion::{Criterion, criterion_group, criterion_main};
use prism_bench::{
    client::echo_request,
    dispatch::Builtin,
    filters::{Answer, Scene, call, call_with_token},
};
use prism_filters::Filter;
use prism_platform::Platform;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn filters(c: &mut Criterion) {
    let runtime = runtime();
    let scene = Scene::new(Platform::system());
    let message = echo_request(128);
    let mut chains: Vec<(String, Vec<Arc<dyn Filter>>)> = vec![
        ("no filter".to_owned(), Vec::new()),
        ("trace, its log off".to_owned(), vec![scene.trace("off")]),
    ];
    let all = scene.all();
    chains.extend(all.iter().map(|(name, filter)| ((*name).to_owned(), vec![Arc::clone(filter)])));
    chains.push(("all".to_owned(), all.into_iter().map(|(_, filter)| filter).collect()));

    let mut group = c.benchmark_group("a small call through");
    for (name, filters) in &chains {
        group.bench_function(name, |b| {
            b.iter(|| runtime.block_on(call(filters, Answer { checks: false }, scene.start(), &message)));
        });
    }
    group.bench_function("the message checker", |b| {
        b.iter(|| runtime.block_on(call(&[], Answer { checks: true }, scene.start(), &message)));
    });
    group.finish();

    let _runtime = runtime.enter();
    let secured = scene.secured();
    let mut group = c.benchmark_group("a small call with a token that has been seen before through");
    for (name, filters) in [
        ("trace", &secured[..1]),
        ("trace and audit", &secured[..2]),
        ("trace, audit and auth", &secured[..3]),
        ("trace, audit, auth and authz", &secured[..]),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| {
                runtime.block_on(call_with_token(filters, Answer { checks: false }, scene.start(), &message));
            });
        });
    }
    group.finish();
}

fn dispatch(c: &mut Criterion) {
    let runtime = runtime();
    let builtin = runtime.block_on(Builtin::new(Platform::system()));
    let message = echo_request(128);
    c.bench_function("dispatch to a builtin", |b| b.iter(|| runtime.block_on(builtin.call(&message))));
}

criterion_group!(benches, filters, dispatch);
criterion_main!(benches);
