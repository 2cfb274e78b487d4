//! What a call is checked for before it goes to its plugin, and how it is refused.

use super::outcome;
use crate::snapshot::Namespace;
use bytestring::ByteString;
use prism_filters::{
    Reason, Rejection, RequestContext, Rpc,
    authz::{self, Grant},
};
use prism_plugin_abi::{Kind, OperationInfo};
use prism_plugin_host::{BoxError, ForwardError, OperationTable, Status};
use std::time::Duration;

pub(super) fn nothing_here() -> Rejection {
    Rejection::new(
        Reason::NoRoute,
        "nothing is served at this path: call POST /v1/{namespace}/{operation}, or over gRPC (HTTP/2, content-type \
         application/grpc) prism.data.v1.DataService or a typed service of a namespace's plugin, with the \
         x-prism-namespace header",
    )
}

pub(super) fn unknown_namespace(cx: &RequestContext) -> Rejection {
    Rejection::new(Reason::UnknownNamespace, format!("there is no namespace `{}`", cx.namespace()))
}

/// What has rules is not entered by a way on which nobody asked for them. `check` refuses such a configuration; this holds
/// whatever else put the chain together.
pub(super) fn check_asked(cx: &RequestContext, has_rules: bool) -> Result<(), Rejection> {
    match has_rules && cx.grant().is_none() {
        true => Err(authz::denied().with_detail("there are `access` rules, and no `authz` asked for them")),
        false => Ok(()),
    }
}

/// Between the chain and here another instance took over, which may mean something else by the same name.
pub(super) fn replaced(plugin: &str) -> Rejection {
    Rejection::new(Reason::Reloaded, "the plugin instance was replaced while the call waited: call again")
        .about_plugin(plugin)
        .with_retry(Duration::ZERO)
}

/// Operations among which a near name is looked for: whoever calls many that are not there is not to keep a worker busy.
const MOST_COMPARED: usize = 64;

pub(super) fn unknown_operation(
    namespace: &Namespace,
    table: Option<&OperationTable>,
    operation: &str,
) -> Rejection {
    let (plugin, name) = (namespace.plugin(), namespace.name());
    let known = table.filter(|table| table.iter().count() <= MOST_COMPARED);
    let known = known.into_iter().flat_map(OperationTable::iter).map(|known| &*known.name);
    let hint = prism_config::closest(operation, known);
    let hint = hint.unwrap_or_else(|| format!("`GET /v1/{name}` lists what it has"));
    Rejection::new(
        Reason::UnknownOperation,
        format!("plugin `{plugin}` has no operation `{operation}`: {hint}"),
    )
    .about_plugin(plugin)
}

/// What was granted is what runs: the instance that the call enters declares the operation as the one did that was judged.
pub(super) fn check_grant(plugin: &str, declared: Kind, grant: Option<Grant>) -> Result<(), Rejection> {
    match grant {
        None => Ok(()),
        Some(grant) if grant.covers(declared) => Ok(()),
        Some(Grant::Description) => Err(authz::denied().with_detail("to call an operation was not granted")),
        Some(_) => Err(replaced(plugin)),
    }
}

/// Whether doing it twice does no harm.
///
/// # Errors
/// There is no such operation, it is not what was granted, or it is called through the other method.
pub(super) fn check_operation(
    namespace: &Namespace,
    status: &Status,
    operation: &ByteString,
    rpc: Rpc,
    grant: Option<Grant>,
) -> Result<bool, Rejection> {
    let table = status.operations.as_ref();
    let Some(info) = table.and_then(|table| table.get(operation)) else {
        return Err(unknown_operation(namespace, table.map(|table| &**table), operation));
    };
    let plugin = namespace.plugin();
    check_grant(plugin, info.kind, grant)?;
    if !table.is_some_and(|table| table.is_described()) {
        // A plugin that cannot say which of its operations stream is asked by either method.
        return Ok(info.idempotent);
    }
    match (rpc, OperationInfo::streaming(info)) {
        (Rpc::Unary, true) => Err(Rejection::new(
            Reason::WrongMethod,
            format!("operation `{operation}` is a stream: call it with ExecuteStream, or in JSON"),
        )),
        (Rpc::Streaming, false) => Err(Rejection::new(
            Reason::WrongMethod,
            format!("operation `{operation}` is no stream: call it with Execute"),
        )),
        _ => Ok(info.idempotent),
    }
}

/// The client's side of a request failed.
pub(super) fn broke_off(error: BoxError) -> Rejection {
    match error.downcast::<prism_filters::body::BodyError>() {
        Ok(error) => Rejection::from(*error),
        Err(error) => Rejection::new(Reason::ClientGone, format!("the request's body broke off: {error}")),
    }
}

/// A plugin that cannot be called. Why is for the operator: it has paths and addresses in it.
pub(super) fn away(plugin: &str, why: String) -> Rejection {
    Rejection::new(Reason::PluginUnavailable, format!("plugin `{plugin}`: it is away or not ready yet"))
        .with_detail(why)
        .about_plugin(plugin)
}

/// Why a call could not be forwarded, as a refusal.
pub(super) fn refusal(error: ForwardError, plugin: &str) -> Rejection {
    match error {
        ForwardError::Unavailable(why) => away(plugin, why),
        // It was not begun.
        ForwardError::Overloaded(why) => {
            Rejection::new(Reason::PluginOverloaded, format!("plugin `{plugin}`: too many calls wait for it"))
                .with_detail(why)
                .about_plugin(plugin)
                .with_retry(outcome::RETRY)
        }
        ForwardError::Source(error) => broke_off(error),
        ForwardError::Protocol(what) => Rejection::new(
            Reason::PluginProtocol,
            format!("plugin `{plugin}` answered what the plugin protocol does not allow: {what}"),
        )
        .about_plugin(plugin),
        ForwardError::Refused(error) => Rejection::new(Reason::PluginRefused, error.message)
            .with_code(prism_filters::Code::from_i32(error.code.number()))
            .about_plugin(plugin),
        _ => Rejection::new(Reason::Internal, "the call failed in a way that this version does not know"),
    }
}
