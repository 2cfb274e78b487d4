//! Forwarding of calls to a plugin in another process: to the process that was initialized, and once more
//! where the plugin had not begun with a call.

mod at_once;

use super::{
    CallCarrier, Endpoint, Link, Protocol,
    balance::Routes,
    connection::{Admitted, Connection, Upstream},
};
use crate::{
    channel::{ForwardError, Forwarding, PluginChannel, ReplyBody, Rpc, WireBody, WireReply},
    status::GRPC_STATUS,
    worker::WorkerLocal,
};
use http::{HeaderMap, HeaderValue};
use prism_plugin_abi::CallContext;
use std::{fmt, rc::Rc, sync::Arc};

/// Where an instance is: at each endpoint of its plugin, with what its supervisor there says.
pub(crate) struct Seats(Vec<(Arc<Endpoint>, Arc<Link>)>);

impl Seats {
    pub(super) fn each(&self) -> &[(Arc<Endpoint>, Arc<Link>)] {
        &self.0
    }
}

/// One instance's way to a plugin in another process, or in several.
pub(crate) struct RemoteChannel {
    seats: Arc<Seats>,
}

impl RemoteChannel {
    pub(crate) fn new(seats: Vec<(Arc<Endpoint>, Arc<Link>)>) -> Self {
        Self { seats: Arc::new(Seats(seats)) }
    }
}

impl fmt::Debug for RemoteChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        for (endpoint, link) in self.seats.each() {
            list.entry(&format_args!("{}, {}", endpoint.target(), link.protocol()));
        }
        list.finish()
    }
}

impl PluginChannel for RemoteChannel {
    fn forward(&self, worker: &WorkerLocal, rpc: Rpc, context: CallContext, body: WireBody) -> Forwarding {
        let [(endpoint, link)] = self.seats.each() else {
            let routes = worker.slot(&self.seats, || Routes::new(worker, &self.seats));
            return Forwarding::new(routes.forward(worker.turn(), rpc, context, body));
        };
        let ways = endpoint.ways(worker);
        let link = Arc::clone(link);
        match link.protocol() {
            Protocol::Grpc => Forwarding::new(forward(Rc::clone(&ways.grpc), link, rpc, context, body)),
            Protocol::Frames => at_once::forward(&ways.frames, link, rpc, context, body),
        }
    }
}

/// Why an attempt failed.
pub(crate) enum Failed {
    /// The plugin has not begun with the call: it may be sent once more, if its body is at hand.
    NotBegun(ForwardError, Option<WireBody>),
    /// It may have.
    Broken(ForwardError),
}

impl From<ForwardError> for Failed {
    fn from(error: ForwardError) -> Self {
        Self::Broken(error)
    }
}

async fn forward<C: CallCarrier>(
    upstream: Rc<Upstream<C>>,
    link: Arc<Link>,
    rpc: Rpc,
    context: CallContext,
    body: WireBody,
) -> Result<WireReply, ForwardError> {
    let mut admitted = Some(upstream.admit()?);
    let call = Call { upstream: &upstream, link: &link, rpc, context: &context };
    let reply = match call.attempt(&mut admitted, body).await {
        Ok(reply) => reply,
        Err(Failed::Broken(error) | Failed::NotBegun(error, None)) => return Err(error),
        // Boxed, so that the calls that need it not are small.
        Err(Failed::NotBegun(error, Some(body))) => {
            Box::pin(once_more(&call, &mut admitted, &error, body)).await?
        }
    };
    check_instance(&reply, &link);
    Ok(reply)
}

/// Once: a plugin that refuses twice means it.
async fn once_more<C: CallCarrier>(
    call: &Call<'_, C>,
    admitted: &mut Option<Admitted>,
    error: &ForwardError,
    body: WireBody,
) -> Result<WireReply, ForwardError> {
    tracing::debug!(%error, "the plugin has not begun with a call, which is sent once more");
    match call.attempt(admitted, body).await {
        Ok(reply) => Ok(reply),
        Err(Failed::Broken(error) | Failed::NotBegun(error, _)) => Err(error),
    }
}

/// Calls the supervisor when the plugin does not know the instance.
pub(super) fn check_instance(reply: &WireReply, link: &Link) {
    if is_unknown_instance(reply) {
        link.nudge();
    }
}

/// FAILED_PRECONDITION before any message: the plugin does not know the instance (any more). The caller gets
/// it as it is; should it mean something else, initializing again changes nothing.
fn is_unknown_instance(reply: &WireReply) -> bool {
    let refused = |fields: &HeaderMap| fields.get(GRPC_STATUS) == Some(&HeaderValue::from_static("9"));
    match &reply.body {
        ReplyBody::Whole { messages, trailers } => {
            messages.is_empty()
                && [&reply.headers, trailers].into_iter().flatten().any(|fields| refused(fields))
        }
        ReplyBody::Succeeded(_) | ReplyBody::Stream(_) => false,
    }
}

pub(super) struct Call<'a, C> {
    pub(super) upstream: &'a Rc<Upstream<C>>,
    pub(super) link: &'a Link,
    pub(super) rpc: Rpc,
    pub(super) context: &'a CallContext,
}

impl<C: CallCarrier> Call<'_, C> {
    async fn attempt(&self, admitted: &mut Option<Admitted>, body: WireBody) -> Result<WireReply, Failed> {
        let connection = self.ready().await?;
        C::attempt(connection, self.rpc, self.context, admitted, body).await
    }

    /// The open connection, or one that is opened for this.
    pub(super) async fn ready(&self) -> Result<Rc<Connection<C>>, ForwardError> {
        match self.upstream.open() {
            Some(connection) if self.link.is_initialized(connection.peer) => Ok(connection),
            // Boxed for the same reason: nearly every call finds an open connection.
            _ => Box::pin(self.connection()).await,
        }
    }

    /// A connection to the process that `Initialize` ran on.
    async fn connection(&self) -> Result<Rc<Connection<C>>, ForwardError> {
        let connection = self.upstream.connection().await?;
        if self.link.is_initialized(connection.peer) {
            return Ok(connection);
        }
        // It may be to a process that is on its way out; a new one is dialled now.
        self.upstream.discard(&connection);
        let connection = self.upstream.connection().await?;
        if self.link.is_initialized(connection.peer) {
            return Ok(connection);
        }
        self.link.nudge();
        Err(ForwardError::Unavailable("plugin restarted; initializing".to_owned()))
    }
}
