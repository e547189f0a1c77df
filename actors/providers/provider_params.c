/* One walk over the members of the body, and only of a body that has something to change. */
#include "actors/providers/provider_params.h"

#include "core/buf.h"
#include "proto/dialects/dialect.h"

/* The walk: what is to be taken out is gathered as a run of neighbours, so that the commas between what stays
 * are right whatever goes. */
struct reading {
    const struct provider_row *row;
    struct dyn_slice body;
    uint32_t drops; /* DIALECT_PARAM_* to take out */
    struct arena *arena;
    struct provider_params *result;
    size_t room;
    bool has_both[PROVIDER_ROW_RENAMES_MAX]; /* names of a rename */
    struct dyn_slice top_logprobs;           /* of the row that counts them; absent: none */
};

/* ---- edits ---- */

static void
edit(struct reading *r, const char *at, size_t remove, struct dyn_slice insert)
{
    struct provider_params *result = r->result;
    if (result->n_edits == r->room) {
        size_t room = r->room > 0 ? r->room * 2 : 8;
        struct json_edit *larger = arena_alloc(r->arena, room * sizeof *larger);
        if (result->n_edits > 0) {
            memcpy(larger, result->edits, result->n_edits * sizeof *larger);
        }
        result->edits = larger;
        r->room = room;
    }
    result->edits[result->n_edits++] = (struct json_edit){(size_t)(at - r->body.data), remove, insert};
}

static const char *
end_of(struct dyn_slice text)
{
    return text.data + text.len;
}

/* Members of one object that go. */
struct removal {
    const char *begin;    /* of the run at hand; NULL: there is none */
    const char *end;      /* ... behind its last value */
    const char *kept_end; /* behind the last value that stays; NULL: none does so far */
};

static void
remove_member(struct removal *removal, const struct json_member *member)
{
    if (removal->begin == NULL) {
        removal->begin = member->key.data - 1;
    }
    removal->end = end_of(member->value.raw);
}

static void
keep_member(struct reading *r, struct removal *removal, const struct json_member *member)
{
    if (removal->begin != NULL) {
        edit(r, removal->begin, (size_t)(member->key.data - 1 - removal->begin), dyn_slice(NULL, 0));
        removal->begin = NULL;
    }
    removal->kept_end = end_of(member->value.raw);
}

static void
end_of_members(struct reading *r, struct removal *removal)
{
    if (removal->begin != NULL) {
        const char *begin = removal->kept_end != NULL ? removal->kept_end : removal->begin;
        edit(r, begin, (size_t)(removal->end - begin), dyn_slice(NULL, 0));
    }
}

/* ---- members ---- */

/* The number of a parameter, or DIALECT_PARAM_COUNT. */
static unsigned
param_of(const struct json_member *member)
{
    unsigned number = 0;
    while (number < DIALECT_PARAM_COUNT && !json_key_is(member, dialect_param_name(number))) {
        number++;
    }
    return number;
}

static uint32_t
bit_of(const char *name)
{
    for (unsigned number = 0; number < DIALECT_PARAM_COUNT; number++) {
        if (strcmp(dialect_param_name(number), name) == 0) {
            return UINT32_C(1) << number;
        }
    }
    return 0;
}

/* The row's rename of that member, by number; PROVIDER_ROW_RENAMES_MAX: none. */
static size_t
rename_of(const struct provider_row *row, const struct json_member *member)
{
    for (size_t i = 0; i < PROVIDER_ROW_RENAMES_MAX && row->renames[i].from != NULL; i++) {
        if (json_key_is(member, row->renames[i].from)) {
            return i;
        }
    }
    return PROVIDER_ROW_RENAMES_MAX;
}

/* messages[].name, in each of them. */
static void
remove_names(struct reading *r, struct json_value messages)
{
    struct json_iter items = json_iter(messages);
    for (struct json_member message; json_iter_next(&items, &message);) {
        struct removal removal = {.begin = NULL};
        struct json_iter members = json_iter(message.value);
        for (struct json_member member; json_iter_next(&members, &member);) {
            if (json_key_is(&member, "name")) {
                remove_member(&removal, &member);
            } else {
                keep_member(r, &removal, &member);
            }
        }
        end_of_members(r, &removal);
    }
}

/* The member goes as a whole. */
static bool
leaves(const struct reading *r, const struct json_member *member, size_t rename)
{
    unsigned number = param_of(member);
    if (number < DIALECT_PARAM_COUNT && ((r->drops >> number) & 1) != 0) {
        return true;
    }
    if (rename < PROVIDER_ROW_RENAMES_MAX) {
        return r->has_both[rename];
    }
    return r->row->counts_logprobs &&
           (number == DIALECT_PARAM_BIT_TOP_LOGPROBS ||
            (number == DIALECT_PARAM_BIT_LOGPROBS && member->value.type == JSON_FALSE));
}

/* Changes what is in a member that stays. OpenAI's `logprobs` is a boolean, with the number in
 * `top_logprobs`; who counts has the number here. */
static void
change_member(struct reading *r, const struct json_member *member, size_t rename)
{
    if (rename < PROVIDER_ROW_RENAMES_MAX) {
        edit(r, member->key.data, member->key.len, dyn_slice_str(r->row->renames[rename].to));
    } else if (r->row->no_names && json_key_is(member, "messages")) {
        remove_names(r, member->value);
    } else if (r->row->counts_logprobs && member->value.type == JSON_TRUE &&
               json_key_is(member, "logprobs")) {
        struct dyn_slice count = r->top_logprobs.data != NULL ? r->top_logprobs : DYN_SLICE("1");
        edit(r, member->value.raw.data, member->value.raw.len, count);
    }
}

static void
walk(struct reading *r, struct json_value object)
{
    struct removal removal = {.begin = NULL};
    struct json_iter members = json_iter(object);
    for (struct json_member member; json_iter_next(&members, &member);) {
        size_t rename = rename_of(r->row, &member);
        if (leaves(r, &member, rename)) {
            remove_member(&removal, &member);
        } else {
            keep_member(r, &removal, &member);
            change_member(r, &member, rename);
        }
    }
    end_of_members(r, &removal);
}

/* ---- what there is to do ---- */

static uint32_t
renamed(const struct provider_row *row)
{
    uint32_t bits = row->counts_logprobs ? DIALECT_PARAM_LOGPROBS | DIALECT_PARAM_TOP_LOGPROBS : 0;
    for (size_t i = 0; i < PROVIDER_ROW_RENAMES_MAX && row->renames[i].from != NULL; i++) {
        bits |= bit_of(row->renames[i].from);
    }
    return bits;
}

bool
provider_params_concern(const struct provider_row *row, uint32_t params)
{
    uint32_t looked_at = row->unsupported | (row->one_choice ? DIALECT_PARAM_N : 0) | renamed(row);
    return row->no_names || (looked_at & params) != 0;
}

static bool
wants_several(struct json_value object)
{
    struct json_value n;
    int64_t number = 1;
    return json_find(object, "n", &n) && json_int64(n, &number) == 0 && number != 1;
}

/* An outermost value that was validated before, without the space around it. */
static struct json_value
object_of(struct dyn_slice body)
{
    const char *begin = memchr(body.data, '{', body.len);
    const char *end = memrchr(body.data, '}', body.len);
    DYN_ASSERT(begin != NULL && end != NULL);
    return (struct json_value){JSON_OBJECT, dyn_slice(begin, (size_t)(end + 1 - begin))};
}

void
provider_params_read(const struct provider_row *row, enum provider_on_unsupported mode, struct dyn_slice body,
                     uint32_t params, struct arena *arena, struct provider_params *result)
{
    struct json_value object = object_of(body);
    struct json_value other;
    *result = (struct provider_params){.unsupported = row->unsupported & params};
    if (row->one_choice && (params & DIALECT_PARAM_N) != 0 && wants_several(object)) {
        result->unsupported |= DIALECT_PARAM_N;
    }
    uint32_t drops = mode == PROVIDER_UNSUPPORTED_DROP ? result->unsupported : 0;
    bool has_names = row->no_names && memmem(body.data, body.len, "\"name\"", 6) != NULL;
    if (drops == 0 && (renamed(row) & params) == 0 && !has_names) {
        return;
    }
    struct reading r = {
        .row = row, .body = body, .drops = drops, .arena = arena, .result = result, .has_both = {false}};
    for (size_t i = 0; i < PROVIDER_ROW_RENAMES_MAX && row->renames[i].from != NULL; i++) {
        r.has_both[i] = json_find(object, row->renames[i].to, &other);
    }
    if (row->counts_logprobs && json_find(object, "top_logprobs", &other) && other.type == JSON_NUMBER) {
        r.top_logprobs = other.raw;
    }
    walk(&r, object);
}

void
provider_params_embeddings(const struct provider_row *row, struct dyn_slice body, struct arena *arena,
                           struct provider_params *result)
{
    struct reading r = {.body = body, .arena = arena, .result = result};
    struct json_value other;
    struct json_value object = object_of(body);
    *result = (struct provider_params){.n_edits = 0};
    if (row->dimensions == NULL || json_find(object, row->dimensions, &other)) {
        return;
    }
    struct json_iter members = json_iter(object);
    for (struct json_member member; json_iter_next(&members, &member);) {
        if (json_key_is(&member, "dimensions")) {
            edit(&r, member.key.data, member.key.len, dyn_slice_str(row->dimensions));
        }
    }
}

void
provider_params_names(struct dyn_buf *out, uint32_t params)
{
    const char *comma = "";
    for (unsigned number = 0; number < DIALECT_PARAM_COUNT; number++) {
        if (((params >> number) & 1) != 0) {
            dyn_buf_addf(out, "%s%s", comma, dialect_param_name(number));
            comma = ", ";
        }
    }
}
