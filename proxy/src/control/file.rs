//! The configuration file: reading it, and noticing that it changed.

use super::{ControlHandle, Mode, Refusal};
use prism_config::Source;
use prism_platform::time;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// How often the file is looked at with `--watch`. Looking is cheap and works on every file system and through
/// every way to replace a file (rename, symbolic link, bind mount); notifications do not.
const INTERVAL: Duration = Duration::from_millis(500);

/// The largest file that is read: what the parser takes anyway.
const MOST_BYTES: u64 = 4 << 20;

/// Who the audit log says has made a change: whoever may write the file.
const WHO: &str = "file";

/// A configuration file.
#[derive(Clone, Debug)]
pub struct ConfigFile(PathBuf);

impl ConfigFile {
    /// The file at `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Reads it.
    ///
    /// # Errors
    /// It cannot be read, is too large, or is not UTF-8.
    pub fn read(&self) -> Result<Source, Refusal> {
        let unreadable =
            |source: std::io::Error| Refusal::Unreadable { path: self.0.display().to_string(), source };
        if std::fs::metadata(&self.0).map_err(unreadable)?.len() > MOST_BYTES {
            return Err(unreadable(std::io::Error::other("it is larger than 4 MiB")));
        }
        let text = std::fs::read_to_string(&self.0).map_err(unreadable)?;
        let base_dir = match self.0.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Ok(Source { name: self.0.display().to_string(), text, base_dir })
    }

    /// Reads it and applies it.
    ///
    /// # Errors
    /// It cannot be read, or is refused.
    pub async fn reload(&self, control: &ControlHandle) -> Result<super::Accepted, Refusal> {
        control.apply_for(WHO, self.read()?, Mode::Apply).await
    }
}

/// Applies the file whenever its content differs from what was applied last, until dropped. `running` is what runs, if it
/// came from the file.
pub async fn watch(
    file: ConfigFile,
    running: Option<String>,
    control: ControlHandle,
    mut report: impl FnMut(Result<super::Accepted, Refusal>),
) {
    let mut seen = running;
    loop {
        time::sleep(INTERVAL).await;
        // A file that is away for a moment is being replaced.
        let Ok(source) = file.read() else { continue };
        if seen.as_ref() == Some(&source.text) {
            continue;
        }
        let text = source.text.clone();
        let result = control.apply_for(WHO, source, Mode::Apply).await;
        // Nobody has looked at it: it is handed in again.
        if !matches!(result, Err(Refusal::Busy)) {
            seen = Some(text);
        }
        report(result);
    }
}
