//! One unary call at a time through a running proxy, trace and access log on, by every way to a plugin; and without
//! a proxy. The RFC's budgets are beside the figures of `deployment`.
#![allow(missing_docs)] // criterion's macros

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use prism_bench::{
    client::{Client, echo_request},
    proxy,
};

fn end_to_end(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let running = proxy::start(folder.path());
    let mut clients = vec![("direct", Client::direct(&running.echo))];
    clients.extend(proxy::MODELS.map(|model| (model, Client::connect(running.port, model))));
    let mut group = c.benchmark_group("unary, one at a time");
    for payload in [128, 64 * 1024, 1 << 20] {
        let message = echo_request(payload);
        group.throughput(Throughput::Bytes(payload as u64));
        for (name, client) in &clients {
            group.bench_with_input(BenchmarkId::new(*name, payload), &message, |b, message| {
                b.iter(|| client.call(message));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, end_to_end);
criterion_main!(benches);
