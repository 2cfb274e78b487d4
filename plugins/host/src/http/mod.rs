//! Any HTTP service behind a forward route: requests go out as they came, over HTTP/2 or HTTP/1.1.
//!
//! Nothing is initialized and nobody watches: a service is there when it can be connected to.

mod cluster;
mod framing;
mod heard;
mod http1;
mod http2;
mod pool;
mod service;

#[cfg(test)]
mod tests;

pub use cluster::{Cluster, Reply, ReplyBody};
pub use service::{Service, ServicePlace, ServiceSpec, Version};

use crate::channel::ForwardError;
use http::Request;

/// The head of a request, made for each attempt: what an attempt has sent is gone, and time runs.
pub trait Outgoing {
    /// The head for a service: over HTTP/2 with an absolute URI, over HTTP/1.1 with an origin-form one and a Host field. The
    /// service's authority stands where the request names no host of its own.
    ///
    /// # Errors
    /// The request cannot be sent this way, or its deadline has passed.
    fn head(&self, service: &Service) -> Result<Request<()>, ForwardError>;

    /// Doing it twice does no harm (RFC 9110 section 9.2.2): it may be sent once more on another connection when the one
    /// it was sent on ends without an answer.
    fn is_idempotent(&self) -> bool;

    /// How many bytes its body has, where the client said so.
    fn content_length(&self) -> Option<u64>;
}
