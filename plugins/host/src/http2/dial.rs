//! Opening an HTTP/2 connection.

use crate::upstream::{PeerIdentity, Target, Who, within_deadline};
use bytes::Bytes;
use h2::{
    Ping, PingPong,
    client::{Builder, Connection, SendRequest},
};
use prism_platform::{Io, Platform, WindowGrowth, Windows};
use prism_tls::alpn;
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::Poll,
};

/// What one answer may have on the way to us: a call's share of the proxy's memory, whatever its size. A hundred streams of a
/// client who does not read hold six MiB; 64 KiB keep a local plugin busy while a window update travels.
///
/// The connection's window holds nobody up ([`ALL`]), as it is shared by the calls of everybody: those who do not read would
/// else stop those who do. What stands here for the connection is what its growth is counted by in the process's budget.
const WINDOWS: Windows = Windows { stream: 64 << 10, connection: 2 << 20 };

/// What they grow to while answers use a whole window within a round trip: enough for 10 Gbit/s over 0.4 ms. For as many
/// calls as are counted for ([`FEW`]).
const LARGE_WINDOWS: Windows = Windows { stream: 512 << 10, connection: 16 << 20 };

/// Answers that may arrive at the same time in large windows. With more, windows become small again, as each reader who
/// stalls holds one.
const FEW: usize = 32;

/// The connection's window: the largest there is (RFC 9113 section 6.9.1).
const ALL: u32 = (1 << 31) - 1;

/// The largest frame taken. h2 writes and reads DATA a frame at a time, and copies 8 KiB of each that it reads: at
/// the protocol's 16 KiB that is half of an answer, at 64 KiB an eighth. More would let one answer hold up the
/// others for longer. The SDK's server takes as much.
const FRAME: u32 = 64 << 10;

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
pub(crate) struct Opened {
    pub(crate) send: SendRequest<Bytes>,
    pub(crate) driver: Connection<Io, Bytes>,
    /// For measuring how far a round trip is.
    pub(crate) ping: PingPong,
    /// The process at the other end, where that can be known.
    pub(crate) peer: Option<PeerIdentity>,
}

/// Connects, within the deadline for that.
///
/// # Errors
/// Why there is no connection, with the address.
pub(crate) async fn dial(platform: &Platform, target: &Target, who: Who) -> Result<Opened, String> {
    within_deadline(target, handshake(platform, target, who)).await
}

/// Connects, and waits until the peer has answered in HTTP/2. Without a deadline.
///
/// # Errors
/// Why there is no connection, without the address.
pub(super) async fn handshake(platform: &Platform, target: &Target, who: Who) -> Result<Opened, String> {
    let io = target.connect(platform, alpn::GRPC, who).await?;
    let peer = PeerIdentity::of(&io);
    let not_http2 = |error: h2::Error| match error.is_io() {
        true => format!("it does not speak HTTP/2: {error}{}", target.hint()),
        false => format!("it does not speak HTTP/2: {error}"),
    };
    let (send, mut driver) = Builder::new()
        .enable_push(false)
        .initial_window_size(WINDOWS.stream)
        .initial_connection_window_size(ALL)
        .max_frame_size(FRAME)
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
    ping.send_ping(Ping::opaque()).map_err(not_http2)?;
    poll_fn(|cx| {
        if let Poll::Ready(ended) = Pin::new(&mut driver).poll(cx) {
            return Poll::Ready(Err(match ended {
                Ok(()) => format!("it closed the connection at once{}", target.hint()),
                Err(error) => not_http2(error),
            }));
        }
        ping.poll_pong(cx).map_ok(drop).map_err(not_http2)
    })
    .await?;
    Ok(Opened { send, driver, ping, peer })
}

/// What the readers of a connection's answers do.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    /// Bytes that they have taken.
    taken: AtomicU64,
    /// How many there are.
    reading: AtomicUsize,
}

impl Readers {
    /// One more, until it [leaves](Self::leave).
    pub(super) fn join(&self) {
        self.reading.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.reading.fetch_sub(1, Ordering::Relaxed);
    }

    /// One of them has taken so many bytes.
    pub(super) fn take(&self, bytes: usize) {
        self.taken.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Moves the connection until it ends. While few `readers` use up whole windows, the windows grow, as far as the process's
/// budget allows.
///
/// # Errors
/// The connection broke.
pub(super) async fn drive(
    mut driver: Connection<Io, Bytes>,
    mut ping: PingPong,
    platform: &Platform,
    readers: Arc<Readers>,
) -> Result<(), h2::Error> {
    let mut growth = WindowGrowth::new(Arc::clone(platform.windows()), WINDOWS, LARGE_WINDOWS);
    let mut measuring = false;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = Pin::new(&mut driver).poll(cx) {
                return Poll::Ready(ended);
            }
            let taken = readers.taken.load(Ordering::Relaxed);
            let are_few = readers.reading.load(Ordering::Relaxed) <= FEW;
            growth.settle(taken);
            if !are_few && let Some(windows) = growth.shrink(taken) {
                let _ = driver.set_initial_window_size(windows.stream);
                // For the SETTINGS to leave.
                continue;
            }
            if are_few
                && !measuring
                && growth.wants_measurement(taken)
                && ping.send_ping(Ping::opaque()).is_ok()
            {
                measuring = true;
                growth.measure(taken);
                // For the ping to leave.
                continue;
            }
            // An error is the connection's, which its next poll tells.
            if !measuring || ping.poll_pong(cx).is_pending() {
                return Poll::Pending;
            }
            measuring = false;
            if let Some(windows) = growth.measured(taken) {
                // Refused while the plugin has not acknowledged the SETTINGS before: it keeps what it has.
                let _ = driver.set_initial_window_size(windows.stream);
            }
        }
    })
    .await
}
