//! The listener's side: each connection goes to who speaks what it begins with.

use super::{
    crowd::Crowd,
    frames,
    listen::{Accepted, Listener},
    replay::{First, Replay},
};
use futures_util::StreamExt;
use prism_tls::{ServerTls, alpn};
use std::{io, sync::Arc, time::Duration};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};

/// How long a connection may take to say what it speaks. A proxy says it at once; a connection that never
/// does would stay for ever.
const FIRST_BYTES: Duration = Duration::from_secs(10);

/// Connections that have not said yet what they speak. With one more, the oldest of them ends: a proxy says it within
/// milliseconds, so whoever is that old has nothing to say, and must not keep others from being heard. A quarter of the
/// descriptors that most systems give a process.
const UNDECIDED: usize = 256;

/// An accepted connection, from its first byte on.
pub(super) type Connection = Replay<Accepted>;

/// Agrees on encryption, and finds out what the connection speaks.
///
/// # Errors
/// It broke, the client is not who it should be, or it speaks something else than what was agreed on.
async fn greet(io: Accepted, tls: Option<Arc<ServerTls>>) -> io::Result<(Connection, First)> {
    let io = match tls {
        Some(tls) => Accepted::Tls(Box::new(tls.accept(io).await?)),
        None => io,
    };
    let agreed = io.agreed().map(|protocol| match protocol == alpn::FRAMES {
        true => First::Frames,
        false => First::Other,
    });
    let (connection, first) = Replay::look(io).await?;
    if agreed.is_some_and(|agreed| agreed != first) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((connection, first))
}

/// Accepts until `draining`; then closes the listener and returns when the last frames connection ended.
/// What is not frames goes into `others`: who speaks gRPC refuses what is neither. Dropped before that, it
/// ends its connections where they are.
pub(super) async fn accept(
    mut listener: Listener,
    tls: Option<Arc<ServerTls>>,
    server: frames::Server,
    others: mpsc::Sender<io::Result<Connection>>,
    draining: impl Future<Output = ()>,
) {
    let mut undecided = Crowd::new(UNDECIDED);
    let mut serving = JoinSet::new();
    let mut draining = std::pin::pin!(draining);
    loop {
        tokio::select! {
            () = &mut draining => break,
            accepted = listener.next() => {
                match accepted {
                    Some(Ok(io)) => undecided.push(timeout(FIRST_BYTES, greet(io, tls.clone()))),
                    // No descriptors: some of those who have not said anything give theirs back.
                    Some(Err(_)) => undecided.drop_oldest(undecided.len() / 4),
                    None => {}
                }
            }
            decided = undecided.next() => match decided {
                Ok(Ok((connection, First::Frames))) => {
                    serving.spawn(server.clone().serve(connection));
                }
                Ok(Ok((connection, First::Other))) => {
                    if others.send(Ok(connection)).await.is_err() {
                        break;
                    }
                }
                // Gone, broken, or silent.
                Ok(Ok((_, First::Closed)) | Err(_)) | Err(_) => {}
            },
            Some(_) = serving.join_next() => {}
        }
    }
    drop((listener, undecided, others));
    while serving.join_next().await.is_some() {}
}
