//! What every transport to a plugin in another process shares: where the plugin is, each worker's connection
//! to it, and what makes a call go to the right process, once or at most twice.

mod backoff;
mod balance;
mod connection;
mod endpoint;
mod forward;
mod link;
mod peer;
mod protocol;
mod reply;
mod target;
#[cfg(test)]
mod tests;
mod upload;

pub(crate) use backoff::Backoff;
pub(crate) use connection::{Admitted, Connection, MAX_WAITING, Upstream};
pub(crate) use endpoint::{Endpoint, Shared};
pub(crate) use forward::{Failed, RemoteChannel};
pub(crate) use link::Link;
pub(crate) use peer::PeerIdentity;
pub use protocol::{Protocol, ProtocolChoice};
pub(crate) use reply::{GATHER, Receive, Reply};
pub use target::{RemoteEndpoint, RemoteTls};
pub(crate) use target::{Target, Who};
pub(crate) use upload::{Sink, Upload, rejoin};

use crate::channel::{ForwardError, Rpc, WireBody, WireReply};
use futures_util::future::LocalBoxFuture;
use prism_platform::{Platform, time};
use prism_plugin_abi::{CallContext, Code, Error};
use std::{future::Future, rc::Rc, time::Duration};

/// A transport, as the type of its open connections.
pub(crate) trait Carrier: Sized + 'static {
    /// Nobody else tells that it cannot be connected to: a plugin's supervisor does, a service has none.
    const UNWATCHED: bool = false;

    /// Connects, and waits until the peer has answered in the transport's own words: a socket whose owner is
    /// stopped still accepts, and only the peer says how many calls it takes at once. Without a deadline.
    ///
    /// # Errors
    /// Why there is no connection, without the address.
    fn handshake(platform: &Platform, target: &Target)
    -> impl Future<Output = Result<Dialled<Self>, String>>;

    /// Whether it takes new calls, as far as that is known.
    fn takes_calls(&self) -> bool;

    /// Calls that the peer takes at once.
    fn at_once(&self) -> usize;
}

/// A transport that carries a plugin's calls.
pub(crate) trait CallCarrier: Carrier {
    /// Sends one call, once. `admitted` is taken as soon as an answer is there to hold it.
    ///
    /// # Errors
    /// Whether the plugin may have begun with the call, and what happened.
    fn attempt(
        connection: Rc<Connection<Self>>,
        rpc: Rpc,
        context: &CallContext,
        admitted: &mut Option<Admitted>,
        body: WireBody,
    ) -> impl Future<Output = Result<WireReply, Failed>>;
}

/// How a connection ended.
pub(crate) enum Closed {
    /// It was not needed any more, or it broke; for a person.
    Ended(String),
    /// The plugin broke the transport's protocol; for a person.
    Violated(String),
}

/// An open connection, and what must be polled for anything on it to move; resolves when it is gone.
pub(crate) struct Dialled<C> {
    pub(crate) carrier: C,
    /// The process at the other end, where that can be known.
    pub(crate) peer: Option<PeerIdentity>,
    pub(crate) driver: LocalBoxFuture<'static, Closed>,
}

/// Puts the deadline and the address to a handshake.
///
/// # Errors
/// Why there is no connection, with the address; after what the target's connections may take at the latest.
pub(crate) async fn within_deadline<T>(
    target: &Target,
    handshake: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let deadline = target.deadline();
    match time::timeout(deadline, handshake).await {
        Ok(Ok(dialled)) => Ok(dialled),
        Ok(Err(problem)) => Err(format!("{target}: {problem}")),
        Err(_) => Err(format!("{target}: it did not answer within {} s", deadline.as_secs())),
    }
}

/// What is left of a call's time; `None` when it has no deadline.
///
/// # Errors
/// It has passed: the call is not sent at all.
pub(crate) fn time_left(context: &CallContext) -> Result<Option<Duration>, ForwardError> {
    let Some(deadline) = context.deadline else { return Ok(None) };
    let left = time::Instant::from_std(deadline).saturating_duration_since(time::Instant::now());
    if left.is_zero() {
        let message = "the deadline passed before the call reached the plugin";
        return Err(Error::channel(Code::DeadlineExceeded, message).into());
    }
    Ok(Some(left))
}
