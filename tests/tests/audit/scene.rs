//! A proxy with an audit log, and those who check it.

use prism_tests::{Proxy, Signal, Start, tools};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// A folder with a key and a log, which live longer than a proxy.
pub(crate) struct Scene {
    folder: TempDir,
}

/// What somebody says of a log.
pub(crate) struct Checked {
    pub(crate) status: i32,
    pub(crate) said: String,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("prism-audit-").tempdir().unwrap();
        let (key, public) = (folder.path().join("audit.key"), folder.path().join("audit.pem"));
        // As docs/audit.md has it; OpenSSL makes the file for its owner's eyes only.
        let openssl = || Command::new(tools::tool("openssl"));
        tools::succeed(openssl().args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&key));
        tools::succeed(openssl().arg("pkey").arg("-in").arg(&key).arg("-pubout").arg("-out").arg(&public));
        Self { folder }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.folder.path().join("audit")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("audit.key")
    }

    /// A configuration with the namespace `demo` and an audit log; `more` are settings of it.
    pub(crate) fn config(&self, more: &str) -> String {
        let audit = format!("{{ dir: '{}', key: '{}'{more} }}", self.dir().display(), self.key().display());
        format!(
            "
admin: {{ address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }}
listeners:
  - name: edge
    address: '127.0.0.1:@listen@'
    filters:
      - trace: {{ request_id: accept, access_log: {{ path: '@dir@/access.log' }} }}
      - audit: {audit}
      - plugin_dispatch: {{}}
plugins:
  - {{ name: memory, type: builtin }}
namespaces:
  - {{ name: demo, backend: memory, plugin: memory }}
"
        )
    }

    pub(crate) fn start(&self, more: &str) -> Proxy {
        Start::new(&self.config(more)).run()
    }

    /// Every line of the log, in its order.
    pub(crate) fn lines(&self) -> Vec<Value> {
        lines(&self.dir())
    }

    /// Those of one kind.
    pub(crate) fn kind(&self, kind: &str) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["kind"] == kind).collect()
    }

    /// What `prism audit verify` says of a folder.
    pub(crate) fn verify(&self, dir: &Path, arguments: &[&str]) -> Checked {
        let mut prism = Command::new(tools::own("prism"));
        prism.args(["audit", "verify", "--key"]).arg(self.folder.path().join("audit.pem")).args(arguments);
        run(prism.arg(dir))
    }

    /// What the program of docs/audit.md says of a folder.
    pub(crate) fn verify_by_the_guide(&self, dir: &Path, heads: &[&str]) -> Checked {
        let guide = fs::read_to_string(tools::repository().join("docs/audit.md")).unwrap();
        let program = guide.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let file = self.folder.path().join("check.py");
        fs::write(&file, program).unwrap();
        let mut python = Command::new(tools::python());
        run(python.arg(file).arg(dir).arg(self.folder.path().join("audit.pem")).args(heads))
    }

    /// It is whole and ended, say both.
    pub(crate) fn is_intact(&self) {
        let ours = self.verify(&self.dir(), &["--closed"]);
        assert_eq!(ours.status, 0, "{}", ours.said);
        let theirs = self.verify_by_the_guide(&self.dir(), &[]);
        assert_eq!(theirs.status, 0, "{}", theirs.said);
    }
}

/// Ends a proxy as an operator does.
pub(crate) fn stop(mut proxy: Proxy) {
    proxy.process.signal(Signal::TERM);
    assert!(proxy.process.wait().success());
}

pub(crate) fn lines(dir: &Path) -> Vec<Value> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let segments = files.iter().filter(|file| file.extension().is_some_and(|name| name == "jsonl"));
    let mut lines = Vec::new();
    for file in segments {
        let text = fs::read_to_string(file).unwrap();
        // What stands behind the last end of a line is half of one.
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        lines.extend(whole.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON")));
    }
    lines
}

fn run(command: &mut Command) -> Checked {
    let output = command.output().unwrap();
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    Checked { status: output.status.code().expect("it was not killed"), said }
}
