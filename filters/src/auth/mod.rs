//! `auth`: who calls. A call's credentials are judged one by one; what they prove is the caller, and they go no further.
//!
//! ```yaml
//! - auth:
//!     any:
//!       - mtls: {}
//!       - jwt: { issuer: https://id.example, audiences: [orders], jwks: { file: keys.json } }
//! ```
//!
//! What a refusal says to the caller is the same for every credential that is not good; the access log's `detail` says
//! which one it was and why.

mod api_keys;
pub mod fetch;
pub mod jwks;
pub mod jwt;
mod proof;
mod settings;
pub mod strict_json;

#[cfg(test)]
mod tests;

pub use settings::{Method, Settings};

use crate::{
    Body, BuildContext, BuildError, Caller, Credential, Filter, FilterFuture, FilterType, Held, Next, Reason,
    Rejection, RequestContext,
};
use api_keys::ApiKeys;
use http::{HeaderMap, Request};
use prism_config::{Phase, SettingProblem};
use prism_platform::time::Instant;
use proof::{Bad, Proof};
use settings::Wanted;
use smallvec::SmallVec;
use std::{future::ready, sync::Arc};

/// The filter.
pub struct Auth {
    wanted: Wanted,
    ways: Vec<Way>,
    anonymous: bool,
}

/// One way to say who calls.
enum Way {
    ApiKeys(ApiKeys),
}

impl Way {
    fn prove(&self, headers: &HeaderMap) -> Proof<'_> {
        match self {
            Self::ApiKeys(keys) => keys.prove(headers),
        }
    }

    /// Takes the credential out of what goes on.
    fn strip(&self, headers: &mut HeaderMap) {
        match self {
            Self::ApiKeys(keys) => drop(headers.remove(keys.header())),
        }
    }

    /// A credential that was good would still be, whenever it ends.
    fn holds(&self, credential: &Credential) -> bool {
        match self {
            Self::ApiKeys(keys) => keys.holds(credential),
        }
    }
}

type Proofs<'a> = SmallVec<[Proof<'a>; 4]>;

impl Auth {
    /// What all credentials together say.
    fn judge(&self, proofs: Proofs<'_>) -> Result<Caller, Rejection> {
        let mut good: SmallVec<[Arc<Credential>; 4]> = SmallVec::new();
        let mut absent = 0;
        for proof in proofs {
            match proof {
                Proof::Absent => absent += 1,
                Proof::Good(credential) => good.push(credential),
                Proof::Bad(bad) => return Err(self.refused(bad)),
                Proof::Unknown(why) => return Err(unknown().with_detail(why)),
                // Whoever asks has the answers by now.
                Proof::Ask(_) => return Err(unknown().with_detail("a credential was not judged")),
            }
        }
        let found = !good.is_empty();
        let mut good = good.into_iter();
        match (self.wanted, good.next()) {
            (Wanted::Any, Some(first)) => Ok(Caller::new(first)),
            (Wanted::All, Some(first)) if absent == 0 => Ok(Caller::new(first).with(good)),
            _ if self.anonymous && !found => Ok(Caller::new(Arc::new(Credential::anonymous()))),
            _ => Err(self.missing(found)),
        }
    }

    fn missing(&self, some: bool) -> Rejection {
        let message = "the call needs credentials: see how this proxy is to be called";
        let rejection = Rejection::new(Reason::MissingCredentials, message).by(Self::NAME);
        match some {
            true => rejection.with_detail("one of the credentials that `all` asks for is missing"),
            false => rejection,
        }
    }

    fn refused(&self, bad: Bad) -> Rejection {
        Rejection::new(Reason::InvalidCredentials, "the call's credentials are not accepted")
            .by(Self::NAME)
            .with_detail(bad.into_text())
    }

    fn pass<'a>(
        &'a self,
        caller: Result<Caller, Rejection>,
        cx: &'a RequestContext,
        request: &'a mut Request<Body>,
        next: Next<'a>,
    ) -> FilterFuture<'a> {
        match caller {
            Ok(caller) => {
                cx.set_caller(caller);
                for way in &self.ways {
                    way.strip(request.headers_mut());
                }
                next.call(cx, request)
            }
            Err(rejection) => Box::pin(ready(Err(rejection))),
        }
    }
}

fn unknown() -> Rejection {
    Rejection::new(Reason::AuthUnavailable, "the call's credentials cannot be checked just now: call again")
        .by(Auth::NAME)
}

impl Filter for Auth {
    fn call<'a>(
        &'a self,
        cx: &'a RequestContext,
        request: &'a mut Request<Body>,
        next: Next<'a>,
    ) -> FilterFuture<'a> {
        let mut proofs: Proofs<'a> = self.ways.iter().map(|way| way.prove(request.headers())).collect();
        // Nearly every call's credentials are known already, and cost no future of their own.
        if !proofs.iter().any(|proof| matches!(proof, Proof::Ask(_))) {
            return self.pass(self.judge(proofs), cx, request, next);
        }
        Box::pin(async move {
            for proof in &mut proofs {
                if let Proof::Ask(asking) = proof {
                    *proof = asking.await;
                }
            }
            self.pass(self.judge(proofs), cx, request, next).await
        })
    }

    fn recheck(&self, held: &Held<'_>) -> Result<(), Rejection> {
        let Some(caller) = held.caller else { return Err(self.missing(false)) };
        for credential in caller.credentials() {
            let principal = credential.principal();
            if credential.expires().is_some_and(|expires| expires <= Instant::now()) {
                return Err(self.refused(Bad::new(format!("the credential of {principal} has ended"))));
            }
            let stands = match credential.method() {
                crate::Method::Anonymous => self.anonymous,
                _ => self.ways.iter().any(|way| way.holds(credential)),
            };
            if !stands {
                return Err(
                    self.refused(Bad::new(format!("the credential of {principal} is no longer good")))
                );
            }
        }
        Ok(())
    }
}

impl FilterType for Auth {
    const NAME: &'static str = "auth";
    const PHASE: Phase = Phase::Request;
    type Settings = Settings;

    fn check(settings: &Settings) -> Vec<SettingProblem> {
        settings.check()
    }

    fn build(
        settings: Settings,
        cx: &BuildContext<'_>,
        _previous: Option<&Self>,
    ) -> Result<Self, BuildError> {
        let (wanted, methods) = settings.methods();
        let mut ways = Vec::with_capacity(methods.len());
        for method in methods {
            let changes = cx.changes.clone();
            ways.push(match method {
                Method::ApiKeys(settings) => {
                    let opened =
                        ApiKeys::open(&settings, cx.base_dir, cx.platform, move || changes.happened());
                    Way::ApiKeys(opened.map_err(|error| BuildError::new(error.to_string()))?)
                }
            });
        }
        Ok(Self { wanted, ways, anonymous: settings.anonymous })
    }
}
