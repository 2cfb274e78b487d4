//! The configuration as it is written, and its resolution into [`Config`].

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde_json::json;

use crate::{
    Config,
    admin::{Admin, AdminTls, Drain},
    listener::Listener,
    namespace::{Namespace, NamespaceForm, PluginRef},
    plugin::{NamedPlugin, Plugin, PluginForm, PluginSource, PluginType},
    schema::add_not_built,
    secrets::{SecretProviders, Secrets},
    units::ByteSize,
};

/// A whole configuration file. Every part has a default; an empty file is valid.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = not_built_keys)]
pub(crate) struct Document {
    /// Where the proxy is watched and controlled.
    #[serde(default)]
    admin: Admin,
    /// Addresses that clients connect to. By default one, `edge`, on 127.0.0.1:50051.
    #[serde(default = "default_listeners")]
    #[schemars(length(min = 1))]
    listeners: Vec<Listener>,
    /// Threads that serve connections. By default as many as this process has cores.
    #[serde(default)]
    #[schemars(with = "usize", range(min = 1, max = 1024))]
    workers: Option<usize>,
    /// How far the receive windows of all HTTP/2 connections, from clients and to plugins, may grow together
    /// above their initial sizes (`http2.max_connection_window_bytes`). By default 256MiB: full windows for 85
    /// clients with large bodies at a time, and the most that attackers can add to what the initial windows
    /// allow them. 0: no connection's window grows.
    #[serde(default = "default_window_budget")]
    #[schemars(extend("minimum" = 0))]
    window_budget_bytes: ByteSize,
    /// How many plugin libraries may be loaded while the proxy runs. A library is never unloaded, so each change of
    /// one counts; past this, a change is refused until the proxy is restarted. By default 64: weeks of changes, at
    /// about 1.1 MB each and the library's own size.
    #[serde(default = "default_library_generations")]
    #[schemars(range(min = 1, max = 4096))]
    max_library_generations: usize,
    /// How the proxy goes away.
    #[serde(default)]
    drain: Drain,
    /// Plugins that namespaces refer to by name.
    #[serde(default)]
    #[schemars(with = "Vec<NamedPlugin>")]
    plugins: Vec<PluginForm>,
    /// What clients address.
    #[serde(default)]
    namespaces: Vec<NamespaceForm>,
    /// Where secrets are looked up.
    #[serde(default)]
    secrets: SecretProviders,
}

fn default_window_budget() -> ByteSize {
    ByteSize::mib(256)
}

fn default_library_generations() -> usize {
    64
}

fn default_listeners() -> Vec<Listener> {
    vec![Listener::default()]
}

fn not_built_keys(schema: &mut Schema) {
    add_not_built(
        schema,
        json!({
            "management": {
                "type": "object",
                "description": "The management server that configuration is streamed from.",
            },
        }),
    );
}

impl Document {
    /// Makes paths absolute and gives every namespace the name of a plugin that is in the list. The
    /// document has been validated: what refers to nothing is not here any more.
    pub(crate) fn resolve(self, base: &Path) -> Config {
        let absolute = |path: PathBuf| absolute(base, &path);
        let mut admin = self.admin;
        admin.socket = absolute(admin.socket);
        admin.tls = admin.tls.map(|AdminTls { cert, key, client_ca, client_auth, crls }| AdminTls {
            cert: absolute(cert),
            key: absolute(key),
            client_ca: client_ca.map(absolute),
            client_auth,
            crls: crls.into_iter().map(absolute).collect(),
        });
        let mut plugins: Vec<Plugin> =
            self.plugins.into_iter().map(|form| plugin(form, "", &absolute)).collect();
        let mut known: BTreeSet<String> = plugins.iter().map(|plugin| plugin.name.clone()).collect();
        let mut namespaces = Vec::with_capacity(self.namespaces.len());
        for form in self.namespaces {
            let name = match form.plugin {
                Some(PluginRef::Name(name)) => name,
                Some(PluginRef::Inline(inline)) => {
                    let inline = plugin(*inline, &form.name, &absolute);
                    let name = inline.name.clone();
                    known.insert(name.clone());
                    plugins.push(inline);
                    name
                }
                None => {
                    if known.insert(form.backend.clone()) {
                        plugins.push(Plugin::builtin(&form.backend));
                    }
                    form.backend.clone()
                }
            };
            namespaces.push(Namespace {
                name: form.name,
                backend: form.backend,
                plugin: name,
                config: form.config,
                credentials: form.credentials,
                operations: form.operations,
                access: form.access,
                limits: form.limits,
            });
        }
        let mut secrets = self.secrets;
        if let Some(directory) = &mut secrets.directory {
            directory.path = absolute(std::mem::take(&mut directory.path));
        }
        let mut listeners = self.listeners;
        for route in listeners.iter_mut().flat_map(|listener| &mut listener.routes) {
            // Header names are case-insensitive (RFC 9110, section 5.1), and so are hosts (RFC 3986, section 3.2.2); the
            // request's are lower-case.
            route.matcher.headers = std::mem::take(&mut route.matcher.headers)
                .into_iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), value))
                .collect();
            route.matcher.host = route.matcher.host.take().map(|host| host.to_ascii_lowercase());
            route.targets.iter_mut().for_each(|target| target.resolve(&absolute));
        }
        Config {
            admin,
            listeners,
            workers: self.workers,
            window_budget_bytes: self.window_budget_bytes,
            max_library_generations: self.max_library_generations,
            drain: self.drain,
            plugins,
            namespaces,
            secrets,
            found: Secrets::default(),
        }
    }
}

fn plugin(form: PluginForm, namespace: &str, absolute: &impl Fn(PathBuf) -> PathBuf) -> Plugin {
    let name = form.name.unwrap_or_else(|| namespace.to_owned());
    let source = match form.kind {
        PluginType::Builtin => {
            PluginSource::Builtin { builtin: form.builtin.unwrap_or_else(|| name.clone()) }
        }
        PluginType::InProcess => PluginSource::InProcess {
            library: absolute(form.library.unwrap_or_default()),
            offload: form.offload,
        },
        PluginType::Remote | PluginType::Grpc => PluginSource::Remote {
            endpoints: form.endpoint.into_iter().chain(form.endpoints).collect(),
            tls: form.tls.and_then(|tls| tls.resolved(absolute)),
        },
        PluginType::Sidecar => PluginSource::Sidecar { socket: absolute(form.socket.unwrap_or_default()) },
    };
    Plugin {
        name,
        source,
        operations: form.operations,
        transport: form.transport,
        metrics_interval: form.metrics_interval,
    }
}

/// A path relative to the configuration's folder, without `.` in it. `..` stays: what it means depends
/// on symbolic links.
pub(crate) fn absolute(base: &Path, path: &Path) -> PathBuf {
    let joined = base.join(path);
    std::path::absolute(&joined).unwrap_or(joined).components().collect()
}
