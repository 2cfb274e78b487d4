//! One client connection, from its first byte to its last: TLS where the listener has it, which protocol it speaks, and
//! serving it.

mod clock;
mod detect;
mod h1;
mod h2;
mod linger;
mod socket;
mod stream;
mod tls;
mod unread;
mod watch;

pub(crate) use linger::Linger;
pub(crate) use tls::PROTOCOLS;

use crate::edge::Edge;
use detect::{Detected, detect};
use linger::Lingering;
use prism_platform::{
    Io,
    time::{Instant, timeout_at},
};
use socket::{Socket, Watched};
use std::{net::SocketAddr, rc::Rc};
use tls::Agreed;

/// Serves a connection until it ends. Dropping the future cuts it.
pub(crate) async fn serve(edge: Rc<Edge>, io: Io, peer: Option<SocketAddr>) {
    // One for everything until the protocol runs: a peer that has several steps to take gets no more time for that.
    let deadline = Instant::now() + edge.limits().handshake_timeout;
    // Boxed like the handshakes that follow: what only the first moments need takes no room later.
    match Box::pin(begin(&edge, io, peer, deadline)).await {
        Some(Detected::Http2(io)) => h2::serve(edge, io, peer, deadline).await,
        Some(Detected::Http1(io)) => h1::serve(edge, io, peer).await,
        // Nothing usable came, or it did not come in time: nobody is there to be told why.
        None => {}
    }
}

/// Finds out what the connection speaks.
async fn begin(edge: &Edge, io: Io, peer: Option<SocketAddr>, deadline: Instant) -> Option<Detected> {
    let io = Watched::new(io, edge.limits().stall_timeout);
    let (socket, agreed) = match edge.tls() {
        None => (Socket::Plain(io), Agreed::Nothing),
        Some(tls) => {
            edge.set_secured();
            let (socket, agreed, client) = tls::handshake(&tls, io, edge, peer, deadline).await?;
            if let Some(client) = client {
                edge.set_client(client);
            }
            (socket, agreed)
        }
    };
    let io = Lingering::new(socket, Rc::clone(edge.linger()));
    match agreed {
        Agreed::Http2 => Some(Detected::Http2(io.into())),
        Agreed::Http1 => Some(Detected::Http1(io.into())),
        Agreed::Nothing => timeout_at(deadline, detect(io)).await.ok()?.ok(),
    }
}
