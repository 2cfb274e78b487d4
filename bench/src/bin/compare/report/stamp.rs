//! What a result belongs to: versions, machine, commit, date.

use crate::peers::Programs;
use prism_platform::Platform;
use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// All that is needed to judge whether two results may be compared.
#[derive(Debug, Serialize)]
pub(crate) struct Stamp {
    /// When it began (UTC).
    pub(crate) date: String,
    /// The commit of the working tree, with "dirty" if it was changed.
    pub(crate) commit: String,
    /// How the programs came to be.
    pub(crate) build: String,
    pub(crate) processor: String,
    pub(crate) kernel: String,
    /// Programs with what they say of themselves.
    pub(crate) versions: Vec<(&'static str, String)>,
}

impl Stamp {
    /// Asks everybody. `built` says whether the programs were built just before.
    pub(crate) fn take(programs: &Programs, built: bool) -> Self {
        let git = |arguments: &[&str]| said(Command::new("git").args(arguments)).unwrap_or_default();
        let commit = git(&["rev-parse", "HEAD"]);
        // Its own results do not make a tree dirty.
        let dirty = !git(&["status", "--porcelain", "--", ".", ":!bench/results"]).is_empty();
        let version = |program: &Option<PathBuf>, flag: &str| {
            let said = program.as_ref().and_then(|path| said(Command::new(path).arg(flag)));
            said.unwrap_or_else(|| "not installed".to_owned())
        };
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
        let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
        Self {
            date: humantime::format_rfc3339_seconds(Platform::system().wall_clock()).to_string(),
            commit: format!("{commit}{}", if dirty { " (dirty)" } else { "" }),
            build: format!(
                "profile `dist`{}, {}",
                // `cargo xtask dist` leaves it beside what it built.
                if programs.prism_edge.with_file_name("PGO").exists() { ", profile-guided" } else { "" },
                if built { "built for this run" } else { "as it was found, not built for this run" }
            ),
            processor: format!("{}, {cores} cores", model.unwrap_or("unknown processor")),
            kernel: line_of(Path::new("/proc/sys/kernel/osrelease")),
            versions: vec![
                ("prism-edge", version(&Some(programs.prism_edge.clone()), "--version")),
                ("HAProxy", version(&programs.haproxy, "-v")),
                ("nginx", version(&programs.nginx, "-v")),
                ("Envoy", version(&programs.envoy, "--version")),
                ("h2load", version(&Some(programs.h2load.clone()), "--version")),
                ("rustc", said(Command::new("rustc").arg("--version")).unwrap_or_default()),
            ],
        }
    }
}

fn line_of(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The first line with a text that a command writes, to wherever it writes it (nginx: standard error).
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    // Envoy puts its own path in front.
    Some(line.rsplit_once("  version: ").map_or(line, |(_, version)| version).to_owned())
}
