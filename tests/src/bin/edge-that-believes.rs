//! `prism-edge` with an `auth` that believes whatever it is told, for tests of what is done with it, and a filter that holds
//! requests up where a test wants something to happen meanwhile.

use http::Request;
use prism_config::Phase;
use prism_edge::{Builtins, cli};
use prism_filters::{
    Body, BuildContext, BuildError, Caller, Credential, Filter, FilterFuture, FilterType, Method, Next,
    Reason, Rejection, RequestContext, registry,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

/// Settings of `auth`: none.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// The caller is what the header `x-caller` says: credentials with `;` between them, each a key's name, or one with claims
/// as JSON behind a blank. Without the header: nobody.
struct Believes;

impl FilterType for Believes {
    const NAME: &'static str = "auth";
    const PHASE: Phase = Phase::Request;
    type Settings = Nothing;

    fn build(_: Nothing, _: &BuildContext<'_>, _: Option<&Self>) -> Result<Self, BuildError> {
        Ok(Self)
    }
}

impl Filter for Believes {
    fn call<'a>(
        &'a self,
        cx: &'a RequestContext,
        request: &'a mut Request<Body>,
        next: Next<'a>,
    ) -> FilterFuture<'a> {
        let told = request.headers().get("x-caller").and_then(|value| value.to_str().ok());
        let credentials = told.map(|told| told.split(';').map(credential).collect::<Option<Vec<_>>>());
        let caller = match credentials {
            None => Caller::new(Arc::new(Credential::anonymous())),
            Some(Some(mut credentials)) if !credentials.is_empty() => {
                Caller::new(credentials.remove(0)).with(credentials)
            }
            Some(_) => {
                let refused =
                    Rejection::new(Reason::InvalidCredentials, "x-caller is not what this test says");
                return Box::pin(std::future::ready(Err(refused)));
            }
        };
        cx.set_caller(caller);
        next.call(cx, request)
    }
}

fn credential(told: &str) -> Option<Arc<Credential>> {
    let (name, claims) = told.split_once(' ').unwrap_or((told, "{}"));
    let credential = Credential::new(Method::ApiKey, name).ok()?;
    Some(Arc::new(credential.with_claims(serde_json::from_str(claims).ok()?)))
}

/// Settings of `hold`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Until {
    /// Requests wait until this file is not there.
    gone: PathBuf,
}

struct Hold(PathBuf);

impl FilterType for Hold {
    const NAME: &'static str = "hold";
    const PHASE: Phase = Phase::Request;
    type Settings = Until;

    fn build(settings: Until, cx: &BuildContext<'_>, _: Option<&Self>) -> Result<Self, BuildError> {
        Ok(Self(cx.base_dir.join(settings.gone)))
    }
}

impl Filter for Hold {
    fn call<'a>(
        &'a self,
        cx: &'a RequestContext,
        request: &'a mut Request<Body>,
        next: Next<'a>,
    ) -> FilterFuture<'a> {
        Box::pin(async move {
            // So that a test can see that it is here.
            let seen = self.0.with_extension("seen");
            while self.0.exists() {
                let _ = std::fs::write(&seen, "");
                prism_platform::time::sleep(Duration::from_millis(5)).await;
            }
            next.call(cx, request).await
        })
    }
}

fn main() -> ExitCode {
    cli::run(registry::builtin().with::<Believes>().with::<Hold>(), Builtins::standard())
}
