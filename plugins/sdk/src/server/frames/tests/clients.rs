//! Clients that are slow, silent, rude or gone.

use super::*;

#[test]
fn a_client_that_does_not_say_who_it_is_is_given_up() {
    for cut in 0..greeting().len() {
        paused(async {
            let (served, mut io) = Served::new();
            io.write_all(&greeting()[..cut]).await.unwrap();
            let began = Instant::now();
            served.ends().await;
            assert!(began.elapsed() >= Duration::from_secs(10), "cut at {cut}");
        });
    }
}

#[tokio::test]
async fn garbage_gets_a_goodbye_and_a_closed_connection() {
    let whole = greeting();
    for bytes in [
        b"\0PRISM/2 and what follows".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        [&PREFACE[..], &[0xff; 100]].concat(),
        [&whole[..], &[0xff; 100]].concat(),
        [&whole[..], &whole[8..]].concat(),
    ] {
        let (served, mut io) = Served::new();
        io.write_all(&bytes).await.unwrap();
        let mut said = Vec::new();
        timeout(HANG, io.read_to_end(&mut said)).await.expect("it stays open").unwrap();
        assert!(said.starts_with(&PREFACE));
        assert!(said.windows(4).any(|kind| kind[0] == 7), "no GOAWAY after {bytes:?}");
        drop(io);
        served.ends().await;
    }
}

#[tokio::test]
async fn bodies_that_are_no_messages_are_refused() {
    let (served, mut client) = Served::with_client().await;
    let whole = message("echo", 10).into_bytes();
    let bytes = |bytes: &[u8]| Payload::from(Bytes::copy_from_slice(bytes));
    for (body, code) in [
        (bytes(b""), Code::InvalidArgument),
        (bytes(&whole[..4]), Code::InvalidArgument),
        (bytes(&whole[..whole.len() - 1]), Code::InvalidArgument),
        (bytes(&[&whole[..], b"\0"].concat()), Code::InvalidArgument),
        (bytes(&[&whole[..], &whole[..]].concat()), Code::InvalidArgument),
        (bytes(&[b"\x01", &whole[1..]].concat()), Code::InvalidArgument),
        (bytes(&[b"\x02", &whole[1..]].concat()), Code::InvalidArgument),
        (bytes(b"\0\0\0\0\x01\x0a"), Code::InvalidArgument),
        (bytes(b"\0\0\x10\0\x01"), Code::ResourceExhausted),
        (bytes(b"\0\xff\xff\xff\xff"), Code::ResourceExhausted),
    ] {
        for method in [Method::Execute, Method::ExecuteStream, Method::Shutdown] {
            // Of a stream, two messages are fine.
            let two = body.len() > whole.len();
            if method == Method::ExecuteStream && two {
                continue;
            }
            let id = client.open(method, body.clone(), true, None);
            assert_eq!(client.code(id).await, Some(code), "{method:?} {body:?}");
        }
    }
    // Refused by its prefix: the client need not even end its side.
    let id = client.open(Method::Execute, bytes(b"\0\xff\xff\xff\xff"), false, None);
    assert_eq!(client.code(id).await, Some(Code::ResourceExhausted));
    let id = client.open(Method::Other(200), Payload::new(), true, None);
    assert_eq!(client.code(id).await, Some(Code::Unimplemented));
    client.echoes().await;
    drop(client);
    served.ends().await;
}

#[test]
fn a_stream_without_its_first_message_is_ended() {
    paused(async {
        let (served, mut client) = Served::with_client().await;
        let began = Instant::now();
        let body = Payload::from(message("any", 10).into_bytes().slice(..7));
        let id = client.open(Method::ExecuteStream, body, false, None);
        assert_eq!(client.code(id).await, Some(Code::DeadlineExceeded));
        assert!(began.elapsed() >= Duration::from_secs(30));
        // Its own deadline may come before.
        let body = Payload::from(message("any", 10).into_bytes().slice(..7));
        let id = client.open(Method::ExecuteStream, body, false, Some(Duration::from_secs(1)));
        assert_eq!(client.code(id).await, Some(Code::DeadlineExceeded));
        assert!(began.elapsed() < Duration::from_secs(40));
        drop(client);
        served.ends().await;
    });
}

#[tokio::test]
async fn a_storm_of_cancelled_calls_leaves_nothing_behind() {
    let (served, mut client) = Served::with_client().await;
    for round in 0..100 {
        let ids: Vec<_> = (0..200)
            .map(|number| match number % 5 {
                0 => client.execute("sleep"),
                1 => client.execute("echo"),
                2 => client.open(Method::ExecuteStream, message("any", 1000), false, None),
                3 => client.open(Method::ExecuteStream, message("flood", 10), true, None),
                _ => {
                    client.open(Method::Execute, message("echo", 20_000), true, Some(Duration::from_secs(9)))
                }
            })
            .collect();
        // Some before anything was sent, others in the midst of it.
        if round % 3 > 0 {
            let mut turns = round;
            client
                .drive(|_, cx| {
                    turns -= 1;
                    cx.waker().wake_by_ref();
                    if turns > 0 { Poll::Pending } else { Poll::Ready(()) }
                })
                .await;
        }
        for id in ids {
            client.session.cancel(id, CancelReason::Gone);
        }
        client
            .drive(|session, _| if session.open_calls() == 0 { Poll::Ready(()) } else { Poll::Pending })
            .await;
    }
    assert_eq!(served.alive.load(SeqCst), 0);
    assert_eq!(client.session.leftovers(), [0; 4]);
    client.echoes().await;
    drop(client);
    served.ends().await;
}

#[tokio::test]
async fn who_is_gone_in_the_midst_of_it_leaves_nothing_behind() {
    for cut in 1..60 {
        let (served, io) = Served::with_buffer(1024);
        let mut client = Client::new(io).await;
        for _ in 0..20 {
            client.execute("sleep");
            client.open(Method::ExecuteStream, message("elsewhere", 3000), false, None);
            client.open(Method::ExecuteStream, message("flood", 3000), false, None);
        }
        let mut turns = cut;
        client
            .drive(|_, cx| {
                turns -= 1;
                cx.waker().wake_by_ref();
                if turns > 0 { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
        let alive = served.alive.clone();
        drop(client);
        timeout(HANG, served.task).await.expect("it does not end").unwrap();
        // Those that read in tasks of their own learn of it there.
        let wait = async {
            while alive.load(SeqCst) > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(HANG, wait).await.expect("calls are left");
    }
}

#[test]
fn a_client_that_never_reads_is_given_up_and_costs_little_until_then() {
    paused(async {
        let (served, mut io) = Served::new();
        io.write_all(&greeting()).await.unwrap();
        // As many calls as there may be, each with an answer as large as a call may have before it gets
        // credit; and no byte of any answer is read.
        let context = CallContext::default();
        let head = prism_plugin_frames::OpenHead { method: Method::Execute, timeout: None, context };
        let body = message("echo", 60_000).into_bytes();
        let mut sent = 0;
        let flood = async {
            for call in 0..10_000 {
                let mut frame = Vec::new();
                let (data, last) = (body.clone(), true);
                Frame::Open { call, head: head.clone(), data, last }.encode(&mut frame);
                io.write_all(&frame).await?;
                sent += 1;
            }
            Ok::<_, std::io::Error>(())
        };
        let refused = timeout(HANG, flood).await.expect("it reads on and on, or never gives up");
        assert!(refused.is_err(), "it took everything");
        assert!(sent < 1000, "{sent} calls were taken");
        served.ends().await;
    });
}
