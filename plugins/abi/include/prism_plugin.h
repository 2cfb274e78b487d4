/* The boundary between Prism Edge and a plugin in a shared library: version 1.0.
 *
 * Made from plugins/abi/src/ffi/layout.rs; do not edit. docs/plugins.md has a plugin in C. */

#ifndef PRISM_PLUGIN_H
#define PRISM_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

struct prism_str;
struct prism_buffer;
struct prism_buffer_vtable;
struct prism_data;
struct prism_entry;
struct prism_request;
struct prism_context;
struct prism_reply;
struct prism_waker;
struct prism_waker_vtable;
struct prism_call;
struct prism_call_vtable;
struct prism_stream;
struct prism_stream_vtable;
struct prism_source;
struct prism_source_vtable;
struct prism_message;
struct prism_plugin_vtable;
struct prism_host;
struct prism_loaded;
struct prism_note;

// Both sides must have the same one.
#define PRISM_ABI_MAJOR 1

// What this header has; a plugin says in its note which one it needs at least.
#define PRISM_ABI_MINOR 0

// A future is not ready: the waker will be woken.
#define PRISM_PENDING 0

// There is an answer, or an item of a stream.
#define PRISM_READY 1

// A stream has ended in good order.
#define PRISM_END 2

// `prism_data.kind`: neither parameters nor a result.
#define PRISM_EMPTY 0

// `prism_data.kind`: a protobuf message of the type that `type_url` names.
#define PRISM_TYPED 1

// `prism_data.kind`: bytes that only the two ends understand.
#define PRISM_RAW 2

// `prism_reply.scope`: the operation failed; the caller gets the error inside the answer.
#define PRISM_OPERATION 0

// `prism_reply.scope`: the call never became an operation; the error is the call's own status.
#define PRISM_CHANNEL 1

// `prism_context.deadline_ns` of a call that has no deadline.
#define PRISM_NO_DEADLINE UINT64_MAX

// `prism_note.panic`: panics unwind (or there are none, as in C).
#define PRISM_UNWINDS 1

// `prism_note.panic`: a panic ends the process. Such a library is refused.
#define PRISM_ABORTS 2

// The type of the ELF note in section `.note.prism.plugin`; its name is `PRISM`.
#define PRISM_NOTE_TYPE 1

// A plugin; what it is made of is its own.
typedef struct prism_plugin prism_plugin;

// Borrowed text. Null data with length 0 is "none", where there may be none.
typedef struct prism_str {
  // Where it begins.
  const uint8_t *data;
  // How many bytes.
  size_t len;
} prism_str;

// What a creator of buffers provides, in static memory.
typedef struct prism_buffer_vtable {
  // Of this struct.
  size_t size;
  // Gives the bytes back. Once for each buffer, on any thread.
  void (*release)(struct prism_buffer *buffer);
} prism_buffer_vtable;

// Bytes and who owns them. Whoever has a buffer calls `release` on it once, on any thread.
typedef struct prism_buffer {
  // Where they begin. Never inside this struct, so a buffer may be moved bit for bit.
  const uint8_t *data;
  // How many.
  size_t len;
  // Of its creator. Null: nothing to release, the bytes live as long as the process.
  const struct prism_buffer_vtable *vtable;
  // The creator's own; nobody else reads it.
  size_t owner[4];
} prism_buffer;

// Parameters or a result. The array and the text are lent, the buffers in it are handed over: the receiver moves
// each of them out, or releases it.
typedef struct prism_data {
  // `PRISM_EMPTY`, `PRISM_TYPED` or `PRISM_RAW`.
  uint32_t kind;
  // Of a typed one.
  struct prism_str type_url;
  // The pieces, in order; a message of many DATA frames has many.
  struct prism_buffer *buffers;
  // How many pieces.
  size_t count;
} prism_data;

// A metadata entry.
typedef struct prism_entry {
  // Its name.
  struct prism_str key;
  // Its value.
  struct prism_str value;
} prism_entry;

// One request message: an operation and its parameters.
typedef struct prism_request {
  // Of this struct.
  size_t size;
  // The operation's name; empty in later messages of a stream.
  struct prism_str operation;
  // Its parameters.
  struct prism_data params;
  // What the client says besides; its word and nothing more.
  const struct prism_entry *metadata;
  // How many entries.
  size_t metadata_count;
} prism_request;

// What the proxy vouches for in a call.
typedef struct prism_context {
  // Of this struct.
  size_t size;
  // The instance that answers.
  uint64_t instance;
  // The namespace.
  struct prism_str namespace_;
  // Who calls; none when nothing authenticated the call.
  struct prism_str principal;
  // As in the access log.
  struct prism_str request_id;
  // W3C `traceparent`; may be empty.
  struct prism_str traceparent;
  // Nanoseconds that the caller still waits; `PRISM_NO_DEADLINE` when it does not say.
  uint64_t deadline_ns;
} prism_context;

// All of it may be called on any thread, also after the call is dropped.
typedef struct prism_waker_vtable {
  // Of this struct.
  size_t size;
  // One more, to be woken or dropped once.
  const struct prism_waker *(*clone)(const struct prism_waker *waker);
  // Wakes and drops.
  void (*wake)(const struct prism_waker *waker);
  // Wakes.
  void (*wake_by_ref)(const struct prism_waker *waker);
  // Drops a clone.
  void (*drop)(const struct prism_waker *waker);
} prism_waker_vtable;

// Who is to be woken. Lent for the length of a poll: clone it to keep it.
typedef struct prism_waker {
  // Of its creator; what follows is the creator's own.
  const struct prism_waker_vtable *vtable;
} prism_waker;

// What a stream can do.
typedef struct prism_stream_vtable {
  // Of this struct.
  size_t size;
  // `PRISM_PENDING`; `PRISM_READY` with an item, or with an error that is the last one; `PRISM_END`.
  int32_t (*poll_next)(struct prism_stream *stream,
                       const struct prism_waker *waker,
                       struct prism_reply *reply);
  // Nobody wants more of it.
  void (*drop)(struct prism_stream *stream);
} prism_stream_vtable;

// A plugin's answers, pulled by the proxy. "Not polled" is back-pressure, "dropped" is cancellation.
typedef struct prism_stream {
  // Of its creator; what follows is the creator's own.
  const struct prism_stream_vtable *vtable;
} prism_stream;

// An answer or an item of a stream, written by the plugin when it returns `PRISM_READY` and not before. What it
// points to stays until the next call on the same object, or its drop; its buffers are the proxy's from then on.
typedef struct prism_reply {
  // Of this struct, set by the caller.
  size_t size;
  // 0, or a `google.rpc.Code`.
  int32_t code;
  // Of an error: `PRISM_OPERATION` or `PRISM_CHANNEL`.
  uint32_t scope;
  // Of an error.
  struct prism_str message;
  // Of a success.
  struct prism_data data;
  // The answers of `execute_stream`, on success; the caller's from then on.
  struct prism_stream *stream;
} prism_reply;

// What a call can do.
typedef struct prism_call_vtable {
  // Of this struct.
  size_t size;
  // `PRISM_PENDING`, or `PRISM_READY` with the reply written. Not called again after that.
  int32_t (*poll)(struct prism_call *call,
                  const struct prism_waker *waker,
                  struct prism_reply *reply);
  // The caller has its answer, or does not want it any more.
  void (*drop)(struct prism_call *call);
} prism_call_vtable;

// A call under way: polled by one thread at a time, dropped exactly once; dropping it cancels it.
typedef struct prism_call {
  // Of its creator; what follows is the creator's own.
  const struct prism_call_vtable *vtable;
} prism_call;

// A message out of a source.
typedef struct prism_message {
  // Of this struct, set by the caller.
  size_t size;
  // 0, or the `google.rpc.Code` of what went wrong on the client's side.
  int32_t code;
  // Of an error.
  struct prism_str error;
  // Of a message.
  struct prism_request request;
} prism_message;

// What a source can do.
typedef struct prism_source_vtable {
  // Of this struct.
  size_t size;
  // `PRISM_PENDING`; `PRISM_READY` with a message; `PRISM_END`. A failed client is `PRISM_READY` with `error`
  // set and nothing else. What the message points to stays until the next call on the source.
  int32_t (*poll_next)(struct prism_source *source,
                       const struct prism_waker *waker,
                       struct prism_message *message);
  // The plugin wants no more.
  void (*drop)(struct prism_source *source);
} prism_source_vtable;

// The client's messages after the first, pulled by the plugin, which owns it. On any one thread at a time.
typedef struct prism_source {
  // Of its creator; what follows is the creator's own.
  const struct prism_source_vtable *vtable;
} prism_source;

// What a plugin can do, in static memory. The calls of the first group carry the encoded messages of
// `prism.plugin.BackendPlugin`, request and answer (in `prism_reply.data`, raw); they are few, so nothing is
// gained by a form of their own. A null call is a failure.
typedef struct prism_plugin_vtable {
  // Of this struct.
  size_t size;
  // `DescribeRequest`, `DescribeResponse`. The bytes are lent until the function returns, here and below.
  // Must not be null, like `initialize`, `health` and `execute`; where another one is null, the plugin does not
  // have what it is for.
  struct prism_call *(*describe)(struct prism_plugin *plugin, struct prism_str bytes);
  // `InitializeRequest`, `InitializeResponse`.
  struct prism_call *(*initialize)(struct prism_plugin *plugin, struct prism_str bytes);
  // `HealthCheckRequest`, `HealthCheckResponse`.
  struct prism_call *(*health)(struct prism_plugin *plugin, struct prism_str bytes);
  // `GetMetricsRequest`, `PluginMetrics`.
  struct prism_call *(*metrics)(struct prism_plugin *plugin, struct prism_str bytes);
  // `ShutdownRequest`, `ShutdownResponse`.
  struct prism_call *(*shutdown)(struct prism_plugin *plugin, struct prism_str bytes);
  // A unary operation. Context and request are lent until the function returns; the buffers are handed over.
  struct prism_call *(*execute)(struct prism_plugin *plugin,
                                const struct prism_context *context,
                                struct prism_request *request);
  // A streaming operation, its call answered by a stream. The request is the first message; the source is the
  // plugin's from now on, whatever comes of the call.
  struct prism_call *(*execute_stream)(struct prism_plugin *plugin,
                                       const struct prism_context *context,
                                       struct prism_request *request,
                                       struct prism_source *source);
  // Ends the plugin. Every call and stream is gone by then, and no other function of this table is called any more.
  // Buffers that were handed over may still be read, and are released when they were.
  void (*destroy)(struct prism_plugin *plugin);
} prism_plugin_vtable;

// What the proxy offers to a plugin, for the life of the process.
typedef struct prism_host {
  // Of this struct.
  size_t size;
  // The proxy's own.
  void *host;
  // A line for the proxy's log: 1 error, 2 warning, 3 info, 4 debug. On any thread.
  void (*log)(void *host, uint32_t level, struct prism_str message);
} prism_host;

// What the entry function fills in.
typedef struct prism_loaded {
  // Of this struct, set by the proxy.
  size_t size;
  // Given to each function of `vtable`.
  struct prism_plugin *plugin;
  // In static memory.
  const struct prism_plugin_vtable *vtable;
} prism_loaded;

// The one exported function of a library, under the name that its note gives. 0: done; anything else: refused.
typedef int32_t (*prism_entry_fn)(const struct prism_host *host, struct prism_loaded *loaded);

// What a library says of itself in the ELF note `.note.prism.plugin`, to be read before any of it runs. Text is
// padded with zero bytes and has at least one.
typedef struct prism_note {
  // Of the note's name, `PRISM` and a zero byte: 6.
  uint32_t name_size;
  // Of what follows the name.
  uint32_t description_size;
  // `PRISM_NOTE_TYPE`.
  uint32_t kind;
  // `PRISM`, padded to four bytes.
  uint8_t name[8];
  // `PRISM_ABI_MAJOR` of the plugin.
  uint16_t abi_major;
  // The minor version that it needs at least.
  uint16_t abi_minor;
  // `PRISM_UNWINDS` or `PRISM_ABORTS`.
  uint32_t panic;
  // The exported entry function.
  uint8_t entry[64];
  // The plugin's name.
  uint8_t plugin[64];
  // The plugin's version.
  uint8_t version[32];
} prism_note;


#endif  /* PRISM_PLUGIN_H */
