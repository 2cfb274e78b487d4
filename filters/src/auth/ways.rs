//! The ways to say who calls, and how each is built.

use super::{
    Bad, Method, Proof,
    api_keys::ApiKeys,
    jwks,
    jwt::{self, Refused},
    mtls::Mtls,
    oauth2::OAuth2,
};
use crate::{BuildContext, BuildError, Changes, Credential, Method as Is, clock::Moment};
use http::{HeaderMap, header};
use prism_tls::ClientIdentity;
use std::sync::Arc;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

/// One way to say who calls.
pub(super) enum Way {
    Mtls(Mtls),
    Jwt(Jwt),
    OAuth2(Arc<OAuth2>),
    ApiKeys(ApiKeys),
}

/// Tokens of one issuer. Ends its background task when it is dropped.
pub(super) struct Jwt {
    pub(super) verifier: Arc<jwt::Verifier>,
    /// Tells that keys have changed.
    telling: JoinHandle<()>,
}

impl Drop for Jwt {
    fn drop(&mut self) {
        self.telling.abort();
    }
}

impl Jwt {
    fn new(verifier: Arc<jwt::Verifier>, changes: Changes) -> Self {
        let keys = Arc::clone(verifier.keys());
        let telling = tokio::spawn(async move {
            let mut generation = keys.generation();
            loop {
                keys.newer_than(generation).await;
                generation = keys.generation();
                changes.happened();
            }
        });
        Self { verifier, telling }
    }

    /// Judges a token that is not remembered.
    pub(super) fn prove(&self, token: &[u8], now: Moment) -> Proof {
        match self.verifier.verify_anew(token, now) {
            // The keys may have to be fetched.
            Err(Refused::UnknownKey | Refused::NoKeys) => {
                let (verifier, token) = (Arc::clone(&self.verifier), Zeroizing::new(token.to_vec()));
                Proof::Ask(Box::pin(async move { proof(verifier.verify_or_fetch(&token).await) }))
            }
            verified => proof(verified),
        }
    }
}

fn proof(verified: Result<Arc<Credential>, Refused>) -> Proof {
    match verified {
        Ok(credential) => Proof::Good(credential),
        Err(refused) if refused.is_unavailable() => Proof::Unknown(refused.to_string().into()),
        Err(refused) => Bad::new(refused.to_string()).into(),
    }
}

impl Way {
    /// It judges tokens.
    pub(super) fn takes_tokens(&self) -> bool {
        matches!(self, Self::Jwt(_) | Self::OAuth2(_))
    }

    /// What this token has proven before, if that is still good.
    pub(super) fn remembered(&self, token: &[u8], now: Moment) -> Option<Arc<Credential>> {
        match self {
            Self::Jwt(jwt) => jwt.verifier.remembered(token, now),
            Self::OAuth2(oauth2) => oauth2.remembered(token, now),
            Self::Mtls(_) | Self::ApiKeys(_) => None,
        }
    }

    /// Takes the credential out of what goes on.
    pub(super) fn strip(&self, headers: &mut HeaderMap) {
        match self {
            Self::Mtls(_) => {}
            Self::Jwt(_) | Self::OAuth2(_) => drop(headers.remove(header::AUTHORIZATION)),
            Self::ApiKeys(keys) => drop(headers.remove(keys.header())),
        }
    }

    /// A credential that was good would still be, whenever it ends.
    pub(super) fn holds(&self, credential: &Credential, client: Option<&Arc<ClientIdentity>>) -> bool {
        match (self, credential.method()) {
            (Self::Mtls(mtls), Is::Spiffe | Is::Dns | Is::CommonName) => mtls.holds(credential, client),
            (Self::Jwt(jwt), Is::Jwt) => credential.stands_before(jwt.verifier.judge()),
            (Self::OAuth2(oauth2), Is::OAuth2) => oauth2.holds(credential),
            (Self::ApiKeys(keys), Is::ApiKey) => keys.holds(credential),
            _ => false,
        }
    }
}

/// Builds a way. What is known of tokens is taken from the `previous` filter where it is judged by the same.
pub(super) fn build(
    method: Method,
    cx: &BuildContext<'_>,
    previous: Option<&super::Auth>,
) -> Result<Way, BuildError> {
    let changes = cx.changes.clone();
    let changed = move || changes.happened();
    let failed = |error: &dyn std::error::Error| BuildError::new(error.to_string());
    let before = || previous.into_iter().flat_map(|auth| &auth.ways);
    Ok(match method {
        Method::Mtls(settings) => Way::Mtls(Mtls::new(settings, cx.platform)),
        Method::Jwt(settings) => {
            let verifiers = || {
                before().filter_map(|way| match way {
                    Way::Jwt(jwt) => Some(&jwt.verifier),
                    _ => None,
                })
            };
            let verifier = match verifiers().find(|verifier| *verifier.settings() == *settings) {
                Some(verifier) => Arc::clone(verifier),
                None => {
                    let same = verifiers().find(|verifier| verifier.settings().jwks == settings.jwks);
                    let keys = jwks::Keys::open(
                        &settings.jwks,
                        cx.platform,
                        cx.base_dir,
                        same.map(|verifier| verifier.keys()),
                    );
                    let keys = keys.map_err(|error| failed(&error))?;
                    Arc::new(jwt::Verifier::new(*settings, keys, cx.platform))
                }
            };
            cx.metrics.add_keys(cx.listener, &verifier.settings().issuer, verifier.keys());
            Way::Jwt(Jwt::new(verifier, cx.changes.clone()))
        }
        Method::OAuth2(settings) => {
            let same = before().find_map(|way| match way {
                Way::OAuth2(oauth2) if *oauth2.settings() == *settings => Some(Arc::clone(oauth2)),
                _ => None,
            });
            Way::OAuth2(match same {
                Some(oauth2) => oauth2,
                None => {
                    let opened = OAuth2::open(*settings, cx.base_dir, cx.platform, changed);
                    Arc::new(opened.map_err(|error| failed(&error))?)
                }
            })
        }
        Method::ApiKeys(settings) => Way::ApiKeys(
            ApiKeys::open(&settings, cx.base_dir, cx.platform, changed).map_err(|error| failed(&error))?,
        ),
    })
}
