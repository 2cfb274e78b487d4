//! A chain of filters that do nothing: what a filter costs before it does anything.
#![allow(missing_docs)] // criterion's macros

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::{Request, Response};
use prism_filters::{
    Body, Filter, FilterFuture, Next, Protocol, RequestContext, RequestStart, Terminal, run,
};
use std::sync::Arc;

struct Nothing;

impl Filter for Nothing {
    fn call<'a>(
        &'a self,
        cx: &'a RequestContext,
        request: &'a mut Request<Body>,
        next: Next<'a>,
    ) -> FilterFuture<'a> {
        Box::pin(async move { next.call(cx, request).await })
    }
}

struct Answer;

impl Terminal for Answer {
    fn call<'a>(&'a self, _: &'a RequestContext, _: &'a mut Request<Body>) -> FilterFuture<'a> {
        Box::pin(async { Ok(Response::new(Body::empty())) })
    }
}

fn chain(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let mut group = c.benchmark_group("chain of no-op filters");
    for length in [0, 1, 3, 7] {
        let filters: Vec<Arc<dyn Filter>> =
            (0..length).map(|_| Arc::new(Nothing) as Arc<dyn Filter>).collect();
        group.bench_with_input(BenchmarkId::from_parameter(length), &filters, |b, filters| {
            let cx = RequestContext::new(RequestStart::new(Protocol::Grpc, "demo"));
            b.iter(|| runtime.block_on(run(filters, &Answer, &cx, &mut Request::new(Body::empty()))));
        });
    }
    group.finish();
}

criterion_group!(benches, chain);
criterion_main!(benches);
