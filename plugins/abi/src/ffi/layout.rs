//! What crosses the boundary between the proxy and a shared library, bit for bit. `include/prism_plugin.h` is
//! made from this file, so what is said here is said to C as well.
//!
//! Rules for all of it:
//! * Structs that are passed by pointer begin with their size in bytes. A reader looks at no field that lies
//!   beyond the size that it was given: a later minor version appends fields and never moves one. `prism_str`,
//!   `prism_buffer` and `prism_data` are passed by value and change with the major version only.
//! * A function pointer may be null only where that is said.
//! * Text is UTF-8 and ends with its length, not with a zero byte.
//! * No function unwinds into its caller, and none blocks.

use std::ffi::c_void;

/// Both sides must have the same one.
pub const PRISM_ABI_MAJOR: u16 = 1;
/// What this header has; a plugin says in its note which one it needs at least.
pub const PRISM_ABI_MINOR: u16 = 0;

/// A future is not ready: the waker will be woken.
pub const PRISM_PENDING: i32 = 0;
/// There is an answer, or an item of a stream.
pub const PRISM_READY: i32 = 1;
/// A stream has ended in good order.
pub const PRISM_END: i32 = 2;

/// `prism_data.kind`: neither parameters nor a result.
pub const PRISM_EMPTY: u32 = 0;
/// `prism_data.kind`: a protobuf message of the type that `type_url` names.
pub const PRISM_TYPED: u32 = 1;
/// `prism_data.kind`: bytes that only the two ends understand.
pub const PRISM_RAW: u32 = 2;

/// `prism_reply.scope`: the operation failed; the caller gets the error inside the answer.
pub const PRISM_OPERATION: u32 = 0;
/// `prism_reply.scope`: the call never became an operation; the error is the call's own status.
pub const PRISM_CHANNEL: u32 = 1;

/// `prism_context.deadline_ns` of a call that has no deadline.
pub const PRISM_NO_DEADLINE: u64 = u64::MAX;

/// `prism_note.panic`: panics unwind (or there are none, as in C).
pub const PRISM_UNWINDS: u32 = 1;
/// `prism_note.panic`: a panic ends the process. Such a library is refused.
pub const PRISM_ABORTS: u32 = 2;

/// The type of the ELF note in section `.note.prism.plugin`; its name is `PRISM`.
pub const PRISM_NOTE_TYPE: u32 = 1;

/// Borrowed text. Null data with length 0 is "none", where there may be none.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Str {
    /// Where it begins.
    pub data: *const u8,
    /// How many bytes.
    pub len: usize,
}

/// Bytes and who owns them. Whoever has a buffer calls `release` on it once, on any thread.
#[repr(C)]
pub struct Buffer {
    /// Where they begin. Never inside this struct, so a buffer may be moved bit for bit.
    pub data: *const u8,
    /// How many.
    pub len: usize,
    /// Of its creator. Null: nothing to release, the bytes live as long as the process.
    pub vtable: *const BufferVtable,
    /// The creator's own; nobody else reads it.
    pub owner: [usize; 4],
}

/// What a creator of buffers provides, in static memory.
#[repr(C)]
pub struct BufferVtable {
    /// Of this struct.
    pub size: usize,
    /// Gives the bytes back. Once for each buffer, on any thread.
    pub release: Option<unsafe extern "C" fn(buffer: *mut Buffer)>,
}

/// Parameters or a result. The array and the text are lent, the buffers in it are handed over: the receiver moves
/// each of them out, or releases it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Data {
    /// `PRISM_EMPTY`, `PRISM_TYPED` or `PRISM_RAW`.
    pub kind: u32,
    /// Of a typed one.
    pub type_url: Str,
    /// The pieces, in order; a message of many DATA frames has many.
    pub buffers: *mut Buffer,
    /// How many pieces.
    pub count: usize,
}

/// A metadata entry.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its name.
    pub key: Str,
    /// Its value.
    pub value: Str,
}

/// One request message: an operation and its parameters.
#[repr(C)]
pub struct Request {
    /// Of this struct.
    pub size: usize,
    /// The operation's name; empty in later messages of a stream.
    pub operation: Str,
    /// Its parameters.
    pub params: Data,
    /// What the client says besides; its word and nothing more.
    pub metadata: *const Entry,
    /// How many entries.
    pub metadata_count: usize,
}

/// What the proxy vouches for in a call.
#[repr(C)]
pub struct Context {
    /// Of this struct.
    pub size: usize,
    /// The instance that answers.
    pub instance: u64,
    /// The namespace.
    pub namespace: Str,
    /// Who calls; none when nothing authenticated the call.
    pub principal: Str,
    /// As in the access log.
    pub request_id: Str,
    /// W3C `traceparent`; may be empty.
    pub traceparent: Str,
    /// Nanoseconds that the caller still waits; `PRISM_NO_DEADLINE` when it does not say.
    pub deadline_ns: u64,
}

/// An answer or an item of a stream, written by the plugin when it returns `PRISM_READY` and not before. What it
/// points to stays until the next call on the same object, or its drop; its buffers are the proxy's from then on.
#[repr(C)]
pub struct Reply {
    /// Of this struct, set by the caller.
    pub size: usize,
    /// 0, or a `google.rpc.Code`.
    pub code: i32,
    /// Of an error: `PRISM_OPERATION` or `PRISM_CHANNEL`.
    pub scope: u32,
    /// Of an error.
    pub message: Str,
    /// Of a success.
    pub data: Data,
    /// The answers of `execute_stream`, on success; the caller's from then on.
    pub stream: *mut Stream,
}

/// Who is to be woken. Lent for the length of a poll: clone it to keep it.
#[repr(C)]
pub struct Waker {
    /// Of its creator; what follows is the creator's own.
    pub vtable: *const WakerVtable,
}

/// All of it may be called on any thread, also after the call is dropped.
#[repr(C)]
pub struct WakerVtable {
    /// Of this struct.
    pub size: usize,
    /// One more, to be woken or dropped once.
    pub clone: Option<unsafe extern "C" fn(waker: *const Waker) -> *const Waker>,
    /// Wakes and drops.
    pub wake: Option<unsafe extern "C" fn(waker: *const Waker)>,
    /// Wakes.
    pub wake_by_ref: Option<unsafe extern "C" fn(waker: *const Waker)>,
    /// Drops a clone.
    pub drop: Option<unsafe extern "C" fn(waker: *const Waker)>,
}

/// A call under way: polled by one thread at a time, dropped exactly once; dropping it cancels it.
#[repr(C)]
pub struct Call {
    /// Of its creator; what follows is the creator's own.
    pub vtable: *const CallVtable,
}

/// What a call can do.
#[repr(C)]
pub struct CallVtable {
    /// Of this struct.
    pub size: usize,
    /// `PRISM_PENDING`, or `PRISM_READY` with the reply written. Not called again after that.
    pub poll: Option<unsafe extern "C" fn(call: *mut Call, waker: *const Waker, reply: *mut Reply) -> i32>,
    /// The caller has its answer, or does not want it any more.
    pub drop: Option<unsafe extern "C" fn(call: *mut Call)>,
}

/// A plugin's answers, pulled by the proxy. "Not polled" is back-pressure, "dropped" is cancellation.
#[repr(C)]
pub struct Stream {
    /// Of its creator; what follows is the creator's own.
    pub vtable: *const StreamVtable,
}

/// What a stream can do.
#[repr(C)]
pub struct StreamVtable {
    /// Of this struct.
    pub size: usize,
    /// `PRISM_PENDING`; `PRISM_READY` with an item, or with an error that is the last one; `PRISM_END`.
    pub poll_next:
        Option<unsafe extern "C" fn(stream: *mut Stream, waker: *const Waker, reply: *mut Reply) -> i32>,
    /// Nobody wants more of it.
    pub drop: Option<unsafe extern "C" fn(stream: *mut Stream)>,
}

/// The client's messages after the first, pulled by the plugin, which owns it. On any one thread at a time.
#[repr(C)]
pub struct Source {
    /// Of its creator; what follows is the creator's own.
    pub vtable: *const SourceVtable,
}

/// What a source can do.
#[repr(C)]
pub struct SourceVtable {
    /// Of this struct.
    pub size: usize,
    /// `PRISM_PENDING`; `PRISM_READY` with a message; `PRISM_END`. A failed client is `PRISM_READY` with `error`
    /// set and nothing else. What the message points to stays until the next call on the source.
    pub poll_next:
        Option<unsafe extern "C" fn(source: *mut Source, waker: *const Waker, message: *mut Message) -> i32>,
    /// The plugin wants no more.
    pub drop: Option<unsafe extern "C" fn(source: *mut Source)>,
}

/// A message out of a source.
#[repr(C)]
pub struct Message {
    /// Of this struct, set by the caller.
    pub size: usize,
    /// 0, or the `google.rpc.Code` of what went wrong on the client's side.
    pub code: i32,
    /// Of an error.
    pub error: Str,
    /// Of a message.
    pub request: Request,
}

/// A plugin; what it is made of is its own.
pub struct Plugin {
    _opaque: (),
}

/// What a plugin can do, in static memory. The calls of the first group carry the encoded messages of
/// `prism.plugin.BackendPlugin`, request and answer (in `prism_reply.data`, raw); they are few, so nothing is
/// gained by a form of their own. A null call is a failure.
#[repr(C)]
pub struct PluginVtable {
    /// Of this struct.
    pub size: usize,
    /// `DescribeRequest`, `DescribeResponse`. The bytes are lent until the function returns, here and below.
    /// Must not be null, like `initialize`, `health` and `execute`; where another one is null, the plugin does not
    /// have what it is for.
    pub describe: Option<unsafe extern "C" fn(plugin: *mut Plugin, bytes: Str) -> *mut Call>,
    /// `InitializeRequest`, `InitializeResponse`.
    pub initialize: Option<unsafe extern "C" fn(plugin: *mut Plugin, bytes: Str) -> *mut Call>,
    /// `HealthCheckRequest`, `HealthCheckResponse`.
    pub health: Option<unsafe extern "C" fn(plugin: *mut Plugin, bytes: Str) -> *mut Call>,
    /// `GetMetricsRequest`, `PluginMetrics`.
    pub metrics: Option<unsafe extern "C" fn(plugin: *mut Plugin, bytes: Str) -> *mut Call>,
    /// `ShutdownRequest`, `ShutdownResponse`.
    pub shutdown: Option<unsafe extern "C" fn(plugin: *mut Plugin, bytes: Str) -> *mut Call>,
    /// A unary operation. Context and request are lent until the function returns; the buffers are handed over.
    pub execute: Option<
        unsafe extern "C" fn(
            plugin: *mut Plugin,
            context: *const Context,
            request: *mut Request,
        ) -> *mut Call,
    >,
    /// A streaming operation, its call answered by a stream. The request is the first message; the source is the
    /// plugin's from now on, whatever comes of the call.
    pub execute_stream: Option<
        unsafe extern "C" fn(
            plugin: *mut Plugin,
            context: *const Context,
            request: *mut Request,
            source: *mut Source,
        ) -> *mut Call,
    >,
    /// Ends the plugin. Every call and stream is gone by then, and no other function of this table is called any more.
    /// Buffers that were handed over may still be read, and are released when they were.
    pub destroy: Option<unsafe extern "C" fn(plugin: *mut Plugin)>,
}

/// What the proxy offers to a plugin, for the life of the process.
#[repr(C)]
pub struct Host {
    /// Of this struct.
    pub size: usize,
    /// The proxy's own.
    pub host: *mut c_void,
    /// A line for the proxy's log: 1 error, 2 warning, 3 info, 4 debug. On any thread.
    pub log: Option<unsafe extern "C" fn(host: *mut c_void, level: u32, message: Str)>,
}

/// What the entry function fills in.
#[repr(C)]
pub struct Loaded {
    /// Of this struct, set by the proxy.
    pub size: usize,
    /// Given to each function of `vtable`.
    pub plugin: *mut Plugin,
    /// In static memory.
    pub vtable: *const PluginVtable,
}

/// The one exported function of a library, under the name that its note gives. 0: done; anything else: refused.
pub type EntryFn = unsafe extern "C" fn(host: *const Host, loaded: *mut Loaded) -> i32;

/// What a library says of itself in the ELF note `.note.prism.plugin`, to be read before any of it runs. Text is
/// padded with zero bytes and has at least one.
#[repr(C)]
pub struct Note {
    /// Of the note's name, `PRISM` and a zero byte: 6.
    pub name_size: u32,
    /// Of what follows the name.
    pub description_size: u32,
    /// `PRISM_NOTE_TYPE`.
    pub kind: u32,
    /// `PRISM`, padded to four bytes.
    pub name: [u8; 8],
    /// `PRISM_ABI_MAJOR` of the plugin.
    pub abi_major: u16,
    /// The minor version that it needs at least.
    pub abi_minor: u16,
    /// `PRISM_UNWINDS` or `PRISM_ABORTS`.
    pub panic: u32,
    /// The exported entry function.
    pub entry: [u8; 64],
    /// The plugin's name.
    pub plugin: [u8; 64],
    /// The plugin's version.
    pub version: [u8; 32],
}

impl Str {
    /// None.
    pub const NONE: Self = Self { data: std::ptr::null(), len: 0 };

    /// Lends `bytes`; the caller sees to it that they outlive the receiver's use.
    #[must_use]
    pub const fn of(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), len: bytes.len() }
    }
}

impl Data {
    /// Nothing.
    pub const EMPTY: Self =
        Self { kind: PRISM_EMPTY, type_url: Str::NONE, buffers: std::ptr::null_mut(), count: 0 };
}

impl Reply {
    /// For a callee to write.
    #[must_use]
    pub const fn unwritten() -> Self {
        Self {
            size: size_of::<Self>(),
            code: 0,
            scope: PRISM_OPERATION,
            message: Str::NONE,
            data: Data::EMPTY,
            stream: std::ptr::null_mut(),
        }
    }
}

impl Request {
    /// For a callee to write, or for a caller to fill.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            size: size_of::<Self>(),
            operation: Str::NONE,
            params: Data::EMPTY,
            metadata: std::ptr::null(),
            metadata_count: 0,
        }
    }
}

impl Message {
    /// For a callee to write.
    #[must_use]
    pub const fn unwritten() -> Self {
        Self { size: size_of::<Self>(), code: 0, error: Str::NONE, request: Request::empty() }
    }
}

impl Note {
    /// The size of what follows the note's name.
    pub const DESCRIPTION_SIZE: usize = size_of::<Self>() - 20;

    /// A note for this version of the ABI.
    ///
    /// # Panics
    /// At compile time, when a text is too long.
    #[must_use]
    pub const fn new(entry: &str, plugin: &str, version: &str, panic: u32) -> Self {
        Self {
            name_size: 6,
            #[allow(clippy::cast_possible_truncation)] // 168
            description_size: Self::DESCRIPTION_SIZE as u32,
            kind: PRISM_NOTE_TYPE,
            name: *b"PRISM\0\0\0",
            abi_major: PRISM_ABI_MAJOR,
            abi_minor: PRISM_ABI_MINOR,
            panic,
            entry: padded(entry),
            plugin: padded(plugin),
            version: padded(version),
        }
    }
}

const fn padded<const N: usize>(text: &str) -> [u8; N] {
    let bytes = text.as_bytes();
    assert!(bytes.len() < N, "a text of the plugin's note is too long");
    let mut field = [0; N];
    let mut at = 0;
    while at < bytes.len() {
        field[at] = bytes[at];
        at += 1;
    }
    field
}

// What C sees of them; a change here is a change of the major version.
const _: () = {
    assert!(size_of::<Buffer>() == 7 * size_of::<usize>());
    assert!(size_of::<Data>() == 5 * size_of::<usize>());
    assert!(size_of::<Note>() == 20 + 168 && align_of::<Note>() == 4);
};
