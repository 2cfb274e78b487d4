//! What listeners encrypt their connections with, read when a configuration is built.

use crate::{connection::PROTOCOLS, listener::ListenerHandle};
use prism_config::{Config, Listener};
use prism_filters::tls::{self, SettingsError};
use prism_tls::{Event, ServerFiles, ServerTls, TlsError};
use std::{path::Path, sync::Arc};

/// Why a listener cannot encrypt as it is told.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct ListenerTlsError {
    /// Where the filter stands in the configuration.
    pub path: String,
    /// Why not.
    pub source: Box<ListenerTlsReason>,
}

/// What is wrong with a listener's TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenerTlsReason {
    /// What is written.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// What is in the files.
    #[error(transparent)]
    Files(#[from] TlsError),
}

/// The files of a listener that encrypts, and the filter's place.
fn files(
    listener: &Listener,
    index: usize,
    base_dir: &Path,
) -> Option<(String, Result<ServerFiles, SettingsError>)> {
    let (place, filter) = listener.filters.iter().enumerate().find(|(_, filter)| filter.name == tls::NAME)?;
    let path = format!("listeners[{index}].filters[{place}].{}", tls::NAME);
    Some((path, tls::files(&filter.settings, base_dir)))
}

/// Reads a listener's files, if it has any. What runs on the same files is kept: it looks at them by itself. They are read
/// all the same, so that no configuration is taken that the next start would refuse.
///
/// # Errors
/// They cannot be used.
pub(super) async fn secure(
    listener: &Listener,
    index: usize,
    base_dir: &Path,
    handle: &ListenerHandle,
) -> Result<Option<Arc<ServerTls>>, ListenerTlsError> {
    let Some((path, files)) = files(listener, index, base_dir) else { return Ok(None) };
    let secured = async {
        let files = files?;
        let failed_renewals = handle.failed_renewals();
        let review = handle.review();
        let told = move |event| match event {
            Event::Failed => failed_renewals.inc(),
            Event::Renewed { trust_changed: true } => review.review(),
            _ => {}
        };
        let watched = super::blocking(move || ServerTls::watch_telling(files, &PROTOCOLS, told)).await?;
        Ok(match handle.tls().filter(|running| running.files() == watched.files()) {
            Some(running) => running,
            None => Arc::new(watched),
        })
    };
    secured
        .await
        .map(Some)
        .map_err(|source: ListenerTlsReason| ListenerTlsError { path, source: Box::new(source) })
}

/// Reads the files of every listener of a configuration that will not run here: for `prism-edge check`. Blocks.
pub(super) fn check(config: &Config, base_dir: &Path) -> Vec<ListenerTlsError> {
    let mut errors = Vec::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        let Some((path, files)) = files(listener, index, base_dir) else { continue };
        let loaded = files
            .map_err(ListenerTlsReason::from)
            .and_then(|files| ServerTls::load(files, &PROTOCOLS).map(drop).map_err(ListenerTlsReason::from));
        errors.extend(loaded.err().map(|source| ListenerTlsError { path, source: Box::new(source) }));
    }
    errors
}
