//! Settings of `auth`.

use super::api_keys;
use prism_config::SettingProblem;
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of `auth`: which credentials a call may bring. One method stands here by itself; several stand under `any` or
/// `all`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
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
        let single = self.api_keys.clone().map(Method::ApiKeys);
        match (&self.any, &self.all) {
            (Some(any), _) => (Wanted::Any, any.clone()),
            (None, Some(all)) => (Wanted::All, all.clone()),
            (None, None) => (Wanted::Any, single.into_iter().collect()),
        }
    }

    pub(super) fn check(&self) -> Vec<SettingProblem> {
        let mut problems = Vec::new();
        let singles = [("api_keys", self.api_keys.is_some())];
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
        for method in self.methods().1 {
            match method {
                Method::ApiKeys(settings) => api_keys::check(&settings, &mut problems, written[0]),
            }
        }
        problems
    }
}
