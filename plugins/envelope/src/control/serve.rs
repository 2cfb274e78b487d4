//! A plugin's answers to the control calls, as messages.

use super::messages;
use prism_plugin_abi::{Code, Error, Initialized, InstanceId, Plugin};
use prism_proto::plugin::{
    DescribeResponse, GetMetricsRequest, HealthCheckRequest, HealthCheckResponse, InitializeRequest,
    InitializeResponse, PluginMetrics, ShutdownRequest, ShutdownResponse,
};

/// `Describe`, for a plugin that is reached over `transports`.
#[must_use]
pub fn describe(plugin: &dyn Plugin, transports: &[&str]) -> DescribeResponse {
    DescribeResponse {
        transports: transports.iter().map(ToString::to_string).collect(),
        ..messages::write_description(&plugin.describe())
    }
}

/// `Initialize`. Every failure is reported in the message, the channel's too: only there it has a place beside the
/// instance that it is about.
pub async fn initialize(plugin: &dyn Plugin, request: InitializeRequest) -> InitializeResponse {
    let request = messages::read_initialize(request);
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

/// What `Initialize` answered for `asked`, and whether the plugin echoed the number: one that does not speaks the
/// RFC's plain protocol, with one instance for each namespace and process.
///
/// # Errors
/// The plugin's own, or INTERNAL when it answered for another instance.
pub fn read_initialized(answer: InitializeResponse, asked: InstanceId) -> Result<(Initialized, bool), Error> {
    if !answer.success {
        return Err(Error::operation(Code::from_number(answer.error_code), answer.error));
    }
    if answer.instance != 0 && answer.instance != asked.0 {
        let message = format!("it answered for instance {}", InstanceId(answer.instance));
        return Err(Error::channel(Code::Internal, message));
    }
    let initialized = Initialized {
        plugin_version: answer.plugin_version,
        supported_operations: answer.supported_operations,
    };
    Ok((initialized, answer.instance != 0))
}

/// `HealthCheck`.
pub async fn health(plugin: &dyn Plugin, request: &HealthCheckRequest) -> HealthCheckResponse {
    messages::write_health(plugin.health(InstanceId(request.instance)).await)
}

/// `GetMetrics`.
///
/// # Errors
/// The plugin's own.
pub async fn metrics(plugin: &dyn Plugin, request: &GetMetricsRequest) -> Result<PluginMetrics, Error> {
    plugin.metrics(InstanceId(request.instance)).await.map(|metrics| messages::write_metrics(&metrics))
}

/// `Shutdown`.
pub async fn shutdown(plugin: &dyn Plugin, request: &ShutdownRequest) -> ShutdownResponse {
    plugin.shutdown(InstanceId(request.instance)).await;
    ShutdownResponse {}
}
