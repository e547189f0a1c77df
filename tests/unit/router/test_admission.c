/* Who is let in, and what the others are told. */
#include "router/admission.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct admission closed = {.master_key = DYN_SLICE_INIT("sk-master-0123456789")};
static const struct admission open_with_key = {.master_key = DYN_SLICE_INIT("sk-master-0123456789"),
                                               .open = true};
static const struct admission open_without_key = {.open = true};
static const struct admission nobody = {.open = false};

static struct admission_verdict
judge_at(const struct admission *admission, struct dyn_slice credential, uint64_t now_us)
{
    struct key_cell cell;
    struct admission_asker asker = {.credential = credential,
                                    .peer = DYN_SLICE("192.0.2.1:4711"),
                                    .now_us = now_us,
                                    .wall_ms = now_us / 1000};
    key_cell_init(&cell, admission->keys);
    struct admission_verdict verdict = admission_judge(admission, &cell, &asker);
    verdict.key = NULL; /* it goes with the cell */
    key_cell_fini(&cell);
    return verdict;
}

static struct admission_verdict
judge(const struct admission *admission, const char *credential)
{
    return judge_at(admission, dyn_slice_str(credential), 1000000);
}

static void
the_master_key_is_let_in(void **state)
{
    (void)state;
    struct admission_verdict verdict = judge(&closed, "sk-master-0123456789");
    assert_int_equal(verdict.refused, ERR_NONE);
    assert_true(dyn_slice_is(verdict.key_id, "master"));
}

static void
anything_else_is_not(void **state)
{
    (void)state;
    static const char *const wrong[] = {"sk-master-012345678", "sk-master-01234567890",
                                        "SK-MASTER-0123456789", "tk-master-0123456789", "x"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(wrong); i++) {
        assert_int_equal(judge(&closed, wrong[i]).refused, ERR_INVALID_API_KEY);
    }
    assert_int_equal(judge(&closed, NULL).refused, ERR_MISSING_API_KEY);
    assert_int_equal(judge(&closed, "").refused, ERR_MISSING_API_KEY);
    assert_int_equal(judge(&nobody, "sk-master-0123456789").refused, ERR_INVALID_API_KEY);
    assert_int_equal(judge(&nobody, "").refused, ERR_MISSING_API_KEY);
}

static void
a_key_padded_with_nul_is_another_key(void **state)
{
    (void)state;
    struct dyn_slice padded = dyn_slice("sk-master-0123456789\0", 21);
    assert_int_equal(judge_at(&closed, padded, 1).refused, ERR_INVALID_API_KEY);
}

static void
a_credential_longer_than_any_key_is_refused(void **state)
{
    (void)state;
    char long_key[ADMISSION_KEY_MAX + 1];
    memset(long_key, 'k', sizeof long_key);
    assert_int_equal(judge_at(&closed, dyn_slice(long_key, sizeof long_key), 1).refused, ERR_INVALID_API_KEY);
}

static void
an_open_gateway_lets_everybody_in_and_knows_its_master(void **state)
{
    (void)state;
    assert_true(dyn_slice_is(judge(&open_without_key, NULL).key_id, "anonymous"));
    assert_true(dyn_slice_is(judge(&open_without_key, "whatever").key_id, "anonymous"));
    assert_true(dyn_slice_is(judge(&open_with_key, "wrong").key_id, "anonymous"));
    assert_true(dyn_slice_is(judge(&open_with_key, "sk-master-0123456789").key_id, "master"));
}

/* ---- keys ---- */

static char text[KEY_TEXT_SIZE];

/* A ring with one key, whose text is in `text`. */
static key_ring_t *
ring_with(struct key_record *record, uint64_t max_stale_us)
{
    key_ring_t *ring = key_ring_new(max_stale_us);
    record->id = DYN_SLICE("00112233445566aa");
    record->scopes = record->scopes != 0 ? record->scopes : (uint32_t)KEY_SCOPE_INFERENCE;
    key_secret_new(record, text);
    key_table_t *table = key_table_new(record, 1, 1, NULL, NULL);
    key_ring_set(ring, &table);
    return ring;
}

static void
a_key_brings_its_scopes(void **state)
{
    (void)state;
    struct key_record record = {.scopes = KEY_SCOPE_READ};
    struct admission admission = {.keys = ring_with(&record, 0)};
    assert_int_equal(judge(&admission, text).refused, ERR_NONE);
    assert_int_equal(judge(&admission, text).scopes, KEY_SCOPE_READ);
    text[KEY_TEXT_LEN - 1] ^= 1;
    assert_int_equal(judge(&admission, text).refused, ERR_INVALID_API_KEY);
    key_ring_free(&admission.keys);
    struct key_record admin = {.scopes = KEY_SCOPE_ADMIN};
    admission.keys = ring_with(&admin, 0);
    assert_int_equal(judge(&admission, text).scopes, KEY_SCOPES_ALL);
    key_ring_free(&admission.keys);
}

/* Not before, not after, and in the same words as one that there is not. */
static void
an_expired_or_revoked_key_is_no_key(void **state)
{
    (void)state;
    struct key_record record = {.expires_ms = 5000};
    struct admission admission = {.keys = ring_with(&record, 0)};
    assert_int_equal(judge_at(&admission, dyn_slice_str(text), 4999999).refused, ERR_NONE);
    assert_int_equal(judge_at(&admission, dyn_slice_str(text), 5000000).refused, ERR_INVALID_API_KEY);
    key_ring_free(&admission.keys);
    struct key_record revoked = {.revoked_ms = 1};
    admission.keys = ring_with(&revoked, 0);
    assert_int_equal(judge(&admission, text).refused, ERR_INVALID_API_KEY);
    key_ring_free(&admission.keys);
}

/* A node that its keys' owner no longer reaches refuses, whatever the key: nobody learns which ones there
 * are. */
static void
what_is_stale_is_not_trusted(void **state)
{
    (void)state;
    struct key_record record = {.scopes = 0};
    struct admission admission = {.master_key = DYN_SLICE("master"), .keys = ring_with(&record, 60000000)};
    assert_int_equal(judge_at(&admission, dyn_slice_str(text), 10).refused, ERR_KEYS_UNAVAILABLE);
    key_ring_confirm(admission.keys, 10);
    assert_int_equal(judge_at(&admission, dyn_slice_str(text), 60000009).refused, ERR_NONE);
    assert_int_equal(judge_at(&admission, dyn_slice_str(text), 60000010).refused, ERR_KEYS_UNAVAILABLE);
    assert_int_equal(judge_at(&admission, DYN_SLICE("master"), 60000010).refused, ERR_NONE);
    text[10] ^= 1;
    assert_int_equal(judge_at(&admission, dyn_slice_str(text), 60000010).refused, ERR_KEYS_UNAVAILABLE);
    assert_int_equal(judge_at(&admission, DYN_SLICE("wrong"), 60000010).refused, ERR_INVALID_API_KEY);
    key_ring_free(&admission.keys);
}

/* The master key could be guessed, a generated one could not. */
static void
from_an_address_that_is_slowed_only_keys_pass(void **state)
{
    (void)state;
    struct key_record record = {.scopes = 0};
    struct admission admission = {.master_key = DYN_SLICE("master"),
                                  .keys = ring_with(&record, 0),
                                  .guessing = guessing_new(2, 60000000)};
    assert_int_equal(judge(&admission, "wrong").refused, ERR_INVALID_API_KEY);
    assert_int_equal(judge(&admission, "master").refused, ERR_NONE);
    assert_int_equal(judge(&admission, "wrong").refused, ERR_INVALID_API_KEY);
    assert_int_equal(judge(&admission, "wrong").refused, ERR_RATE_LIMITED);
    assert_int_equal(judge(&admission, "master").refused, ERR_RATE_LIMITED);
    assert_int_equal(judge(&admission, "master").retry_s, 30);
    assert_int_equal(judge(&admission, text).refused, ERR_NONE);
    assert_int_equal(judge(&admission, NULL).refused, ERR_MISSING_API_KEY);
    assert_int_equal(judge_at(&admission, DYN_SLICE("master"), 31000000).refused, ERR_NONE);
    key_ring_free(&admission.keys);
    guessing_free(&admission.guessing);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_master_key_is_let_in),
        cmocka_unit_test(anything_else_is_not),
        cmocka_unit_test(a_key_padded_with_nul_is_another_key),
        cmocka_unit_test(a_credential_longer_than_any_key_is_refused),
        cmocka_unit_test(an_open_gateway_lets_everybody_in_and_knows_its_master),
        cmocka_unit_test(a_key_brings_its_scopes),
        cmocka_unit_test(an_expired_or_revoked_key_is_no_key),
        cmocka_unit_test(what_is_stale_is_not_trusted),
        cmocka_unit_test(from_an_address_that_is_slowed_only_keys_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
