//! The proxy as a process.

use crate::{Process, admin::Admin, free_port, tools, wait};
use rustix::process::Signal;
use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tempfile::TempDir;

/// How often a start is repeated when somebody took a port between choosing it and binding it.
const TRIES: usize = 5;

/// What to start, and how. In the configuration, `@listen@`, `@listen2@` and `@admin@` become free ports,
/// and `@dir@` the proxy's own folder.
#[derive(Debug, Clone)]
pub struct Start {
    template: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    open_files: Option<u32>,
    file_bytes: Option<u64>,
    ready: bool,
    stdout_unread: bool,
    program: &'static str,
}

impl Start {
    /// A start with this configuration.
    #[must_use]
    pub fn new(template: &str) -> Self {
        Self {
            template: template.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            open_files: None,
            file_bytes: None,
            ready: true,
            stdout_unread: false,
            program: "prism-edge",
        }
    }

    /// One more command line argument.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// One more variable of its environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// At most so many descriptors (`ulimit -n`).
    #[must_use]
    pub fn open_files(mut self, limit: u32) -> Self {
        self.open_files = Some(limit);
        self
    }

    /// Files of so many bytes at most, for the time being: what is beyond is refused as by a full disk.
    #[must_use]
    pub fn file_bytes(mut self, limit: u64) -> Self {
        self.file_bytes = Some(limit);
        self
    }

    /// Another binary of the proxy.
    #[must_use]
    pub fn program(mut self, program: &'static str) -> Self {
        self.program = program;
        self
    }

    /// Waits for `/healthz` only, where no namespace can be ready.
    #[must_use]
    pub fn without_ready(mut self) -> Self {
        self.ready = false;
        self
    }

    /// Its standard output is a pipe that nobody reads.
    #[must_use]
    pub fn stdout_unread(mut self) -> Self {
        self.stdout_unread = true;
        self
    }

    /// Starts it and waits until it serves.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn run(&self) -> Proxy {
        for _ in 1..TRIES {
            let mut proxy = self.spawn();
            if proxy.came_up(self.ready) {
                return proxy;
            }
            let log = proxy.process.log();
            assert!(log.to_lowercase().contains("in use"), "the proxy ended at its start:\n{log}");
        }
        panic!("no free port in {TRIES} tries");
    }

    /// Starts it and does not wait for anything.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn(&self) -> Proxy {
        let folder = tempfile::Builder::new().prefix("prism-").tempdir().unwrap();
        let ports = Ports { listen: free_port(), listen2: free_port(), admin: free_port() };
        let file = folder.path().join("prism.yaml");
        fs::write(&file, ports.fill(&self.template, folder.path())).unwrap();
        let program = tools::own(self.program);
        let mut limits = String::new();
        if let Some(limit) = self.open_files {
            limits.push_str(&format!("ulimit -n {limit}; "));
        }
        if let Some(bytes) = self.file_bytes {
            // In blocks of 512 bytes (POSIX, `ulimit`). Without the trap the kernel would end the process.
            limits.push_str(&format!("trap '' XFSZ; ulimit -S -f {}; ", bytes / 512));
        }
        let mut command = if limits.is_empty() {
            Command::new(program)
        } else {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("{limits}exec \"$0\" \"$@\"")]).arg(program);
            shell
        };
        let variables = self.environment.iter().map(|(name, value)| (name, value));
        command.arg("-c").arg(&file).args(&self.arguments).envs(variables).current_dir(folder.path());
        let log = folder.path().join("prism-edge.log");
        let process = if self.stdout_unread {
            Process::spawn_with_stdout("prism-edge", command.stdout(Stdio::piped()), &log)
        } else {
            Process::spawn("prism-edge", &mut command, &log)
        };
        Proxy { process, ports, file, folder }
    }
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    listen: u16,
    listen2: u16,
    admin: u16,
}

impl Ports {
    fn fill(self, template: &str, folder: &Path) -> String {
        template
            .replace("@listen@", &self.listen.to_string())
            .replace("@listen2@", &self.listen2.to_string())
            .replace("@admin@", &self.admin.to_string())
            .replace("@dir@", folder.to_str().unwrap())
    }
}

/// A running proxy. It is killed when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Its process.
    pub process: Process,
    ports: Ports,
    file: PathBuf,
    folder: TempDir,
}

impl Proxy {
    /// Starts a proxy with this configuration and waits until it is ready.
    #[must_use]
    pub fn start(template: &str) -> Self {
        Start::new(template).run()
    }

    /// Its first listener's port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports.listen
    }

    /// The port of a second listener, where the configuration has one.
    #[must_use]
    pub fn second_port(&self) -> u16 {
        self.ports.listen2
    }

    /// An address under its first listener.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports.listen)
    }

    /// Its folder, where its sockets lie.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its admin endpoints.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self.ports.admin, self.folder.path().join("admin.sock"))
    }

    /// A configuration with this proxy's ports and folder filled in.
    #[must_use]
    pub fn fill(&self, template: &str) -> String {
        self.ports.fill(template, self.folder.path())
    }

    /// Writes the configuration file anew, in one step, as an editor or a deployment does.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, template: &str) {
        let next = self.file.with_extension("next");
        fs::write(&next, self.fill(template)).unwrap();
        fs::rename(next, &self.file).unwrap();
    }

    /// Writes the configuration file anew and sends SIGHUP.
    pub fn hang_up(&self, template: &str) {
        self.write(template);
        self.process.signal(Signal::HUP);
    }

    fn came_up(&mut self, ready: bool) -> bool {
        let admin = self.admin();
        let path = if ready { "/ready" } else { "/healthz" };
        wait::until("the proxy should become ready", || {
            if self.process.ended().is_some() {
                return Some(false);
            }
            let reachable = TcpStream::connect(("127.0.0.1", self.ports.admin)).is_ok();
            (reachable && admin.get(path).status == 200).then_some(true)
        })
    }
}
