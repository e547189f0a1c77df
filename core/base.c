/* Allocation that ends the process instead of failing, and the assertion hook. */
#include "core/base.h"

#include <stdio.h>
#include <stdlib.h>

static char
lower(char c)
{
    return (c >= 'A' && c <= 'Z') ? (char)(c + ('a' - 'A')) : c;
}

/* Eight bytes of each: they differ in nothing but the case bit of letters. */
static bool
word_ieq(const char *left, const char *right)
{
    const uint64_t each = 0x0101010101010101u;
    const uint64_t high = 0x8080808080808080u;
    uint64_t a;
    uint64_t b;
    memcpy(&a, left, sizeof a);
    memcpy(&b, right, sizeof b);
    uint64_t small = (a | (each * 0x20)) & ~high;
    uint64_t from_a = small + each * (0x80 - 'a');
    uint64_t past_z = small + each * (0x80 - 'z' - 1);
    uint64_t case_bits = (from_a & ~past_z & ~a & high) >> 2;
    return ((a ^ b) & ~case_bits) == 0;
}

bool
dyn_bytes_ieq(const char *a, const char *b, size_t len)
{
    size_t i = 0;
    for (; len - i >= sizeof(uint64_t); i += sizeof(uint64_t)) {
        if (!word_ieq(a + i, b + i)) {
            return false;
        }
    }
    for (; i < len; i++) {
        if (lower(a[i]) != lower(b[i])) {
            return false;
        }
    }
    return true;
}

struct dyn_slice
dyn_slice_trim(struct dyn_slice text)
{
    while (text.len > 0 && (text.data[0] == ' ' || text.data[0] == '\t')) {
        text = dyn_slice(text.data + 1, text.len - 1);
    }
    while (text.len > 0 && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == '\t')) {
        text.len--;
    }
    return text;
}

void
dyn_assert_failed(const char *cond, const char *file, int line, const char *func)
{
    (void)fprintf(stderr, "dynabus: assertion failed: %s (%s:%d, %s)\n", cond, file, line, func);
    abort();
}

static DYN_COLD void
out_of_memory(size_t size)
{
    (void)fprintf(stderr, "dynabus: out of memory allocating %zu bytes\n", size);
    abort();
}

void *
dyn_alloc(size_t size)
{
    void *ptr = malloc(size ? size : 1);
    if (DYN_UNLIKELY(ptr == NULL)) {
        out_of_memory(size);
    }
    return ptr;
}

void *
dyn_zalloc(size_t size)
{
    void *ptr = calloc(1, size ? size : 1);
    if (DYN_UNLIKELY(ptr == NULL)) {
        out_of_memory(size);
    }
    return ptr;
}

void *
dyn_realloc(void *ptr, size_t size)
{
    void *grown = realloc(ptr, size ? size : 1);
    if (DYN_UNLIKELY(grown == NULL)) {
        out_of_memory(size);
    }
    return grown;
}

char *
dyn_strndup(const char *data, size_t len)
{
    char *copy = dyn_alloc(len + 1);
    if (len > 0) {
        memcpy(copy, data, len);
    }
    copy[len] = '\0';
    return copy;
}

char *
dyn_strdup(const char *text)
{
    return dyn_strndup(text, strlen(text));
}
