//! Calls to a plugin at several endpoints: each goes to one that serves and has the least to do, and to another
//! one where the first had not begun with it.

use super::{
    CallCarrier, Failed, Link, Protocol,
    connection::{Admitted, Upstream},
    endpoint::Ways,
    forward::{Call, Seats, check_instance},
};
use crate::{
    channel::{ForwardError, Rpc, WireBody, WireReply},
    worker::WorkerLocal,
};
use prism_plugin_abi::CallContext;
use std::{rc::Rc, sync::Arc};

/// One worker's ways to all endpoints of an instance.
pub(super) struct Routes(Vec<Route>);

struct Route {
    ways: Rc<Ways>,
    link: Arc<Link>,
}

impl Routes {
    pub(super) fn new(worker: &WorkerLocal, seats: &Seats) -> Self {
        let route = |(endpoint, link): &(Arc<super::Endpoint>, Arc<Link>)| Route {
            ways: endpoint.ways(worker),
            link: Arc::clone(link),
        };
        Self(seats.each().iter().map(route).collect())
    }

    /// Of those that serve the one with the fewest calls of this worker's under way or waiting; `turn` decides
    /// between equals, so that they take turns. Endpoints that cannot be connected to are a last resort, and so
    /// is `failed`, which a call has tried already.
    fn choose(&self, turn: usize, failed: Option<usize>) -> Option<usize> {
        let count = self.0.len();
        (0..count)
            .map(|step| (turn.wrapping_add(step)) % count)
            .filter(|index| self.0[*index].link.serves())
            .min_by_key(|index| {
                let route = &self.0[*index];
                let (pending, failing) = match route.link.protocol() {
                    Protocol::Grpc => route.ways.grpc.load(),
                    Protocol::Frames => route.ways.frames.load(),
                };
                (Some(*index) == failed, failing, pending)
            })
    }

    pub(super) async fn forward(
        self: Rc<Self>,
        turn: usize,
        rpc: Rpc,
        context: CallContext,
        body: WireBody,
    ) -> Result<WireReply, ForwardError> {
        let none = || ForwardError::Unavailable(format!("none of its {} endpoints serves", self.0.len()));
        let first = self.choose(turn, None).ok_or_else(none)?;
        let (error, body) = match self.0[first].attempt(rpc, &context, body).await {
            Ok(reply) => return Ok(reply),
            Err(Failed::Broken(error) | Failed::NotBegun(error, None)) => return Err(error),
            Err(Failed::NotBegun(error, Some(body))) => (error, body),
        };
        // Once: with each further endpoint a call that kills plugins would kill one more.
        let second = self.choose(turn, Some(first)).ok_or_else(none)?;
        tracing::debug!(%error, "an endpoint has not begun with a call, which is sent once more");
        match Box::pin(self.0[second].attempt(rpc, &context, body)).await {
            Ok(reply) => Ok(reply),
            Err(Failed::Broken(error) | Failed::NotBegun(error, _)) => Err(error),
        }
    }
}

impl Route {
    async fn attempt(&self, rpc: Rpc, context: &CallContext, body: WireBody) -> Result<WireReply, Failed> {
        let reply = match self.link.protocol() {
            Protocol::Grpc => on(&self.ways.grpc, &self.link, rpc, context, body).await?,
            Protocol::Frames => on(&self.ways.frames, &self.link, rpc, context, body).await?,
        };
        check_instance(&reply, &self.link);
        Ok(reply)
    }
}

async fn on<C: CallCarrier>(
    upstream: &Rc<Upstream<C>>,
    link: &Link,
    rpc: Rpc,
    context: &CallContext,
    body: WireBody,
) -> Result<WireReply, Failed> {
    let mut admitted: Option<Admitted> = Some(upstream.admit()?);
    let call = Call { upstream, link, rpc, context };
    match call.ready().await {
        Ok(connection) => C::attempt(connection, rpc, context, &mut admitted, body).await,
        // Nothing of it was sent, so even a body that is still arriving may go elsewhere.
        Err(error) => Err(Failed::NotBegun(error, Some(body))),
    }
}
