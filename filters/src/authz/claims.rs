//! Conditions on claims. What is compared is of one type: the text `"1"` is not the number 1, nor is `"true"` true.

use serde_json::{Map, Number, Value};
use smallvec::SmallVec;

/// What a claim is called.
pub(super) struct Name {
    name: Box<str>,
    /// The name at its dots; empty where it has none.
    path: Box<[Box<str>]>,
}

impl Name {
    pub(super) fn new(name: &str) -> Self {
        let path =
            if name.contains('.') { name.split('.').map(Into::into).collect() } else { Box::default() };
        Self { name: name.into(), path }
    }

    /// As it is written.
    pub(super) fn as_str(&self) -> &str {
        &self.name
    }

    /// The claim of that name, if it is there. One of that very name is it, dots included (many providers name claims as
    /// URLs); a path leads into objects only where there is none.
    pub(super) fn find<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        claims.get(&*self.name).or_else(|| self.follow(claims))
    }

    fn follow<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        let (last, objects) = self.path.split_last()?;
        let within = objects.iter().try_fold(claims, |object, name| object.get(&**name)?.as_object())?;
        within.get(&**last)
    }
}

/// A claim, and the values that are good.
pub(super) struct Condition {
    name: Name,
    values: SmallVec<[Value; 1]>,
}

impl Condition {
    /// `values` is a value, or a list of values.
    pub(super) fn new(name: &str, values: &Value) -> Self {
        let values = match values {
            Value::Array(values) => values.iter().cloned().collect(),
            value => std::iter::once(value.clone()).collect(),
        };
        Self { name: Name::new(name), values }
    }

    /// What the claim is called.
    pub(super) fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Whether the claim is there and is one of the values, or is a list that holds one.
    pub(super) fn is_met(&self, claims: &Map<String, Value>) -> bool {
        match self.name.find(claims) {
            Some(Value::Array(held)) => held.iter().any(|value| self.is_good(value)),
            Some(value) => self.is_good(value),
            None => false,
        }
    }

    fn is_good(&self, held: &Value) -> bool {
        self.values.iter().any(|value| same(value, held))
    }
}

/// Both are texts, numbers or booleans, and equal. Lists, objects and null are never.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(one), Value::String(other)) => one == other,
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (Value::Number(one), Value::Number(other)) => same_number(one, other),
        _ => false,
    }
}

/// JSON knows one kind of number, so 1.0 is 1; but no two different integers are one for having been rounded.
fn same_number(one: &Number, other: &Number) -> bool {
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => one.as_f64() == other.as_f64(),
        _ => false,
    }
}

/// The integer that it is, where it is one exactly.
fn whole(number: &Number) -> Option<i128> {
    /// Beyond it, not every integer is a double of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let integer = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    integer.or_else(|| {
        let value = number.as_f64().filter(|value| value.fract() == 0.0 && value.abs() < EXACT)?;
        Some(value as i128)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn met(name: &str, values: &Value, claims: Value) -> bool {
        let Value::Object(claims) = claims else { panic!("claims are an object") };
        Condition::new(name, values).is_met(&claims)
    }

    #[test]
    fn a_claim_is_compared_by_its_type() {
        for (value, held) in [
            (json!("staff"), json!("staff")),
            (json!("staff"), json!(["x", "staff"])),
            (json!(["a", "b"]), json!("b")),
            (json!(["a", "b"]), json!(["c", "b"])),
            (json!(true), json!(true)),
            (json!(1), json!(1.0)),
            (json!(1.5), json!(1.5)),
            (json!(-1), json!([-1])),
            (json!(18_446_744_073_709_551_615u64), json!(18_446_744_073_709_551_615u64)),
            (json!(""), json!("")),
        ] {
            assert!(met("x", &value, json!({ "x": held })), "{value} {held}");
        }
        for (value, held) in [
            (json!("staff"), json!("Staff")),
            (json!("staff"), json!("staff ")),
            (json!("staff"), json!("staffer")),
            (json!("staff"), json!({ "staff": true })),
            (json!("staff"), json!([["staff"]])),
            (json!("staff"), json!([])),
            (json!("staff"), json!(null)),
            (json!("1"), json!(1)),
            (json!(1), json!("1")),
            (json!("true"), json!(true)),
            (json!(true), json!("true")),
            (json!(true), json!(1)),
            (json!(1), json!(true)),
            (json!(0), json!(false)),
            (json!(0), json!(null)),
            (json!(""), json!(null)),
            (json!(9_007_199_254_740_993i64), json!(9_007_199_254_740_992.0)),
            (json!(9_007_199_254_740_993i64), json!(9_007_199_254_740_992i64)),
            (json!(1.5), json!(1)),
            (json!(["a", "b"]), json!(["c", ["a"]])),
        ] {
            assert!(!met("x", &value, json!({ "x": held })), "{value} {held}");
        }
        assert!(!met("x", &json!("staff"), json!({ "X": "staff", "y": "staff" })));
    }

    #[test]
    fn a_path_leads_into_objects_where_no_claim_has_that_name() {
        let claims = json!({
            "realm": { "roles": ["a"], "deep": { "er": 1 } },
            "https://x.example/groups": ["staff"],
            "a.b": "named",
            "a": { "b": "within" },
            "list": [{ "roles": "a" }],
        });
        for (name, value) in [
            ("realm.roles", json!("a")),
            ("realm.deep.er", json!(1)),
            ("https://x.example/groups", json!("staff")),
            ("a.b", json!("named")),
        ] {
            assert!(met(name, &value, claims.clone()), "{name}");
        }
        for (name, value) in [
            ("realm", json!("a")),
            ("roles", json!("a")),
            ("realm.role", json!("a")),
            ("realm.roles.a", json!("a")),
            ("a.b", json!("within")),
            ("list.roles", json!("a")),
            ("realm.deep", json!(1)),
        ] {
            assert!(!met(name, &value, claims.clone()), "{name}");
        }
    }
}
