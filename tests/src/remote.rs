//! A plugin on "another host": a process on a TCP port of loopback, behind mutual TLS.

use crate::{Process, free_port, tools, wait};
use prism_tls::testing::{Authority, Folder};
use std::{net::TcpStream, process::Command};

/// An authority and the files of both sides: `ca.crt`, `proxy.crt` and `.key`, `plugin.crt` and `.key`.
#[derive(Debug)]
pub struct Pki {
    /// Where the files are.
    pub folder: Folder,
    /// Who signed them.
    pub authority: Authority,
}

impl Pki {
    /// Fresh ones. The plugin's certificate is for `plugin.test` and for 127.0.0.1.
    #[must_use]
    #[allow(clippy::new_without_default)] // no two are alike
    pub fn new() -> Self {
        let pki = Self { folder: Folder::new(), authority: Authority::new() };
        pki.folder.write("ca.crt", &pki.authority.pem());
        pki.sign_both(&pki.authority);
        pki
    }

    /// Has both sides' identities signed by this authority.
    pub fn sign_both(&self, authority: &Authority) {
        self.folder.identity("plugin", &authority.identity(&["plugin.test", "127.0.0.1"], |_| {}));
        self.folder.identity("proxy", &authority.identity(&["proxy.test"], |_| {}));
    }

    /// A file's path, for a configuration.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The `tls` of a plugin: everything as it should be.
    #[must_use]
    pub fn tls(&self) -> String {
        format!(
            "{{ ca_cert: '{}', client_cert: '{}', client_key: '{}' }}",
            self.path("ca.crt"),
            self.path("proxy.crt"),
            self.path("proxy.key")
        )
    }
}

/// A running plugin, which can be killed and started again on its port.
#[derive(Debug)]
pub struct RemotePlugin {
    /// Its process.
    pub process: Process,
    program: &'static str,
    files: [(&'static str, String); 3],
    port: u16,
}

impl RemotePlugin {
    /// `memory-plugin` or `prism-redis-server`, with these files.
    #[must_use]
    pub fn start(program: &'static str, pki: &Pki) -> Self {
        let files = [
            ("PRISM_PLUGIN_TLS_CERT", pki.path("plugin.crt")),
            ("PRISM_PLUGIN_TLS_KEY", pki.path("plugin.key")),
            ("PRISM_PLUGIN_TLS_CLIENT_CA", pki.path("ca.crt")),
        ];
        let port = free_port();
        let mut plugin = Self { process: launch(program, &files, port), program, files, port };
        plugin.came_up();
        plugin
    }

    /// Starts it again after it was killed.
    pub fn restart(&mut self) {
        self.process = launch(self.program, &self.files, self.port);
        self.came_up();
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn came_up(&mut self) {
        wait::until("the plugin should listen", || {
            assert!(self.process.ended().is_none(), "the plugin ended:\n{}", self.process.log());
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
    }
}

fn launch(program: &str, files: &[(&'static str, String); 3], port: u16) -> Process {
    let log = std::env::temp_dir().join(format!("{program}-{}-{port}.log", std::process::id()));
    let mut command = Command::new(tools::own(program));
    command.env("PRISM_PLUGIN_ADDRESS", format!("127.0.0.1:{port}")).envs(files.iter().cloned());
    Process::spawn(program, &mut command, &log)
}
