//! Bodies that stream: order, back-pressure, cancellation.

use super::*;

/// What a plugin saw of a request's body.
#[derive(Debug, PartialEq, Eq)]
enum Saw {
    End(usize),
    Reset(Option<Reason>),
}

async fn watch(body: &mut RecvStream) -> Saw {
    match read(body).await {
        Ok(payload) => Saw::End(payload.len()),
        Err(error) => Saw::Reset(error.reason()),
    }
}

/// A plugin that reports what it saw, and never answers.
async fn watcher() -> (Rig, mpsc::UnboundedReceiver<Saw>) {
    let (report, saw) = mpsc::unbounded_channel();
    let rig = Rig::new(move |request: Request<RecvStream>, respond| {
        let report = report.clone();
        async move {
            let _respond: SendResponse<Bytes> = respond;
            report.send(watch(&mut request.into_body()).await).unwrap();
        }
    })
    .await;
    (rig, saw)
}

/// A plugin that sends back each piece as it comes.
async fn ping_pong(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let mut stream = respond.send_response(grpc_head(), false).unwrap();
    let mut body = request.into_body();
    while let Some(Ok(piece)) = body.data().await {
        body.flow_control().release_capacity(piece.len()).unwrap();
        stream.send_data(piece, false).unwrap();
    }
    stream.send_trailers(ok_trailers()).unwrap();
}

#[test]
fn both_ways_at_once() {
    local(async {
        let rig = Rig::new(ping_pong).await;
        let (feed, body) = Feed::new();
        let reply = rig.call(Rpc::ExecuteStream, body).await.unwrap();
        let ReplyBody::Stream(mut source) = reply.body else { panic!("not a stream") };
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
    local(async {
        let go = Rc::new(Notify::new());
        let gate = Rc::clone(&go);
        let rig = Rig::new(move |_, mut respond: SendResponse<Bytes>| {
            let gate = Rc::clone(&gate);
            async move {
                let mut stream = respond.send_response(grpc_head(), false).unwrap();
                gate.notified().await;
                stream.send_data(Bytes::from_static(b"event"), false).unwrap();
                stream.send_trailers(ok_trailers()).unwrap();
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
    local(async {
        let rig = Rig::new(|request, mut respond: SendResponse<Bytes>| async move {
            let body = read(&mut Request::into_body(request)).await.unwrap().into_bytes();
            let mut stream = respond.send_response(grpc_head(), false).unwrap();
            stream.send_data(body, false).unwrap();
            stream.send_trailers(ok_trailers()).unwrap();
        })
        .await;
        let sent: Bytes = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
        let whole = rig.call(Rpc::Execute, WireBody::Whole(sent.clone().into()));
        let (feed, body) = Feed::new();
        for piece in sent.chunks(10_007) {
            feed.send(Bytes::copy_from_slice(piece));
        }
        drop(feed);
        let streamed = rig.call(Rpc::Execute, body);
        let (whole, streamed) = tokio::join!(whole, streamed);
        for reply in [whole, streamed] {
            let (messages, _) = all(reply.unwrap()).await.unwrap();
            assert_eq!(messages.into_bytes(), sent);
        }
    });
}

#[test]
fn a_plugin_that_does_not_read_stops_the_client() {
    local(async {
        let rig = Rig::new(|request: Request<RecvStream>, respond| async move {
            let _held: (_, SendResponse<Bytes>) = (request, respond);
            std::future::pending::<()>().await;
        })
        .await;
        let (feed, body) = Feed::new();
        for _ in 0..1000 {
            feed.send(vec![0; 10_000]);
        }
        let mut call = rig.call(Rpc::ExecuteStream, body);
        assert!(time::timeout(Duration::from_millis(200), &mut call).await.is_err());
        // The peer's default window is 65,535 bytes, and one piece waits for more of it.
        assert!((65_535..=75_535).contains(&feed.taken()), "{}", feed.taken());
    });
}

#[test]
fn a_client_that_does_not_read_stops_the_plugin() {
    local(async {
        let accepted = Rc::new(Cell::new(0));
        let count = Rc::clone(&accepted);
        let rig = Rig::new(move |_, mut respond: SendResponse<Bytes>| {
            let count = Rc::clone(&count);
            async move {
                let mut stream = respond.send_response(grpc_head(), false).unwrap();
                loop {
                    stream.reserve_capacity(10_000);
                    let Some(Ok(capacity)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else {
                        return;
                    };
                    stream.send_data(Bytes::from(vec![0; capacity]), false).unwrap();
                    count.set(count.get() + capacity);
                }
            }
        })
        .await;
        let reply = rig.unary("x").await.unwrap();
        settle().await;
        let stalled = accepted.get();
        // The stream's window; what is in h2 and the socket of the plugin has got window too.
        assert!((10_000..=128 << 10).contains(&stalled), "{stalled}");
        let ReplyBody::Stream(mut source) = reply.body else { panic!("not a stream") };
        let mut taken = 0;
        while taken < 1 << 20 {
            taken += next_frame(&mut source).await.unwrap().unwrap().into_data().unwrap().len();
        }
        settle().await;
        assert!(accepted.get() - taken <= 128 << 10);
    });
}

#[test]
fn an_upload_moves_while_nobody_takes_the_answers() {
    local(async {
        let rig = Rig::new(ping_pong).await;
        let (feed, body) = Feed::new();
        feed.send("first");
        let reply = rig.call(Rpc::ExecuteStream, body).await.unwrap();
        let ReplyBody::Stream(mut source) = reply.body else { panic!("not a stream") };
        let before = feed.taken();
        for _ in 0..10 {
            feed.send(vec![0; 1000]);
        }
        while feed.taken() < before + 10_000 {
            std::future::poll_fn(|cx| {
                source.poll_progress(cx);
                std::task::Poll::Ready(())
            })
            .await;
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_client_s_failure_never_reads_as_the_end() {
    local(async {
        let (rig, mut saw) = watcher().await;
        let (feed, body) = Feed::new();
        // A complete message, were it not for the failure.
        feed.send(&b"\0\0\0\0\x02\x0a\0"[..]);
        feed.fail();
        assert!(matches!(rig.call(Rpc::Execute, body).await, Err(ForwardError::Source(_))));
        assert_eq!(saw.recv().await, Some(Saw::Reset(Some(Reason::CANCEL))));
    });
}

#[test]
fn a_client_s_failure_after_the_headers_resets_too() {
    local(async {
        for by_progress in [false, true] {
            let (report, mut saw) = mpsc::unbounded_channel();
            let rig = Rig::new(move |request: Request<RecvStream>, mut respond: SendResponse<Bytes>| {
                let report = report.clone();
                async move {
                    let _stream = respond.send_response(grpc_head(), false).unwrap();
                    report.send(watch(&mut request.into_body()).await).unwrap();
                }
            })
            .await;
            let (feed, body) = Feed::new();
            feed.send("half a message");
            let reply = rig.call(Rpc::ExecuteStream, body).await.unwrap();
            let ReplyBody::Stream(mut source) = reply.body else { panic!("not a stream") };
            feed.fail();
            if by_progress {
                std::future::poll_fn(|cx| {
                    source.poll_progress(cx);
                    std::task::Poll::Ready(())
                })
                .await;
            }
            assert!(matches!(next_frame(&mut source).await, Some(Err(ForwardError::Source(_)))));
            assert!(next_frame(&mut source).await.is_none());
            assert_eq!(saw.recv().await, Some(Saw::Reset(Some(Reason::CANCEL))));
        }
    });
}

#[test]
fn dropping_a_call_resets_it() {
    local(async {
        let (rig, mut saw) = watcher().await;
        let (feed, body) = Feed::new();
        feed.send("half a message");
        let mut call = rig.call(Rpc::Execute, body);
        assert!(time::timeout(Duration::from_millis(50), &mut call).await.is_err());
        drop(call);
        assert_eq!(saw.recv().await, Some(Saw::Reset(Some(Reason::CANCEL))));
        feed.abandoned().await;
    });
}

#[test]
fn dropping_an_answer_resets_the_call() {
    local(async {
        let (report, mut saw) = mpsc::unbounded_channel();
        let rig = Rig::new(move |_, mut respond: SendResponse<Bytes>| {
            let report = report.clone();
            async move {
                let mut stream = respond.send_response(grpc_head(), false).unwrap();
                let reset = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
                report.send(reset.unwrap()).unwrap();
            }
        })
        .await;
        drop(rig.unary("x").await.unwrap());
        assert_eq!(saw.recv().await, Some(Reason::CANCEL));
    });
}

#[test]
fn an_early_answer_ends_the_upload() {
    local(async {
        let rig = Rig::new(|request: Request<RecvStream>, respond| async move {
            answer(respond, Bytes::from_static(b"enough").into());
            // Held: the end of the answer alone says that no more is wanted.
            let _body = request.into_body();
            std::future::pending::<()>().await;
        })
        .await;
        let (feed, body) = Feed::new();
        for _ in 0..100 {
            feed.send(vec![0; 10_000]);
        }
        assert_eq!(text(rig.call(Rpc::ExecuteStream, body).await.unwrap()).await, "enough");
        feed.abandoned().await;
        assert!(feed.taken() < 1_000_000);
    });
}

#[test]
fn a_plugin_that_stops_the_upload_may_still_answer() {
    local(async {
        let rig = Rig::new(|request: Request<RecvStream>, mut respond: SendResponse<Bytes>| async move {
            let mut stream = respond.send_response(grpc_head(), false).unwrap();
            stream.send_data(Bytes::from_static(b"enough"), false).unwrap();
            stream.send_trailers(ok_trailers()).unwrap();
            // RFC 9113 section 8.1: RST_STREAM with NO_ERROR after a complete answer.
            settle().await;
            drop(request);
            respond.send_reset(Reason::NO_ERROR);
        })
        .await;
        let (feed, body) = Feed::new();
        for _ in 0..100 {
            feed.send(vec![0; 10_000]);
        }
        let reply = rig.call(Rpc::ExecuteStream, body).await.unwrap();
        settle().await;
        settle().await;
        assert_eq!(text(reply).await, "enough");
    });
}
