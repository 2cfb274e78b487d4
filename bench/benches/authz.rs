//! Deciding by access rules: the policies of 100,000 namespaces, asked in no order, so that little of them is in a cache
//! (the callers are, as in a request that has just been authenticated); and one namespace with 100,000 principals, or as
//! many patterns of them, and as many callers.
//!
//! The goal: at most 1 µs for a decision.
#![allow(missing_docs)] // criterion's macros

use criterion::{Criterion, criterion_group, criterion_main};
use prism_config::{AccessRule, Permission};
use prism_filters::{
    Caller, Credential, Method,
    authz::{Decision, Policy},
};
use prism_plugin_abi::Kind;
use serde_json::json;
use std::{hint::black_box, sync::Arc};

const MANY: usize = 100_000;

/// Teams that the namespaces are of, each with its callers.
const TEAMS: usize = 64;

fn rule(principal: String, permission: Permission) -> AccessRule {
    AccessRule { principal, permissions: [permission].into(), ..AccessRule::default() }
}

fn policy(rules: impl IntoIterator<Item = AccessRule>) -> Policy {
    Policy::new(&rules.into_iter().collect()).expect("rules")
}

fn service(number: usize) -> Caller {
    let name = format!("spiffe://team-{number}.example/orders-{number}");
    Caller::new(Arc::new(Credential::new(Method::Spiffe, &name).expect("a principal")))
}

fn person(number: usize, group: &str) -> Caller {
    let credential = Credential::new(Method::Jwt, &format!("https://id.example:user-{number}"));
    let claims =
        json!({ "groups": ["everybody", group], "email": "x@example.org", "realm": { "roles": ["a"] } });
    let claims = claims.as_object().expect("claims").clone();
    Caller::new(Arc::new(credential.expect("a principal").with_claims(claims)))
}

/// What a tenant has: its service, its batch job, whoever of its team, and nobody to delete.
fn tenant(number: usize) -> Policy {
    let team = number % TEAMS;
    let mut staff = rule("jwt:https://id.example:*".to_owned(), Permission::Read);
    staff.claims.insert("groups".to_owned(), json!([format!("team-{team}")]));
    let mut nobody = rule("**".to_owned(), Permission::Read);
    nobody.permissions.clear();
    nobody.operations.deny.insert("delete".to_owned());
    policy([
        rule(format!("spiffe://team-{team}.example/orders-*"), Permission::Read),
        rule(format!("key:batch-{number}"), Permission::Write),
        staff,
        nobody,
    ])
}

/// Places below [`MANY`] in an order without pattern to a cache: a full-period linear congruence.
fn wander(place: &mut usize) -> usize {
    *place = (*place * 1_664_521 + 1_013_904_223) % (1 << 17);
    *place % MANY
}

fn namespaces(c: &mut Criterion) {
    let policies: Vec<Policy> = (0..MANY).map(tenant).collect();
    let services: Vec<Caller> = (0..TEAMS).map(service).collect();
    let people: Vec<Caller> = (0..TEAMS).map(|team| person(team, &format!("team-{team}"))).collect();
    let mut group = c.benchmark_group("100,000 namespaces");
    for (what, callers, shift, operation, expected) in [
        ("by a pattern", &services, 0, "get", true),
        ("by a claim", &people, 0, "get", true),
        ("denied by name", &services, 0, "delete", false),
        ("another tenant's", &services, 1, "get", false),
    ] {
        let decide = |place: usize| {
            let caller = &callers[(place + shift) % TEAMS];
            policies[place].decide(black_box(caller), black_box(operation), Kind::Read)
        };
        assert_eq!(decide(7).is_allowed(), expected, "{what}");
        let mut place = 1;
        group.bench_function(what, |b| b.iter(|| decide(wander(&mut place))));
    }
    group.finish();
}

fn principals(c: &mut Criterion) {
    let exact = policy(
        (0..MANY)
            .map(|number| rule(format!("spiffe://team-{number}.example/orders-{number}"), Permission::Read)),
    );
    let patterns =
        policy((0..MANY).map(|number| rule(format!("spiffe://team-{number}.example/*"), Permission::Read)));
    let callers: Vec<Caller> = (0..MANY).map(service).collect();
    let strangers: Vec<Caller> = (0..MANY).map(|number| person(number, "staff")).collect();
    let mut group = c.benchmark_group("one namespace");
    for (what, policy, callers, allowed) in [
        ("100,000 principals", &exact, &callers, true),
        ("100,000 principals, none of them", &exact, &strangers, false),
        ("100,000 patterns", &patterns, &callers, true),
        ("100,000 patterns, none of them", &patterns, &strangers, false),
    ] {
        let decide = |place: usize| policy.decide(black_box(&callers[place]), black_box("get"), Kind::Read);
        assert_eq!(decide(7) != Decision::NotAllowed, allowed, "{what}");
        let mut place = 1;
        group.bench_function(what, |b| b.iter(|| decide(wander(&mut place))));
    }
    group.finish();
}

criterion_group!(benches, namespaces, principals);
criterion_main!(benches);
