//! Ownership of an object of the other side: a call, a stream, a source.

use super::layout::{Call, CallVtable, Source, SourceVtable, Stream, StreamVtable};
use std::ptr;

/// An object that begins with a pointer to its function table, and is dropped through it.
pub(super) trait Object: Sized + 'static {
    /// Its function table.
    type Vtable: 'static;

    fn vtable(&self) -> *const Self::Vtable;

    fn dropper(vtable: &Self::Vtable) -> Option<unsafe extern "C" fn(*mut Self)>;
}

macro_rules! objects {
    ($($object:ty, $vtable:ty;)*) => {
        $(impl Object for $object {
            type Vtable = $vtable;

            fn vtable(&self) -> *const Self::Vtable {
                self.vtable
            }

            fn dropper(vtable: &Self::Vtable) -> Option<unsafe extern "C" fn(*mut Self)> {
                vtable.drop
            }
        })*
    };
}

objects! {
    Call, CallVtable;
    Stream, StreamVtable;
    Source, SourceVtable;
}

/// Drops what it holds once, at the latest with itself.
pub(super) struct Handle<T: Object>(*mut T);

// SAFETY: the ABI lets each of these objects move between threads, as long as one at a time uses it; a handle is not
// `Sync`.
unsafe impl<T: Object> Send for Handle<T> {}

impl<T: Object> Handle<T> {
    /// # Safety
    /// `object` is null or valid, with a table that is null or lives as long as the process; it is handed over.
    pub(super) unsafe fn new(object: *mut T) -> Self {
        Self(object)
    }

    /// There was never anything, or it is dropped already.
    pub(super) fn is_null(&self) -> bool {
        self.0.is_null()
    }

    pub(super) fn as_ptr(&self) -> *mut T {
        self.0
    }

    /// The function table, where there is one.
    pub(super) fn vtable(&self) -> Option<&'static T::Vtable> {
        // SAFETY: the promise of `new`; after `end` it is null.
        unsafe { self.0.as_ref().and_then(|object| object.vtable().as_ref()) }
    }

    /// Drops it now.
    pub(super) fn end(&mut self) {
        let dropper = self.vtable().and_then(T::dropper);
        let object = std::mem::replace(&mut self.0, ptr::null_mut());
        if let Some(dropper) = dropper {
            // SAFETY: it is ours, and this is its last use.
            unsafe { dropper(object) };
        }
    }
}

impl<T: Object> Drop for Handle<T> {
    fn drop(&mut self) {
        self.end();
    }
}
