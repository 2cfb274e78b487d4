//! Where the programs are.

use crate::error::{Error, io};
use std::{
    env,
    path::{Path, PathBuf},
};

/// Every program of the comparison.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) prism_edge: PathBuf,
    pub(crate) edge: PathBuf,
    pub(crate) echo_plugin: PathBuf,
    pub(crate) relay: PathBuf,
    pub(crate) haproxy: Option<PathBuf>,
    pub(crate) nginx: Option<PathBuf>,
    pub(crate) envoy: Option<PathBuf>,
    pub(crate) h2load: PathBuf,
}

impl Programs {
    /// Ours are beside this program (or where `bin` says), the others on the PATH or among the tools that
    /// `cargo xtask tools` installs. Which of them are needed, the peers decide.
    pub(crate) fn find(bin: Option<&Path>, tools: &Path) -> Result<Self, Error> {
        let own = io("find out where this program is", env::current_exe())?;
        let bin = bin.or_else(|| own.parent()).unwrap_or(Path::new("."));
        let envoy = tools.join("bin/envoy");
        Ok(Self {
            prism_edge: bin.join("prism-edge"),
            edge: bin.join("edge"),
            echo_plugin: bin.join("echo-plugin"),
            relay: bin.join("relay"),
            haproxy: on_path("haproxy"),
            nginx: on_path("nginx"),
            envoy: envoy.exists().then_some(envoy),
            h2load: needed(&on_path("h2load"), "h2load")?,
        })
    }
}

/// A program that a chosen peer cannot do without.
pub(crate) fn needed(program: &Option<PathBuf>, name: &str) -> Result<PathBuf, Error> {
    program.clone().ok_or_else(|| Error::Missing {
        program: name.to_owned(),
        remedy: "`cargo xtask bench compare` installs it; without it, choose other peers with --only",
    })
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian's daemons are in sbin, which an ordinary user's PATH lacks.
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}
