//! Goodbyes, retries, and peers that stop without one.

use super::*;

fn goaway(accepted: u64) -> Vec<u8> {
    bytes_of(&Frame::GoAway(GoAway { accepted, reason: Reason::Drain, text: "good night".into() }))
}

/// A plugin that takes `accepted` calls as begun and says goodbye, so many times; then it answers.
async fn saying_goodbye(way: &Way, times: usize, accepted: u64) -> Rc<Cell<usize>> {
    let opens = Rc::new(Cell::new(0));
    let count = Rc::clone(&opens);
    scripted(way, async move |number, mut io| {
        greet(&mut io).await;
        drop(io.read(&mut [0; 4096]).await);
        count.set(count.get() + 1);
        if number < times {
            io.write_all(&goaway(accepted)).await.unwrap();
        } else {
            let end = Frame::End { call: 0, end: End::ok(), data: Bytes::from_static(b"fine") };
            io.write_all(&bytes_of(&end)).await.unwrap();
        }
        // Its next connection is taken while this one drains.
        tokio::task::spawn_local(async move { drop(drain(&mut io).await) });
    })
    .await;
    opens
}

#[test]
fn a_call_that_was_not_begun_is_sent_once_more() {
    local(async {
        let way = Way::new();
        let opens = saying_goodbye(&way, 1, 0).await;
        assert_eq!(text(way.unary("x").await.unwrap()).await, "fine");
        assert_eq!(opens.get(), 2);
    });
}

#[test]
fn on_an_open_connection_too() {
    local(async {
        let way = Way::new();
        scripted(&way, async move |number, mut io| {
            let end = bytes_of(&Frame::End { call: 0, end: End::ok(), data: Bytes::from_static(b"fine") });
            greet(&mut io).await;
            drop(io.read(&mut [0; 4096]).await);
            io.write_all(&end).await.unwrap();
            drop(io.read(&mut [0; 4096]).await);
            let second = if number == 0 { goaway(1) } else { end };
            drop(io.write_all(&second).await);
            tokio::task::spawn_local(async move { drop(drain(&mut io).await) });
        })
        .await;
        for _ in 0..3 {
            assert_eq!(text(way.unary("x").await.unwrap()).await, "fine");
        }
        assert_eq!(way.active(), 0);
    });
}

#[test]
fn but_only_once() {
    local(async {
        let way = Way::new();
        let opens = saying_goodbye(&way, usize::MAX, 0).await;
        let reason = unavailable(way.unary("x").await);
        assert!(reason.contains("good night"), "{reason}");
        assert_eq!((opens.get(), way.active()), (2, 0));
    });
}

#[test]
fn and_not_when_its_body_is_gone() {
    local(async {
        let way = Way::new();
        let opens = saying_goodbye(&way, 1, 0).await;
        let (feed, body) = Feed::new();
        feed.send("x");
        // More than is kept.
        feed.send(vec![b'x'; 70 << 10]);
        unavailable(way.call(Rpc::Execute, body).await);
        assert_eq!(opens.get(), 1);
    });
}

#[test]
fn and_not_when_it_was_begun() {
    local(async {
        let way = Way::new();
        // It accepts the call, says goodbye, and dies.
        scripted(&way, async move |_, mut io| {
            greet(&mut io).await;
            drop(io.read(&mut [0; 4096]).await);
            io.write_all(&goaway(1)).await.unwrap();
        })
        .await;
        let reason = unavailable(way.unary("x").await);
        assert!(reason.contains("connection broke") && reason.contains("good night"), "{reason}");
    });
}

#[test]
fn after_a_goodbye_calls_go_to_a_new_connection_and_the_old_ones_end() {
    local(async {
        let go = Rc::new(Notify::new());
        let gate = Rc::clone(&go);
        let (way, server) = Way::to(move |call: PluginCall| {
            let gate = Rc::clone(&gate);
            async move {
                if call.head().method == "ExecuteStream" {
                    gate.notified().await;
                }
                echo(call).await;
            }
        })
        .await;
        let mut old = way.call(Rpc::ExecuteStream, WireBody::Whole(Bytes::from_static(b"old").into()));
        assert!(time::timeout(Duration::from_millis(20), &mut old).await.is_err());
        server.sessions.borrow()[0].borrow_mut().goaway(Reason::Drain, "good night");
        while way
            .connection()
            .is_some_and(|connection| !connection.carrier.shared().session().is_going_away())
        {
            tokio::task::yield_now().await;
        }
        for _ in 0..3 {
            assert_eq!(text(way.unary("new").await.unwrap()).await, "new");
        }
        // A streaming body is not lost either: nothing of it was sent to the old one.
        let (feed, body) = Feed::new();
        feed.send("streamed");
        drop(feed);
        assert_eq!(text(way.call(Rpc::Execute, body).await.unwrap()).await, "streamed");
        assert_eq!(server.connections.get(), 2);
        go.notify_one();
        assert_eq!(text(old.await.unwrap()).await, "old");
        // The old connection is over with its last call.
        while server.sessions.borrow()[0].borrow().open_calls() > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_streaming_body_is_not_lost_to_a_connection_that_is_going() {
    local(async {
        let (way, server) = Way::to(echo).await;
        assert_eq!(text(way.unary("first").await.unwrap()).await, "first");
        // Told, and not acted upon yet: the call finds the connection open.
        let connection = way.connection().unwrap();
        connection.carrier.shared().session().close("said by the test");
        let (feed, body) = Feed::new();
        feed.send("one ");
        feed.send("two");
        drop(feed);
        assert_eq!(text(way.call(Rpc::Execute, body).await.unwrap()).await, "one two");
        assert_eq!(server.connections.get(), 2);
    });
}

#[test]
fn a_connection_that_nobody_needs_is_closed_once_its_calls_are_over() {
    local(async {
        let (report, mut ended) = mpsc::unbounded_channel();
        let go = Rc::new(Notify::new());
        let gate = Rc::clone(&go);
        let way = Way::new();
        scripted(&way, async move |_, mut io| {
            greet(&mut io).await;
            drop(io.read(&mut [0; 4096]).await);
            gate.notified().await;
            let end = Frame::End { call: 0, end: End::ok(), data: Bytes::from_static(b"fine") };
            io.write_all(&bytes_of(&end)).await.unwrap();
            report.send(drain(&mut io).await).unwrap();
        })
        .await;
        let mut call = way.unary("x");
        assert!(time::timeout(Duration::from_millis(20), &mut call).await.is_err());
        // A call under way knows the worker's way to the endpoint, not the endpoint; the slot of one that is gone
        // is dropped when the next one is made.
        let Way { address: _, endpoint, channel, worker, _directory } = way;
        drop((channel, endpoint));
        worker.slot(&Arc::new(()), || ());
        assert!(time::timeout(Duration::from_millis(20), &mut call).await.is_err());
        go.notify_one();
        assert_eq!(text(call.await.unwrap()).await, "fine");
        let goodbye = GoAway { accepted: 0, reason: Reason::Drain, text: "".into() };
        assert_eq!(ended.recv().await.unwrap(), bytes_of(&Frame::GoAway(goodbye)));
        drop(worker);
    });
}

fn paused(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

#[test]
fn a_plugin_that_is_stopped_is_given_up() {
    paused(async {
        for rpc in [Rpc::Execute, Rpc::ExecuteStream] {
            let way = Way::new();
            // As one under SIGSTOP: its socket takes what fits, and nothing comes back.
            scripted(&way, async move |_, mut io| {
                greet(&mut io).await;
                tokio::task::spawn_local(async move {
                    let _open = io;
                    std::future::pending::<()>().await;
                });
            })
            .await;
            let reason = unavailable(
                way.call(rpc, WireBody::Whole(vec![0; 1 << 20].into_iter().collect::<Bytes>().into())).await,
            );
            assert!(reason.contains("did not answer a ping"), "{reason}");
            assert_eq!(way.active(), 0);
        }
    });
}

#[test]
fn a_plugin_that_takes_its_time_is_not() {
    paused(async {
        let go = Rc::new(Notify::new());
        let gate = Rc::clone(&go);
        let (way, server) = Way::to(move |call| {
            let gate = Rc::clone(&gate);
            async move {
                gate.notified().await;
                echo(call).await;
            }
        })
        .await;
        let mut call = way.unary("patience");
        assert!(time::timeout(Duration::from_secs(3600), &mut call).await.is_err());
        go.notify_one();
        assert_eq!(text(call.await.unwrap()).await, "patience");
        // An idle connection is left alone.
        time::sleep(Duration::from_secs(60)).await;
        let heard = server.sessions.borrow()[0].borrow().frames_received();
        time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(server.sessions.borrow()[0].borrow().frames_received(), heard);
        // And watched again once it is not idle.
        let mut call = way.unary("again");
        assert!(time::timeout(Duration::from_secs(60), &mut call).await.is_err());
        assert!(server.sessions.borrow()[0].borrow().frames_received() > heard + 4);
    });
}
