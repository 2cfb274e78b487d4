//! `GET /v1/{namespace}/openapi.json`: the same for tools (OpenAPI 3.1).

use super::{
    describe::{kind, sorted},
    schema::Schemas,
};
use crate::snapshot::Namespace;
use prism_plugin_abi::OperationInfo;
use prism_plugin_host::{OperationTable, Types};
use serde_json::{Map, Value, json};

pub(super) fn document(namespace: &Namespace, table: &OperationTable, version: &str) -> Value {
    let mut schemas = Schemas::at("#/components/schemas/");
    let mut paths = Map::new();
    for operation in sorted(table) {
        // A client that sends many messages speaks gRPC.
        if operation.client_streaming {
            continue;
        }
        let types = table.schema().and_then(|schema| schema.types(operation));
        if let Some(post) = post(operation, types.as_ref(), &mut schemas) {
            paths.insert(format!("/v1/{}/{}", namespace.name(), operation.name), json!({ "post": post }));
        }
    }
    let mut components = schemas.all();
    components["prism.Error"] = json!({
        "type": "object",
        "properties": {
            "code": { "type": "string", "description": "The name of a google.rpc.Code." },
            "message": { "type": "string" },
            "reason": { "type": "string", "description": "One of the reasons in docs/operate.md." },
            "request_id": { "type": "string" },
        },
        "required": ["code", "message", "reason", "request_id"],
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": format!("Namespace {}", namespace.name()),
            "version": version,
        },
        "paths": paths,
        "components": { "schemas": components },
    })
}

/// `None` of an operation that HTTP has no form for.
fn post(operation: &OperationInfo, types: Option<&Types>, schemas: &mut Schemas) -> Option<Value> {
    let (mut request, mut answer) = (Map::new(), Map::new());
    if let Some(types) = types {
        request.insert("application/json".into(), json!({ "schema": schemas.message(&types.params) }));
        let result = schemas.message(&types.result);
        if operation.server_streaming {
            let line = json!({ "type": "object", "properties": {
                "result": result,
                "error": { "$ref": "#/components/schemas/prism.Error" },
            } });
            answer.insert("application/x-ndjson".into(), json!({ "schema": line }));
            answer.insert("text/event-stream".into(), json!({ "schema": line }));
        } else {
            answer.insert("application/json".into(), json!({ "schema": result }));
        }
    }
    if operation.raw && !operation.server_streaming {
        let bytes = json!({ "schema": { "type": "string", "format": "binary" } });
        request.insert("application/octet-stream".into(), bytes.clone());
        answer.insert("application/octet-stream".into(), bytes);
    }
    (!request.is_empty()).then(|| {
        json!({
            "operationId": operation.name,
            "description": format!("Kind: {}.", kind(operation.kind)),
            "requestBody": { "required": true, "content": request },
            "responses": {
                "200": { "description": "The result.", "content": answer },
                "default": {
                    "description": "The call was refused, or the operation failed.",
                    "content": { "application/json": { "schema": { "$ref": "#/components/schemas/prism.Error" } } },
                },
            },
        })
    })
}
