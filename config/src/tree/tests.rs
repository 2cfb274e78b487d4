//! Tests of the reader: values, positions, and what it refuses.

use super::*;

fn tree(text: &str) -> (Option<Node>, Vec<String>) {
    let mut problems = Collector::default();
    let node = read(text, &mut problems);
    (node, problems.finish("t").iter().map(ToString::to_string).collect())
}

/// Every scalar with its path and place.
fn places(node: &Node, path: &str, found: &mut Vec<String>) {
    for entry in node.entries() {
        found.push(format!("{}:{} {}", entry.at.line, entry.at.column, join(path, &entry.key)));
        places(&entry.value, &join(path, &entry.key), found);
    }
    for (index, item) in node.items().iter().enumerate() {
        places(item, &format!("{path}[{index}]"), found);
    }
    if node.entries().is_empty() && node.items().is_empty() {
        found.push(format!("{}:{} {}", node.at.line, node.at.column, node.to_json()));
    }
}

#[test]
fn places_are_counted_in_lines_and_characters() {
    for (text, expected) in [
        (
            "a: 1\nb:\n  - x\n  - c: y\n",
            &["1:1 a", "1:4 1", "2:1 b", "3:5 \"x\"", "4:5 b[1].c", "4:8 \"y\""][..],
        ),
        (
            "ü: ä\nß: { é: 'ö' }\n",
            &["1:1 [\"ü\"]", "1:4 \"ä\"", "2:1 [\"ß\"]", "2:6 [\"ß\"][\"é\"]", "2:9 \"ö\""],
        ),
        ("a: 1\r\nb: 2\r\n", &["1:1 a", "1:4 1", "2:1 b", "2:4 2"]),
        ("\u{feff}a: 1\n", &["1:1 a", "1:4 1"]),
        ("# c\n\n---\na: 1\n", &["4:1 a", "4:4 1"]),
        ("a.b: { 'c d': 1 }\n", &["1:1 [\"a.b\"]", "1:8 [\"a.b\"][\"c d\"]", "1:15 1"]),
        ("a: |\n  text\nb: 2\n", &["1:1 a", "2:3 \"text\\n\"", "3:1 b", "3:4 2"]),
    ] {
        let (node, problems) = tree(text);
        let mut found = Vec::new();
        places(&node.unwrap(), "", &mut found);
        assert_eq!(found, expected, "{text:?}");
        assert_eq!(problems, [""; 0], "{text:?}");
    }
}

#[test]
fn anchors_aliases_and_tags_are_found_wherever_they_stand() {
    for (text, expected) in [
        ("a: &x 1\n", &["1:4: a: an anchor"][..]),
        ("a: &x\n", &["1:4: a: an anchor"]),
        ("&x a: 1\n", &["1:1: an anchor"]),
        ("a: &x\n  b: 1\n", &["1:4: "]),
        ("a: &x [1]\n", &["1:4: "]),
        ("a: [&x 1, &y 2]\n", &["1:5: a[0]: an anchor", "1:11: a[1]: an anchor"]),
        ("a: !t 1\n", &["1:4: "]),
        ("a: !!str 1\n", &["1:4: a: a tag"]),
        ("a: !<tag:yaml.org,2002:str> 1\n", &["1:4: "]),
        ("a: !!seq [1]\n", &["1:4: "]),
        ("a: !t\n  b: 1\n", &["1:4: "]),
        ("a: !t |\n  text\n", &["1:4: "]),
        ("a: &x |\n  text\n", &["1:4: "]),
        ("a: ! 1\n", &["1:4: "]),
        ("- &x\n- *x\n", &["1:3: [0]: an anchor", "2:3: [1]: an alias"]),
        ("a: &x 1\nb: *x\n", &["1:4: a: an anchor", "2:4: b: an alias"]),
        ("a: &x 1\n*x : 2\n", &["1:4: a: an anchor", "2:1: an alias"]),
        ("a: |\nb: &x 1\nc: *x\n", &["2:4: b: an anchor", "3:4: c: an alias"]),
        ("a: |\n  &x\nb: &y 1\n", &["3:4: b: an anchor"]),
        ("ü: &x ü\nb: {c: *x}\n", &["1:4: [\"ü\"]: an anchor", "2:8: b.c: an alias"]),
        ("a: 1 # |\nb: &x 1\n", &["2:4: b: an anchor"]),
        ("a: [ &x 1, # |\n *x ]\n", &["1:6: a[0]: an anchor", "2:2: a[1]: an alias"]),
        ("a: &x !t 1\n", &["1:4: a: anchors and tags"]),
        ("a: !t &x\n  - b\n", &["1:4: a: anchors and tags"]),
        ("? &x [*x]\n: b\n", &["1:3: a key must be", "1:3: an anchor", "1:7: [0]: an alias"]),
        ("a: *x\n", &["1:4: a: an alias"]),
        ("a: 1\n# end\n--- &x\nb: 1\n", &["3:5: a second document"]),
    ] {
        let (_, problems) = tree(text);
        assert_eq!(problems.len(), expected.len(), "{text:?}: {problems:?}");
        for (found, expected) in problems.iter().zip(expected) {
            assert!(found.starts_with(expected), "{text:?}: {found} is not {expected}");
        }
    }
}

#[test]
fn block_scalars_may_begin_with_any_sign() {
    for header in ["|", ">", "|-", ">+", "|2", "| # comment", "|  \t"] {
        for content in ["*x", "&x y", "!t z", "*x\n  &y"] {
            let text = format!("a: {header}\n  {content}\nb: 1\n");
            let (node, problems) = tree(&text);
            assert_eq!(problems, [""; 0], "{text:?}");
            assert!(node.unwrap().text("a").is_some_and(|a| a.trim_start().starts_with(['*', '&', '!'])));
        }
    }
}
