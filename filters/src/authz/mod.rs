//! `authz`: whether who calls may do it, by the `access` rules of the namespace or forward route. What no rule allows is
//! denied.
//!
//! ```yaml
//! - auth: { … }
//! - authz: { shadow: false, external: { address: "unix:/run/authorizer.sock" } }
//! ```
//!
//! A namespace that does not exist, one without rules and one that is nobody's business of the caller are refused alike,
//! before anything of a body is read.

mod claims;
mod external;
mod index;
mod judge;
mod policy;
mod refused;
mod wanted;

pub use external::{Approval, Settings as ExternalSettings};
pub use judge::{Why, judge};
pub use policy::{Decision, Policy};
pub use refused::denied;
pub use wanted::{Grant, Guarded, Wanted};

use crate::{
    Body, BuildContext, BuildError, Caller, Filter, FilterFuture, FilterType, Held, Next, Rejection,
    RequestContext,
};
use http::Request;
use prism_config::{Phase, SettingProblem};
use prism_plugin_abi::Kind;
use prometheus::IntCounter;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

use external::{External, Refused};
use judge::{First, first, judged};
use refused::{asked_anew, late, unavailable};

/// Settings of `authz`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Refuse nothing: say in the access log's `detail` what would be refused and why, and count it in
    /// `prism_authz_shadow_denied_total`. For trying rules out on live traffic; off by default, because it protects nothing.
    pub shadow: bool,
    /// An authorizer in another process that has to allow, too, what the rules allow. None by default.
    #[schemars(with = "ExternalSettings")]
    pub external: Option<ExternalSettings>,
}

/// The filter.
pub struct Authz {
    shadow: bool,
    shadow_denied: IntCounter,
    external: Option<Arc<External>>,
}

impl FilterType for Authz {
    const NAME: &'static str = "authz";
    const PHASE: Phase = Phase::Request;
    type Settings = Settings;

    fn check(settings: &Settings) -> Vec<SettingProblem> {
        settings.external.as_ref().map(ExternalSettings::check).unwrap_or_default()
    }

    fn build(settings: Settings, cx: &BuildContext<'_>, previous: Option<&Self>) -> Result<Self, BuildError> {
        let shadow_denied = cx.metrics.authz_shadow_denied(cx.listener);
        let running = previous.and_then(|previous| previous.external.as_ref());
        let external = match (&settings.external, running) {
            // With its connections, and what it has approved.
            (Some(same), Some(running)) if running.settings() == same => Some(Arc::clone(running)),
            (Some(settings), _) => Some(Arc::new(External::open(settings, cx)?)),
            (None, _) => None,
        };
        Ok(Self { shadow: settings.shadow, shadow_denied, external })
    }
}

impl Filter for Authz {
    fn call<'a>(
        &'a self,
        cx: &'a RequestContext,
        request: &'a mut Request<Body>,
        next: Next<'a>,
    ) -> FilterFuture<'a> {
        if let Some(external) = &self.external {
            return Box::pin(self.asking(external, cx, request, next));
        }
        let judged = match first(&cx.into()) {
            Ok(First::Granted(grant)) => Ok(grant),
            Ok(First::Depends(caller, guarded)) => match cx.known_operation() {
                Some(operation) => judge(caller, guarded, operation),
                None => return Box::pin(self.when_known(cx, request, next, caller, guarded)),
            },
            Err(why) => Err(why),
        };
        match self.act(cx, judged) {
            Ok(()) => next.call(cx, request),
            Err(rejection) => Box::pin(std::future::ready(Err(rejection))),
        }
    }

    fn recheck(&self, held: &Held<'_>) -> Result<(), Rejection> {
        if self.shadow {
            return Ok(());
        }
        let kind = held.guarded.zip(held.operation).and_then(|(guarded, operation)| guarded.kind(operation));
        let ruled = match (first(held), held.operation) {
            (Ok(First::Depends(caller, guarded)), Some(operation)) => {
                judged(caller, guarded, operation, kind).map(drop)
            }
            (first, _) => first.map(drop),
        };
        ruled.map_err(|why| denied().by(Self::NAME).with_detail(format!("it was let in before: {why}")))?;
        match &self.external {
            // One that is still awaited ends by itself, and a change of the authorizer loses no call. But what begins only now
            // has to have been approved by one.
            Some(external)
                if (held.is_answering || held.is_held_back && held.approval.is_none())
                    && doing(held.wanted, kind).is_some()
                    && held.approval != Some(external.approval(kind)) =>
            {
                Err(asked_anew().by(Self::NAME))
            }
            _ => Ok(()),
        }
    }
}

impl Authz {
    /// The same for a call that names its operation in its body.
    async fn when_known<'a>(
        &'a self,
        cx: &'a RequestContext,
        request: &'a mut Request<Body>,
        next: Next<'a>,
        caller: &'a Caller,
        guarded: &'a dyn Guarded,
    ) -> Result<http::Response<Body>, Rejection> {
        let operation = cx.operation(request).await?;
        self.act(cx, judge(caller, guarded, operation))?;
        next.call(cx, request).await
    }

    /// The same where an authorizer has to allow, too, what the rules allow.
    async fn asking<'a>(
        &'a self,
        external: &'a External,
        cx: &'a RequestContext,
        request: &'a mut Request<Body>,
        next: Next<'a>,
    ) -> Result<http::Response<Body>, Rejection> {
        let held = Held::from(cx);
        let (ruled, kind) = match first(&held) {
            Ok(First::Granted(grant)) => (Ok(grant), None),
            Ok(First::Depends(caller, guarded)) => {
                let operation = cx.operation(request).await?;
                let kind = guarded.kind(operation);
                let judged = judged(caller, guarded, operation, kind);
                // An authorizer is asked about an operation of that kind, whatever rule let it be asked.
                (judged.map(|_| Grant::Kind(kind)), kind)
            }
            Err(why) => (Err(why), None),
        };
        let (doing, grant) = match (doing(cx.wanted(), kind), ruled) {
            (Some(doing), Ok(grant)) => (doing, grant),
            (_, ruled) => {
                self.act(cx, ruled)?;
                return next.call(cx, request).await;
            }
        };
        let operation = cx.known_operation().map(|operation| &**operation).unwrap_or_default();
        let changes = match external.ask(cx, request, operation, &doing).await {
            Ok(changes) if !self.shadow => changes,
            // Nothing is to be other than without it.
            Ok(_) => {
                cx.set_grant(Grant::Watched);
                return next.call(cx, request).await;
            }
            Err(refused) => {
                let (rejection, why) = match refused {
                    Refused::Denied(code, why) => (denied().with_code(code), why),
                    Refused::Failed(why) => (unavailable(), why),
                    Refused::Late(why) => (late(), why),
                };
                self.refuse(cx, rejection, why.into())?;
                return next.call(cx, request).await;
            }
        };
        cx.set_grant(grant);
        cx.set_approval(external.approval(kind));
        changes.request.apply(request.headers_mut());
        let mut response = next.call(cx, request).await?;
        changes.answer.apply(response.headers_mut());
        Ok(response)
    }

    /// Lets it pass, or does not.
    fn act(&self, cx: &RequestContext, judged: Result<Grant, Why>) -> Result<(), Rejection> {
        match judged {
            Ok(grant) => {
                cx.set_grant(if self.shadow { Grant::Watched } else { grant });
                Ok(())
            }
            Err(why) => self.refuse(cx, denied(), why),
        }
    }

    /// Refuses, or says that it would.
    fn refuse(&self, cx: &RequestContext, rejection: Rejection, why: Why) -> Result<(), Rejection> {
        if !self.shadow {
            return Err(rejection.by(Self::NAME).with_detail(why));
        }
        self.shadow_denied.inc();
        cx.set_note(format!("authz would refuse it: {why}").into());
        cx.set_grant(Grant::Watched);
        Ok(())
    }
}

/// What is about to be done, as an authorizer is told; `None` where it is not asked: about what concerns no namespace and no
/// service, and about an operation that nobody declares, which is not done.
fn doing(wanted: &Wanted, kind: Option<Kind>) -> Option<String> {
    match wanted {
        Wanted::Nothing | Wanted::Listener => None,
        Wanted::Forward(_) => Some("forward".to_owned()),
        Wanted::Description => Some("describe".to_owned()),
        Wanted::Operation => kind.map(|kind| kind.to_string()),
    }
}

#[cfg(test)]
mod tests;
