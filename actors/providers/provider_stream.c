/* An answer that is an event stream: whole events are passed on as they came, those that are ready
 * together in one CHUNK. Each is looked at once, for usage and for how the stream ends; a stream without
 * its end marker was cut, however politely the connection was closed. */
#include "actors/providers/provider_call.h"

/* What comes before the first content (comments, the role) is held, so that an error behind it still is
 * an error of the whole answer. Past this many bytes it is not held, and comments are left out. */
#define FIRST_HELD_MAX 4096u
/* With so much in hand it goes, even when libcurl has more: what is received without credit stays small. */
#define COLLECTED_MAX 16384u

void
provider_stream_begin(struct provider_call *call)
{
    sse_reader_init(&call->sse, SSE_EVENT_MAX);
}

static void
collect(struct provider_call *call, struct dyn_slice bytes)
{
    if (call->block != NULL && dyn_block_tailroom(call->block) < bytes.len + PROVIDER_CHUNK_TAILROOM) {
        size_t size = (call->block->len + bytes.len) * 2 + PROVIDER_CHUNK_TAILROOM;
        dyn_block_t *larger = dyn_block_new(dyn_block_headroom(call->block), size);
        dyn_block_append(&larger, dyn_block_data(call->block), call->block->len);
        dyn_block_unref(&call->block);
        call->block = larger;
    }
    if (call->block == NULL) {
        call->block = dyn_block_new(provider_reply_headroom(call), bytes.len + PROVIDER_CHUNK_TAILROOM);
    }
    dyn_block_append(&call->block, bytes.data, bytes.len);
}

/* The provider reports an error. Before anything else it is the answer's error; behind content it is how
 * the stream ends. Its own event is not passed on: whoever writes to the client writes one. */
static void
error_event(struct provider_call *call, const struct sse_event *event)
{
    char memory[1024];
    struct arena arena;
    struct provider_error said;
    arena_init(&arena, memory, sizeof memory);
    enum err_code code = ERR_UPSTREAM_ERROR;
    if (provider_error_read(event->data, &arena, &said) && !call->is_awake) {
        code = provider_error_of_body(&said);
    }
    provider_stream_cut(call);
    provider_call_fail_saying(call, code, "the provider reported an error inside the stream", &said, &arena);
    arena_fini(&arena);
}

static void
garbage(struct provider_call *call, const char *why)
{
    provider_call_log(call, ERR_UPSTREAM_GARBAGE, why);
    provider_stream_cut(call);
    provider_call_fail(call, ERR_UPSTREAM_GARBAGE, NULL);
}

static bool
is_held_enough(const struct provider_call *call)
{
    return call->block != NULL && call->block->len > FIRST_HELD_MAX;
}

static void
keep_if_unsaid(uint64_t *count, uint64_t before)
{
    *count = *count != 0 ? *count : before;
}

/* What was said later counts, with what was said before and is not said again. */
static void
note_usage(struct provider_call *call, const struct env_usage *said)
{
    struct env_usage before = call->usage;
    if (!said->known && said->prompt_tokens == 0) { /* how it is sold may come before how much it is */
        call->usage.service = said->service != 0 ? said->service : before.service;
        call->usage.searches = said->searches != 0 ? said->searches : before.searches;
        return;
    }
    call->usage = *said;
    if (said->prompt_tokens == 0) {
        call->usage.prompt_tokens = before.prompt_tokens;
        call->usage.total_tokens += before.prompt_tokens;
        call->usage.cached_tokens = before.cached_tokens;
        call->usage.cache_write_tokens = before.cache_write_tokens;
    }
    keep_if_unsaid(&call->usage.cache_write_1h_tokens, before.cache_write_1h_tokens);
    keep_if_unsaid(&call->usage.searches, before.searches);
    keep_if_unsaid(&call->usage.service, before.service);
}

/* Classifies an event; *bytes is what the client gets of it. */
static int
understand(struct provider_call *call, const struct sse_event *event, struct dialect_event *seen,
           struct dyn_slice *bytes)
{
    if (call->bridge == NULL) {
        *bytes = event->raw;
        return call->dialect->read_event(event, seen);
    }
    struct dyn_buf *bridged = provider_bridged_room(call->provider);
    int failed = bridge_event(call->bridge, event, bridged, seen);
    *bytes = dyn_buf_slice(bridged);
    return failed;
}

/* 0: go on; -1: the call is over and must not be touched. */
static int
take_event(struct provider_call *call, const struct sse_event *event)
{
    struct dialect_event seen = {0};
    if (event->data.len == 0) { /* a comment, a sign of life */
        if (call->is_awake || !is_held_enough(call)) {
            collect(call, event->raw);
        }
        return 0;
    }
    struct dyn_slice bytes;
    if (understand(call, event, &seen, &bytes) != 0) {
        garbage(call, "an event of the stream could not be understood");
        return -1;
    }
    note_usage(call, &seen.usage);
    if (seen.content && call->content_events == 0 && call->usage.service == 0) {
        dialect_read_tier(event->data, &call->usage);
    }
    if (seen.error) {
        error_event(call, event);
        return -1;
    }
    call->is_awake |=
        seen.content || seen.finished || seen.terminal || seen.usage.known || is_held_enough(call);
    call->content_events += seen.content ? 1 : 0;
    call->saw_terminal = seen.terminal;
    if (bytes.len > 0 && !(seen.usage_only && call->withholds_usage)) {
        collect(call, bytes);
    }
    return 0;
}

/* What is ready goes; a stream that has shown no content has not begun. */
static void
pass_on(struct provider_call *call)
{
    if (call->is_awake) {
        provider_reply_chunk(call, &call->block);
    }
}

void
provider_stream_data(struct provider_call *call, struct dyn_slice bytes)
{
    struct sse_event event;
    int found = 0;
    while (!call->saw_terminal && (found = sse_reader_next(&call->sse, &bytes, &event)) == 1) {
        if (take_event(call, &event) != 0) {
            return;
        }
    }
    if (found < 0) {
        garbage(call, "an event of the stream is longer than 1 MiB");
        return;
    }
    if (call->block != NULL && call->block->len >= COLLECTED_MAX) {
        pass_on(call);
        (void)provider_reply_flush(call);
    }
}

void
provider_stream_settled(struct provider_call *call)
{
    pass_on(call);
    if (call->saw_terminal) { /* not waiting for the connection's own end; it can be kept all the same */
        provider_call_succeed(call, true);
        return;
    }
    (void)provider_reply_flush(call);
}

void
provider_stream_cut(struct provider_call *call)
{
    pass_on(call);
}

void
provider_stream_done(struct provider_call *call)
{
    pass_on(call);
    if (call->saw_terminal) {
        provider_call_succeed(call, false);
        return;
    }
    provider_call_log(call, ERR_UPSTREAM_CUT, "the stream ended without its end marker");
    provider_call_fail(call, ERR_UPSTREAM_CUT, NULL);
}
