//! Bytes that go over the boundary and stay where they are.

use super::{
    contain,
    layout::{Buffer, BufferVtable},
};
use bytes::Bytes;
use std::{mem::ManuallyDrop, ptr};

// A `Bytes` is moved into a buffer's `owner` as it is. Should it grow, this must fail to compile.
const _: () = {
    assert!(size_of::<Bytes>() == size_of::<[usize; 4]>());
    assert!(align_of::<Bytes>() <= align_of::<usize>());
};

/// Marks buffers as made here: two copies of this crate in one process have two of these. A `static`, so that
/// there is one address to compare with.
static OURS: BufferVtable = BufferVtable { size: size_of::<BufferVtable>(), release: Some(release) };

/// Hands bytes over without copying them, and without allocating.
pub(super) fn give(bytes: Bytes) -> Buffer {
    let bytes = ManuallyDrop::new(bytes);
    let mut owner = [0usize; 4];
    // SAFETY: `owner` is as large and as aligned as a `Bytes` (asserted above), and `bytes` is never dropped
    // here: from now on whoever has the buffer owns it.
    unsafe { ptr::copy_nonoverlapping((&raw const bytes).cast::<[usize; 4]>(), &raw mut owner, 1) };
    Buffer { data: bytes.as_ptr(), len: bytes.len(), vtable: &raw const OURS, owner }
}

unsafe extern "C" fn release(buffer: *mut Buffer) {
    contain(|| {
        // SAFETY: only `give` names this function, so `owner` holds a `Bytes`; the ABI has it called once.
        drop(unsafe { reclaim(buffer) });
    });
}

/// # Safety
/// `buffer` points to one made by [`give`] that nobody uses afterwards.
unsafe fn reclaim(buffer: *const Buffer) -> Bytes {
    // SAFETY: `give` wrote a `Bytes` there bit for bit, and the caller gives it up.
    unsafe { ptr::read((&raw const (*buffer).owner).cast::<Bytes>()) }
}

/// Takes over a buffer, from whichever side, without copying. One of our own comes back as what it was.
///
/// # Safety
/// The buffer is handed over: `data` points to `len` bytes that stay as they are until `release`, and its vtable is
/// null or valid for the life of the process.
pub(super) unsafe fn take(buffer: Buffer) -> Bytes {
    if ptr::eq(buffer.vtable, &raw const OURS) {
        // SAFETY: it has our vtable, so `give` made it, and it is handed over.
        let bytes = unsafe { reclaim(&raw const buffer) };
        debug_assert_eq!((bytes.as_ptr(), bytes.len()), (buffer.data, buffer.len));
        return bytes;
    }
    let owned = Foreign(buffer);
    // An owner for nothing would be kept for nothing.
    if owned.0.len == 0 { Bytes::new() } else { Bytes::from_owner(owned) }
}

/// Gives back a buffer that nobody wants.
///
/// # Safety
/// The buffer is handed over, and its vtable is null or valid.
pub(super) unsafe fn discard(buffer: Buffer) {
    drop(Foreign(buffer));
}

/// A buffer of the other side.
struct Foreign(Buffer);

// SAFETY: the ABI says that a buffer's bytes are read, and `release` is called, on any thread.
unsafe impl Send for Foreign {}

impl AsRef<[u8]> for Foreign {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `take` makes one of these only for a buffer with bytes, which are promised to stay as they are
        // until the release, in `drop`.
        unsafe { std::slice::from_raw_parts(self.0.data, self.0.len) }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // SAFETY: a vtable is null or valid.
        let release = unsafe { self.0.vtable.as_ref() }.and_then(|vtable| vtable.release);
        if let Some(release) = release {
            // SAFETY: called once, here, with the buffer as it came.
            unsafe { release(&raw mut self.0) };
        }
    }
}
