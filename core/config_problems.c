/* What is wrong with a configuration, and where its values stand. */
#include "core/config.h"

#include "core/config_fill.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* A path, a value and a list of names, all of them cut. */
#define PROBLEM_BYTES 1024

/* A value's memory and its place in the file. */
struct mark_entry {
    const char *at;
    size_t size;
    size_t order; /* of recording: what lies within was recorded later */
    struct config_mark mark;
};
struct config_marks {
    struct mark_entry *items;
    size_t n, cap;
    bool is_sorted;
};

static bool
is_before(struct config_mark a, struct config_mark b)
{
    return a.line != b.line ? a.line < b.line : a.column < b.column;
}

/* Where the problem goes: behind those of the same place. SIZE_MAX when it is there already. */
static size_t
index_for(const struct config_problems *problems, struct config_mark mark, const char *text)
{
    size_t i = problems->n;
    while (i > 0 && is_before(mark, problems->items[i - 1].mark)) {
        i--;
    }
    for (size_t k = i; k > 0 && !is_before(problems->items[k - 1].mark, mark); k--) {
        if (strcmp(problems->items[k - 1].text, text) == 0) {
            return SIZE_MAX;
        }
    }
    return i;
}

static void
insert_at(struct config_problems *problems, size_t index, struct config_problem problem)
{
    if (problems->n == problems->cap) {
        size_t cap = problems->cap > 0 ? problems->cap * 2 : 8;
        struct config_problem *items = arena_alloc(problems->arena, cap * sizeof *items);
        if (problems->n > 0) {
            memcpy(items, problems->items, problems->n * sizeof *items);
        }
        problems->items = items;
        problems->cap = cap;
    }
    memmove(&problems->items[index + 1], &problems->items[index],
            (problems->n - index) * sizeof *problems->items);
    problems->items[index] = problem;
    problems->n++;
}

/* Whether the loader has not taken the value there, and said so. */
static bool
is_refused(const struct config_problems *problems, struct config_mark mark)
{
    for (size_t i = 0; i < problems->n; i++) {
        const struct config_problem *problem = &problems->items[i];
        bool is_there = !is_before(problem->mark, mark) && !is_before(mark, problem->mark);
        if (is_there && problem->refuses_value) {
            return true;
        }
    }
    return false;
}

static void add_formatted(struct config_problems *problems, struct config_problem problem, const char *fmt,
                          va_list args) DYN_PRINTF(3, 0);

static void
add_formatted(struct config_problems *problems, struct config_problem problem, const char *fmt, va_list args)
{
    if (problems->is_checking && is_refused(problems, problem.mark)) {
        return;
    }
    problems->errors += problem.is_warning ? 0 : 1;
    if (problems->n >= CONFIG_PROBLEMS_MAX) {
        problems->left_out++;
        return;
    }
    char text[PROBLEM_BYTES];
    (void)vsnprintf(text, sizeof text, fmt, args);
    config_make_printable(text);
    size_t index = index_for(problems, problem.mark, text);
    if (index == SIZE_MAX) {
        problems->errors -= problem.is_warning ? 0 : 1;
        return;
    }
    problem.text = arena_copy(problems->arena, dyn_slice_str(text)).data;
    insert_at(problems, index, problem);
}

void
config_problem_add(struct config_problems *problems, struct config_mark mark, bool is_warning,
                   const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    add_formatted(problems, (struct config_problem){.mark = mark, .is_warning = is_warning}, fmt, args);
    va_end(args);
}

void
config_problem_unsupported(struct config_problems *problems, struct config_mark mark, const char *what)
{
    problems->unsupported++;
    config_problem_add(problems, mark, problems->ignores_unsupported, "%s is not supported in this version",
                       what);
}

void
config_problem_refuse(struct config_problems *problems, struct config_mark mark, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    add_formatted(problems, (struct config_problem){.mark = mark, .refuses_value = true}, fmt, args);
    va_end(args);
}

void
config_mark_record(struct config_problems *problems, const void *field, size_t size, struct config_mark mark)
{
    struct config_marks *marks = problems->marks;
    if (marks == NULL) {
        return;
    }
    if (marks->n == marks->cap) {
        marks->cap = marks->cap > 0 ? marks->cap * 2 : 64;
        struct mark_entry *items = arena_alloc(problems->arena, marks->cap * sizeof *items);
        if (marks->n > 0) {
            memcpy(items, marks->items, marks->n * sizeof *items);
        }
        marks->items = items;
    }
    marks->items[marks->n] = (struct mark_entry){field, size, marks->n, mark};
    marks->n++;
    marks->is_sorted = false;
}

static int
compare_entries(const void *a_p, const void *b_p)
{
    const struct mark_entry *a = a_p;
    const struct mark_entry *b = b_p;
    if (a->at != b->at) {
        return (uintptr_t)a->at < (uintptr_t)b->at ? -1 : 1;
    }
    return (a->order > b->order) - (a->order < b->order);
}

/* The entries are in the order of their memory, the outer before the inner: the last one that reaches
 * up to the field is the innermost. */
struct config_mark
config_mark_of(const struct config_problems *problems, const void *field)
{
    struct config_marks *marks = problems->marks;
    if (marks == NULL || marks->n == 0) {
        return (struct config_mark){0, 0};
    }
    if (!marks->is_sorted) {
        qsort(marks->items, marks->n, sizeof *marks->items, compare_entries);
        marks->is_sorted = true;
    }
    size_t low = 0;
    size_t high = marks->n;
    uintptr_t wanted = (uintptr_t)field;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((uintptr_t)marks->items[middle].at <= wanted) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low > 0; low--) {
        const struct mark_entry *entry = &marks->items[low - 1];
        if (wanted - (uintptr_t)entry->at < entry->size) {
            return entry->mark;
        }
    }
    return (struct config_mark){0, 0};
}

struct config_marks *
config_marks_new(struct arena *arena)
{
    return arena_zalloc(arena, sizeof(struct config_marks));
}
