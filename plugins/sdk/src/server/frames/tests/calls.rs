//! What a plugin does in a call, and what that does to the calls beside it.

use super::*;

#[tokio::test]
async fn a_panic_anywhere_in_the_plugin_ends_one_call() {
    let (served, mut client) = Served::with_client().await;
    let beside = client.execute("sleep");
    let empty = || Payload::from(Bytes::from_static(&[0; 5]));
    let calls = [
        client.execute("panic at once"),
        client.open(Method::ExecuteStream, message("panic at once", 1), true, None),
        client.open(Method::ExecuteStream, message("panic in poll", 1), true, None),
        client.open(Method::Initialize, empty(), true, None),
        client.open(Method::HealthCheck, empty(), true, None),
        client.open(Method::GetMetrics, empty(), true, None),
    ];
    for id in calls {
        assert_eq!(client.code(id).await, Some(Code::Internal));
    }
    // In drop, by cancel and by deadline.
    let id = client.execute("panic in drop");
    client.echoes().await;
    served.alive(2).await;
    client.session.cancel(id, CancelReason::Gone);
    let body = message("panic in drop", 1);
    let id = client.open(Method::Execute, body, true, Some(Duration::from_millis(10)));
    assert_eq!(client.code(id).await, Some(Code::DeadlineExceeded));
    client.echoes().await;
    assert_eq!(served.alive.load(SeqCst), 1, "the one beside them");
    client.session.cancel(beside, CancelReason::Gone);
    client.echoes().await;
    drop(client);
    served.ends().await;
}

#[test]
fn deadlines_come_in_their_order_and_only_to_those_that_still_run() {
    paused(async {
        let (served, mut client) = Served::with_client().await;
        let began = Instant::now();
        let ids: Vec<_> = [30, 10, 20]
            .map(|seconds| {
                let time = Some(Duration::from_secs(seconds));
                (seconds, client.open(Method::Execute, message("sleep", 1), true, time))
            })
            .into_iter()
            .collect();
        client.echoes().await;
        served.alive(3).await;
        for (seconds, id) in [ids[1], ids[2], ids[0]] {
            assert_eq!(client.code(id).await, Some(Code::DeadlineExceeded));
            assert_eq!(began.elapsed().as_secs(), seconds);
        }
        drop(client);
        served.ends().await;
    });
}

#[tokio::test]
async fn a_stream_that_nobody_reads_stops_its_sender_and_nobody_else() {
    let (served, mut client) = Served::with_client().await;
    let flood = client.open(Method::ExecuteStream, message("flood", 1), false, None);
    let sink = client.open(Method::ExecuteStream, message("any", 1), false, None);
    let mut sent = 0;
    // Until the server takes no more: its credit and what the session keeps ahead.
    while let Poll::Ready(taken) =
        client.drive(|session, cx| Poll::Ready(session.poll_capacity(cx, sink))).await
    {
        let length = taken.unwrap();
        client.session.send(sink, Bytes::from(vec![0; length]), false).unwrap();
        sent += length;
        assert!(sent < 4 << 20, "a plugin that does not read takes on and on");
        client.echoes().await;
    }
    for _ in 0..1000 {
        client.echoes().await;
    }
    assert_eq!(served.alive.load(SeqCst), 2);
    for id in [flood, sink] {
        client.session.cancel(id, CancelReason::Gone);
    }
    client.echoes().await;
    drop(client);
    served.ends().await;
}

#[tokio::test]
async fn a_plugin_that_wakes_itself_all_the_time_lets_others_run() {
    let (served, mut client) = Served::with_client().await;
    let busy = client.execute("wake for ever");
    for _ in 0..100 {
        client.echoes().await;
    }
    client.session.cancel(busy, CancelReason::Gone);
    client.echoes().await;
    drop(client);
    served.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wake_ups_come_from_anywhere() {
    let (served, mut client) = Served::with_client().await;
    for round in 0..200 {
        let ids: Vec<_> = (0..5).map(|_| client.execute("thread")).collect();
        for id in ids {
            assert_eq!(client.code(id).await, None, "round {round}");
        }
    }
    let id = client.open(Method::ExecuteStream, message("elsewhere", 1), false, None);
    let mut deframer = Deframer::default();
    for length in [0, 1, 5000, 200_000, 1] {
        client.session.send(id, message("", length), false).unwrap();
        let answer = client
            .drive(|session, cx| {
                loop {
                    if let Some(message) = deframer.next_message().unwrap() {
                        return Poll::Ready(message);
                    }
                    match std::task::ready!(session.poll_recv(cx, id)) {
                        ClientEvent::Data(bytes) => deframer.push(bytes),
                        ClientEvent::Opened => {}
                        other => panic!("{other:?}"),
                    }
                }
            })
            .await;
        assert!(answer.len() >= length);
    }
    client.session.send(id, Payload::new(), true).unwrap();
    assert_eq!(client.code(id).await, None);
    drop(client);
    served.ends().await;
}
