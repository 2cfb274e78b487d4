//! Whether a caller may do what is wanted, by the rules as they are.

use super::{Decision, Grant, Guarded, Wanted};
use crate::{Caller, Held};
use prism_plugin_abi::Kind;
use std::borrow::Cow;

/// Why not: for the operator alone.
pub type Why = Cow<'static, str>;

/// What is known before the operation is.
pub(super) enum First<'a> {
    Granted(Grant),
    /// The caller may do something here; it depends on the operation.
    Depends(&'a Caller, &'a dyn Guarded),
}

/// What can be said without the operation.
pub(super) fn first<'a>(call: &Held<'a>) -> Result<First<'a>, Why> {
    let caller = || call.caller.ok_or(Why::Borrowed("nobody found out who calls: there was no `auth`"));
    match call.wanted {
        Wanted::Nothing => Ok(First::Granted(Grant::Description)),
        // Load balancers ask for it, and it says nothing of any namespace.
        Wanted::Listener => Ok(First::Granted(Grant::Description)),
        Wanted::Forward(None) => Err("the route has no `access` rules".into()),
        Wanted::Forward(Some(policy)) => match policy.admits(caller()?) {
            Some(_) => Ok(First::Granted(Grant::AsWanted)),
            None => Err("no rule of the route's `access` is about the caller".into()),
        },
        Wanted::Description | Wanted::Operation => {
            let caller = caller()?;
            let guarded = call.guarded.ok_or_else(|| nothing_here(call))?;
            if guarded.policy().knows(caller).is_none() {
                return Err("no rule of the namespace's `access` permits the caller anything".into());
            }
            match call.wanted {
                Wanted::Operation => Ok(First::Depends(caller, guarded)),
                _ => Ok(First::Granted(Grant::Description)),
            }
        }
    }
}

fn nothing_here(call: &Held<'_>) -> Why {
    if call.namespace.is_empty() {
        "the call names no namespace".into()
    } else if call.exists {
        "the namespace has no `access` rules".into()
    } else {
        "there is no such namespace".into()
    }
}

/// Whether a caller who may do anything here may call the operation, as what answers now declares it. One that nobody
/// declares is let through to be told so, since the caller may know what there is: it is granted as that and nothing else.
///
/// Also for calls that have begun, when the rules have changed: one that is refused now has to end, and so has one whose
/// operation's kind the new grant does not cover ([`Grant::covers`]).
///
/// # Errors
/// Why not, for the operator alone.
pub fn judge(caller: &Caller, guarded: &dyn Guarded, operation: &str) -> Result<Grant, Why> {
    judged(caller, guarded, operation, guarded.kind(operation))
}

/// The same of an operation that is declared with this kind, or not at all.
pub(super) fn judged(
    caller: &Caller,
    guarded: &dyn Guarded,
    operation: &str,
    declared: Option<Kind>,
) -> Result<Grant, Why> {
    match guarded.policy().decide(caller, operation, declared.unwrap_or_default()) {
        Decision::ByName(_) => Ok(Grant::AsWanted),
        Decision::ByKind(_) => Ok(Grant::Kind(declared)),
        Decision::Denied(rule) => Err(format!("access[{rule}] of the namespace denies the operation").into()),
        Decision::NotAllowed => match declared {
            None => Ok(Grant::Kind(None)),
            Some(kind) => Err(format!("no rule allows the caller {}", named(kind)).into()),
        },
    }
}

fn named(kind: Kind) -> &'static str {
    match kind {
        Kind::Read => "an operation of kind read",
        Kind::Write => "an operation of kind write",
        Kind::Admin => "an operation of kind admin",
        Kind::Unspecified => {
            "an operation whose kind nobody says, which takes `admin` or a rule that names it"
        }
    }
}
