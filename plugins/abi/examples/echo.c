/* A whole plugin in C, against include/prism_plugin.h: it answers with what it was sent, unary and streaming, and
 * copies none of it.
 *
 *     cc -shared -fPIC -O2 -fvisibility=hidden -I plugins/abi/include -o libecho.so plugins/abi/examples/echo.c
 *
 * Control calls carry messages of proto/prism/plugin/plugin.proto. There are few fields to read and to write, so this
 * does it by hand; a larger plugin would use a protobuf library. */
#include "prism_plugin.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MAX_INSTANCES 64

/* google.rpc.Code */
enum { INVALID_ARGUMENT = 3, RESOURCE_EXHAUSTED = 8, FAILED_PRECONDITION = 9, UNIMPLEMENTED = 12 };

static struct {
    pthread_mutex_t lock;
    uint64_t numbers[MAX_INSTANCES];
    size_t count;
} instances = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool known(uint64_t number) {
    bool found = false;
    pthread_mutex_lock(&instances.lock);
    for (size_t at = 0; at < instances.count; at++) found |= instances.numbers[at] == number;
    pthread_mutex_unlock(&instances.lock);
    return found;
}

/* False: there are too many. One that is known stays as it is. */
static bool add(uint64_t number) {
    if (known(number)) return true;
    pthread_mutex_lock(&instances.lock);
    bool room = instances.count < MAX_INSTANCES;
    if (room) instances.numbers[instances.count++] = number;
    pthread_mutex_unlock(&instances.lock);
    return room;
}

static void retire(uint64_t number) {
    pthread_mutex_lock(&instances.lock);
    for (size_t at = 0; at < instances.count; at++)
        if (instances.numbers[at] == number) instances.numbers[at] = instances.numbers[--instances.count];
    pthread_mutex_unlock(&instances.lock);
}

static bool is(prism_str text, const char *word) {
    return text.len == strlen(word) && memcmp(text.data, word, text.len) == 0;
}

/* A call that has its answer from the start. */
struct call {
    prism_call head; /* first: the proxy sees no more */
    int32_t code;
    uint32_t scope;
    const char *message;
    prism_data data;
    prism_buffer *buffers; /* what `data` points to, where that is ours to free */
    prism_stream *stream;
    prism_buffer one;
};

static void drop_stream(prism_stream *stream);
static void release_all(prism_buffer *buffers, size_t count) {
    for (size_t at = 0; at < count; at++)
        if (buffers[at].vtable) buffers[at].vtable->release(&buffers[at]);
}

static int32_t poll_call(prism_call *head, const prism_waker *waker, prism_reply *reply) {
    struct call *call = (struct call *)head;
    (void)waker; /* never pending */
    reply->code = call->code;
    reply->scope = call->scope;
    if (call->message) reply->message = (prism_str){(const uint8_t *)call->message, strlen(call->message)};
    reply->data = call->data;
    reply->stream = call->stream;
    /* Theirs from here on. */
    call->data.count = 0;
    call->stream = NULL;
    return PRISM_READY;
}

static void drop_call(prism_call *head) {
    struct call *call = (struct call *)head;
    release_all(call->data.buffers, call->data.count);
    if (call->stream) drop_stream(call->stream);
    free(call->buffers);
    free(call);
}

static const prism_call_vtable call_vtable = {sizeof call_vtable, poll_call, drop_call};

static struct call *new_call(void) {
    struct call *call = calloc(1, sizeof *call);
    if (call) call->head.vtable = &call_vtable;
    return call; /* a null call is a failed one */
}

static prism_call *fail(int32_t code, uint32_t scope, const char *message) {
    struct call *call = new_call();
    if (call) call->code = code, call->scope = scope, call->message = message;
    return (prism_call *)call;
}

/* Bytes from malloc. */
static void release_heap(prism_buffer *buffer) { free((void *)buffer->owner[0]); }
static const prism_buffer_vtable heap = {sizeof heap, release_heap};

/* Bytes that live as long as the library, which is never unloaded. */
static prism_call *answer_static(const char *bytes, size_t len) {
    struct call *call = new_call();
    if (call) {
        call->one = (prism_buffer){.data = (const uint8_t *)bytes, .len = len};
        call->data = (prism_data){.kind = PRISM_RAW, .buffers = &call->one, .count = 1};
    }
    return (prism_call *)call;
}

/* Copies the buffers' descriptions, not what they describe. Null when there is no memory. */
static prism_buffer *take(prism_data data) {
    prism_buffer *buffers = malloc((data.count ? data.count : 1) * sizeof *buffers);
    if (buffers)
        memcpy(buffers, data.buffers, data.count * sizeof *buffers);
    else
        release_all(data.buffers, data.count);
    return buffers;
}

static prism_call *echo(prism_data data) {
    if (data.kind == PRISM_TYPED) {
        release_all(data.buffers, data.count);
        return fail(INVALID_ARGUMENT, PRISM_OPERATION, "echo takes raw bytes");
    }
    struct call *call = new_call();
    prism_buffer *buffers = call ? take(data) : NULL;
    if (!buffers) {
        if (!call) release_all(data.buffers, data.count);
        free(call);
        return NULL;
    }
    call->buffers = buffers;
    call->data = (prism_data){.kind = PRISM_RAW, .buffers = buffers, .count = data.count};
    return (prism_call *)call;
}

/* --- streams: each message comes back as it is --- */

struct stream {
    prism_stream head;
    prism_source *source;
    bool first_sent;
    prism_data first;
    prism_buffer *first_buffers;
};

static int32_t poll_stream(prism_stream *head, const prism_waker *waker, prism_reply *reply) {
    struct stream *stream = (struct stream *)head;
    if (!stream->first_sent) {
        stream->first_sent = true;
        reply->data = stream->first;
        return PRISM_READY;
    }
    prism_message message = {.size = sizeof message, .request = {.size = sizeof message.request}};
    /* The proxy's waker goes straight to the proxy's source: whoever has a message wakes the stream. */
    int32_t polled = stream->source->vtable->poll_next(stream->source, waker, &message);
    if (polled != PRISM_READY) return polled;
    if (message.code) {
        reply->code = message.code;
        reply->scope = PRISM_CHANNEL;
        reply->message = message.error;
        return PRISM_READY;
    }
    /* Lent by the source until it is used again, which is as long as the proxy needs it. */
    reply->data = message.request.params;
    reply->data.kind = PRISM_RAW;
    return PRISM_READY;
}

static void drop_stream(prism_stream *head) {
    struct stream *stream = (struct stream *)head;
    if (!stream->first_sent) release_all(stream->first.buffers, stream->first.count);
    stream->source->vtable->drop(stream->source);
    free(stream->first_buffers);
    free(stream);
}

static const prism_stream_vtable stream_vtable = {sizeof stream_vtable, poll_stream, drop_stream};

/* --- the plugin --- */

/* DescribeResponse: name "echo-c", version "1.0.0", two raw operations that change nothing, protocol 1. */
static const char description[] = "\x0a\x06" "echo-c" "\x12\x05" "1.0.0"
                                  "\x1a\x0c\x0a\x04" "echo" "\x10\x01\x18\x01\x40\x01"
                                  "\x1a\x15\x0a\x0b" "echo_stream" "\x10\x01\x20\x01\x28\x01\x40\x01"
                                  "\x40\x01";

/* The varint field of that number; 0 when it is not there. */
static uint64_t number_in(prism_str message, uint32_t wanted) {
    const uint8_t *at = message.data, *end = at + message.len;
    uint64_t found = 0, values[2];
    while (at < end) {
        for (int which = 0, done = 0; !done; which++) { /* the tag, then a number or a length */
            uint64_t value = 0;
            int shift = 0;
            do {
                if (at >= end || shift > 63) return 0;
                value |= (uint64_t)(*at & 0x7f) << shift;
                shift += 7;
            } while (*at++ & 0x80);
            values[which] = value;
            done = which == 1;
        }
        uint32_t type = values[0] & 7;
        if (type == 2) {
            if (values[1] > (uint64_t)(end - at)) return 0;
            at += values[1];
        } else if (type != 0) {
            return 0;
        } else if (values[0] >> 3 == wanted) {
            found = values[1];
        }
    }
    return found;
}

static prism_call *describe(prism_plugin *plugin, prism_str message) {
    (void)plugin, (void)message;
    return answer_static(description, sizeof description - 1);
}

static prism_call *initialize(prism_plugin *plugin, prism_str message) {
    (void)plugin;
    uint64_t instance = number_in(message, 6);
    if (!add(instance)) return fail(RESOURCE_EXHAUSTED, PRISM_CHANNEL, "there are as many instances as may be");
    struct call *call = new_call();
    /* Not inside the call: a buffer may outlive it. Ten bytes hold any number, and three go before it. */
    uint8_t *bytes = malloc(13);
    if (!call || !bytes) {
        free(call), free(bytes);
        return NULL;
    }
    /* InitializeResponse: success, and the instance's number back. */
    size_t len = 0;
    bytes[len++] = 0x08, bytes[len++] = 0x01, bytes[len++] = 0x30;
    for (; instance > 0x7f; instance >>= 7) bytes[len++] = (instance & 0x7f) | 0x80;
    bytes[len++] = (uint8_t)instance;
    call->one = (prism_buffer){.data = bytes, .len = len, .vtable = &heap, .owner = {(size_t)bytes}};
    call->data = (prism_data){.kind = PRISM_RAW, .buffers = &call->one, .count = 1};
    return (prism_call *)call;
}

static prism_call *health(prism_plugin *plugin, prism_str message) {
    (void)plugin;
    /* HealthCheckResponse: status HEALTHY, which is 0 and takes no bytes, or UNHEALTHY. */
    return known(number_in(message, 2)) ? answer_static("", 0) : answer_static("\x08\x02", 2);
}

static prism_call *shutdown(prism_plugin *plugin, prism_str message) {
    (void)plugin;
    retire(number_in(message, 1));
    return answer_static("", 0);
}

static prism_call *execute(prism_plugin *plugin, const prism_context *context, prism_request *request) {
    (void)plugin;
    if (known(context->instance) && is(request->operation, "echo")) return echo(request->params);
    release_all(request->params.buffers, request->params.count);
    if (!known(context->instance))
        return fail(FAILED_PRECONDITION, PRISM_CHANNEL, "this instance is not initialized here");
    return fail(UNIMPLEMENTED, PRISM_CHANNEL, "there is no such operation; there are `echo` and `echo_stream`");
}

static prism_call *execute_stream(prism_plugin *plugin, const prism_context *context, prism_request *request,
                                  prism_source *source) {
    (void)plugin;
    struct call *call = NULL;
    struct stream *stream = NULL;
    if (known(context->instance) && is(request->operation, "echo_stream")) {
        call = new_call();
        stream = calloc(1, sizeof *stream);
        prism_buffer *first = call && stream ? take(request->params) : NULL;
        if (first) {
            *stream = (struct stream){
                .head = {&stream_vtable}, .source = source, .first_buffers = first, .first = request->params};
            stream->first.kind = PRISM_RAW;
            stream->first.buffers = first;
            call->stream = &stream->head;
            return (prism_call *)call;
        }
        if (!call || !stream) release_all(request->params.buffers, request->params.count);
        free(call), free(stream);
        source->vtable->drop(source);
        return NULL;
    }
    release_all(request->params.buffers, request->params.count);
    source->vtable->drop(source);
    if (!known(context->instance))
        return fail(FAILED_PRECONDITION, PRISM_CHANNEL, "this instance is not initialized here");
    return fail(UNIMPLEMENTED, PRISM_CHANNEL, "there is no such operation; there are `echo` and `echo_stream`");
}

static const prism_plugin_vtable plugin_vtable = {
    .size = sizeof plugin_vtable,
    .describe = describe,
    .initialize = initialize,
    .health = health,
    .shutdown = shutdown,
    .execute = execute,
    .execute_stream = execute_stream,
};

/* What the proxy reads before it runs anything. */
__attribute__((section(".note.prism.plugin"), used, aligned(4))) static const prism_note note = {
    .name_size = 6,
    .description_size = sizeof(prism_note) - 20,
    .kind = PRISM_NOTE_TYPE,
    .name = "PRISM",
    .abi_major = PRISM_ABI_MAJOR,
    .abi_minor = PRISM_ABI_MINOR,
    .panic = PRISM_UNWINDS,
    .entry = "echo_plugin_entry",
    .plugin = "echo-c",
    .version = "1.0.0",
};

__attribute__((visibility("default"))) int32_t echo_plugin_entry(const prism_host *host, prism_loaded *loaded) {
    if (host->log) host->log(host->host, 3, (prism_str){(const uint8_t *)"here is C", 9});
    loaded->plugin = NULL; /* all there is, is static */
    loaded->vtable = &plugin_vtable;
    return 0;
}
