//! `include/prism_plugin.h` is what the layout in Rust says. `cargo xtask docs` writes it.

use cbindgen::{Builder, Config, DocumentationStyle, EnumConfig, Language, Style};
use std::{env, fs, path::Path};

const HEAD: &str = "/* The boundary between Prism Edge and a plugin in a shared library: version 1.0.\n *\n \
                    * Made from plugins/abi/src/ffi/layout.rs; do not edit. docs/plugins.md has a plugin in C. */";

/// `prism_waker_vtable` for `WakerVtable`.
fn c_name(name: &str) -> String {
    let mut c = String::from("prism");
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            c.push('_');
        }
        c.push(letter.to_ascii_lowercase());
    }
    c
}

/// The structs name each other in a circle.
fn declared_before_use(names: &[&str]) -> String {
    let structs = names.iter().filter(|name| !["EntryFn", "Plugin"].contains(name));
    structs.fold(String::new(), |all, name| format!("{all}\nstruct {};", c_name(name)))
}

fn generate(source: &Path) -> String {
    let names = [
        "Str",
        "Buffer",
        "BufferVtable",
        "Data",
        "Entry",
        "Request",
        "Context",
        "Reply",
        "Waker",
        "WakerVtable",
        "Call",
        "CallVtable",
        "Stream",
        "StreamVtable",
        "Source",
        "SourceVtable",
        "Message",
        "Plugin",
        "PluginVtable",
        "Host",
        "Loaded",
        "EntryFn",
        "Note",
    ];
    let mut config = Config {
        language: Language::C,
        header: Some(HEAD.into()),
        include_guard: Some("PRISM_PLUGIN_H".into()),
        no_includes: true,
        sys_includes: vec!["stddef.h".into(), "stdint.h".into()],
        after_includes: Some(declared_before_use(&names)),
        cpp_compat: true,
        style: Style::Both,
        usize_is_size_t: true,
        documentation_style: DocumentationStyle::C99,
        enumeration: EnumConfig::default(),
        ..Config::default()
    };
    config.export.rename = names.map(|name| (name.to_owned(), c_name(name))).into();
    config.export.include = names.map(String::from).into();
    let mut header = Vec::new();
    Builder::new()
        .with_config(config)
        .with_src(source)
        .generate()
        .expect("the layout is read")
        .write(&mut header);
    String::from_utf8(header).expect("text")
}

#[test]
fn the_header_is_what_the_layout_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = generate(&root.join("src/ffi/layout.rs"));
    let path = root.join("include/prism_plugin.h");
    if env::var_os("PRISM_WRITE_HEADER").is_some() {
        fs::write(&path, &header).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == header, "{} is not what the layout says: run `cargo xtask docs`", path.display());
}
