/* What a program's plugin says of a question (struct dynabus_vote), as the plugins' actor takes it. All is
 * copied into the ask: the vote leaves later, on another thread. */
#include "gateway/ask.h"

static struct dyn_slice
copied(struct dynabus_ask *ask, const char *text)
{
    return text != NULL ? arena_copy(&ask->arena, dyn_slice_str(text)) : dyn_slice(NULL, 0);
}

/* ERR_NONE: no such code, then stage and type decide. */
static enum err_code
code_named(const char *name)
{
    for (unsigned code = 0; name != NULL && code < ERR_COUNT; code++) {
        if (code != ERR_NONE && strcmp(err_row((enum err_code)code)->code, name) == 0) {
            return (enum err_code)code;
        }
    }
    return ERR_NONE;
}

static enum vote_verdict
verdict_of(enum dynabus_verdict verdict)
{
    switch (verdict) {
    case DYNABUS_PASS:
        return VOTE_PASS;
    case DYNABUS_DENY:
        return VOTE_DENY;
    case DYNABUS_AMEND:
        return VOTE_AMEND;
    case DYNABUS_ANSWER:
        return VOTE_ANSWER;
    case DYNABUS_FAILED:
        break;
    }
    return VOTE_FAILED;
}

static void
take_headers(struct dynabus_ask *ask, const struct dynabus_vote *said)
{
    struct env_header *headers = arena_zalloc(&ask->arena, (said->n_headers + 1) * sizeof *headers);
    for (size_t i = 0; i < said->n_headers; i++) {
        headers[i] =
            (struct env_header){copied(ask, said->headers[i].name), copied(ask, said->headers[i].value)};
    }
    ask->vote.headers = headers;
    ask->vote.n_headers = said->n_headers;
}

/* false: it is no edit. */
static bool
take_edit(struct dynabus_ask *ask, const struct dynabus_edit *said, struct vote_edit *edit)
{
    const char *op = said->op != NULL ? said->op : "";
    edit->at = copied(ask, said->at);
    edit->value = copied(ask, said->value);
    edit->op = strcmp(op, "remove") == 0 ? VOTE_EDIT_REMOVE
               : strcmp(op, "add") == 0  ? VOTE_EDIT_ADD
                                         : VOTE_EDIT_REPLACE;
    bool is_known = edit->op != VOTE_EDIT_REPLACE || strcmp(op, "replace") == 0;
    return is_known && said->at != NULL && (edit->op == VOTE_EDIT_REMOVE || said->value != NULL);
}

static void
take_edits(struct dynabus_ask *ask, const struct dynabus_vote *said)
{
    struct vote_edit *edits = arena_zalloc(&ask->arena, (said->n_edits + 1) * sizeof *edits);
    for (size_t i = 0; i < said->n_edits; i++) {
        if (!take_edit(ask, &said->edits[i], &edits[i])) {
            ask->vote.verdict = VOTE_FAILED;
            ask->vote.log = DYN_SLICE("one of its edits is none");
            return;
        }
    }
    ask->vote.edits = edits;
    ask->vote.n_edits = said->n_edits;
}

static void
take_answer(struct dynabus_ask *ask, const struct dynabus_vote *said)
{
    ask->vote.answer = dyn_block_copy(ENV_BODY_HEADROOM, dyn_slice(said->answer, said->answer_len));
    ask->vote.usage = (struct env_usage){
        .known = said->prompt_tokens + said->completion_tokens > 0,
        .prompt_tokens = said->prompt_tokens,
        .completion_tokens = said->completion_tokens,
        .total_tokens = said->prompt_tokens + said->completion_tokens,
    };
}

/* ---- streams ---- */

static void
write_marks(struct dynabus_ask *ask, const struct vote_mark *marks, size_t n, const char *closing)
{
    struct dyn_buf out = DYN_BUF_INIT;
    if (closing != NULL) {
        vote_marks_encode_closing(marks, n, dyn_slice_str(closing), &out);
    } else {
        vote_marks_encode(marks, n, &out);
    }
    ask->vote.marks = dyn_block_copy(0, dyn_buf_slice(&out));
    dyn_buf_fini(&out);
}

static struct vote_channel
channel_of(const char *kind, uint32_t choice, uint32_t tool)
{
    struct dyn_slice name =
        kind != NULL ? dyn_slice_str(kind) : dyn_slice_str(vote_text_kind_name(VOTE_TEXT));
    return (struct vote_channel){.choice = choice, .kind = vote_text_kind_by_name(name), .tool = tool};
}

static void
take_marks(struct dynabus_ask *ask, const struct dynabus_vote *said)
{
    struct vote_mark *marks = arena_zalloc(&ask->arena, (said->n_marks + 1) * sizeof *marks);
    for (size_t i = 0; i < said->n_marks; i++) {
        const struct dynabus_mark *mark = &said->marks[i];
        struct vote_mask *masks = arena_zalloc(&ask->arena, (mark->n_masks + 1) * sizeof *masks);
        for (size_t k = 0; k < mark->n_masks; k++) {
            masks[k] =
                (struct vote_mask){mark->masks[k].from, mark->masks[k].to, copied(ask, mark->masks[k].text)};
        }
        marks[i] = (struct vote_mark){.channel = channel_of(mark->kind, mark->choice, mark->tool),
                                      .clear = mark->clear,
                                      .masks = masks,
                                      .n_masks = mark->n_masks};
    }
    write_marks(ask, marks, said->n_marks, said->verdict == DYNABUS_DENY ? said->closing : NULL);
}

/* Several pieces of one channel: the last one reaches furthest. */
static void
clear_all(struct dynabus_ask *ask)
{
    const struct dynabus_text *texts;
    size_t n = dynabus_ask_texts(ask, &texts);
    struct vote_mark *marks = arena_zalloc(&ask->arena, (n + 1) * sizeof *marks);
    size_t n_marks = 0;
    for (size_t i = 0; i < n; i++) {
        struct vote_channel channel = channel_of(texts[i].kind, texts[i].choice, texts[i].tool);
        size_t at = 0;
        while (at < n_marks &&
               (marks[at].channel.choice != channel.choice || marks[at].channel.kind != channel.kind ||
                marks[at].channel.tool != channel.tool)) {
            at++;
        }
        n_marks += at == n_marks;
        marks[at].channel = channel;
        marks[at].clear = texts[i].from + texts[i].len;
    }
    write_marks(ask, marks, n_marks, NULL);
}

void
ask_take_vote(struct dynabus_ask *ask, const struct dynabus_vote *vote)
{
    struct dynabus_vote said = DYNABUS_VOTE_INIT;
    bool is_stream = ask->ticket.stage == VOTE_DURING_STREAM;
    if (vote == NULL) {
        ask->vote.verdict = VOTE_PASS;
        if (is_stream) {
            clear_all(ask);
        }
        return;
    }
    memcpy(&said, vote, vote->size < sizeof said ? vote->size : sizeof said);
    ask->vote = (struct plugin_vote){
        .verdict = verdict_of(said.verdict),
        .status = said.status >= 400 && said.status <= 599 ? (uint16_t)said.status : 0,
        .error = code_named(said.error_code),
        .reason = copied(ask, said.reason),
        .log = copied(ask, said.log),
        .notes = copied(ask, said.notes),
        .retry_after_s = said.retry_after_s,
        .charged = said.charged,
    };
    if (said.n_headers > 0) {
        take_headers(ask, &said);
    }
    if (said.verdict == DYNABUS_AMEND) {
        take_edits(ask, &said);
    } else if (said.verdict == DYNABUS_ANSWER && said.answer != NULL) {
        take_answer(ask, &said);
    } else if (is_stream) {
        take_marks(ask, &said);
    }
}
