//! Secrets: looking them up, and noticing that they changed.

use super::{Control, Mode, Refusal, blocking, log_outcome};
use prism_config::{Config, Problems, Secret, SecretProviders, Source};
use prism_filters::{FileError, read_file};
use prism_platform::time;
use std::{
    collections::BTreeMap,
    env, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// How often a directory of secrets is looked at, as certificates and keys are.
const INTERVAL: Duration = Duration::from_secs(2);

/// How long a directory may take to be read: one on a network may hang, and changes wait behind one another.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most that a secret may have: a chain of certificates with its key has some ten.
const MOST_BYTES: u64 = 64 << 10;

/// Who the audit log says has made a change: whoever may write to the directory.
const WHO: &str = "secrets";

/// What was found under each name, or where it was looked for.
type LookedUp = BTreeMap<String, Result<Secret, String>>;

/// The configuration with its secrets. Blocks where they are in a directory.
///
/// # Errors
/// Each place that names one that is not there.
pub(super) fn resolve(config: Config, source: &Source) -> Result<Config, Problems> {
    let providers = config.secrets.clone();
    config.with_secrets(source, |name| look_up(&providers, name))
}

/// The same without blocking.
///
/// # Errors
/// The same, or the directory does not answer.
pub(super) async fn resolved(config: Config, source: &Source) -> Result<Config, Refusal> {
    let Some(directory) = config.secrets.directory.clone().filter(|_| !config.found.names().is_empty())
    else {
        return Ok(resolve(config, source)?);
    };
    let names = config.found.names().into_iter().map(str::to_owned).collect();
    let Ok(mut found) = time::timeout(PATIENCE, blocking(looking_up(config.secrets.clone(), names))).await
    else {
        let late = io::Error::new(io::ErrorKind::TimedOut, "it did not answer in 10 s");
        return Err(Refusal::Unreadable { path: directory.path.display().to_string(), source: late });
    };
    let none = || Err("it was not looked up".to_owned());
    Ok(config.with_secrets(source, |name| found.remove(name).unwrap_or_else(none))?)
}

fn looking_up(providers: SecretProviders, names: Vec<String>) -> impl FnOnce() -> LookedUp {
    move || {
        let look_up = |name: String| {
            let found = look_up(&providers, &name);
            (name, found)
        };
        names.into_iter().map(look_up).collect()
    }
}

/// One secret, from where it is found first. What is there and cannot be used is not looked for elsewhere.
fn look_up(providers: &SecretProviders, name: &str) -> Result<Secret, String> {
    let mut places = Vec::new();
    if let Some(directory) = &providers.directory {
        match in_directory(&directory.path, name) {
            Ok(secret) => return Ok(secret),
            Err(NotFound::Absent(path)) => places.push(format!("no file {}", path.display())),
            Err(NotFound::Unusable(why)) => return Err(why),
        }
    }
    let variable = providers.environment.variable(name);
    match env::var_os(&variable) {
        None => places.push(format!("no variable {variable}")),
        Some(value) => match value.into_string() {
            Ok(value) if value.is_empty() => return Err(format!("variable {variable} is empty")),
            Ok(value) => return Ok(value.into()),
            Err(_) => return Err(format!("variable {variable} is not UTF-8")),
        },
    }
    Err(places.join(", "))
}

enum NotFound {
    Absent(PathBuf),
    Unusable(String),
}

/// A file's content without the newline at its end.
fn in_directory(directory: &Path, name: &str) -> Result<Secret, NotFound> {
    let path = directory.join(name);
    let bytes = match read_file(&path, MOST_BYTES) {
        Ok(bytes) => bytes,
        Err(FileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(NotFound::Absent(path));
        }
        Err(error) => return Err(NotFound::Unusable(error.to_string())),
    };
    let unusable = |what: &str| Err(NotFound::Unusable(format!("{}: {what}", path.display())));
    let Ok(text) = str::from_utf8(&bytes) else { return unusable("it is not UTF-8") };
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return unusable("it is empty");
    }
    Ok(text.to_owned().into())
}

/// What runs now, and what was last found of its secrets, whether or not it is in use.
#[derive(Default)]
pub(super) struct Watch {
    source: Option<Source>,
    providers: SecretProviders,
    seen: LookedUp,
}

impl Watch {
    /// Goes on with a configuration that runs from now on.
    pub(super) fn follow(&mut self, source: &Source, config: &Config) {
        let found = config.found.found();
        if config.secrets.directory.is_none() || found.is_empty() {
            *self = Self::default();
            return;
        }
        self.source = Some(source.clone());
        self.providers = config.secrets.clone();
        self.seen = found.iter().map(|(name, secret)| (name.clone(), Ok(secret.clone()))).collect();
    }

    /// Resolves when something else is found than last time.
    pub(super) async fn changed(&self) -> LookedUp {
        if self.source.is_none() {
            return std::future::pending().await;
        }
        loop {
            time::sleep(INTERVAL).await;
            let names = self.seen.keys().cloned().collect();
            let found = blocking(looking_up(self.providers.clone(), names)).await;
            if found != self.seen {
                return found;
            }
        }
    }
}

impl Control {
    /// Applies what runs once more, with the secrets that are there now. What cannot be used is told once, and changes
    /// nothing. Answers whether the proxy goes on.
    pub(super) async fn secrets_changed(&mut self, found: LookedUp, stop: impl Future<Output = ()>) -> bool {
        let Some(source) = self.secrets.source.clone() else { return true };
        self.secrets.seen = found;
        let outcome = self.apply(WHO, &source, Mode::Apply, stop).await;
        log_outcome(WHO, None, &outcome);
        !matches!(outcome, Err(Refusal::ShuttingDown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    fn found(directory: &Path, name: &str) -> Result<String, String> {
        let providers = SecretProviders {
            directory: Some(prism_config::DirectorySecrets { path: directory.to_owned() }),
            ..SecretProviders::default()
        };
        look_up(&providers, name).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn files_are_read_as_kubernetes_mounts_them() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("..2026_1"), folder.path().join("..2026_2"));
        for (version, value) in [(&first, "one\n"), (&second, "two")] {
            fs::create_dir(version).unwrap();
            fs::write(version.join("password"), value).unwrap();
        }
        symlink("..2026_1", folder.path().join("..data")).unwrap();
        symlink("..data/password", folder.path().join("password")).unwrap();
        assert_eq!(found(folder.path(), "password"), Ok("one".to_owned()));
        symlink("..2026_2", folder.path().join("..next")).unwrap();
        fs::rename(folder.path().join("..next"), folder.path().join("..data")).unwrap();
        assert_eq!(found(folder.path(), "password"), Ok("two".to_owned()));
    }

    #[test]
    fn one_newline_is_the_files_and_the_rest_is_the_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let largest = "x".repeat(64 << 10);
        for (content, expected) in
            [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a "), (&largest, &largest)]
        {
            fs::write(folder.path().join("it"), content).unwrap();
            assert_eq!(found(folder.path(), "it").as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_cannot_be_used_is_not_looked_for_elsewhere_and_not_told() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        for (content, why) in [
            (&b"hunter2\xff"[..], "not UTF-8"),
            (b"", "empty"),
            (b"\n", "empty"),
            (&b"hunter2".repeat(10_000), "more than 65536 bytes"),
        ] {
            fs::write(folder.path().join("it"), content).unwrap();
            let error = found(folder.path(), "it").unwrap_err();
            assert!(error.contains(why) && !error.contains("hunter2"), "{error}");
            assert!(!error.contains("PRISM_SECRET_IT"), "{error}");
        }
        assert!(found(folder.path(), "folder").unwrap_err().contains("no regular file"));
        let error = found(folder.path(), "a-b.c").unwrap_err();
        let expected = format!("no file {}/a-b.c, no variable PRISM_SECRET_A_B_C", folder.path().display());
        assert_eq!(error, expected);
    }
}
