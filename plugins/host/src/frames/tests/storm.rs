//! Very many calls, most of which do not live to their end.

use super::*;
use futures_util::{StreamExt, stream::FuturesUnordered};

/// Numbers that look random and are the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Polls a future so many times that it could have got on, then gives it up.
async fn for_turns<T>(turns: u64, future: impl Future<Output = T>) -> Option<T> {
    let give_up = async {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        done = future => Some(done),
        () = give_up => None,
    }
}

async fn one(way: &Way, kind: u64, turns: u64) {
    let small = || WireBody::Whole(Bytes::from_static(b"small").into());
    match kind {
        0..12 => drop(for_turns(turns, way.call(Rpc::Execute, small())).await),
        12 => {
            let large = WireBody::Whole(Bytes::from(vec![1; 150_000]).into());
            drop(for_turns(turns * 4, way.call(Rpc::Execute, large)).await);
        }
        _ => {
            let (feed, body) = Feed::new();
            feed.send("one");
            let Some(reply) = for_turns(turns, way.call(Rpc::ExecuteStream, body)).await else { return };
            let ReplyBody::Stream(mut source) = reply.unwrap().body else { return };
            feed.send(vec![2; 5_000]);
            if kind == 14 {
                feed.fail();
            }
            for_turns(turns, async { while next_frame(&mut source).await.is_some() {} }).await;
        }
    }
}

#[test]
fn a_hundred_thousand_calls_cancelled_at_random_leave_nothing_behind() {
    // The suite's own guard against hanging tests is 60 s, which a slow machine may need for this one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let (way, server) = Way::to(|call: PluginCall| async move {
            match call.head().method.as_str() {
                "Execute" => echo(call).await,
                _ => ping_pong(call).await,
            }
        })
        .await;
        let mut chance = Chance(1);
        let mut calls = FuturesUnordered::new();
        for _ in 0..100_000 {
            let (kind, turns) = (chance.below(15), chance.below(12));
            calls.push(one(&way, kind, turns));
            if calls.len() == 200 {
                calls.next().await;
            }
        }
        while calls.next().await.is_some() {}
        let connection = way.connection().unwrap();
        let session = Rc::clone(&server.sessions.borrow()[0]);
        // What was given up last is still being confirmed.
        let nothing = [0; 4];
        let left = || (connection.carrier.shared().session().leftovers(), session.borrow().leftovers());
        for _ in 0..100_000 {
            if left() == (nothing, nothing) {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(left(), (nothing, nothing));
        assert_eq!((way.active(), way.endpoint.violations(), server.connections.get()), (0, 0, 1));
        assert_eq!(text(way.unary("still here").await.unwrap()).await, "still here");
    });
}

#[test]
fn a_turn_s_calls_leave_in_one_write() {
    local(async {
        let way = Way::new();
        let (report, mut reads) = mpsc::unbounded_channel();
        scripted(&way, async move |_, mut io| {
            greet(&mut io).await;
            let mut told = vec![0; 1 << 20];
            loop {
                let count = io.read(&mut told).await.unwrap();
                if count == 0 || report.send(count).is_err() {
                    return;
                }
            }
        })
        .await;
        let mut first = way.unary("dials");
        assert!(time::timeout(Duration::from_millis(20), &mut first).await.is_err());
        let alone = reads.recv().await.unwrap();
        let mut calls: FuturesUnordered<_> = (0..100).map(|_| way.unary("dials")).collect();
        let poll_once = |cx: &mut Context<'_>| {
            assert!(calls.poll_next_unpin(cx).is_pending());
            Poll::Ready(())
        };
        std::future::poll_fn(poll_once).await;
        assert_eq!(reads.recv().await.unwrap(), 100 * alone);
        assert!(reads.try_recv().is_err());
    });
}
