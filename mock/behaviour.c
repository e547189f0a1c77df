/* Reads the grammar of behaviours.def. */
#include "mock/behaviour.h"

#include "core/nearest.h"

enum { DEFAULT_TOKENS = 8 };

static const char *const mock_finish_names[] = {"stop", "length", "filter", NULL};
static const char *const mock_usage_names[] = {"asked", "never", "always", "finish", NULL};
static const char *const mock_cut_names[] = {"no", "start", "head", "body", "event", "done", NULL};
static const char *const mock_hang_names[] = {"no", "head", "body", NULL};
static const char *const mock_error_names[] = {"no", "first", "middle", NULL};
static const char *const mock_garbage_names[] = {"no", "head", "body", "html", "event", NULL};
static const char *const mock_line_end_names[] = {"lf", "crlf", "cr", NULL};

enum key_kind { KEY_FLAG, KEY_NUMBER, KEY_RANGE, KEY_CHOICE };
enum key_role { KEY_NORMAL, KEY_FAULT };

struct key {
    const char *name;
    enum key_kind kind;
    size_t offset;
    size_t size; /* of the field */
    uint32_t min;
    uint32_t max;
    const char *const *names; /* CHOICE: ends with NULL */
    enum key_role role;
    const char *help;
};

#define KEY(name, kind, field, min, max, names, role, help)                                                  \
    {name,                                                                                                   \
     KEY_##kind,                                                                                             \
     offsetof(struct mock_behaviour, field),                                                                 \
     sizeof(((struct mock_behaviour *)NULL)->field),                                                         \
     min,                                                                                                    \
     max,                                                                                                    \
     names,                                                                                                  \
     KEY_##role,                                                                                             \
     help},
static const struct key keys[] = {
#include "mock/behaviours.def"
};
#undef KEY

void
mock_behaviour_init(struct mock_behaviour *behaviour)
{
    *behaviour = (struct mock_behaviour){
        .tokens = DEFAULT_TOKENS,
        .retry_s = MOCK_RETRY_NONE,
        .after = MOCK_AFTER_HALF,
        .piece_bytes = 1,
    };
}

/* Takes the text up to the next '-' off the front. false at the end. */
static bool
next_word(struct dyn_slice *text, struct dyn_slice *word)
{
    if (text->data == NULL) {
        return false;
    }
    const char *dash = text->len > 0 ? memchr(text->data, '-', text->len) : NULL;
    if (dash == NULL) {
        *word = *text;
        *text = (struct dyn_slice){NULL, 0};
        return true;
    }
    size_t len = (size_t)(dash - text->data);
    *word = dyn_slice(text->data, len);
    *text = dyn_slice(dash + 1, text->len - len - 1);
    return true;
}

static const struct key *
find_key(struct dyn_slice name)
{
    for (size_t i = 0; i < DYN_ARRAY_LEN(keys); i++) {
        if (dyn_slice_is(name, keys[i].name)) {
            return &keys[i];
        }
    }
    return NULL;
}

static int
unknown_key(struct dyn_slice name, struct dyn_err *err)
{
    const char *names[DYN_ARRAY_LEN(keys)];
    for (size_t i = 0; i < DYN_ARRAY_LEN(keys); i++) {
        names[i] = keys[i].name;
    }
    const char *near = dyn_nearest(name, names, DYN_ARRAY_LEN(names));
    return dyn_err_set(err, DYN_E_INVALID, "the mock knows no '%.*s'%s%s%s", (int)name.len, name.data,
                       near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* Decimal digits off the front of *text; -1 without one or beyond 32 bits. */
static int
take_number(struct dyn_slice *text, uint32_t *out)
{
    uint64_t value = 0;
    size_t i = 0;
    for (; i < text->len && text->data[i] >= '0' && text->data[i] <= '9'; i++) {
        value = value * 10 + (uint64_t)(text->data[i] - '0');
        if (value > UINT32_MAX) {
            return -1;
        }
    }
    if (i == 0) {
        return -1;
    }
    *text = dyn_slice(text->data + i, text->len - i);
    *out = (uint32_t)value;
    return 0;
}

static bool
parse_range(const struct key *key, struct dyn_slice value, struct mock_range *range)
{
    if (take_number(&value, &range->from) != 0) {
        return false;
    }
    range->to = range->from;
    if (value.len > 2 && memcmp(value.data, "to", 2) == 0) {
        value = dyn_slice(value.data + 2, value.len - 2);
        if (take_number(&value, &range->to) != 0) {
            return false;
        }
    }
    return value.len == 0 && range->from <= range->to && range->from >= key->min && range->to <= key->max;
}

static bool
parse_choice(const struct key *key, struct dyn_slice value, int *index)
{
    for (int i = 0; key->names[i] != NULL; i++) {
        if (dyn_slice_is(value, key->names[i])) {
            *index = i;
            return true;
        }
    }
    return false;
}

static int
bad_value(const struct key *key, struct dyn_slice value, struct dyn_err *err)
{
    struct dyn_buf takes = DYN_BUF_INIT_LIMIT(200);
    if (key->kind == KEY_CHOICE) {
        for (size_t i = 0; key->names[i] != NULL; i++) {
            dyn_buf_addf(&takes, "%s%s", i > 0 ? ", " : "one of ", key->names[i]);
        }
    } else {
        dyn_buf_addf(&takes, "a number from %u to %u%s", key->min, key->max,
                     key->kind == KEY_RANGE ? ", or two as in 200to2000" : "");
    }
    int rc = dyn_err_set(err, DYN_E_INVALID, "the mock's '%s' takes %s, not '%.*s'", key->name,
                         dyn_buf_cstr(&takes), (int)value.len, value.data ? value.data : "");
    dyn_buf_fini(&takes);
    return rc;
}

/* Sets the key's field; false when the value does not fit. */
static bool
set_field(struct mock_behaviour *behaviour, const struct key *key, struct dyn_slice value)
{
    void *field = (char *)behaviour + key->offset;
    const bool yes = true;
    struct mock_range range;
    int index;
    switch (key->kind) {
    case KEY_FLAG:
        memcpy(field, &yes, key->size);
        return true;
    case KEY_NUMBER:
        if (!parse_range(key, value, &range) || range.from != range.to) {
            return false;
        }
        memcpy(field, &range.from, key->size);
        return true;
    case KEY_RANGE:
        if (!parse_range(key, value, &range)) {
            return false;
        }
        memcpy(field, &range, key->size);
        return true;
    case KEY_CHOICE:
        if (!parse_choice(key, value, &index)) {
            return false;
        }
        memcpy(field, &index, key->size);
        return true;
    }
    return false;
}

int
mock_behaviour_parse(struct mock_behaviour *behaviour, struct dyn_slice text, struct dyn_err *err)
{
    struct dyn_slice name;
    bool seen[DYN_ARRAY_LEN(keys)] = {false};
    while (next_word(&text, &name)) {
        const struct key *key = find_key(name);
        if (key == NULL) {
            return unknown_key(name, err);
        }
        if (seen[key - keys]) {
            return dyn_err_set(err, DYN_E_INVALID, "'%s' is there twice", key->name);
        }
        seen[key - keys] = true;
        struct dyn_slice value = {NULL, 0};
        if (key->kind != KEY_FLAG && !next_word(&text, &value)) {
            return bad_value(key, dyn_slice("", 0), err);
        }
        if (!set_field(behaviour, key, value)) {
            return bad_value(key, value, err);
        }
    }
    return 0;
}

int
mock_behaviour_of_model(struct mock_behaviour *behaviour, struct dyn_slice model, struct dyn_err *err)
{
    static const struct dyn_slice mark = DYN_SLICE_INIT("mock");
    mock_behaviour_init(behaviour);
    const char *slash = model.len > 0 ? memrchr(model.data, '/', model.len) : NULL;
    if (slash != NULL) {
        size_t skip = (size_t)(slash - model.data) + 1;
        model = dyn_slice(model.data + skip, model.len - skip);
    }
    if (model.len < mark.len + 1 || memcmp(model.data, mark.data, mark.len) != 0 ||
        model.data[mark.len] != '-') {
        return 0;
    }
    return mock_behaviour_parse(behaviour, dyn_slice(model.data + mark.len + 1, model.len - mark.len - 1),
                                err);
}

void
mock_behaviour_heal(struct mock_behaviour *behaviour)
{
    struct mock_behaviour well;
    mock_behaviour_init(&well);
    for (size_t i = 0; i < DYN_ARRAY_LEN(keys); i++) {
        if (keys[i].role == KEY_FAULT) {
            memcpy((char *)behaviour + keys[i].offset, (const char *)&well + keys[i].offset, keys[i].size);
        }
    }
}

void
mock_behaviour_write_table(struct dyn_buf *out)
{
    dyn_buf_add_str(out, "| key | value | what it does |\n|---|---|---|\n");
    for (size_t i = 0; i < DYN_ARRAY_LEN(keys); i++) {
        const struct key *key = &keys[i];
        dyn_buf_addf(out, "| `%s` | ", key->name);
        if (key->kind == KEY_CHOICE) {
            for (size_t n = 0; key->names[n] != NULL; n++) {
                dyn_buf_addf(out, "%s`%s`", n > 0 ? " " : "", key->names[n]);
            }
        } else if (key->kind != KEY_FLAG) {
            dyn_buf_addf(out, "%u..%u%s", key->min, key->max, key->kind == KEY_RANGE ? ", or `AtoB`" : "");
        }
        dyn_buf_addf(out, " | %s |\n", key->help);
    }
}
