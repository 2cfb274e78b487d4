//! What a filter is.

use crate::{Body, Changes, Decorators, GrpcServices, Held, Rejection, RequestContext, metrics::Metrics};
use http::{Request, Response};
use prism_config::{Phase, SettingProblem};
use prism_platform::Platform;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use std::{
    any::Any,
    future::Future,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// A filter's answer under way. Dropping it cancels the request.
pub type FilterFuture<'a> = Pin<Box<dyn Future<Output = Result<Response<Body>, Rejection>> + 'a>>;

/// A request filter. One value serves every request of a snapshot on every worker, so it is called by
/// `&self` and is always ready: what must be waited for (a permit) is waited for inside the call.
pub trait Filter: Any + Send + Sync {
    /// Handles one request: refuses it, or passes it to `next` and, if it likes, changes what comes back.
    /// A permit that must last as long as the answer is attached to the response body
    /// ([`Body::observed`]).
    ///
    /// The request stays where it is, as Envoy's filters have it: a chain of any length moves none of it. Whoever
    /// answers takes out of it what it needs, so its body is empty after the call.
    fn call<'a>(
        &'a self,
        cx: &'a RequestContext,
        request: &'a mut Request<Body>,
        next: Next<'a>,
    ) -> FilterFuture<'a>;

    /// A request for this filter's chain is here. Called for every filter of the chain before anything of the request is
    /// read and any filter runs: what is done here holds whatever the filter's place in the chain, and whoever answers. A
    /// filter that makes another protocol's calls into gRPC does so now; one that adds something to every answer, refusals
    /// by others included, says so now.
    ///
    /// It refuses nothing, and waits for nothing: that is what `call` is for. Nobody is authenticated yet.
    fn arrive<'a>(&'a self, request: &mut Request<Body>, answer: &mut Decorators<'a>) {
        let _ = (request, answer);
    }

    /// Whether a call that is under way would still be let in. Asked of the filters that a call like it has now, when the
    /// configuration or something that filters go by ([`Changes`]) has changed, and when one of its caller's credentials
    /// ends. It waits for nothing.
    ///
    /// # Errors
    /// It would not; the call is ended with this.
    fn recheck(&self, held: &Held<'_>) -> Result<(), Rejection> {
        let _ = held;
        Ok(())
    }
}

/// How a filter is named, configured and built. Kept apart from [`Filter`] because a chain holds filters
/// of many types.
pub trait FilterType: Filter + Sized {
    /// Its name in configuration.
    const NAME: &'static str;
    /// Where in a chain it may stand.
    const PHASE: Phase;
    /// Its settings. Must refuse unknown fields (`#[serde(deny_unknown_fields)]`).
    type Settings: DeserializeOwned + JsonSchema;

    /// What is wrong with settings that fit the schema: what only several keys together show, and texts with a form of
    /// their own. A configuration with any is refused, by `prism-edge check` too.
    fn check(settings: &Self::Settings) -> Vec<SettingProblem> {
        let _ = settings;
        Vec::new()
    }

    /// Builds it. `previous` is the filter of the same name in the running snapshot, whose settings were
    /// other than these: state worth keeping is taken from it.
    ///
    /// # Errors
    /// The settings cannot be honoured (a file that cannot be read). The running snapshot then stays.
    fn build(
        settings: Self::Settings,
        cx: &BuildContext<'_>,
        previous: Option<&Self>,
    ) -> Result<Self, BuildError>;
}

/// What a filter is built with.
pub struct BuildContext<'a> {
    /// Sockets, clock and chance.
    pub platform: &'a Platform,
    /// Where it registers what it counts.
    pub metrics: &'a Arc<Metrics>,
    /// The configuration file's folder: relative paths start there.
    pub base_dir: &'a Path,
    /// The listener that it belongs to.
    pub listener: &'a str,
    /// Where a filter says that something it goes by has changed.
    pub changes: &'a Changes,
    /// Where it gets services to ask.
    pub services: &'a dyn GrpcServices,
}

/// Why a filter could not be built.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct BuildError {
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl BuildError {
    /// With a message that says what to change.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// With what caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

/// Where a chain ends. `plugin_dispatch` is one; tests bring their own.
pub trait Terminal {
    /// Answers the request.
    fn call<'a>(&'a self, cx: &'a RequestContext, request: &'a mut Request<Body>) -> FilterFuture<'a>;
}

/// The rest of the chain.
#[derive(Clone, Copy)]
pub struct Next<'a> {
    filters: &'a [Arc<dyn Filter>],
    terminal: &'a dyn Terminal,
}

impl<'a> Next<'a> {
    /// How many filters are in it.
    pub(crate) fn filters(&self) -> usize {
        self.filters.len()
    }

    /// Passes the request on.
    pub fn call(mut self, cx: &'a RequestContext, request: &'a mut Request<Body>) -> FilterFuture<'a> {
        match self.filters.split_first() {
            Some((filter, rest)) => {
                self.filters = rest;
                filter.call(cx, request, self)
            }
            None => self.terminal.call(cx, request),
        }
    }
}

/// Tells a chain's filters of a request that is here ([`Filter::arrive`]). Answers what they will do to its answer.
pub fn arrive<'a>(filters: &'a [Arc<dyn Filter>], request: &mut Request<Body>) -> Decorators<'a> {
    let mut decorators = Decorators::default();
    for filter in filters {
        filter.arrive(request, &mut decorators);
    }
    decorators
}

/// Runs a chain: the filters in their order, then the terminal.
pub fn run<'a>(
    filters: &'a [Arc<dyn Filter>],
    terminal: &'a dyn Terminal,
    cx: &'a RequestContext,
    request: &'a mut Request<Body>,
) -> Run<'a> {
    Run { cx, begin: Some((Next { filters, terminal }, request)), running: None }
}

/// A chain that runs. Dropping it cancels the request.
pub struct Run<'a> {
    cx: &'a RequestContext,
    begin: Option<(Next<'a>, &'a mut Request<Body>)>,
    running: Option<FilterFuture<'a>>,
}

impl Future for Run<'_> {
    type Output = Result<Response<Body>, Rejection>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let cx = this.cx;
        cx.clock().resume();
        if let Some((next, request)) = this.begin.take() {
            this.running = Some(next.call(cx, request));
        }
        let polled = this.running.as_mut().map_or(Poll::Pending, |running| running.as_mut().poll(task));
        cx.clock().pause();
        polled
    }
}
