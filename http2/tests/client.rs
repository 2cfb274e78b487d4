//! The client of h2, which is somebody else's, against our server: what arrives is what was sent, whatever else happens on the
//! connection.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod chance;

use bytes::{Bytes, BytesMut};
use chance::Chance;
use h2::{
    RecvStream,
    client::{self, SendRequest},
};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use prism_http2::{Connection, Error, Respond, Settings};
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::io::DuplexStream;

fn settings() -> Settings {
    Settings {
        max_concurrent_streams: 20,
        max_header_list: 16 << 10,
        max_frame: 16_384,
        stream_window: 10_000,
        connection_window: 70_000,
        most_turn: 8 << 10,
        most_output: 32 << 10,
    }
}

type Answering = Pin<Box<dyn Future<Output = ()>>>;

/// Serves a connection as the proxy does: one task that accepts, moves its streams, and writes.
struct Server {
    connection: Connection<DuplexStream>,
    streams: Vec<Answering>,
    leave: Arc<AtomicUsize>,
    chance: Chance,
}

impl Future for Server {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.leave.load(Ordering::SeqCst) == 1 {
            this.leave.store(2, Ordering::SeqCst);
            this.connection.graceful_shutdown();
        }
        loop {
            loop {
                match this.connection.poll_accept(cx) {
                    Poll::Ready(Some(Ok((request, respond)))) => {
                        let chance = Chance(this.chance.below(1 << 30));
                        this.streams.push(Box::pin(answer(request, respond, chance)));
                    }
                    // Its client has gone before it.
                    Poll::Ready(None | Some(Err(Error::Io(_)))) => return Poll::Ready(()),
                    Poll::Ready(Some(Err(error))) => panic!("{error}"),
                    Poll::Pending => break,
                }
            }
            let before = this.streams.len();
            this.streams.retain_mut(|stream| stream.as_mut().poll(cx).is_pending());
            if this.streams.len() == before {
                break;
            }
        }
        let _ = this.connection.poll_flush(cx);
        Poll::Pending
    }
}

/// Sends a request's body and trailers back; resets what has the header `reset`; a reader elsewhere has the body for a while where
/// it has `elsewhere`.
async fn answer(request: Request<prism_http2::RecvStream>, mut respond: Respond, mut chance: Chance) {
    let (head, mut body) = request.into_parts();
    if head.headers.contains_key("refuse") {
        respond.send_head(StatusCode::FORBIDDEN, &HeaderMap::new(), true);
        return;
    }
    let mut first = None;
    if head.headers.contains_key("elsewhere") {
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let piece = runtime.block_on(poll_fn(|cx| body.poll_data(cx)));
            if let Some(Ok(piece)) = &piece {
                body.release(piece.len());
            }
            (body, piece)
        });
        while !thread.is_finished() {
            tokio::task::yield_now().await;
        }
        (body, first) = thread.join().unwrap();
    }
    if !respond.send_head(StatusCode::OK, &head.headers, false) {
        return;
    }
    let resets = head.headers.contains_key("reset");
    loop {
        let piece = match first.take() {
            Some(piece) => Some(piece),
            None => poll_fn(|cx| body.poll_data(cx)).await,
        };
        let Some(piece) = piece else { break };
        let Ok(mut piece) = piece else { return };
        if resets && chance.below(4) == 0 {
            return;
        }
        body.release(piece.len());
        while !piece.is_empty() {
            let Some(room) = poll_fn(|cx| respond.poll_room(cx)).await else { return };
            respond.send_data(piece.split_to(room.min(piece.len())));
        }
    }
    if let Ok(trailers) = poll_fn(|cx| body.poll_trailers(cx)).await {
        respond.send_end(trailers);
    }
}

fn body(seed: u64, length: usize) -> Bytes {
    (0..length).map(|at| (at as u64 ^ at as u64 >> 8 ^ seed) as u8).collect::<Vec<_>>().into()
}

/// Reads an answer to its end.
async fn read(mut answer: RecvStream) -> Result<(BytesMut, Option<HeaderMap>), h2::Error> {
    let mut all = BytesMut::new();
    while let Some(piece) = answer.data().await {
        let piece = piece?;
        all.extend_from_slice(&piece);
        answer.flow_control().release_capacity(piece.len())?;
    }
    Ok((all, answer.trailers().await?))
}

/// One call; what is wrong with it, if it was neither reset nor answered rightly.
async fn call(mut send: SendRequest<Bytes>, mut chance: Chance, wild: bool) -> Result<bool, String> {
    let seed = chance.below(256);
    let length = [0, 1, 100, 5_000, 9_999, 70_000, 1 << 20][chance.below(if wild { 6 } else { 7 }) as usize];
    let mut request = Request::post("http://edge/echo").header("x-seed", seed.to_string());
    for name in ["reset", "elsewhere", "refuse"] {
        if chance.below(5) == 0 && (wild || name == "elsewhere") {
            request = request.header(name, "1");
        }
    }
    let refused = request.headers_ref().unwrap().contains_key("refuse");
    send = send.ready().await.map_err(|error| error.to_string())?;
    let (response, mut upload) =
        send.send_request(request.body(()).unwrap(), false).map_err(|error| error.to_string())?;
    let gives_up = wild && chance.below(5) == 0;
    let sent = body(seed, length);
    let uploading = async {
        let mut left = sent.clone();
        while !left.is_empty() {
            let most = left.len().min(1 + chance.below(20_000) as usize);
            upload.reserve_capacity(most);
            let Some(Ok(room)) = poll_fn(|cx| upload.poll_capacity(cx)).await else { return };
            if gives_up && chance.below(3) == 0 {
                upload.send_reset(h2::Reason::CANCEL);
                return;
            }
            if upload.send_data(left.split_to(room.min(most)), false).is_err() {
                return;
            }
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from(length));
        let _ = upload.send_trailers(trailers);
    };
    let downloading = async {
        let response = response.await?;
        let status = response.status();
        read(response.into_body()).await.map(|(body, trailers)| (status, body, trailers))
    };
    let ((), answered) = tokio::join!(uploading, downloading);
    match answered {
        Ok((StatusCode::FORBIDDEN, ..)) if refused => Ok(true),
        Ok((StatusCode::OK, body, trailers)) if body == sent && !refused => {
            match trailers.is_some_and(|trailers| trailers["x-sum"] == length.to_string()) {
                true => Ok(true),
                false => Err("other trailers".to_owned()),
            }
        }
        Ok((status, body, _)) => Err(format!("{status}: {} bytes of {length}", body.len())),
        Err(error) if wild && error.is_reset() => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

/// Many calls at once on one connection, and then one more that uses its whole window.
async fn scene(seed: u64, wild: bool) {
    let mut chance = Chance(seed);
    let (client, server) = tokio::io::duplex(1 << (10 + chance.below(8)));
    let leave = Arc::<AtomicUsize>::default();
    let mut builder = client::Builder::new();
    builder
        .initial_window_size(1 + chance.below(100_000) as u32)
        .initial_connection_window_size(65_535 + chance.below(100_000) as u32)
        .header_table_size(chance.below(3) as u32 * 200);
    let serving = async {
        let connection = Connection::handshake(server, settings()).await.unwrap();
        let chance = Chance(seed + 1);
        Server { connection, streams: Vec::new(), leave: Arc::clone(&leave), chance }.await;
    };
    let calling = async {
        let (send, connection) = builder.handshake::<_, Bytes>(client).await.unwrap();
        let driving = tokio::spawn(connection);
        // Before the first answer it does not know how many streams there may be.
        assert_eq!(call(send.clone(), Chance(6), false).await, Ok(true), "seed {seed}");
        let mut calls = Vec::new();
        for _ in 0..30 {
            calls.push(tokio::spawn(call(send.clone(), Chance(chance.below(1 << 30)), wild)));
        }
        let mut answered = 0;
        for call in calls {
            answered +=
                usize::from(call.await.unwrap().unwrap_or_else(|error| panic!("seed {seed}: {error}")));
        }
        assert!(answered >= if wild { 3 } else { 30 }, "seed {seed}: {answered}");
        // Whatever was reset and dropped: the windows are whole, or this would not end.
        for _ in 0..3 {
            assert_eq!(call(send.clone(), Chance(6), false).await, Ok(true), "seed {seed}");
        }
        // What is under way when it leaves is served, and what comes then is not lost: its client may send it elsewhere.
        let last = tokio::spawn(call(send.clone(), Chance(6), false));
        tokio::task::yield_now().await;
        leave.store(1, Ordering::SeqCst);
        let last = last.await.unwrap();
        assert!(
            last == Ok(true) || last.as_ref().is_err_and(|why| why.contains("go away")),
            "seed {seed}: {last:?}"
        );
        drop(send);
        driving.await.unwrap().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    };
    let both = async { tokio::join!(serving, calling) };
    // Against a hang.
    tokio::time::timeout(Duration::from_secs(60), both).await.unwrap_or_else(|_| panic!("seed {seed} hangs"));
}

#[tokio::test]
async fn what_arrives_is_what_was_sent() {
    for seed in 0..12 {
        scene(seed, false).await;
    }
}

#[tokio::test]
async fn whatever_is_reset_and_given_up_beside_it() {
    for seed in 100..160 {
        scene(seed, true).await;
    }
}
