//! The filter of docs/write-a-filter.md, in a binary of its own: `maintenance` refuses chosen operations of
//! chosen namespaces while somebody works on them.

use http::{HeaderValue, Request};
use prism_config::{Duration, Phase, Source};
use prism_edge::{Builtins, Options, run_on_threads};
use prism_filters::{
    Body, BuildContext, BuildError, Code, Filter, FilterFuture, FilterType, Next, Reason, Rejection,
    RequestContext, registry,
};
use prism_platform::Platform;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fs, path::PathBuf};

/// Settings of `maintenance`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The namespaces that are worked on. None by default: the filter alone stops nobody.
    pub namespaces: Vec<String>,
    /// The operations that are refused there. By default those that write.
    pub operations: Vec<String>,
    /// When callers are told to come again.
    pub retry_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            namespaces: Vec::new(),
            operations: vec!["set".to_owned(), "delete".to_owned()],
            retry_after: Duration::seconds(30),
        }
    }
}

/// The filter.
pub struct Maintenance {
    settings: Settings,
}

impl FilterType for Maintenance {
    const NAME: &'static str = "maintenance";
    const PHASE: Phase = Phase::Request;
    type Settings = Settings;

    fn build(settings: Settings, _: &BuildContext<'_>, _: Option<&Self>) -> Result<Self, BuildError> {
        if settings.operations.is_empty() {
            return Err(BuildError::new("operations: is empty; name one, or leave the filter out"));
        }
        Ok(Self { settings })
    }
}

impl Filter for Maintenance {
    fn call<'a>(
        &'a self,
        cx: &'a RequestContext,
        request: &'a mut Request<Body>,
        next: Next<'a>,
    ) -> FilterFuture<'a> {
        Box::pin(async move {
            if !self.settings.namespaces.iter().any(|name| **name == **cx.namespace()) {
                return next.call(cx, request).await;
            }
            let operation = cx.operation(request).await?;
            if self.settings.operations.iter().any(|name| **name == **operation) {
                return Err(self.refusal(operation));
            }
            let mut response = next.call(cx, request).await?;
            response.headers_mut().insert("x-maintenance", HeaderValue::from_static("read-only"));
            Ok(response)
        })
    }
}

impl Maintenance {
    fn refusal(&self, operation: &str) -> Rejection {
        let seconds = std::time::Duration::from(self.settings.retry_after).as_secs();
        Rejection::new(Reason::RefusedByFilter, format!("`{operation}` is not possible during maintenance"))
            .with_code(Code::Unavailable)
            .with_header("retry-after", &seconds.to_string())
            .by(Self::NAME)
    }
}

/// The proxy with one more filter: the file to run is the first argument.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = PathBuf::from(std::env::args().nth(1).ok_or("name a configuration file")?);
    let base_dir = path.parent().map(PathBuf::from).unwrap_or_default();
    let source = Source { name: path.display().to_string(), text: fs::read_to_string(&path)?, base_dir };
    let options = Options {
        platform: Platform::system(),
        filters: registry::builtin().with::<Maintenance>(),
        builtins: Builtins::standard(),
        source,
        file: None,
        admin: true,
    };
    run_on_threads(options, |_| async {
        // An error means that no signal can be waited for: then it runs until it is killed.
        let _ = tokio::signal::ctrl_c().await;
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;
    use prism_filters::{Changes, NoServices, Protocol, RequestStart, Terminal, metrics::Metrics, run};
    use std::{path::Path, sync::Arc};

    /// The end of the chain: answers whatever reaches it.
    struct Answer;

    impl Terminal for Answer {
        fn call<'a>(&'a self, _: &'a RequestContext, _: &'a mut Request<Body>) -> FilterFuture<'a> {
            Box::pin(async { Ok(Response::new(Body::empty())) })
        }
    }

    /// What the proxy does with a file: settings to filter.
    fn build(settings: &serde_json::Value) -> Result<Arc<dyn Filter>, BuildError> {
        let cx = BuildContext {
            platform: &Platform::system(),
            metrics: &Arc::new(Metrics::new().unwrap()),
            base_dir: Path::new("."),
            listener: "edge",
            changes: &Changes::default(),
            services: &NoServices,
        };
        registry::builtin().with::<Maintenance>().build("maintenance", settings, &cx, None)
    }

    async fn call(namespace: &str, operation: &str) -> Result<Response<Body>, Rejection> {
        let filter = build(&serde_json::json!({ "namespaces": ["demo"], "retry_after": "1m" })).unwrap();
        let cx = RequestContext::new(RequestStart::new(Protocol::Grpc, namespace));
        cx.set_operation(operation.into());
        run(&[filter], &Answer, &cx, &mut Request::new(Body::empty())).await
    }

    #[tokio::test]
    async fn writing_waits_and_reading_goes_on() {
        let refusal = call("demo", "set").await.unwrap_err();
        assert_eq!((refusal.reason(), refusal.code()), (Reason::RefusedByFilter, Code::Unavailable));
        assert_eq!(refusal.filter(), "maintenance");
        assert_eq!(call("demo", "get").await.unwrap().headers()["x-maintenance"], "read-only");
        assert!(call("other", "set").await.unwrap().headers().is_empty());
    }

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        for settings in [serde_json::json!({ "operations": [] }), serde_json::json!({ "namespace": "demo" })]
        {
            assert!(build(&settings).is_err());
        }
    }
}
