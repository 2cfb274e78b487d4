//! Bodies that stream: order, back-pressure, cancellation.

use super::*;
use crate::testing::frames::CREDIT;

/// What a plugin saw of a request's body.
#[derive(Debug, PartialEq, Eq)]
enum Saw {
    End(usize),
    Gone(Gone),
}

async fn watch(call: &mut PluginCall) -> Saw {
    match call.read().await {
        Ok(payload) => Saw::End(payload.len()),
        Err(gone) => Saw::Gone(gone),
    }
}

/// A plugin that reports what it saw, and never answers; having begun to, or not.
async fn watcher(protocol: Protocol, begins: bool) -> (Rig, mpsc::UnboundedReceiver<Saw>) {
    let (report, saw) = mpsc::unbounded_channel();
    let rig = Rig::new(protocol, move |mut call| {
        let report = report.clone();
        async move {
            if begins {
                call.begin();
            }
            report.send(watch(&mut call).await).unwrap();
        }
    })
    .await;
    (rig, saw)
}

fn stream(reply: WireReply) -> Box<dyn crate::ReplySource> {
    let ReplyBody::Stream(source) = reply.body else { panic!("not a stream") };
    source
}

async fn progress(source: &mut Box<dyn crate::ReplySource>) {
    std::future::poll_fn(|cx| {
        source.poll_progress(cx);
        std::task::Poll::Ready(())
    })
    .await;
}

/// What a plugin that takes nothing has let a call send: its window, and for frames once more what came together
/// with the head, which the test server takes at once.
fn window(protocol: Protocol) -> std::ops::RangeInclusive<usize> {
    match protocol {
        // The default of HTTP/2.
        Protocol::Grpc => 65_535..=65_535,
        Protocol::Frames => CREDIT as usize..=2 * CREDIT as usize,
    }
}

#[test]
fn both_ways_at_once() {
    over_each(async |protocol| {
        let rig = Rig::new(protocol, ping_pong).await;
        let (feed, body) = Feed::new();
        let mut source = stream(rig.call(Rpc::ExecuteStream, body).await.unwrap());
        for text in ["one", "two", "three"] {
            feed.send(text);
            assert_eq!(next_frame(&mut source).await.unwrap().unwrap().into_data().unwrap(), text);
        }
        drop(feed);
        let trailers = next_frame(&mut source).await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "0");
        assert!(next_frame(&mut source).await.is_none());
    });
}

#[test]
fn headers_pass_before_any_message() {
    over_each(async |protocol| {
        let go = Rc::new(Notify::new());
        let gate = Rc::clone(&go);
        let rig = Rig::new(protocol, move |mut call| {
            let gate = Rc::clone(&gate);
            async move {
                call.begin();
                gate.notified().await;
                call.answer(Bytes::from_static(b"event")).await;
            }
        })
        .await;
        let reply = rig.unary("x").await.unwrap();
        go.notify_one();
        assert_eq!(text(reply).await, "event");
    });
}

#[test]
fn a_large_body_goes_through_in_order() {
    over_each(async |protocol| {
        let rig = Rig::new(protocol, echo).await;
        let sent: Bytes = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
        let whole = rig.call(Rpc::Execute, WireBody::Whole(sent.clone().into()));
        let in_pieces: Payload = sent.chunks(100_003).map(Bytes::copy_from_slice).collect();
        let in_pieces = rig.call(Rpc::Execute, WireBody::Whole(in_pieces));
        let (feed, body) = Feed::new();
        for piece in sent.chunks(10_007) {
            feed.send(Bytes::copy_from_slice(piece));
        }
        drop(feed);
        let streamed = rig.call(Rpc::Execute, body);
        let read = async |call: Forwarding| all(call.await.unwrap()).await.unwrap().0.into_bytes();
        let answers = tokio::join!(read(whole), read(in_pieces), read(streamed));
        for answer in [answers.0, answers.1, answers.2] {
            assert_eq!(answer, sent);
        }
    });
}

#[test]
fn a_plugin_that_does_not_read_stops_the_client() {
    over_each(async |protocol| {
        let rig = Rig::new(protocol, hold).await;
        let (feed, body) = Feed::new();
        for _ in 0..1000 {
            feed.send(vec![0; 10_000]);
        }
        let mut call = rig.call(Rpc::ExecuteStream, body);
        assert!(time::timeout(Duration::from_millis(200), &mut call).await.is_err());
        // One piece waits for more of it.
        let window = window(protocol);
        assert!((*window.start()..=window.end() + 10_000).contains(&feed.taken()), "{}", feed.taken());
    });
}

#[test]
fn a_client_that_does_not_read_stops_the_plugin() {
    over_each(async |protocol| {
        let accepted = Rc::new(Cell::new(0));
        let count = Rc::clone(&accepted);
        let rig = Rig::new(protocol, move |mut call| {
            let count = Rc::clone(&count);
            async move {
                call.begin();
                while call.send(vec![0; 1_000].into()).await {
                    count.set(count.get() + 1_000);
                }
            }
        })
        .await;
        // What one answer may have on the way, at first and once its reader has kept up.
        let (window, grown) = match protocol {
            Protocol::Grpc => (128 << 10, 128 << 10),
            // A window, and what was taken to see whether the answer is a small one.
            Protocol::Frames => (128 << 10, 1 << 20),
        };
        let reply = rig.unary("x").await.unwrap();
        settle().await;
        let stalled = accepted.get();
        // What is in the plugin's own buffers and the socket has got window too.
        assert!((10_000..=window).contains(&stalled), "{stalled}");
        let mut source = stream(reply);
        let mut taken = 0;
        while taken < 1 << 20 {
            taken += next_frame(&mut source).await.unwrap().unwrap().into_data().unwrap().len();
        }
        settle().await;
        assert!(accepted.get() - taken <= grown);
    });
}

#[test]
fn a_stalled_stream_slows_no_other_call() {
    over_each(async |protocol| {
        let rig = Rig::new(protocol, |mut call: PluginCall| async move {
            if call.head().method == "Execute" {
                return echo(call).await;
            }
            call.begin();
            while call.send(vec![0; 10_000].into()).await {}
        })
        .await;
        // Both sides of these stand still: nobody reads the answers, and the plugin reads nothing.
        let mut stalled = Vec::new();
        for _ in 0..8 {
            let (feed, body) = Feed::new();
            for _ in 0..100 {
                feed.send(vec![0; 10_000]);
            }
            let reply = rig.call(Rpc::ExecuteStream, body).await.unwrap();
            stalled.push((feed, stream(reply)));
        }
        for _ in 0..5 {
            for (_, source) in &mut stalled {
                progress(source).await;
            }
            settle().await;
        }
        let large: Bytes = vec![7; 1_000_000].into();
        let many = join_all((0..1000).map(|_| async { text(rig.unary("x").await.unwrap()).await }));
        let one =
            async { all(rig.call(Rpc::Execute, WireBody::Whole(large.clone().into())).await.unwrap()).await };
        let (many, one) = tokio::join!(many, one);
        assert!(many.iter().all(|text| text == "x"));
        assert_eq!(one.unwrap().0.into_bytes(), large);
        assert_eq!(rig.server.connections.get(), 1);
    });
}

#[test]
fn an_upload_moves_while_nobody_takes_the_answers() {
    over_each(async |protocol| {
        let rig = Rig::new(protocol, ping_pong).await;
        let (feed, body) = Feed::new();
        feed.send("first");
        let mut source = stream(rig.call(Rpc::ExecuteStream, body).await.unwrap());
        let before = feed.taken();
        for _ in 0..10 {
            feed.send(vec![0; 1000]);
        }
        while feed.taken() < before + 10_000 {
            progress(&mut source).await;
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_client_s_failure_never_reads_as_the_end() {
    over_each(async |protocol| {
        let (rig, mut saw) = watcher(protocol, false).await;
        let (feed, body) = Feed::new();
        // A complete message, were it not for the failure.
        feed.send(&b"\0\0\0\0\x02\x0a\0"[..]);
        feed.fail();
        assert!(matches!(rig.call(Rpc::Execute, body).await, Err(ForwardError::Source(_))));
        // The plugin may never have heard of it.
        assert_eq!(text(Rig::new(protocol, echo).await.unary("x").await.unwrap()).await, "x");
        settle().await;
        assert!(matches!(saw.try_recv(), Ok(Saw::Gone(Gone::Cancelled)) | Err(_)));
        // Here it has.
        let (feed, body) = Feed::new();
        feed.send(&b"\0\0\0\0\x02\x0a\0"[..]);
        let mut call = rig.call(Rpc::Execute, body);
        assert!(time::timeout(Duration::from_millis(50), &mut call).await.is_err());
        feed.fail();
        assert!(matches!(call.await, Err(ForwardError::Source(_))));
        assert_eq!(saw.recv().await, Some(Saw::Gone(Gone::Cancelled)));
    });
}

#[test]
fn a_client_s_failure_after_the_headers_resets_too() {
    over_each(async |protocol| {
        for by_progress in [false, true] {
            let (rig, mut saw) = watcher(protocol, true).await;
            let (feed, body) = Feed::new();
            feed.send("half a message");
            let mut source = stream(rig.call(Rpc::ExecuteStream, body).await.unwrap());
            feed.fail();
            if by_progress {
                progress(&mut source).await;
            }
            assert!(matches!(next_frame(&mut source).await, Some(Err(ForwardError::Source(_)))));
            assert!(next_frame(&mut source).await.is_none());
            assert_eq!(saw.recv().await, Some(Saw::Gone(Gone::Cancelled)));
        }
    });
}

#[test]
fn dropping_a_call_cancels_it() {
    over_each(async |protocol| {
        let (rig, mut saw) = watcher(protocol, false).await;
        let (feed, body) = Feed::new();
        feed.send("half a message");
        let mut call = rig.call(Rpc::Execute, body);
        assert!(time::timeout(Duration::from_millis(50), &mut call).await.is_err());
        drop(call);
        assert_eq!(saw.recv().await, Some(Saw::Gone(Gone::Cancelled)));
        feed.abandoned().await;
    });
}

#[test]
fn dropping_an_answer_cancels_the_call() {
    over_each(async |protocol| {
        let (report, mut saw) = mpsc::unbounded_channel();
        let rig = Rig::new(protocol, move |mut call| {
            let report = report.clone();
            async move {
                call.begin();
                report.send(call.cancelled().await).unwrap();
            }
        })
        .await;
        drop(rig.unary("x").await.unwrap());
        assert_eq!(saw.recv().await, Some(Gone::Cancelled));
    });
}

#[test]
fn an_early_answer_ends_the_upload() {
    over_each(async |protocol| {
        let rig = Rig::new(protocol, |call| call.answer(Bytes::from_static(b"enough"))).await;
        let (feed, body) = Feed::new();
        for _ in 0..100 {
            feed.send(vec![0; 10_000]);
        }
        assert_eq!(text(rig.call(Rpc::ExecuteStream, body).await.unwrap()).await, "enough");
        feed.abandoned().await;
        assert!(feed.taken() < 1_000_000);
    });
}
