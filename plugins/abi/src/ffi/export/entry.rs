//! A library's entry function, and what it is given.

use crate::ffi::{
    contain,
    layout::{self, Host, PRISM_ABI_MAJOR, Str},
};

/// How much a line of the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Level {
    /// Something failed that should not.
    Error = 1,
    /// Something is not as it should be.
    Warn = 2,
    /// Something happened.
    Info = 3,
    /// For whoever looks for a mistake.
    Debug = 4,
}

/// The proxy's log.
#[derive(Clone, Copy)]
pub struct Log(Option<&'static Host>);

// SAFETY: the ABI has `log` called on any thread.
unsafe impl Send for Log {}
// SAFETY: as above.
unsafe impl Sync for Log {}

impl Log {
    /// Writes a line.
    pub fn line(&self, level: Level, message: &str) {
        let Some(host) = self.0 else { return };
        if let Some(log) = host.log {
            // SAFETY: the host lives as long as the process, and the text is lent for the call.
            unsafe { log(host.host, level as u32, Str::of(message.as_bytes())) };
        }
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Log")
    }
}

/// The body of an entry function: fills in what `begin` makes; when it makes nothing, the library is refused.
///
/// # Safety
/// The pointers are those that the proxy gave to the entry function.
pub unsafe fn enter(
    host: *const Host,
    loaded: *mut layout::Loaded,
    begin: impl FnOnce(Log) -> Option<layout::Loaded>,
) -> i32 {
    const REFUSED: i32 = 1;
    const PANICKED: i32 = 2;
    const TOO_OLD: i32 = 3;

    // SAFETY: null or valid for the life of the process.
    let log = Log(unsafe { host.as_ref() });
    // SAFETY: the proxy's place, which begins with its size.
    if loaded.is_null() || unsafe { (*loaded).size } < size_of::<layout::Loaded>() {
        log.line(
            Level::Error,
            &format!("the proxy is older than version {PRISM_ABI_MAJOR} of the plugin ABI"),
        );
        return TOO_OLD;
    }
    match contain(|| begin(log)) {
        None => PANICKED,
        Some(None) => REFUSED,
        Some(Some(filled)) => {
            // SAFETY: as above, and as large as what is written.
            unsafe {
                (&raw mut (*loaded).plugin).write(filled.plugin);
                (&raw mut (*loaded).vtable).write(filled.vtable);
            }
            0
        }
    }
}

/// Makes a `cdylib` a plugin: its note, with the plugin's name and version, and its entry function, which begins with
/// `begin: fn(Log) -> Option<Loaded>`.
#[macro_export]
macro_rules! plugin_library {
    ($entry:ident, $name:expr, $version:expr, $begin:expr) => {
        const _: () = {
            use $crate::ffi::{export, layout};

            // Read by the proxy before it runs anything of the library.
            #[used]
            #[unsafe(link_section = ".note.prism.plugin")]
            static NOTE: layout::Note = layout::Note::new(
                ::core::stringify!($entry),
                $name,
                $version,
                if ::core::cfg!(panic = "abort") { layout::PRISM_ABORTS } else { layout::PRISM_UNWINDS },
            );

            #[unsafe(no_mangle)]
            unsafe extern "C" fn $entry(host: *const layout::Host, loaded: *mut layout::Loaded) -> i32 {
                // SAFETY: the proxy calls this as the note says, with what the ABI says.
                unsafe { export::enter(host, loaded, $begin) }
            }
        };
    };
}
