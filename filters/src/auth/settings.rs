//! Settings of `auth`.

use super::{api_keys, jwt, mtls, oauth2};
use crate::{Credential, Method as Is};
use prism_config::SettingProblem;
use schemars::JsonSchema;
use serde::Deserialize;
use std::{path::Path, time::SystemTime};

/// Settings of `auth`: which credentials a call may bring. One method stands here by itself; several stand under `any` or
/// `all`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Client certificates.
    #[schemars(with = "mtls::Settings")]
    pub mtls: Option<mtls::Settings>,
    /// JSON web tokens.
    #[schemars(with = "jwt::Settings")]
    pub jwt: Option<jwt::Settings>,
    /// Opaque tokens.
    #[schemars(with = "oauth2::Settings")]
    pub oauth2: Option<oauth2::Settings>,
    /// API keys.
    #[schemars(with = "api_keys::Settings")]
    pub api_keys: Option<api_keys::Settings>,
    /// Each call brings a credential of one of these. One that is there and not good refuses the call, whatever else it
    /// brings. Of several that are good, the method that stands first names the caller.
    #[schemars(with = "Vec<Method>")]
    pub any: Option<Vec<Method>>,
    /// Each call brings a credential of every one of these. The first names the caller; rules of `access` may be met by any.
    #[schemars(with = "Vec<Method>")]
    pub all: Option<Vec<Method>>,
    /// Whether calls without any credential are let in, as `anonymous`. Off: who is to be let in unknown is written down.
    pub anonymous: bool,
}

/// One way to say who calls.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "AuthMethod")]
pub enum Method {
    /// Client certificates.
    Mtls(mtls::Settings),
    /// JSON web tokens.
    Jwt(Box<jwt::Settings>),
    /// Opaque tokens.
    #[serde(rename = "oauth2")]
    OAuth2(Box<oauth2::Settings>),
    /// API keys.
    ApiKeys(api_keys::Settings),
}

/// How a call's credentials count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Any,
    All,
}

impl Settings {
    /// The methods, in their order.
    pub(super) fn methods(&self) -> (Wanted, Vec<Method>) {
        let single = self
            .mtls
            .clone()
            .map(Method::Mtls)
            .or_else(|| self.jwt.clone().map(Box::new).map(Method::Jwt))
            .or_else(|| self.oauth2.clone().map(Box::new).map(Method::OAuth2))
            .or_else(|| self.api_keys.clone().map(Method::ApiKeys));
        match (&self.any, &self.all) {
            (Some(any), _) => (Wanted::Any, any.clone()),
            (None, Some(all)) => (Wanted::All, all.clone()),
            (None, None) => (Wanted::Any, single.into_iter().collect()),
        }
    }

    /// Whether a call may have that credential here: one of the methods gives such principals, or nobody's is let in. Whether
    /// there is somebody of that name, only the method itself knows.
    #[must_use]
    pub fn may_give(&self, credential: &Credential) -> bool {
        let of_issuer = |is: Is, issuer: &str| {
            let begin = Credential::new(is, issuer).ok();
            let rest = begin.and_then(|begin| credential.principal().strip_prefix(&**begin.principal()));
            rest.is_some_and(|rest| rest.starts_with(':'))
        };
        let gives = |method: &Method| match (method, credential.method()) {
            (Method::Mtls(_), Is::Spiffe | Is::Dns) | (Method::ApiKeys(_), Is::ApiKey) => true,
            (Method::Mtls(settings), Is::CommonName) => settings.common_name,
            (Method::Jwt(settings), is @ Is::Jwt) => of_issuer(is, &settings.issuer),
            (Method::OAuth2(settings), is @ Is::OAuth2) => of_issuer(is, &settings.issuer),
            _ => false,
        };
        match credential.method() {
            Is::Anonymous => self.anonymous,
            _ => self.methods().1.iter().any(gives),
        }
    }

    /// What is wrong with the files that they name, below `base_dir`; each with where it is named. For `prism-edge check`. Blocks.
    #[must_use]
    pub fn check_files(&self, base_dir: &Path, now: SystemTime) -> Vec<(String, String)> {
        let (_, methods) = self.methods();
        let place = |at: usize| match (&self.any, &self.all) {
            (Some(_), _) => format!("any[{at}]."),
            (None, Some(_)) => format!("all[{at}]."),
            (None, None) => String::new(),
        };
        let wrong = |(at, method): (usize, &Method)| {
            let (key, error) = match method {
                Method::ApiKeys(settings) => {
                    ("api_keys.file", api_keys::check_file(settings, base_dir, now).err()?)
                }
                Method::Jwt(settings) => ("jwt.jwks.file", settings.jwks.check_file(base_dir).err()?),
                Method::Mtls(_) | Method::OAuth2(_) => return None,
            };
            Some((format!("{}{key}", place(at)), error))
        };
        methods.iter().enumerate().filter_map(wrong).collect()
    }

    pub(super) fn check(&self) -> Vec<SettingProblem> {
        let mut problems = Vec::new();
        let singles = [
            ("mtls", self.mtls.is_some()),
            ("jwt", self.jwt.is_some()),
            ("oauth2", self.oauth2.is_some()),
            ("api_keys", self.api_keys.is_some()),
        ];
        let lists = [("any", self.any.as_ref()), ("all", self.all.as_ref())];
        let written: Vec<_> = singles
            .into_iter()
            .chain(lists.map(|(key, list)| (key, list.is_some())))
            .filter_map(|(key, is_there)| is_there.then_some(key))
            .collect();
        match written[..] {
            [] => problems.push(
                SettingProblem::new("", "`auth` names no method, so nobody could call")
                    .hint("such as `jwt`, `mtls` or `api_keys`"),
            ),
            [_] => {}
            [_, second, ..] => problems.push(
                SettingProblem::new(second, "it is not said how the methods count together")
                    .hint("put them under `any` or under `all`"),
            ),
        }
        for (key, list) in lists {
            if list.is_some_and(Vec::is_empty) {
                problems.push(SettingProblem::new(key, "it names no method, so nobody could call"));
            }
        }
        let (wanted, methods) = self.methods();
        let key = written.first().copied().unwrap_or_default();
        for method in &methods {
            match method {
                Method::Mtls(_) => {}
                Method::Jwt(settings) => {
                    problems.extend(settings.check().into_iter().map(|problem| problem.below(key)));
                }
                Method::OAuth2(settings) => oauth2::check(settings, &mut problems, key),
                Method::ApiKeys(settings) => api_keys::check(settings, &mut problems, key),
            }
        }
        self.check_together(wanted, &methods, key, &mut problems);
        problems
    }

    /// Methods that stand in one another's way.
    fn check_together(
        &self,
        wanted: Wanted,
        methods: &[Method],
        key: &'static str,
        problems: &mut Vec<SettingProblem>,
    ) {
        let tokens =
            methods.iter().filter(|method| matches!(method, Method::Jwt(_) | Method::OAuth2(_))).count();
        if wanted == Wanted::All && tokens > 1 {
            let message = "a call has room for one token, so `all` of these can never be there";
            problems.push(SettingProblem::new(key, message).hint("keep one of `jwt` and `oauth2`"));
        }
        let issuers: Vec<&str> = methods
            .iter()
            .filter_map(|method| match method {
                Method::Jwt(settings) => Some(settings.issuer.as_str()),
                Method::OAuth2(settings) => Some(settings.issuer.as_str()),
                Method::Mtls(_) | Method::ApiKeys(_) => None,
            })
            .collect();
        for issuer in &issuers {
            if issuers
                .iter()
                .any(|other| other.strip_prefix(issuer).is_some_and(|rest| rest.starts_with(':')))
            {
                let message = format!(
                    "a rule about `{issuer}:*` would be about another of the issuers, which begins so, too"
                );
                problems.push(SettingProblem::new(key, message).hint("keep them on listeners of their own"));
            }
        }
        for (place, method) in methods.iter().enumerate() {
            let same = |other: &&Method| match (method, other) {
                (Method::Mtls(_), Method::Mtls(_)) | (Method::OAuth2(_), Method::OAuth2(_)) => true,
                // Who is to judge a token is told by its issuer.
                (Method::Jwt(one), Method::Jwt(other)) => one.issuer == other.issuer,
                (Method::ApiKeys(one), Method::ApiKeys(other)) => {
                    one.header.eq_ignore_ascii_case(&other.header)
                }
                _ => false,
            };
            if methods[..place].iter().any(|other| same(&other)) {
                problems
                    .push(SettingProblem::new(key, "two of the methods judge the same credential").at(place));
            }
        }
    }
}
