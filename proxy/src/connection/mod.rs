//! One client connection, from its first byte to its last: which protocol it speaks, and serving it.

mod batch;
mod clock;
mod detect;
mod h1;
mod h2;
mod linger;
mod stream;
mod unread;

pub(crate) use linger::Linger;

use crate::edge::Edge;
use detect::{Detected, detect};
use prism_platform::{Io, time};
use std::{net::SocketAddr, rc::Rc};

/// Serves a connection until it ends. Dropping the future cuts it.
pub(crate) async fn serve(edge: Rc<Edge>, io: Io, peer: Option<SocketAddr>) {
    let limits = edge.limits();
    let io = linger::Lingering::new(io, Rc::clone(edge.linger()), limits.stall_timeout);
    // Boxed like the handshakes that follow: what only the first moments need takes no room later.
    let detected = match Box::pin(time::timeout(limits.handshake_timeout, detect(io))).await {
        Ok(Ok(detected)) => detected,
        // Nothing usable came, or it did not come in time: nobody is there to be told why.
        Ok(Err(_)) | Err(_) => return,
    };
    match detected {
        Detected::Http2(io) => h2::serve(edge, io, peer).await,
        Detected::Http1(io) => h1::serve(edge, io, peer).await,
    }
}
