#include "core/unicode.h"

struct fold_range {
    uint32_t first;
    uint32_t last;
    uint32_t stride;
    int32_t delta;
};

struct full_fold {
    uint32_t scalar;
    uint16_t to[UNICODE_FOLD_MAX];
};

struct word_range {
    uint32_t first;
    uint32_t last;
};

static const struct fold_range folds[] = {
#define FOLD(first, last, stride, delta) {first, last, stride, delta},
#define FULL(scalar, a, b, c)
#define WORD(first, last)
#include "core/unicode.def"
#undef FOLD
#undef FULL
#undef WORD
};

static const struct full_fold full_folds[] = {
#define FOLD(first, last, stride, delta)
#define FULL(scalar, a, b, c) {scalar, {a, b, c}},
#define WORD(first, last)
#include "core/unicode.def"
#undef FOLD
#undef FULL
#undef WORD
};

static const struct word_range words[] = {
#define FOLD(first, last, stride, delta)
#define FULL(scalar, a, b, c)
#define WORD(first, last) {first, last},
#include "core/unicode.def"
#undef FOLD
#undef FULL
#undef WORD
};

/* No character of these folds: most of Asia's. They need no search. */
enum { UNFOLDED_FIRST = 0x2E80, UNFOLDED_LAST = 0xA63F };

static size_t
fold_simply(uint32_t scalar, uint32_t out[UNICODE_FOLD_MAX])
{
    size_t low = 0;
    size_t high = DYN_ARRAY_LEN(folds);
    out[0] = scalar;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct fold_range *range = &folds[middle];
        if (scalar > range->last) {
            low = middle + 1;
        } else if (scalar < range->first) {
            high = middle;
        } else {
            if ((scalar - range->first) % range->stride == 0) {
                out[0] = (uint32_t)((int32_t)scalar + range->delta);
            }
            break;
        }
    }
    return 1;
}

static const struct full_fold *
find_full(uint32_t scalar)
{
    size_t low = 0;
    size_t high = DYN_ARRAY_LEN(full_folds);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (full_folds[middle].scalar == scalar) {
            return &full_folds[middle];
        }
        if (full_folds[middle].scalar < scalar) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

size_t
unicode_fold(uint32_t scalar, uint32_t out[UNICODE_FOLD_MAX])
{
    if (scalar < 0x80) {
        out[0] = scalar >= 'A' && scalar <= 'Z' ? scalar | 0x20 : scalar;
        return 1;
    }
    if (scalar >= UNFOLDED_FIRST && scalar <= UNFOLDED_LAST) {
        out[0] = scalar;
        return 1;
    }
    const struct full_fold *full = find_full(scalar);
    if (full == NULL) {
        return fold_simply(scalar, out);
    }
    size_t n = 0;
    while (n < UNICODE_FOLD_MAX && full->to[n] != 0) {
        out[n] = full->to[n];
        n++;
    }
    return n;
}

bool
unicode_is_word(uint32_t scalar)
{
    if (scalar < 0x80) {
        return unicode_is_word_byte((unsigned char)scalar);
    }
    size_t low = 0;
    size_t high = DYN_ARRAY_LEN(words);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (scalar > words[middle].last) {
            low = middle + 1;
        } else if (scalar < words[middle].first) {
            high = middle;
        } else {
            return true;
        }
    }
    return false;
}
