//! `anyOf` and `oneOf`: which of several schemas was meant, so that the problems told are of that one.

use serde_json::{Map, Value};

use super::{Place, Walker, words};
use crate::{
    problem::{Collector, closest},
    schema::NOUN,
    tree::Node,
};

impl<'a> Walker<'a> {
    pub(super) fn branches(
        &mut self,
        node: &Node,
        branches: &'a [Value],
        schema: &Map<String, Value>,
        place: Place<'_>,
    ) {
        let possible: Vec<&'a Value> = branches.iter().filter(|branch| self.could_be(node, branch)).collect();
        match possible.as_slice() {
            [] => {
                let mut names = Vec::new();
                branches.iter().for_each(|branch| self.types(branch, &mut names));
                let nouns = names.iter().map(String::as_str).filter(|name| *name != "null");
                let expected = words::join(nouns.map(words::noun));
                let found = words::found(node, place.secret || words::is_collection(&expected));
                self.report(place, format!("expected {expected}, found {found}"), None);
            }
            [only] => self.branch(node, only, branches, schema, place),
            several => {
                let mut least: Option<Collector> = None;
                for branch in several {
                    let mut problems = Collector::default();
                    let (root, referable) = (self.root, self.referable);
                    Walker { root, problems: &mut problems, referable }.node(node, branch, place);
                    if least.as_ref().is_none_or(|least| problems.weight() < least.weight()) {
                        least = Some(problems);
                    }
                }
                let Some(least) = least else { return };
                let mut constants = Vec::new();
                let all_constants = several.iter().all(|branch| self.constants(branch, &mut constants));
                if least.weight() > 0 && all_constants {
                    let noun = schema.get(NOUN).and_then(Value::as_str);
                    self.not_among(node, &constants, noun, place);
                } else {
                    self.problems.append(least);
                }
            }
        }
    }

    /// Walks the only branch that the node can be meant for. A constant that does not match is reported
    /// together with what the other branches allow.
    fn branch(
        &mut self,
        node: &Node,
        branch: &'a Value,
        branches: &'a [Value],
        schema: &Map<String, Value>,
        place: Place<'_>,
    ) {
        let mut constants = Vec::new();
        if !self.constants(branch, &mut constants) || constants.contains(&&node.to_json()) {
            return self.node(node, branch, place);
        }
        let noun = branch.get(NOUN).or_else(|| schema.get(NOUN)).and_then(Value::as_str);
        let mut others = Vec::new();
        branches.iter().filter(|other| *other != branch).for_each(|other| self.types(other, &mut others));
        others.retain(|name| name != "null");
        if noun.is_some() || others.is_empty() {
            return self.not_among(node, &constants, noun, place);
        }
        let names = constants.iter().filter_map(|value| value.as_str());
        let hint = node.as_str().and_then(|written| closest(written, names));
        let list = constants.iter().map(|value| words::quoted(value)).collect::<Vec<_>>().join(", ");
        let others = words::join(others.iter().map(|name| words::noun(name)));
        let expected = format!("{list} or {others}");
        let found = words::found(node, place.secret || words::is_collection(&expected));
        self.report(place, format!("expected {expected}, found {found}"), hint);
    }

    /// Whether the node has a type that the branch allows.
    fn could_be(&self, node: &Node, branch: &'a Value) -> bool {
        let mut names = Vec::new();
        self.types(branch, &mut names);
        names.is_empty() || words::fits(node, &Map::from_iter([("type".to_owned(), Value::from(names))]))
    }

    /// The types that a schema allows; none named means all.
    fn types(&self, schema: &'a Value, names: &mut Vec<String>) {
        let Some(keywords) = self.keywords(schema) else { return };
        match keywords.get("type") {
            Some(Value::String(name)) => names.push(name.clone()),
            Some(Value::Array(several)) => {
                names.extend(several.iter().filter_map(Value::as_str).map(str::to_owned));
            }
            _ => {
                let constants = keywords.get("const").into_iter();
                let constants =
                    constants.chain(keywords.get("enum").and_then(Value::as_array).into_iter().flatten());
                names.extend(constants.map(|value| type_of(value).to_owned()));
                if let std::borrow::Cow::Borrowed(keywords) = keywords {
                    for keyword in ["anyOf", "oneOf"] {
                        for branch in keywords.get(keyword).and_then(Value::as_array).into_iter().flatten() {
                            self.types(branch, names);
                        }
                    }
                }
            }
        }
    }

    /// Collects the constants that a schema consists of; `false` if it is anything else.
    fn constants(&self, schema: &'a Value, constants: &mut Vec<&'a Value>) -> bool {
        let Some(std::borrow::Cow::Borrowed(keywords)) = self.keywords(schema) else { return false };
        if let Some(value) = keywords.get("const") {
            constants.push(value);
            return true;
        }
        if let Some(values) = keywords.get("enum").and_then(Value::as_array) {
            constants.extend(values);
            return true;
        }
        match keywords.get("oneOf").or_else(|| keywords.get("anyOf")).and_then(Value::as_array) {
            Some(branches) => branches.iter().all(|branch| self.constants(branch, constants)),
            None => false,
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
