//! Rights that end: calls that were let in and are still under way are looked at again when what they were let in by has
//! changed.

use crate::{
    Caller, RequestContext,
    authz::{Approval, Guarded, Wanted},
};
use bytestring::ByteString;
use prism_tls::ClientIdentity;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A call that is under way, as it was let in.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// Who makes it, where somebody has found out.
    pub caller: Option<&'a Caller>,
    /// Its namespace; empty for none.
    pub namespace: &'a ByteString,
    /// Its operation, where it has one.
    pub operation: Option<&'a ByteString>,
    /// What it wants, by the rules of now.
    pub wanted: &'a Wanted,
    /// Its namespace as it is now, where that has rules.
    pub guarded: Option<&'a dyn Guarded>,
    /// Its namespace is still there.
    pub exists: bool,
    /// Whom its connection's handshake has verified.
    pub client: Option<&'a Arc<ClientIdentity>>,
    /// Its answer has begun and has not ended: it may go on for ever. One that is still awaited ends by itself.
    pub is_answering: bool,
    /// Nothing has been done of it: its client holds back what it is about, or some of it. It may be made again without harm.
    pub is_held_back: bool,
    /// Which authorizer has approved it, where one was asked.
    pub approval: Option<Approval>,
}

/// Counts how often something that filters go by has changed: the configuration, a file of keys, a set of them. Whoever changes
/// something says so here, and every call under way is looked at again within half a second.
#[derive(Clone, Debug, Default)]
pub struct Changes(Arc<AtomicU64>);

impl Changes {
    /// Something has changed, and is in use.
    pub fn happened(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// How often so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
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
            is_answering: false,
            is_held_back: false,
            approval: cx.approval(),
        }
    }
}
