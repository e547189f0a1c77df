/* Finds the events, and does answers of dialects that have nothing of their own for it by the record of
 * chat.h: then several choices are one, and what no record holds is lost. */
#include "proto/dialects/replay.h"

#include "proto/dialects/chat.h"

#include <stdlib.h>

struct replay {
    const struct dialect_ops *dialect;
    const struct dialect_replay *ops;
    struct sse_reader reader;
    void *gathered;
    bool is_over;   /* the end marker came */
    bool is_broken; /* nothing will come of it */
};

/* ---- by the record: an answer as a stream ---- */

static int
record_check(const struct chat_codec *codec, struct dyn_slice answer)
{
    struct arena arena;
    struct chat_answer said;
    arena_init(&arena, NULL, 0);
    int failed = codec->read_answer(answer, &arena, &said);
    failed = failed || said.finish == CHAT_FINISH_NONE ? -1 : 0;
    arena_fini(&arena);
    return failed;
}

struct telling {
    const struct chat_codec *codec;
    struct chat_writing writing;
    struct dyn_buf *out;
};

static void
tell(struct telling *telling, struct chat_event event)
{
    telling->codec->write_event(&telling->writing, &event, telling->out);
}

static void
tell_call(struct telling *telling, const struct chat_part *part, unsigned number, struct arena *arena)
{
    tell(telling,
         (struct chat_event){.kind = CHAT_CALL_BEGIN, .call = number, .id = part->id, .name = part->name});
    tell(telling, (struct chat_event){
                      .kind = CHAT_CALL_ADD, .call = number, .text = chat_encode(part->arguments, arena)});
}

static unsigned
tell_part(struct telling *telling, const struct chat_part *part, unsigned calls, struct arena *arena)
{
    switch (part->kind) {
    case CHAT_TEXT:
    case CHAT_REFUSAL:
    case CHAT_THINKING:
        if (chat_has_text(part->text)) {
            tell(telling, (struct chat_event){.kind = CHAT_ADD, .part = part->kind, .text = part->text});
        }
        if (part->signature.data != NULL) {
            tell(telling, (struct chat_event){.kind = CHAT_SIGN, .text = part->signature});
        }
        return calls;
    case CHAT_REDACTED:
        tell(telling, (struct chat_event){.kind = CHAT_HIDE, .text = part->data});
        return calls;
    case CHAT_CALL:
        if (calls < CHAT_CALLS_MAX) {
            tell_call(telling, part, calls, arena);
        }
        return calls + 1;
    case CHAT_IMAGE_URL:
    case CHAT_IMAGE_DATA:
    case CHAT_FILE_DATA:
    case CHAT_OTHER:
        break;
    }
    return calls;
}

static int
record_unroll(const struct chat_codec *codec, struct dyn_slice answer, bool wants_usage, struct dyn_buf *out)
{
    struct arena arena;
    struct chat_answer said;
    struct telling telling = {.codec = codec, .writing = {.wants_usage = wants_usage}, .out = out};
    arena_init(&arena, NULL, 0);
    int failed = codec->read_answer(answer, &arena, &said);
    if (!failed && said.finish != CHAT_FINISH_NONE) {
        unsigned calls = 0;
        telling.writing.created_s = said.created_s;
        tell(&telling, (struct chat_event){
                           .kind = CHAT_BEGIN, .id = said.id, .model = said.model, .usage = &said.usage});
        for (const struct chat_part *part = said.parts.first; part != NULL; part = part->next) {
            calls = tell_part(&telling, part, calls, &arena);
        }
        tell(&telling, (struct chat_event){.kind = CHAT_FINISH, .finish = said.finish});
        if (said.usage.known) {
            tell(&telling, (struct chat_event){.kind = CHAT_USAGE, .usage = &said.usage});
        }
        tell(&telling, (struct chat_event){.kind = CHAT_END});
        failed = calls > CHAT_CALLS_MAX ? -1 : 0;
    } else {
        failed = -1;
    }
    dyn_buf_fini(&telling.writing.head);
    arena_fini(&arena);
    return failed;
}

/* ---- by the record: a stream as an answer ---- */

/* Texts grow outside of the arena; the part that is open is the last one. */
struct gathered {
    const struct chat_codec *codec;
    struct chat_reading reading;
    struct arena arena;
    struct chat_answer answer;
    struct chat_part *calls[CHAT_CALLS_MAX];
    struct dyn_buf arguments[CHAT_CALLS_MAX]; /* as JSON strings without their closing quote */
    struct dyn_buf text;                      /* of the open part, in the same form */
    struct chat_part *open;
    size_t bytes;
    size_t max_bytes;
    bool has_end;
    bool is_bad;
};

static void
close_part(struct gathered *g)
{
    if (g->open != NULL) {
        dyn_buf_add_char(&g->text, '"');
        g->open->text = arena_copy(&g->arena, dyn_buf_slice(&g->text));
        g->open = NULL;
    }
    dyn_buf_clear(&g->text);
}

static void
add_text(struct gathered *g, const struct chat_event *event)
{
    if (g->open == NULL || g->open->kind != event->part) {
        close_part(g);
        g->open = chat_part_add(&g->answer.parts, &g->arena, event->part);
        dyn_buf_add_char(&g->text, '"');
    }
    dyn_buf_add(&g->text, event->text.data + 1, event->text.len - 2);
}

static void
sign(struct gathered *g, struct dyn_slice signature)
{
    if (g->open == NULL || g->open->kind != CHAT_THINKING) {
        close_part(g);
        chat_part_add(&g->answer.parts, &g->arena, CHAT_THINKING)->text = DYN_SLICE("\"\"");
    }
    g->answer.parts.last->signature = arena_copy(&g->arena, signature);
    close_part(g);
}

static void
begin_call(struct gathered *g, const struct chat_event *event)
{
    close_part(g);
    struct chat_part *part = chat_part_add(&g->answer.parts, &g->arena, CHAT_CALL);
    part->id = arena_copy(&g->arena, event->id);
    part->name = arena_copy(&g->arena, event->name);
    g->calls[event->call] = part;
    dyn_buf_add_char(&g->arguments[event->call], '"');
}

static void
take(void *self, const struct chat_event *event)
{
    struct gathered *g = self;
    g->bytes += event->text.len + event->id.len + event->name.len + event->model.len;
    switch (event->kind) {
    case CHAT_BEGIN:
        g->answer.id = arena_copy(&g->arena, event->id);
        g->answer.model = arena_copy(&g->arena, event->model);
        break;
    case CHAT_ADD:
        add_text(g, event);
        break;
    case CHAT_SIGN:
        sign(g, event->text);
        break;
    case CHAT_HIDE:
        close_part(g);
        chat_part_add(&g->answer.parts, &g->arena, CHAT_REDACTED)->data = arena_copy(&g->arena, event->text);
        break;
    case CHAT_CALL_BEGIN:
        begin_call(g, event);
        break;
    case CHAT_CALL_ADD:
        dyn_buf_add(&g->arguments[event->call], event->text.data + 1, event->text.len - 2);
        break;
    case CHAT_FINISH:
        g->answer.finish = event->finish;
        break;
    case CHAT_USAGE:
        g->answer.usage = *event->usage;
        break;
    case CHAT_ERROR:
        g->is_bad = true;
        break;
    case CHAT_END:
        g->has_end = true;
        break;
    case CHAT_PING:
        break;
    }
}

static struct gathered *
record_gather_new(const struct chat_codec *codec, size_t max_bytes)
{
    struct gathered *g = dyn_zalloc(sizeof *g);
    g->codec = codec;
    g->max_bytes = max_bytes;
    arena_init(&g->arena, NULL, 0);
    return g;
}

static int
record_gather(struct gathered *g, const struct sse_event *event)
{
    int failed = g->codec->read_event(&g->reading, event, take, g);
    return failed || g->is_bad || g->bytes > g->max_bytes ? -1 : 0;
}

static int
record_gather_end(struct gathered *g, const struct env_usage *usage, struct dyn_buf *out)
{
    if (g->answer.finish == CHAT_FINISH_NONE) {
        return -1;
    }
    close_part(g);
    for (size_t i = 0; i < CHAT_CALLS_MAX && g->calls[i] != NULL; i++) {
        dyn_buf_add_char(&g->arguments[i], '"');
        g->calls[i]->arguments = chat_decode(dyn_buf_slice(&g->arguments[i]), &g->arena);
        g->calls[i]->is_json = json_scan(g->calls[i]->arguments, JSON_DEPTH_DEFAULT, NULL, NULL) == 0;
    }
    if (!g->answer.usage.known) {
        g->answer.usage = *usage;
    }
    g->codec->write_answer(&g->answer, out);
    return 0;
}

static void
record_gather_free(struct gathered *g)
{
    for (size_t i = 0; i < CHAT_CALLS_MAX; i++) {
        dyn_buf_fini(&g->arguments[i]);
    }
    dyn_buf_fini(&g->text);
    arena_fini(&g->arena);
    free(g);
}

/* ---- either way ---- */

bool
replay_is_whole(const struct dialect_ops *dialect, struct dyn_slice answer)
{
    if (dialect->replay != NULL) {
        return dialect->replay->check(answer) == 0;
    }
    return dialect->chat != NULL && record_check(dialect->chat, answer) == 0;
}

dyn_block_t *
replay_stream(const struct dialect_ops *dialect, struct dyn_slice answer, bool wants_usage, size_t headroom)
{
    struct dyn_buf out = DYN_BUF_INIT;
    dyn_block_t *block = NULL;
    (void)dyn_buf_room(&out, answer.len + answer.len / 2);
    int failed = dialect->replay != NULL ? dialect->replay->unroll(answer, wants_usage, &out)
                 : dialect->chat != NULL ? record_unroll(dialect->chat, answer, wants_usage, &out)
                                         : -1;
    if (!failed) {
        block = dyn_block_copy(headroom, dyn_buf_slice(&out));
    }
    dyn_buf_fini(&out);
    return block;
}

replay_t *
replay_new(const struct dialect_ops *dialect, size_t max_bytes)
{
    if (dialect->replay == NULL && dialect->chat == NULL) {
        return NULL;
    }
    replay_t *replay = dyn_zalloc(sizeof *replay);
    replay->dialect = dialect;
    replay->ops = dialect->replay;
    replay->gathered = replay->ops != NULL ? replay->ops->gather_new(max_bytes)
                                           : (void *)record_gather_new(dialect->chat, max_bytes);
    sse_reader_init(&replay->reader, SSE_EVENT_MAX);
    return replay;
}

static void
give_up(replay_t *replay)
{
    if (replay->gathered != NULL && replay->ops != NULL) {
        replay->ops->gather_free(replay->gathered);
    } else if (replay->gathered != NULL) {
        record_gather_free(replay->gathered);
    }
    replay->gathered = NULL;
    sse_reader_fini(&replay->reader);
}

void
replay_free(replay_t **replay_p)
{
    if (*replay_p != NULL) {
        give_up(*replay_p);
        free(*replay_p);
        *replay_p = NULL;
    }
}

static int
take_event(replay_t *replay, const struct sse_event *event)
{
    if (event->data.data == NULL || event->data.len == 0) {
        return 0; /* a comment */
    }
    if (replay->ops == NULL) {
        struct gathered *g = replay->gathered;
        int failed = record_gather(g, event);
        replay->is_over = g->has_end;
        return failed;
    }
    struct dialect_event seen;
    if (replay->dialect->read_event(event, &seen) != 0 || seen.error) {
        return -1;
    }
    replay->is_over = replay->is_over || seen.terminal;
    return seen.terminal ? 0 : replay->ops->gather(replay->gathered, event);
}

void
replay_feed(replay_t *replay, struct dyn_slice bytes)
{
    struct sse_event event;
    int found = 0;
    while (!replay->is_broken && (found = sse_reader_next(&replay->reader, &bytes, &event)) > 0) {
        replay->is_broken = take_event(replay, &event) != 0;
    }
    replay->is_broken = replay->is_broken || found < 0;
    if (replay->is_broken) {
        give_up(replay);
    }
}

dyn_block_t *
replay_answer(replay_t *replay, const struct env_usage *usage, size_t headroom)
{
    struct dyn_buf out = DYN_BUF_INIT;
    dyn_block_t *block = NULL;
    if (replay->is_broken || !replay->is_over) {
        return NULL;
    }
    int failed = replay->ops != NULL ? replay->ops->gather_end(replay->gathered, usage, &out)
                                     : record_gather_end(replay->gathered, usage, &out);
    if (!failed) {
        block = dyn_block_copy(headroom, dyn_buf_slice(&out));
    }
    dyn_buf_fini(&out);
    return block;
}
