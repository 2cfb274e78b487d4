//! Hostile and broken texts: bounded, refused, never a panic.

use prism_config::{ProblemKind, check_schema_only, parse};
use proptest::prelude::*;

use crate::{
    common::{file, load, problems, registry, source},
    mistakes::refused,
};

#[test]
fn nothing_is_all_defaults() {
    for text in
        ["", "\n\n", "# only a comment\n", "---\n", "{}", "\u{feff}", "---\n...\n", "%YAML 1.2\n---\n"]
    {
        assert_eq!(load(text), load("{}"), "{text:?}");
    }
}

#[test]
fn aliases_and_anchors_and_tags_are_refused() {
    refused(
        "workers: &w 2\nadmin: { ready: *w }\n",
        &[
            "1:10: workers: an anchor is not allowed (remove it)",
            "2:17: admin.ready: an alias is not allowed (write the value out)",
        ],
    );
    refused("workers: !!int 2\n", &["1:10: workers: a tag is not allowed (remove it)"]);
    refused("admin: !x { ready: all }\n", &["1:8: admin: a tag is not allowed (remove it)"]);
    refused("!!map {}\n", &["1:1: a tag is not allowed (remove it)"]);
    refused(
        "namespaces: &n\n",
        &[
            "1:1: namespaces: expected a list, found nothing",
            "1:13: namespaces: an anchor is not allowed (remove it)",
        ],
    );
    // The YAML reader loses such a key and takes the value for one; it must be told all the same.
    let shown = problems("workers: 2\n!!int foo: namespaces\nb: c\n").to_string();
    assert!(shown.contains("2:1: ") && shown.contains("a tag is not allowed"), "{shown}");
    // A merge key is a key like any other.
    refused("<<: {}\n", &["1:1: [\"<<\"]: unknown key `<<`"].map(|_| "1:1: [\"<<\"]: unknown key `<<` (known: `admin`, `drain`, `listeners`, `management`, `max_library_generations`, `namespaces`, `plugins`, `secrets`, `window_budget_bytes`, `workers`)"));
}

#[test]
fn signs_in_scalars_are_only_text() {
    let config = load(
        "\
# & comment * with ! signs\n\
namespaces:
  - name: a # &b *c !d
    backend: memory
    config:
      plain: a &b *c !d | >
      quoted: '*x'
      double: \"&x !y\"
      block: |
        *bold* &x !y
        # no comment
      folded: >-
        &x
      'key & *': 1
      empty: |
      after: \"*\"
      list: [a & b, 'x!', \"ü & *\"]
      ü: \"*ü\"
",
    );
    let config = config.namespaces[0].config.clone().unwrap();
    assert_eq!(config["block"], "*bold* &x !y\n# no comment\n");
    assert_eq!(config["folded"], "&x");
    assert_eq!(config["key & *"], 1);
    assert_eq!(config["list"][2], "ü & *");
    assert_eq!(config["after"], "*");
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        text += &format!("a{level}: &a{level} [{items}]\n");
    }
    let found = problems(&text);
    assert!(found.iter().any(|problem| problem.kind == ProblemKind::Syntax), "{found}");
    // Within the reader's own budget, aliases are still refused.
    let shown = problems("a: &a [1]\nb: [*a, *a]\n").to_string();
    assert_eq!(shown.matches("an alias is not allowed").count(), 2, "{shown}");
}

#[test]
fn the_bound_of_nesting_is_exact() {
    let config = |depth: usize| {
        let lists = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        format!("namespaces: [{{ name: a, backend: memory, config: {{ x: {lists} }} }}]\nworkers: 0\n")
    };
    // Around the lists: the document, `namespaces`, the namespace, `config`.
    refused(&config(60), &["2:10: workers: expected at least 1, found 0"]);
    let path = format!("namespaces[0].config.x{}", "[0]".repeat(60));
    let deep = format!("1:115: {path}: nested more than 64 levels deep");
    for depth in [61, 62, 100, 200] {
        refused(&config(depth), &[&deep, "2:10: workers: expected at least 1, found 0"]);
    }
}

#[test]
fn deep_nesting_is_refused_without_deep_recursion() {
    let flow = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let block = |depth: usize| format!("{}x", "- ".repeat(depth));
    let lines: String = (0..3_000).map(|depth| format!("{}- a:\n", " ".repeat(depth))).collect();
    let keys: String = (0..150).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    for text in [
        flow(70),
        flow(250),
        flow(100_000),
        "{a: ".repeat(100_000),
        "[{".repeat(100_000),
        block(70),
        block(79),
        block(1_000_000),
        "? ".repeat(1_000_000),
        ": ".repeat(1_000_000),
        "-\t".repeat(500_000),
        lines.clone(),
        lines.replace('\n', "\r"),
        keys,
    ] {
        let found = problems(&text);
        assert!(
            found.iter().any(|problem| problem.kind == ProblemKind::Syntax),
            "{} …: {found}",
            &text[..40]
        );
    }
    // What people write stays possible: a long line of dashes, and text far to the right.
    load(&format!("# {}\n{}# far\nworkers:\n{}2\n", "-".repeat(300), " ".repeat(300), " ".repeat(100)));
}

#[test]
fn keys_are_unique_strings() {
    refused("workers: 1\nworkers: 2\n", &["2:1: workers: the key `workers` is there twice; first on line 1"]);
    refused(
        "admin:\n  socket: a\n  \"socket\": b\n",
        &["3:3: admin.socket: the key `socket` is there twice; first on line 2"],
    );
    refused("1: a\n", &["1:1: a key must be a string (put it in quotes)"]);
    refused("true: a\n", &["1:1: a key must be a string (put it in quotes)"]);
    refused("[a]: b\n", &["1:1: a key must be a string"]);
    refused("? {a: b}\n: c\n", &["1:3: a key must be a string"]);
}

#[test]
fn a_key_that_is_there_twice_hides_no_other_problem() {
    refused(
        "\
workers: many
admin: { socket: a, ready: all, socket: b }
management: {}
listeners:
  - name: a
    address: 127.0.0.1:1
    http2: { max_frame_bytes: 1KiB }
    name: b
namespaces:
  - name: n
    backend: memery
workers: 0
workers: &w 7
",
        &[
            "1:10: workers: expected an integer, found a string `many`",
            "2:33: admin.socket: the key `socket` is there twice; first on line 2",
            "3:13: management: `management` is not built yet",
            "7:31: listeners[0].http2.max_frame_bytes: expected at least 16384, found 1024",
            "8:5: listeners[0].name: the key `name` is there twice; first on line 5",
            "11:14: namespaces[0].backend: no `plugin` is given, and `memery` is neither in `plugins:` nor built in \
             (did you mean `memory`?)",
            "12:1: workers: the key `workers` is there twice; first on line 1",
            "12:10: workers: expected at least 1, found 0",
            "13:1: workers: the key `workers` is there twice; first on line 1",
            "13:10: workers: an anchor is not allowed (remove it)",
        ],
    );
    // Alone, such a key is a reason to refuse as well, also where the schema allows every key.
    refused(
        "namespaces: [{ name: a, backend: memory, config: { x: 1, y: 2, x: 1 } }]\n",
        &["1:64: namespaces[0].config.x: the key `x` is there twice; first on line 1"],
    );
    assert!(check_schema_only(&source("workers: 1\nworkers: 1\n"), &registry()).is_err());
}

#[test]
fn what_was_found_before_the_text_stops_being_yaml_is_told() {
    refused(
        "workers: &w 1\nadmin: {}\nadmin: {}\nnamespaces: [\n",
        &[
            "1:10: workers: an anchor is not allowed (remove it)",
            "3:1: admin: the key `admin` is there twice; first on line 2",
            "5:1: while parsing a node, did not find expected node content",
        ],
    );
    refused("workers: *w\n", &["1:10: workers: an alias is not allowed (write the value out)"]);
}

#[test]
fn broken_yaml() {
    refused(
        "admin:\n\tready: all\n",
        &[
            "2:2: tabs disallowed within this context (block indentation) (YAML is indented with spaces, never with tabs)",
        ],
    );
    for text in [
        "a: [1, 2",
        "a: 'x",
        "a: b: c",
        "{a: b}}",
        "@x",
        "a: |\n\tx",
        "- a\nb: c",
        "a: *unknown",
        "\"\\q\"",
        "%TAG",
    ] {
        let found = problems(text);
        assert_eq!(found.problems.len(), 1, "{text:?}: {found}");
        assert_eq!(found.problems[0].kind, ProblemKind::Syntax, "{text:?}: {found}");
    }
    refused("workers: 1\n---\nworkers: 2\n", &["3:1: a second document begins here; only one is read"]);
    refused("workers: 1\n\0evil: 2\n", &["2:1: the document contains a NUL character"]);
    refused(
        &format!("# {}\n", "x".repeat(4 << 20)),
        &["1:1: the document is 4194307 bytes long; at most 4194304 are read"],
    );
}

#[test]
fn yaml_1_2_scalars() {
    let config = load(
        "namespaces: [{ name: a, backend: memory, config: { yes: yes, on: on, no: no, octal: 0o17, hex: 0x1F, \
         old: 017, time: 12:30, date: 2026-01-01, nothing: ~, empty: , t: True, f: 1e3, big: 18446744073709551615, \
         neg: -9223372036854775808, quoted: '12', version: 1.10 } }]",
    );
    let json = serde_json::json!({
        "yes": "yes", "on": "on", "no": "no", "octal": 15, "hex": 31, "old": 17, "time": "12:30",
        "date": "2026-01-01", "nothing": null, "empty": null, "t": true, "f": 1000.0, "big": 18_446_744_073_709_551_615_u64,
        "neg": i64::MIN, "quoted": "12", "version": 1.1,
    });
    assert_eq!(serde_json::to_value(&config.namespaces[0].config).unwrap(), json);
}

#[test]
fn there_are_only_so_many_problems() {
    let text: String = (0..5_000).map(|n| format!("key{n}: &a{n} x\n")).collect();
    let found = problems(&text);
    assert_eq!(found.problems.len(), 1_000);
    assert!(found.omitted >= 4_000, "{}", found.omitted);
    assert!(found.to_string().ends_with("more"));
}

/// Pieces that YAML and our keys are made of, so that random texts get somewhere.
fn pieces() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "listeners:",
        "- name: a",
        "address: 127.0.0.1:1",
        "filters:",
        "- trace",
        "- trace: {",
        "}",
        "[",
        "]",
        "- ",
        "? ",
        ": ",
        "&a ",
        "*a",
        "!t ",
        "!!int ",
        "|",
        ">-",
        "#",
        "'",
        "\"",
        "\n",
        "\n  ",
        "\n    ",
        "\t",
        "{",
        ",",
        "namespaces:",
        "plugin:",
        "config:",
        "1e999",
        "99999999999999999999",
        ".nan",
        "---",
        "...",
        "%YAML 1.2",
        "\r",
        "\u{feff}",
        "ü",
        "{{ secret:x }}",
        "routes:",
        "match:",
        "headers:",
        "path: /x",
        "type: sidecar",
        "~",
        "<<:",
    ]);
    prop::collection::vec(words, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = parse(&source(&text), &registry());
    }

    #[test]
    fn no_yaml_like_text_panics(text in pieces()) {
        let result = parse(&source(&text), &registry());
        if let Err(problems) = result {
            prop_assert!(!problems.problems.is_empty());
            let lines = text.split(['\n', '\r']).count() + 1;
            for problem in &problems {
                prop_assert!(problem.line >= 1 && problem.line <= lines, "{problem}");
            }
        }
        let _ = check_schema_only(&source(&text), &registry());
    }

    /// Examples with bytes deleted, doubled or replaced: refused or read, and what is read is not what
    /// the schema refuses.
    #[test]
    fn no_mutated_example_panics(
        which in 0..4_usize,
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8, pieces()), 1..6),
    ) {
        let names = ["prism.yaml", "examples/full.yaml", "examples/rfc-namespaces.yaml", "examples/redis-sidecar.yaml"];
        let mut text = file(names[which]);
        for (at, kind, piece) in edits {
            let offsets: Vec<usize> = text.char_indices().map(|(offset, _)| offset).collect();
            if offsets.is_empty() {
                break;
            }
            let at = offsets[at.index(offsets.len())];
            match kind {
                0 => text.insert_str(at, &piece),
                1 => { text.remove(at); }
                _ => text.truncate(at),
            }
        }
        if let Ok(config) = parse(&source(&text), &registry()) {
            prop_assert!(check_schema_only(&source(&text), &registry()).is_ok());
            prop_assert!(!config.listeners.is_empty());
            for namespace in &config.namespaces {
                prop_assert!(config.plugin(&namespace.plugin).is_some());
            }
        }
    }

    /// Every scalar of an example replaced by every kind of value: no value slips past the schema only to
    /// fail in the types.
    #[test]
    fn the_schema_refuses_whatever_the_types_refuse(
        line in any::<prop::sample::Index>(),
        value in prop::sample::select(vec![
            "null", "true", "false", "0", "-1", "1", "1.5", "18446744073709551615", "9223372036854775807", "''", "text",
            "[]", "{}", "[a]", "{ a: b }", "4MiB", "30s", "127.0.0.1:7", "any", "[demo]", "4294967296", "1e18",
        ]),
    ) {
        let text = file("examples/full.yaml");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let scalars: Vec<usize> = (0..lines.len())
            .filter(|index| lines[*index].contains(": ") && !lines[*index].starts_with('#'))
            .collect();
        let line = scalars[line.index(scalars.len())];
        let key = lines[line].split(": ").next().unwrap().to_owned();
        lines[line] = format!("{key}: {value}");
        if let Err(problems) = parse(&source(&lines.join("\n")), &registry()) {
            for problem in &problems {
                prop_assert!(!problem.message.contains("the schema does not say why"), "{problem}\n{}", lines[line]);
            }
        }
    }
}
