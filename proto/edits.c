#include "proto/edits.h"

#include <stdlib.h>

/* Where an edit is to be made: a child of a container, or the container's end. */
struct place {
    struct json_value container;
    struct json_value value; /* of the child; raw.data NULL: there is none */
    size_t index;            /* of the child, or how many there are */
    const char *begin;       /* of the child, with its key */
    const char *end;
    const char *next;   /* where the child behind it begins; NULL: it is the last */
    const char *before; /* where the child before it ends; NULL: it is the first */
    size_t n;           /* children */
};

/* One edit, on its way to a splice. */
struct change {
    const struct vote_edit *edit;
    size_t number;
    struct place place;
    struct dyn_slice token; /* the pointer's last one, decoded */
    size_t offset;
    size_t remove;
    bool comma_before;
    bool comma_behind;
};

/* ---- pointers ---- */

/* The next token, decoded into `out`; false: it is no pointer. */
static bool
next_token(struct dyn_slice *at, char *out, size_t *len)
{
    *len = 0;
    if (at->len == 0 || at->data[0] != '/') {
        return false;
    }
    size_t i = 1;
    for (; i < at->len && at->data[i] != '/'; i++) {
        char c = at->data[i];
        if (c == '~') {
            i++;
            if (i == at->len || (at->data[i] != '0' && at->data[i] != '1')) {
                return false;
            }
            c = at->data[i] == '0' ? '~' : '/';
        }
        if (c == '\0') {
            return false;
        }
        out[(*len)++] = c;
    }
    out[*len] = '\0';
    *at = dyn_slice(at->data + i, at->len - i);
    return true;
}

/* A number without leading zeros; false: it is none. */
static bool
read_index(const char *token, size_t len, size_t *index)
{
    *index = 0;
    if (len == 0 || len > 9 || (len > 1 && token[0] == '0')) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (token[i] < '0' || token[i] > '9') {
            return false;
        }
        *index = *index * 10 + (size_t)(token[i] - '0');
    }
    return true;
}

static const char *
begin_of(const struct json_member *member)
{
    return member->key.data != NULL ? member->key.data - 1 : member->value.raw.data;
}

/* ---- places ---- */

/* Where a walk stands, one for each depth: who asks for something further on goes on from there. */
enum { LEVELS = 8 };

struct level {
    const char *container; /* where it begins; NULL: none */
    struct json_iter items;
    size_t n; /* items of a list that were passed; `member` is the last of them */
    struct json_member member;
    struct dyn_slice token; /* of an object: what was looked for, and `member` was found */
};

struct search {
    struct level levels[LEVELS];
    size_t work; /* bytes walked over */
};

static const char twice[] = "'at' names a member that stands there twice";
static const char costly[] = "finding all places costs too much; edit in the order of the text";

static const char *
item_at(struct search *search, struct level *level, struct json_value list, size_t wanted)
{
    if (level->container != list.raw.data || wanted + 1 < level->n) {
        *level = (struct level){.container = list.raw.data, .items = json_iter(list)};
    }
    while (level->n <= wanted) {
        const char *from = level->items.next;
        if (!json_iter_next(&level->items, &level->member)) {
            level->container = NULL;
            return "'at' leads nowhere";
        }
        level->n++;
        search->work += (size_t)(level->items.next - from);
        if (search->work > EDITS_WORK_MAX) {
            return costly;
        }
    }
    return NULL;
}

/* All of it is walked through: the name may stand there twice. */
static const char *
member_at(struct search *search, struct level *level, struct json_value object, struct dyn_slice token)
{
    struct json_iter items = json_iter(object);
    struct json_member member;
    bool is_there = false;
    if (level->container == object.raw.data && dyn_slice_eq(level->token, token)) {
        return NULL;
    }
    search->work += object.raw.len;
    if (search->work > EDITS_WORK_MAX) {
        return costly;
    }
    *level = (struct level){.container = object.raw.data, .token = token};
    while (json_iter_next(&items, &member)) {
        if (!json_key_is(&member, token.data)) {
            continue;
        }
        if (is_there) {
            level->container = NULL;
            return twice;
        }
        is_there = true;
        level->member = member;
    }
    level->container = is_there ? level->container : NULL;
    return is_there ? NULL : "'at' leads nowhere";
}

/* The child of the container that the token names. */
static const char *
child_at(struct search *search, size_t depth, struct json_value container, struct dyn_slice token,
         struct json_member *child)
{
    struct level alone = {.container = NULL};
    struct level *level = depth < LEVELS ? &search->levels[depth] : &alone;
    size_t index;
    const char *why;
    if (container.type == JSON_OBJECT) {
        why = member_at(search, level, container, token);
    } else if (!read_index(token.data, token.len, &index)) {
        why = "'at' leads nowhere";
    } else {
        why = item_at(search, level, container, index);
    }
    *child = level->member;
    return why;
}

/* The child that the token names, with its neighbours. Those behind are looked at only for where they begin
 * and how many there are. */
static const char *
look_for(struct search *search, struct json_value container, struct dyn_slice token, struct place *place)
{
    struct json_iter items = json_iter(container);
    struct json_member member;
    size_t wanted = SIZE_MAX;
    const char *end_before = NULL;
    bool is_array = container.type == JSON_ARRAY;
    bool is_there = false;
    *place = (struct place){.container = container};
    search->work += container.raw.len;
    if (search->work > EDITS_WORK_MAX) {
        return costly;
    }
    if (is_array && !read_index(token.data, token.len, &wanted)) {
        wanted = SIZE_MAX;
    }
    for (; json_iter_next(&items, &member); place->n++) {
        bool is_it = is_array ? place->n == wanted : json_key_is(&member, token.data);
        if (is_it && is_there) {
            return twice;
        }
        if (is_there && place->next == NULL) {
            place->next = begin_of(&member);
        }
        if (is_it) {
            is_there = true;
            place->value = member.value;
            place->index = place->n;
            place->begin = begin_of(&member);
            place->end = member.value.raw.data + member.value.raw.len;
            place->before = end_before;
        }
        end_before = member.value.raw.data + member.value.raw.len;
    }
    if (!is_there) {
        place->index = place->n;
        place->before = end_before;
    }
    return NULL;
}

/* What is replaced keeps its neighbours: nothing has to be known of them. */
static const char *
look_for_value(struct search *search, size_t depth, struct json_value container, struct dyn_slice token,
               struct place *place)
{
    struct json_member child;
    const char *why = child_at(search, depth, container, token, &child);
    if (why == NULL) {
        *place = (struct place){.container = container, .value = child.value};
        place->begin = begin_of(&child);
        place->end = child.value.raw.data + child.value.raw.len;
    }
    return why;
}

static const char *
locate(struct search *search, struct dyn_slice text, struct change *change, char *token)
{
    struct dyn_slice at = change->edit->at;
    size_t len;
    while (text.len > 0 && strchr(" \t\r\n", text.data[0]) != NULL) {
        text = dyn_slice(text.data + 1, text.len - 1);
    }
    while (text.len > 0 && strchr(" \t\r\n", text.data[text.len - 1]) != NULL) {
        text.len--;
    }
    bool is_object = text.len > 0 && text.data[0] == '{';
    struct json_value value = {is_object ? JSON_OBJECT : JSON_ARRAY, text};
    if (at.len == 0 || at.len > EDITS_POINTER_MAX || text.len == 0 || (!is_object && text.data[0] != '[')) {
        return "'at' must be a JSON pointer to something inside the body";
    }
    for (size_t depth = 0; at.len > 0; depth++, token += len + 1) { /* levels keep their tokens */
        struct json_member child;
        if (!next_token(&at, token, &len)) {
            return "'at' is no JSON pointer";
        }
        if (value.type != JSON_OBJECT && value.type != JSON_ARRAY) {
            return "'at' leads into a value that has nothing inside";
        }
        change->token = dyn_slice(token, len);
        if (at.len == 0) {
            return change->edit->op == VOTE_EDIT_REPLACE
                       ? look_for_value(search, depth, value, change->token, &change->place)
                       : look_for(search, value, change->token, &change->place);
        }
        const char *why = child_at(search, depth, value, change->token, &child);
        if (why != NULL) {
            return why;
        }
        value = child.value;
    }
    return NULL;
}

/* ---- each edit alone ---- */

static const char *
plan_add(struct dyn_slice text, struct change *change)
{
    const struct place *place = &change->place;
    const char *behind = place->container.raw.data + place->container.raw.len - 1;
    bool is_array = place->container.type == JSON_ARRAY;
    size_t index;
    if (!is_array && place->value.raw.data != NULL) {
        return "there is such a member already";
    }
    bool is_end = dyn_slice_is(change->token, "-") ||
                  (read_index(change->token.data, change->token.len, &index) && index == place->n);
    if (is_array && place->value.raw.data == NULL && !is_end) {
        return "there is no such place in the list";
    }
    bool is_before = is_array && place->value.raw.data != NULL;
    change->offset = (size_t)((is_before ? place->begin : behind) - text.data);
    change->comma_behind = is_before;
    change->comma_before = !is_before;
    return NULL;
}

static const char *
plan(struct search *search, struct dyn_slice text, struct change *change, char *token)
{
    struct json_error error;
    const char *why = locate(search, text, change, token);
    if (why != NULL) {
        return why;
    }
    if (change->edit->op != VOTE_EDIT_REMOVE &&
        json_scan(change->edit->value, JSON_DEPTH_DEFAULT, NULL, &error) != 0) {
        return "'value' is no JSON";
    }
    if (change->edit->op == VOTE_EDIT_ADD) {
        return plan_add(text, change);
    }
    const struct place *place = &change->place;
    if (place->value.raw.data == NULL) {
        return "there is nothing at this place";
    }
    bool is_removal = change->edit->op == VOTE_EDIT_REMOVE;
    const char *begin = is_removal ? place->begin : place->value.raw.data;
    change->offset = (size_t)(begin - text.data);
    change->remove = (size_t)(place->end - begin);
    return NULL;
}

/* ---- all together ---- */

static int
compare(const void *a, const void *b)
{
    const struct change *x = a;
    const struct change *y = b;
    if (x->offset != y->offset) {
        return x->offset < y->offset ? -1 : 1;
    }
    bool x_inserts = x->edit->op == VOTE_EDIT_ADD;
    bool y_inserts = y->edit->op == VOTE_EDIT_ADD;
    if (x_inserts != y_inserts) { /* what is put before an item stands before what becomes of it */
        return x_inserts ? -1 : 1;
    }
    return (x->number > y->number) - (x->number < y->number);
}

static bool
same_container(const struct change *a, const struct change *b)
{
    return a->place.container.raw.data == b->place.container.raw.data;
}

/* Children of the container that stay. */
static size_t
staying(const struct change *changes, size_t n, const struct change *of)
{
    size_t left = of->place.n;
    for (size_t i = 0; i < n; i++) {
        left -= changes[i].edit->op == VOTE_EDIT_REMOVE && same_container(&changes[i], of);
    }
    return left;
}

/* Of a run of neighbours that go, the comma between it and what stays goes with them: the one behind, or at
 * the end of the container the one before. */
static void
take_commas(struct dyn_slice text, struct change *changes, size_t n)
{
    for (size_t first = 0; first < n;) {
        size_t last = first;
        if (changes[first].edit->op != VOTE_EDIT_REMOVE) {
            first++;
            continue;
        }
        while (last + 1 < n && changes[last + 1].edit->op == VOTE_EDIT_REMOVE &&
               same_container(&changes[last + 1], &changes[first]) &&
               changes[last + 1].place.index == changes[last].place.index + 1) {
            last++;
        }
        const struct place *begin = &changes[first].place;
        const struct place *end = &changes[last].place;
        const char *from = end->next == NULL && begin->before != NULL ? begin->before : begin->begin;
        const char *to = end->next != NULL ? end->next : end->end;
        changes[first].offset = (size_t)(from - text.data);
        changes[first].remove = (size_t)(to - from);
        for (size_t i = first + 1; i <= last; i++) {
            changes[i].offset = (size_t)(to - text.data);
            changes[i].remove = 0;
        }
        first = last + 1;
    }
}

static const char *
overlap(const struct change *changes, size_t n, size_t *which)
{
    size_t behind = 0;
    for (size_t i = 0; i < n; i++) {
        if (changes[i].offset < behind) {
            *which = changes[i].number;
            return "two edits touch the same place";
        }
        behind = changes[i].offset + changes[i].remove;
    }
    return NULL;
}

/* The text that is put there: for a member its key, and the commas towards what stays. */
static void
write_insert(const struct change *changes, size_t n, size_t i, struct dyn_buf *out)
{
    const struct change *change = &changes[i];
    if (change->edit->op == VOTE_EDIT_REMOVE) {
        return;
    }
    if (change->edit->op == VOTE_EDIT_REPLACE) {
        dyn_buf_add_slice(out, change->edit->value);
        return;
    }
    size_t before = staying(changes, n, change);
    for (size_t k = 0; k < i; k++) { /* those put there already */
        before += changes[k].edit->op == VOTE_EDIT_ADD && same_container(&changes[k], change);
    }
    if (change->comma_before && before > 0) {
        dyn_buf_add_char(out, ',');
    }
    if (change->place.container.type == JSON_OBJECT) {
        dyn_buf_add_json_string(out, change->token);
        dyn_buf_add_char(out, ':');
    }
    dyn_buf_add_slice(out, change->edit->value);
    if (change->comma_behind) {
        dyn_buf_add_char(out, ',');
    }
}

static const char *
splice(struct dyn_slice text, const struct change *changes, size_t n, size_t headroom, dyn_block_t **out)
{
    struct dyn_buf inserts = DYN_BUF_INIT;
    struct json_edit *edits = dyn_alloc((n + 1) * sizeof *edits);
    size_t *ends = dyn_alloc((n + 1) * sizeof *ends);
    for (size_t i = 0; i < n; i++) {
        write_insert(changes, n, i, &inserts);
        ends[i] = inserts.len;
    }
    for (size_t i = 0; i < n; i++) {
        size_t begin = i > 0 ? ends[i - 1] : 0;
        struct dyn_slice insert =
            ends[i] > begin ? dyn_slice(inserts.data + begin, ends[i] - begin) : dyn_slice("", 0);
        edits[i] = (struct json_edit){changes[i].offset, changes[i].remove, insert};
    }
    size_t size = json_splice_size(text, edits, n);
    dyn_block_t *block = dyn_block_new(headroom, size);
    json_splice(text, edits, n, dyn_block_data(block));
    block->len = size;
    free(ends);
    free(edits);
    dyn_buf_fini(&inserts);
    struct json_error error;
    if (json_scan(dyn_block_slice(block), JSON_DEPTH_DEFAULT, NULL, &error) != 0) {
        dyn_block_unref(&block);
        return "what they make is no JSON";
    }
    *out = block;
    return NULL;
}

int
edits_apply(struct dyn_slice text, const struct vote_edit *edits, size_t n, size_t headroom,
            dyn_block_t **out, struct dyn_err *err)
{
    size_t which = 0;
    const char *why = NULL;
    struct arena tokens;
    struct search search = {.work = 0};
    if (n == 0 || n > VOTE_EDITS_MAX) {
        return dyn_err_set(err, DYN_E_LIMIT, "%zu edits are none, or too many", n);
    }
    arena_init(&tokens, NULL, 0);
    struct change *changes = arena_zalloc(&tokens, n * sizeof *changes);
    for (size_t i = 0; i < n && why == NULL; i++) {
        changes[i].edit = &edits[i];
        changes[i].number = which = i;
        why = plan(&search, text, &changes[i], arena_alloc(&tokens, edits[i].at.len + 1));
    }
    if (why == NULL) {
        qsort(changes, n, sizeof *changes, compare);
        take_commas(text, changes, n);
        why = overlap(changes, n, &which);
    }
    if (why == NULL) {
        why = splice(text, changes, n, headroom, out);
    }
    if (why != NULL) {
        int shown = edits[which].at.len < 100 ? (int)edits[which].at.len : 100;
        (void)dyn_err_set(err, DYN_E_INVALID, "edit %zu at '%.*s': %s", which + 1, shown,
                          edits[which].at.data, why);
    }
    arena_fini(&tokens);
    return why == NULL ? 0 : -1;
}
