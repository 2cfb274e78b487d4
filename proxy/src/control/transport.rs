//! How the plugins of a configuration are reached, as their host is told.

use super::{Control, build::BuildError, libraries::Libraries};
use prism_config::{Config, Plugin, PluginSource, PluginTls};
use prism_platform::Address;
use prism_plugin_host::{ProtocolChoice, Remote, RemoteEndpoint, RemoteTls, Transport};
use prism_tls::{ClientFiles, ClientTls, IdentityFiles, TlsError, server_name};
use std::sync::Arc;

/// `None`: there is no such builtin or library, which was refused before.
///
/// # Errors
/// A library's own threads cannot be started, or files for TLS cannot be used.
pub(super) async fn transport(
    control: &Control,
    plugin: &Plugin,
    libraries: &Libraries,
) -> Result<Option<Transport>, BuildError> {
    let transport = match &plugin.source {
        PluginSource::Builtin { builtin } => control.builtins.get(builtin).map(Transport::InProcess),
        PluginSource::InProcess { library, offload } => {
            libraries.plugin(library, *offload)?.map(Transport::InProcess)
        }
        PluginSource::Sidecar { socket } => Some(Transport::Process {
            address: Address::Unix(socket.clone()),
            protocol: protocol(plugin.transport),
        }),
        PluginSource::Remote { endpoints, tls } => {
            let tls = match tls {
                Some(tls) => Some(secured(tls).await.map_err(|source| tls_error(plugin, source))?),
                None => None,
            };
            let endpoint =
                |at: &prism_config::HostPort| RemoteEndpoint { host: at.host.clone(), port: at.port };
            Some(Transport::Remote(Remote {
                endpoints: endpoints.iter().map(endpoint).collect(),
                tls,
                protocol: protocol(plugin.transport),
            }))
        }
    };
    Ok(transport)
}

pub(super) fn tls_error(plugin: &Plugin, source: TlsError) -> BuildError {
    BuildError::Tls { plugin: plugin.name.clone(), source: Box::new(source) }
}

fn protocol(transport: prism_config::Transport) -> ProtocolChoice {
    match transport {
        prism_config::Transport::Auto => ProtocolChoice::Auto,
        prism_config::Transport::Grpc => ProtocolChoice::Grpc,
        prism_config::Transport::Frames => ProtocolChoice::Frames,
    }
}

/// # Errors
/// The files cannot be used.
pub(super) async fn secured(tls: &PluginTls) -> Result<RemoteTls, TlsError> {
    let tls = tls.clone();
    super::blocking(move || secured_now(&tls)).await
}

/// The same here and now. Blocks.
///
/// # Errors
/// The files cannot be used.
pub(crate) fn secured_now(tls: &PluginTls) -> Result<RemoteTls, TlsError> {
    let server_name = tls.server_name.as_deref().map(server_name).transpose()?;
    Ok(RemoteTls { client: Arc::new(ClientTls::watch(files(tls))?), server_name })
}

fn files(tls: &PluginTls) -> ClientFiles {
    let identity = tls.client.as_ref().map(|client| IdentityFiles {
        certificates: client.client_cert.clone(),
        key: client.client_key.clone(),
    });
    ClientFiles { ca: tls.ca_cert.clone(), identity }
}

/// Reads the files of every remote plugin of a configuration that will not run here, and answers what is wrong by the
/// plugins' names: for `prism-edge check`. Blocks.
pub(super) fn check(config: &Config) -> Vec<(&str, TlsError)> {
    let mut errors = Vec::new();
    for plugin in &config.plugins {
        let PluginSource::Remote { endpoints, tls: Some(tls) } = &plugin.source else { continue };
        let loaded = check_tls(&endpoints.iter().collect::<Vec<_>>(), tls);
        errors.extend(loaded.err().map(|error| (&*plugin.name, error)));
    }
    errors
}

/// Reads the files, and whether these hosts can have a certificate. Blocks.
pub(super) fn check_tls(hosts: &[&prism_config::HostPort], tls: &PluginTls) -> Result<(), TlsError> {
    let names = tls.server_name.as_deref().into_iter();
    let hosts = hosts.iter().map(|at| &*at.host).filter(|_| tls.server_name.is_none());
    names.chain(hosts).try_for_each(|name| server_name(name).map(drop))?;
    ClientTls::load(files(tls)).map(drop)
}
