/* What every file may use: attributes, byte slices, container_of, assertions, and allocation that
 * does not fail. Nothing here knows about gateways. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DYN_MUST_CHECK       __attribute__((warn_unused_result))
#define DYN_PRINTF(fmt, arg) __attribute__((format(printf, fmt, arg)))
#define DYN_UNUSED           __attribute__((unused))
#define DYN_COLD             __attribute__((cold))
#define DYN_LIKELY(x)        __builtin_expect(!!(x), 1)
#define DYN_UNLIKELY(x)      __builtin_expect(!!(x), 0)

#define DYN_ARRAY_LEN(array)                (sizeof(array) / sizeof((array)[0]))
#define DYN_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Borrowed bytes: not terminated, may hold NUL, never owned by the slice. {NULL, 0} is "absent";
 * a present empty value has a non-NULL pointer. */
struct dyn_slice {
    const char *data;
    size_t len;
};

#define DYN_SLICE(literal) ((struct dyn_slice){"" literal, sizeof(literal) - 1})
/* clang-format off */
#define DYN_SLICE_INIT(literal) {"" literal, sizeof(literal) - 1}
/* clang-format on */

static inline struct dyn_slice
dyn_slice(const char *data, size_t len)
{
    return (struct dyn_slice){data, len};
}

/* NULL gives the absent slice. */
static inline struct dyn_slice
dyn_slice_str(const char *text)
{
    return (struct dyn_slice){text, text ? strlen(text) : 0};
}

static inline bool
dyn_slice_eq(struct dyn_slice a, struct dyn_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool
dyn_slice_is(struct dyn_slice a, const char *text)
{
    return dyn_slice_eq(a, dyn_slice_str(text));
}

/* Equal when ASCII letters are compared without case. Header names and schemes, nothing else. */
bool dyn_bytes_ieq(const char *a, const char *b, size_t len);

static inline bool
dyn_slice_ieq(struct dyn_slice a, struct dyn_slice b)
{
    return a.len == b.len && dyn_bytes_ieq(a.data, b.data, a.len);
}

/* Without spaces and tabs at its ends, the white space that headers and lists in them may have. */
struct dyn_slice dyn_slice_trim(struct dyn_slice text);

/* Invariants of ours, always compiled in. Never on bytes that came from outside. */
#define DYN_ASSERT(cond) (DYN_LIKELY(cond) ? (void)0 : dyn_assert_failed(#cond, __FILE__, __LINE__, __func__))

_Noreturn void dyn_assert_failed(const char *cond, const char *file, int line, const char *func);

/* These end the process when memory runs out: a gateway that cannot allocate cannot keep a promise,
 * and its supervisor can. Sizes taken from input are limited by the caller first. */
void *dyn_alloc(size_t size) __attribute__((malloc, alloc_size(1), returns_nonnull));
void *dyn_zalloc(size_t size) __attribute__((malloc, alloc_size(1), returns_nonnull));
void *dyn_realloc(void *ptr, size_t size) __attribute__((alloc_size(2), returns_nonnull));
char *dyn_strndup(const char *data, size_t len) __attribute__((malloc, returns_nonnull));
char *dyn_strdup(const char *text) __attribute__((malloc, returns_nonnull));
