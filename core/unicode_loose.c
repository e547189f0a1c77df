#include "core/unicode_loose.h"

enum { LAST_OF_ONE = 0x800000 };

/* Characters that follow each other; what the first stands for begins at `to[at]`, the others behind it. */
struct loose_run {
    uint32_t first;
    uint16_t n;
    uint16_t at;
};

struct scalar_range {
    uint32_t first;
    uint32_t last;
};

struct alike {
    uint16_t scalar;
    char letter;
};

#define RUN(first, n, at)
#define HIDDEN(first, last)
#define ACCENT(first, last)
#define ALIKE(scalar, letter)

static const struct loose_run runs[] = {
#undef RUN
#define RUN(first, n, at) {first, n, at},
#include "core/unicode_loose.def"
#undef RUN
#define RUN(first, n, at)
};

static const uint32_t stands_for[] = {
#define T(scalar) scalar,
#define E(scalar) (scalar) | LAST_OF_ONE,
#include "core/unicode_forms.def"
#undef T
#undef E
};

static const struct scalar_range hidden[] = {
#undef HIDDEN
#define HIDDEN(first, last) {first, last},
#include "core/unicode_loose.def"
#undef HIDDEN
#define HIDDEN(first, last)
};

static const struct scalar_range accents[] = {
#undef ACCENT
#define ACCENT(first, last) {first, last},
#include "core/unicode_loose.def"
#undef ACCENT
#define ACCENT(first, last)
};

static const struct alike alikes[] = {
#undef ALIKE
#define ALIKE(scalar, letter) {scalar, letter},
#include "core/unicode_loose.def"
};

/* Ideographs stand for themselves: they need no search. */
enum { IDEOGRAPHS_FIRST = 0x3400, IDEOGRAPHS_LAST = 0x9FFF };

/* Hangul (Unicode 3.12): a syllable is its parts. */
enum {
    SYLLABLES_FIRST = 0xAC00,
    SYLLABLES_LAST = 0xD7A3,
    LEADING_FIRST = 0x1100,
    VOWELS_FIRST = 0x1161,
    TRAILING_NONE = 0x11A7,
    JAMO_LAST = 0x11FF,
    N_VOWELS = 21,
    N_TRAILING = 28,
    VOICED_MARK = 0x3099,
    SEMI_VOICED_MARK = 0x309A,
    KANA_FIRST = 0x3041,
    KANA_LAST = 0x30FF,
    OLD_VOWELS_FIRST = 0xD7B0,
    OLD_TRAILING_LAST = 0xD7FB,
};

static bool
is_in(const struct scalar_range *ranges, size_t n, uint32_t scalar)
{
    size_t low = 0;
    size_t high = n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (scalar > ranges[middle].last) {
            low = middle + 1;
        } else if (scalar < ranges[middle].first) {
            high = middle;
        } else {
            return true;
        }
    }
    return false;
}

static const struct loose_run *
find_run(uint32_t scalar)
{
    size_t low = 0;
    size_t high = DYN_ARRAY_LEN(runs);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (scalar >= runs[middle].first + runs[middle].n) {
            low = middle + 1;
        } else if (scalar < runs[middle].first) {
            high = middle;
        } else {
            return &runs[middle];
        }
    }
    return NULL;
}

static size_t
syllable_parts(uint32_t scalar, uint32_t out[UNICODE_LOOSE_MAX])
{
    uint32_t index = scalar - SYLLABLES_FIRST;
    uint32_t trailing = index % N_TRAILING;
    out[0] = LEADING_FIRST + index / (N_VOWELS * N_TRAILING);
    out[1] = VOWELS_FIRST + index % (N_VOWELS * N_TRAILING) / N_TRAILING;
    out[2] = TRAILING_NONE + trailing;
    return trailing > 0 ? 3 : 2;
}

size_t
unicode_loose(uint32_t scalar, uint32_t out[UNICODE_LOOSE_MAX])
{
    out[0] = scalar;
    if (scalar < 0x80) {
        return unicode_is_hidden_byte((unsigned char)scalar) ? 0 : 1;
    }
    if (scalar >= IDEOGRAPHS_FIRST && scalar <= IDEOGRAPHS_LAST) {
        return 1;
    }
    if (scalar >= SYLLABLES_FIRST && scalar <= SYLLABLES_LAST) {
        return syllable_parts(scalar, out);
    }
    const struct loose_run *run = find_run(scalar);
    if (run == NULL) {
        return is_in(hidden, DYN_ARRAY_LEN(hidden), scalar) ? 0 : 1;
    }
    const uint32_t *to = &stands_for[run->at];
    for (uint32_t before = scalar - run->first; before > 0; to++) {
        before -= (*to & LAST_OF_ONE) != 0;
    }
    size_t n = 0;
    do {
        out[n] = to[n] & ~(uint32_t)LAST_OF_ONE;
    } while ((to[n++] & LAST_OF_ONE) == 0);
    return n;
}

bool
unicode_is_accent(uint32_t scalar)
{
    return scalar >= 0x80 && is_in(accents, DYN_ARRAY_LEN(accents), scalar);
}

bool
unicode_is_continuation(uint32_t scalar)
{
    return (scalar >= VOWELS_FIRST && scalar <= JAMO_LAST) || scalar == VOICED_MARK ||
           scalar == SEMI_VOICED_MARK || (scalar >= OLD_VOWELS_FIRST && scalar <= OLD_TRAILING_LAST);
}

bool
unicode_may_continue(uint32_t scalar)
{
    return (scalar >= LEADING_FIRST && scalar <= JAMO_LAST) ||
           (scalar >= KANA_FIRST && scalar <= KANA_LAST) ||
           (scalar >= OLD_VOWELS_FIRST && scalar <= OLD_TRAILING_LAST);
}

char
unicode_look_alike(uint32_t scalar)
{
    size_t low = 0;
    size_t high = DYN_ARRAY_LEN(alikes);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (alikes[middle].scalar == scalar) {
            return alikes[middle].letter;
        }
        if (alikes[middle].scalar < scalar) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return '\0';
}
