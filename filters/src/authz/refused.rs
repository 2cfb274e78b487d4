//! How `authz` refuses.

use crate::{Reason, Rejection};
use std::time::Duration;

/// The one refusal: whoever tries names learns nothing from it.
#[must_use]
pub fn denied() -> Rejection {
    Rejection::new(Reason::AccessDenied, "the caller may not do that, or there is no such thing here")
}

/// Of a call that another authorizer has let in, or none. The one of now has nothing against it, as far as anybody knows.
pub(super) fn asked_anew() -> Rejection {
    Rejection::new(
        Reason::Reloaded,
        "whether the caller may do that has to be asked anew: make the call again",
    )
    .with_retry(Duration::ZERO)
}

pub(super) fn unavailable() -> Rejection {
    Rejection::new(Reason::AuthzUnavailable, "whether the caller may do that cannot be found out just now")
        .with_retry(RETRY)
}

pub(super) fn late() -> Rejection {
    Rejection::new(
        Reason::DeadlineExceeded,
        "the call's deadline passed before it was known whether the caller may do that",
    )
}

/// When to try again: an authorizer that was restarted is back by then.
const RETRY: Duration = Duration::from_secs(1);
