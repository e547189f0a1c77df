/* The list of texts that a plugin of the same loop reads in place of a map. */
#include "proto/vote_here.h"

enum { ROOM_FIRST = 8 };

void
vote_text_list_init(struct vote_text_list *list, void *memory, size_t size)
{
    *list = (struct vote_text_list){.n = 0};
    arena_init(&list->arena, memory, size);
}

void
vote_text_list_fini(struct vote_text_list *list)
{
    arena_fini(&list->arena);
    list->items = NULL;
    list->n = list->room = 0;
}

static void
grow(struct vote_text_list *list)
{
    size_t room = list->room > 0 ? 2 * list->room : ROOM_FIRST;
    struct vote_text *items = arena_alloc(&list->arena, room * sizeof *items);
    if (list->n > 0) {
        memcpy(items, list->items, list->n * sizeof *items);
    }
    list->items = items;
    list->room = room;
}

void
vote_text_list_add(struct vote_text_list *list, const struct vote_text *text)
{
    if (list->n == VOTE_TEXTS_MAX) {
        list->is_full = true;
        return;
    }
    if (list->n == list->room) {
        grow(list);
    }
    struct vote_text *item = &list->items[list->n++];
    *item = *text;
    item->at = arena_copy(&list->arena, text->at);
}

int
vote_texts_of(struct vote_texts *texts, const struct vote_text_list *list, struct dyn_err *err)
{
    *texts = (struct vote_texts){.left = list->n, .items = list->items, .uninspectable = list->uninspectable};
    return list->is_full ? dyn_err_set(err, DYN_E_LIMIT, "there are more than %d texts", VOTE_TEXTS_MAX) : 0;
}
