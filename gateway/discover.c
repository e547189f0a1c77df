#include "gateway/discover.h"

#include "actors/providers/fetch.h"
#include "core/json_scan.h"
#include "core/log.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    AT_ONCE = 8,
    PATIENCE_MS = 15 * 1000,
    LIST_BYTES_MAX = 8 * 1024 * 1024,
    DEPTH_MAX = 32,
    ID_MAX = 255,
    ID_TEXT_MAX = 6 * ID_MAX + 2, /* all of it escaped, with its quotes */
};

/* The question to one target; texts are its own. */
struct question {
    const struct provider_target *target;
    char *url;
    char *lines[FETCH_HEADERS_MAX + 1];
    size_t n_lines;
};

static void
add_line(struct question *question, struct dyn_slice name, const char *before, struct dyn_slice value)
{
    struct dyn_buf line = DYN_BUF_INIT;
    if (question->n_lines == FETCH_HEADERS_MAX) {
        return;
    }
    dyn_buf_add_slice(&line, name);
    dyn_buf_add_str(&line, ": ");
    dyn_buf_add_str(&line, before);
    dyn_buf_add_slice(&line, value);
    question->lines[question->n_lines++] = dyn_strdup(dyn_buf_cstr(&line));
    dyn_buf_fini(&line);
}

static void
ask_of(struct question *question, const struct provider_target *target)
{
    const struct provider_row *row = target->row;
    question->target = target;
    struct dyn_buf url = DYN_BUF_INIT;
    dyn_buf_add_slice(&url, target->root);
    dyn_buf_add_str(&url, "/models");
    if (strcmp(row->id, "anthropic") == 0) { /* gives twenty at a time unless asked for all */
        dyn_buf_add_str(&url, "?limit=1000");
    }
    question->url = dyn_strdup(dyn_buf_cstr(&url));
    dyn_buf_fini(&url);
    if (target->key.len > 0 && row->auth == PROVIDER_AUTH_BEARER) {
        add_line(question, DYN_SLICE("Authorization"), "Bearer ", target->key);
    } else if (target->key.len > 0 && row->auth == PROVIDER_AUTH_HEADER) {
        add_line(question, dyn_slice_str(row->auth_header), "", target->key);
    }
    for (size_t i = 0; i < PROVIDER_ROW_HEADERS_MAX && row->headers[i].name != NULL; i++) {
        add_line(question, dyn_slice_str(row->headers[i].name), "", dyn_slice_str(row->headers[i].value));
    }
    for (size_t i = 0; i < target->n_headers; i++) {
        add_line(question, target->headers[i].name, "", target->headers[i].value);
    }
}

static void
question_fini(struct question *question)
{
    free(question->url);
    for (size_t i = 0; i < question->n_lines; i++) {
        free(question->lines[i]);
    }
}

/* ---- answers ---- */

static bool
is_sound(struct dyn_slice id)
{
    for (size_t i = 0; i < id.len; i++) {
        if ((unsigned char)id.data[i] <= ' ' || id.data[i] == 0x7f) {
            return false;
        }
    }
    return id.len > 0 && id.len <= ID_MAX;
}

/* Some write "meta-llama\\/Llama-3". */
static struct dyn_slice
copy_id(struct arena *arena, struct json_value id)
{
    struct dyn_slice plain = json_string_plain(id);
    if (plain.data != NULL) {
        return arena_copy(arena, plain);
    }
    struct dyn_buf decoded = DYN_BUF_INIT;
    json_string_decode(id, &decoded);
    struct dyn_slice copy = arena_copy(arena, dyn_buf_slice(&decoded));
    dyn_buf_fini(&decoded);
    return copy;
}

static int
compare_ids(const void *left, const void *right)
{
    const struct dyn_slice *a = left;
    const struct dyn_slice *b = right;
    size_t shorter = a->len < b->len ? a->len : b->len;
    int order = memcmp(a->data, b->data, shorter);
    return order != 0 ? order : (a->len > b->len) - (a->len < b->len);
}

/* Providers list in any order, and in another one each time: that is no news. */
static void
sort_ids(struct discovered *found)
{
    size_t n = 0;
    qsort(found->models, found->n, sizeof *found->models, compare_ids);
    for (size_t i = 0; i < found->n; i++) {
        if (n == 0 || !dyn_slice_eq(found->models[n - 1], found->models[i])) {
            found->models[n++] = found->models[i];
        }
    }
    found->n = n;
}

bool
discovery_read(struct arena *arena, struct dyn_slice text, struct discovered *found)
{
    struct json_value list;
    if (json_scan(text, DEPTH_MAX, &list, NULL) != 0) {
        return false;
    }
    if (list.type == JSON_OBJECT && !json_find(list, "data", &list)) {
        return false;
    }
    if (list.type != JSON_ARRAY) {
        return false;
    }
    bool is_empty = true;
    found->models = arena_alloc(arena, DISCOVERED_MAX * sizeof *found->models);
    struct json_iter each = json_iter(list);
    for (struct json_member item; found->n < DISCOVERED_MAX && json_iter_next(&each, &item);) {
        struct json_value id;
        is_empty = false;
        bool has_id = item.value.type == JSON_OBJECT && json_find(item.value, "id", &id) &&
                      id.type == JSON_STRING && id.raw.len <= ID_TEXT_MAX;
        struct dyn_slice copy = has_id ? copy_id(arena, id) : dyn_slice(NULL, 0);
        if (is_sound(copy)) {
            found->models[found->n++] = copy;
        }
    }
    sort_ids(found);
    return found->n > 0 || is_empty;
}

static void
keep(struct arena *arena, const struct discovered *before, struct discovered *found)
{
    found->n = before->n;
    found->models = arena_alloc(arena, (before->n + 1) * sizeof *found->models);
    for (size_t i = 0; i < before->n; i++) {
        found->models[i] = arena_copy(arena, before->models[i]);
    }
}

static void
take(struct discovery *discovery, const struct fetch *fetch, const struct discovery *former)
{
    const struct question *question = fetch->user;
    struct discovered *found = &discovery->items[discovery->n];
    *found = (struct discovered){.name = arena_copy(&discovery->arena, question->target->name),
                                 .provider = question->target->row,
                                 .root = arena_copy(&discovery->arena, question->target->root)};
    bool has_said = fetch->error[0] == '\0' && fetch->status == 200 &&
                    discovery_read(&discovery->arena, dyn_buf_slice(&fetch->body), found);
    if (!has_said) {
        dyn_log(DYN_LOG_WARN, "gateway.discover", "a provider did not say which models it has",
                DYN_LOG_SLICE("target", found->name), DYN_LOG_UINT("status", (uint64_t)fetch->status),
                DYN_LOG_STR("reason", fetch->error[0] != '\0' ? fetch->error : "no list of models"));
        const struct discovered *before = discovery_of(former, question->target);
        if (before != NULL) {
            keep(&discovery->arena, before, found);
        }
    }
    discovery->n += found->n > 0;
}

/* ---- all of them ---- */

static bool
is_asked(const upstreams_t *upstreams, size_t index)
{
    const struct provider_target *target = upstreams_target(upstreams, index);
    return upstreams_registered(upstreams, index) == NULL && target->root.len > 0 &&
           strcmp(target->row->id, "mock") != 0;
}

char *
discovery_asks(const upstreams_t *upstreams)
{
    struct dyn_buf text = DYN_BUF_INIT;
    for (size_t i = 0; i < upstreams_count(upstreams); i++) {
        const struct provider_target *target = upstreams_target(upstreams, i);
        if (is_asked(upstreams, i)) {
            dyn_buf_add_slice(&text, target->name);
            dyn_buf_addf(&text, "\n%s\n", target->row->id);
            dyn_buf_add_slice(&text, target->root);
            dyn_buf_add_char(&text, '\n');
        }
    }
    char *asks = dyn_strdup(dyn_buf_cstr(&text));
    dyn_buf_fini(&text);
    return asks;
}

static size_t
prepare(const upstreams_t *upstreams, struct question *questions, struct fetch *fetches)
{
    size_t n = 0;
    for (size_t i = 0; i < upstreams_count(upstreams); i++) {
        const struct provider_target *target = upstreams_target(upstreams, i);
        if (!is_asked(upstreams, i)) {
            continue;
        }
        ask_of(&questions[n], target);
        fetches[n] = (struct fetch){.url = questions[n].url,
                                    .headers = (const char *const *)questions[n].lines,
                                    .ca_file = target->ca_file,
                                    .proxy = target->proxy,
                                    .no_proxy = target->no_proxy,
                                    .timeout_ms = PATIENCE_MS,
                                    .bytes_max = LIST_BYTES_MAX,
                                    .user = &questions[n]};
        n++;
    }
    return n;
}

struct discovery *
discovery_run(const upstreams_t *upstreams, const struct discovery *former, const atomic_bool *stop)
{
    size_t most = upstreams_count(upstreams) + 1;
    struct question *questions = dyn_zalloc(most * sizeof *questions);
    struct fetch *fetches = dyn_zalloc(most * sizeof *fetches);
    struct discovery *discovery = dyn_zalloc(sizeof *discovery);
    arena_init(&discovery->arena, NULL, 0);
    discovery->items = arena_zalloc(&discovery->arena, most * sizeof *discovery->items);
    size_t n = prepare(upstreams, questions, fetches);
    struct dyn_err err;
    if (fetch_all(fetches, n, AT_ONCE, NULL, NULL, stop, &err) != 0) {
        dyn_log(DYN_LOG_WARN, "gateway.discover", err.text);
    }
    for (size_t i = 0; i < n; i++) {
        take(discovery, &fetches[i], former);
        dyn_buf_fini(&fetches[i].body);
        question_fini(&questions[i]);
    }
    free(questions);
    free(fetches);
    return discovery;
}

void
discovery_free(struct discovery **discovery_p)
{
    struct discovery *discovery = *discovery_p;
    *discovery_p = NULL;
    if (discovery != NULL) {
        arena_fini(&discovery->arena);
        free(discovery);
    }
}

const struct discovered *
discovery_of(const struct discovery *discovery, const struct provider_target *target)
{
    for (size_t i = 0; discovery != NULL && i < discovery->n; i++) {
        const struct discovered *found = &discovery->items[i];
        if (dyn_slice_eq(found->name, target->name) && found->provider == target->row &&
            dyn_slice_eq(found->root, target->root)) {
            return found;
        }
    }
    return NULL;
}

bool
discovery_same(const struct discovery *a, const struct discovery *b)
{
    size_t n_a = a != NULL ? a->n : 0;
    size_t n_b = b != NULL ? b->n : 0;
    bool same = n_a == n_b;
    for (size_t i = 0; same && i < n_a; i++) {
        const struct discovered *x = &a->items[i];
        const struct discovered *y = &b->items[i];
        same = dyn_slice_eq(x->name, y->name) && x->provider == y->provider &&
               dyn_slice_eq(x->root, y->root) && x->n == y->n;
        for (size_t k = 0; same && k < x->n; k++) {
            same = dyn_slice_eq(x->models[k], y->models[k]);
        }
    }
    return same;
}
