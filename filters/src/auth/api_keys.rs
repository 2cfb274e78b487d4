//! API keys: long random texts, of which the proxy keeps only what cannot be turned back into them.
//!
//! ```yaml
//! keys:
//!   - { name: batch, sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 }
//! ```

use super::{
    Bad, Proof,
    digests::{self, sha256},
};
use crate::{
    Credential, Method,
    watched::{self, FileError, Watched},
};
use argon2::{
    Argon2, PasswordVerifier as _,
    password_hash::phc::{Output, PasswordHash},
};
use bytestring::ByteString;
use foldhash::HashMap;
use http::{HeaderMap, HeaderName};
use prism_config::{SettingProblem, Source, TokenDigest};
use prism_platform::{Platform, time::Instant};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Ten thousand keys are two megabytes.
const MOST_FILE: u64 = 8 << 20;

/// How long a key that has to be hashed slowly may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(1);

/// API keys, from a file that is looked at twice a second. A call brings its key in a header, and nowhere else: what stands
/// in a URL stands in logs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ApiKeys")]
pub struct Settings {
    /// YAML file: `keys`, a list of `{ name, sha256 | argon2, claims, expires }`. Relative to the configuration file.
    pub file: PathBuf,
    /// The header that holds a call's key. `x-api-key` by default, as many have it.
    #[serde(default = "default_header")]
    pub header: String,
}

fn default_header() -> String {
    "x-api-key".to_owned()
}

/// Header fields that mean something else to HTTP, or to this proxy.
const TAKEN: [&str; 6] = ["authorization", "cookie", "host", "content-type", "content-length", "te"];

pub(super) fn check(settings: &Settings, problems: &mut Vec<SettingProblem>, key: &'static str) {
    let header = settings.header.to_ascii_lowercase();
    let taken = TAKEN.contains(&header.as_str()) || header.starts_with("x-prism-");
    if taken || HeaderName::from_bytes(header.as_bytes()).is_err() {
        let message = format!("`{}` is no header that a key can come in", settings.header);
        problems.push(SettingProblem::new(key, message).hint("such as `x-api-key`"));
    }
}

/// # Errors
/// What is wrong with the file.
pub(super) fn check_file(settings: &Settings, base_dir: &Path, now: SystemTime) -> Result<(), String> {
    let path = base_dir.join(&settings.file);
    let bytes = watched::read(&path, MOST_FILE).map_err(|error| error.to_string())?;
    Keys::parse(&path.display().to_string(), &bytes, now).map(drop)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct File {
    /// The keys.
    keys: Vec<Entry>,
}

/// One key.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// What its owner is called: the principal is `key:NAME`.
    #[schemars(length(min = 1, max = 64))]
    name: String,
    /// The key's SHA-256 in hexadecimal digits. For keys of at least 24 random characters.
    #[serde(default)]
    #[schemars(with = "String")]
    sha256: Option<String>,
    /// The key's argon2 hash as a PHC string (`$argon2id$v=19$…`). Such a key begins with its name and a dot, because it costs
    /// too much to try it against all of them.
    #[serde(default)]
    #[schemars(with = "String")]
    argon2: Option<String>,
    /// What is known of its owner, for the rules of `access`.
    #[serde(default)]
    claims: Map<String, Value>,
    /// When it ends, such as `2027-01-31T00:00:00Z`.
    #[serde(default)]
    #[schemars(with = "String")]
    expires: Option<String>,
}

struct Slow {
    hash: String,
    /// The digest of the key that was found right. There is only one, so after it was seen, no other is tried.
    right: OnceLock<[u8; 32]>,
    credential: Arc<Credential>,
    /// Tries for one name wait for one another before they wait for those for others: who tries many holds up nobody else.
    turn: Semaphore,
}

#[derive(Default)]
struct Keys {
    /// By their principals, of which each has one key.
    owners: HashMap<ByteString, Arc<Credential>>,
    fast: HashMap<[u8; 32], Arc<Credential>>,
    slow: HashMap<String, Arc<Slow>>,
}

/// The keys of one listener.
pub(super) struct ApiKeys {
    header: HeaderName,
    keys: Watched<Keys>,
    /// One at a time of all names: each takes some ten milliseconds of a core and as many megabytes, and anybody may ask for it.
    turns: Arc<Semaphore>,
}

impl ApiKeys {
    /// Reads the file. Blocks.
    ///
    /// # Errors
    /// It cannot be used.
    pub(super) fn open(
        settings: &Settings,
        base_dir: &Path,
        platform: &Platform,
        changed: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, FileError> {
        let path = base_dir.join(&settings.file);
        let (name, platform) = (path.display().to_string(), platform.clone());
        let parse = move |bytes: &[u8]| Keys::parse(&name, bytes, platform.wall_clock());
        Ok(Self {
            // Checked with the settings.
            header: HeaderName::from_bytes(settings.header.as_bytes())
                .unwrap_or(HeaderName::from_static("x-api-key")),
            keys: Watched::open(path, MOST_FILE, parse, changed)?,
            turns: Arc::new(Semaphore::new(1)),
        })
    }

    /// The header that holds a key, which goes no further.
    pub(super) fn header(&self) -> &HeaderName {
        &self.header
    }

    /// A key that was good is still in the file.
    pub(super) fn holds(&self, credential: &Credential) -> bool {
        let keys = self.keys.current();
        keys.owners.get(credential.principal()).is_some_and(|known| known.same(credential))
    }

    pub(super) fn prove(&self, headers: &HeaderMap) -> Proof {
        let mut values = headers.get_all(&self.header).iter();
        let key = match (values.next(), values.next()) {
            (None, _) => return Proof::Absent,
            (Some(key), None) => key.as_bytes(),
            (Some(_), Some(_)) => return Bad::new("it has two API keys").into(),
        };
        if key.len() > digests::MOST {
            return Bad::new("its API key is too long").into();
        }
        let seen = sha256(key);
        let keys = self.keys.current();
        if let Some((known, credential)) = keys.fast.get_key_value(&seen) {
            // The map has compared already, on digests that nobody can steer; once more so that nobody has to think about it.
            return match (bool::from(known.ct_eq(&seen)), key.len() >= digests::LEAST) {
                (true, true) => good(credential),
                (true, false) => {
                    let name = credential.principal();
                    Bad::new(format!("the key of {name} is too short for `sha256`: make a longer one")).into()
                }
                (false, _) => Bad::new("it has an API key that nobody has").into(),
            };
        }
        let named = std::str::from_utf8(key).ok().and_then(|key| key.split_once('.'));
        let Some(slow) = named.and_then(|(name, _)| keys.slow.get(name)) else {
            return Bad::new("it has an API key that nobody has").into();
        };
        let wrong = |slow: &Slow| {
            Bad::new(format!("it has an API key that is not that of {}", slow.credential.principal()))
        };
        match slow.right.get() {
            Some(right) if bool::from(right.ct_eq(&seen)) => good(&slow.credential),
            Some(_) => wrong(slow).into(),
            None => {
                let (slow, turns) = (Arc::clone(slow), Arc::clone(&self.turns));
                let key = Zeroizing::new(key.to_vec());
                Proof::Ask(Box::pin(async move {
                    let turn = async { (slow.turn.acquire().await, turns.acquire_owned().await) };
                    let Ok((Ok(_own), Ok(turn))) = tokio::time::timeout(PATIENCE, turn).await else {
                        return Proof::Unknown("too many API keys wait to be hashed".into());
                    };
                    // It was perhaps found right while this one waited.
                    if let Some(right) = slow.right.get() {
                        return match bool::from(right.ct_eq(&seen)) {
                            true => good(&slow.credential),
                            false => wrong(&slow).into(),
                        };
                    }
                    let hashing = Arc::clone(&slow);
                    let hashed = tokio::task::spawn_blocking(move || {
                        let _turn = turn;
                        hashing.is_hash_of(&key)
                    });
                    match hashed.await {
                        Ok(true) => {
                            slow.right.get_or_init(|| seen);
                            good(&slow.credential)
                        }
                        Ok(false) => wrong(&slow).into(),
                        Err(_) => Proof::Unknown("an API key could not be hashed".into()),
                    }
                }))
            }
        }
    }
}

fn good(credential: &Arc<Credential>) -> Proof {
    match credential.expires().is_some_and(|expires| expires <= Instant::now()) {
        true => Bad::new(format!("the API key of {} has expired", credential.principal())).into(),
        false => Proof::Good(Arc::clone(credential)),
    }
}

impl Slow {
    fn is_hash_of(&self, key: &[u8]) -> bool {
        PasswordHash::new(&self.hash).is_ok_and(|hash| Argon2::default().verify_password(key, &hash).is_ok())
    }
}

/// What one try may cost: four times what OWASP's password storage guide asks of argon2id at least (19 MiB, two passes).
const MOST_MEMORY_KIB: u32 = 76 << 10;
const MOST_PASSES: u32 = 8;

impl Keys {
    fn parse(name: &str, bytes: &[u8], now: SystemTime) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| format!("{name}: it is no text: {error}"))?;
        let source = Source { name: name.to_owned(), text: text.to_owned(), base_dir: PathBuf::new() };
        let file: File = prism_config::read_as(&source).map_err(|problems| problems.to_string())?;
        let mut keys = Self::default();
        for entry in file.keys {
            let blame = |what: String| format!("{name}: key `{}`: {what}", entry.name);
            let mut credential = Credential::new(Method::ApiKey, &entry.name)
                .map_err(|error| blame(error.to_string()))?
                .with_claims(entry.claims.clone());
            if let Some(expires) = &entry.expires {
                credential = credential.until(instant(expires, now).map_err(&blame)?);
            }
            let own = |proof| Arc::new(credential.proven_by(proof));
            let credential = match (&entry.sha256, &entry.argon2) {
                (Some(hex), None) => {
                    let digest: TokenDigest =
                        hex.parse().map_err(|error| blame(format!("`sha256`: {error}")))?;
                    let credential = own(*digest.bytes());
                    if keys.fast.insert(*digest.bytes(), Arc::clone(&credential)).is_some() {
                        return Err(blame("another one has the same `sha256`".to_owned()));
                    }
                    credential
                }
                (None, Some(hash)) => {
                    check_cost(hash).map_err(&blame)?;
                    if entry.name.contains('.') {
                        return Err(blame("with `argon2` a name has no dot".to_owned()));
                    }
                    let credential = own(sha256(hash.as_bytes()));
                    let slow = Slow {
                        hash: hash.clone(),
                        right: OnceLock::new(),
                        credential: Arc::clone(&credential),
                        turn: Semaphore::new(1),
                    };
                    keys.slow.insert(entry.name.clone(), Arc::new(slow));
                    credential
                }
                _ => return Err(blame("give it `sha256` or `argon2`, and one of them".to_owned())),
            };
            if keys.owners.insert(credential.principal().clone(), credential).is_some() {
                return Err(blame("there are two of that name".to_owned()));
            }
        }
        Ok(keys)
    }
}

/// A time of day as an instant of the monotonic clock; one that has passed, as now.
fn instant(text: &str, now: SystemTime) -> Result<Instant, String> {
    let time = humantime::parse_rfc3339(text)
        .map_err(|error| format!("`expires`: {error}: write it like 2027-01-31T00:00:00Z"))?;
    let left = time.duration_since(now).unwrap_or_default();
    Instant::now().checked_add(left).ok_or_else(|| "`expires` is too far away".to_owned())
}

fn check_cost(hash: &str) -> Result<(), String> {
    let form = |what: String| format!("`argon2` is no PHC string of argon2id: {what}");
    let read = PasswordHash::new(hash).map_err(|error| form(error.to_string()))?;
    if read.algorithm.as_str() != "argon2id"
        || read.hash.as_ref().is_none_or(|hash: &Output| hash.as_bytes().len() < 16)
    {
        return Err(form("it is of another kind, or too short".to_owned()));
    }
    let cost = |name: &str| read.params.get_decimal(name);
    match (cost("m"), cost("t"), cost("p")) {
        (Some(8..=MOST_MEMORY_KIB), Some(1..=MOST_PASSES), Some(1..=4)) => Ok(()),
        _ => Err(format!(
            "`argon2` may cost m={MOST_MEMORY_KIB}, t={MOST_PASSES} and p=4 at most: anybody may have it computed"
        )),
    }
}

#[cfg(test)]
mod tests;
