/* Envelope headers: what is encoded comes back; what breaks the protocol is refused as a whole. The
 * vectors in proto/vectors are run by test_env_vectors.c. */
#include "core/rand.h"
#include "proto/env_fields.h"
#include "proto/mp.h"
#include "proto/vote.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct env *
decode_or_fail(struct dyn_slice header)
{
    struct env *env = NULL;
    struct dyn_err err = {.code = DYN_OK};
    int result = env_decode(header, &env, &err);
    if (result != 0) {
        print_error("%s\n", err.text);
    }
    assert_int_equal(result, 0);
    assert_non_null(env);
    return env;
}

static void
encode_ok(const struct env *env, struct dyn_buf *out)
{
    struct dyn_err err;
    assert_int_equal(env_encode(env, out, &err), 0);
}

static struct env *
there_and_back(const struct env *env)
{
    struct dyn_buf header = DYN_BUF_INIT;
    encode_ok(env, &header);
    struct env *back = decode_or_fail(dyn_buf_slice(&header));
    dyn_buf_fini(&header);
    return back;
}

/* A value for each member, different for each. */
static void
fill(struct env *env, const struct env_field *field, unsigned number)
{
    void *at = env_field_at(env, field);
    char text[32];
    int len = snprintf(text, sizeof text, "text %u", number);
    switch (field->type) {
    case ENV_FIELD_ID:
        env->id = env_id_random();
        return;
    case ENV_FIELD_U16:
        *(uint16_t *)at = (uint16_t)(200 + number);
        return;
    case ENV_FIELD_U32:
        *(uint32_t *)at = number * 100000 + 1;
        return;
    case ENV_FIELD_U64:
        *(uint64_t *)at = (uint64_t)number << 40;
        return;
    case ENV_FIELD_BOOL:
        *(bool *)at = true;
        return;
    case ENV_FIELD_TEXT:
    case ENV_FIELD_BYTES:
        *(struct dyn_slice *)at = env_copy(env, dyn_slice(text, (size_t)len));
        return;
    case ENV_FIELD_SURFACE:
        env->surface = ENV_SURFACE_MODEL;
        return;
    case ENV_FIELD_OUTCOME:
        env->outcome = ENV_OUTCOME_CANCELLED;
        return;
    case ENV_FIELD_ERROR:
        *(enum err_code *)at = ERR_UPSTREAM_CUT;
        return;
    case ENV_FIELD_HEADERS:
        env_add_header(env, DYN_SLICE("retry-after"), DYN_SLICE("7"));
        env_add_header(env, DYN_SLICE("x-odd"), DYN_SLICE("\xff\x00\x01"));
        return;
    case ENV_FIELD_USAGE:
        env->usage = (struct env_usage){true, true, 11, 7, 18, 4, 3, 2, 5, 6, 0, 0, 0, 0, 0};
        return;
    case ENV_FIELD_STAGE:
        env->stage = VOTE_AFTER_REQUEST;
        return;
    case ENV_FIELD_VERDICT:
        env->verdict = VOTE_AMEND;
        return;
    case ENV_FIELD_FACTS:
        env->facts_asked = vote_facts_new();
        env->facts_asked->model = arena_copy(&env->facts_asked->arena, DYN_SLICE("gpt-4o"));
        env->facts_asked->prompt_tokens = 1234;
        return;
    }
}

static void
expect_same(const struct env *a, const struct env *b, const struct env_field *field)
{
    const void *x = env_field_get(a, field);
    const void *y = env_field_get(b, field);
    switch (field->type) {
    case ENV_FIELD_ID:
        assert_memory_equal(x, y, sizeof(struct env_id));
        return;
    case ENV_FIELD_U16:
        assert_memory_equal(x, y, sizeof(uint16_t));
        return;
    case ENV_FIELD_U32:
        assert_memory_equal(x, y, sizeof(uint32_t));
        return;
    case ENV_FIELD_U64:
        assert_memory_equal(x, y, sizeof(uint64_t));
        return;
    case ENV_FIELD_BOOL:
        assert_int_equal(*(const bool *)x, *(const bool *)y);
        return;
    case ENV_FIELD_TEXT:
    case ENV_FIELD_BYTES:
        assert_true(dyn_slice_eq(*(const struct dyn_slice *)x, *(const struct dyn_slice *)y));
        assert_int_equal(((const struct dyn_slice *)x)->data == NULL,
                         ((const struct dyn_slice *)y)->data == NULL);
        return;
    case ENV_FIELD_SURFACE:
    case ENV_FIELD_OUTCOME:
    case ENV_FIELD_ERROR:
        assert_int_equal(*(const unsigned *)x, *(const unsigned *)y);
        return;
    case ENV_FIELD_HEADERS:
        assert_int_equal(a->n_headers, b->n_headers);
        for (size_t i = 0; i < a->n_headers; i++) {
            assert_true(dyn_slice_eq(a->headers[i].name, b->headers[i].name));
            assert_true(dyn_slice_eq(a->headers[i].value, b->headers[i].value));
        }
        return;
    case ENV_FIELD_USAGE:
        assert_int_equal(a->usage.known, b->usage.known);
        assert_int_equal(a->usage.estimated, b->usage.estimated);
        for (size_t i = 0; i < ENV_N_USAGE_FIELDS; i++) {
            assert_memory_equal((const char *)&a->usage + env_usage_fields[i].offset,
                                (const char *)&b->usage + env_usage_fields[i].offset, sizeof(uint64_t));
        }
        return;
    case ENV_FIELD_STAGE:
    case ENV_FIELD_VERDICT:
        assert_memory_equal(x, y, sizeof(uint8_t));
        return;
    case ENV_FIELD_FACTS:
        assert_int_equal(a->facts_asked == NULL, b->facts_asked == NULL);
        if (a->facts_asked == NULL) {
            return;
        }
        assert_true(dyn_slice_eq(a->facts_asked->model, b->facts_asked->model));
        assert_int_equal(a->facts_asked->prompt_tokens, b->facts_asked->prompt_tokens);
        return;
    }
}

static struct env *
full_envelope(enum env_kind kind)
{
    struct env *env = env_new(kind);
    bool is_vote = kind == ENV_ASK || kind == ENV_VOTE;
    for (unsigned i = 0; i < ENV_N_FIELDS; i++) { /* all together are more than a header may have */
        bool is_left_out = is_vote ? env_fields[i].since == 1 : env_fields[i].since >= ENV_VOTES_SINCE;
        if (!is_left_out) {
            fill(env, &env_fields[i], i + 1);
        }
    }
    return env;
}

static void
every_member_of_every_kind_comes_back(void **state)
{
    (void)state;
    for (int kind = ENV_REQUEST; kind < ENV_KIND_COUNT; kind++) {
        struct env *env = full_envelope((enum env_kind)kind);
        struct env *back = there_and_back(env);
        assert_int_equal(back->kind, kind);
        assert_null(back->body);
        for (size_t i = 0; i < ENV_N_FIELDS; i++) {
            expect_same(env, back, &env_fields[i]);
        }
        env_free(&env);
        env_free(&back);
    }
}

static void
absent_members_stay_absent(void **state)
{
    (void)state;
    struct env *env = env_new(ENV_HEARTBEAT);
    struct dyn_buf header = DYN_BUF_INIT;
    encode_ok(env, &header);
    static const char expected[] = "\x82\xa1v\x92\x01\x03\xa4kind\xa9heartbeat";
    assert_int_equal(header.len, sizeof expected - 1);
    assert_memory_equal(header.data, expected, header.len);
    struct env *back = decode_or_fail(dyn_buf_slice(&header));
    for (size_t i = 0; i < ENV_N_FIELDS; i++) {
        expect_same(env, back, &env_fields[i]);
    }
    env_free(&env);
    env_free(&back);
    dyn_buf_fini(&header);
}

/* received_us belongs to one process, addresses to one wire. */
static void
what_is_local_is_not_sent(void **state)
{
    (void)state;
    struct env *env = env_new(ENV_HEARTBEAT);
    struct dyn_buf before = DYN_BUF_INIT;
    struct dyn_buf after = DYN_BUF_INIT;
    encode_ok(env, &before);
    env->received_us = 5;
    env->from = 6;
    env->to = 7;
    env->mailbox_bytes = 8;
    env->body = dyn_block_copy(0, DYN_SLICE("body"));
    encode_ok(env, &after);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
    env_free(&env);
    dyn_buf_fini(&before);
    dyn_buf_fini(&after);
}

/* Cut within the limit, never in the middle of a character. */
static void
a_long_text_is_cut_at_a_character(void **state)
{
    (void)state;
    static char text[3 * 4096];
    for (size_t i = 0; i < sizeof text; i += 3) {
        memcpy(text + i, "\xE2\x82\xAC", 3);
    }
    for (size_t shift = 0; shift < 3; shift++) {
        struct env *env = env_new(ENV_HEARTBEAT);
        memset(text, 'a', shift);
        memcpy(text + shift, "\xE2\x82\xAC", 3);
        for (size_t i = shift; i + 3 <= sizeof text; i += 3) {
            memcpy(text + i, "\xE2\x82\xAC", 3);
        }
        env->error_text = dyn_slice(text, sizeof text - 3 + shift);
        struct env *back = there_and_back(env);
        assert_in_range(back->error_text.len, 4096 - 2, 4096);
        assert_true(mp_is_utf8(back->error_text));
        assert_memory_equal(back->error_text.data, text, back->error_text.len);
        env_free(&env);
        env_free(&back);
    }
}

static void
text_that_is_not_utf8_still_travels(void **state)
{
    (void)state;
    struct env *env = env_new(ENV_HEARTBEAT);
    env->model = DYN_SLICE("a\xff\xC3(\xE2\x82");
    env->credential = DYN_SLICE("\xff\xfe");
    struct env *back = there_and_back(env);
    assert_true(dyn_slice_is(back->model, "a?"
                                          "?(?"
                                          "?"));
    assert_true(dyn_slice_is(back->credential, "\xff\xfe"));
    env_free(&env);
    env_free(&back);
}

static void
headers_that_are_too_large_are_left_out(void **state)
{
    (void)state;
    static char big[ENV_HEADER_VALUE_MAX + 1];
    memset(big, 'x', sizeof big);
    struct env *env = env_new(ENV_HEARTBEAT);
    env_add_header(env, DYN_SLICE("a"), DYN_SLICE("1"));
    env_add_header(env, DYN_SLICE("b"), dyn_slice(big, sizeof big));
    for (int i = 0; i < 5; i++) {
        env_add_header(env, DYN_SLICE("c"), dyn_slice(big, ENV_HEADER_VALUE_MAX));
    }
    env_add_header(env, DYN_SLICE("d"), DYN_SLICE("2"));
    struct env *back = there_and_back(env);
    assert_int_equal(back->n_headers, 1 + 3 + 1);
    assert_true(dyn_slice_is(back->headers[0].name, "a"));
    assert_true(dyn_slice_is(back->headers[4].name, "d"));
    env_free(&env);
    env_free(&back);
}

/* Whatever an actor puts into an envelope, the encoder's answer is one that the decoder takes. */
static void
what_is_encoded_is_decoded(void **state)
{
    (void)state;
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 11);
    static char noise[20000];
    for (int round = 0; round < 2000; round++) {
        dyn_rng_seed(&rng, (uint64_t)round);
        for (size_t i = 0; i < sizeof noise; i++) {
            noise[i] = (char)dyn_rng_next(&rng);
        }
        struct env *env = full_envelope((enum env_kind)(1 + dyn_rng_below(&rng, ENV_KIND_COUNT - 1)));
        env->error_text = dyn_slice(noise, (size_t)dyn_rng_below(&rng, sizeof noise));
        env->credential = dyn_slice(noise, (size_t)dyn_rng_below(&rng, sizeof noise));
        env->model = dyn_slice(noise, (size_t)dyn_rng_below(&rng, 2000));
        for (size_t n = (size_t)dyn_rng_below(&rng, 40); n > 0; n--) {
            env_add_header(env, dyn_slice(noise, 1 + (size_t)dyn_rng_below(&rng, 200)),
                           dyn_slice(noise, (size_t)dyn_rng_below(&rng, 10000)));
        }
        struct env *back = there_and_back(env);
        assert_int_equal(back->status, env->status);
        env_free(&env);
        env_free(&back);
    }
}

/* Every header cut short anywhere is refused, and so is one with a byte more. */
static void
a_cut_header_is_refused(void **state)
{
    (void)state;
    struct env *env = full_envelope(ENV_END);
    struct dyn_buf header = DYN_BUF_INIT;
    struct env *back = NULL;
    struct dyn_err err;
    encode_ok(env, &header);
    for (size_t len = 0; len < header.len; len++) {
        char *copy = malloc(len + 1); /* so that a read beyond is seen */
        assert_non_null(copy);
        memcpy(copy, header.data, len);
        assert_int_equal(env_decode(dyn_slice(copy, len), &back, &err), -1);
        assert_true(err.text[0] != '\0');
        free(copy);
    }
    dyn_buf_add_char(&header, '\0');
    assert_int_equal(env_decode(dyn_buf_slice(&header), &back, &err), -1);
    assert_null(back);
    env_free(&env);
    dyn_buf_fini(&header);
}

/* Any byte changed: decoded or refused, never more. Run under the sanitizers. */
static void
changed_bytes_do_no_harm(void **state)
{
    (void)state;
    struct env *env = full_envelope(ENV_REQUEST);
    struct dyn_buf header = DYN_BUF_INIT;
    struct dyn_err err;
    encode_ok(env, &header);
    for (size_t i = 0; i < header.len; i++) {
        char kept = header.data[i];
        for (int value = 0; value < 256; value++) {
            struct env *back = NULL;
            header.data[i] = (char)value;
            int result = env_decode(dyn_buf_slice(&header), &back, &err);
            assert_true(result == 0 ? back != NULL : back == NULL);
            env_free(&back);
        }
        header.data[i] = kept;
    }
    env_free(&env);
    dyn_buf_fini(&header);
}

/* Five bytes that promise 16 million elements must not cost memory or time. */
static void
promised_elements_are_not_believed(void **state)
{
    (void)state;
    struct dyn_err err;
    struct env *env = NULL;
    assert_int_equal(env_decode(DYN_SLICE("\xdd\x00\xff\xff\xff"), &env, &err), -1);
    assert_int_equal(env_decode(DYN_SLICE("\xdf\xff\xff\xff\xff"), &env, &err), -1);
    assert_int_equal(env_decode(DYN_SLICE("\xdb\xff\xff\xff\xff"), &env, &err), -1);
    assert_int_equal(env_decode(DYN_SLICE("\xc6\xff\xff\xff\xff"), &env, &err), -1);
    assert_null(env);
}

static void
nesting_is_limited(void **state)
{
    (void)state;
    struct dyn_err err;
    char text[64];
    memset(text, 0x91, sizeof text);
    text[MP_DEPTH_MAX] = 0x01;
    assert_int_equal(mp_check(dyn_slice(text, MP_DEPTH_MAX + 1), 100, &err), 0);
    text[MP_DEPTH_MAX] = (char)0x91;
    text[MP_DEPTH_MAX + 1] = 0x01;
    assert_int_equal(mp_check(dyn_slice(text, MP_DEPTH_MAX + 2), 100, &err), -1);
    assert_int_equal(err.code, DYN_E_LIMIT);
}

static void
bodies_have_their_limits(void **state)
{
    (void)state;
    struct dyn_err err;
    struct env *chunk = env_new(ENV_CHUNK);
    dyn_block_t *body = dyn_block_new(0, ENV_CHUNK_MAX + 1);
    memset(dyn_block_data(body), 'x', ENV_CHUNK_MAX + 1);
    body->len = ENV_CHUNK_MAX + 1;
    assert_int_equal(env_take_body(chunk, &body, &err), -1);
    assert_int_equal(err.code, DYN_E_LIMIT);
    assert_non_null(body);
    body->len = ENV_CHUNK_MAX;
    assert_int_equal(env_take_body(chunk, &body, &err), 0);
    assert_null(body);
    assert_int_equal(env_body_len(chunk), ENV_CHUNK_MAX);
    env_free(&chunk);
}

static void
a_version_is_found_in_any_header(void **state)
{
    (void)state;
    unsigned major = 0;
    unsigned minor = 0;
    struct dyn_slice later = DYN_SLICE("\x82\xa4kind\xa3new\xa1v\x92\x02\x05");
    assert_int_equal(env_header_version(later, &major, &minor), 0);
    assert_int_equal(major, 2);
    assert_int_equal(minor, 5);
    assert_int_equal(env_header_version(DYN_SLICE("\x80"), &major, &minor), -1);
    assert_int_equal(env_header_version(DYN_SLICE("garbage"), &major, &minor), -1);
}

/* Counts of 1.3 come through, and a peer of 1.2 is not told of them. */
static void
counts_of_a_later_version_are_for_it_alone(void **state)
{
    (void)state;
    struct env *env = env_new(ENV_END);
    env->id = env_id_random();
    env->outcome = ENV_OUTCOME_OK;
    env->usage = (struct env_usage){.known = true,
                                    .prompt_tokens = 5,
                                    .cache_write_1h_tokens = 1,
                                    .image_in_tokens = 2,
                                    .image_out_tokens = 3,
                                    .searches = 4,
                                    .service = ENV_SERVICE_FLEX};
    for (unsigned minor = 2; minor <= 3; minor++) {
        struct dyn_buf header = DYN_BUF_INIT;
        assert_int_equal(env_encode_for(env, minor, &header, NULL), 0);
        struct env *back = decode_or_fail(dyn_buf_slice(&header));
        struct env_usage expected = env->usage;
        if (minor == 2) {
            expected = (struct env_usage){.known = true, .prompt_tokens = 5};
        }
        assert_memory_equal(&back->usage, &expected, sizeof expected);
        env_free(&back);
        dyn_buf_fini(&header);
    }
    env_free(&env);
}

/* A member or count of a version that we do not say ourselves would never leave a process. */
static void
nothing_is_of_a_version_that_nobody_speaks(void **state)
{
    (void)state;
    for (size_t i = 0; i < ENV_N_FIELDS; i++) {
        assert_true(env_fields[i].since <= ENV_VERSION_MINOR);
    }
    for (size_t i = 0; i < ENV_N_USAGE_FIELDS; i++) {
        assert_true(env_usage_fields[i].since <= ENV_VERSION_MINOR);
    }
}

/* Each count of struct env_usage stands in the table: the wire knows no other way to tell it. */
static void
all_counts_are_in_the_table(void **state)
{
    (void)state;
    struct env_usage usage = {.known = true};
    struct env_usage counts = {.known = true};
    memset((char *)&counts + offsetof(struct env_usage, prompt_tokens), 0xff,
           sizeof counts - offsetof(struct env_usage, prompt_tokens));
    for (size_t i = 0; i < ENV_N_USAGE_FIELDS; i++) {
        memset((char *)&usage + env_usage_fields[i].offset, 0xff, sizeof(uint64_t));
    }
    assert_memory_equal(&usage, &counts, sizeof counts);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_member_of_every_kind_comes_back),
        cmocka_unit_test(absent_members_stay_absent),
        cmocka_unit_test(what_is_local_is_not_sent),
        cmocka_unit_test(a_long_text_is_cut_at_a_character),
        cmocka_unit_test(text_that_is_not_utf8_still_travels),
        cmocka_unit_test(headers_that_are_too_large_are_left_out),
        cmocka_unit_test(what_is_encoded_is_decoded),
        cmocka_unit_test(a_cut_header_is_refused),
        cmocka_unit_test(changed_bytes_do_no_harm),
        cmocka_unit_test(promised_elements_are_not_believed),
        cmocka_unit_test(nesting_is_limited),
        cmocka_unit_test(bodies_have_their_limits),
        cmocka_unit_test(a_version_is_found_in_any_header),
        cmocka_unit_test(counts_of_a_later_version_are_for_it_alone),
        cmocka_unit_test(nothing_is_of_a_version_that_nobody_speaks),
        cmocka_unit_test(all_counts_are_in_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
