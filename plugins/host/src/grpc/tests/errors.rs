//! Plugins that are away, die, refuse, or speak something else.

use super::*;

fn unavailable(outcome: Result<WireReply, ForwardError>) -> String {
    match outcome {
        Err(ForwardError::Unavailable(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

fn protocol(outcome: Result<WireReply, ForwardError>) -> String {
    match outcome {
        Err(ForwardError::Protocol(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_plugin_that_is_away_is_named_and_found_again() {
    local(async {
        let (_directory, address) = socket();
        let (channel, _) = channel(&address);
        let worker = worker();
        let call = || {
            let body = WireBody::Whole(Bytes::from_static(b"x").into());
            channel.forward(&worker, Rpc::Execute, CallContext::default(), body)
        };
        for _ in 0..5 {
            let reason = unavailable(call().await);
            assert!(reason.contains(&address.to_string()) && reason.contains("No such file"), "{reason}");
        }
        let _server = Server::start(&address, h2::server::Builder::new(), echo).await;
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
    local(async {
        let (_directory, address) = socket();
        let endpoint = Arc::new(Endpoint::new(address.clone()));
        let channel = GrpcChannel::new(Arc::clone(&endpoint), Arc::default());
        let worker = worker();
        let call = || {
            let body = WireBody::Whole(Bytes::from_static(b"x").into());
            channel.forward(&worker, Rpc::Execute, CallContext::default(), body)
        };
        for _ in 0..20 {
            unavailable(call().await);
            time::sleep(Duration::from_millis(20)).await;
        }
        let _server = Server::start(&address, h2::server::Builder::new(), echo).await;
        endpoint.is_up();
        assert_eq!(text(call().await.unwrap()).await, "x");
    });
}

#[test]
fn a_peer_that_accepts_and_says_nothing_is_given_up() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let (_directory, address) = socket();
        let _listener = Platform::system().bind(&address, BindOptions::default()).await.unwrap();
        let (channel, _) = channel(&address);
        let body = WireBody::Whole(Bytes::from_static(b"x").into());
        let reason =
            unavailable(channel.forward(&worker(), Rpc::Execute, CallContext::default(), body).await);
        assert!(reason.contains("did not answer within 1 s"), "{reason}");
    });
}

#[test]
fn a_peer_that_speaks_something_else_is_told_apart() {
    local(async {
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
        let (channel, _) = channel(&address);
        let body = WireBody::Whole(Bytes::from_static(b"x").into());
        let reason =
            unavailable(channel.forward(&worker(), Rpc::Execute, CallContext::default(), body).await);
        assert!(reason.contains("does not speak HTTP/2"), "{reason}");
    });
}

#[test]
fn a_plugin_that_dies_under_a_call_is_unavailable() {
    local(async {
        let (report, mut began) = mpsc::unbounded_channel();
        let rig = Rig::new(move |request, respond| {
            let report = report.clone();
            async move {
                let _held: (Request<RecvStream>, SendResponse<Bytes>) = (request, respond);
                report.send(()).unwrap();
                std::future::pending::<()>().await;
            }
        })
        .await;
        let Rig { server, worker, channel, _directory, .. } = rig;
        let body = WireBody::Whole(Bytes::from_static(b"x").into());
        let call = channel.forward(&worker, Rpc::Execute, CallContext::default(), body);
        let kill = async {
            began.recv().await.unwrap();
            server.kill().await;
        };
        let (outcome, ()) = tokio::join!(call, kill);
        assert!(unavailable(outcome).contains("connection broke"));
        assert!(began.try_recv().is_err(), "a call that may have been processed is not sent again");
    });
}

#[test]
fn a_plugin_that_dies_under_an_answer_cuts_it() {
    local(async {
        let rig = Rig::new(|_, mut respond: SendResponse<Bytes>| async move {
            let mut stream = respond.send_response(grpc_head(), false).unwrap();
            stream.send_data(Bytes::from_static(b"half"), false).unwrap();
            std::future::pending::<()>().await;
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
    local(async {
        let rig = Rig::new(echo).await;
        assert_eq!(text(rig.unary("1").await.unwrap()).await, "1");
        let Rig { server, worker, channel, _directory, .. } = rig;
        let address = server.address.clone();
        server.kill().await;
        drop(std::fs::remove_file(match &address {
            Address::Unix(path) => path,
            Address::Tcp(_) => unreachable!("the rig uses unix sockets"),
        }));
        let server = Server::start(&address, h2::server::Builder::new(), echo).await;
        settle().await;
        let body = WireBody::Whole(Bytes::from_static(b"2").into());
        let reply = channel.forward(&worker, Rpc::Execute, CallContext::default(), body).await.unwrap();
        assert_eq!(text(reply).await, "2");
        assert_eq!(server.connections.get(), 1);
    });
}

/// Refuses so many calls before it looks at them.
async fn refusing(times: usize) -> (Rig, Rc<Cell<usize>>) {
    let calls = Rc::new(Cell::new(0));
    let count = Rc::clone(&calls);
    let rig = Rig::new(move |request, mut respond: SendResponse<Bytes>| {
        count.set(count.get() + 1);
        let refuse = count.get() <= times;
        async move {
            match refuse {
                true => respond.send_reset(Reason::REFUSED_STREAM),
                false => echo(request, respond).await,
            }
        }
    })
    .await;
    (rig, calls)
}

#[test]
fn a_call_refused_before_it_began_is_sent_once_more() {
    local(async {
        let (rig, calls) = refusing(1).await;
        assert_eq!(text(rig.unary("x").await.unwrap()).await, "x");
        assert_eq!(calls.get(), 2);
    });
}

#[test]
fn but_only_once() {
    local(async {
        let (rig, calls) = refusing(usize::MAX).await;
        assert!(unavailable(rig.unary("x").await).contains("REFUSED_STREAM"));
        assert_eq!(calls.get(), 2);
    });
}

#[test]
fn and_not_when_its_body_is_gone() {
    local(async {
        let (rig, calls) = refusing(1).await;
        let (feed, body) = Feed::new();
        feed.send("x");
        unavailable(rig.call(Rpc::Execute, body).await);
        assert_eq!(calls.get(), 1);
    });
}

#[test]
fn and_not_when_it_was_reset_for_another_reason() {
    local(async {
        for reason in [Reason::CANCEL, Reason::INTERNAL_ERROR, Reason::ENHANCE_YOUR_CALM, Reason::NO_ERROR] {
            let calls = Rc::new(Cell::new(0));
            let count = Rc::clone(&calls);
            let rig = Rig::new(move |_, mut respond: SendResponse<Bytes>| {
                count.set(count.get() + 1);
                async move { respond.send_reset(reason) }
            })
            .await;
            assert!(unavailable(rig.unary("x").await).contains(&format!("{reason:?}")));
            assert_eq!(calls.get(), 1);
        }
    });
}

#[test]
fn after_a_goodbye_calls_go_to_a_new_connection() {
    local(async {
        let (_directory, address) = socket();
        let listener = Platform::system().bind(&address, BindOptions::default()).await.unwrap();
        let connections = Rc::new(Cell::new(0));
        let count = Rc::clone(&connections);
        tokio::task::spawn_local(async move {
            loop {
                let io = listener.accept().await.unwrap().io;
                count.set(count.get() + 1);
                tokio::task::spawn_local(async move {
                    let mut connection = h2::server::handshake(io).await.unwrap();
                    // One call for each connection, as a server with a very short memory.
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        connection.graceful_shutdown();
                        tokio::task::spawn_local(echo(request, respond));
                    }
                });
            }
        });
        let (channel, _) = channel(&address);
        let worker = worker();
        for round in 1..=5 {
            let body = WireBody::Whole(Bytes::from_static(b"x").into());
            let reply = channel.forward(&worker, Rpc::Execute, CallContext::default(), body).await.unwrap();
            assert_eq!(text(reply).await, "x");
            settle().await;
            assert_eq!(connections.get(), round);
        }
    });
}

#[test]
fn a_status_is_forwarded_as_it_is() {
    local(async {
        let rig = Rig::new(|_, respond| async { refuse(respond, Code::Unavailable, "backend away") }).await;
        let reply = rig.unary("x").await.unwrap();
        let ReplyBody::Whole { messages, trailers } = &reply.body else { panic!("not whole") };
        assert!(messages.is_empty() && trailers.is_empty());
        assert_eq!(reply.headers["grpc-status"], "14");
        assert_eq!(reply.headers["grpc-message"], "backend away");
        assert!(rig.link.nudged().now_or_never().is_none());
    });
}

#[test]
fn an_unknown_instance_calls_the_supervisor() {
    local(async {
        let rig = Rig::new(|_, respond| async { refuse(respond, Code::FailedPrecondition, "unknown") }).await;
        assert_eq!(rig.unary("x").await.unwrap().headers["grpc-status"], "9");
        rig.link.nudged().await;

        let rig = Rig::new(|_, mut respond: SendResponse<Bytes>| async move {
            let mut stream = respond.send_response(grpc_head(), false).unwrap();
            stream.send_trailers(error_trailers(Code::FailedPrecondition, "unknown")).unwrap();
        })
        .await;
        assert_eq!(all(rig.unary("x").await.unwrap()).await.unwrap().1["grpc-status"], "9");
        rig.link.nudged().await;
    });
}

#[test]
fn a_process_that_was_not_initialized_gets_no_calls() {
    local(async {
        let calls = Rc::new(Cell::new(0));
        let count = Rc::clone(&calls);
        let rig = Rig::new(move |request, respond| {
            count.set(count.get() + 1);
            echo(request, respond)
        })
        .await;
        let io = Platform::system().connect(&rig.server.address).await.unwrap();
        let own = super::super::peer::PeerIdentity::of(&io).unwrap();
        rig.link.initialized_on(Some(own.other()));
        assert!(unavailable(rig.unary("x").await).contains("plugin restarted"));
        rig.link.nudged().await;
        assert_eq!(calls.get(), 0);
        rig.link.initialized_on(Some(own));
        assert_eq!(text(rig.unary("x").await.unwrap()).await, "x");
    });
}

#[test]
fn an_answer_that_is_no_grpc_is_refused() {
    local(async {
        fn field(name: &'static str, value: &'static str) -> impl Fn(&mut http::Response<()>) {
            move |head| drop(head.headers_mut().insert(name, HeaderValue::from_static(value)))
        }
        fn status(status: http::StatusCode) -> impl Fn(&mut http::Response<()>) {
            move |head| *head.status_mut() = status
        }
        type Change = Box<dyn Fn(&mut http::Response<()>)>;
        let heads: [(Change, &str); 6] = [
            (Box::new(status(http::StatusCode::NOT_FOUND)), "HTTP status 404"),
            (Box::new(status(http::StatusCode::NO_CONTENT)), "HTTP status 204"),
            (Box::new(field("content-type", "text/html")), "text/html"),
            (Box::new(field("content-type", "application/grpc-web")), "grpc-web"),
            (Box::new(field("content-type", "")), "content type ``"),
            (Box::new(field("grpc-encoding", "gzip")), "compressed"),
        ];
        for (change, problem) in heads {
            let rig = Rig::new(move |_, mut respond: SendResponse<Bytes>| {
                let mut head = grpc_head();
                change(&mut head);
                async move {
                    let mut stream = respond.send_response(head, false).unwrap();
                    stream.send_trailers(ok_trailers()).unwrap();
                }
            })
            .await;
            let found = protocol(rig.unary("x").await);
            assert!(found.contains(problem), "{found}");
        }
    });
}

#[test]
fn an_answer_without_a_status_is_refused() {
    local(async {
        // Headers alone; headers and data; trailers that say nothing.
        for form in 0..3 {
            let rig = Rig::new(move |_, mut respond: SendResponse<Bytes>| async move {
                let mut stream = respond.send_response(grpc_head(), form == 0).unwrap();
                match form {
                    0 => {}
                    1 => stream.send_data(Bytes::from_static(b"x"), true).unwrap(),
                    _ => stream.send_trailers(HeaderMap::new()).unwrap(),
                }
            })
            .await;
            let outcome = match rig.unary("x").await {
                Ok(reply) => all(reply).await.map(drop),
                Err(error) => Err(error),
            };
            assert!(
                matches!(&outcome, Err(ForwardError::Protocol(problem)) if problem.contains("grpc-status")),
                "{form}: {outcome:?}"
            );
        }
    });
}

#[test]
fn a_worker_that_ends_takes_its_connections_along() {
    local(async {
        let rig = Rig::new(echo).await;
        assert_eq!(text(rig.unary("x").await.unwrap()).await, "x");
        let Rig { worker, channel, server, _directory, .. } = rig;
        drop(worker);
        let fresh = self::worker();
        let body = WireBody::Whole(Payload::from(Bytes::from_static(b"y")));
        let reply = channel.forward(&fresh, Rpc::Execute, CallContext::default(), body).await.unwrap();
        assert_eq!(text(reply).await, "y");
        assert_eq!(server.connections.get(), 2);
    });
}
