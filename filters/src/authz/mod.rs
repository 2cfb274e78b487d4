//! `authz`: whether who calls may do it, by the `access` rules of the namespace or forward route. What no rule allows is
//! denied.
//!
//! ```yaml
//! - auth: { … }
//! - authz: { shadow: false }
//! ```
//!
//! A namespace that does not exist, one without rules and one that is nobody's business of the caller are refused alike,
//! before anything of a body is read.

mod claims;
mod index;
mod policy;
mod wanted;

pub use policy::{Decision, Policy};
pub use wanted::{Grant, Guarded, Wanted};

use crate::{
    Body, BuildContext, BuildError, Caller, Filter, FilterFuture, FilterType, Held, Next, Reason, Rejection,
    RequestContext,
};
use http::Request;
use prism_config::Phase;
use prism_plugin_abi::Kind;
use prometheus::IntCounter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Settings of `authz`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Refuse nothing: say in the access log's `detail` what would be refused and why, and count it in
    /// `prism_authz_shadow_denied_total`. For trying rules out on live traffic; off by default, because it protects nothing.
    pub shadow: bool,
}

/// The filter.
pub struct Authz {
    shadow: bool,
    shadow_denied: IntCounter,
}

impl FilterType for Authz {
    const NAME: &'static str = "authz";
    const PHASE: Phase = Phase::Request;
    type Settings = Settings;

    fn build(settings: Settings, cx: &BuildContext<'_>, _: Option<&Self>) -> Result<Self, BuildError> {
        let shadow_denied = cx.metrics.authz_shadow_denied(cx.listener);
        Ok(Self { shadow: settings.shadow, shadow_denied })
    }
}

/// Why not: for the operator alone.
pub type Why = Cow<'static, str>;

/// What is known before the operation is.
enum First<'a> {
    Granted(Grant),
    /// The caller may do something here; it depends on the operation.
    Depends(&'a Caller, &'a dyn Guarded),
}

impl Filter for Authz {
    fn call<'a>(
        &'a self,
        cx: &'a RequestContext,
        request: &'a mut Request<Body>,
        next: Next<'a>,
    ) -> FilterFuture<'a> {
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
        let judged = match (first(held), held.operation) {
            (Ok(First::Depends(caller, guarded)), Some(operation)) => {
                judge(caller, guarded, operation).map(drop)
            }
            (first, _) => first.map(drop),
        };
        judged.map_err(|why| denied().by(Self::NAME).with_detail(format!("it was let in before: {why}")))
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

    /// Lets it pass, or does not.
    fn act(&self, cx: &RequestContext, judged: Result<Grant, Why>) -> Result<(), Rejection> {
        match judged {
            Ok(grant) => cx.set_grant(if self.shadow { Grant::Watched } else { grant }),
            Err(why) if self.shadow => {
                self.shadow_denied.inc();
                cx.set_note(format!("authz would refuse it: {why}").into());
                cx.set_grant(Grant::Watched);
            }
            Err(why) => return Err(denied().by(Self::NAME).with_detail(why)),
        }
        Ok(())
    }
}

/// The one refusal: whoever tries names learns nothing from it.
#[must_use]
pub fn denied() -> Rejection {
    Rejection::new(Reason::AccessDenied, "the caller may not do that, or there is no such thing here")
}

impl<'a> From<&'a RequestContext> for Held<'a> {
    /// A call that is about to be let in.
    fn from(cx: &'a RequestContext) -> Self {
        Self {
            caller: cx.caller(),
            namespace: cx.namespace(),
            operation: cx.known_operation(),
            wanted: cx.wanted(),
            guarded: cx.guarded(),
            exists: cx.metrics().is_some(),
            client: cx.client(),
        }
    }
}

/// What can be said without the operation.
fn first<'a>(call: &Held<'a>) -> Result<First<'a>, Why> {
    let caller = || call.caller.ok_or(Why::Borrowed("nobody found out who calls: there was no `auth`"));
    match call.wanted {
        Wanted::Nothing => Ok(First::Granted(Grant::Description)),
        // Load balancers ask for it, and it says nothing of any namespace.
        Wanted::Listener => Ok(First::Granted(Grant::Description)),
        Wanted::Forward(None) => Err("the route has no `access` rules".into()),
        Wanted::Forward(Some(policy)) => match policy.admits(caller()?) {
            Some(_) => Ok(First::Granted(Grant::AsWanted)),
            None => Err("no rule of the route's `access` is about the caller".into()),
        },
        Wanted::Description | Wanted::Operation => {
            let caller = caller()?;
            let guarded = call.guarded.ok_or_else(|| nothing_here(call))?;
            if guarded.policy().knows(caller).is_none() {
                return Err("no rule of the namespace's `access` permits the caller anything".into());
            }
            match call.wanted {
                Wanted::Operation => Ok(First::Depends(caller, guarded)),
                _ => Ok(First::Granted(Grant::Description)),
            }
        }
    }
}

fn nothing_here(call: &Held<'_>) -> Why {
    if call.namespace.is_empty() {
        "the call names no namespace".into()
    } else if call.exists {
        "the namespace has no `access` rules".into()
    } else {
        "there is no such namespace".into()
    }
}

/// Whether a caller who may do anything here may call the operation, as what answers now declares it. One that nobody
/// declares is let through to be told so, since the caller may know what there is: it is granted as that and nothing else.
///
/// Also for calls that have begun, when the rules have changed: one that is refused now has to end, and so has one whose
/// operation's kind the new grant does not cover ([`Grant::covers`]).
///
/// # Errors
/// Why not, for the operator alone.
pub fn judge(caller: &Caller, guarded: &dyn Guarded, operation: &str) -> Result<Grant, Why> {
    let declared = guarded.kind(operation);
    match guarded.policy().decide(caller, operation, declared.unwrap_or_default()) {
        Decision::ByName(_) => Ok(Grant::AsWanted),
        Decision::ByKind(_) => Ok(Grant::Kind(declared)),
        Decision::Denied(rule) => Err(format!("access[{rule}] of the namespace denies the operation").into()),
        Decision::NotAllowed => match declared {
            None => Ok(Grant::Kind(None)),
            Some(kind) => Err(format!("no rule allows the caller {}", named(kind)).into()),
        },
    }
}

fn named(kind: Kind) -> &'static str {
    match kind {
        Kind::Read => "an operation of kind read",
        Kind::Write => "an operation of kind write",
        Kind::Admin => "an operation of kind admin",
        Kind::Unspecified => {
            "an operation whose kind nobody says, which takes `admin` or a rule that names it"
        }
    }
}

#[cfg(test)]
mod tests;
