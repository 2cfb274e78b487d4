//! Plugins that are away, die, or refuse.

use super::*;

fn unavailable(outcome: Result<WireReply, ForwardError>) -> String {
    match outcome {
        Err(ForwardError::Unavailable(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_plugin_that_is_away_is_named_and_found_again() {
    over_each(async |protocol| {
        let (_directory, address) = socket();
        let (channel, _) = channel(protocol, &address);
        let worker = worker();
        let call = || channel.forward(&worker, Rpc::Execute, CallContext::default(), whole("x"));
        for _ in 0..5 {
            let reason = unavailable(call().await);
            assert!(reason.contains(&address.to_string()) && reason.contains("No such file"), "{reason}");
        }
        let _server = start(protocol, &address, None, echo).await;
        // A failure is remembered for a moment, and no longer.
        loop {
            match call().await {
                Ok(reply) => break assert_eq!(text(reply).await, "x"),
                Err(ForwardError::Unavailable(_)) => time::sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}"),
            }
        }
    });
}

#[test]
fn news_of_its_return_ends_the_pause() {
    over_each(async |protocol| {
        let (_directory, address) = socket();
        let endpoint = Arc::new(Endpoint::new(Target::here(address.clone())));
        let link = Arc::new(Link::default());
        link.initialized_on(None, protocol);
        let channel = RemoteChannel::new(vec![(Arc::clone(&endpoint), link)]);
        let worker = worker();
        let call = || channel.forward(&worker, Rpc::Execute, CallContext::default(), whole("x"));
        for _ in 0..20 {
            unavailable(call().await);
            time::sleep(Duration::from_millis(20)).await;
        }
        let _server = start(protocol, &address, None, echo).await;
        endpoint.is_up();
        assert_eq!(text(call().await.unwrap()).await, "x");
    });
}

#[test]
fn a_peer_that_accepts_and_says_nothing_is_given_up() {
    for protocol in [Protocol::Grpc, Protocol::Frames] {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let (_directory, address) = socket();
            let _listener = Platform::system().bind(&address, BindOptions::default()).await.unwrap();
            let (channel, _) = channel(protocol, &address);
            let worker = worker();
            let call = channel.forward(&worker, Rpc::Execute, CallContext::default(), whole("x"));
            let reason = unavailable(call.await);
            assert!(reason.contains("did not answer within 1 s"), "{reason}");
        });
    }
}

#[test]
fn a_peer_that_speaks_something_else_is_told_apart() {
    over_each(async |protocol| {
        let (_directory, address) = socket();
        let listener = Platform::system().bind(&address, BindOptions::default()).await.unwrap();
        tokio::task::spawn_local(async move {
            loop {
                let mut io = listener.accept().await.unwrap().io;
                let answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
                drop(tokio::io::AsyncWriteExt::write_all(&mut io, answer).await);
                settle().await;
            }
        });
        let (channel, _) = channel(protocol, &address);
        let worker = worker();
        let call = channel.forward(&worker, Rpc::Execute, CallContext::default(), whole("x"));
        let reason = unavailable(call.await);
        let expected = match protocol {
            Protocol::Grpc => "does not speak HTTP/2",
            Protocol::Frames => "does not speak frames/1",
        };
        assert!(reason.contains(expected), "{reason}");
    });
}

#[test]
fn a_plugin_that_dies_under_a_call_is_unavailable() {
    over_each(async |protocol| {
        let (report, mut began) = mpsc::unbounded_channel();
        let rig = Rig::new(protocol, move |call| {
            report.send(()).unwrap();
            hold(call)
        })
        .await;
        let Rig { server, worker, channel, _directory, .. } = rig;
        let call = channel.forward(&worker, Rpc::Execute, CallContext::default(), whole("x"));
        let kill = async {
            began.recv().await.unwrap();
            server.kill().await;
        };
        let (outcome, ()) = tokio::join!(call, kill);
        let reason = unavailable(outcome);
        assert!(reason.contains("connection broke"), "{reason}");
        assert!(began.try_recv().is_err(), "a call that may have been processed is not sent again");
    });
}

#[test]
fn a_plugin_that_dies_under_an_answer_cuts_it() {
    over_each(async |protocol| {
        let rig = Rig::new(protocol, |mut call| async move {
            assert!(call.send(Bytes::from_static(b"half")).await);
            hold(call).await;
        })
        .await;
        let reply = rig.unary("x").await.unwrap();
        let ReplyBody::Stream(mut source) = reply.body else { panic!("not a stream") };
        assert!(next_frame(&mut source).await.unwrap().unwrap().is_data());
        rig.server.kill().await;
        assert!(matches!(next_frame(&mut source).await, Some(Err(ForwardError::Unavailable(_)))));
        assert!(next_frame(&mut source).await.is_none());
    });
}

#[test]
fn an_idle_connection_that_died_is_replaced() {
    over_each(async |protocol| {
        let rig = Rig::new(protocol, echo).await;
        assert_eq!(text(rig.unary("1").await.unwrap()).await, "1");
        let Rig { server, worker, channel, _directory, .. } = rig;
        let address = server.address.clone();
        server.kill().await;
        drop(std::fs::remove_file(match &address {
            Address::Unix(path) => path,
            Address::Tcp(_) => unreachable!("the rig uses unix sockets"),
        }));
        let server = start(protocol, &address, None, echo).await;
        settle().await;
        let reply = channel.forward(&worker, Rpc::Execute, CallContext::default(), whole("2")).await.unwrap();
        assert_eq!(text(reply).await, "2");
        assert_eq!(server.connections.get(), 1);
    });
}

#[test]
fn a_status_is_forwarded_as_it_is() {
    over_each(async |protocol| {
        let rig = Rig::new(protocol, |call| async { call.fail(Code::Unavailable, "100 % away\n") }).await;
        let mut reply = rig.unary("x").await.unwrap();
        let ReplyBody::Whole { messages, trailers } = &reply.body else { panic!("not whole") };
        assert!(messages.is_empty() && trailers.is_none());
        let headers = reply.take_headers();
        assert_eq!(headers["content-type"], "application/grpc");
        assert_eq!(headers["grpc-status"], "14");
        assert_eq!(headers["grpc-message"], "100 %25 away%0A");
        assert!(rig.link.nudged().now_or_never().is_none());
    });
}

#[test]
fn a_status_after_messages_comes_in_the_trailers() {
    over_each(async |protocol| {
        for whole in [true, false] {
            let rig = Rig::new(protocol, move |mut call| async move {
                assert!(call.send(Bytes::from_static(b"message")).await);
                if !whole {
                    settle().await;
                }
                call.fail(Code::FailedPrecondition, "half way");
            })
            .await;
            let reply = rig.unary("x").await.unwrap();
            assert!(reply.headers.is_none(), "no status in them");
            let (messages, trailers) = all(reply).await.unwrap();
            assert_eq!(messages.into_bytes(), "message");
            assert_eq!(trailers["grpc-status"], "9");
            assert_eq!(trailers["grpc-message"], "half way");
            assert!(rig.link.nudged().now_or_never().is_none(), "it knew the instance");
        }
    });
}

#[test]
fn an_unknown_instance_calls_the_supervisor() {
    over_each(async |protocol| {
        for begun in [false, true] {
            let rig = Rig::new(protocol, move |mut call| async move {
                if begun {
                    call.begin();
                }
                call.fail(Code::FailedPrecondition, "unknown");
            })
            .await;
            let reply = rig.unary("x").await.unwrap();
            assert_eq!(all(reply).await.unwrap().1["grpc-status"], "9");
            rig.link.nudged().await;
        }
    });
}

#[test]
fn a_process_that_was_not_initialized_gets_no_calls() {
    over_each(async |protocol| {
        let (rig, calls) = Rig::counting(protocol).await;
        let io = Platform::system().connect(&rig.server.address).await.unwrap();
        let own = PeerIdentity::of(&io).unwrap();
        rig.link.initialized_on(Some(own.other()), protocol);
        assert!(unavailable(rig.unary("x").await).contains("plugin restarted"));
        rig.link.nudged().await;
        assert_eq!(calls.get(), 0);
        rig.link.initialized_on(Some(own), protocol);
        assert_eq!(text(rig.unary("x").await.unwrap()).await, "x");
    });
}

#[test]
fn a_worker_that_ends_takes_its_connections_along() {
    over_each(async |protocol| {
        let rig = Rig::new(protocol, echo).await;
        assert_eq!(text(rig.unary("x").await.unwrap()).await, "x");
        let Rig { worker, channel, server, _directory, .. } = rig;
        drop(worker);
        let fresh = self::worker();
        let reply = channel.forward(&fresh, Rpc::Execute, CallContext::default(), whole("y")).await.unwrap();
        assert_eq!(text(reply).await, "y");
        assert_eq!(server.connections.get(), 2);
    });
}

#[test]
fn a_connection_whose_plugin_is_gone_from_the_configuration_is_closed() {
    over_each(async |protocol| {
        let rig = Rig::new(protocol, |mut call| async move {
            call.begin();
            call.cancelled().await;
        })
        .await;
        let reply = rig.unary("x").await.unwrap();
        let Rig { channel, worker, server, _directory, .. } = rig;
        drop(channel);
        // The slot of one that is gone is dropped when the next one is made.
        worker.slot(&Arc::new(()), || ());
        settle().await;
        assert_eq!(server.open.get(), 1, "a call is under way");
        drop(reply);
        while server.open.get() > 0 {
            time::sleep(Duration::from_millis(1)).await;
        }
    });
}
