//! Services that filters ask, over the HTTP/2 connections that forward routes use.

use crate::control::secured_now;
use prism_config::TargetAddress;
use prism_filters::{AskError, AskFuture, BuildError, GrpcService, GrpcServices, ServicePlace};
use prism_platform::Address;
use prism_plugin_host::{
    Cluster, ForwardError, RemoteEndpoint, Service, ServiceSpec, UnaryCall, Version, WorkerLocal,
};
use std::{any::Any, sync::Arc, time::Duration};

/// Opens them.
pub(crate) struct OverHttp2;

struct Asked {
    cluster: Arc<Cluster>,
    /// As reasons begin with it.
    address: String,
}

impl GrpcServices for OverHttp2 {
    fn open(&self, place: &ServicePlace) -> Result<Arc<dyn GrpcService>, BuildError> {
        let failed = |error: prism_tls::TlsError| {
            BuildError::new(format!("{}: tls: {error}", place.address)).caused_by(error)
        };
        let at = match &place.address {
            TargetAddress::Unix(path) => prism_plugin_host::ServicePlace::Here(Address::Unix(path.clone())),
            TargetAddress::Host(host) => {
                let tls = place.tls.as_ref().map(secured_now).transpose().map_err(failed)?;
                let endpoint = RemoteEndpoint { host: host.host.clone(), port: host.port };
                prism_plugin_host::ServicePlace::There(endpoint, tls)
            }
        };
        let service = Service::new(ServiceSpec { place: at, version: Version::Http2 }).map_err(failed)?;
        let address = service.to_string();
        Ok(Arc::new(Asked { cluster: Arc::new(Cluster::new([(Arc::new(service), 1)])), address }))
    }
}

impl GrpcService for Asked {
    fn ask<'a>(
        &'a self,
        worker: &'a dyn Any,
        path: &'static str,
        message: bytes::Bytes,
        timeout: Duration,
        most: usize,
    ) -> AskFuture<'a> {
        Box::pin(async move {
            let worker = worker
                .downcast_ref::<WorkerLocal>()
                .ok_or_else(|| AskError("the request has no worker".to_owned()))?;
            let call = UnaryCall { path, timeout, most };
            call.send(&self.cluster, worker, message).await.map_err(|error| self.why(error))
        })
    }
}

impl Asked {
    /// The host speaks of plugins, which this is none of, and whoever asks knows the address.
    fn why(&self, error: ForwardError) -> AskError {
        let why = match error {
            ForwardError::Unavailable(why) => why,
            ForwardError::Overloaded(why) => format!("too many questions wait: {why}"),
            ForwardError::Protocol(why) => format!("it broke the protocol: {why}"),
            other => other.to_string(),
        };
        AskError(match why.strip_prefix(&self.address).and_then(|rest| rest.strip_prefix(": ")) {
            Some(rest) => rest.to_owned(),
            None => why,
        })
    }
}
