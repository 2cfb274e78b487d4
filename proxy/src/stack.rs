//! The path of a request, outermost first. What is said here in order is what happens in order:
//!
//! ```text
//! connection (h2 | http/1.1)
//!   └▶ serve: current snapshot ▶ route ▶ head (gRPC-Web made gRPC; protocol, target, namespace; x-prism-* dropped)
//!        └▶ the route's filters, in the order of the configuration; some ask a service first (`asked`)
//!             └▶ plugin_dispatch ▶ PluginChannel ▶ plugin
//!                │             └─▶ a forward route's Cluster ▶ service
//!                └─ until its deadline, and for as long as the filters of now would let it in (`rights`)
//!        ◀─ one rejection layer: every refusal becomes an answer here
//!        ◀─ the filters' decorators, on every answer: CORS headers, gRPC made gRPC-Web
//! ```

use crate::{
    dispatch::Dispatch,
    edge::Edge,
    head::{Head, Target},
    snapshot::Route,
};
use bytestring::ByteString;
use http::{HeaderName, HeaderValue, Method, Request, Response, header};
use prism_filters::{
    Body, Protocol, RequestContext, RequestStart, Rpc, arrive, authz::Wanted, body::MessageLimits, respond,
    run,
};
use prism_platform::time::Instant;
use prism_plugin_host::{TypedMethod, WorkerLocal};
use std::{future::Future, net::SocketAddr, rc::Rc, sync::Arc};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Serves one request. Never fails: a refusal is an answer too. Dropping the future cancels the request.
///
/// A block, and not an `async fn`: that would hold its arguments twice, in a future that is moved for every request.
#[allow(clippy::manual_async_fn)] // see above
pub(crate) fn serve(
    edge: Rc<Edge>,
    mut request: Request<Body>,
    peer: Option<SocketAddr>,
) -> impl Future<Output = Response<Body>> {
    async move {
        let basis = edge.rights().now();
        // The snapshot that is current now serves this request to its end, whatever is swapped in meanwhile.
        let current = edge.current();
        let (snapshot, listener) = edge.here(&current);

        // Route and namespace are resolved before the filters run, because a route chooses the filters. But
        // looking up is not answering: what is wrong is said by `plugin_dispatch`, after authentication.
        let route = listener.routes().find(request.uri(), request.headers());
        let filters = route.map_or(listener.default_chain(), |route| route.chain());
        let decorators = arrive(filters, &mut request);
        let mut head = Head::read(&mut request, route, edge.limits());
        let namespace = snapshot.namespace(&head.namespace);
        // A typed call names its operation by its path, as the namespace's plugin declares it.
        let method = namespace
            .filter(|_| head.target == Target::Typed)
            .and_then(|namespace| namespace.slot().method(request.uri().path()));

        let cx = RequestContext::new(RequestStart {
            at: Instant::now(),
            protocol: head.protocol,
            peer,
            client: edge.client().map(Arc::clone),
            listener: Arc::clone(listener.name()),
            config_version: snapshot.version(),
            messages: message_limits(
                &head,
                method.as_deref(),
                namespace.map(|found| found.max_message_bytes()),
                &edge,
            ),
            metrics: namespace.map(|found| Arc::clone(found.metrics())),
            wanted: wanted(&head, route, method.is_some()),
            guarded: namespace.and_then(|found| found.guarded()),
            worker: Some(Rc::<WorkerLocal>::clone(edge.worker())),
            namespace: std::mem::take(&mut head.namespace),
            deadline: head.deadline,
        });
        cx.arrived_now();
        if head.target == Target::Gateway {
            // It stands in the path: a filter that asks for it waits for no body.
            cx.set_operation(head.operation.clone());
        }
        if let Some(method) = &method {
            cx.set_operation(method.operation.clone());
        }

        let bare = request.method() == Method::HEAD;
        let dispatch = Dispatch::new(&edge, basis, namespace, route, &head, method);
        let mut response = match run(filters, &dispatch, &cx, &mut request).await {
            Ok(response) => response,
            Err(rejection) => respond(&cx, &rejection),
        };
        if bare {
            without_content(&mut response);
        }
        if let Some(id) = header_value(cx.request_id()) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        decorators.apply(&mut response);
        response
    }
}

/// What a request wants, as far as `authz` is concerned: what [`Dispatch`] will do, told before.
fn wanted(head: &Head, route: Option<&Route>, has_method: bool) -> Wanted {
    match head.target {
        _ if head.refusal.is_some() => Wanted::Nothing,
        Target::Local if head.namespace.is_empty() => Wanted::Listener,
        Target::Local => Wanted::Description,
        _ if route.is_none() => Wanted::Nothing,
        Target::Nothing => Wanted::Nothing,
        Target::Forward => {
            Wanted::Forward(route.and_then(Route::forward).and_then(|forward| forward.policy().cloned()))
        }
        Target::Data(_) | Target::Gateway => Wanted::Operation,
        // What is no method of the namespace's is told so, to whoever may know what there is.
        Target::Typed if !has_method => Wanted::Description,
        Target::Typed => Wanted::Operation,
        Target::Description { .. } => Wanted::Description,
    }
}

/// How the messages of a call are checked. A namespace that does not exist gets no byte of a message:
/// its call is refused before its body is looked at.
fn message_limits(
    head: &Head,
    method: Option<&TypedMethod>,
    max_message_bytes: Option<usize>,
    edge: &Edge,
) -> Option<MessageLimits> {
    let unary = match head.target {
        Target::Data(rpc) => rpc == Rpc::Unary,
        // Of the request: a stream of answers to one message is one message.
        Target::Typed => !method?.client_streaming,
        _ => return None,
    };
    (head.protocol == Protocol::Grpc).then(|| MessageLimits {
        max_message_bytes: max_message_bytes.unwrap_or_default(),
        unary,
        gzip: head.gzip,
        stall_timeout: edge.limits().stall_timeout,
    })
}

/// An answer to HEAD. RFC 9110 section 9.3.2: "the server MUST NOT send content in the response"; over HTTP/2 it would be
/// malformed, and reset.
fn without_content(response: &mut Response<Body>) {
    let body = std::mem::take(response.body_mut());
    if let Some(length) = body.exact_len().filter(|_| !body.is_end()) {
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
}

/// The id as a header.
fn header_value(id: &ByteString) -> Option<HeaderValue> {
    // Ids are visible ASCII (`trace` makes sure of it); empty where no filter assigned one.
    HeaderValue::from_maybe_shared(id.as_bytes().clone()).ok().filter(|_| !id.is_empty())
}
