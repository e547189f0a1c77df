/* The method is that of Keiser and Lemire, "Validating UTF-8 in less than one instruction per byte"
 * (2021): three table look-ups by nibbles name the faults that a byte and the one before it may have
 * together; a fault is what all three name. Faults of the third and fourth byte of a character are
 * then only about being continuation bytes or not. */
#include "core/json_utf8.h"

#if defined(__x86_64__)

#include <tmmintrin.h>

#define WITH_SSSE3 __attribute__((target("ssse3")))

enum {
    CUT = 0x01,           /* a lead byte, and no continuation behind it */
    ALONE = 0x02,         /* ASCII, and a continuation behind it */
    OVERLONG_2 = 0x04,    /* C0 and C1 */
    OVERLONG_3 = 0x08,    /* E0 with less than A0 */
    OVERLONG_4 = 0x10,    /* F0 with less than 90; shared with F5 and more, which 80 to 8F follow */
    TOO_LARGE = 0x20,     /* F4 and more with 90 and more */
    SURROGATE = 0x40,     /* ED with A0 and more */
    CONTINUATIONS = 0x80, /* two in a row: no fault in the third byte of a character, and only there */
    ANY_LEAD = CUT | ALONE | CONTINUATIONS, /* does not depend on the low nibble of the first byte */
    F5_UP = ANY_LEAD | TOO_LARGE | OVERLONG_4,
};

struct tables {
    __m128i first_high; /* by the high nibble of the byte before */
    __m128i first_low;
    __m128i second_high; /* by the high nibble of the byte */
};

WITH_SSSE3 static inline struct tables
make_tables(void)
{
    const char continuations = (char)CONTINUATIONS;
    const char lead_0 = (char)(ANY_LEAD | OVERLONG_2 | OVERLONG_3 | OVERLONG_4);
    const char lead_1 = (char)(ANY_LEAD | OVERLONG_2);
    const char lead_4 = (char)(ANY_LEAD | TOO_LARGE);
    const char lead_d = (char)(F5_UP | SURROGATE);
    const char plain = (char)ANY_LEAD;
    const char f5_up = (char)F5_UP;
    const char all = ALONE | OVERLONG_2;
    const char second_8 = (char)(all | CONTINUATIONS | OVERLONG_3 | OVERLONG_4);
    const char second_9 = (char)(all | CONTINUATIONS | OVERLONG_3 | TOO_LARGE);
    const char second_ab = (char)(all | CONTINUATIONS | SURROGATE | TOO_LARGE);
    return (struct tables){
        .first_high = _mm_setr_epi8(ALONE, ALONE, ALONE, ALONE, ALONE, ALONE, ALONE, ALONE, continuations,
                                    continuations, continuations, continuations, CUT | OVERLONG_2, CUT,
                                    CUT | OVERLONG_3 | SURROGATE, CUT | TOO_LARGE | OVERLONG_4),
        .first_low = _mm_setr_epi8(lead_0, lead_1, plain, plain, lead_4, f5_up, f5_up, f5_up, f5_up, f5_up,
                                   f5_up, f5_up, f5_up, lead_d, f5_up, f5_up),
        .second_high = _mm_setr_epi8(CUT, CUT, CUT, CUT, CUT, CUT, CUT, CUT, second_8, second_9, second_ab,
                                     second_ab, CUT, CUT, CUT, CUT),
    };
}

WITH_SSSE3 static inline __m128i
high_nibbles(__m128i bytes)
{
    return _mm_and_si128(_mm_srli_epi16(bytes, 4), _mm_set1_epi8(0x0F));
}

/* Not zero where a character is malformed, given the 16 bytes before. */
WITH_SSSE3 static inline __m128i
find_faults(const struct tables *tables, __m128i before, __m128i bytes)
{
    __m128i back_1 = _mm_alignr_epi8(bytes, before, 15);
    __m128i back_2 = _mm_alignr_epi8(bytes, before, 14);
    __m128i back_3 = _mm_alignr_epi8(bytes, before, 13);
    __m128i faults = _mm_shuffle_epi8(tables->first_high, high_nibbles(back_1));
    faults = _mm_and_si128(faults,
                           _mm_shuffle_epi8(tables->first_low, _mm_and_si128(back_1, _mm_set1_epi8(0x0F))));
    faults = _mm_and_si128(faults, _mm_shuffle_epi8(tables->second_high, high_nibbles(bytes)));
    /* A third byte stands two behind E0 and more, a fourth three behind F0 and more: the subtraction
     * leaves their high bit set. There, and only there, two continuations follow each other. */
    __m128i third = _mm_subs_epu8(back_2, _mm_set1_epi8(0xE0 - 0x80));
    __m128i fourth = _mm_subs_epu8(back_3, _mm_set1_epi8(0xF0 - 0x80));
    __m128i expected = _mm_and_si128(_mm_or_si128(third, fourth), _mm_set1_epi8((char)CONTINUATIONS));
    return _mm_xor_si128(faults, expected);
}

WITH_SSSE3 static inline __m128i
find_specials(__m128i bytes)
{
    __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1F)), bytes);
    __m128i quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"'));
    return _mm_or_si128(control, _mm_or_si128(quote, _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'))));
}

/* The beginning of a character that is cut at `at`, or `at`. All before it is well-formed, as far as
 * it goes. */
static const char *
back_to_character(const char *at, const char *begin)
{
    for (const char *lead = at; lead > begin && at - lead < 3;) {
        unsigned char byte = (unsigned char)*--lead;
        if (byte < 0x80) {
            return at;
        }
        if (byte >= 0xC0) {
            ptrdiff_t len = byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
            return at - lead < len ? lead : at;
        }
    }
    return at;
}

WITH_SSSE3 static const char *
skip_with_ssse3(const char *begin, const char *end)
{
    const struct tables tables = make_tables();
    const char *at = begin;
    for (__m128i before = _mm_setzero_si128(); end - at >= 16; at += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
        __m128i faults = _mm_cmpeq_epi8(find_faults(&tables, before, bytes), _mm_setzero_si128());
        if (_mm_movemask_epi8(_mm_andnot_si128(find_specials(bytes), faults)) != 0xFFFF) {
            break;
        }
        before = bytes;
    }
    return back_to_character(at, begin);
}

const char *
json_skip_utf8_blocks(const char *at, const char *end)
{
    return __builtin_cpu_supports("ssse3") ? skip_with_ssse3(at, end) : at;
}

#else

const char *
json_skip_utf8_blocks(const char *at, const char *end)
{
    (void)end;
    return at;
}

#endif
