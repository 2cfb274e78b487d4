//! Parts of the path that need no connection.

use super::{Scenario, Work, alone, runtime};
use crate::{
    client::echo_request,
    dispatch::Builtin,
    filters::{Answer, Scene, call, call_with_token},
};
use bytes::Bytes;
use http::HeaderMap;
use prism_audit::{Hash, write_line};
use prism_edge::{Conditions, Route, RouteTable};
use prism_filters::Filter;
use prism_plugin_abi::{Data, Payload, Request};
use prism_plugin_envelope::{decode_reply, decode_request, encode_reply, encode_request};
use prism_proto::scan::scan_whole;
use std::{hint::black_box, sync::Arc};

/// Bytes of a small call's record.
const RECORD: usize = 400;

/// Bytes of a small payload, as in the comparison.
pub(super) const SMALL: usize = 128;

pub(super) const SCENARIOS: [Scenario; 14] = [
    Scenario { name: "scanner: operation of a small message", iterations: 10_000, prepare: scanner },
    Scenario { name: "routes: prefix among 10", iterations: 10_000, prepare: || routes(10) },
    Scenario { name: "routes: prefix among 10,000", iterations: 10_000, prepare: || routes(10_000) },
    Scenario { name: "chain: no filter", iterations: 10_000, prepare: || chain(false, |_| Vec::new()) },
    Scenario {
        name: "chain: no filter, messages checked",
        iterations: 10_000,
        prepare: || chain(true, |_| Vec::new()),
    },
    Scenario {
        name: "chain: trace without its log",
        iterations: 10_000,
        prepare: || chain(false, |scene| vec![scene.trace("off")]),
    },
    Scenario {
        name: "chain: trace with its log",
        iterations: 10_000,
        prepare: || chain(false, |scene| vec![scene.trace("/dev/null")]),
    },
    Scenario {
        name: "chain: all filters, messages checked",
        iterations: 10_000,
        prepare: || chain(true, |scene| scene.all().into_iter().map(|(_, filter)| filter).collect()),
    },
    Scenario { name: "chain: secured, without the audit log's thread", iterations: 10_000, prepare: secured },
    Scenario { name: "audit log: a line", iterations: 10_000, prepare: audit_line },
    Scenario { name: "dispatch: a small call to a builtin", iterations: 10_000, prepare: dispatch },
    Scenario { name: "envelope: decode a request", iterations: 10_000, prepare: decode },
    Scenario { name: "envelope: encode a request", iterations: 10_000, prepare: encode },
    Scenario { name: "envelope: encode and decode a reply", iterations: 10_000, prepare: reply },
];

fn scanner() -> Work {
    let message = echo_request(SMALL).slice(5..);
    assert_eq!(scan_whole(&message), Ok(Some("echo")));
    repeat(move || {
        let _ = black_box(scan_whole(black_box(&message)));
    })
}

fn routes(count: usize) -> Work {
    let route =
        |number| Route::new(Some(format!("namespace-{number}").into()), Arc::new([]), Conditions::default());
    let mut table = RouteTable::default();
    for number in 0..count {
        table.add_prefix(&format!("/team-{number:05}/"), route(number));
    }
    let uri = http::Uri::from_static("/team-00007/Execute");
    let headers = HeaderMap::new();
    assert_eq!(
        table.find(&uri, &headers).and_then(Route::namespace).map(|name| &**name),
        Some("namespace-7")
    );
    repeat(move || {
        black_box(table.find(black_box(&uri), &headers));
    })
}

fn chain(checks: bool, filters: fn(&Scene) -> Vec<Arc<dyn Filter>>) -> Work {
    let runtime = runtime();
    let scene = Scene::new(alone());
    let filters = filters(&scene);
    let message = echo_request(SMALL);
    Box::new(move |times| {
        runtime.block_on(async {
            let start = scene.start();
            for _ in 0..times {
                call(&filters, Answer { checks }, start.clone(), &message).await;
            }
        });
    })
}

/// Callgrind counts in the thread that calls the function it is told to look for: the log's own is not in it.
fn secured() -> Work {
    let runtime = runtime();
    let scene = Scene::new(alone());
    let filters = runtime.block_on(async { scene.secured() });
    let message = echo_request(SMALL);
    Box::new(move |times| {
        runtime.block_on(async {
            let start = scene.start();
            for _ in 0..times {
                call_with_token(&filters, Answer { checks: true }, start.clone(), &message).await;
            }
        });
    })
}

/// What the log's thread does for each record. Nearly all of it is SHA-256, which valgrind's processor has no instructions for.
fn audit_line() -> Work {
    let record = vec![b'7'; RECORD];
    let (mut out, mut seq, mut head) = (Vec::new(), 0, Hash::ZERO);
    repeat(move || {
        // As many as one write takes.
        if out.len() > 256 << 10 {
            out.clear();
        }
        seq += 1;
        head = write_line(&mut out, seq, head, black_box(&record));
    })
}

fn dispatch() -> Work {
    let runtime = runtime();
    let builtin = runtime.block_on(Builtin::new(alone()));
    let message = echo_request(SMALL);
    Box::new(move |times| {
        runtime.block_on(async {
            for _ in 0..times {
                assert!(builtin.call(&message).await > SMALL);
            }
        });
    })
}

fn decode() -> Work {
    let message = echo_request(SMALL);
    repeat(move || {
        let request = decode_request(black_box(&message).clone().into()).expect("a request");
        black_box(request);
    })
}

fn encode() -> Work {
    let request = Request { operation: "echo".into(), params: payload(), metadata: Vec::new() };
    repeat(move || {
        black_box(encode_request(black_box(&request).clone()).expect("a message"));
    })
}

fn reply() -> Work {
    let data = payload();
    repeat(move || {
        let message = encode_reply(Ok(black_box(&data).clone())).expect("a message");
        black_box(decode_reply(message).expect("a reply").expect("a success"));
    })
}

fn payload() -> Data {
    Data::Raw(Payload::from(Bytes::from(vec![7; SMALL])))
}

fn repeat(mut once: impl FnMut() + 'static) -> Work {
    Box::new(move |times| {
        for _ in 0..times {
            once();
        }
    })
}
