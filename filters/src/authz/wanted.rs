//! What a request wants, what is granted of it, and what the two are judged by: how the proxy tells `authz`, and the end of
//! the chain is told.

use super::Policy;
use prism_plugin_abi::Kind;
use std::{fmt, sync::Arc};

/// What a request wants, as it was read once, before any filter ran.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// Nothing that is served, or it is malformed: the end of the chain refuses it, whoever calls.
    Nothing,
    /// The health of the listener, or what it serves to everybody. It is the same for all.
    Listener,
    /// To know what there is in the namespace: its description, its health, its reflection.
    Description,
    /// To call an operation of the namespace.
    Operation,
    /// To use a forward route; its rules, where it has any.
    Forward(Option<Arc<Policy>>),
}

/// What is granted. The end of the chain compares it with what it is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// What was wanted, whatever it turns out to be: a rule is about that very operation, or route.
    AsWanted,
    /// What was wanted, allowed or not: `authz` only watches.
    Watched,
    /// The operation, if it is of this kind. `None`: if nobody declares it, which is to say that there is none.
    Kind(Option<Kind>),
    /// No operation: only to know what there is.
    Description,
}

impl Grant {
    /// Whether it covers calling an operation that is declared with this kind.
    #[must_use]
    pub fn covers(self, declared: Kind) -> bool {
        match self {
            Self::AsWanted | Self::Watched => true,
            Self::Kind(kind) => kind == Some(declared),
            Self::Description => false,
        }
    }
}

/// A namespace that has rules.
pub trait Guarded: Send + Sync {
    /// Its rules.
    fn policy(&self) -> &Policy;

    /// The kind of its operation of that name, as the instance that answers now declares it; `None` where nobody declares
    /// it, or nothing is known yet.
    fn kind(&self, operation: &str) -> Option<Kind>;
}

impl fmt::Debug for dyn Guarded + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guarded")
    }
}
