//! The control methods, as messages: what they answer does not depend on what carries them.

use super::convert;
use prism_plugin_abi::{Error, Initialized, InstanceId, Plugin, unknown_instance};
use prism_proto::plugin::{
    DescribeResponse, GetMetricsRequest, HealthCheckRequest, HealthCheckResponse, InitializeRequest,
    InitializeResponse, PluginMetrics, ShutdownRequest, ShutdownResponse,
};

pub(super) fn describe(plugin: &dyn Plugin) -> DescribeResponse {
    convert::description(&plugin.describe())
}

/// Every failure is reported in the message, the channel's too: only there it has a place beside the
/// instance that it is about.
pub(super) async fn initialize(plugin: &dyn Plugin, request: InitializeRequest) -> InitializeResponse {
    let request = convert::initialize(request);
    let instance = request.instance.0;
    match plugin.initialize(request).await {
        Ok(Initialized { plugin_version, supported_operations }) => InitializeResponse {
            success: true,
            plugin_version,
            supported_operations,
            instance,
            ..Default::default()
        },
        Err(error) => InitializeResponse {
            success: false,
            error: error.message.to_string(),
            error_code: error.code.number(),
            instance,
            ..Default::default()
        },
    }
}

pub(super) async fn health(plugin: &dyn Plugin, request: &HealthCheckRequest) -> HealthCheckResponse {
    convert::health(plugin.health(InstanceId(request.instance)).await)
}

/// # Errors
/// The instance is unknown.
pub(super) fn metrics(plugin: &dyn Plugin, request: &GetMetricsRequest) -> Result<PluginMetrics, Error> {
    let instance = InstanceId(request.instance);
    let metrics = plugin.metrics(instance).ok_or_else(|| unknown_instance(instance))?;
    Ok(convert::metrics(metrics))
}

pub(super) async fn shutdown(plugin: &dyn Plugin, request: &ShutdownRequest) -> ShutdownResponse {
    plugin.shutdown(InstanceId(request.instance)).await;
    ShutdownResponse {}
}
