//! Services that filters ask, over gRPC. How they are reached is the proxy's business: it opens them when a filter is
//! built, and brings the connections of its worker along with each request.

use crate::BuildError;
use bytes::Bytes;
use prism_config::{PluginTls, TargetAddress};
use std::{any::Any, future::Future, pin::Pin, sync::Arc, time::Duration};

/// Where a service listens. Its paths are absolute.
#[derive(Clone, Debug, PartialEq)]
pub struct ServicePlace {
    /// The address.
    pub address: TargetAddress,
    /// How connections are secured; `None`: not at all.
    pub tls: Option<PluginTls>,
}

/// A question and its answer under way. Dropping it cancels the call.
pub type AskFuture<'a> = Pin<Box<dyn Future<Output = Result<Bytes, AskError>> + 'a>>;

/// Why there is no answer: for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AskError(pub String);

/// A service. Its connections are kept from one request to the next.
pub trait GrpcService: Send + Sync {
    /// Makes a call of one message each way, which must do no harm when it is done twice. Answers with the message.
    ///
    /// `worker` is the request's ([`crate::RequestContext::worker`]); `path` is `/package.Service/Method`; `timeout` is for
    /// all of it; an answer above `most` bytes is none.
    fn ask<'a>(
        &'a self,
        worker: &'a dyn Any,
        path: &'static str,
        message: Bytes,
        timeout: Duration,
        most: usize,
    ) -> AskFuture<'a>;
}

/// Opens services.
pub trait GrpcServices {
    /// The service at a place. It is connected to when it is first asked. Blocks for reading files.
    ///
    /// # Errors
    /// Files for TLS cannot be used.
    fn open(&self, place: &ServicePlace) -> Result<Arc<dyn GrpcService>, BuildError>;
}

/// Where there is no proxy around a filter.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoServices;

impl GrpcServices for NoServices {
    fn open(&self, place: &ServicePlace) -> Result<Arc<dyn GrpcService>, BuildError> {
        Err(BuildError::new(format!("{}: there is no proxy here that could ask it", place.address)))
    }
}
