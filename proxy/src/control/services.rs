//! The services that forward routes go to, with their connections carried over where nothing about them changed.

use super::{Control, build::BuildError, transport};
use prism_config::{Config, ForwardTarget, HttpProtocol, PluginSource, PluginTls, Route, TargetAddress};
use prism_platform::Address;
use prism_plugin_host::{Cluster, RemoteEndpoint, Service, ServicePlace, ServiceSpec, Version};
use prism_tls::TlsError;
use std::{collections::HashMap, sync::Arc};

/// The cluster of each forward route, by the listener's place and the route's.
pub(super) type Clusters = HashMap<(usize, usize), Arc<Cluster>>;

/// One place that a route goes to, as it is written, and its share.
struct Wanted<'a> {
    place: Place<'a>,
    version: Version,
    weight: u32,
}

enum Place<'a> {
    Here(Address),
    There(&'a prism_config::HostPort, Option<&'a PluginTls>),
}

/// Where a forward route goes.
fn wanted<'a>(config: &'a Config, route: &'a Route) -> Vec<Wanted<'a>> {
    let target = |target: &'a ForwardTarget| Wanted {
        place: match &target.address {
            TargetAddress::Unix(path) => Place::Here(Address::Unix(path.clone())),
            TargetAddress::Host(at) => Place::There(at, target.tls.as_ref()),
        },
        version: match target.protocol {
            HttpProtocol::Http1 => Version::Http1,
            HttpProtocol::Http2 => Version::Http2,
        },
        weight: target.weight,
    };
    let plugin = |place| Wanted { place, version: Version::Http2, weight: 1 };
    match route.plugin.as_deref().and_then(|name| config.plugin(name)).map(|plugin| &plugin.source) {
        Some(PluginSource::Sidecar { socket }) => vec![plugin(Place::Here(Address::Unix(socket.clone())))],
        Some(PluginSource::Remote { endpoints, tls }) => {
            endpoints.iter().map(|at| plugin(Place::There(at, tls.as_ref()))).collect()
        }
        // Another was refused before.
        Some(PluginSource::Builtin { .. } | PluginSource::InProcess { .. }) => Vec::new(),
        None => route.targets.iter().map(target).collect(),
    }
}

/// Every forward route of a configuration, with its place.
fn routes(config: &Config) -> impl Iterator<Item = ((usize, usize), &Route)> {
    config.listeners.iter().enumerate().flat_map(|(listener, it)| {
        let routes = it.routes.iter().enumerate().filter(|(_, route)| route.forward);
        routes.map(move |(route, it)| ((listener, route), it))
    })
}

fn path((listener, route): (usize, usize)) -> String {
    format!("listeners[{listener}].routes[{route}]")
}

fn error(at: (usize, usize), source: TlsError) -> BuildError {
    BuildError::Service { path: path(at), source: Box::new(source) }
}

/// The clusters of all forward routes, and the services in them.
///
/// # Errors
/// Files for TLS cannot be used.
pub(super) async fn clusters(
    control: &Control,
    config: &Config,
) -> Result<(Clusters, Vec<Arc<Service>>), BuildError> {
    let mut services: Vec<Arc<Service>> = Vec::new();
    let mut clusters = Clusters::new();
    for (at, route) in routes(config) {
        let mut members = Vec::new();
        for wanted in wanted(config, route) {
            let place = match wanted.place {
                Place::Here(address) => ServicePlace::Here(address),
                Place::There(host, tls) => {
                    let tls = match tls {
                        Some(tls) => Some(transport::secured(tls).await.map_err(|source| error(at, source))?),
                        None => None,
                    };
                    ServicePlace::There(RemoteEndpoint { host: host.host.clone(), port: host.port }, tls)
                }
            };
            let spec = ServiceSpec { place, version: wanted.version };
            let known = services.iter().chain(&control.running.services);
            let service = match known.into_iter().find(|service| *service.spec() == spec) {
                Some(same) => Arc::clone(same),
                None => Arc::new(Service::new(spec).map_err(|source| error(at, source))?),
            };
            if !services.iter().any(|known| Arc::ptr_eq(known, &service)) {
                services.push(Arc::clone(&service));
            }
            members.push((service, wanted.weight));
        }
        clusters.insert(at, Arc::new(Cluster::new(members)));
    }
    Ok((clusters, services))
}

/// Reads the files of every target of a configuration that will not run here, and answers what is wrong with its place: for
/// `prism-edge check`. Blocks.
pub(super) fn check(config: &Config) -> Vec<(String, TlsError)> {
    let mut errors = Vec::new();
    for (at, route) in routes(config) {
        for (index, target) in route.targets.iter().enumerate() {
            let (TargetAddress::Host(host), Some(tls)) = (&target.address, &target.tls) else { continue };
            let checked = transport::check_tls(&[host], tls);
            errors.extend(checked.err().map(|error| (format!("{}.targets[{index}].tls", path(at)), error)));
        }
    }
    errors
}
