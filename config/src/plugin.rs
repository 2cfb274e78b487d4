//! Plugins: what serves the operations of namespaces.

use std::{borrow::Cow, collections::BTreeMap, path::PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    host_port::HostPort,
    schema::{Name, add_not_built, add_not_built_values},
    units::Duration,
};

/// A plugin, ready to be started or connected to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plugin {
    /// Its name. An inline definition without a name has its namespace's; a builtin that nobody
    /// defined has its own.
    pub name: String,
    /// Where it runs.
    #[serde(flatten)]
    pub source: PluginSource,
    /// What kind of operation each one is, where the plugin does not say so itself.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub operations: BTreeMap<String, OperationKind>,
    /// How calls reach it when it runs in another process.
    pub transport: Transport,
    /// How often each of its instances is asked what it counted.
    pub metrics_interval: Duration,
}

/// The reason is at the key of that name below, for those who set it.
const METRICS_INTERVAL: Duration = Duration::seconds(10);

/// Where a plugin runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PluginSource {
    /// Linked into this binary.
    Builtin {
        /// Which of those that are linked in.
        builtin: String,
    },
    /// In a shared library, loaded into this process.
    InProcess {
        /// The library, absolute.
        library: PathBuf,
        /// On threads of its own.
        offload: bool,
    },
    /// A process on this host that somebody else runs.
    Sidecar {
        /// The unix socket it listens on, absolute.
        socket: PathBuf,
    },
    /// Processes on other hosts.
    Remote {
        /// Where each of them listens; at least one.
        endpoints: Vec<HostPort>,
        /// How connections are secured; `None`: not at all, as somebody wrote.
        tls: Option<PluginTls>,
    },
}

/// How connections to a remote plugin are secured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PluginTls {
    /// The authorities that its certificate may be from, absolute.
    pub ca_cert: PathBuf,
    /// The proxy's certificate and key, absolute.
    #[serde(flatten)]
    pub client: Option<ClientIdentity>,
    /// Whose certificate it must be, where that is not the endpoint's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// Who the proxy is to a remote plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClientIdentity {
    /// The certificate with its chain, absolute.
    pub client_cert: PathBuf,
    /// Its private key, absolute.
    pub client_key: PathBuf,
}

impl Plugin {
    /// A plugin that is linked in, under its own name.
    #[must_use]
    pub fn builtin(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            source: PluginSource::Builtin { builtin: name.clone() },
            name,
            operations: BTreeMap::new(),
            transport: Transport::Auto,
            metrics_interval: METRICS_INTERVAL,
        }
    }
}

/// What an operation does to data, which decides who may call it and whether it may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// Changes nothing.
    Read,
    /// Changes data.
    Write,
    /// Everything else; also what nobody declared.
    Admin,
}

/// How calls reach a plugin in another process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// The best one that both sides speak. The default: it gets better without anybody changing it.
    #[default]
    Auto,
    /// gRPC over HTTP/2, whatever else the plugin speaks.
    Grpc,
    /// Prism frames; a plugin that does not list them is refused.
    Frames,
}

/// What serves the operations of namespaces. Defined in `plugins:` under its name, or inline in the only
/// namespace that uses it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "InlinePlugin", transform = not_built_keys)]
pub(crate) struct PluginForm {
    /// The name that namespaces refer to.
    #[serde(default)]
    #[schemars(with = "Name")]
    pub(crate) name: Option<String>,
    /// Where it runs.
    #[serde(rename = "type")]
    pub(crate) kind: PluginType,
    /// For `builtin`: which of those that are linked in. By default the one called as the plugin.
    #[serde(default)]
    #[schemars(with = "String")]
    pub(crate) builtin: Option<String>,
    /// For `in_process`: the shared library. It must belong to root or to the proxy's user, and nobody else may be
    /// able to write it or its directories. Relative to the configuration file.
    #[serde(default)]
    #[schemars(with = "PathBuf")]
    pub(crate) library: Option<PathBuf>,
    /// For `in_process`: call it on threads of its own, so that a plugin that blocks delays nobody else. By default
    /// it is called on the threads that serve connections, which costs a hundredth as much.
    #[serde(default)]
    pub(crate) offload: bool,
    /// For `sidecar`: the unix socket it listens on. Relative to the configuration file.
    #[serde(default)]
    #[schemars(with = "PathBuf")]
    pub(crate) socket: Option<PathBuf>,
    /// For `remote`: where it listens.
    #[serde(default)]
    #[schemars(with = "HostPort")]
    pub(crate) endpoint: Option<HostPort>,
    /// For `remote`: several places where it listens, a process of its own at each. A call goes to one that serves
    /// and has the fewest calls under way. At most 32: each holds an instance of every namespace, and a connection
    /// of every worker.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub(crate) endpoints: Vec<HostPort>,
    /// For `remote`: how connections are secured.
    #[serde(default)]
    #[schemars(with = "UpstreamTls")]
    pub(crate) tls: Option<UpstreamTls>,
    /// What kind of operation each one is, where the plugin does not say so itself.
    #[serde(default)]
    pub(crate) operations: BTreeMap<String, OperationKind>,
    /// How calls reach it when it runs in another process.
    #[serde(default)]
    pub(crate) transport: Transport,
    /// How often each of its instances is asked what it counted (`GetMetrics`). 10 s is what the RFC has, and
    /// below the scrape intervals in use: a scrape is at most one interval behind. At least 100 ms, as each
    /// time is a call.
    #[serde(default = "metrics_interval")]
    #[schemars(extend("minimum" = 0.1))]
    pub(crate) metrics_interval: Duration,
}

/// How connections to another process are secured. The files are read again when they change, without a restart, and
/// connections that were opened with those of before are replaced.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PluginTls")]
pub struct UpstreamTls {
    /// `false` sends everything in clear to whoever answers, so it must be written; a namespace with `credentials` is
    /// then refused.
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// PEM file of the authorities that the certificate of the plugin or service may be from. No others are trusted, the
    /// system's neither. Relative to the configuration file, as the others here.
    #[serde(default)]
    #[schemars(with = "PathBuf")]
    pub ca_cert: Option<PathBuf>,
    /// PEM file of the proxy's own certificate and its chain, for who asks who calls, as a plugin should.
    #[serde(default)]
    #[schemars(with = "PathBuf")]
    pub client_cert: Option<PathBuf>,
    /// PEM file of its private key, not encrypted.
    #[serde(default)]
    #[schemars(with = "PathBuf")]
    pub client_key: Option<PathBuf>,
    /// The DNS name or IP address that the certificate must be for. By default the endpoint's or target's host.
    #[serde(default)]
    #[schemars(with = "String", length(min = 1))]
    pub server_name: Option<String>,
}

fn enabled() -> bool {
    true
}

impl UpstreamTls {
    /// What is wrong with it: which key, where it is one, what, and what to do.
    #[must_use]
    pub fn faults(&self) -> Vec<TlsFault> {
        let written = [
            ("ca_cert", self.ca_cert.is_some()),
            ("client_cert", self.client_cert.is_some()),
            ("client_key", self.client_key.is_some()),
            ("server_name", self.server_name.is_some()),
        ];
        tls_faults(self.enabled, |key| written.contains(&(key, true)))
    }

    /// As it is used: `None` in clear. What is missing was refused before.
    #[must_use]
    pub fn resolved(self, absolute: &impl Fn(PathBuf) -> PathBuf) -> Option<PluginTls> {
        let client = self.client_cert.zip(self.client_key).map(|(certificate, key)| ClientIdentity {
            client_cert: absolute(certificate),
            client_key: absolute(key),
        });
        self.enabled.then(|| PluginTls {
            ca_cert: absolute(self.ca_cert.unwrap_or_default()),
            client,
            server_name: self.server_name,
        })
    }
}

fn metrics_interval() -> Duration {
    METRICS_INTERVAL
}

/// Where a plugin runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(transform = not_built_types)]
pub(crate) enum PluginType {
    /// Linked into the proxy.
    Builtin,
    /// A process on this host, behind a unix socket.
    Sidecar,
    /// A shared library, loaded into the proxy.
    InProcess,
    /// Processes on other hosts.
    Remote,
    /// Another word for `remote`.
    Grpc,
}

fn not_built_types(schema: &mut Schema) {
    add_not_built_values(schema, &[("wasm", "`wasm` plugins are not built yet")]);
}

fn not_built_keys(schema: &mut Schema) {
    add_not_built(
        schema,
        json!({
            "module": { "type": "string", "description": "For `wasm`: the component." },
            "command": {
                "description": "For `sidecar`: the program that the proxy starts and restarts.",
                "type": "array",
                "items": { "type": "string" },
                "minItems": 1,
            },
            "env": {
                "type": "object",
                "description": "For a `command`: its environment. Never secrets.",
                "additionalProperties": { "type": "string" },
            },
            "cwd": { "type": "string", "description": "For a `command`: its working directory." },
            "user": { "type": "string", "description": "For a `command`: the user it runs as." },
            "limits": { "type": "object", "description": "What the plugin may use." },
        }),
    );
}

/// The schema of [`PluginForm`] in `plugins:`, where a name is required.
pub(crate) struct NamedPlugin;

impl JsonSchema for NamedPlugin {
    fn schema_name() -> Cow<'static, str> {
        "Plugin".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = PluginForm::json_schema(generator);
        if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
            required.insert(0, "name".into());
        }
        schema
    }
}

/// Something wrong with how connections are to be secured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFault {
    /// The key that it is about; `None` for the whole.
    pub key: Option<&'static str>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// What is wrong where these keys are written.
pub(crate) fn tls_faults(enabled: bool, has: impl Fn(&str) -> bool) -> Vec<TlsFault> {
    let keys = ["ca_cert", "client_cert", "client_key", "server_name"];
    if !enabled {
        let useless = keys.into_iter().filter(|key| has(key)).map(|key| TlsFault {
            key: Some(key),
            message: format!("`{key}` has no meaning with `enabled: false`"),
            hint: "remove one of the two".to_owned(),
        });
        return useless.collect();
    }
    let mut faults = Vec::new();
    if !has("ca_cert") {
        let hint = "add `ca_cert:` with the PEM file of the authorities that its certificate may be from";
        faults.push(TlsFault {
            key: None,
            message: "`tls` needs a `ca_cert`".to_owned(),
            hint: hint.to_owned(),
        });
    }
    for (one, other) in [("client_cert", "client_key"), ("client_key", "client_cert")] {
        if has(one) && !has(other) {
            faults.push(TlsFault {
                key: Some(one),
                message: format!("`{one}` needs a `{other}`"),
                hint: format!("add `{other}:`"),
            });
        }
    }
    faults
}
