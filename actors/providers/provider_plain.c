/* An answer that is one JSON text. One that fits a CHUNK is collected in the block that carries it to the
 * client, with room in front for the HTTP head, and goes in END; the only copy is the one out of
 * libcurl's buffer. A longer one goes in CHUNKs as it comes. One in another dialect than the client's is
 * held whole, up to BRIDGE_ANSWER_MAX, and goes when it is translated. */
#include "actors/providers/provider_call.h"

#include <stdlib.h>

#define FIRST_ROOM 4096u /* when the length is not told; most answers fit */

/* Room for what is still to come, as far as that is known. */
static dyn_block_t *
block_for(const struct provider_call *call, size_t expected)
{
    size_t room = expected < ENV_CHUNK_MAX ? expected : (size_t)ENV_CHUNK_MAX;
    return dyn_block_new(provider_reply_headroom(call), room + PROVIDER_CHUNK_TAILROOM);
}

void
provider_plain_begin(struct provider_call *call, const struct http_call_head *head)
{
    bool is_known = head->content_length != UINT64_MAX;
    call->block = block_for(call, is_known ? (size_t)head->content_length : FIRST_ROOM);
}

/* The answer is longer than a CHUNK: what is full goes on its way. false: the call is over. */
static bool
send_full_block(struct provider_call *call)
{
    if (call->skim == NULL) {
        call->skim = dyn_alloc(sizeof *call->skim);
        provider_skim_init(call->skim);
    }
    provider_skim_feed(call->skim, dyn_block_slice(call->block));
    provider_reply_chunk(call, &call->block);
    call->block = block_for(call, ENV_CHUNK_MAX);
    return !provider_reply_flush(call);
}

static void
too_long(struct provider_call *call, const char *what)
{
    provider_call_log(call, ERR_UPSTREAM_GARBAGE, what);
    provider_call_fail(call, ERR_UPSTREAM_GARBAGE, NULL);
}

/* For a bridge, which needs all of it. */
static void
hold(struct provider_call *call, struct dyn_slice bytes)
{
    if (call->received_bytes > BRIDGE_ANSWER_MAX) {
        too_long(call, "the answer is longer than 16 MiB, which is what is translated");
        return;
    }
    dyn_block_append(&call->block, bytes.data, bytes.len);
}

void
provider_plain_data(struct provider_call *call, struct dyn_slice bytes)
{
    call->received_bytes += bytes.len;
    if (call->bridge != NULL) {
        hold(call, bytes);
        return;
    }
    if (call->received_bytes > PROVIDER_ANSWER_MAX) {
        too_long(call, "the answer is longer than 50 MiB");
        return;
    }
    while (bytes.len > 0) {
        if (call->block->len == ENV_CHUNK_MAX && !send_full_block(call)) {
            return;
        }
        size_t room = ENV_CHUNK_MAX - call->block->len;
        size_t len = bytes.len < room ? bytes.len : room;
        dyn_block_append(&call->block, bytes.data, len);
        bytes = dyn_slice(bytes.data + len, bytes.len - len);
    }
}

/* The provider answered 200 with something else than an answer. */
static void
no_answer(struct provider_call *call)
{
    char memory[1024];
    struct arena arena;
    struct provider_error said;
    arena_init(&arena, memory, sizeof memory);
    enum err_code code = call->is_framed ? ERR_UPSTREAM_GARBAGE : ERR_UPSTREAM_CUT;
    if (!call->has_begun && provider_error_read(dyn_block_slice(call->block), &arena, &said)) {
        code = provider_error_of_body(&said);
    } else {
        said = (struct provider_error){.status = 0};
    }
    provider_call_fail_saying(call, code, "the answer of status 2xx is not an answer", &said, &arena);
    arena_fini(&arena);
}

/* The text that tells whether this is an answer, and its usage. */
static struct dyn_slice
readable(struct provider_call *call)
{
    if (call->skim == NULL) {
        return dyn_block_slice(call->block);
    }
    provider_skim_feed(call->skim, dyn_block_slice(call->block));
    return provider_skim_result(call->skim);
}

static void
bridged_done(struct provider_call *call)
{
    struct dyn_buf *answer = provider_bridged_room(call->provider);
    if (bridge_answer(call->bridge, dyn_block_slice(call->block), answer, &call->usage) != 0) {
        no_answer(call);
        return;
    }
    dyn_block_unref(&call->block);
    call->block = dyn_block_new(provider_reply_headroom(call), answer->len + PROVIDER_CHUNK_TAILROOM);
    dyn_block_append(&call->block, answer->data, answer->len);
    if (call->block->len > ENV_CHUNK_MAX) {
        provider_reply_chunk(call, &call->block);
    }
    provider_call_succeed(call, false);
}

void
provider_plain_done(struct provider_call *call)
{
    if (call->bridge != NULL) {
        bridged_done(call);
        return;
    }
    struct dyn_slice text = readable(call);
    int read = text.len > 0 ? call->dialect->read_answer(text, &call->usage) : -1;
    if (read < 0) {
        no_answer(call);
        return;
    }
    if (call->has_begun) {
        provider_reply_chunk(call, &call->block);
    } else {
        provider_reply_first(call)->is_scanned = read == 0 && call->skim == NULL;
    }
    provider_call_succeed(call, false);
}
