//! The policy against a model of it that shares no code with it: a million requests whose principals, claims, operations
//! and patterns are generated to match, or nearly.

use super::*;
use prism_config::{AccessRule, Permission};
use std::collections::BTreeSet;

/// Requests in all, and to each set of rules.
const REQUESTS: usize = 1_000_000;
const EACH: usize = 200;

/// Chance that is the same every time (xorshift64*, S. Vigna, "An experimental exploration of Marsaglia's xorshift
/// generators, scrambled").
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(drawn).unwrap() % limit
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

/// Methods with names that are of each other's kind: prefixes, one more segment, another case.
fn principal(chance: &mut Chance) -> (Method, String) {
    let method = chance.of(&[
        &Method::Spiffe,
        &Method::Spiffe,
        &Method::Dns,
        &Method::ApiKey,
        &Method::Jwt,
        &Method::OAuth2,
        &Method::CommonName,
        &Method::Anonymous,
    ]);
    let name = match method {
        Method::Spiffe => {
            let tail = chance.of(&["/x", "/xy", "/x/y", "/y", "/x/x", "/"]);
            format!("spiffe://{}{tail}", chance.of(&["a", "b", "a.b"]))
        }
        Method::Jwt | Method::OAuth2 => {
            format!(
                "{}:{}",
                chance.of(&["i", "i/j", "https://i"]),
                chance.of(&["x", "xy", "x/y", "anonymous"])
            )
        }
        Method::Anonymous => String::new(),
        _ => chance.of(&["x", "xy", "a.x", "x/y", "anonymous", "X", "i:x", "é*"]).to_owned(),
    };
    (*method, name)
}

fn credential(chance: &mut Chance, (method, name): &(Method, String)) -> Credential {
    match method {
        Method::Anonymous => Credential::anonymous(),
        _ => Credential::new(*method, name).unwrap().with_claims(claims(chance)),
    }
}

/// A principal, with something in it replaced by runs, or by something else.
fn pattern(chance: &mut Chance, drawn: &(Method, String)) -> String {
    let mut text = credential(chance, drawn).principal().to_string();
    for _ in 0..chance.below(3) {
        let begin = chance.below(text.len() + 1);
        let end = (begin + chance.below(5)).min(text.len());
        text.replace_range(begin..end, chance.of(&["*", "*", "**", "**", "**", "x", "/", ""]));
    }
    text
}

const NAMES: [&str; 5] = ["g", "r.s", "r", "s", "h"];

fn scalar(chance: &mut Chance) -> Value {
    match chance.below(8) {
        0 => json!(1),
        1 => json!("1"),
        2 => json!(true),
        3 => json!("true"),
        4 => json!(1.5),
        5 => json!(0),
        6 => json!("x"),
        _ => json!("y"),
    }
}

fn claims(chance: &mut Chance) -> serde_json::Map<String, Value> {
    let mut claims = serde_json::Map::new();
    for name in NAMES {
        let value = match chance.below(6) {
            0 => scalar(chance),
            1 => json!([scalar(chance), scalar(chance)]),
            2 => json!({ "s": scalar(chance), "g": scalar(chance) }),
            3 => json!([[scalar(chance)], null]),
            _ => continue,
        };
        claims.insert(name.to_owned(), value);
    }
    claims
}

const OPERATIONS: [&str; 6] = ["get", "set", "delete", "Get", "ge", "get "];

fn rule(chance: &mut Chance, principals: &[(Method, String)]) -> AccessRule {
    let mut names = |odds: usize| -> BTreeSet<String> {
        OPERATIONS.iter().filter(|_| chance.one_in(odds)).map(|name| (*name).to_owned()).collect()
    };
    let (allow, deny) = (names(6), names(12));
    let permissions = [Permission::Read, Permission::Write, Permission::Admin];
    let permissions = permissions.into_iter().filter(|_| chance.one_in(3)).collect();
    let mut claims = BTreeMap::new();
    for name in NAMES {
        if chance.one_in(20) {
            let several = chance.one_in(2);
            let value = if several { json!([scalar(chance), scalar(chance)]) } else { scalar(chance) };
            claims.insert(name.to_owned(), value);
        }
    }
    let principal = &principals[chance.below(principals.len())];
    AccessRule {
        principal: pattern(chance, principal),
        claims,
        permissions,
        operations: prism_config::RuleOperations { allow, deny },
        line: 0,
    }
}

/// Whether a pattern stands for a principal, by splitting what is to be matched in every way.
fn stands_for(pattern: &str, principal: &str) -> bool {
    if principal == "anonymous" {
        return pattern == "anonymous";
    }
    if let Some(rest) = pattern.strip_prefix("**") {
        return (0..=principal.len()).any(|end| stands_for_rest(rest, &principal[end..]));
    }
    stands_for_rest(pattern, principal)
}

fn stands_for_rest(pattern: &str, text: &str) -> bool {
    if let Some(rest) = pattern.strip_prefix("**") {
        return (0..=text.len()).any(|end| stands_for_rest(rest, &text[end..]));
    }
    if let Some(rest) = pattern.strip_prefix('*') {
        return (0..=text.len())
            .filter(|end| !text[..*end].contains('/'))
            .any(|end| stands_for_rest(rest, &text[end..]));
    }
    match (pattern.chars().next(), text.chars().next()) {
        (None, None) => true,
        (Some(one), Some(other)) if one == other => stands_for_rest(&pattern[1..], &text[1..]),
        _ => false,
    }
}

/// A value with its type in front.
fn typed(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(format!("text {text}")),
        Value::Bool(value) => Some(format!("boolean {value}")),
        Value::Number(number) => Some(format!("number {:?}", number.as_f64().unwrap())),
        _ => None,
    }
}

fn all_typed(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Array(values) => values.iter().filter_map(typed).collect(),
        value => typed(value).into_iter().collect(),
    }
}

fn holds(rule: &AccessRule, credential: &Credential) -> bool {
    rule.claims.iter().all(|(name, wanted)| {
        let claims = Value::Object(credential.claims().clone());
        let pointer = format!("/{}", name.replace('.', "/"));
        let held = match claims.get(name) {
            Some(held) => Some(held),
            // JSON pointers lead into lists by numbers, and no name here is one.
            None => claims.pointer(&pointer),
        };
        held.is_some_and(|held| !all_typed(wanted).is_disjoint(&all_typed(held)))
    })
}

/// By the sentences of docs/security.md.
fn expected(rules: &[AccessRule], caller: &Caller, operation: &str, kind: Kind) -> Decision {
    let needed = match kind {
        Kind::Read => Permission::Read,
        Kind::Write => Permission::Write,
        Kind::Admin | Kind::Unspecified => Permission::Admin,
    };
    let about: Vec<usize> = (0..rules.len())
        .filter(|place| {
            let rule = &rules[*place];
            caller.credentials().any(|it| stands_for(&rule.principal, it.principal()) && holds(rule, it))
        })
        .collect();
    if let Some(place) = about.iter().find(|place| rules[**place].operations.deny.contains(operation)) {
        return Decision::Denied(*place);
    }
    for place in about {
        if rules[place].operations.allow.contains(operation) {
            return Decision::ByName(place);
        }
        if rules[place].permissions.contains(&needed) {
            return Decision::ByKind(place);
        }
    }
    Decision::NotAllowed
}

#[test]
fn a_million_requests_are_decided_as_the_model_decides_them() {
    let mut chance = Chance(0x5EED);
    let mut decided = [0_usize; 4];
    for _ in 0..REQUESTS / EACH {
        let principals: Vec<_> = (0..4).map(|_| principal(&mut chance)).collect();
        // Many are found in another way than few.
        let most = if chance.one_in(4) { 48 } else { 9 };
        let mut rules: Vec<_> = (0..chance.below(most)).map(|_| rule(&mut chance, &principals)).collect();
        rules.retain(|rule| rule.principal.parse::<prism_config::Pattern>().is_ok());
        let policy = Policy::new(&rules.iter().cloned().collect()).unwrap();
        for _ in 0..EACH {
            let count = 1 + usize::from(chance.one_in(4));
            let mut credentials = (0..count).map(|_| {
                let known = principals[chance.below(principals.len())].clone();
                let drawn = if chance.one_in(3) { principal(&mut chance) } else { known };
                Arc::new(credential(&mut chance, &drawn))
            });
            let caller = Caller::new(credentials.next().unwrap());
            let more: Vec<_> = credentials.collect();
            let caller = caller.with(more);
            let operation = chance.of(&OPERATIONS);
            let kind = *chance.of(&[&Kind::Read, &Kind::Write, &Kind::Admin, &Kind::Unspecified]);
            let expected = expected(&rules, &caller, operation, kind);
            let found = policy.decide(&caller, operation, kind);
            // Which of several rules that deny is found first is not promised.
            let same = match (expected, found) {
                (Decision::Denied(_), Decision::Denied(rule)) => {
                    rules[rule].operations.deny.contains(operation)
                }
                _ => expected == found,
            };
            assert!(same, "{rules:#?}\n{caller:?} {operation:?} {kind:?}: {found:?}, and not {expected:?}");
            decided[match found {
                Decision::ByKind(_) => 0,
                Decision::ByName(_) => 1,
                Decision::Denied(_) => 2,
                Decision::NotAllowed => 3,
            }] += 1;
        }
    }
    assert_eq!(decided.iter().sum::<usize>(), REQUESTS);
    // Each happens often, or the test would show little.
    assert!(decided.iter().all(|count| *count > REQUESTS / 50), "{decided:?}");
}
