#include "core/word_starts.h"

#include "core/unicode.h"
#include "core/unicode_loose.h"

/* Of the kinds of a byte the lowest bits say that it is open, the others that it is part of a word: one for
 * each high half from 3 on. No letter or digit has a lower one, and of those above only DEL is invisible. */
enum { KIND_OPEN = 0x07, KIND_OPEN_DEL = 0x04, KIND_WORD = 0xF8 };

void
word_starts_add(struct word_starts *starts, struct dyn_slice word, unsigned group, bool is_case_sensitive)
{
    uint8_t bit = (uint8_t)(1u << group);
    for (size_t i = 0; i < WORD_START_BYTES; i++) {
        uint8_t *groups = starts->groups[i];
        if (i >= word.len) {
            for (size_t c = 0; c < 256; c++) {
                groups[c] |= bit;
            }
            continue;
        }
        unsigned char c = (unsigned char)word.data[i];
        groups[c] |= bit;
        if (c >= 'a' && c <= 'z' && !is_case_sensitive) {
            groups[c & ~0x20] |= bit;
        }
    }
}

/* Of ASCII; which bytes are beyond it a block says by itself. */
static void
name_halves(struct word_starts *starts)
{
    for (unsigned c = 0; c < 0x80; c++) {
        unsigned row = c >> 4;
        for (size_t i = 0; i < WORD_START_BYTES; i++) {
            starts->low[i][c & 0x0F] |= starts->groups[i][c];
            starts->high[i][row] |= starts->groups[i][c];
        }
        unsigned kind = row == 7 ? KIND_OPEN_DEL : 1u << row;
        kind = starts->is_word[c] ? 1u << row : starts->is_open[c] ? kind : 0;
        starts->kind_low[c & 0x0F] |= (uint8_t)kind;
        starts->kind_high[row] |= (uint8_t)kind;
    }
}

void
word_starts_finish(struct word_starts *starts, bool whole_words, bool is_loose)
{
    for (unsigned c = 0; c < 256; c++) {
        starts->is_word[c] = whole_words && c < 0x80 && unicode_is_word_byte((unsigned char)c);
        starts->is_open[c] = c >= 0x80 || (is_loose && unicode_is_hidden_byte((unsigned char)c));
        if (starts->is_open[c]) {
            starts->groups[0][c] = UINT8_MAX;
        }
    }
    name_halves(starts);
}

#if defined(__x86_64__)

#include <immintrin.h>

#define WITH_AVX2 __attribute__((target("avx2")))

enum { BLOCK = 32, BLOCK_STARTS = BLOCK - (WORD_START_BYTES - 1) };
#define STARTS_MASK ((1u << BLOCK_STARTS) - 1)

WITH_AVX2 static inline __m256i
load_table(const uint8_t *table)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)table));
}

/* Bytes beyond ASCII find nothing. */
WITH_AVX2 static inline __m256i
look_up(const uint8_t *low, const uint8_t *high, __m256i bytes, __m256i high_halves)
{
    return _mm256_and_si256(_mm256_shuffle_epi8(load_table(low), bytes),
                            _mm256_shuffle_epi8(load_table(high), high_halves));
}

/* Each byte moves to where `n` before it stood; the last ones are zero. */
#define MOVED_BACK(bytes, n) _mm256_alignr_epi8(_mm256_permute2x128_si256(bytes, bytes, 0x81), bytes, n)

/* A bit for each byte that has one of those bits. */
WITH_AVX2 static inline unsigned
which_have(__m256i bytes, int bits)
{
    __m256i found = _mm256_and_si256(bytes, _mm256_set1_epi8((char)bits));
    return ~(unsigned)_mm256_movemask_epi8(_mm256_cmpeq_epi8(found, _mm256_setzero_si256()));
}

/* A bit for each start in a block, but for its last bytes. *behind becomes what the next block's is. */
WITH_AVX2 static inline unsigned
starts_in_block(const struct word_starts *starts, const char *at, unsigned *behind)
{
    __m256i bytes = _mm256_loadu_si256((const __m256i *)(const void *)at);
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), _mm256_set1_epi8(0x0F));
    __m256i groups = look_up(starts->low[0], starts->high[0], bytes, high);
    __m256i second = look_up(starts->low[1], starts->high[1], bytes, high);
    __m256i third = look_up(starts->low[2], starts->high[2], bytes, high);
    __m256i kinds = look_up(starts->kind_low, starts->kind_high, bytes, high);
    groups = _mm256_and_si256(groups, MOVED_BACK(second, 1));
    groups = _mm256_and_si256(groups, MOVED_BACK(third, 2));
    unsigned words = which_have(kinds, KIND_WORD);
    unsigned open = which_have(kinds, KIND_OPEN) | (unsigned)_mm256_movemask_epi8(bytes);
    unsigned found = which_have(groups, UINT8_MAX) & ~(words & (words << 1 | *behind));
    *behind = words >> (BLOCK_STARTS - 1) & 1u;
    return (found | open | open >> 1 | open >> 2) & STARTS_MASK;
}

/* Of a block at least. Stops at the first start, or where too little is left for one to be seen. */
WITH_AVX2 static const char *
find_with_avx2(const struct word_starts *starts, const char *at, const char *end, bool is_behind_word)
{
    unsigned behind = is_behind_word;
    const char *last = end - BLOCK;
    for (; at < last; at += BLOCK_STARTS) {
        unsigned found = starts_in_block(starts, at, &behind);
        if (found != 0) {
            return at + __builtin_ctz(found);
        }
    }
    /* The last block has bytes that were looked at: nothing begins there. */
    behind = at > last ? starts->is_word[(unsigned char)last[-1]] : behind;
    unsigned found = starts_in_block(starts, last, &behind) & (UINT32_MAX << (at - last));
    return found != 0 ? last + __builtin_ctz(found) : last + BLOCK_STARTS;
}

static const char *
find_in_blocks(const struct word_starts *starts, const char *at, const char *end, bool is_behind_word)
{
    bool has_block = end - at >= BLOCK && __builtin_cpu_supports("avx2");
    return has_block ? find_with_avx2(starts, at, end, is_behind_word) : at;
}

#else

static const char *
find_in_blocks(const struct word_starts *starts, const char *at, const char *end, bool is_behind_word)
{
    (void)starts, (void)end, (void)is_behind_word;
    return at;
}

#endif

const char *
word_starts_find(const struct word_starts *starts, const char *at, const char *end, bool is_behind_word)
{
    while (at < end &&
           !word_starts_at(starts, at, end, is_behind_word)) { /* blocks pay behind a look at one */
        at = find_in_blocks(starts, at + 1, end, starts->is_word[(unsigned char)*at]);
        is_behind_word = starts->is_word[(unsigned char)at[-1]];
    }
    return at;
}
