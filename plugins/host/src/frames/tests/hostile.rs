//! Peers that die at any byte, lie, or speak nonsense.

use super::*;
use proptest::prelude::*;

/// One of each kind, for call 0.
fn every_kind() -> Vec<Frame> {
    let data = Bytes::from_static(b"some data");
    let end = End { details: Bytes::from_static(b"details"), ..End::error(Code::NotFound, "message") };
    vec![
        Frame::Settings(Settings { minor: 7, max_calls: 1, initial_credit: 1, max_frame: 1 << 20 }),
        Frame::Open { call: 0, head: Default::default(), data: data.clone(), last: true },
        Frame::Data { call: 0, data: data.clone(), last: false },
        Frame::End { call: 0, end, data },
        Frame::Credit { call: 0, bytes: 5 },
        Frame::Cancel { call: 0, reason: prism_plugin_frames::CancelReason::Gone },
        Frame::GoAway(GoAway { accepted: 1, reason: Reason::Drain, text: "good night".into() }),
        Frame::Ping([7; 8]),
        Frame::Pong([7; 8]),
    ]
}

/// Opens a call to a plugin that reads its OPEN, says `bytes`, and dies.
async fn dies_after(bytes: Vec<u8>) -> Result<(), ForwardError> {
    let way = Way::new();
    scripted(&way, async move |_, mut io| {
        greet(&mut io).await;
        drop(io.read(&mut [0; 4096]).await);
        io.write_all(&bytes).await.unwrap();
    })
    .await;
    let outcome = match way.unary("x").await {
        Ok(reply) => all(reply).await.map(drop),
        Err(error) => Err(error),
    };
    assert_eq!(way.active(), 0);
    outcome
}

#[test]
fn a_plugin_that_dies_in_the_middle_of_any_frame_it_says() {
    local(async {
        for frame in every_kind() {
            let bytes = bytes_of(&frame);
            for cut in 0..bytes.len() {
                match dies_after(bytes[..cut].to_vec()).await {
                    Err(ForwardError::Unavailable(reason)) => {
                        assert!(reason.contains("connection broke"), "{frame:?} {cut}: {reason}");
                    }
                    other => panic!("{frame:?} cut after {cut} bytes: {other:?}"),
                }
            }
        }
    });
}

#[test]
fn a_plugin_that_dies_in_the_middle_of_what_it_is_told() {
    local(async {
        // A large body, and so OPEN, DATA and the end of the body; the plugin gives credit for all of it.
        let body = Bytes::from(vec![7; 300_000]);
        let lengths = (1..120).chain([4096, CHUNK, CHUNK + 60, 200_000, 299_000]);
        for length in lengths {
            let way = Way::new();
            let read = Rc::new(Cell::new(0));
            let count = Rc::clone(&read);
            scripted(&way, async move |_, mut io| {
                greet(&mut io).await;
                let mut told = vec![0; length];
                let (head, rest) = told.split_at_mut(length.min(100));
                io.read_exact(head).await.unwrap();
                io.write_all(&bytes_of(&Frame::Credit { call: 0, bytes: 1 << 20 })).await.unwrap();
                io.read_exact(rest).await.unwrap();
                count.set(count.get() + length);
            })
            .await;
            let reason = unavailable(way.unary(body.clone()).await);
            assert!(reason.contains("connection broke"), "{length}: {reason}");
            assert_eq!(read.get(), length, "it is not sent again once the plugin may have begun");
            assert_eq!(way.active(), 0);
        }
    });
}

#[test]
fn a_plugin_that_dies_in_the_middle_of_its_greeting() {
    local(async {
        for cut in 0..greeting().len() {
            let way = Way::new();
            scripted(&way, async move |_, mut io| {
                io.write_all(&greeting()[..cut]).await.unwrap();
            })
            .await;
            let reason = unavailable(way.unary("x").await);
            assert!(reason.contains(&way.address.to_string()), "{reason}");
        }
    });
}

#[test]
fn a_plugin_that_allows_no_call_is_away() {
    local(async {
        let way = Way::new();
        scripted(&way, async move |_, mut io| {
            let settings = Settings { minor: 0, max_calls: 0, initial_credit: 1, max_frame: 1 << 20 };
            io.write_all(&PREFACE).await.unwrap();
            io.write_all(&bytes_of(&Frame::Settings(settings))).await.unwrap();
            drain(&mut io).await;
        })
        .await;
        let reason = unavailable(way.unary("x").await);
        assert!(reason.contains("max_calls 0"), "{reason}");
    });
}

#[test]
fn a_plugin_that_dies_as_soon_as_it_has_greeted() {
    local(async {
        let way = Way::new();
        let connections = Rc::new(Cell::new(0));
        let count = Rc::clone(&connections);
        scripted(&way, async move |_, mut io| {
            count.set(count.get() + 1);
            greet(&mut io).await;
        })
        .await;
        let reason = unavailable(way.unary("x").await);
        assert!(reason.contains("it closes its connections as soon as they are open"), "{reason}");
        assert_eq!((connections.get(), way.active()), (2, 0));
    });
}

/// A header as it travels, whatever it says.
fn header(length: u32, kind: u8, flags: u8, call: u32) -> Vec<u8> {
    [&length.to_le_bytes()[..], &[kind, flags, 0, 0], &call.to_le_bytes()].concat()
}

#[test]
fn lies_close_the_connection_with_the_reason_and_are_counted() {
    const DATA: u8 = 3;
    const END: u8 = 4;
    const CREDIT: u8 = 5;
    const PING: u8 = 8;
    let lies = [
        ("lengths", header(u32::MAX, DATA, 0, 0)),
        ("a length just beyond", header(prism_plugin_frames::MAX_FRAME + 1, END, 0, 0)),
        ("a long ping", header(1 << 16, PING, 0, 0)),
        ("a short credit", [header(3, CREDIT, 0, 0), vec![1, 0, 0]].concat()),
        ("an end without a head", header(0, END, 0, 0)),
        ("an end whose head is longer than it", [header(4, END, 0, 0), vec![255, 255, 0, 0]].concat()),
        ("a head whose message is longer", [header(8, END, 0, 0), vec![6, 0, 5, 0, 200, 0, 0, 0]].concat()),
        ("text that is none", [header(9, END, 0, 0), vec![7, 0, 5, 0, 1, 0, 0, 0, 0xff]].concat()),
        ("a call that cannot be", header(0, DATA, 0, u32::MAX)),
        ("a second greeting", greeting()[8..].to_vec()),
        (
            "what only a client says",
            bytes_of(&Frame::Open { call: 0, head: Default::default(), data: Bytes::new(), last: true }),
        ),
        (
            "credit without end",
            [CREDIT; 2].map(|_| bytes_of(&Frame::Credit { call: 0, bytes: i32::MAX as u32 })).concat(),
        ),
        ("data beyond credit", {
            let data = Frame::Data { call: 0, data: vec![0; CHUNK].into(), last: false };
            [bytes_of(&data), bytes_of(&data)].concat()
        }),
    ];
    local(async {
        for (name, lie) in lies {
            let way = Way::new();
            let (report, mut heard) = mpsc::unbounded_channel();
            scripted(&way, async move |_, mut io| {
                greet(&mut io).await;
                drop(io.read(&mut [0; 4096]).await);
                drop(io.write_all(&lie).await);
                report.send(drain(&mut io).await).unwrap();
            })
            .await;
            let outcome = match way.unary("x").await {
                Ok(reply) => all(reply).await.map(drop),
                Err(error) => Err(error),
            };
            let Err(ForwardError::Unavailable(reason)) = outcome else { panic!("{name}: {outcome:?}") };
            let reason = reason.strip_prefix("the connection broke: ").unwrap();
            let heard = heard.recv().await.unwrap();
            let heard = String::from_utf8_lossy(&heard);
            assert!(heard.contains(reason), "{name}: {reason:?} in {heard:?}");
            while way.endpoint.violations() == 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!((way.endpoint.violations(), way.active()), (1, 0), "{name}");
        }
    });
}

#[test]
fn kinds_and_fields_of_later_versions_are_skipped() {
    local(async {
        let way = Way::new();
        scripted(&way, async move |_, mut io| {
            let mut later = greeting();
            later.truncate(8);
            // SETTINGS with four bytes that nobody knows yet.
            later.extend([header(20, 1, 0, 0), greeting()[20..].to_vec(), vec![9; 4]].concat());
            let mut client = vec![0; greeting().len()];
            io.read_exact(&mut client).await.unwrap();
            io.write_all(&later).await.unwrap();
            drop(io.read(&mut [0; 4096]).await);
            let unknown = [header(70_000, 200, 0xff, 0), vec![1; 70_000]].concat();
            let end = Frame::End { call: 0, end: End::ok(), data: Bytes::from_static(b"fine") };
            io.write_all(&[unknown, bytes_of(&end)].concat()).await.unwrap();
            drain(&mut io).await;
        })
        .await;
        assert_eq!(text(way.unary("x").await.unwrap()).await, "fine");
        assert_eq!(way.endpoint.violations(), 0);
    });
}

#[test]
fn another_major_version_is_refused() {
    local(async {
        let way = Way::new();
        scripted(&way, async move |_, mut io| {
            let mut other = greeting();
            other[7] = b'2';
            drop(io.write_all(&other).await);
            drain(&mut io).await;
        })
        .await;
        let reason = unavailable(way.unary("x").await);
        assert!(reason.contains("does not speak frames/1") && reason.contains("version"), "{reason}");
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn garbage_ends_calls_and_nothing_else(
        garbage in proptest::collection::vec(any::<u8>(), 0..400),
        kind in 0_u8..12,
    ) {
        local(async {
            // Half of it with a header that may be taken for one.
            let begin = if kind < 6 { header(garbage.len() as u32 / 2, kind, garbage.len() as u8, 0) } else { Vec::new() };
            match dies_after([begin, garbage].concat()).await {
                // Some garbage is an answer.
                Ok(()) | Err(ForwardError::Unavailable(_)) => {}
                Err(other) => panic!("{other:?}"),
            }
        });
    }
}
