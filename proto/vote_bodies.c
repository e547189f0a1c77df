/* The bodies of ASK and VOTE as MessagePack and back: texts, edits, deltas, marks. What is read may come from
 * anyone: it is checked as a whole first, unknown members are skipped, and what has another type than it
 * should is refused. */
#include "proto/vote.h"

#include <msgpack.h>

/* Keys and values of one body. A long conversation has some thousand texts of a dozen values each. */
enum { VALUES_MAX = 512 * 1024, MASKS_MAX = 4096 };

/* ---- writing ---- */

static int
append(void *out, const char *data, size_t len)
{
    dyn_buf_add(out, data, len);
    return 0;
}

static msgpack_packer
packer_to(struct dyn_buf *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, append);
    return packer;
}

static void
pack_text(msgpack_packer *packer, struct dyn_slice text)
{
    (void)msgpack_pack_str(packer, text.len);
    (void)msgpack_pack_str_body(packer, text.data, text.len);
}

static void
pack_word(msgpack_packer *packer, const char *word)
{
    pack_text(packer, dyn_slice_str(word));
}

static void
pack_member(msgpack_packer *packer, const char *key, struct dyn_slice text)
{
    pack_word(packer, key);
    pack_text(packer, text);
}

static void
pack_number(msgpack_packer *packer, const char *key, uint64_t number)
{
    pack_word(packer, key);
    (void)msgpack_pack_uint64(packer, number);
}

static void
pack_flag(msgpack_packer *packer, const char *key)
{
    pack_word(packer, key);
    (void)msgpack_pack_true(packer);
}

/* ---- reading ---- */

/* A map of MessagePack that is walked key by key. */
struct members {
    struct mp_cursor *cursor;
    uint64_t left;
    const char *wrong; /* NULL: nothing so far */
};

static struct members
members_of(struct mp_cursor *cursor)
{
    struct mp_value map;
    struct members members = {.cursor = cursor};
    if (!mp_next(cursor, &map) || map.type != MP_MAP) {
        members.wrong = "not a map";
        return members;
    }
    members.left = map.number;
    return members;
}

static bool
next_member(struct members *members, struct dyn_slice *key)
{
    struct mp_value value;
    if (members->wrong != NULL || members->left == 0) {
        return false;
    }
    members->left--;
    if (!mp_next(members->cursor, &value) || value.type != MP_STR) {
        members->wrong = "a key is not text";
        return false;
    }
    *key = value.bytes;
    return true;
}

static struct dyn_slice
text_of(struct members *members)
{
    struct mp_value value = {.type = MP_NIL};
    if (!mp_next(members->cursor, &value) || value.type != MP_STR) {
        members->wrong = "a text is none";
        return dyn_slice(NULL, 0);
    }
    return value.bytes;
}

static uint64_t
number_of(struct members *members, uint64_t max)
{
    struct mp_value value = {.type = MP_NIL};
    if (!mp_next(members->cursor, &value) || value.type != MP_UINT || value.number > max) {
        members->wrong = "a number is none";
        return 0;
    }
    return value.number;
}

static bool
flag_of(struct members *members)
{
    struct mp_value value = {.type = MP_NIL};
    if (!mp_next(members->cursor, &value) || value.type != MP_BOOL) {
        members->wrong = "a boolean is none";
        return false;
    }
    return value.number != 0;
}

/* The number of items of a list that comes next. */
static uint64_t
list_of(struct members *members, uint64_t max)
{
    struct mp_value value = {.type = MP_NIL};
    if (!mp_next(members->cursor, &value) || value.type != MP_ARRAY || value.number > max) {
        members->wrong = "a list is none, or too long";
        return 0;
    }
    return value.number;
}

/* NULL, or what is wrong with the item. */
typedef const char *(*read_item_fn)(struct mp_cursor *cursor, struct arena *arena, void *item);

/* The items of a list that comes next, each of `size` bytes in memory; *n of them are good. */
static void *
items_of(struct members *members, uint64_t max, size_t size, read_item_fn read, struct arena *arena,
         size_t *n)
{
    uint64_t count = list_of(members, max);
    char *items = arena_alloc(arena, ((size_t)count + 1) * size);
    for (*n = 0; *n < count && members->wrong == NULL; (*n)++) {
        members->wrong = read(members->cursor, arena, items + *n * size);
    }
    return items;
}

static int
checked(struct dyn_slice body, struct mp_cursor *cursor, struct dyn_err *err)
{
    *cursor = mp_cursor(body);
    return mp_check(body, VALUES_MAX, err);
}

static int
verdict_on(const struct members *members, const char *what, struct dyn_err *err)
{
    return members->wrong == NULL ? 0 : dyn_err_set(err, DYN_E_INVALID, "%s: %s", what, members->wrong);
}

/* ---- texts ---- */

/* {"uninspectable": false, "texts": [..]}: the list comes last, so that it can be read as it stands. */
#define ARRAY32 ((char)0xdd)
enum { ARRAY32_HEAD = 5 };

void
vote_texts_begin(struct vote_texts_writer *writer, struct dyn_buf *out)
{
    *writer = (struct vote_texts_writer){.out = out, .start = out->len};
    msgpack_packer packer = packer_to(out);
    (void)msgpack_pack_map(&packer, 2);
    pack_word(&packer, "uninspectable");
    (void)msgpack_pack_false(&packer);
    pack_word(&packer, "texts");
    char head[ARRAY32_HEAD] = {ARRAY32};
    dyn_buf_add(out, head, sizeof head); /* the number follows when it is known */
}

void
vote_texts_add(struct vote_texts_writer *writer, const struct vote_text *text)
{
    msgpack_packer packer = packer_to(writer->out);
    bool has_role = text->role.len > 0;
    (void)msgpack_pack_map(&packer, (has_role ? 4u : 3u) + (text->choice != 0 ? 1u : 0u));
    if (has_role) {
        pack_member(&packer, "role", text->role);
    }
    pack_member(&packer, "kind", dyn_slice_str(vote_text_kind_name(text->kind)));
    pack_member(&packer, "at", text->at);
    if (text->choice != 0) {
        pack_number(&packer, "choice", text->choice);
    }
    pack_member(&packer, "text", text->text);
    writer->n++;
}

void
vote_texts_end(struct vote_texts_writer *writer)
{
    static const char key[] = "uninspectable";
    size_t flag = writer->start + 1 + sizeof key; /* behind the map's head and the key's */
    size_t count = flag + 1 + sizeof "texts" + 1;
    if (writer->out->failed) {
        return;
    }
    writer->out->data[flag] = (char)(unsigned char)(writer->uninspectable ? 0xc3 : 0xc2);
    for (unsigned i = 0; i < 4; i++) {
        writer->out->data[count + i] = (char)(unsigned char)(writer->n >> (24 - 8 * i));
    }
}

int
vote_texts_open(struct vote_texts *texts, struct dyn_slice body, struct dyn_err *err)
{
    struct mp_cursor cursor;
    struct dyn_slice key;
    *texts = (struct vote_texts){.left = 0};
    if (checked(body, &cursor, err) != 0) {
        return -1;
    }
    struct members members = members_of(&cursor);
    while (next_member(&members, &key)) {
        if (dyn_slice_is(key, "uninspectable")) {
            texts->uninspectable = flag_of(&members);
        } else if (dyn_slice_is(key, "texts")) {
            struct mp_cursor behind = cursor;
            mp_skip(&behind);
            texts->left = list_of(&members, UINT64_MAX);
            texts->cursor = cursor;
            cursor = behind;
        } else {
            mp_skip(&cursor);
        }
    }
    return verdict_on(&members, "the map of texts", err);
}

bool
vote_texts_next(struct vote_texts *texts, struct vote_text *text)
{
    struct dyn_slice key;
    *text = (struct vote_text){.kind = VOTE_TEXT};
    if (texts->left == 0) {
        return false;
    }
    texts->left--;
    if (texts->items != NULL) {
        *text = *texts->items++;
        return true;
    }
    struct members members = members_of(&texts->cursor);
    while (next_member(&members, &key)) {
        if (dyn_slice_is(key, "role")) {
            text->role = text_of(&members);
        } else if (dyn_slice_is(key, "kind")) {
            text->kind = vote_text_kind_by_name(text_of(&members));
        } else if (dyn_slice_is(key, "at")) {
            text->at = text_of(&members);
        } else if (dyn_slice_is(key, "choice")) {
            text->choice = (uint32_t)number_of(&members, UINT32_MAX);
        } else if (dyn_slice_is(key, "text")) {
            text->text = text_of(&members);
        } else {
            mp_skip(&texts->cursor);
        }
    }
    if (members.wrong != NULL) { /* where the next one begins is not known any more */
        texts->left = 0;
        return false;
    }
    return true;
}

/* ---- edits ---- */

static const char *const op_names[] = {"replace", "remove", "add"};

void
vote_edits_encode(const struct vote_edit *edits, size_t n, struct dyn_buf *out)
{
    msgpack_packer packer = packer_to(out);
    (void)msgpack_pack_map(&packer, 1);
    pack_word(&packer, "edits");
    (void)msgpack_pack_array(&packer, n);
    for (size_t i = 0; i < n; i++) {
        bool has_value = edits[i].op != VOTE_EDIT_REMOVE;
        (void)msgpack_pack_map(&packer, has_value ? 3 : 2);
        pack_member(&packer, "op", dyn_slice_str(op_names[edits[i].op]));
        pack_member(&packer, "at", edits[i].at);
        if (has_value) {
            pack_member(&packer, "value", edits[i].value);
        }
    }
}

static enum vote_edit_op
op_of(struct members *members)
{
    struct dyn_slice word = text_of(members);
    for (unsigned i = 0; i < DYN_ARRAY_LEN(op_names); i++) {
        if (dyn_slice_is(word, op_names[i])) {
            return (enum vote_edit_op)i;
        }
    }
    members->wrong = "an op is neither replace, remove nor add";
    return VOTE_EDIT_REPLACE;
}

static const char *
read_edit(struct mp_cursor *cursor, struct arena *arena, void *item)
{
    struct vote_edit *edit = item;
    struct dyn_slice key;
    (void)arena;
    bool has_op = false;
    *edit = (struct vote_edit){.op = VOTE_EDIT_REPLACE};
    struct members members = members_of(cursor);
    while (next_member(&members, &key)) {
        if (dyn_slice_is(key, "op")) {
            edit->op = op_of(&members);
            has_op = true;
        } else if (dyn_slice_is(key, "at")) {
            edit->at = text_of(&members);
        } else if (dyn_slice_is(key, "value")) {
            edit->value = text_of(&members);
        } else {
            mp_skip(cursor);
        }
    }
    bool is_whole = has_op && edit->at.data != NULL;
    if (members.wrong == NULL && !is_whole) {
        return "an edit has no 'op' or no 'at'";
    }
    if (members.wrong == NULL && (edit->op == VOTE_EDIT_REMOVE) != (edit->value.data == NULL)) {
        return "an edit has a value too many, or none";
    }
    return members.wrong;
}

int
vote_edits_decode(struct dyn_slice body, struct arena *arena, struct vote_edit **edits, size_t *n,
                  struct dyn_err *err)
{
    struct mp_cursor cursor;
    struct dyn_slice key;
    *edits = NULL;
    *n = 0;
    if (checked(body, &cursor, err) != 0) {
        return -1;
    }
    struct members members = members_of(&cursor);
    while (next_member(&members, &key)) {
        if (!dyn_slice_is(key, "edits") || *edits != NULL) {
            mp_skip(&cursor);
            continue;
        }
        *edits = items_of(&members, VOTE_EDITS_MAX, sizeof **edits, read_edit, arena, n);
    }
    if (members.wrong == NULL && *edits == NULL) {
        members.wrong = "there are none";
    }
    return verdict_on(&members, "the edits", err);
}

/* ---- during a stream ---- */

static void
pack_channel(msgpack_packer *packer, const struct vote_channel *channel)
{
    pack_number(packer, "choice", channel->choice);
    pack_member(packer, "kind", dyn_slice_str(vote_text_kind_name(channel->kind)));
    pack_number(packer, "tool", channel->tool);
}

/* Whether the key was one of a channel's. */
static bool
read_channel(struct members *members, struct dyn_slice key, struct vote_channel *channel)
{
    if (dyn_slice_is(key, "choice")) {
        channel->choice = (uint32_t)number_of(members, UINT32_MAX);
    } else if (dyn_slice_is(key, "kind")) {
        channel->kind = vote_text_kind_by_name(text_of(members));
    } else if (dyn_slice_is(key, "tool")) {
        channel->tool = (uint32_t)number_of(members, UINT32_MAX);
    } else {
        return false;
    }
    return true;
}

static void
encode_deltas(const struct vote_delta *deltas, size_t n, bool is_last, bool resumes, struct dyn_buf *out)
{
    msgpack_packer packer = packer_to(out);
    (void)msgpack_pack_map(&packer, 1u + is_last + resumes);
    pack_word(&packer, "deltas");
    (void)msgpack_pack_array(&packer, n);
    for (size_t i = 0; i < n; i++) {
        (void)msgpack_pack_map(&packer, 5);
        pack_channel(&packer, &deltas[i].channel);
        pack_number(&packer, "from", deltas[i].from);
        pack_member(&packer, "text", deltas[i].text);
    }
    if (is_last) {
        pack_flag(&packer, "last");
    }
    if (resumes) {
        pack_flag(&packer, "resumes");
    }
}

void
vote_deltas_encode(const struct vote_delta *deltas, size_t n, bool is_last, struct dyn_buf *out)
{
    encode_deltas(deltas, n, is_last, false, out);
}

void
vote_deltas_encode_rest(const struct vote_delta *deltas, size_t n, bool is_last, struct dyn_buf *out)
{
    encode_deltas(deltas, n, is_last, true, out);
}

static const char *
read_delta(struct mp_cursor *cursor, struct arena *arena, void *item)
{
    struct vote_delta *delta = item;
    struct dyn_slice key;
    (void)arena;
    *delta = (struct vote_delta){.from = 0};
    struct members members = members_of(cursor);
    while (next_member(&members, &key)) {
        if (dyn_slice_is(key, "from")) {
            delta->from = number_of(&members, UINT64_MAX);
        } else if (dyn_slice_is(key, "text")) {
            delta->text = text_of(&members);
        } else if (!read_channel(&members, key, &delta->channel)) {
            mp_skip(cursor);
        }
    }
    return members.wrong;
}

int
vote_deltas_decode(struct dyn_slice body, struct arena *arena, struct vote_delta **deltas, size_t *n,
                   bool *is_last, struct dyn_err *err)
{
    struct mp_cursor cursor;
    struct dyn_slice key;
    *deltas = NULL;
    *n = 0;
    *is_last = false;
    if (checked(body, &cursor, err) != 0) {
        return -1;
    }
    struct members members = members_of(&cursor);
    while (next_member(&members, &key)) {
        if (dyn_slice_is(key, "last")) {
            *is_last = flag_of(&members);
        } else if (dyn_slice_is(key, "deltas") && *deltas == NULL) {
            *deltas = items_of(&members, VALUES_MAX, sizeof **deltas, read_delta, arena, n);
        } else {
            mp_skip(&cursor);
        }
    }
    return verdict_on(&members, "the deltas", err);
}

bool
vote_deltas_resume(struct dyn_slice body)
{
    struct mp_cursor cursor = mp_cursor(body);
    struct members members = members_of(&cursor);
    struct dyn_slice key;
    bool resumes = false;
    while (next_member(&members, &key)) {
        if (dyn_slice_is(key, "resumes")) {
            resumes = flag_of(&members);
        } else {
            mp_skip(&cursor);
        }
    }
    return resumes && members.wrong == NULL;
}

void
vote_marks_encode(const struct vote_mark *marks, size_t n, struct dyn_buf *out)
{
    vote_marks_encode_closing(marks, n, dyn_slice(NULL, 0), out);
}

void
vote_marks_encode_closing(const struct vote_mark *marks, size_t n, struct dyn_slice closing,
                          struct dyn_buf *out)
{
    msgpack_packer packer = packer_to(out);
    (void)msgpack_pack_map(&packer, closing.data != NULL ? 2 : 1);
    if (closing.data != NULL) {
        pack_word(&packer, "closing");
        pack_text(&packer, closing);
    }
    pack_word(&packer, "marks");
    (void)msgpack_pack_array(&packer, n);
    for (size_t i = 0; i < n; i++) {
        (void)msgpack_pack_map(&packer, marks[i].n_masks > 0 ? 5 : 4);
        pack_channel(&packer, &marks[i].channel);
        pack_number(&packer, "clear", marks[i].clear);
        if (marks[i].n_masks == 0) {
            continue;
        }
        pack_word(&packer, "masks");
        (void)msgpack_pack_array(&packer, marks[i].n_masks);
        for (size_t k = 0; k < marks[i].n_masks; k++) {
            (void)msgpack_pack_array(&packer, 3);
            (void)msgpack_pack_uint64(&packer, marks[i].masks[k].from);
            (void)msgpack_pack_uint64(&packer, marks[i].masks[k].to);
            pack_text(&packer, marks[i].masks[k].text);
        }
    }
}

static void
read_mask(struct members *members, struct vote_mask *mask, uint64_t behind)
{
    if (list_of(members, 3) != 3) {
        members->wrong = "a mask is no [from, to, text]";
        return;
    }
    mask->from = number_of(members, UINT64_MAX);
    mask->to = number_of(members, UINT64_MAX);
    mask->text = text_of(members);
    if (members->wrong == NULL && (mask->from < behind || mask->to < mask->from)) {
        members->wrong = "masks do not follow each other";
    }
}

static void
read_masks(struct members *members, struct arena *arena, struct vote_mark *mark)
{
    uint64_t count = list_of(members, MASKS_MAX);
    uint64_t behind = 0;
    struct vote_mask *masks = arena_alloc(arena, ((size_t)count + 1) * sizeof *masks);
    for (uint64_t i = 0; i < count && members->wrong == NULL; i++) {
        read_mask(members, &masks[i], behind);
        behind = masks[i].to;
    }
    mark->masks = masks;
    mark->n_masks = (size_t)count;
}

static const char *
read_mark(struct mp_cursor *cursor, struct arena *arena, void *item)
{
    struct vote_mark *mark = item;
    struct dyn_slice key;
    *mark = (struct vote_mark){.clear = 0};
    struct members members = members_of(cursor);
    while (next_member(&members, &key)) {
        if (dyn_slice_is(key, "clear")) {
            mark->clear = number_of(&members, UINT64_MAX);
        } else if (dyn_slice_is(key, "masks") && mark->masks == NULL) {
            read_masks(&members, arena, mark);
        } else if (!read_channel(&members, key, &mark->channel)) {
            mp_skip(cursor);
        }
    }
    if (members.wrong == NULL && mark->n_masks > 0 && mark->masks[mark->n_masks - 1].to > mark->clear) {
        return "a mask reaches beyond what is clear";
    }
    return members.wrong;
}

int
vote_marks_decode(struct dyn_slice body, struct arena *arena, struct vote_mark **marks, size_t *n,
                  struct dyn_err *err)
{
    struct mp_cursor cursor;
    struct dyn_slice key;
    *marks = NULL;
    *n = 0;
    if (checked(body, &cursor, err) != 0) {
        return -1;
    }
    struct members members = members_of(&cursor);
    while (next_member(&members, &key)) {
        if (!dyn_slice_is(key, "marks") || *marks != NULL) {
            mp_skip(&cursor);
            continue;
        }
        *marks = items_of(&members, VALUES_MAX, sizeof **marks, read_mark, arena, n);
    }
    return verdict_on(&members, "the marks", err);
}

struct dyn_slice
vote_marks_closing(struct dyn_slice body)
{
    struct mp_cursor cursor;
    struct dyn_slice key;
    struct dyn_slice closing = {NULL, 0};
    struct dyn_err unused;
    if (checked(body, &cursor, &unused) != 0) {
        return closing;
    }
    struct members members = members_of(&cursor);
    while (next_member(&members, &key)) {
        if (dyn_slice_is(key, "closing") && closing.data == NULL) {
            closing = text_of(&members);
        } else {
            mp_skip(&cursor);
        }
    }
    return members.wrong == NULL ? closing : dyn_slice(NULL, 0);
}
