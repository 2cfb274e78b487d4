//! Where a forward route's requests go, and under which path.

use bytestring::ByteString;
use prism_config::PathMatch;
use prism_filters::authz::Policy;
use prism_plugin_host::Cluster;
use std::{borrow::Cow, sync::Arc};

/// Where a forward route's requests go.
pub(crate) struct Forward {
    cluster: Arc<Cluster>,
    plugin: Option<ByteString>,
    matched: PathMatch,
    rewrite: Option<String>,
    policy: Option<Arc<Policy>>,
}

impl Forward {
    /// To `cluster`, of a plugin or not; `rewrite` takes the place of what was matched of the path.
    pub(crate) fn new(
        cluster: Arc<Cluster>,
        plugin: Option<&str>,
        matched: PathMatch,
        rewrite: Option<String>,
    ) -> Self {
        Self { cluster, plugin: plugin.map(ByteString::from), matched, rewrite, policy: None }
    }

    /// The same with rules of who may use it.
    pub(crate) fn guarded_by(mut self, policy: Option<Arc<Policy>>) -> Self {
        self.policy = policy;
        self
    }

    /// Who may use it; `None` where it has no rules.
    pub(crate) fn policy(&self) -> Option<&Arc<Policy>> {
        self.policy.as_ref()
    }

    pub(crate) fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// The plugin that it goes to, if it is one.
    pub(crate) fn plugin(&self) -> Option<&ByteString> {
        self.plugin.as_ref()
    }

    /// Its matcher says more of the path than that there is one: then it takes also what the listener serves itself.
    pub(crate) fn is_particular(&self) -> bool {
        !matches!(&self.matched, PathMatch::Prefix(prefix) if prefix == "/")
    }

    /// The path that the service sees.
    pub(crate) fn path<'a>(&self, path: &'a str) -> Cow<'a, str> {
        let Some(rewrite) = &self.rewrite else { return path.into() };
        let rest = match &self.matched {
            PathMatch::Exact(_) => "",
            PathMatch::Prefix(prefix) => path.strip_prefix(prefix.as_str()).unwrap_or_default(),
        };
        format!("{rewrite}{rest}").into()
    }
}
