//! The plugin libraries of a configuration: checked before anything is changed, loaded last, and kept as long as they
//! are what the configuration names.

use super::{blocking, build::BuildError};
use prism_config::{Config, PluginSource};
use prism_platform::time;
use prism_plugin_host::{InProcessPlugin, LongPolls};
use prism_plugin_loader::{Checked, Generations, LoadError, Loaded, check, load};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

/// What loading may take: constructors, and an entry function that starts a runtime. One that takes longer hangs, and
/// keeps the thread that it hangs on.
const LOAD_DEADLINE: Duration = Duration::from_secs(10);

/// Why a library cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LibraryError {
    /// It is refused, or cannot be loaded.
    #[error("{}", chain(.0))]
    Load(#[from] LoadError),
    /// It does not come to an end.
    #[error("{}: {what} took longer than {} s", path.display(), deadline.as_secs())]
    Hangs {
        /// The library.
        path: PathBuf,
        /// What takes so long.
        what: &'static str,
        /// What it may take.
        deadline: Duration,
    },
    /// It is loaded and does not say what it is.
    #[error("{}: {source}", path.display())]
    Description {
        /// The library.
        path: PathBuf,
        /// Why.
        source: prism_plugin_envelope::control::BadDescription,
    },
    /// Its own threads cannot be started.
    #[error("{}: the threads for `offload` cannot be started: {source}", path.display())]
    Threads {
        /// The library.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A message with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

/// The libraries of a configuration, by path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Libraries(BTreeMap<PathBuf, Arc<Library>>);

/// One that is loaded.
#[derive(Debug)]
struct Library {
    checked: &'static Checked,
    plugin: InProcessPlugin,
    offloaded: OnceLock<InProcessPlugin>,
}

/// What `config` needs: what is loaded already, and what has yet to be.
#[derive(Debug, Default)]
pub(super) struct Needed {
    kept: Libraries,
    new: Vec<Checked>,
}

impl Needed {
    /// Something must be loaded.
    pub(super) fn is_change(&self) -> bool {
        !self.new.is_empty()
    }
}

impl Libraries {
    /// Checks every library that `config` names. Nothing of a new one runs.
    ///
    /// # Errors
    /// What is wrong with them, all at once.
    pub(super) async fn check(&self, config: &Config) -> Result<Needed, Vec<BuildError>> {
        let mut needed = Needed::default();
        let mut errors = Vec::new();
        for path in paths(config) {
            let running = self.0.get(path).cloned();
            let library = path.to_owned();
            let checked = blocking(move || {
                let checked = check(&library)?;
                let same = running.map(|running| running.checked.is_same(&checked)).transpose()?;
                Ok::<_, LoadError>((checked, same == Some(true)))
            });
            match checked.await {
                Ok((_, true)) => {
                    needed
                        .kept
                        .0
                        .extend(self.0.get_key_value(path).map(|(path, it)| (path.clone(), it.clone())));
                }
                Ok((checked, false)) => needed.new.push(checked),
                Err(error) => errors.push(BuildError::Library(error.into())),
            }
        }
        if errors.is_empty() { Ok(needed) } else { Err(errors) }
    }

    /// The plugin in a library.
    ///
    /// # Errors
    /// Its own threads cannot be started.
    pub(super) fn plugin(&self, path: &Path, offload: bool) -> Result<Option<InProcessPlugin>, BuildError> {
        let Some(library) = self.0.get(path) else { return Ok(None) };
        if !offload {
            return Ok(Some(library.plugin.clone()));
        }
        if let Some(offloaded) = library.offloaded.get() {
            return Ok(Some(offloaded.clone()));
        }
        let offloaded = library
            .plugin
            .offloaded()
            .map_err(|source| LibraryError::Threads { path: path.to_owned(), source })
            .map_err(BuildError::Library)?;
        Ok(Some(library.offloaded.get_or_init(|| offloaded).clone()))
    }
}

/// Loads what has yet to be loaded, up to the first that cannot be. What is loaded stays in the process.
pub(super) async fn load_all(
    needed: Needed,
    generations: &Arc<Generations>,
    limit: usize,
    describe_deadline: Duration,
) -> Result<Libraries, BuildError> {
    let Needed { mut kept, new } = needed;
    for checked in new {
        let library = load_one(checked, generations, limit, describe_deadline).await;
        let library = library.map_err(BuildError::Library)?;
        kept.0.insert(library.checked.path().to_owned(), Arc::new(library));
    }
    Ok(kept)
}

async fn load_one(
    checked: Checked,
    generations: &Arc<Generations>,
    limit: usize,
    describe_deadline: Duration,
) -> Result<Library, LibraryError> {
    let path = checked.path().to_owned();
    let hangs = |what, deadline| LibraryError::Hangs { path: path.clone(), what, deadline };
    let watch = LongPolls::new(&checked.manifest().name);
    let (generations, observer) = (Arc::clone(generations), Arc::clone(&watch));
    let loading = blocking(move || load(checked, &generations, limit, observer));
    let loaded = time::timeout(LOAD_DEADLINE, loading);
    let Loaded { checked, plugin } = loaded.await.map_err(|_| hangs("loading it", LOAD_DEADLINE))??;
    let describing = time::timeout(describe_deadline, InProcessPlugin::loaded(plugin, watch));
    let plugin = describing
        .await
        .map_err(|_| hangs("its answer to `Describe`", describe_deadline))?
        .map_err(|source| LibraryError::Description { path: path.clone(), source })?;
    Ok(Library { checked, plugin, offloaded: OnceLock::new() })
}

/// Checks the libraries of a configuration that will not run here, and answers those that cannot be used by their plugins'
/// names: for `prism-edge check`. Blocks.
pub(super) fn check_all(config: &Config) -> Vec<(&str, LibraryError)> {
    let libraries = config.plugins.iter().filter_map(|plugin| match &plugin.source {
        PluginSource::InProcess { library, .. } => Some((&*plugin.name, library)),
        _ => None,
    });
    libraries.filter_map(|(name, library)| Some((name, check(library).err()?.into()))).collect()
}

/// Each once, whoever shares it.
fn paths(config: &Config) -> impl Iterator<Item = &Path> {
    let paths: std::collections::BTreeSet<&Path> = config
        .plugins
        .iter()
        .filter_map(|plugin| match &plugin.source {
            PluginSource::InProcess { library, .. } => Some(&**library),
            _ => None,
        })
        .collect();
    paths.into_iter()
}
