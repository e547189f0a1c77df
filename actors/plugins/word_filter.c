/* word-filter: refuses or masks what must not be said, by lists of words and regular expressions: in
 * requests, in plain answers, and in streams while they run. What it looks for is content_rules.h. The caller
 * is never told which word it was; our log is.
 *
 * Of each stream that it votes on, each cell keeps what its channels wait for: text that may become a match,
 * and nothing else. */
#include "actors/plugins/content_rules.h"
#include "actors/plugins/plugin.h"
#include "core/list.h"
#include "core/log.h"
#include "proto/env_map.h"

#include <stdlib.h>

enum { ACTION_REJECT, ACTION_MASK };
static const char *const action_names[] = {"reject", "mask", NULL};
enum { STREAM_CUT, STREAM_MASK };
static const char *const stream_action_names[] = {"cut", "mask", NULL};
enum { UNINSPECTABLE_REJECT, UNINSPECTABLE_PASS };
static const char *const uninspectable_names[] = {"reject", "pass", NULL};

static const char *const accent_names[] = {"ignore", "keep", NULL};
enum { ACCENTS_IGNORE, ACCENTS_KEEP };
static const char *const look_alike_names[] = {"none", "mixed", "all", NULL};
_Static_assert(WORD_ALIKE_NONE == 0 && WORD_ALIKE_MIXED == 1 && WORD_ALIKE_ALL == 2, "as they are named");

struct word_filter_config {
    struct config_strings blocked_words;
    struct config_strings patterns;
    bool case_sensitive;
    bool whole_words;
    bool normalize;
    int accents;
    int confusables;
    int action;
    struct dyn_slice mask_text;
    struct config_strings scan;
    uint64_t window_bytes;
    int stream_action;
    bool has_stream_action;
    struct dyn_slice closing_text;
    int uninspectable;
};

static const struct config_key keys[] = {
    {.name = "blocked_words",
     .type = CONFIG_STRING_LIST,
     .offset = offsetof(struct word_filter_config, blocked_words),
     .help = "Words and phrases that must not be said. Thousands cost as much as one."},
    {.name = "patterns",
     .type = CONFIG_STRING_LIST,
     .offset = offsetof(struct word_filter_config, patterns),
     .help = "Regular expressions (RE2 syntax, and what PCRE2 can beyond it) that must not match. Their case "
             "counts unless they begin with `(?i)`."},
    {.name = "case_sensitive",
     .type = CONFIG_BOOL,
     .offset = offsetof(struct word_filter_config, case_sensitive),
     .default_text = "false",
     .help = "Whether upper and lower case of `blocked_words` differ. If not, letters are compared by "
             "Unicode's case folding."},
    {.name = "whole_words",
     .type = CONFIG_BOOL,
     .offset = offsetof(struct word_filter_config, whole_words),
     .default_text = "false",
     .help = "Whether a word counts only where no letter or digit stands beside it."},
    {.name = "normalize",
     .type = CONFIG_BOOL,
     .offset = offsetof(struct word_filter_config, normalize),
     .default_text = "true",
     .help = "Whether words are found however they are written: with invisible characters between their "
             "letters, in full width or another compatibility form (Unicode's NFKD)."},
    {.name = "accents",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct word_filter_config, accents),
     .default_text = "ignore",
     .names = accent_names,
     .help = "With `normalize`: whether marks on letters make another word (`keep`: `año` is not `ano`) or "
             "not."},
    {.name = "confusables",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct word_filter_config, confusables),
     .default_text = "mixed",
     .names = look_alike_names,
     .help = "With `normalize`: letters of other scripts that look like those of ASCII are other letters "
             "(`none`), are the same unless the word has no letter of ASCII at all (`mixed`), or are always "
             "the same (`all`)."},
    {.name = "action",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct word_filter_config, action),
     .default_text = "reject",
     .names = action_names,
     .help = "What happens to a request or a plain answer: it is refused, or goes on with `mask_text` in "
             "place of each match."},
    {.name = "mask_text",
     .type = CONFIG_STRING,
     .offset = offsetof(struct word_filter_config, mask_text),
     .default_text = "\"***\"",
     .help = "What stands in place of a match that is masked."},
    {.name = "scan",
     .type = CONFIG_STRING_LIST,
     .offset = offsetof(struct word_filter_config, scan),
     .help = "Where to look: `request`, `answer`, `stream`. Default: at all stages where it is listed."},
    {.name = "window_bytes",
     .type = CONFIG_SIZE,
     .offset = offsetof(struct word_filter_config, window_bytes),
     .default_text = "4KiB",
     .min = 64,
     .max = 32 * 1024,
     .help = "How much of a stream may wait for an expression to match or not. One without a bound on its "
             "length sees no more than that at once."},
    {.name = "stream_action",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct word_filter_config, stream_action),
     .set_offset = offsetof(struct word_filter_config, has_stream_action),
     .names = stream_action_names,
     .help = "What happens to a stream: it is cut before the match, or goes on with `mask_text`. Default: as "
             "`action` says."},
    {.name = "closing_text",
     .type = CONFIG_STRING,
     .offset = offsetof(struct word_filter_config, closing_text),
     .help = "The last words of a stream that was cut; it ends with the finish reason `content_filter` then. "
             "Without it a stream that was cut ends with an error."},
    {.name = "uninspectable",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct word_filter_config, uninspectable),
     .default_text = "reject",
     .names = uninspectable_names,
     .help = "What happens to a request with parts that hold no text to look at, such as images."},
    {.name = NULL},
};
static const struct config_section section = {
    .keys = keys, .size = sizeof(struct word_filter_config), .mark_offset = SIZE_MAX};

struct word_filter {
    content_rules_t *rules;
    bool masks;
    bool masks_streams;
    bool passes_uninspectable;
    char *mask_text;
    char *mask_escaped; /* as it stands inside a string of JSON: in the arguments of a tool call */
    char *closing_text; /* NULL: streams that are cut end with an error */
};

/* ---- configuration ---- */

static const struct {
    const char *name;
    uint32_t stage;
} places[] = {
    {"request", VOTE_STAGE_BIT(VOTE_BEFORE_REQUEST)},
    {"answer", VOTE_STAGE_BIT(VOTE_AFTER_REQUEST)},
    {"stream", VOTE_STAGE_BIT(VOTE_DURING_STREAM)},
};

static uint32_t
stages_of(const struct word_filter_config *config)
{
    uint32_t stages = 0;
    for (size_t i = 0; i < config->scan.n; i++) {
        for (size_t j = 0; j < DYN_ARRAY_LEN(places); j++) {
            stages |= dyn_slice_is(config->scan.items[i], places[j].name) ? places[j].stage : 0;
        }
    }
    return stages != 0 ? stages : UINT32_MAX;
}

static bool
is_place(struct dyn_slice name)
{
    for (size_t i = 0; i < DYN_ARRAY_LEN(places); i++) {
        if (dyn_slice_is(name, places[i].name)) {
            return true;
        }
    }
    return false;
}

static content_rules_t *
rules_of(const struct word_filter_config *config, struct content_refused *refused, struct dyn_err *err)
{
    struct content_rules_options options = {
        .words = config->blocked_words.items,
        .n_words = config->blocked_words.n,
        .patterns = config->patterns.items,
        .n_patterns = config->patterns.n,
        .is_case_sensitive = config->case_sensitive,
        .whole_words = config->whole_words,
        .is_loose = config->normalize,
        .keeps_accents = config->accents == ACCENTS_KEEP,
        .look_alikes = config->normalize ? (enum word_look_alikes)config->confusables : WORD_ALIKE_NONE,
        .window_bytes = (size_t)config->window_bytes,
    };
    return content_rules_new(&options, refused, err);
}

static void
warn_of_bounds(const struct word_filter_config *config, struct config_problems *problems)
{
    for (size_t i = 0; i < config->patterns.n; i++) {
        dyn_regex_t *regex = dyn_regex_new(config->patterns.items[i], NULL, NULL);
        if (regex != NULL && dyn_regex_is_unbounded(regex)) {
            config_problem_add(problems, config_mark_of(problems, &config->patterns.items[i]), true,
                               "the expression may match text of any length: in streams it sees at most "
                               "window_bytes (%llu) of it",
                               (unsigned long long)config->window_bytes);
        }
        dyn_regex_free(&regex);
    }
}

static void
word_filter_check(void *values, struct config_problems *problems)
{
    const struct word_filter_config *config = values;
    struct content_refused refused;
    struct dyn_err err;
    for (size_t i = 0; i < config->scan.n; i++) {
        if (!is_place(config->scan.items[i])) {
            config_problem_add(problems, config_mark_of(problems, &config->scan.items[i]), false,
                               "must be one of 'request', 'answer', 'stream'");
        }
    }
    content_rules_t *rules = rules_of(config, &refused, &err);
    if (rules == NULL) {
        const struct config_strings *list = refused.is_pattern ? &config->patterns : &config->blocked_words;
        const void *field = refused.index < list->n ? (const void *)&list->items[refused.index] : list;
        config_problem_add(problems, config_mark_of(problems, field), false, "%s", err.text);
    }
    content_rules_free(&rules);
    if ((stages_of(config) & VOTE_STAGE_BIT(VOTE_DURING_STREAM)) != 0) {
        warn_of_bounds(config, problems);
    }
}

static void
word_filter_adapt(const void *values, struct plugin_traits *traits)
{
    const struct word_filter_config *config = values;
    traits->stages &= stages_of(config);
    traits->amends = config->action == ACTION_MASK;
}

static void
word_filter_free(void *shared)
{
    struct word_filter *self = shared;
    content_rules_free(&self->rules);
    free(self->mask_text);
    free(self->mask_escaped);
    free(self->closing_text);
    free(self);
}

static char *
escaped(struct dyn_slice text)
{
    struct dyn_buf json = DYN_BUF_INIT;
    dyn_buf_add_json_string(&json, text);
    char *inside = dyn_strndup(json.data + 1, json.len - 2);
    dyn_buf_fini(&json);
    return inside;
}

static void *
word_filter_make(const struct plugin_making *making, struct dyn_err *err)
{
    const struct word_filter_config *config = making->config;
    struct content_refused refused;
    struct word_filter *self = dyn_zalloc(sizeof *self);
    self->rules = rules_of(config, &refused, err);
    self->masks = config->action == ACTION_MASK;
    self->masks_streams = config->has_stream_action ? config->stream_action == STREAM_MASK : self->masks;
    self->passes_uninspectable = config->uninspectable == UNINSPECTABLE_PASS;
    self->mask_text =
        dyn_strndup(config->mask_text.len > 0 ? config->mask_text.data : "", config->mask_text.len);
    self->mask_escaped = escaped(dyn_slice_str(self->mask_text));
    if (config->closing_text.len > 0) {
        self->closing_text = dyn_strndup(config->closing_text.data, config->closing_text.len);
    }
    if (self->rules == NULL) {
        word_filter_free(self);
        return NULL;
    }
    return self;
}

/* ---- requests and plain answers ---- */

/* What is being looked at. */
struct looking {
    const struct word_filter *filter;
    plugin_cell_t *cell;
    struct plugin_vote *vote;
    struct dyn_regex_budget budget;
    struct content_found found;
    struct vote_edit *edits;
    size_t n_edits;
    bool is_request;
    bool resumes; /* a stream that another process watched until now */
};

static void
deny(struct looking *l, struct dyn_slice rule)
{
    l->vote->verdict = VOTE_DENY;
    l->vote->reason = l->is_request ? DYN_SLICE("request blocked by content policy")
                                    : DYN_SLICE("response blocked by content policy");
    if (rule.data != NULL) {
        l->vote->log = dyn_slice_str(plugin_cell_text(l->cell, "matched '%.*s'", (int)rule.len, rule.data));
    }
}

static void
mask(struct looking *l, const struct vote_text *text)
{
    struct dyn_buf masked = DYN_BUF_INIT;
    struct dyn_buf json = DYN_BUF_INIT;
    bool is_json = text->kind == VOTE_TEXT_TOOL_ARGUMENTS;
    uint64_t at = 0;
    for (size_t i = 0; i < l->found.n; i++) {
        const struct content_match *match = &l->found.items[i];
        dyn_buf_add(&masked, text->text.data + at, (size_t)(match->from - at));
        dyn_buf_add_str(&masked, is_json ? l->filter->mask_escaped : l->filter->mask_text);
        at = match->to;
    }
    dyn_buf_add(&masked, text->text.data + at, text->text.len - (size_t)at);
    dyn_buf_add_json_string(&json, dyn_buf_slice(&masked));
    struct arena *arena = plugin_cell_arena(l->cell);
    if (l->edits == NULL) {
        l->edits = arena_alloc(arena, VOTE_EDITS_MAX * sizeof *l->edits);
    }
    l->edits[l->n_edits++] =
        (struct vote_edit){VOTE_EDIT_REPLACE, text->at, arena_copy(arena, dyn_buf_slice(&json))};
    dyn_buf_fini(&masked);
    dyn_buf_fini(&json);
}

/* Returns whether to look on. */
static bool
look_at(struct looking *l, const struct vote_text *text)
{
    bool is_json = text->kind == VOTE_TEXT_TOOL_ARGUMENTS;
    if (text->kind == VOTE_TEXT_IMAGE_URL) {
        return true;
    }
    enum content_result result =
        content_rules_search(l->filter->rules, text->text, is_json, l->filter->masks, &l->budget, &l->found);
    if (result == CONTENT_UNKNOWN) {
        l->vote->verdict = VOTE_FAILED;
        l->vote->reason = DYN_SLICE("a content rule could not be decided");
        l->vote->log = DYN_SLICE("an expression came to a limit");
        return false;
    }
    bool can_mask = l->filter->masks && !l->found.is_full && l->n_edits < VOTE_EDITS_MAX &&
                    text->kind != VOTE_TEXT_MEMBER_NAME;
    if (result == CONTENT_FOUND && can_mask) {
        mask(l, text);
    } else if (result == CONTENT_FOUND) {
        deny(l, l->found.items[0].rule);
        return false;
    }
    return true;
}

enum { EDIT_SLOTS = 4 * VOTE_EDITS_MAX };
#define EDIT_FREE UINT16_MAX
_Static_assert(VOTE_EDITS_MAX < UINT16_MAX, "the number of an edit fits its slot");

/* Where the edit of that place is, or would be. */
static uint16_t *
slot_of(const struct looking *l, uint16_t *slots, struct dyn_slice at)
{
    uint32_t hash = UINT32_C(0x811c9dc5);
    for (size_t i = 0; i < at.len; i++) {
        hash = (hash ^ (uint8_t)at.data[i]) * UINT32_C(0x01000193);
    }
    for (size_t i = hash % EDIT_SLOTS;; i = (i + 1) % EDIT_SLOTS) {
        if (slots[i] == EDIT_FREE || dyn_slice_eq(l->edits[slots[i]].at, at)) {
            return &slots[i];
        }
    }
}

/* Whether another text has the place of one that is masked: who gives a member twice may mean either, and
 * only one of them would be masked. */
static bool
is_ambiguous(const struct looking *l, struct vote_texts texts)
{
    uint16_t slots[EDIT_SLOTS];
    size_t found = 0;
    struct vote_text text;
    memset(slots, 0xff, sizeof slots);
    for (size_t i = 0; i < l->n_edits; i++) {
        uint16_t *slot = slot_of(l, slots, l->edits[i].at);
        if (*slot != EDIT_FREE) {
            return true;
        }
        *slot = (uint16_t)i;
    }
    while (vote_texts_next(&texts, &text)) {
        found += text.kind != VOTE_TEXT_MEMBER_NAME && *slot_of(l, slots, text.at) != EDIT_FREE;
    }
    return found != l->n_edits;
}

static void
look_at_body(struct looking *l, const struct plugin_ask *ask)
{
    struct vote_texts texts;
    struct vote_text text;
    struct dyn_err err;
    if (ask->texts == NULL && ask->body.len == 0) {
        return;
    }
    int failed = ask->texts != NULL ? vote_texts_of(&texts, ask->texts, &err)
                                    : vote_texts_open(&texts, ask->body, &err);
    if (failed) { /* it has more texts than a map may hold */
        deny(l, dyn_slice(NULL, 0));
        l->vote->log = dyn_slice_str(plugin_cell_text(l->cell, "its texts cannot be read: %s", err.text));
        return;
    }
    if (texts.uninspectable && l->is_request && !l->filter->passes_uninspectable) {
        deny(l, dyn_slice(NULL, 0));
        l->vote->log = DYN_SLICE("it has parts without a text to look at");
        return;
    }
    struct vote_texts again = texts;
    while (vote_texts_next(&texts, &text)) {
        if (!look_at(l, &text)) {
            return;
        }
    }
    if (l->n_edits > 0 && is_ambiguous(l, again)) {
        deny(l, dyn_slice(NULL, 0));
        l->vote->log = DYN_SLICE("a member that is to be masked stands there twice");
    } else if (l->n_edits > 0) {
        l->vote->verdict = VOTE_AMEND;
        l->vote->edits = l->edits;
        l->vote->n_edits = l->n_edits;
        l->vote->notes = DYN_SLICE("masked");
    }
}

/* ---- streams ---- */

/* What becomes of a stream that nobody speaks of any more: its router is gone. */
#define STREAM_IDLE_US (UINT64_C(15) * 60 * 1000 * 1000)
enum { CHANNELS_MAX = 256 };

struct watched_channel {
    struct watched_channel *next;
    struct vote_channel id;
    uint64_t begin; /* where it was taken over; 0: it was seen from its beginning */
    uint64_t seen;
    content_watch_t *watch;
};

struct watched_stream {
    struct env_map_node node;
    struct dyn_list link; /* by when it was last spoken of */
    uint64_t used_us;
    struct watched_channel *channels;
    size_t n_channels;
    bool has_warned;
};

struct word_filter_cell {
    struct env_map streams;
    struct dyn_list by_use;
};

static void
stream_free(struct word_filter_cell *own, struct watched_stream *stream)
{
    for (struct watched_channel *channel; (channel = stream->channels) != NULL;) {
        stream->channels = channel->next;
        content_watch_free(&channel->watch);
        free(channel);
    }
    env_map_remove(&own->streams, &stream->node);
    dyn_list_remove(&stream->link);
    free(stream);
}

static struct watched_stream *
stream_find(struct word_filter_cell *own, const struct env_id *id)
{
    struct env_map_node *node = env_map_find(&own->streams, id);
    return node != NULL ? DYN_CONTAINER_OF(node, struct watched_stream, node) : NULL;
}

static void
forget_idle(struct word_filter_cell *own, uint64_t now_us)
{
    while (!dyn_list_is_empty(&own->by_use)) {
        struct watched_stream *oldest = DYN_CONTAINER_OF(own->by_use.next, struct watched_stream, link);
        if (now_us - oldest->used_us < STREAM_IDLE_US) {
            return;
        }
        stream_free(own, oldest);
    }
}

static struct watched_stream *
stream_of(struct word_filter_cell *own, const struct env_id *id, uint64_t now_us)
{
    struct watched_stream *stream = stream_find(own, id);
    if (stream == NULL) {
        forget_idle(own, now_us);
        stream = dyn_zalloc(sizeof *stream);
        env_map_add(&own->streams, &stream->node, id);
    } else {
        dyn_list_remove(&stream->link);
    }
    dyn_list_append(&own->by_use, &stream->link);
    stream->used_us = now_us;
    return stream;
}

/* Of another process, which is lost, a stream is taken over where nothing is held any more: only rules that
 * look back need what came before. A whole word counts there whatever stood on its left. */
static bool
may_begin_at(const struct looking *l, uint64_t position)
{
    return position == 0 || (l->resumes && !content_rules_look_back(l->filter->rules));
}

/* NULL: it began without us, or there are too many. */
static struct watched_channel *
channel_of(const struct looking *l, struct watched_stream *stream, const struct vote_delta *delta)
{
    struct vote_channel id = delta->channel;
    for (struct watched_channel *channel = stream->channels; channel != NULL; channel = channel->next) {
        if (channel->id.choice == id.choice && channel->id.kind == id.kind && channel->id.tool == id.tool) {
            return channel->seen == delta->from ? channel : NULL;
        }
    }
    if (!may_begin_at(l, delta->from) || stream->n_channels == CHANNELS_MAX) {
        return NULL;
    }
    struct watched_channel *channel = dyn_zalloc(sizeof *channel);
    *channel = (struct watched_channel){.next = stream->channels, .id = id};
    channel->begin = channel->seen = delta->from;
    channel->watch = content_watch_new(l->filter->rules, id.kind == VOTE_TEXT_TOOL_ARGUMENTS);
    stream->channels = channel;
    stream->n_channels++;
    return channel;
}

static void
warn_of_window(struct watched_stream *stream, const struct watched_channel *channel)
{
    if (!stream->has_warned && content_watch_is_cut(channel->watch)) {
        stream->has_warned = true;
        dyn_log(DYN_LOG_WARN, "plugin.word_filter.window",
                "an expression was to see more of a stream than window_bytes: it saw a part");
    }
}

static void
fail_stream(struct plugin_vote *vote, const char *why)
{
    vote->verdict = VOTE_FAILED;
    vote->reason = DYN_SLICE("a content rule could not be decided");
    vote->log = dyn_slice_str(why);
}

/* false: it cannot be decided. */
static bool
watch_deltas(struct looking *l, struct watched_stream *stream, const struct vote_deltas *deltas)
{
    for (size_t i = 0; i < deltas->n; i++) {
        const struct vote_delta *delta = &deltas->items[i];
        struct watched_channel *channel = channel_of(l, stream, delta);
        if (channel == NULL) {
            fail_stream(l->vote, "it did not see the beginning of the stream");
            return false;
        }
        channel->seen += delta->text.len;
        if (content_watch_feed(channel->watch, delta->text, false, &l->budget) == CONTENT_UNKNOWN) {
            fail_stream(l->vote, "an expression came to a limit");
            return false;
        }
        warn_of_window(stream, channel);
    }
    for (struct watched_channel *channel = stream->channels; channel != NULL && deltas->is_last;
         channel = channel->next) {
        if (content_watch_feed(channel->watch, DYN_SLICE(""), true, &l->budget) == CONTENT_UNKNOWN) {
            fail_stream(l->vote, "an expression came to a limit");
            return false;
        }
    }
    return true;
}

static const struct content_match *
first_match(const struct watched_stream *stream)
{
    for (const struct watched_channel *channel = stream->channels; channel != NULL; channel = channel->next) {
        if (content_watch_match(channel->watch) != NULL) {
            return content_watch_match(channel->watch);
        }
    }
    return NULL;
}

static void
mark_stream(struct looking *l, struct watched_stream *stream, bool is_list)
{
    const struct word_filter *filter = l->filter;
    struct arena *arena = plugin_cell_arena(l->cell);
    struct vote_mark *marks = arena_alloc(arena, (stream->n_channels + 1) * sizeof *marks);
    size_t n = 0;
    for (struct watched_channel *channel = stream->channels; channel != NULL; channel = channel->next) {
        struct vote_mask *masks = NULL;
        size_t n_masks = 0;
        bool is_json = channel->id.kind == VOTE_TEXT_TOOL_ARGUMENTS;
        struct dyn_slice mask_text = dyn_slice_str(is_json ? filter->mask_escaped : filter->mask_text);
        uint64_t clear = content_watch_clear(channel->watch, arena, mask_text,
                                             filter->masks_streams ? &masks : NULL, &n_masks);
        for (size_t i = 0; masks != NULL && i < n_masks; i++) {
            masks[i].from += channel->begin;
            masks[i].to += channel->begin;
        }
        marks[n++] = (struct vote_mark){channel->id, channel->begin + clear, masks, n_masks};
    }
    if (is_list && l->vote->verdict == VOTE_PASS) {
        l->vote->marked = marks;
        l->vote->n_marked = n;
        return;
    }
    struct dyn_buf body = DYN_BUF_INIT;
    bool has_closing = l->vote->verdict == VOTE_DENY && filter->closing_text != NULL;
    vote_marks_encode_closing(marks, n, dyn_slice_str(has_closing ? filter->closing_text : NULL), &body);
    l->vote->marks = dyn_block_copy(0, dyn_buf_slice(&body));
    dyn_buf_fini(&body);
}

static int
read_deltas(const struct looking *l, const struct plugin_ask *ask, struct vote_deltas *deltas)
{
    struct dyn_err err;
    if (ask->deltas != NULL) {
        *deltas = *ask->deltas;
        return 0;
    }
    return vote_deltas_decode(ask->body, plugin_cell_arena(l->cell), &deltas->items, &deltas->n,
                              &deltas->is_last, &err);
}

static void
look_at_stream(struct looking *l, struct word_filter_cell *own, const struct plugin_ask *ask)
{
    struct vote_deltas deltas;
    if (read_deltas(l, ask, &deltas) != 0) {
        fail_stream(l->vote, "the deltas cannot be read");
        return;
    }
    l->resumes = ask->deltas == NULL && vote_deltas_resume(ask->body);
    struct watched_stream *stream = l->resumes ? stream_find(own, &ask->ticket.id) : NULL;
    if (stream != NULL) { /* it was ours before: what is asked now begins anew */
        stream_free(own, stream);
    }
    stream = stream_of(own, &ask->ticket.id, ask->now_us);
    bool is_decided = watch_deltas(l, stream, &deltas);
    const struct content_match *match = first_match(stream);
    if (is_decided && match != NULL && !l->filter->masks_streams) {
        deny(l, match->rule);
    }
    if (is_decided) {
        mark_stream(l, stream, ask->deltas != NULL);
    }
    if (deltas.is_last || l->vote->verdict != VOTE_PASS) {
        stream_free(own, stream);
    }
}

/* ---- the plugin ---- */

static void *
word_filter_cell_new(void *shared, plugin_cell_t *cell)
{
    struct word_filter_cell *own = dyn_zalloc(sizeof *own);
    (void)shared;
    (void)cell;
    env_map_init(&own->streams);
    dyn_list_init(&own->by_use);
    return own;
}

static void
word_filter_cell_free(void *shared, void *cell_own)
{
    struct word_filter_cell *own = cell_own;
    (void)shared;
    for (struct env_map_node *node; (node = env_map_any(&own->streams)) != NULL;) {
        stream_free(own, DYN_CONTAINER_OF(node, struct watched_stream, node));
    }
    env_map_fini(&own->streams);
    free(own);
}

static enum plugin_when
word_filter_vote(void *shared, void *cell_own, plugin_cell_t *cell, const struct plugin_ask *ask,
                 struct plugin_vote *vote)
{
    const struct word_filter *self = shared;
    struct word_filter_cell *own = cell_own;
    struct looking l = {.filter = self, .cell = cell, .vote = vote, .budget = {DYN_REGEX_BUDGET_US}};
    l.is_request = ask->stage == VOTE_BEFORE_REQUEST;
    if (ask->is_told) {
        struct watched_stream *stream = stream_find(own, &ask->ticket.id);
        if (stream != NULL) {
            stream_free(own, stream);
        }
    } else if (ask->stage == VOTE_DURING_STREAM) {
        look_at_stream(&l, own, ask);
    } else if (!content_rules_is_empty(self->rules)) {
        look_at_body(&l, ask);
    }
    content_found_fini(&l.found);
    return PLUGIN_VOTED;
}

const struct plugin_ops plugin_word_filter = {
    .name = "word-filter",
    .type = PLUGIN_GUARDRAIL,
    .summary = "Refuses or masks requests, answers and streams that hold blocked words or match expressions.",
    .traits = {.stages = VOTE_STAGE_BIT(VOTE_BEFORE_REQUEST) | VOTE_STAGE_BIT(VOTE_AFTER_REQUEST) |
                         VOTE_STAGE_BIT(VOTE_DURING_STREAM),
               .needs = VOTE_NEEDS_TEXT,
               .amends = true,
               .lists = true},
    .denies = VOTE_STAGE_BIT(VOTE_BEFORE_REQUEST) | VOTE_STAGE_BIT(VOTE_AFTER_REQUEST) |
              VOTE_STAGE_BIT(VOTE_DURING_STREAM),
    .config = &section,
    .check = word_filter_check,
    .adapt = word_filter_adapt,
    .make = word_filter_make,
    .free = word_filter_free,
    .cell_new = word_filter_cell_new,
    .cell_free = word_filter_cell_free,
    .vote = word_filter_vote,
};
