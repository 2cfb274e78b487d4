//! HTTP by `curl`, the program that people type.

use crate::tools;
use serde_json::Value;
use std::process::Command;

/// What curl got.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status; 0 when no answer came.
    pub status: u16,
    /// The response headers, names in small letters.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The same answer.
    ///
    /// # Panics
    /// When its status is another.
    #[must_use]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?} {}", self.headers, self.text());
        self
    }
}

/// Runs curl, quietly and with a bound on its time.
#[must_use]
pub fn run(arguments: &[&str]) -> Answer {
    let folder = tempfile::tempdir().unwrap();
    let headers = folder.path().join("headers");
    let body = folder.path().join("body");
    let mut command = Command::new(tools::tool("curl"));
    // `--noproxy`: whatever the environment says, these calls go where they say.
    command.args(["-sS", "--max-time", "30", "--noproxy", "*", "-w", "%{http_code}"]);
    command.arg("-D").arg(&headers).arg("-o").arg(&body).args(arguments);
    let output = tools::output(&mut command);
    let status = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(0);
    let text = std::fs::read_to_string(headers).unwrap_or_default();
    // An interim answer (100) comes first in the file; the last block is the one that counts.
    let block = text.trim_end().rsplit("\r\n\r\n").next().unwrap_or_default();
    let headers = block
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Answer { status, headers, body: std::fs::read(body).unwrap_or_default() }
}
