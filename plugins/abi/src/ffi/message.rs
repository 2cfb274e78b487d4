//! Requests and contexts over the boundary.

use super::{
    MAX_MESSAGE_BYTES,
    data::{Incoming, Outgoing},
    layout::{Context, Entry, PRISM_NO_DEADLINE, Request as Ffi, Str},
    text::{Broken, Texts},
};
use crate::{CallContext, InstanceId, Request};
use bytestring::ByteString;
use std::{
    ptr,
    time::{Duration, Instant},
};

/// The most entries of metadata: each is four bytes of a message at least. It is a client that sends them, and the
/// namespace's limit of a message's length that bounds them.
const MAX_ENTRIES: usize = MAX_MESSAGE_BYTES / 4;

/// Keeps what a request points to.
pub(super) struct OutgoingRequest {
    operation: ByteString,
    metadata: Vec<(ByteString, ByteString)>,
    entries: Vec<Entry>,
    params: Outgoing,
}

impl OutgoingRequest {
    pub(super) fn new() -> Self {
        Self {
            operation: ByteString::new(),
            metadata: Vec::new(),
            entries: Vec::new(),
            params: Outgoing::new(),
        }
    }

    /// What the other side is told, under the rules of [`Outgoing::lend`].
    pub(super) fn lend(&mut self, request: Request) -> Ffi {
        self.operation = request.operation;
        self.metadata = request.metadata;
        self.entries.clear();
        self.entries.extend(
            self.metadata
                .iter()
                .map(|(key, value)| Entry { key: Str::of(key.as_bytes()), value: Str::of(value.as_bytes()) }),
        );
        Ffi {
            size: size_of::<Ffi>(),
            operation: Str::of(self.operation.as_bytes()),
            params: self.params.lend(request.params),
            metadata: if self.entries.is_empty() { ptr::null() } else { self.entries.as_ptr() },
            metadata_count: self.entries.len(),
        }
    }
}

/// Lends a context.
pub(super) fn lend_context(context: &CallContext, now: impl FnOnce() -> Instant) -> Context {
    Context {
        size: size_of::<Context>(),
        instance: context.instance.0,
        namespace: Str::of(context.namespace.as_bytes()),
        principal: context.principal.as_ref().map_or(Str::NONE, |name| Str::of(name.as_bytes())),
        request_id: Str::of(context.request_id.as_bytes()),
        traceparent: Str::of(context.traceparent.as_bytes()),
        deadline_ns: context.deadline.map_or(PRISM_NO_DEADLINE, |deadline| {
            let left = deadline.saturating_duration_since(now()).as_nanos();
            u64::try_from(left).unwrap_or(PRISM_NO_DEADLINE - 1).min(PRISM_NO_DEADLINE - 1)
        }),
    }
}

/// Reads a request without its context.
///
/// # Safety
/// All that it points to is null or valid; its buffers are handed over.
pub(super) unsafe fn read_request(request: &Ffi) -> Result<Request, Broken> {
    let mut texts = Texts::new(MAX_MESSAGE_BYTES);
    // SAFETY: the caller's promise is the same.
    let noted = unsafe { Noted::read(request, &mut texts) }?;
    let texts = texts.copy();
    Ok(noted.finish(&texts))
}

/// Reads a request and its context, with one copy of all their texts.
///
/// # Safety
/// As for [`read_request`].
pub(super) unsafe fn read_call(
    context: &Context,
    request: &Ffi,
    now: impl FnOnce() -> Instant,
) -> Result<(CallContext, Request), Broken> {
    let mut texts = Texts::new(MAX_MESSAGE_BYTES);
    // First, because it takes the buffers whatever comes after.
    // SAFETY: the caller's promise is the same.
    let request = unsafe { Noted::read(request, &mut texts) }?;
    // SAFETY: as above.
    let [namespace, principal, request_id, traceparent] = unsafe {
        [
            texts.add(context.namespace)?,
            texts.add(context.principal)?,
            texts.add(context.request_id)?,
            texts.add(context.traceparent)?,
        ]
    };
    let deadline = (context.deadline_ns != PRISM_NO_DEADLINE)
        // A time beyond what the clock can hold is no deadline.
        .then(|| now().checked_add(Duration::from_nanos(context.deadline_ns)))
        .flatten();
    let texts = texts.copy();
    let text = |range| texts.get(range).unwrap_or_default();
    let context = CallContext {
        instance: InstanceId(context.instance),
        namespace: text(namespace),
        principal: texts.get(principal),
        request_id: text(request_id),
        traceparent: text(traceparent),
        deadline,
    };
    Ok((context, request.finish(&texts)))
}

type Range = Option<std::ops::Range<usize>>;

/// A request whose texts are not copied yet.
struct Noted {
    operation: Range,
    params: Incoming,
    metadata: Vec<(Range, Range)>,
}

impl Noted {
    /// # Safety
    /// As for [`read_request`]; texts are valid for `'a`.
    unsafe fn read<'a>(request: &Ffi, texts: &mut Texts<'a>) -> Result<Self, Broken> {
        // SAFETY: the caller's promise is the same. First, because it takes the buffers whatever comes after.
        let params = unsafe { Incoming::read(request.params, texts) }?;
        // SAFETY: as above.
        let operation = unsafe { texts.add(request.operation) }?;
        let mut metadata = Vec::new();
        if request.metadata_count > 0 {
            if request.metadata.is_null() {
                return Err(Broken("a null pointer stands for metadata"));
            }
            if request.metadata_count > MAX_ENTRIES {
                return Err(Broken("more metadata than a message may have"));
            }
            metadata.reserve_exact(request.metadata_count);
            for at in 0..request.metadata_count {
                // SAFETY: `at` is below the number of entries.
                let entry = unsafe { *request.metadata.add(at) };
                // SAFETY: as for the operation.
                metadata.push(unsafe { (texts.add(entry.key)?, texts.add(entry.value)?) });
            }
        }
        Ok(Self { operation, params, metadata })
    }

    fn finish(self, texts: &super::text::Copied) -> Request {
        let text = |range| texts.get(range).unwrap_or_default();
        Request {
            operation: text(self.operation),
            params: self.params.finish(texts),
            metadata: self.metadata.into_iter().map(|(key, value)| (text(key), text(value))).collect(),
        }
    }
}
