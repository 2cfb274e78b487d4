//! The rules of a namespace or a forward route, compiled: who may do what, decided in one look at whatever the principal's
//! text leads to, however many rules there are.

use super::{claims::Condition, index::Index};
use crate::{Caller, Credential};
use prism_config::{AccessRule, AccessRules, PatternError, Permission};
use prism_plugin_abi::Kind;
use std::fmt;

/// What is decided, and by which rule: its place among the rules, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The first rule that allows it does so by the operation's kind.
    ByKind(usize),
    /// The first rule that allows it names the operation, whatever its kind.
    ByName(usize),
    /// A rule denies the operation to this caller, whatever others allow.
    Denied(usize),
    /// No rule allows it.
    NotAllowed,
}

impl Decision {
    /// It may be done.
    #[must_use]
    pub fn is_allowed(self) -> bool {
        matches!(self, Self::ByKind(_) | Self::ByName(_))
    }

    /// The rule that made it, if one did.
    #[must_use]
    pub fn rule(self) -> Option<usize> {
        match self {
            Self::ByKind(rule) | Self::ByName(rule) | Self::Denied(rule) => Some(rule),
            Self::NotAllowed => None,
        }
    }
}

/// Rules, compiled. Immutable: a configuration that changes them has another one.
pub struct Policy {
    source: AccessRules,
    rules: Box<[Rule]>,
    index: Index,
}

/// What a rule says, apart from whom it is about.
struct Rule {
    conditions: Box<[Condition]>,
    permitted: Kinds,
    allow: Box<[Box<str>]>,
    deny: Box<[Box<str>]>,
}

impl Policy {
    /// Compiles rules.
    ///
    /// # Errors
    /// A principal is no pattern, which a validated configuration does not have; and which rule that is.
    pub fn new(source: &AccessRules) -> Result<Self, (usize, PatternError)> {
        let index = Index::new(source)?;
        Ok(Self { source: source.clone(), rules: source.iter().map(Rule::new).collect(), index })
    }

    /// What it was compiled from.
    #[must_use]
    pub fn source(&self) -> &AccessRules {
        &self.source
    }

    /// Whether this caller may call `operation`, which is of this kind. Allocates nothing.
    ///
    /// Default deny: a rule has to allow it, to one of the caller's credentials that is its principal and meets its
    /// conditions. A rule that denies it to any of them wins. A kind that nobody says needs the permission `admin`.
    #[must_use]
    pub fn decide(&self, caller: &Caller, operation: &str, kind: Kind) -> Decision {
        let mut first: Option<(usize, bool)> = None;
        let denied = self.find(caller, |place, rule| {
            if contains(&rule.deny, operation) {
                return true;
            }
            let named = contains(&rule.allow, operation);
            if (named || rule.permitted.has(kind)) && first.is_none_or(|(earlier, _)| place < earlier) {
                first = Some((place, named));
            }
            false
        });
        match (denied, first) {
            (Some(rule), _) => Decision::Denied(rule),
            (None, Some((rule, true))) => Decision::ByName(rule),
            (None, Some((rule, false))) => Decision::ByKind(rule),
            (None, None) => Decision::NotAllowed,
        }
    }

    /// The rule by which this caller may do anything here at all, so that it may know what there is.
    #[must_use]
    pub fn knows(&self, caller: &Caller) -> Option<usize> {
        self.find(caller, |_, rule| rule.permitted != Kinds::default() || !rule.allow.is_empty())
    }

    /// The rule that is about this caller, of a forward route: there is nothing more to it.
    #[must_use]
    pub fn admits(&self, caller: &Caller) -> Option<usize> {
        self.find(caller, |_, _| true)
    }

    /// The rules that are about a credential's principal, but not about it, for want of claims: each with the names of those. In
    /// their order. For whoever asks why; no call does.
    #[must_use]
    pub fn unmet(&self, credential: &Credential) -> Vec<(usize, Vec<&str>)> {
        let mut found = Vec::new();
        let _ = self.index.find(credential.principal(), |place| {
            let conditions = self.rules.get(place).into_iter().flat_map(|rule| &rule.conditions);
            let unmet = conditions.filter(|condition| !condition.is_met(credential.claims()));
            let names: Vec<&str> = unmet.map(Condition::name).collect();
            if !names.is_empty() {
                found.push((place, names));
            }
            false
        });
        found.sort_unstable();
        found
    }

    /// The first rule found that is about one of the caller's credentials, whose conditions that same credential meets, and
    /// that is `wanted`.
    fn find(&self, caller: &Caller, mut wanted: impl FnMut(usize, &Rule) -> bool) -> Option<usize> {
        caller.credentials().find_map(|credential| {
            self.index.find(credential.principal(), |place| {
                self.rules.get(place).is_some_and(|rule| {
                    rule.conditions.iter().all(|condition| condition.is_met(credential.claims()))
                        && wanted(place, rule)
                })
            })
        })
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Policy").field(&self.source).finish()
    }
}

impl Rule {
    fn new(rule: &AccessRule) -> Self {
        Self {
            conditions: rule.claims.iter().map(|(name, values)| Condition::new(name, values)).collect(),
            permitted: rule.permissions.iter().copied().collect(),
            allow: rule.operations.allow.iter().map(|name| name.as_str().into()).collect(),
            deny: rule.operations.deny.iter().map(|name| name.as_str().into()).collect(),
        }
    }
}

/// Names are sorted, as the configuration's set has them.
fn contains(names: &[Box<str>], operation: &str) -> bool {
    names.binary_search_by(|name| (**name).cmp(operation)).is_ok()
}

/// Kinds of operations that are permitted, one bit each. None includes another.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Kinds(u8);

impl Kinds {
    const fn bit(permission: Permission) -> u8 {
        match permission {
            Permission::Read => 1,
            Permission::Write => 2,
            Permission::Admin => 4,
        }
    }

    const fn has(self, kind: Kind) -> bool {
        let needed = match kind {
            Kind::Read => Permission::Read,
            Kind::Write => Permission::Write,
            Kind::Admin | Kind::Unspecified => Permission::Admin,
        };
        self.0 & Self::bit(needed) != 0
    }
}

impl FromIterator<Permission> for Kinds {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Self(permissions.into_iter().fold(0, |bits, permission| bits | Self::bit(permission)))
    }
}
