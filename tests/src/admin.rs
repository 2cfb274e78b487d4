//! The admin endpoints, over TCP and over the unix socket.

use crate::client::curl::{self, Answer};
use serde_json::Value;
use std::path::PathBuf;

/// A proxy's admin endpoints.
#[derive(Debug, Clone)]
pub struct Admin {
    port: u16,
    socket: PathBuf,
}

impl Admin {
    /// The endpoints on this port and this socket.
    #[must_use]
    pub fn new(port: u16, socket: PathBuf) -> Self {
        Self { port, socket }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// A read over TCP.
    #[must_use]
    pub fn get(&self, path: &str) -> Answer {
        curl::run(&[&self.url(path)])
    }

    /// Any method over TCP, which must change nothing.
    #[must_use]
    pub fn over_tcp(&self, method: &str, path: &str, body: &str) -> Answer {
        curl::run(&["-X", method, "--data-binary", body, &self.url(path)])
    }

    /// Any method over the socket.
    ///
    /// # Panics
    /// When the socket's path is no text.
    #[must_use]
    pub fn over_socket(&self, method: &str, path: &str, body: &str) -> Answer {
        let url = format!("http://localhost{path}");
        let socket = self.socket.to_str().unwrap();
        curl::run(&["--unix-socket", socket, "-X", method, "--data-binary", body, &url])
    }

    /// The port of the address.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the socket lies.
    #[must_use]
    pub fn socket(&self) -> &PathBuf {
        &self.socket
    }

    /// `/config`.
    ///
    /// # Panics
    /// When it is not answered.
    #[must_use]
    pub fn config(&self) -> Value {
        self.get("/config").expect(200).json()
    }

    /// The version of the configuration that runs.
    ///
    /// # Panics
    /// When `/config` does not say.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.config()["version"].as_u64().expect("/config says the version")
    }

    /// What `/namespaces` says of one: `state`, and `reason` where it does not serve.
    ///
    /// # Panics
    /// When it is not listed.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Value {
        let all = self.get("/namespaces").expect(200).json();
        let list = all["namespaces"].as_array().expect("`namespaces` is a list");
        list.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no {name} in {all}")).clone()
    }

    /// The sum of a metric's samples whose labels contain `label`.
    #[must_use]
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let text = self.get("/metrics").expect(200).text();
        text.lines()
            .filter(|line| line.starts_with(name) && line.contains(label))
            .filter(|line| line[name.len()..].starts_with(['{', ' ']))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}
