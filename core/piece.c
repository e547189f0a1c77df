/* See piece.h. */
#include "core/piece.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KEEPS_NOTHING 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define KEEPS_NOTHING 1
#endif
#endif
#ifndef KEEPS_NOTHING
#define KEEPS_NOTHING 0
#endif

#define STEP      128u /* sizes are rounded up to it: on average half of that is lost */
#define N_CLASSES (DYN_PIECE_MAX / STEP + 1)

struct piece {
    struct piece *next;
};

struct pieces {
    struct piece *free[N_CLASSES]; /* by size in steps */
    size_t kept;
    unsigned sheds; /* that it has heard of */
    enum { PIECES_UNSEEN, PIECES_IN_USE, PIECES_CLOSED } state;
};

static _Thread_local struct pieces pieces;
static pthread_key_t at_exit_of_thread;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static atomic_uint sheds;

static size_t
class_of(size_t size)
{
    return size > 0 ? (size + STEP - 1) / STEP : 1;
}

static void
free_kept(struct pieces *mine)
{
    for (size_t i = 0; i < N_CLASSES; i++) {
        struct piece *next = NULL;
        for (struct piece *piece = mine->free[i]; piece != NULL; piece = next) {
            next = piece->next;
            free(piece);
        }
        mine->free[i] = NULL;
    }
    mine->kept = 0;
}

static void
free_all(void *mine)
{
    free_kept(mine);
    ((struct pieces *)mine)->state = PIECES_CLOSED; /* what other destructors free is not kept */
}

static void
make_key(void)
{
    int rc = pthread_key_create(&at_exit_of_thread, free_all);
    DYN_ASSERT(rc == 0);
}

static bool
open_pieces(void)
{
    if (pieces.state == PIECES_UNSEEN) {
        (void)pthread_once(&once, make_key);
        pieces.state = pthread_setspecific(at_exit_of_thread, &pieces) == 0 ? PIECES_IN_USE : PIECES_CLOSED;
    }
    return pieces.state == PIECES_IN_USE;
}

void *
dyn_piece_alloc(size_t size)
{
    size_t class = class_of(size);
    if (KEEPS_NOTHING || class >= N_CLASSES) {
        return dyn_alloc(size);
    }
    struct piece *piece = pieces.free[class];
    if (piece == NULL) {
        return dyn_alloc(class * STEP);
    }
    pieces.free[class] = piece->next;
    pieces.kept -= class * STEP;
    return piece;
}

void
dyn_piece_free(void *ptr, size_t size)
{
    size_t class = class_of(size);
    bool is_kept = !KEEPS_NOTHING && ptr != NULL && class < N_CLASSES &&
                   pieces.kept + class * STEP <= DYN_PIECES_KEPT && open_pieces();
    if (!is_kept) {
        free(ptr);
        return;
    }
    struct piece *piece = ptr;
    piece->next = pieces.free[class];
    pieces.free[class] = piece;
    pieces.kept += class * STEP;
}

void *
dyn_piece_realloc(void *ptr, size_t size, size_t new_size)
{
    size_t class = class_of(size);
    size_t new_class = class_of(new_size);
    if (KEEPS_NOTHING || (class >= N_CLASSES && new_class >= N_CLASSES)) {
        return dyn_realloc(ptr, new_size);
    }
    if (class == new_class) {
        return ptr;
    }
    void *moved = dyn_piece_alloc(new_size);
    memcpy(moved, ptr, size < new_size ? size : new_size);
    dyn_piece_free(ptr, size);
    return moved;
}

void
dyn_pieces_shed(void)
{
    (void)atomic_fetch_add_explicit(&sheds, 1, memory_order_relaxed);
}

bool
dyn_pieces_look(void)
{
    unsigned asked = atomic_load_explicit(&sheds, memory_order_relaxed);
    if (DYN_LIKELY(pieces.sheds == asked)) {
        return false;
    }
    pieces.sheds = asked;
    free_kept(&pieces);
    return true;
}

size_t
dyn_pieces_kept(void)
{
    return pieces.kept;
}
