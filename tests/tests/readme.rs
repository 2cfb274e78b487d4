//! What the README and the guide for applications tell a person to type, typed.

use prism_tests::{Proxy, example, tools};
use std::{env, fs, path::Path, process::Command};

/// The fenced blocks of this language in a document, from one heading to the next of its kind.
fn blocks(document: &str, heading: &str, language: &str) -> Vec<String> {
    let text = fs::read_to_string(tools::repository().join(document)).unwrap();
    let (_, section) = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no `{heading}`"));
    let section = section.split("\n## ").next().unwrap();
    let opening = format!("```{language}\n");
    let blocks = section.split(&opening).skip(1);
    let blocks: Vec<_> = blocks.map(|block| block.split("\n```").next().unwrap().to_owned()).collect();
    assert!(!blocks.is_empty(), "no `{language}` under `{heading}` of {document}");
    blocks
}

fn demo() -> Proxy {
    Proxy::start(&example(
        "config/prism.yaml",
        &[("127.0.0.1:50051", "127.0.0.1:@listen@"), ("127.0.0.1:50052", "127.0.0.1:@admin@")],
    ))
}

/// A shell, or Python, in this folder, with the project's tools on its path and this proxy in the place of the guide's.
fn run(program: &Path, argument: &str, script: &str, folder: &Path, proxy: &Proxy) -> String {
    let script = script.replace("127.0.0.1:50051", &format!("127.0.0.1:{}", proxy.port()));
    let mut paths: Vec<_> =
        ["grpcurl", "curl"].map(|tool| tools::tool(tool).parent().unwrap().to_owned()).into();
    paths.push(tools::python().parent().unwrap().to_owned());
    paths.extend(env::split_paths(&env::var_os("PATH").unwrap()));
    let mut command = Command::new(program);
    command.arg(argument).arg(script).current_dir(folder).env("PATH", env::join_paths(paths).unwrap());
    command.env("no_proxy", "*").env("GRPC_VERBOSITY", "ERROR");
    tools::succeed(&mut command)
}

fn shell(script: &str, folder: &Path, proxy: &Proxy) -> String {
    run(Path::new("/bin/sh"), "-ec", script, folder, proxy)
}

/// The repository's own `proto` is all that the stubs are made from.
fn with_proto() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(tools::repository().join("proto"), folder.path().join("proto")).unwrap();
    folder
}

#[test]
fn the_first_call_as_the_readme_has_it() {
    let (proxy, folder) = (demo(), with_proto());
    let sh = blocks("README.md", "## First call", "sh");
    let [curl, grpcurl, stubs] = &sh[..] else { panic!("{sh:?}") };
    let said = shell(curl, folder.path(), &proxy);
    assert!(said.contains(r#""applied":true"#) && said.contains(r#""value":"aGVsbG8=""#), "{said}");
    assert!(said.contains("}hello") && said.contains(r#""namespace": "demo""#), "{said}");
    let said = shell(grpcurl, folder.path(), &proxy);
    assert!(said.contains("prism.kv.v1.KeyValueService") && said.contains("aGVsbG8="), "{said}");

    // What pip would install is what the tests' own Python has.
    let (pip, stubs) = stubs.split_once('\n').unwrap();
    assert!(pip.starts_with("pip install"), "{pip}");
    let stubs = stubs.replace("python ", &format!("{} ", tools::python().display()));
    shell(&stubs, folder.path(), &proxy);
    for python in blocks("README.md", "## First call", "python") {
        let said = run(&tools::python(), "-c", &python, folder.path(), &proxy);
        assert_eq!(said.trim(), "b'hello'");
    }
}

#[test]
fn what_the_guide_for_applications_says() {
    let (proxy, folder) = (demo(), with_proto());
    for script in blocks("docs/clients.md", "## Which namespace", "sh") {
        let said = shell(&script, folder.path(), &proxy);
        assert!(said.contains("prism.kv.v1.KeyValueService") && said.contains("3.1.0"), "{said}");
    }
    fs::write(folder.path().join("picture.png"), [0, 255, 7]).unwrap();
    for script in blocks("docs/clients.md", "## Raw", "sh") {
        shell(&script, folder.path(), &proxy);
    }
    let stubs = blocks("README.md", "## First call", "sh")[2].split_once('\n').unwrap().1.to_owned();
    shell(&stubs.replace("python ", &format!("{} ", tools::python().display())), folder.path(), &proxy);
    for python in blocks("docs/clients.md", "## Typed", "python") {
        // Nobody writes while it watches.
        let python = format!(
            "import sys; sys.path.insert(0, 'stubs')\n{}",
            python.replace("timeout=60", "timeout=0.5")
        );
        let said = run(&tools::python(), "-c", &python, folder.path(), &proxy);
        assert!(said.contains("StatusCode.INVALID_ARGUMENT") && said.contains("DEADLINE_EXCEEDED"), "{said}");
    }
    for script in blocks("docs/clients.md", "## `Execute`", "sh") {
        let [curl, ..] = &blocks("README.md", "## First call", "sh")[..] else { panic!("no first call") };
        shell(curl, folder.path(), &proxy);
        let said = shell(&script, folder.path(), &proxy);
        let times = |word: &str| said.matches(word).count();
        assert_eq!((times(r#""success": true"#), times("aGVsbG8=")), (2, 2), "{said}");
    }
}
