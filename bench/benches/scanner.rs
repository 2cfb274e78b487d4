//! The wire scanner: reading the operation off a message, whole and in pieces.
#![allow(missing_docs)] // criterion's macros

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use prism_bench::client::echo_request;
use prism_proto::scan::{Scanner, scan_whole};
use std::hint::black_box;

fn scanner(c: &mut Criterion) {
    let mut group = c.benchmark_group("scanner");
    for payload in [0, 128, 16 * 1024, 1 << 20] {
        let message = echo_request(payload).slice(5..);
        group.throughput(Throughput::Bytes(message.len() as u64));
        group.bench_with_input(BenchmarkId::new("whole", payload), &message, |b, message| {
            b.iter(|| scan_whole(black_box(message)));
        });
        group.bench_with_input(BenchmarkId::new("pieces of 16 KiB", payload), &message, |b, message| {
            b.iter(|| {
                let mut scanner = Scanner::new(message.len());
                for piece in message.chunks(16 * 1024) {
                    scanner.push(black_box(piece)).expect("a well-formed message");
                }
                scanner.finish()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, scanner);
criterion_main!(benches);
