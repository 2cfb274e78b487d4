//! The TLS handshake of a connection, and what it has agreed to speak.

use super::{
    linger::Lingering,
    socket::{Socket, Watched},
};
use crate::edge::Edge;
use prism_platform::time::{Instant, timeout_at};
use prism_tls::{ClientIdentity, ServerStream, ServerTls, alpn, client_of};
use std::{io, net::SocketAddr, rc::Rc, sync::Arc};

/// What client and listener have agreed on by ALPN (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Agreed {
    Http2,
    Http1,
    /// The client took no part in it: its first bytes tell.
    Nothing,
}

/// Takes the connection, and says who its client is where that has shown a certificate; or counts why not. The client reads that in its alert (RFC 8446 section 6.2), if it speaks TLS
/// at all.
pub(super) async fn handshake(
    tls: &ServerTls,
    io: Watched,
    edge: &Edge,
    peer: Option<SocketAddr>,
    deadline: Instant,
) -> Option<(Socket, Agreed, Option<Arc<ClientIdentity>>)> {
    let (reads, began) = (io.reads(), Instant::now());
    let error = match timeout_at(deadline, tls.accept_or_return(io)).await {
        Ok(Ok(stream)) => match client_of(&stream, began.elapsed()) {
            Ok(client) => {
                let agreed = agreed(&stream);
                return Some((Socket::Tls(Box::new(stream)), agreed, client.map(Arc::new)));
            }
            // Nobody could say who that is, or when it ends.
            Err(malformed) => io::Error::new(io::ErrorKind::InvalidData, malformed),
        },
        Ok(Err((error, io))) => {
            // Closed with care, or what the client sent behind its mistake would cost it the alert.
            drop(Lingering::new(Socket::Plain(io), Rc::clone(edge.linger())));
            error
        }
        Err(_) => {
            io::Error::new(io::ErrorKind::TimedOut, "it was not complete within limits.handshake_timeout")
        }
    };
    // Load balancers look whether a port is open by connecting to it and nothing else.
    if reads.get() > 0 {
        edge.handshake_failed(peer, &error);
    }
    None
}

fn agreed(stream: &ServerStream<Watched>) -> Agreed {
    match stream.get_ref().1.alpn_protocol() {
        Some(alpn::HTTP2) => Agreed::Http2,
        Some(alpn::HTTP1) => Agreed::Http1,
        // No others are offered (`PROTOCOLS`).
        Some(_) | None => Agreed::Nothing,
    }
}

/// What a listener speaks, the best first: gRPC needs HTTP/2.
pub(crate) const PROTOCOLS: [&[u8]; 2] = [alpn::HTTP2, alpn::HTTP1];
