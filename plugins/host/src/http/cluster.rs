//! The services of a forward route: each gets requests by its weight, and what one has not begun with goes to another.

use super::{Outgoing, Service, http1, http2, pool::Dial, service::Way};
use crate::{
    channel::{ForwardError, ReplySource, WireBody},
    upstream::Failed,
    worker::WorkerLocal,
};
use http::{HeaderMap, response::Parts};
use prism_plugin_abi::Payload;
use std::{cell::RefCell, fmt, rc::Rc, sync::Arc};

/// An answer: its head, and a body that is here or still arriving.
pub struct Reply {
    /// The head as it came.
    pub head: Parts,
    /// What follows it.
    pub body: ReplyBody,
}

/// What follows an answer's head.
pub enum ReplyBody {
    /// All of it is at hand.
    Whole {
        /// The body.
        pieces: Payload,
        /// What follows it.
        trailers: Option<Box<HeaderMap>>,
    },
    /// It is still arriving.
    Stream(Box<dyn ReplySource>),
}

impl Reply {
    pub(super) fn whole(head: Parts, pieces: Payload, trailers: Option<HeaderMap>) -> Self {
        Self { head, body: ReplyBody::Whole { pieces, trailers: trailers.map(Box::new) } }
    }

    pub(super) fn stream(head: Parts, source: Box<dyn ReplySource>) -> Self {
        Self { head, body: ReplyBody::Stream(source) }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("status", &self.head.status).finish_non_exhaustive()
    }
}

/// The services of a forward route.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<(Arc<Service>, u32)>,
}

/// One worker's ways to all members, and whose turn it is.
struct Ways {
    ways: Vec<Rc<Way>>,
    weights: Vec<i64>,
    current: RefCell<Vec<i64>>,
}

impl Cluster {
    /// Services, each with its share of the requests. One of weight 0 gets none.
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = (Arc<Service>, u32)>) -> Self {
        Self { members: members.into_iter().filter(|(_, weight)| *weight > 0).collect() }
    }

    /// Sends one request. Dropping the future, or the answer, cancels it.
    ///
    /// # Errors
    /// No service could take it, or the one that took it broke.
    pub async fn send(
        self: &Arc<Self>,
        worker: &WorkerLocal,
        outgoing: &impl Outgoing,
        body: WireBody,
    ) -> Result<Reply, ForwardError> {
        let ways = worker.slot(self, || Ways::new(self, worker));
        let none = || ForwardError::Unavailable("it has nowhere to go".to_owned());
        let first = ways.choose(None).ok_or_else(none)?;
        let (error, body) = match self.attempt(&ways, first, Dial::WhereNoneIsIdle, outgoing, body).await {
            Ok(reply) => return Ok(reply),
            Err(Failed::Broken(error) | Failed::NotBegun(error, None)) => return Err(error),
            Err(Failed::NotBegun(error, Some(body))) => (error, body),
        };
        tracing::debug!(%error, "a service has not begun with a request, which is sent once more");
        // Once: with each further service a request that kills them would kill one more.
        let second = ways.choose(Some(first)).unwrap_or(first);
        match Box::pin(self.attempt(&ways, second, Dial::Always, outgoing, body)).await {
            Ok(reply) => Ok(reply),
            Err(Failed::Broken(error) | Failed::NotBegun(error, _)) => Err(error),
        }
    }

    async fn attempt(
        &self,
        ways: &Ways,
        index: usize,
        dial: Dial,
        outgoing: &impl Outgoing,
        body: WireBody,
    ) -> Result<Reply, Failed> {
        let service = &self.members[index].0;
        match &*ways.ways[index] {
            Way::Http2(upstream) => {
                let mut admitted = Some(upstream.admit()?);
                let connection = match upstream.open() {
                    Some(connection) => connection,
                    // Nothing of it was sent, so even a body that is still arriving may go elsewhere.
                    None => match upstream.connection().await {
                        Ok(connection) => connection,
                        Err(error) => return Err(Failed::NotBegun(error, Some(body))),
                    },
                };
                let request = outgoing.head(service)?;
                http2::attempt(connection, request, &mut admitted, body).await
            }
            Way::Http1(pool) => http1::attempt(pool, service, dial, outgoing, body).await,
        }
    }
}

impl Ways {
    fn new(cluster: &Cluster, worker: &WorkerLocal) -> Self {
        let ways: Vec<_> = cluster.members.iter().map(|(service, _)| service.way(worker)).collect();
        let weights: Vec<_> = cluster.members.iter().map(|(_, weight)| i64::from(*weight)).collect();
        // Each worker begins elsewhere, or a service would get the first request of all of them.
        let total: i64 = weights.iter().sum::<i64>().max(1);
        let mut current = vec![0; weights.len()];
        if weights.len() > 1 {
            let skip = worker.platform().random_u64() % total.min(1024).unsigned_abs();
            for _ in 0..skip {
                turn(&weights, &mut current, |_| true);
            }
        }
        Self { ways, weights, current: RefCell::new(current) }
    }

    /// Whose turn it is, of those that can be connected to; of all, when none can. `failed`, which a request has tried
    /// already, is a last resort too.
    fn choose(&self, failed: Option<usize>) -> Option<usize> {
        if self.ways.len() == 1 {
            return Some(0);
        }
        let mut current = self.current.borrow_mut();
        let other = |index: usize| Some(index) != failed;
        turn(&self.weights, &mut current, |index| other(index) && !self.ways[index].is_failing())
            .or_else(|| turn(&self.weights, &mut current, other))
    }
}

/// Smooth weighted round robin, as nginx has it (`ngx_http_upstream_get_peer`): each eligible one gains its weight, the
/// first among them pays the sum. Of weights 5, 1, 1 it makes a a b a c a a.
fn turn(weights: &[i64], current: &mut [i64], eligible: impl Fn(usize) -> bool) -> Option<usize> {
    let mut best: Option<usize> = None;
    let mut total = 0;
    for index in (0..weights.len()).filter(|index| eligible(*index)) {
        total += weights[index];
        current[index] += weights[index];
        if best.is_none_or(|best| current[index] > current[best]) {
            best = Some(index);
        }
    }
    current[best?] -= total;
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_go_by_weight_and_are_spread() {
        let weights = [5, 1, 1];
        let mut current = [0; 3];
        let turns: Vec<_> = (0..14).filter_map(|_| turn(&weights, &mut current, |_| true)).collect();
        assert_eq!(turns, [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
        let turns: Vec<_> = (0..4).filter_map(|_| turn(&weights, &mut current, |index| index > 0)).collect();
        assert_eq!(turns.iter().filter(|index| **index == 1).count(), 2, "{turns:?}");
        assert_eq!(turn(&weights, &mut current, |_| false), None);
    }
}
