//! Opening an HTTP/2 connection to a plugin.

use crate::upstream::{PeerIdentity, within_deadline};
use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use prism_platform::{Address, Io, Platform};
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

/// What one answer may have on the way to us: a call's share of the proxy's memory, whatever its size.
/// 128 KiB keep a local plugin busy while a window update travels.
const STREAM_WINDOW: u32 = 128 << 10;

/// What all answers of a connection may have on the way. Far above a stream's, so that one reader who
/// stalls does not stall the others: 64 of them may.
const CONNECTION_WINDOW: u32 = 8 << 20;

/// What h2 may hold of one call between our handing it over and the socket taking it.
const SEND_BUFFER: usize = 64 << 10;

/// h2 counts 256 bytes, less what it carries, for each small DATA frame that waits, and closes the
/// connection when the sum passes this. A `watch` with many small events and a slow reader fills its
/// window with such frames; that must stall this one call and not end all the others.
const SMALL_FRAMES: usize = 16 << 20;

/// Cancelled calls that h2 remembers for a second: frames of theirs that were on their way are dropped. To those of
/// a call that it has forgotten it answers with a reset, and by default it closes a connection after 1,024 of these
/// in its whole life: cancellations would end all the other calls. A plugin that is a nuisance costs itself no less
/// than us, so they are not counted at all.
const CANCELLED: usize = 1024;

/// Header fields of an answer, in bytes: the same limit as on the listener.
const HEADER_LIST: u32 = 16 << 10;

/// An open connection. `driver` must be polled for anything to move.
pub(super) struct Opened {
    pub(super) send: SendRequest<Bytes>,
    pub(super) driver: Connection<Io, Bytes>,
    /// The process at the other end, where that can be known.
    pub(super) peer: Option<PeerIdentity>,
}

/// Connects, within the deadline for that.
///
/// # Errors
/// Why there is no connection, with the address.
pub(super) async fn dial(platform: &Platform, address: &Address) -> Result<Opened, String> {
    within_deadline(address, handshake(platform, address)).await
}

/// What stands for the host: RFC 9113 section 8.3.1 wants an authority; a unix socket has none, and gRPC
/// libraries say this.
pub(super) fn authority(address: &Address) -> String {
    match address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(_) => "localhost".to_owned(),
    }
}

/// Connects, and waits until the peer has answered in HTTP/2. Without a deadline.
///
/// # Errors
/// Why there is no connection, without the address.
pub(super) async fn handshake(platform: &Platform, address: &Address) -> Result<Opened, String> {
    let io = platform.connect(address).await.map_err(|error| error.to_string())?;
    let peer = PeerIdentity::of(&io);
    let not_http2 = |error: h2::Error| format!("it does not speak HTTP/2: {error}");
    let (send, mut driver) = Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(SMALL_FRAMES)
        .max_concurrent_reset_streams(CANCELLED)
        .max_local_error_reset_streams(None)
        .max_header_list_size(HEADER_LIST)
        .handshake(io)
        .await
        .map_err(not_http2)?;
    // SETTINGS is the first frame that a peer sends (RFC 9113 section 3.4), so it is in force when the
    // answer to a PING is here.
    let mut ping = driver.ping_pong().ok_or("the connection has no ping")?;
    ping.send_ping(h2::Ping::opaque()).map_err(not_http2)?;
    poll_fn(|cx| {
        if let Poll::Ready(ended) = Pin::new(&mut driver).poll(cx) {
            return Poll::Ready(Err(match ended {
                Ok(()) => "it closed the connection at once".to_owned(),
                Err(error) => not_http2(error),
            }));
        }
        ping.poll_pong(cx).map_ok(drop).map_err(not_http2)
    })
    .await?;
    Ok(Opened { send, driver, peer })
}
