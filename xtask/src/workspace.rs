//! Where things are.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

/// Where cargo builds to.
pub(crate) fn target() -> PathBuf {
    // A relative CARGO_TARGET_DIR is relative to where cargo was called; `join` keeps an absolute one.
    env::var_os("CARGO_TARGET_DIR").map_or_else(
        || root().join("target"),
        |folder| env::current_dir().unwrap_or_else(|_| root()).join(folder),
    )
}

/// Where the test tools are kept that no system package brings.
pub(crate) fn tools() -> PathBuf {
    target().join("tools")
}
