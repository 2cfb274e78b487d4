//! What is known about one request besides its bytes.

use crate::{
    Body, Caller, Reason, Rejection,
    authz::{Approval, Grant, Guarded, Wanted},
    body::{BodyError, MessageLimits, Messages, Parameters},
    call::Watch,
    clock::{Clock, Moment},
    metrics::CallMetrics,
};
use bytestring::ByteString;
use http::Request;
use prism_platform::{Platform, time::Instant};
use prism_proto::envelope::TypedRequest;
use prism_tls::ClientIdentity;
use std::{any::Any, cell::OnceCell, future::poll_fn, net::SocketAddr, rc::Rc, sync::Arc, task::Poll};

/// How the answer, and above all a refusal, must look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC: the outcome is in trailers.
    Grpc,
    /// Plain HTTP: the outcome is the status.
    Http,
}

/// Which of the two data methods a gRPC call uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rpc {
    /// One message each way.
    Unary,
    /// Streams.
    Streaming,
}

/// What the edge knows when a request arrives.
#[derive(Clone, Debug)]
pub struct RequestStart {
    /// When its head had arrived.
    pub at: Instant,
    /// How to answer.
    pub protocol: Protocol,
    /// The peer's address, where it has one.
    pub peer: Option<SocketAddr>,
    /// Whom the connection's handshake has verified; `None` in clear, and for a client that showed no certificate.
    pub client: Option<Arc<ClientIdentity>>,
    /// The listener's name.
    pub listener: Arc<str>,
    /// The version of the configuration that this request is served by, from beginning to end.
    pub config_version: u64,
    /// The namespace that it is for; empty where none was named.
    pub namespace: ByteString,
    /// For calls whose messages are known: how they are checked.
    pub messages: Option<MessageLimits>,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// What is counted of the namespace's calls; `None` for one that does not exist.
    pub metrics: Option<Arc<CallMetrics>>,
    /// What it wants.
    pub wanted: Wanted,
    /// The namespace's rules; `None` where there are none, or no such namespace.
    pub guarded: Option<Arc<dyn Guarded>>,
    /// What the worker that serves it keeps: filters that ask a service hand it on. `None` where there is no worker.
    pub worker: Option<Rc<dyn Any>>,
}

impl RequestStart {
    /// A request for `namespace` that arrives now at a listener `edge`, and of which nothing else is known: what
    /// a filter's test begins with.
    #[must_use]
    pub fn new(protocol: Protocol, namespace: impl Into<ByteString>) -> Self {
        Self {
            at: Instant::now(),
            protocol,
            peer: None,
            client: None,
            listener: "edge".into(),
            config_version: 1,
            namespace: namespace.into(),
            messages: None,
            deadline: None,
            metrics: None,
            wanted: Wanted::Operation,
            guarded: None,
            worker: None,
        }
    }
}

/// One request, as the filters see it. It lives as long as the request's head is being worked on; what a
/// response body needs of it is copied there.
#[derive(Debug)]
pub struct RequestContext {
    start: RequestStart,
    operation: OnceCell<ByteString>,
    request_id: OnceCell<ByteString>,
    traceparent: OnceCell<ByteString>,
    caller: OnceCell<Caller>,
    plugin: OnceCell<ByteString>,
    grant: OnceCell<Grant>,
    approval: OnceCell<Approval>,
    note: OnceCell<ByteString>,
    clock: Clock,
    watch: Watch,
}

static NO_TEXT: ByteString = ByteString::from_static("");

impl RequestContext {
    /// The context of a request that just arrived.
    #[must_use]
    pub fn new(start: RequestStart) -> Self {
        Self {
            start,
            operation: OnceCell::new(),
            request_id: OnceCell::new(),
            traceparent: OnceCell::new(),
            caller: OnceCell::new(),
            plugin: OnceCell::new(),
            grant: OnceCell::new(),
            approval: OnceCell::new(),
            note: OnceCell::new(),
            clock: Clock::default(),
            watch: Watch::default(),
        }
    }

    /// When its head had arrived.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.start.at
    }

    /// Its head has arrived just now: it is [`RequestContext::now`] until the chain waits for something.
    pub fn arrived_now(&self) {
        self.clock.arrived(self.start.at);
    }

    /// The time. It stands still for as long as the chain runs without waiting for anything: what is decided by it is late by the
    /// microseconds that this takes.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The same with the time of day.
    pub(crate) fn moment(&self, platform: &Platform) -> Moment {
        self.clock.moment(platform)
    }

    /// How the request reads the clocks.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Who watches what becomes of it.
    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// How to answer.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.start.protocol
    }

    /// The peer's address, where it has one.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.start.peer
    }

    /// Whom the connection's handshake has verified; `None` in clear, and for a client that showed no certificate.
    #[must_use]
    pub fn client(&self) -> Option<&Arc<ClientIdentity>> {
        self.start.client.as_ref()
    }

    /// The listener's name.
    #[must_use]
    pub fn listener(&self) -> &Arc<str> {
        &self.start.listener
    }

    /// The version of the configuration that serves this request.
    #[must_use]
    pub fn config_version(&self) -> u64 {
        self.start.config_version
    }

    /// The namespace; empty where none was named. Not necessarily one that exists.
    #[must_use]
    pub fn namespace(&self) -> &ByteString {
        &self.start.namespace
    }

    /// What is counted of the namespace's calls; `None` for one that does not exist.
    #[must_use]
    pub fn metrics(&self) -> Option<&Arc<CallMetrics>> {
        self.start.metrics.as_ref()
    }

    /// When the caller stops waiting.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.start.deadline
    }

    /// The request's id; empty until `trace` assigned one.
    #[must_use]
    pub fn request_id(&self) -> &ByteString {
        self.request_id.get().unwrap_or(&NO_TEXT)
    }

    /// The W3C `traceparent` that the plugin continues; empty until `trace` set it.
    #[must_use]
    pub fn traceparent(&self) -> &ByteString {
        self.traceparent.get().unwrap_or(&NO_TEXT)
    }

    /// Sets the request's id and trace, once; a second call changes nothing.
    pub fn set_trace(&self, request_id: ByteString, traceparent: ByteString) {
        let _ = self.request_id.set(request_id);
        let _ = self.traceparent.set(traceparent);
    }

    /// Who calls, once authentication has found out.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller> {
        self.caller.get()
    }

    /// What the caller is called.
    #[must_use]
    pub fn principal(&self) -> Option<&ByteString> {
        self.caller.get().map(Caller::principal)
    }

    /// States who calls, once: what the first filter to find out has said stays.
    pub fn set_caller(&self, caller: Caller) {
        let _ = self.caller.set(caller);
    }

    /// What it wants.
    #[must_use]
    pub fn wanted(&self) -> &Wanted {
        &self.start.wanted
    }

    /// The namespace's rules; `None` where there are none, or no such namespace.
    #[must_use]
    pub fn guarded(&self) -> Option<&dyn Guarded> {
        self.start.guarded.as_deref()
    }

    /// What was granted; `None` where nobody was asked.
    #[must_use]
    pub fn grant(&self) -> Option<Grant> {
        self.grant.get().copied()
    }

    /// States what is granted, once: the end of the chain does that and nothing else.
    pub fn set_grant(&self, grant: Grant) {
        let _ = self.grant.set(grant);
    }

    /// Which authorizer has approved it, where one was asked.
    #[must_use]
    pub fn approval(&self) -> Option<Approval> {
        self.approval.get().copied()
    }

    /// States it, once.
    pub fn set_approval(&self, approval: Approval) {
        let _ = self.approval.set(approval);
    }

    /// What the worker that serves it keeps.
    #[must_use]
    pub fn worker(&self) -> Option<&dyn Any> {
        self.start.worker.as_deref()
    }

    /// What the access log tells the operator of this request, also where it is not refused.
    #[must_use]
    pub fn note(&self) -> Option<&ByteString> {
        self.note.get()
    }

    /// States it, once. No secrets.
    pub fn set_note(&self, note: ByteString) {
        let _ = self.note.set(note);
    }

    /// The operation, if something has read it already.
    #[must_use]
    pub fn known_operation(&self) -> Option<&ByteString> {
        self.operation.get()
    }

    /// States the operation of a call that names it outside its body.
    pub fn set_operation(&self, operation: ByteString) {
        let _ = self.operation.set(operation);
    }

    /// The plugin that answers, once it is known.
    #[must_use]
    pub fn plugin(&self) -> Option<&ByteString> {
        self.plugin.get()
    }

    /// States which plugin answers.
    pub fn set_plugin(&self, plugin: ByteString) {
        let _ = self.plugin.set(plugin);
    }

    /// The operation. It stands in the body of a gRPC call, so this waits for the body's first bytes; they
    /// are scanned once, and the rest is checked as it streams by. Filters that do not need the operation
    /// never wait for a body.
    ///
    /// Cancel-safe only in the sense that the request is over when it is cancelled: the body's first bytes
    /// go with the future.
    ///
    /// # Errors
    /// The body names none, hides it, or is malformed; or the call has no operation (a path that is no data
    /// method): [`Reason::NoRoute`].
    pub async fn operation(&self, request: &mut Request<Body>) -> Result<&ByteString, Rejection> {
        if let Some(operation) = self.operation.get() {
            return Ok(operation);
        }
        let Some(limits) = self.start.messages else {
            return Err(Rejection::new(Reason::NoRoute, "this path names no operation"));
        };
        let mut messages = Messages::new(std::mem::take(request.body_mut()), limits);
        let operation = poll_fn(|cx| messages.poll_operation(cx)).await?;
        *request.body_mut() = messages.into_body();
        Ok(self.operation.get_or_init(|| operation))
    }

    /// The messages of a call that are an operation's parameters. They are checked against the same limits as any
    /// others. Those that are still arriving become requests as they stream by, each behind a `head`.
    ///
    /// # Errors
    /// What is here breaks a rule; or the call has no messages ([`Reason::NoRoute`]).
    pub async fn parameters(
        &self,
        request: &mut Request<Body>,
        head: &Arc<TypedRequest>,
    ) -> Result<Parameters, Rejection> {
        let Some(limits) = self.start.messages else {
            return Err(Rejection::new(Reason::NoRoute, "this path names no operation"));
        };
        let mut body = std::mem::take(request.body_mut());
        let taken =
            poll_fn(|cx| Poll::Ready(Messages::parameters(std::mem::take(&mut body), limits, head, cx)));
        Ok(taken.await?)
    }
}

impl From<BodyError> for Rejection {
    /// A broken body, as a refusal.
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Rejected(rejection) => rejection,
            other => Self::new(Reason::ClientGone, format!("the request's body broke off: {other}")),
        }
    }
}
