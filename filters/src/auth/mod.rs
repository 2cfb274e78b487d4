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
mod bearer;
mod digests;
pub mod fetch;
pub mod jwks;
pub mod jwt;
mod mtls;
mod oauth2;
mod proof;
mod remembered;
mod settings;
pub mod strict_json;
mod ways;

#[cfg(test)]
mod tests;

pub use bearer::CHALLENGE;
pub use digests::bearer_of;
pub use mtls::certificate_principal;
pub use settings::{Method, Settings};

use crate::{
    Body, BuildContext, BuildError, Caller, Credential, Filter, FilterFuture, FilterType, Held, Method as Is,
    Next, Reason, Rejection, RequestContext,
};
use http::{HeaderMap, Request};
use prism_config::{Phase, SettingProblem};
use prism_platform::{
    Platform,
    time::{Instant, timeout_at},
};
use proof::{Bad, Proof};
use settings::Wanted;
use smallvec::SmallVec;
use std::{future::ready, sync::Arc};
use ways::Way;

/// The filter.
pub struct Auth {
    wanted: Wanted,
    ways: Vec<Way>,
    anonymous: bool,
    platform: Platform,
}

type Proofs = SmallVec<[Proof; 4]>;

impl Auth {
    /// What there is of each credential.
    fn proofs(&self, cx: &RequestContext, headers: &HeaderMap) -> Proofs {
        let mut token =
            if self.ways.iter().any(Way::takes_tokens) { bearer::written(headers) } else { Ok(None) };
        // A call has one token at most, and one way to judge it.
        let (mut judge, mut known) = (None, None);
        if let Ok(Some(written)) = token {
            let now = cx.moment(&self.platform);
            let remembered = |(place, way): (usize, &Way)| Some((place, way.remembered(written, now)?));
            // One that was accepted is written as a token; any other is looked at before it is looked into.
            match self.ways.iter().enumerate().find_map(remembered) {
                Some((place, credential)) => (judge, known) = (Some(place), Some(credential)),
                None => match bearer::check(written) {
                    Ok(()) => judge = self.judge_of(written),
                    Err(bad) => token = Err(bad),
                },
            }
        }
        let mut prove = |(place, way): (usize, &Way)| match (way, &token) {
            (_, Ok(Some(_))) if judge == Some(place) && known.is_some() => {
                known.take().map_or(Proof::Absent, Proof::Good)
            }
            (Way::Mtls(mtls), _) => mtls.prove(cx.client()),
            (Way::ApiKeys(keys), _) => keys.prove(headers),
            (_, Err(bad)) => Proof::Bad(bad.clone()),
            (_, Ok(None)) => Proof::Absent,
            (_, Ok(Some(_))) if judge.is_none() => Bad::new("the token is of no issuer that is asked").into(),
            (Way::Jwt(jwt), Ok(Some(token))) if judge == Some(place) => {
                jwt.prove(token, cx.moment(&self.platform))
            }
            (Way::OAuth2(oauth2), Ok(Some(token))) if judge == Some(place) => oauth2.prove(token),
            (Way::Jwt(_) | Way::OAuth2(_), _) => Proof::Absent,
        };
        self.ways.iter().enumerate().map(&mut prove).collect()
    }

    /// Which of the ways judges a token that none remembers: the one there is, the one of its issuer, or else the one that asks
    /// somebody.
    fn judge_of(&self, token: &[u8]) -> Option<usize> {
        let mut ways = self.ways.iter().enumerate().filter(|(_, way)| way.takes_tokens());
        let (first, second) = (ways.next()?.0, ways.next());
        if second.is_none() {
            return Some(first);
        }
        let position = |is: &dyn Fn(&Way) -> bool| self.ways.iter().position(is);
        let issuer = jwt::claimed_issuer(token);
        let of_issuer = |way: &Way| matches!(way, Way::Jwt(jwt) if Some(&jwt.verifier.settings().issuer) == issuer.as_ref());
        position(&of_issuer).or_else(|| position(&|way| matches!(way, Way::OAuth2(_))))
    }

    /// What all credentials together say.
    fn judge(&self, proofs: Proofs, headers: &HeaderMap) -> Result<Caller, Rejection> {
        let mut good: SmallVec<[Arc<Credential>; 4]> = SmallVec::new();
        let mut absent = 0;
        for (proof, way) in proofs.into_iter().zip(&self.ways) {
            match proof {
                Proof::Absent => absent += 1,
                Proof::Good(credential) => good.push(credential),
                Proof::Bad(bad) => {
                    let is_token = way.takes_tokens() && matches!(bearer::token(headers), Ok(Some(_)));
                    return Err(self.refused(bad, is_token));
                }
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
        let rejection = self.challenge(Rejection::new(Reason::MissingCredentials, message), false);
        match some {
            true => rejection.with_detail("one of the credentials that `all` asks for is missing"),
            false => rejection,
        }
    }

    fn refused(&self, bad: Bad, is_token: bool) -> Rejection {
        let message = "the call's credentials are not accepted";
        self.challenge(Rejection::new(Reason::InvalidCredentials, message), is_token)
            .with_detail(bad.into_text())
    }

    /// Says in `WWW-Authenticate` how to authenticate, as far as there is a scheme for it: certificates and API keys have none.
    ///
    /// RFC 9110 section 11.6.1: "A server generating a 401 (Unauthorized) response MUST send a WWW-Authenticate header field
    /// containing at least one challenge applicable to the requested resource." With other statuses, as gRPC's 200, it may.
    fn challenge(&self, rejection: Rejection, is_token: bool) -> Rejection {
        let rejection = rejection.by(Self::NAME);
        let challenge = if is_token { bearer::INVALID_TOKEN } else { CHALLENGE };
        match self.ways.iter().any(Way::takes_tokens) {
            true => rejection.with_header("www-authenticate", challenge),
            false => rejection,
        }
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

fn late() -> Rejection {
    let message = "the call's deadline passed before its credentials were checked";
    Rejection::new(Reason::DeadlineExceeded, message).by(Auth::NAME)
}

impl Filter for Auth {
    fn call<'a>(
        &'a self,
        cx: &'a RequestContext,
        request: &'a mut Request<Body>,
        next: Next<'a>,
    ) -> FilterFuture<'a> {
        let mut proofs: Proofs = self.proofs(cx, request.headers());
        // Nearly every call's credentials are known already, and cost no future of their own.
        if !proofs.iter().any(|proof| matches!(proof, Proof::Ask(_))) {
            return self.pass(self.judge(proofs, request.headers()), cx, request, next);
        }
        Box::pin(async move {
            let answered = async {
                for proof in &mut proofs {
                    if let Proof::Ask(asking) = proof {
                        *proof = asking.await;
                    }
                }
            };
            // What is found out past the deadline is for nobody.
            match cx.deadline() {
                None => answered.await,
                Some(deadline) => timeout_at(deadline, answered).await.map_err(|_| late())?,
            }
            self.pass(self.judge(proofs, request.headers()), cx, request, next).await
        })
    }

    fn recheck(&self, held: &Held<'_>) -> Result<(), Rejection> {
        let Some(caller) = held.caller else { return Err(self.missing(false)) };
        for credential in caller.credentials() {
            let principal = credential.principal();
            let is_token = matches!(credential.method(), Is::Jwt | Is::OAuth2);
            if credential.expires().is_some_and(|expires| expires <= Instant::now()) {
                let why = format!("the credential of {principal} has ended");
                return Err(self.refused(Bad::new(why), is_token));
            }
            let stands = match credential.method() {
                Is::Anonymous => self.anonymous,
                _ => self.ways.iter().any(|way| way.holds(credential, held.client)),
            };
            if !stands {
                let why = format!("the credential of {principal} is no longer good");
                return Err(self.refused(Bad::new(why), is_token));
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

    fn build(settings: Settings, cx: &BuildContext<'_>, previous: Option<&Self>) -> Result<Self, BuildError> {
        let (wanted, methods) = settings.methods();
        let ways = methods.into_iter().map(|method| ways::build(method, cx, previous));
        let ways = ways.collect::<Result<_, _>>()?;
        Ok(Self { wanted, ways, anonymous: settings.anonymous, platform: cx.platform.clone() })
    }
}
