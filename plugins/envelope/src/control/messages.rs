//! The control calls' types as messages, and back.

use crate::custom::{read_custom, write_custom};
use prism_plugin_abi::{
    Credentials, Description, Health, HealthStatus, Initialize, InstanceId, Kind, Metrics, OperationInfo,
};
use prism_proto::{google::protobuf::Any, plugin as wire};

/// The answer to `Describe`, without the transports: whoever listens knows them.
#[must_use]
pub fn write_description(description: &Description) -> wire::DescribeResponse {
    wire::DescribeResponse {
        name: description.name.clone(),
        version: description.version.clone(),
        operations: description.operations.iter().map(write_operation).collect(),
        interfaces: description.interfaces.clone(),
        file_descriptor_set: description.file_descriptor_set.clone(),
        config_type: description.config_type.clone(),
        transports: Vec::new(),
        protocol: 1,
    }
}

fn write_operation(info: &OperationInfo) -> wire::OperationInfo {
    let kind = match info.kind {
        Kind::Unspecified => wire::operation_info::Kind::Unspecified,
        Kind::Read => wire::operation_info::Kind::Read,
        Kind::Write => wire::operation_info::Kind::Write,
        Kind::Admin => wire::operation_info::Kind::Admin,
    };
    wire::OperationInfo {
        name: info.name.clone(),
        kind: kind.into(),
        idempotent: info.idempotent,
        server_streaming: info.server_streaming,
        client_streaming: info.client_streaming,
        params_type: info.params_type.clone(),
        result_type: info.result_type.clone(),
        raw: info.raw,
        service_method: info.service_method.clone(),
    }
}

/// What `Initialize` asks.
#[must_use]
pub fn read_initialize(message: wire::InitializeRequest) -> Initialize {
    let config = message.config.unwrap_or_default();
    Initialize {
        instance: InstanceId(message.instance),
        namespace: message.namespace,
        backend_type: message.backend_type,
        config_type_url: config.type_url,
        config: config.value,
        credentials: Credentials(message.credentials.into_iter().collect()),
    }
}

/// The answer to `HealthCheck`.
#[must_use]
pub fn write_health(health: Health) -> wire::HealthCheckResponse {
    let status = match health.status {
        HealthStatus::Healthy => wire::health_check_response::Status::Healthy,
        HealthStatus::Degraded => wire::health_check_response::Status::Degraded,
        HealthStatus::Unhealthy => wire::health_check_response::Status::Unhealthy,
    };
    wire::HealthCheckResponse {
        status: status.into(),
        message: health.message,
        details: health.details.into_iter().collect(),
    }
}

/// The answer to `GetMetrics`.
#[must_use]
pub fn write_metrics(metrics: &Metrics) -> wire::PluginMetrics {
    let count = |count| i64::try_from(count).unwrap_or(i64::MAX);
    wire::PluginMetrics {
        requests_total: count(metrics.requests_total),
        requests_failed: count(metrics.requests_failed),
        latency_ms: metrics.latency_ms,
        connections_active: count(metrics.connections_active),
        cache_hits: count(metrics.cache_hits),
        cache_misses: count(metrics.cache_misses),
        interval_start_ns: metrics.interval_start_ns,
        connections_idle: count(metrics.connections_idle),
        queries_executed: count(metrics.queries_executed),
        custom_metrics: write_custom(&metrics.custom),
    }
}

/// Asks for an instance.
#[must_use]
pub fn write_initialize(mut request: Initialize, proxy_version: &str) -> wire::InitializeRequest {
    wire::InitializeRequest {
        namespace: request.namespace,
        backend_type: request.backend_type,
        config: Some(Any { type_url: request.config_type_url, value: request.config }),
        credentials: std::mem::take(&mut request.credentials.0).into_iter().collect(),
        capabilities: Some(wire::ProxyCapabilities {
            supports_metrics_push: false,
            supports_distributed_tracing: true,
            supports_hot_reload: true,
            proxy_version: proxy_version.to_owned(),
        }),
        instance: request.instance.0,
    }
}

/// What a plugin says of itself.
#[must_use]
pub fn read_description(description: wire::DescribeResponse) -> Description {
    Description {
        name: description.name,
        version: description.version,
        operations: description.operations.into_iter().map(read_operation).collect(),
        interfaces: description.interfaces,
        file_descriptor_set: description.file_descriptor_set,
        config_type: description.config_type,
    }
}

fn read_operation(operation: wire::OperationInfo) -> OperationInfo {
    use wire::operation_info::Kind as Wire;
    let kind = match Wire::try_from(operation.kind) {
        Ok(Wire::Read) => Kind::Read,
        Ok(Wire::Write) => Kind::Write,
        Ok(Wire::Admin) => Kind::Admin,
        // A kind of a later version is no kind that we could grant.
        Ok(Wire::Unspecified) | Err(_) => Kind::Unspecified,
    };
    OperationInfo {
        name: operation.name,
        kind,
        idempotent: operation.idempotent,
        server_streaming: operation.server_streaming,
        client_streaming: operation.client_streaming,
        params_type: operation.params_type,
        result_type: operation.result_type,
        raw: operation.raw,
        service_method: operation.service_method,
    }
}

/// How an instance says it is.
#[must_use]
pub fn read_health(health: wire::HealthCheckResponse) -> Health {
    use wire::health_check_response::Status as Wire;
    let status = match Wire::try_from(health.status) {
        Ok(Wire::Healthy) => HealthStatus::Healthy,
        Ok(Wire::Degraded) => HealthStatus::Degraded,
        Ok(Wire::Unhealthy) | Err(_) => HealthStatus::Unhealthy,
    };
    Health { status, message: health.message, details: health.details.into_iter().collect() }
}

/// What an instance says it counted.
#[must_use]
pub fn read_metrics(metrics: &wire::PluginMetrics) -> Metrics {
    // A count below zero is no count.
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    Metrics {
        requests_total: count(metrics.requests_total),
        requests_failed: count(metrics.requests_failed),
        latency_ms: metrics.latency_ms,
        connections_active: count(metrics.connections_active),
        connections_idle: count(metrics.connections_idle),
        queries_executed: count(metrics.queries_executed),
        cache_hits: count(metrics.cache_hits),
        cache_misses: count(metrics.cache_misses),
        interval_start_ns: metrics.interval_start_ns,
        custom: read_custom(metrics.custom_metrics.as_ref()),
    }
}
