//! One place where a service listens, and each worker's ways to it.

use super::{http1::Http1, http2::Http2, pool::Pool};
use crate::{
    upstream::{RemoteEndpoint, RemoteTls, Shared, Target, Upstream},
    worker::WorkerLocal,
};
use prism_platform::Address;
use prism_tls::TlsError;
use std::{fmt, rc::Rc, sync::Arc};

/// What a service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; in clear with prior knowledge.
    Http2,
}

/// Where a service listens.
#[derive(Clone, Debug, PartialEq)]
pub enum ServicePlace {
    /// At an address that needs no look-up.
    Here(Address),
    /// At a host, secured or in clear.
    There(RemoteEndpoint, Option<RemoteTls>),
}

impl ServicePlace {
    pub(crate) fn target(&self) -> Result<Target, TlsError> {
        match self {
            Self::Here(address) => Ok(Target::here(address.clone())),
            Self::There(endpoint, tls) => Target::there(endpoint.clone(), tls.as_ref()),
        }
    }
}

/// What a service is made from. Two that are equal may share connections.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceSpec {
    /// Where it listens.
    pub place: ServicePlace,
    /// What it speaks.
    pub version: Version,
}

/// One place where a service listens. Whoever shares one `Arc` of it shares each worker's connections, so a reload hands
/// on the `Arc` of what did not change.
pub struct Service {
    spec: ServiceSpec,
    target: Arc<Target>,
    authority: String,
    shared: Arc<Shared>,
}

/// A worker's way to a service.
pub(super) enum Way {
    Http1(Rc<Pool<Http1>>),
    Http2(Rc<Upstream<Http2>>),
}

impl Service {
    /// # Errors
    /// Its host cannot be a server's name.
    pub fn new(spec: ServiceSpec) -> Result<Self, TlsError> {
        let target = spec.place.target()?;
        Ok(Self { authority: target.authority(), target: Arc::new(target), spec, shared: Arc::default() })
    }

    /// What it was made from.
    #[must_use]
    pub fn spec(&self) -> &ServiceSpec {
        &self.spec
    }

    pub(super) fn way(self: &Arc<Self>, worker: &WorkerLocal) -> Rc<Way> {
        worker.slot(self, || match self.spec.version {
            Version::Http1 => Way::Http1(Rc::new(Pool::new(worker, &self.target))),
            Version::Http2 => Way::Http2(Rc::new(Upstream::new(worker, &self.target, &self.shared))),
        })
    }

    /// What stands for its host.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// What it speaks.
    #[must_use]
    pub fn version(&self) -> Version {
        self.spec.version
    }

    /// Connections to it are encrypted.
    #[must_use]
    pub fn is_secured(&self) -> bool {
        matches!(self.spec.place, ServicePlace::There(_, Some(_)))
    }
}

impl Way {
    /// It cannot be connected to just now.
    pub(super) fn is_failing(&self) -> bool {
        match self {
            Self::Http1(pool) => pool.is_failing(),
            Self::Http2(upstream) => upstream.load().1,
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target.fmt(f)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service({}, {:?})", self.target, self.spec.version)
    }
}
