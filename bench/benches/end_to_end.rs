//! One unary call at a time through a running proxy, trace and access log on: the plugin in the same process,
//! and behind a unix socket. The RFC's budgets for what a deployment model may add are 0.1 ms in process and
//! 1 to 2 ms for a sidecar.
#![allow(missing_docs)] // criterion's macros

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use prism_bench::{
    client::{Client, echo_request},
    proxy,
};

fn end_to_end(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let port = proxy::start(folder.path());
    let client = Client::connect(port);
    let mut group = c.benchmark_group("unary, one at a time");
    for payload in [128, 64 * 1024, 1 << 20] {
        let message = echo_request(payload);
        group.throughput(Throughput::Bytes(payload as u64));
        for namespace in ["builtin", "sidecar"] {
            group.bench_with_input(BenchmarkId::new(namespace, payload), &message, |b, message| {
                b.iter(|| client.call(namespace, message));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, end_to_end);
criterion_main!(benches);
