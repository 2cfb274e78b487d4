//! What the metrics say of plugin instances.

use crate::snapshot::Namespace;
use prism_filters::metrics::{PluginCounts, PluginReport, RemoteReport};
use prism_plugin_host::{Backend, Counted, Transport};
use std::sync::Arc;

/// A namespace's plugin instance as it is now.
pub(super) struct Observed<'a> {
    namespace: &'a Namespace,
    up: bool,
    failed_polls: u64,
    long_polls: Option<u64>,
    remote: Option<RemoteReport>,
    counted: Option<Arc<Counted>>,
}

impl<'a> Observed<'a> {
    pub(super) fn new(namespace: &'a Namespace) -> Self {
        let active = namespace.slot().active();
        Self {
            namespace,
            up: active.as_ref().is_some_and(|backend| backend.is_ready()),
            failed_polls: active.as_ref().map_or(0, |backend| backend.failed_polls()),
            long_polls: active.as_ref().and_then(|backend| backend.spec().plugin.long_polls()),
            remote: active.as_ref().and_then(|backend| remote(backend)),
            counted: active.and_then(|backend| backend.counted()),
        }
    }

    pub(super) fn report(&self) -> PluginReport<'_> {
        PluginReport {
            namespace: self.namespace.name(),
            plugin: self.namespace.plugin(),
            up: self.up,
            failed_polls: self.failed_polls,
            long_polls: self.long_polls,
            remote: self.remote,
            counts: self.counted.as_ref().map(|counted| PluginCounts {
                metrics: &counted.metrics,
                cache_hit_ratio: counted.cache_hit_ratio,
                left_out: counted.left_out,
            }),
        }
    }
}

fn remote(backend: &Backend) -> Option<RemoteReport> {
    let plugin = &backend.spec().plugin;
    let Transport::Remote(_) = plugin.transport() else { return None };
    let endpoints = backend.endpoints();
    let serving = endpoints.iter().filter(|at| at.state.serves()).count();
    Some(RemoteReport {
        endpoints: endpoints.len() as u64,
        serving: serving as u64,
        failed_renewals: plugin.tls().map_or(0, |tls| tls.failures()),
    })
}
