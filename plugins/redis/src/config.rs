//! What a namespace may set.

use crate::error;
use prism_plugin_sdk::abi::{Credentials, Error};
use redis::{ConnectionInfo, IntoConnectionInfo};
use serde::Deserialize;

/// The `config` mapping of a namespace on this backend.
///
/// Credentials `username` and `password` take the place of those in the URL.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `redis://host:port/database` or `unix:///path`.
    pub url: String,
    /// The most connections to Redis for calls. Default: 8. Redis runs commands one after another; a few
    /// connections keep it busy, and more only wait in its queue.
    #[serde(default = "pool_size")]
    pub pool_size: usize,
    /// How long connecting may take, in milliseconds. Default: 2,000: a lost SYN is sent again after one
    /// second, and once should be forgiven.
    #[serde(default = "connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// How long a command, and waiting for a free connection, may take, in milliseconds. Default: 5,000:
    /// far longer than any command of this interface runs, short enough that a hung Redis is noticed
    /// before clients pile up.
    #[serde(default = "command_timeout_ms")]
    pub command_timeout_ms: u64,
    /// Stands before every key in Redis, so that namespaces can share a database. Default: nothing.
    #[serde(default)]
    pub key_prefix: String,
    /// The most watchers at a time. Default: 32. Each has a connection to Redis of its own.
    #[serde(default = "max_watchers")]
    pub max_watchers: usize,
    /// How many events a watcher may fall behind. Default: 1024, a second of a busy namespace and at most a
    /// megabyte of keys.
    #[serde(default = "watch_buffer")]
    pub watch_buffer: usize,
    /// Do not ask Redis whether it sends keyspace notifications, but take it for granted: for a managed Redis
    /// that forbids CONFIG. It must then send at least `Kg$xe`. Default: ask.
    #[serde(default)]
    pub assume_notifications: bool,
}

fn pool_size() -> usize {
    8
}

fn connect_timeout_ms() -> u64 {
    2_000
}

fn command_timeout_ms() -> u64 {
    5_000
}

fn max_watchers() -> usize {
    32
}

fn watch_buffer() -> usize {
    1024
}

impl Config {
    /// Where and as whom to connect.
    pub(crate) fn connection(&self, credentials: &Credentials) -> Result<ConnectionInfo, Error> {
        for (name, value, most) in [
            ("pool_size", self.pool_size as u64, 1_000),
            ("connect_timeout_ms", self.connect_timeout_ms, 3_600_000),
            ("command_timeout_ms", self.command_timeout_ms, 3_600_000),
            ("watch_buffer", self.watch_buffer as u64, 1_000_000),
        ] {
            if !(1..=most).contains(&value) {
                return Err(Error::invalid(format!("config.{name}: is {value}; it is 1 to {most}")));
            }
        }
        if self.max_watchers > 10_000 {
            return Err(Error::invalid("config.max_watchers: the most is 10000"));
        }
        if self.key_prefix.len() > 1024 || self.key_prefix.contains('\0') {
            return Err(Error::invalid("config.key_prefix: has more than 1024 bytes, or a NUL"));
        }
        if self.url.is_empty() {
            return Err(Error::invalid("config.url: is empty; write redis://host:port"));
        }
        let info = self.url.as_str().into_connection_info().map_err(|error| error::invalid_url(&error))?;
        let mut settings = info.redis_settings().clone();
        if let Some(username) = credentials.get("username") {
            settings = settings.set_username(username);
        }
        if let Some(password) = credentials.get("password") {
            settings = settings.set_password(password);
        }
        if settings.username().is_some_and(|name| !name.is_empty()) && settings.password().is_none() {
            return Err(Error::invalid("credentials: a username is given but no password"));
        }
        let known = ["username", "password"];
        if let Some(name) = credentials.0.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(Error::invalid(format!(
                "credentials: `{name}` is not known; use `username`, `password`"
            )));
        }
        Ok(info.set_redis_settings(settings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_plugin_sdk::abi::Code;
    use serde_json::json;

    fn connection(config: serde_json::Value, secrets: &[(&str, &str)]) -> Result<ConnectionInfo, Error> {
        let secrets = secrets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let config: Config = serde_json::from_value(config).unwrap();
        config.connection(&Credentials(secrets.collect()))
    }

    #[test]
    fn credentials_take_the_place_of_the_urls() {
        let url = json!({ "url": "redis://old:secret@example.org:7000/3" });
        let info = connection(url.clone(), &[]).unwrap();
        assert_eq!(info.addr().to_string(), "example.org:7000");
        let settings = info.redis_settings();
        assert_eq!(
            (settings.username(), settings.password(), settings.db()),
            (Some("old"), Some("secret"), 3)
        );
        let info = connection(url, &[("username", "new"), ("password", "other")]).unwrap();
        let settings = info.redis_settings();
        assert_eq!(
            (settings.username(), settings.password(), settings.db()),
            (Some("new"), Some("other"), 3)
        );
    }

    #[test]
    fn mistakes_are_named_and_no_password_with_them() {
        for (config, secrets, words) in [
            (json!({ "url": "" }), &[][..], "config.url"),
            (json!({ "url": "hunter2" }), &[], "config.url"),
            (json!({ "url": "http://u:hunter2@h" }), &[], "config.url"),
            (json!({ "url": "redis://u:hunter2@h:port" }), &[], "config.url"),
            (json!({ "url": "redis://u:hunter2@h/x" }), &[], "config.url"),
            (json!({ "url": "redis://h", "pool_size": 0 }), &[], "config.pool_size"),
            (json!({ "url": "redis://h", "command_timeout_ms": 0 }), &[], "config.command_timeout_ms"),
            (json!({ "url": "redis://h", "watch_buffer": 0 }), &[], "config.watch_buffer"),
            (json!({ "url": "redis://h", "key_prefix": "a\u{0}" }), &[], "config.key_prefix"),
            (json!({ "url": "redis://h" }), &[("username", "u")], "no password"),
            (json!({ "url": "redis://h" }), &[("passwort", "hunter2")], "`passwort`"),
        ] {
            let error = connection(config.clone(), secrets).map(drop).unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument, "{config}");
            assert!(error.message.contains(words) && !error.message.contains("hunter2"), "{config}: {error}");
        }
    }
}
