//! `trace`: a request id, the W3C trace context, the access log and the request metrics.
//!
//! ```yaml
//! - trace:
//!     request_id: generate
//!     access_log: { path: stdout, format: json }
//! ```

mod access_log;
mod ids;
mod record;

use crate::{
    Body, BuildContext, BuildError, Filter, FilterFuture, FilterType, Next, RequestContext,
    call::{Reports, Shared, Watched},
    metrics::Metrics,
};
use access_log::AccessLog;
use http::Request;
use prism_config::{ByteSize, Phase};
use prism_platform::Platform;
pub(crate) use record::Record;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Settings of `trace`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where a request's id comes from.
    pub request_id: RequestIdSource,
    /// The access log: one line per request.
    pub access_log: AccessLogSettings,
}

/// Where a request's id comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RequestIdSource {
    /// A new random one. The default, because an id that a stranger chose can collide on purpose.
    #[default]
    Generate,
    /// The client's `x-request-id` where it is 1 to 128 visible ASCII characters, else a new one: for
    /// clients that are themselves trusted proxies.
    Accept,
}

/// Settings of the access log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLogSettings {
    /// `stdout`, `stderr`, `off`, or a file's path (relative to the configuration file). A file that is moved
    /// away (logrotate) is opened anew.
    pub path: String,
    /// How a line looks.
    pub format: Format,
    /// Bytes of log lines that may wait to be written. What comes beyond is dropped and counted in
    /// `prism_access_log_dropped_total`: a slow disk must not slow a request. 1 MiB is some five thousand
    /// lines, a burst of a tenth of a second at 50,000 calls a second.
    #[schemars(extend("minimum" = 4096, "maximum" = 1_073_741_824))]
    pub buffer_bytes: ByteSize,
}

impl Default for AccessLogSettings {
    fn default() -> Self {
        Self { path: "stdout".to_owned(), format: Format::Json, buffer_bytes: ByteSize::mib(1) }
    }
}

/// How a line of the access log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A JSON object a line. The default, because programs read it.
    #[default]
    Json,
    /// `key=value` pairs.
    Text,
}

/// The filter.
pub struct Trace {
    settings: Settings,
    tools: Arc<Tools>,
}

/// What a record needs to be written, in one handle that each holds.
struct Tools {
    listener: Arc<str>,
    platform: Platform,
    metrics: Arc<Metrics>,
    log: Option<Arc<AccessLog>>,
}

impl FilterType for Trace {
    const NAME: &'static str = "trace";
    const PHASE: Phase = Phase::Request;
    type Settings = Settings;

    fn build(settings: Settings, cx: &BuildContext<'_>, previous: Option<&Self>) -> Result<Self, BuildError> {
        let kept = previous.filter(|previous| previous.settings.access_log == settings.access_log);
        let log = match kept {
            Some(previous) => previous.tools.log.clone(),
            None => AccessLog::open(&settings.access_log, cx)?.map(Arc::new),
        };
        let tools = Tools {
            listener: cx.listener.into(),
            platform: cx.platform.clone(),
            metrics: Arc::clone(cx.metrics),
            log,
        };
        Ok(Self { settings, tools: Arc::new(tools) })
    }
}

impl Filter for Trace {
    fn call<'a>(
        &'a self,
        cx: &'a RequestContext,
        request: &'a mut Request<Body>,
        next: Next<'a>,
    ) -> FilterFuture<'a> {
        let accept = self.settings.request_id == RequestIdSource::Accept;
        let (request_id, traceparent) = ids::ids(&self.tools.platform, request.headers(), accept);
        cx.set_trace(request_id, traceparent);
        let reports = Reports { trace: Some(Record::begin(cx, &self.tools)), audit: None };
        let shared = Shared::begin(cx, Watched::begin(cx, request, reports), next);
        Box::pin(async move {
            let outcome = next.call(cx, request).await;
            shared.end(outcome)
        })
    }
}

#[cfg(test)]
mod tests;
