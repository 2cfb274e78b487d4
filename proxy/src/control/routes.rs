//! A listener's routes, as requests look them up.

use super::{
    Control,
    build::{BuildError, policy},
    services::Clusters,
};
use crate::{
    asked::OverHttp2,
    snapshot::{Chains, Conditions, Forward, ListenerState, Route, RouteTable},
};
use bytestring::ByteString;
use http::{HeaderName, HeaderValue};
use prism_config::{Listener, PathMatch, Secrets};
use prism_filters::BuildContext;
use std::{path::Path, sync::Arc};

/// Builds what a listener does with requests.
///
/// # Errors
/// A filter cannot be built, or a matcher is none.
pub(super) fn state(
    control: &Control,
    listener: &Listener,
    index: usize,
    secrets: &Secrets,
    base_dir: &Path,
    previous: Option<&Chains>,
    clusters: &Clusters,
) -> Result<ListenerState, BuildError> {
    let cx = BuildContext {
        platform: &control.platform,
        metrics: &control.metrics,
        base_dir,
        listener: &listener.name,
        changes: &control.changes,
        services: &OverHttp2,
    };
    let path = format!("listeners[{index}]");
    let mut chains = Chains::compile(listener, path.clone(), &control.filters, secrets, cx, previous)?;
    let mut table = RouteTable::default();
    for (number, route) in listener.routes.iter().enumerate() {
        let chain = chains.route(route, number)?;
        let conditions = conditions(&route.matcher, &format!("{path}.routes[{number}].match"))?;
        let paths = route.matcher.paths();
        let policy = policy(&route.access, None, || format!("{path}.routes[{number}]"))?;
        let forward = clusters.get(&(index, number)).map(|cluster| {
            Forward::new(
                cluster.clone(),
                route.plugin.as_deref(),
                paths.clone(),
                route.prefix_rewrite.clone(),
            )
            .guarded_by(policy)
        });
        let namespace = route.namespace.as_deref().map(ByteString::from);
        let built = Route::new(namespace, chain, conditions).forwarding(forward).numbered(number);
        add(&mut table, paths, built);
    }
    let chains = chains.finish();
    if listener.routes.is_empty() {
        // No routes: everything that is served at all.
        table.add_prefix("/", Route::new(None, chains.base_chain(), Conditions::default()));
    }
    Ok(ListenerState::new(listener.name.as_str().into(), table, chains))
}

/// A listener's routes without what they lead to: which of them a request would take.
///
/// # Errors
/// A matcher is none.
pub(crate) fn bare_routes(listener: &Listener) -> Result<RouteTable, BuildError> {
    let mut table = RouteTable::default();
    for (number, route) in listener.routes.iter().enumerate() {
        let conditions = conditions(&route.matcher, &format!("routes[{number}].match"))?;
        let built = Route::new(None, Arc::new([]), conditions).numbered(number);
        add(&mut table, route.matcher.paths(), built);
    }
    if listener.routes.is_empty() {
        table.add_prefix("/", Route::new(None, Arc::new([]), Conditions::default()));
    }
    Ok(table)
}

fn add(table: &mut RouteTable, paths: PathMatch, route: Route) {
    match paths {
        PathMatch::Exact(path) => table.add_exact(&path, route),
        PathMatch::Prefix(prefix) => table.add_prefix(&prefix, route),
    }
}

fn conditions(matcher: &prism_config::Match, path: &str) -> Result<Conditions, BuildError> {
    let mut headers = Vec::with_capacity(matcher.headers.len());
    for (name, value) in &matcher.headers {
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(value)) => headers.push((name, value)),
            _ => {
                return Err(BuildError::Header {
                    path: format!("{path}.headers"),
                    name: name.clone(),
                    value: value.clone(),
                });
            }
        }
    }
    Ok(Conditions { host: matcher.host.as_deref().map(Into::into), grpc: matcher.grpc.is_some(), headers })
}
