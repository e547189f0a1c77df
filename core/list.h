/* Intrusive doubly linked list with a sentinel head. The node lives in the object, nothing is
 * allocated, and an object knows whether it is listed. */
#pragma once

#include "core/base.h"

struct dyn_list {
    struct dyn_list *prev;
    struct dyn_list *next;
};

static inline void
dyn_list_init(struct dyn_list *head)
{
    head->prev = head;
    head->next = head;
}

static inline bool
dyn_list_is_empty(const struct dyn_list *head)
{
    return head->next == head;
}

/* A node that was initialised or removed links to itself. */
static inline bool
dyn_list_is_linked(const struct dyn_list *node)
{
    return node->next != node;
}

static inline void
dyn_list_append(struct dyn_list *head, struct dyn_list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void
dyn_list_remove(struct dyn_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    dyn_list_init(node);
}

/* NULL when empty. */
static inline struct dyn_list *
dyn_list_pop(struct dyn_list *head)
{
    struct dyn_list *node = head->next;
    if (node == head) {
        return NULL;
    }
    dyn_list_remove(node);
    return node;
}

/* Moves everything in `from` behind what is in `to`. */
static inline void
dyn_list_splice(struct dyn_list *to, struct dyn_list *from)
{
    if (dyn_list_is_empty(from)) {
        return;
    }
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    dyn_list_init(from);
}
