//! Finding a route among 10, 1,000 and 10,000.
#![allow(missing_docs)] // criterion's macros

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::HeaderMap;
use prism_edge::{Conditions, Route, RouteTable};
use std::{hint::black_box, sync::Arc};

fn table(routes: usize) -> RouteTable {
    let route = |number: usize| {
        Route::new(Some(format!("namespace-{number}").into()), Arc::new([]), Conditions::default())
    };
    let mut table = RouteTable::default();
    for number in 0..routes {
        if number % 2 == 0 {
            table.add_prefix(&format!("/team-{number:05}/"), route(number));
        } else {
            table.add_exact(&format!("/team-{number:05}/Execute"), route(number));
        }
    }
    table.add_prefix("/", route(routes));
    table
}

fn lookup(c: &mut Criterion) {
    let headers = HeaderMap::new();
    let mut group = c.benchmark_group("route lookup");
    for routes in [10, 1_000, 10_000] {
        let table = table(routes);
        for (what, path) in [
            ("exact", "/team-00001/Execute"),
            ("prefix", "/team-00008/Execute"),
            ("catch-all", "/prism.data.v1.DataService/Execute"),
        ] {
            let uri: http::Uri = path.parse().expect("a path");
            assert!(table.find(&uri, &headers).is_some());
            group.bench_with_input(BenchmarkId::new(what, routes), &table, |b, table| {
                b.iter(|| table.find(black_box(&uri), &headers).is_some());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, lookup);
criterion_main!(benches);
