//! `GET /v1/{namespace}`: what the namespace's plugin can do, and of which messages.

use super::{openapi, schema::Schemas};
use crate::snapshot::Namespace;
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use prism_filters::Body;
use prism_plugin_abi::{Kind, OperationInfo};
use prism_plugin_host::{OperationTable, Status};
use serde_json::{Value, json};
use std::sync::Arc;

/// The operations in the order of their names.
pub(super) fn sorted(table: &OperationTable) -> Vec<&OperationInfo> {
    let mut operations: Vec<_> = table.iter().collect();
    operations.sort_unstable_by_key(|operation| &operation.name);
    operations
}

pub(super) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Read => "read",
        Kind::Write => "write",
        // What does not say what it does needs the right to everything.
        Kind::Admin | Kind::Unspecified => "admin",
    }
}

/// The list of operations, or all of it as OpenAPI.
pub(in crate::dispatch) fn describe(
    namespace: &Namespace,
    status: &Status,
    as_openapi: bool,
) -> Response<Body> {
    // Of a plugin that cannot say what it has, there is nothing to be said.
    let none = Arc::default();
    let table = status.operations.as_ref().unwrap_or(&none);
    let document = if as_openapi {
        let version = status.description.as_ref().map_or("", |description| &description.version);
        openapi::document(namespace, table, version)
    } else {
        list(namespace, table)
    };
    // Values always serialize.
    let text = serde_json::to_vec_pretty(&document).unwrap_or_default();
    let mut response = Response::new(Body::from(Bytes::from(text)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn list(namespace: &Namespace, table: &OperationTable) -> Value {
    let mut schemas = Schemas::at("#/schemas/");
    let operations: Vec<_> = sorted(table)
        .into_iter()
        .map(|operation| {
            let types = table.schema().and_then(|schema| schema.types(operation));
            let mut message = |of: fn(&prism_plugin_host::Types) -> &prost_reflect::MessageDescriptor| {
                types.as_ref().map(|types| {
                    let message = of(types);
                    json!({ "type": message.full_name(), "schema": schemas.message(message) })
                })
            };
            let (params, result) = (message(|types| &types.params), message(|types| &types.result));
            let method = Some(&operation.service_method).filter(|method| !method.is_empty());
            json!({
                "name": operation.name,
                "kind": kind(operation.kind),
                "idempotent": operation.idempotent,
                "raw": operation.raw,
                "client_streaming": operation.client_streaming,
                "server_streaming": operation.server_streaming,
                "method": method,
                "params": params,
                "result": result,
            })
        })
        .collect();
    json!({
        "namespace": &**namespace.name(),
        "plugin": &**namespace.plugin(),
        "operations": operations,
        "schemas": schemas.all(),
    })
}
