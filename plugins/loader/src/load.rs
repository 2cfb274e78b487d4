//! Loading a checked library, for good.

use crate::{Checked, Generations, LoadError, Manifest};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use prism_plugin_abi::ffi::{
    Observer,
    import::Imported,
    layout::{self, EntryFn, Host, PRISM_ABI_MINOR, Str},
};
use std::{ffi::c_void, mem::ManuallyDrop, ptr, sync::Arc};

/// The longest line that a plugin may log, in bytes.
const MAX_LOG_BYTES: usize = 16 << 10;

/// A library that is loaded.
#[derive(Debug)]
pub struct Loaded {
    /// What it was loaded from. Its descriptor stays open: the linker knows a library by its file, and a number that
    /// is used again would have it hand back this one for another.
    pub checked: &'static Checked,
    /// The plugin in it.
    pub plugin: Imported,
}

impl Loaded {
    /// What it says of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        self.checked.manifest()
    }
}

/// Loads a library and has its entry function begin, unless `limit` are loaded already; `observer` watches over it.
/// Blocks: its constructors run, whatever they do.
///
/// # Errors
/// There are too many generations, the linker refuses it, or it would not begin. Except for the first, the
/// generation counts all the same: what is loaded stays.
pub fn load(
    checked: Checked,
    generations: &Generations,
    limit: usize,
    observer: Arc<dyn Observer>,
) -> Result<Loaded, LoadError> {
    if !generations.begin(limit) {
        return Err(LoadError::TooMany { path: checked.path, limit });
    }
    // Never given back, like what it holds.
    let checked: &'static Checked = Box::leak(Box::new(checked));
    let path = || checked.path.clone();
    let memory = format!("/proc/self/fd/{}", checked.sealed.descriptor());
    let link = |source| LoadError::Link { path: path(), source };
    // SAFETY: running the library's constructors is what an operator asks for by naming it. Its file was checked,
    // and these are the bytes that were.
    let library = unsafe { Library::open(Some(&memory), RTLD_NOW | RTLD_LOCAL) }.map_err(link)?;
    // Never unloaded: std and thread-local destructors count on that (rust-lang/rust#59629, #91979).
    let library = ManuallyDrop::new(library);
    // SAFETY: the note of this very library says that this symbol is an entry function of the ABI's major version.
    let entry = unsafe { library.get::<EntryFn>(checked.manifest.entry.as_bytes()) }.map_err(link)?;
    let host: &'static Host = Box::leak(Box::new(Host {
        size: size_of::<Host>(),
        host: ptr::from_ref(checked).cast_mut().cast(),
        log: Some(log),
    }));
    let mut loaded =
        layout::Loaded { size: size_of::<layout::Loaded>(), plugin: ptr::null_mut(), vtable: ptr::null() };
    // SAFETY: both are what the ABI says, and `host` lives as long as the process.
    let code = unsafe { entry(host, &raw mut loaded) };
    if code != 0 {
        return Err(LoadError::Entry { path: path(), code });
    }
    // SAFETY: the library, which stays, says it is built for this ABI, and filled this in.
    let plugin = unsafe { Imported::new(&loaded, observer) }
        .map_err(|source| LoadError::Unusable { path: path(), source })?;
    let Manifest { name, version, .. } = &checked.manifest;
    tracing::info!(
        plugin = %name,
        %version,
        abi_minor = checked.manifest.abi_minor,
        our_minor = PRISM_ABI_MINOR,
        path = %checked.path.display(),
        generations = generations.loaded(),
        "plugin library loaded"
    );
    Ok(Loaded { checked, plugin })
}

/// A line of a plugin's log.
unsafe extern "C" fn log(host: *mut c_void, level: u32, message: Str) {
    // SAFETY: `host` is what `load` put there, and leaked.
    let Some(checked) = (unsafe { host.cast::<Checked>().as_ref() }) else { return };
    if message.data.is_null() {
        return;
    }
    // SAFETY: the plugin lends the text for this call. No more of it is looked at than a line may have.
    let bytes = unsafe { std::slice::from_raw_parts(message.data, message.len.min(MAX_LOG_BYTES)) };
    // One line of the plugin's is one line of the log: it cannot write others in somebody else's name.
    let message = String::from_utf8_lossy(bytes).replace(char::is_control, " ");
    let plugin = &*checked.manifest.name;
    // A subscriber that panics must not unwind into the plugin.
    let logged = std::panic::catch_unwind(|| match level {
        1 => tracing::error!(target: "prism_plugin", %plugin, "{message}"),
        2 => tracing::warn!(target: "prism_plugin", %plugin, "{message}"),
        3 => tracing::info!(target: "prism_plugin", %plugin, "{message}"),
        _ => tracing::debug!(target: "prism_plugin", %plugin, "{message}"),
    });
    if let Err(payload) = logged {
        std::mem::forget(payload);
    }
}
