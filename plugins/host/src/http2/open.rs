//! A worker's connection, from its handshake to its end.

use super::dial::{Opened, Readers, drive, handshake};
use crate::upstream::{Closed, Dialled, Target, Who};
use bytes::Bytes;
use h2::client::SendRequest;
use prism_platform::Platform;
use std::sync::Arc;

/// One open HTTP/2 connection.
pub(crate) struct Open {
    pub(crate) send: SendRequest<Bytes>,
    /// The readers of its answers.
    pub(crate) readers: Arc<Readers>,
}

impl Open {
    /// Exchanges that the peer takes at once.
    pub(crate) fn at_once(&self) -> usize {
        self.send.current_max_send_streams()
    }
}

/// Opens a connection and makes of it what `make` says. Without a deadline.
///
/// # Errors
/// Why there is none, without the address.
pub(crate) async fn open<C>(
    platform: &Platform,
    target: &Target,
    who: Who,
    make: impl FnOnce(Open) -> C,
) -> Result<Dialled<C>, String> {
    let Opened { send, driver, ping, peer } = handshake(platform, target, who).await?;
    let readers = Arc::<Readers>::default();
    let carrier = make(Open { send, readers: Arc::clone(&readers) });
    let platform = platform.clone();
    let driver = Box::pin(async move {
        match drive(driver, ping, &platform, readers).await {
            Ok(()) => Closed::Ended("closed in good order".to_owned()),
            Err(error) if error.is_library() => Closed::Violated(error.to_string()),
            Err(error) => Closed::Ended(error.to_string()),
        }
    });
    Ok(Dialled { carrier, peer, driver })
}
