//! Why a library is not loaded.

use prism_plugin_abi::ffi::import::Unusable;
use std::{io, path::PathBuf};

/// Why a library is not loaded, with its path and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// It could not be opened or read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The library.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody else could change it.
    #[error("{}: {problem}", path.display())]
    Exposed {
        /// The library.
        path: PathBuf,
        /// How.
        problem: Unsafe,
    },
    /// It is larger than any library may be.
    #[error("{}: larger than {limit} bytes; strip its debug information", path.display())]
    TooLarge {
        /// The library.
        path: PathBuf,
        /// Bytes that it may have.
        limit: u64,
    },
    /// No sealed copy could be made.
    #[error("{}: cannot be copied into sealed memory", path.display())]
    Seal {
        /// The library.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What it says of itself is not what this proxy can run. Nothing of it has run.
    #[error("{}: refused before any of it ran: {problem}", path.display())]
    Refused {
        /// The library.
        path: PathBuf,
        /// Why.
        problem: Problem,
    },
    /// As many generations are loaded as may be.
    #[error(
        "{}: {limit} plugin libraries are loaded in this process, and a library is never unloaded; restart the proxy, \
         raise `max_library_generations`, or run the plugin as a sidecar",
        path.display()
    )]
    TooMany {
        /// The library.
        path: PathBuf,
        /// How many there may be.
        limit: usize,
    },
    /// The dynamic linker would not have it.
    #[error("{}: the dynamic linker refuses it", path.display())]
    Link {
        /// The library.
        path: PathBuf,
        /// Why.
        #[source]
        source: libloading::Error,
    },
    /// Its entry function would not begin.
    #[error("{}: its entry function answered {code}; the plugin's log says why", path.display())]
    Entry {
        /// The library.
        path: PathBuf,
        /// What it answered.
        code: i32,
    },
    /// What its entry function gave is no plugin.
    #[error("{}: {source}", path.display())]
    Unusable {
        /// The library.
        path: PathBuf,
        /// Why.
        source: Unusable,
    },
}

/// How somebody else could change a library.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsafe {
    /// A link, a directory, a device.
    #[error("is no regular file; name the library itself, not a link to it")]
    NotAFile,
    /// Not root's, and not the proxy's.
    #[error("`{}` belongs to user {owner}; it must belong to root or to the proxy's user ({ours})", path.display())]
    Owner {
        /// The file or directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who the proxy is.
        ours: u32,
    },
    /// Its group, or anybody, may write it.
    #[error("`{}` has mode {mode:04o}: others may write it; `chmod go-w` it", path.display())]
    Writable {
        /// The file or directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// Why a library's bytes are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Not ELF, or cut off.
    #[error("it is no shared library that can be read ({0})")]
    NotElf(String),
    /// For another machine, or no shared object.
    #[error("it is built for something else: {0}")]
    Foreign(&'static str),
    /// Without the note of a plugin.
    #[error(
        "it has no plugin note (`.note.prism.plugin`): it was built without `--features prism-plugin-sdk/library`, is no \
         Prism Edge plugin, or was stripped of its notes"
    )]
    NoNote,
    /// More than one.
    #[error("it has {0} plugin notes; a library is one plugin")]
    Notes(usize),
    /// Too short, or with text that is none.
    #[error("its plugin note cannot be read: {0}")]
    BadNote(&'static str),
    /// Another major version of the ABI.
    #[error(
        "it is built for version {major} of the plugin ABI, and this proxy has version {ours}; build it again"
    )]
    Major {
        /// Its own.
        major: u16,
        /// This proxy's.
        ours: u16,
    },
    /// It needs what this proxy does not have yet.
    #[error(
        "it needs version {major}.{minor} of the plugin ABI, and this proxy has {major}.{ours}; use a newer proxy"
    )]
    Minor {
        /// The major version of both.
        major: u16,
        /// What it needs.
        minor: u16,
        /// This proxy's.
        ours: u16,
    },
    /// A panic in it would end the proxy.
    #[error(
        "it is built with `panic = \"abort\"`: a panic in it would end the proxy; build it with `panic = \"unwind\"`"
    )]
    Aborts,
    /// Neither of the two.
    #[error("its note has an unknown panic mode, {0}")]
    PanicMode(u32),
    /// The note names a function that it does not export.
    #[error("its note names the entry function `{0}`, which it does not export")]
    NoEntry(String),
    /// It wants thread-local storage of a kind that a process has little of.
    #[error(
        "it uses static thread-local storage (DF_STATIC_TLS), of which a process has little: build it without \
         `-ftls-model=initial-exec`, and without an allocator such as mimalloc or jemalloc of its own"
    )]
    StaticTls,
    /// It would bring in code that nobody checked.
    #[error(
        "it needs `{0}`, which nobody has checked: link it statically (allowed are libc, libm, libgcc_s, libdl, \
         libpthread, librt, libutil and the dynamic linker)"
    )]
    Needs(String),
    /// It would choose where others are found.
    #[error("it has {0}, which can bring in code that nobody has checked; link it without")]
    Tag(&'static str),
    /// Memory that is both written and executed is what attacks look for.
    #[error("it wants {0}, and that for the whole process")]
    Executable(&'static str),
}
