//! `plugin_dispatch`, the end of every chain: it answers what is wrong with the request, and hands the rest
//! to the namespace's plugin, or to the service of a forward route.

mod call;
mod checks;
mod forward;
mod gateway;
mod json;
mod outcome;
mod prefix;
mod reply;
mod typed;
mod within;

use crate::{
    edge::Edge,
    head::{Head, Target, require_grpc},
    rights::Basis,
    snapshot::{Forward, Namespace, Route},
};
use bytestring::ByteString;
use checks::{
    away, broke_off, check_asked, check_operation, nothing_here, refusal, replaced, unknown_namespace,
    unknown_operation,
};
use http::{Request, Response};
use prism_filters::{Body, FilterFuture, Reason, Rejection, RequestContext, Rpc, Terminal, body::Parameters};
use prism_plugin_abi::{CallContext, InstanceId};
use prism_plugin_envelope::behind;
use prism_plugin_host::{DeclaredMethod, InFlight, State, Status, Types, WireBody};
use std::{future::Future, ops::Deref, rc::Rc, sync::Arc};
use within::{Terms, Within, within};

/// Settings of `plugin_dispatch`: none yet.
#[derive(schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {}

/// How configuration knows it.
pub(crate) fn schema() -> prism_config::FilterSchema {
    prism_config::FilterSchema {
        name: "plugin_dispatch",
        phase: prism_config::Phase::Terminal,
        schema: schemars::schema_for!(Settings).to_value(),
        check: |_| Vec::new(),
    }
}

/// The terminal of one request.
pub(crate) struct Dispatch<'a> {
    edge: &'a Rc<Edge>,
    basis: Basis,
    namespace: Option<&'a Arc<Namespace>>,
    route: Option<&'a Route>,
    head: &'a Head,
    /// Of a typed call, as the request's chain was told.
    method: Option<DeclaredMethod>,
}

impl<'a> Dispatch<'a> {
    pub(crate) fn new(
        edge: &'a Rc<Edge>,
        basis: Basis,
        namespace: Option<&'a Arc<Namespace>>,
        route: Option<&'a Route>,
        head: &'a Head,
        method: Option<DeclaredMethod>,
    ) -> Self {
        Self { edge, basis, namespace, route, head, method }
    }

    /// By reference, and the rare ways boxed: what an `async fn` takes by value, its future holds twice, and this
    /// future is allocated and moved for every request.
    async fn dispatch(
        &self,
        cx: &RequestContext,
        request: &mut Request<Body>,
    ) -> Result<Response<Body>, Rejection> {
        if let Some(refusal) = &self.head.refusal {
            return Err(refusal.clone());
        }
        match self.head.target {
            // A listener's own services need no route: whoever asks how it is must not depend on one.
            Target::Local => {
                if !cx.namespace().is_empty() && self.namespace.is_none() {
                    return Err(unknown_namespace(cx));
                }
                if let Some(namespace) = self.namespace {
                    check_asked(cx, namespace.policy().is_some())?;
                }
                let (namespace, stall_timeout) = (self.namespace, self.edge.limits().stall_timeout);
                let request = std::mem::take(request);
                let local = self.edge.local().call(request, namespace.map(|found| &**found), stall_timeout);
                Box::pin(self.within(cx, local)).await
            }
            _ if self.route.is_none() => Err(nothing_here()),
            Target::Nothing => Err(self.nothing(request)),
            Target::Forward => match self.route.and_then(Route::forward) {
                Some(route) => {
                    check_asked(cx, route.policy().is_some())?;
                    Box::pin(self.within(cx, self.forward(cx, route, request))).await
                }
                None => Err(nothing_here()),
            },
            Target::Data(rpc) => self.within(cx, self.data(cx, rpc, request)).await,
            Target::Typed => self.within(cx, self.typed(cx, request)).await,
            Target::Gateway => Box::pin(self.gateway(cx, std::mem::take(request))).await,
            Target::Description { openapi } => self.describe(cx, openapi),
        }
    }

    /// Why a path that nothing answers has no answer: it is a method, and the call was not gRPC; or there is nothing.
    fn nothing(&self, request: &Request<Body>) -> Rejection {
        let path = request.uri().path();
        let is_method = path.strip_prefix('/').is_some_and(|name| prism_proto::method(name).is_some())
            // What a namespace with rules has, nobody is told who was not asked.
            || self.namespace.is_some_and(|namespace| {
                namespace.policy().is_none() && namespace.slot().method(path).is_some()
            });
        let refused = is_method.then(|| require_grpc(self.head.protocol, request, false).err()).flatten();
        refused.unwrap_or_else(nothing_here)
    }

    fn within<'c, F>(&'c self, cx: &'c RequestContext, call: F) -> Within<'c, F>
    where
        F: Future<Output = Result<Response<Body>, Rejection>>,
    {
        within(cx, Some(self.terms()), call)
    }

    fn terms(&self) -> Terms<'_> {
        Terms { edge: self.edge, place: self.route.map(Route::place), basis: self.basis }
    }

    async fn forward(
        &self,
        cx: &RequestContext,
        route: &Forward,
        request: &mut Request<Body>,
    ) -> Result<Response<Body>, Rejection> {
        let to = forward::Passage {
            worker: self.edge.worker(),
            route,
            limits: self.edge.limits(),
            secured: self.edge.is_secured(),
        };
        forward::pass(cx, &to, request).await
    }

    async fn data(
        &self,
        cx: &RequestContext,
        rpc: Rpc,
        request: &mut Request<Body>,
    ) -> Result<Response<Body>, Rejection> {
        let (namespace, backend, checked) = {
            let (namespace, backend, status) = self.enter(cx)?;
            let check = |operation| check_operation(namespace, &status, operation, rpc, cx.grant());
            let checked = cx.known_operation().map(check).transpose()?;
            (namespace, backend, checked)
        };
        let idempotent = match checked {
            Some(idempotent) => idempotent,
            None => {
                let operation = cx.operation(request).await?;
                check_operation(namespace, &backend.load_status(), operation, rpc, cx.grant())?
            }
        };
        let call = self.begin(cx, (namespace, backend), idempotent, rpc);
        call.grpc(call::wire(std::mem::take(request.body_mut()), || self.terms().gate(cx))).await
    }

    async fn typed(
        &self,
        cx: &RequestContext,
        request: &mut Request<Body>,
    ) -> Result<Response<Body>, Rejection> {
        let path = request.uri().path();
        // Without a namespace nobody knows whose it would be, but for a method that everybody knows.
        if cx.namespace().is_empty() && prism_proto::method(path.trim_start_matches('/')).is_none() {
            return Err(nothing_here());
        }
        let (call, method) = {
            let (namespace, backend, status) = self.enter(cx)?;
            let table = status.operations.as_ref();
            let Some(method) = &self.method else {
                return Err(match table.and_then(|table| table.method(path)) {
                    // It came up after the chain had looked.
                    Some(_) => replaced(namespace.plugin()),
                    None => Rejection::new(
                        Reason::UnknownOperation,
                        format!(
                            "plugin `{}` has no method `{path}`: `GET /v1/{}` lists what it has",
                            namespace.plugin(),
                            namespace.name()
                        ),
                    )
                    .about_plugin(namespace.plugin()),
                });
            };
            // What the chain allowed, and nothing else: the instance may have been replaced since.
            if table.is_none_or(|table| !method.is_in(table, path)) {
                return Err(replaced(namespace.plugin()));
            }
            let rpc = if method.streaming() { Rpc::Streaming } else { Rpc::Unary };
            let idempotent = check_operation(namespace, &status, &method.operation, rpc, cx.grant())?;
            (self.begin(cx, (namespace, backend), idempotent, rpc), method)
        };
        let result_url = &method.result_url;
        let message = match cx.parameters(request, &method.heads).await? {
            Parameters::Whole(message) => message,
            Parameters::Requests(body) => {
                let body = call::wire(body, || self.terms().gate(cx));
                return typed::answer(call, result_url.clone(), body).await;
            }
        };
        if let Some(plugin) = call.backend.channel().plugin().filter(|_| call.rpc == Rpc::Unary) {
            let running = plugin.execute(call.context, method.request(message));
            return typed::direct(running, call.backend, call.namespace, call.idempotent, result_url).await;
        }
        let head = method.heads.head(true, message.len());
        let head = head.map_err(|error| Rejection::new(Reason::MessageTooLarge, error.to_string()))?;
        typed::answer(call, result_url.clone(), WireBody::Whole(behind(head, message))).await
    }

    async fn gateway(
        &self,
        cx: &RequestContext,
        request: Request<Body>,
    ) -> Result<Response<Body>, Rejection> {
        let form = gateway::check_request(&request)?;
        let target = self.backend(cx)?;
        let (operation, stall_timeout) = (&self.head.operation, self.edge.limits().stall_timeout);
        if form == gateway::Form::Raw {
            let call = self.call(cx, target, operation, Rpc::Unary)?;
            let serving = gateway::serve(call, operation, request, stall_timeout, (self.terms(), cx));
            return self.within(cx, serving).await;
        }
        let (streaming, types) = self.types(&target)?;
        let rpc = if streaming { Rpc::Streaming } else { Rpc::Unary };
        let call = self.call(cx, target, operation, rpc)?;
        let (subject, form) = (outcome::Subject::of(&call), json::Form::accepted(request.headers()));
        // The deadline is inside the translation, so that it can be said in JSON too.
        let called = json::call(call, operation, &types, request, stall_timeout, (self.terms(), cx));
        let answer = self.within(cx, called).await?;
        match rpc {
            Rpc::Unary => self.within(cx, json::whole(answer, &types, &subject)).await,
            Rpc::Streaming => json::stream(answer, form, &types, subject, cx.request_id().clone()),
        }
    }

    /// Whether the gateway's operation answers with a stream, and the messages that it has in JSON.
    fn types(&self, (namespace, backend): &(&Namespace, InFlight)) -> Result<(bool, Types), Rejection> {
        let (operation, plugin) = (&self.head.operation, namespace.plugin());
        let status = backend.load_status();
        let table = status.operations.as_ref();
        let Some(info) = table.and_then(|table| table.get(operation)) else {
            return Err(unknown_operation(namespace, table.map(|table| &**table), operation));
        };
        if info.client_streaming {
            return Err(Rejection::new(
                Reason::WrongMethod,
                format!("operation `{operation}` takes a stream of messages: call it over gRPC"),
            ));
        }
        let types = table.and_then(|table| table.schema()).and_then(|schema| schema.types(info));
        let types = types.ok_or_else(|| {
            let instead = match info.raw {
                true => "send raw bytes with application/octet-stream",
                false => "give the plugin its descriptors (`Describe`'s file_descriptor_set), or call it over gRPC",
            };
            Rejection::new(
                Reason::UnsupportedMediaType,
                format!(
                    "plugin `{plugin}` does not describe the messages of operation `{operation}`, so there is no JSON of \
                     it: {instead}"
                ),
            )
        })?;
        Ok((info.server_streaming, types))
    }

    fn describe(&self, cx: &RequestContext, openapi: bool) -> Result<Response<Body>, Rejection> {
        let (namespace, backend) = self.backend(cx)?;
        Ok(json::describe(namespace, &backend.load_status(), openapi))
    }

    /// The call of an operation that the backend has, ready to go.
    fn call(
        &self,
        cx: &RequestContext,
        (namespace, backend): (&'a Namespace, InFlight),
        operation: &ByteString,
        rpc: Rpc,
    ) -> Result<call::Call<'a>, Rejection> {
        let idempotent = check_operation(namespace, &backend.load_status(), operation, rpc, cx.grant())?;
        Ok(self.begin(cx, (namespace, backend), idempotent, rpc))
    }

    fn begin(
        &self,
        cx: &RequestContext,
        (namespace, backend): (&'a Namespace, InFlight),
        idempotent: bool,
        rpc: Rpc,
    ) -> call::Call<'a> {
        let context = call_context(cx, backend.instance());
        call::Call { worker: self.edge.worker(), namespace, backend, rpc, idempotent, context }
    }

    /// The namespace, and the plugin instance that serves it now.
    fn backend(&self, cx: &RequestContext) -> Result<(&'a Namespace, InFlight), Rejection> {
        self.enter(cx).map(|(namespace, backend, _)| (namespace, backend))
    }

    /// The same, and how the instance is, to be held for a moment only.
    fn enter(
        &self,
        cx: &RequestContext,
    ) -> Result<(&'a Namespace, InFlight, impl Deref<Target = Arc<Status>> + use<'a>), Rejection> {
        if cx.namespace().is_empty() {
            return Err(Rejection::new(
                Reason::MissingNamespace,
                "the call names no namespace: set the x-prism-namespace header",
            ));
        }
        let namespace = self.namespace.ok_or_else(|| unknown_namespace(cx))?;
        check_asked(cx, namespace.policy().is_some())?;
        cx.set_plugin(namespace.plugin().clone());
        let unavailable =
            |reason: &str| away(namespace.plugin(), reason.to_owned()).with_retry(outcome::RETRY);
        let backend = namespace.slot().enter().ok_or_else(|| unavailable("not started yet"))?;
        let status = backend.load_status();
        // One that is replaced from now on has counted this call in, and waits for it.
        if !status.state.serves() && status.state != State::Draining {
            return Err(unavailable(status.reason.as_deref().unwrap_or("starting")));
        }
        Ok((namespace, backend, status))
    }
}

impl Terminal for Dispatch<'_> {
    fn call<'a>(&'a self, cx: &'a RequestContext, request: &'a mut Request<Body>) -> FilterFuture<'a> {
        Box::pin(async move {
            self.dispatch(cx, request).await.map_err(|rejection| rejection.by("plugin_dispatch"))
        })
    }
}

/// What the proxy vouches for.
fn call_context(cx: &RequestContext, instance: InstanceId) -> CallContext {
    CallContext {
        instance,
        namespace: cx.namespace().clone(),
        principal: cx.principal().cloned(),
        request_id: cx.request_id().clone(),
        traceparent: cx.traceparent().clone(),
        deadline: cx.deadline().map(prism_platform::time::Instant::into_std),
    }
}
