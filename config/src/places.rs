//! Where in a document something stands that is found wrong outside of this crate, such as a file that is not there.

use crate::{
    load::Source,
    problem::{Collector, Position, Problems},
    tree::{self, Node, NodeValue},
};

/// The document that a configuration was made of, to find places in it.
#[derive(Debug)]
pub struct Places {
    source: String,
    document: Option<Node>,
}

impl Places {
    /// Reads it again. One that cannot be read has no places: every problem is told of its first line.
    #[must_use]
    pub fn of(source: &Source) -> Self {
        let document = tree::read(&source.text, &mut Collector::default());
        Self { source: source.name.clone(), document }
    }

    /// The path of this plugin's declaration: in `plugins`, or at the namespace that it is written in. `plugins`, where it is
    /// not declared.
    #[must_use]
    pub fn plugin(&self, name: &str) -> String {
        let list = |key| self.document.iter().flat_map(move |document| document.list(key)).enumerate();
        let listed = list("plugins").find(|(_, plugin)| plugin.text("name") == Some(name));
        let inline = |namespace: &Node| {
            let plugin = namespace.get("plugin").filter(|node| matches!(node.value, NodeValue::Map(_)))?;
            plugin.text("name").or(namespace.text("name")).map(|own| own == name)
        };
        match listed {
            Some((index, _)) => format!("plugins[{index}]"),
            None => match list("namespaces").find(|(_, namespace)| inline(namespace) == Some(true)) {
                Some((index, _)) => format!("namespaces[{index}].plugin"),
                None => "plugins".to_owned(),
            },
        }
    }

    /// Problems, each a path and what is wrong there, with their lines: of a path that is not written out, those of the
    /// deepest part of it that is.
    #[must_use]
    pub fn problems(&self, found: impl IntoIterator<Item = (String, String)>) -> Problems {
        let mut problems = Collector::default();
        for (path, message) in found {
            problems.invalid(self.position(&path), path, message, None);
        }
        problems.finish(&self.source)
    }

    fn position(&self, path: &str) -> Position {
        let mut at = Position { line: 1, column: 1 };
        let Some(mut node) = self.document.as_ref() else { return at };
        for part in path.split(['.', '[']).filter(|part| !part.is_empty()) {
            let next = match part.strip_suffix(']').map(str::parse::<usize>) {
                Some(Ok(index)) => node.items().get(index).map(|item| (item, item.at)),
                _ => node.entry(part).map(|entry| (&entry.value, entry.value_at())),
            };
            let Some((value, place)) = next else { break };
            (node, at) = (value, place);
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_its_line() {
        let text = "\
plugins:
  - name: near
    tls: { ca_cert: no }
namespaces:
  - name: a
    backend: x
    plugin:
      library: no.so
  - { name: b, backend: x, plugin: { name: own } }
";
        let source = |text: &str| Source { name: "f".into(), text: text.into(), base_dir: ".".into() };
        let places = Places::of(&source(text));
        assert_eq!(places.plugin("near"), "plugins[0]");
        assert_eq!(places.plugin("a"), "namespaces[0].plugin");
        assert_eq!(places.plugin("own"), "namespaces[1].plugin");
        assert_eq!(places.plugin("none"), "plugins");
        let found =
            ["namespaces[0].plugin.library", "plugins[0].tls.ca_cert", "plugins[0].tls.none", "no[7]"];
        let told = places.problems(found.map(|path| (path.to_owned(), "x".to_owned()))).to_string();
        let expected = [
            "f:1:1: no[7]: x",
            "f:3:10: plugins[0].tls.none: x",
            "f:3:21: plugins[0].tls.ca_cert: x",
            "f:8:16: namespaces[0].plugin.library: x",
        ];
        assert_eq!(told.lines().collect::<Vec<_>>(), expected);
        let none = Places::of(&source("a: [")).problems([("a".to_owned(), "x".to_owned())]);
        assert_eq!(none.to_string().trim_end(), "f:1:1: a: x");
    }
}
