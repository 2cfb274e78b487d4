//! What looking for one credential in a request finds.

use crate::Credential;
use std::{borrow::Cow, fmt, future::Future, pin::Pin, sync::Arc};

/// Why a credential is not good: for the log alone. It names nothing but what is public of its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bad(Cow<'static, str>);

impl Bad {
    pub(super) fn new(why: impl Into<Cow<'static, str>>) -> Self {
        Self(why.into())
    }

    pub(super) fn into_text(self) -> Cow<'static, str> {
        self.0
    }
}

/// What looking for one credential finds.
pub(super) enum Proof {
    /// There is none.
    Absent,
    /// It is good.
    Good(Arc<Credential>),
    /// It is there, and is not good.
    Bad(Bad),
    /// It is there, and whoever could judge it cannot be asked now: why, for the log.
    Unknown(Cow<'static, str>),
    /// It takes a while to judge it.
    Ask(Pin<Box<dyn Future<Output = Self>>>),
}

impl From<Bad> for Proof {
    fn from(bad: Bad) -> Self {
        Self::Bad(bad)
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("Absent"),
            Self::Good(credential) => write!(f, "Good({})", credential.principal()),
            Self::Bad(Bad(why)) => write!(f, "Bad({why})"),
            Self::Unknown(why) => write!(f, "Unknown({why})"),
            Self::Ask(_) => f.write_str("Ask"),
        }
    }
}
