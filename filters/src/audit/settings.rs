//! How `audit` is configured.

use prism_audit::{KeyError, LogSettings, SigningKey, Sync};
use prism_config::{ByteSize, Duration, SettingProblem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Settings of `audit`. Everywhere that one folder is named, all but `on_backpressure` and `timeout` have to be the same, and
/// changing them takes a restart: a log has one writer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The log's folder, relative to the configuration file; made with mode 0700 where there is none. It belongs to this log
    /// alone.
    pub dir: String,
    /// The file of the Ed25519 key that segments are signed with: PEM, PKCS#8, mode 0600
    /// (`openssl genpkey -algorithm ed25519 -out audit.key`). It has no default, because a log that nobody signs can be
    /// rewritten by whoever can write to it. Read again for every segment.
    pub key: String,
    /// What happens to a call for whose record there is no room.
    #[serde(default)]
    pub on_backpressure: OnBackpressure,
    /// With `block`: how long a call waits for room at most, if its own deadline does not come sooner. One second: a disk that
    /// is slower than that will not catch up.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// When what was written is forced to the disk.
    #[serde(default)]
    pub sync: SyncPolicy,
    /// With `sync: interval`: how long it may take until what was written is on the disk. One second costs one `fsync` a second,
    /// and is the most that a machine without power can lose.
    #[serde(default = "sync_interval")]
    pub sync_interval: Duration,
    /// A segment is ended, and signed, when it has so many bytes. 64 MiB are some hundred thousand calls: small enough to copy
    /// and to read in a second, large enough that a busy proxy does not make a file a minute.
    #[serde(default = "segment_bytes")]
    #[schemars(extend("minimum" = 4096, "maximum" = 1_073_741_824))]
    pub segment_bytes: ByteSize,
    /// A segment is ended, and signed, when it is so old. One hour: what is not signed yet is what somebody with the rights of
    /// the proxy could rewrite unseen.
    #[serde(default = "segment_age")]
    pub segment_age: Duration,
    /// How many ended segments are kept; older ones are removed, and the log says so. Without it all are, because how long
    /// evidence is kept is not for a default to decide.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub keep_segments: Option<u64>,
    /// How many records there is room for that are not written yet. With `block` a call holds one place from its beginning to
    /// its end, so that it can always be written down: not more calls than that can be under way. 65,536 are more than a proxy
    /// serves at once, and 30 MB if all of them ended in the same moment.
    #[serde(default = "queue")]
    #[schemars(range(min = 16, max = 1_048_576))]
    pub queue: u32,
}

/// What happens to a call for whose record there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnBackpressure {
    /// It waits for room before anything is done, and is refused (AUDIT_UNAVAILABLE) when there is none in time or the log
    /// cannot be written at all. The default, because whoever can fill a disk could else act unseen.
    #[default]
    Block,
    /// It is served, and its record is left out: counted in `prism_audit_dropped_total` and in the log itself.
    DropAndCount,
}

/// When what was written is forced to the disk. A process that dies loses nothing that was written, whatever it says here;
/// this is about a machine that loses its power.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SyncPolicy {
    /// When a segment ends, and else when the operating system does it by itself.
    None,
    /// Every `sync_interval`. The default: it costs next to nothing, and bounds the loss.
    #[default]
    Interval,
    /// After every write. A write takes what came in while the one before it was forced to the disk, so it costs latency of
    /// the log and none of the calls, as long as the disk keeps up.
    Each,
}

fn timeout() -> Duration {
    Duration::seconds(1)
}

fn sync_interval() -> Duration {
    Duration::seconds(1)
}

fn segment_bytes() -> ByteSize {
    ByteSize::mib(64)
}

fn segment_age() -> Duration {
    Duration::seconds(3600)
}

fn queue() -> u32 {
    65_536
}

impl Settings {
    /// What the schema cannot say.
    pub(super) fn check(&self) -> Vec<SettingProblem> {
        let mut problems = Vec::new();
        for (key, text) in [("dir", &self.dir), ("key", &self.key)] {
            if text.is_empty() {
                problems.push(SettingProblem::new(key, "the path is empty"));
            }
        }
        problems
    }

    /// Whether its key can be used, for `prism-edge check`: nothing is made or opened. Blocks.
    ///
    /// # Errors
    /// Why not.
    pub fn check_key(&self, base_dir: &Path) -> Result<(), KeyError> {
        SigningKey::load(&base_dir.join(&self.key)).map(drop)
    }

    /// What the log is opened with.
    pub(super) fn log(&self, base_dir: &Path) -> LogSettings {
        LogSettings {
            dir: base_dir.join(&self.dir),
            key: base_dir.join(&self.key),
            sync: match self.sync {
                SyncPolicy::None => Sync::None,
                SyncPolicy::Interval => Sync::Interval(self.sync_interval.get()),
                SyncPolicy::Each => Sync::Each,
            },
            segment_bytes: self.segment_bytes.get(),
            segment_age: self.segment_age.get(),
            keep_segments: self.keep_segments,
            queue: usize::try_from(self.queue).unwrap_or(usize::MAX),
        }
    }
}
