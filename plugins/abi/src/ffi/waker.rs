//! Wakers in both directions.

use super::{
    contain,
    layout::{Waker as Ffi, WakerVtable},
};
use std::{
    mem::ManuallyDrop,
    sync::Arc,
    task::{RawWaker, RawWakerVTable, Waker},
};

/// One of ours, lent for the length of a poll: on the stack, so that a poll allocates nothing for it.
#[repr(C)]
pub(super) struct Lent<'a> {
    head: Ffi,
    waker: &'a Waker,
}

impl<'a> Lent<'a> {
    pub(super) fn new(waker: &'a Waker) -> Self {
        static VTABLE: WakerVtable = WakerVtable {
            size: size_of::<WakerVtable>(),
            clone: Some(clone_lent),
            wake: Some(wake_lent),
            wake_by_ref: Some(wake_lent),
            drop: Some(drop_lent),
        };
        Self { head: Ffi { vtable: &raw const VTABLE }, waker }
    }

    /// What the other side is given. Valid for as long as `self` is borrowed.
    pub(super) fn as_ffi(&self) -> *const Ffi {
        std::ptr::from_ref(self).cast()
    }
}

/// One of ours that was cloned, behind an `Arc`.
#[repr(C)]
struct Kept {
    head: Ffi,
    waker: Waker,
}

// SAFETY: `head` points to a static, and a `Waker` is both.
unsafe impl Send for Kept {}
// SAFETY: as above.
unsafe impl Sync for Kept {}

static KEPT: WakerVtable = WakerVtable {
    size: size_of::<WakerVtable>(),
    clone: Some(clone_kept),
    wake: Some(wake_kept),
    wake_by_ref: Some(wake_kept_by_ref),
    drop: Some(drop_kept),
};

fn keep(waker: &Waker) -> *const Ffi {
    contain(|| waker.clone()).map_or(std::ptr::null(), |waker| {
        Arc::into_raw(Arc::new(Kept { head: Ffi { vtable: &raw const KEPT }, waker })).cast()
    })
}

unsafe extern "C" fn clone_lent(waker: *const Ffi) -> *const Ffi {
    // SAFETY: only `Lent` names this function, and it is lent for the poll that this is called in.
    keep(unsafe { (*waker.cast::<Lent<'_>>()).waker })
}

/// A lent one is not the other side's to drop, so waking it and waking it for the last time are the same.
unsafe extern "C" fn wake_lent(waker: *const Ffi) {
    // SAFETY: as in `clone_lent`.
    contain(|| unsafe { (*waker.cast::<Lent<'_>>()).waker }.wake_by_ref());
}

unsafe extern "C" fn drop_lent(_: *const Ffi) {}

unsafe extern "C" fn clone_kept(waker: *const Ffi) -> *const Ffi {
    // SAFETY: only `keep` names this function, for what came out of `Arc::into_raw` and is not dropped yet.
    unsafe { Arc::increment_strong_count(waker.cast::<Kept>()) };
    waker
}

unsafe extern "C" fn wake_kept(waker: *const Ffi) {
    // SAFETY: as in `clone_kept`; this is the clone's last use.
    let kept = unsafe { Arc::from_raw(waker.cast::<Kept>()) };
    contain(move || kept.waker.wake_by_ref());
}

unsafe extern "C" fn wake_kept_by_ref(waker: *const Ffi) {
    // SAFETY: as in `clone_kept`.
    contain(|| unsafe { &(*waker.cast::<Kept>()).waker }.wake_by_ref());
}

unsafe extern "C" fn drop_kept(waker: *const Ffi) {
    // SAFETY: as in `wake_kept`.
    let kept = unsafe { Arc::from_raw(waker.cast::<Kept>()) };
    contain(move || drop(kept));
}

/// One of theirs, lent for the length of a poll. Cloning it keeps it.
///
/// # Safety
/// `waker` is null or valid until the end of `'a`, and its vtable is valid for the life of the process.
pub(super) unsafe fn lent<'a>(waker: *const Ffi) -> Borrowed<'a> {
    let raw = if waker.is_null() {
        RawWaker::new(std::ptr::null(), &NOBODY)
    } else {
        RawWaker::new(waker.cast(), &THEIRS)
    };
    // SAFETY: the functions of both tables keep to the rules of `RawWaker`: the other side's are allowed on any
    // thread, and the ABI counts clones as `RawWaker` does.
    Borrowed(ManuallyDrop::new(unsafe { Waker::from_raw(raw) }), std::marker::PhantomData)
}

/// Not dropped, because it is not ours.
pub(super) struct Borrowed<'a>(ManuallyDrop<Waker>, std::marker::PhantomData<&'a Waker>);

impl Borrowed<'_> {
    pub(super) fn get(&self) -> &Waker {
        &self.0
    }
}

static NOBODY: RawWakerVTable =
    RawWakerVTable::new(|_| RawWaker::new(std::ptr::null(), &NOBODY), |_| {}, |_| {}, |_| {});

static THEIRS: RawWakerVTable =
    RawWakerVTable::new(clone_theirs, wake_theirs, wake_theirs_by_ref, drop_theirs);

/// # Safety
/// `waker` is a waker of theirs, not null.
unsafe fn vtable<'a>(waker: *const ()) -> &'a WakerVtable {
    // SAFETY: a waker begins with its vtable, which is valid for the life of the process.
    unsafe { &*(*waker.cast::<Ffi>()).vtable }
}

unsafe fn clone_theirs(waker: *const ()) -> RawWaker {
    // SAFETY: this table is given to wakers of theirs only, and those are alive.
    let clone = unsafe { vtable(waker) }.clone.map(|clone| unsafe { clone(waker.cast()) });
    match clone {
        Some(clone) if !clone.is_null() => RawWaker::new(clone.cast(), &THEIRS),
        _ => RawWaker::new(std::ptr::null(), &NOBODY),
    }
}

unsafe fn wake_theirs(waker: *const ()) {
    // SAFETY: as in `clone_theirs`, and this is a clone's last use.
    if let Some(wake) = unsafe { vtable(waker) }.wake {
        // SAFETY: as above.
        unsafe { wake(waker.cast()) };
    }
}

unsafe fn wake_theirs_by_ref(waker: *const ()) {
    // SAFETY: as in `clone_theirs`.
    if let Some(wake) = unsafe { vtable(waker) }.wake_by_ref {
        // SAFETY: as above.
        unsafe { wake(waker.cast()) };
    }
}

unsafe fn drop_theirs(waker: *const ()) {
    // SAFETY: as in `wake_theirs`.
    if let Some(drop) = unsafe { vtable(waker) }.drop {
        // SAFETY: as above.
        unsafe { drop(waker.cast()) };
    }
}
