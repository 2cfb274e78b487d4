//! The whole configuration, validated and resolved.

use serde::Serialize;
use serde_json::Value;

use crate::{
    admin::{Admin, Drain},
    listener::Listener,
    namespace::Namespace,
    plugin::Plugin,
    secrets::{SecretProviders, Secrets},
    units::ByteSize,
};

/// A configuration that can run: every default filled in, every path absolute, every reference found.
///
/// Made by [`parse`](crate::parse). Equal configurations run alike: the lines they were written on do not
/// count. Shown or serialized, secrets in it are redacted, and references to
/// secrets are what is written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// Where the proxy is watched and controlled.
    pub admin: Admin,
    /// Addresses that clients connect to; at least one.
    pub listeners: Vec<Listener>,
    /// Threads that serve connections; `None` for as many as this process has cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<usize>,
    /// How far the receive windows of all HTTP/2 connections together may grow above their initial sizes.
    pub window_budget_bytes: ByteSize,
    /// How many plugin libraries may be loaded while the proxy runs.
    pub max_library_generations: usize,
    /// How the proxy goes away.
    pub drain: Drain,
    /// Every plugin that is used or defined, also those that namespaces define inline and builtins that
    /// namespaces name as their backend.
    pub plugins: Vec<Plugin>,
    /// What clients address.
    pub namespaces: Vec<Namespace>,
    /// Where secrets are looked up.
    pub secrets: SecretProviders,
    /// Who names secrets, and what was found ([`Config::with_secrets`]).
    #[serde(skip)]
    pub found: Secrets,
}

impl Config {
    /// The plugin of that name.
    #[must_use]
    pub fn plugin(&self, name: &str) -> Option<&Plugin> {
        self.plugins.iter().find(|plugin| plugin.name == name)
    }

    /// The namespace of that name.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.iter().find(|namespace| namespace.name == name)
    }

    /// The configuration as it may be shown: secrets replaced, defaults filled in. Also what serializing it
    /// gives.
    #[must_use]
    pub fn redacted(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }
}
