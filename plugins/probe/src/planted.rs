//! Two bugs, for a sanitizer to find: one that finds neither has looked at nothing.

use bytes::Bytes;
use prism_plugin_abi::{Data, Error};
use std::{cell::UnsafeCell, future::poll_fn, task::Poll, thread, time::Duration};

/// Reads what it was sent after it gave it back.
pub(crate) fn use_after_release(params: Data) -> Result<Data, Error> {
    let Data::Raw(payload) = params else { return Err(Error::invalid("raw bytes are wanted")) };
    let bytes = payload.into_bytes();
    let place = bytes.as_ptr();
    drop(bytes);
    // SAFETY: there is none, on purpose: the proxy may have freed it.
    let read = unsafe { std::ptr::read_volatile(place) };
    Ok(Data::Raw(Bytes::from(vec![read]).into()))
}

struct Unguarded(UnsafeCell<u64>);

// SAFETY: there is none, on purpose: nothing guards it.
unsafe impl Sync for Unguarded {}

static SHARED: Unguarded = Unguarded(UnsafeCell::new(0));

/// Writes in a waker's thread what the next poll writes too, and after the wake, so that nothing orders the two.
pub(crate) async fn race() -> Data {
    let mut thread = None;
    poll_fn(|cx| {
        if thread.is_none() {
            let waker = cx.waker().clone();
            thread = Some(thread::spawn(move || {
                waker.wake();
                write();
            }));
            return Poll::Pending;
        }
        write();
        Poll::Ready(())
    })
    .await;
    // Not joined, which would order them; so that the other has written before the process ends.
    thread::sleep(Duration::from_millis(20));
    Data::Empty
}

fn write() {
    // SAFETY: there is none, on purpose.
    unsafe { *SHARED.0.get() += 1 };
}
