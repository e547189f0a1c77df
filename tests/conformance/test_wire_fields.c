/* Every member of an envelope reaches the other side over every wire: random envelopes of all kinds,
 * made from the same seed at both ends and compared member by member. */
#include "core/rand.h"
#include "proto/env_fields.h"
#include "proto/vote.h"
#include "tests/conformance/wires.h"

enum { ENVELOPES = 2000, NEVER_WAITED_MS = 20000, SHORT_TEXT = 40 };

/* ---- a random envelope ---- */

static struct dyn_slice
random_text(struct dyn_rng *rng, struct env *env, size_t max)
{
    size_t len = 1 + dyn_rng_below(rng, max);
    char *text = arena_alloc(&env->arena, len);
    for (size_t i = 0; i < len; i++) {
        text[i] = (char)(' ' + dyn_rng_below(rng, 95));
    }
    return dyn_slice(text, len);
}

static void
random_headers(struct dyn_rng *rng, struct env *env)
{
    for (size_t n = dyn_rng_below(rng, ENV_HEADERS_MAX + 1); n > 0; n--) {
        struct dyn_slice name = random_text(rng, env, SHORT_TEXT);
        env_add_header(env, name, random_text(rng, env, SHORT_TEXT));
    }
}

/* Of every count, so that one that the wire does not know is missed. */
static struct env_usage
random_usage(struct dyn_rng *rng)
{
    struct env_usage usage = {.known = true, .estimated = dyn_rng_below(rng, 2) == 0};
    for (size_t i = 0; i < ENV_N_USAGE_FIELDS; i++) {
        uint64_t count = dyn_rng_next(rng) >> dyn_rng_below(rng, 64);
        memcpy((char *)&usage + env_usage_fields[i].offset, &count, sizeof count);
    }
    return usage;
}

static struct vote_facts *
random_facts(struct dyn_rng *rng)
{
    struct vote_facts *facts = vote_facts_new();
    facts->surface = (enum env_surface)dyn_rng_below(rng, ENV_SURFACE_COUNT);
    facts->model = arena_printf(&facts->arena, "model %u", (unsigned)dyn_rng_below(rng, 1000));
    facts->prompt_tokens = dyn_rng_next(rng) >> dyn_rng_below(rng, 64);
    facts->cost = dyn_rng_next(rng) >> 1;
    facts->error = (enum err_code)dyn_rng_below(rng, ERR_COUNT);
    facts->usage = dyn_rng_below(rng, 2) == 0 ? random_usage(rng) : (struct env_usage){.known = false};
    return facts;
}

static void
fill_field(struct dyn_rng *rng, struct env *env, const struct env_field *field)
{
    void *at = env_field_at(env, field);
    bool long_one = dyn_rng_below(rng, 20) == 0;
    switch (field->type) {
    case ENV_FIELD_ID:
        env->id = (struct env_id){{(uint8_t)(1 + dyn_rng_below(rng, 255)), (uint8_t)dyn_rng_next(rng)}};
        break;
    case ENV_FIELD_U16:
        *(uint16_t *)at = (uint16_t)(100 + dyn_rng_below(rng, field->max - 99));
        break;
    case ENV_FIELD_U32:
        *(uint32_t *)at = (uint32_t)(dyn_rng_next(rng) >> dyn_rng_below(rng, 64));
        break;
    case ENV_FIELD_U64:
        *(uint64_t *)at = dyn_rng_next(rng) >> dyn_rng_below(rng, 64);
        break;
    case ENV_FIELD_BOOL:
        *(bool *)at = true;
        break;
    case ENV_FIELD_TEXT:
    case ENV_FIELD_BYTES:
        *(struct dyn_slice *)at =
            random_text(rng, env, long_one || field->max < SHORT_TEXT ? field->max : SHORT_TEXT);
        break;
    case ENV_FIELD_SURFACE:
        env->surface = (enum env_surface)dyn_rng_below(rng, ENV_SURFACE_COUNT);
        break;
    case ENV_FIELD_OUTCOME:
        env->outcome = (enum env_outcome)(1 + dyn_rng_below(rng, ENV_OUTCOME_CANCELLED));
        break;
    case ENV_FIELD_ERROR:
        *(enum err_code *)at = (enum err_code)(1 + dyn_rng_below(rng, ERR_COUNT - 1));
        break;
    case ENV_FIELD_HEADERS:
        random_headers(rng, env);
        break;
    case ENV_FIELD_USAGE:
        env->usage = random_usage(rng);
        break;
    case ENV_FIELD_STAGE:
        env->stage = (uint8_t)(1 + dyn_rng_below(rng, VOTE_STAGE_COUNT - 1));
        break;
    case ENV_FIELD_VERDICT:
        env->verdict = (uint8_t)(1 + dyn_rng_below(rng, VOTE_VERDICT_COUNT - 1));
        break;
    case ENV_FIELD_FACTS:
        env->facts_asked = random_facts(rng);
        break;
    }
}

static bool
may_have_body(enum env_kind kind)
{
    return kind != ENV_CANCEL && kind != ENV_CREDIT && kind != ENV_DISPATCHED && kind != ENV_HEARTBEAT &&
           kind != ENV_GOODBYE;
}

static struct env *
random_envelope(uint64_t seed)
{
    struct dyn_rng rng;
    dyn_rng_seed(&rng, seed);
    struct env *env = wire_envelope((enum env_kind)(ENV_REQUEST + seed % (ENV_KIND_COUNT - ENV_REQUEST)));
    for (size_t i = 0; i < ENV_N_FIELDS; i++) {
        if (dyn_rng_below(&rng, 3) != 0) {
            fill_field(&rng, env, &env_fields[i]);
        }
    }
    if (env->kind == ENV_REQUEST && env->surface == ENV_SURFACE_NONE) {
        env->refuse = ERR_NOT_FOUND;
    }
    if (env->kind == ENV_CREDIT && env->credit == 0) {
        env->credit = 1;
    }
    env->received_us = dyn_rng_next(&rng);
    if (dyn_rng_below(&rng, 2) == 0 && may_have_body(env->kind)) {
        struct dyn_slice body = random_text(&rng, env, 3000);
        env->body = dyn_block_copy(dyn_rng_below(&rng, 100), body);
    }
    return env;
}

/* ---- compared ---- */

static void
check_headers(const struct env *a, const struct env *b)
{
    CHECK(a->n_headers == b->n_headers);
    for (size_t i = 0; i < a->n_headers; i++) {
        CHECK(dyn_slice_eq(a->headers[i].name, b->headers[i].name));
        CHECK(dyn_slice_eq(a->headers[i].value, b->headers[i].value));
    }
}

static void
check_usage(const struct env_usage *a, const struct env_usage *b)
{
    CHECK(a->known == b->known);
    CHECK(a->estimated == b->estimated);
    for (size_t i = 0; i < ENV_N_USAGE_FIELDS; i++) {
        size_t offset = env_usage_fields[i].offset;
        CHECK(memcmp((const char *)a + offset, (const char *)b + offset, sizeof(uint64_t)) == 0);
    }
}

static void
check_facts(const struct vote_facts *a, const struct vote_facts *b)
{
    CHECK((a == NULL) == (b == NULL));
    if (a != NULL) {
        CHECK(a->surface == b->surface);
        CHECK(dyn_slice_eq(a->model, b->model));
        CHECK(a->prompt_tokens == b->prompt_tokens);
        CHECK(a->cost == b->cost);
        CHECK(a->error == b->error);
        check_usage(&a->usage, &b->usage);
    }
}

static void
check_field(const struct env *a, const struct env *b, const struct env_field *field)
{
    const void *at_a = env_field_get(a, field);
    const void *at_b = env_field_get(b, field);
    switch (field->type) {
    case ENV_FIELD_ID:
        CHECK(env_id_eq(&a->id, &b->id));
        break;
    case ENV_FIELD_U16:
        CHECK(*(const uint16_t *)at_a == *(const uint16_t *)at_b);
        break;
    case ENV_FIELD_U32:
        CHECK(*(const uint32_t *)at_a == *(const uint32_t *)at_b);
        break;
    case ENV_FIELD_U64:
        CHECK(*(const uint64_t *)at_a == *(const uint64_t *)at_b);
        break;
    case ENV_FIELD_BOOL:
        CHECK(*(const bool *)at_a == *(const bool *)at_b);
        break;
    case ENV_FIELD_TEXT:
    case ENV_FIELD_BYTES:
        CHECK(dyn_slice_eq(*(const struct dyn_slice *)at_a, *(const struct dyn_slice *)at_b));
        break;
    case ENV_FIELD_SURFACE:
        CHECK(a->surface == b->surface);
        break;
    case ENV_FIELD_OUTCOME:
        CHECK(a->outcome == b->outcome);
        break;
    case ENV_FIELD_ERROR:
        CHECK(*(const enum err_code *)at_a == *(const enum err_code *)at_b);
        break;
    case ENV_FIELD_HEADERS:
        check_headers(a, b);
        break;
    case ENV_FIELD_USAGE:
        check_usage(&a->usage, &b->usage);
        break;
    case ENV_FIELD_STAGE:
    case ENV_FIELD_VERDICT:
        CHECK(*(const uint8_t *)at_a == *(const uint8_t *)at_b);
        break;
    case ENV_FIELD_FACTS:
        check_facts(a->facts_asked, b->facts_asked);
        break;
    }
}

static void
check_same(const struct env *a, const struct env *b, bool one_process)
{
    CHECK(a->kind == b->kind);
    for (size_t i = 0; i < ENV_N_FIELDS; i++) {
        check_field(a, b, &env_fields[i]);
    }
    CHECK(!one_process || a->received_us == b->received_us); /* each process has a clock of its own */
    CHECK((a->body == NULL) == (b->body == NULL));
    CHECK(dyn_slice_eq(dyn_block_slice(a->body), dyn_block_slice(b->body)));
}

/* ---- the two ends ---- */

struct comparing {
    struct pair *pair;
    uint64_t next;
};

static int
send_random(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct comparing *comparing = self;
    for (uint64_t seed = 0; seed < ENVELOPES; seed++) {
        struct env *env = random_envelope(seed);
        CHECK(bus_send(me, comparing->pair->b, &env, err) == 0);
    }
    return 0;
}

static int
just_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)self;
    (void)me;
    (void)err;
    return 0;
}

static void
hear_nothing(void *self, struct env **env_p)
{
    (void)self;
    (void)env_p;
    CHECK(false && "the sender hears nothing");
}

static void
compare(void *self, struct env **env_p)
{
    struct comparing *comparing = self;
    struct env *expected = random_envelope(comparing->next);
    check_same(*env_p, expected, comparing->pair->wire->endpoint == NULL);
    CHECK((*env_p)->from == comparing->pair->a);
    CHECK((*env_p)->to == comparing->pair->b);
    env_free(&expected);
    env_free(env_p);
    if (++comparing->next == ENVELOPES) {
        gate_open(&comparing->pair->gate);
    }
}

static void
just_stop(void *self)
{
    (void)self;
}

static const struct bus_actor_ops random_ops = {
    .kind = "sender", .start = send_random, .receive = hear_nothing, .stop = just_stop};
static const struct bus_actor_ops compare_ops = {
    .kind = "receiver", .start = just_start, .receive = compare, .stop = just_stop};

static void
every_member_reaches_the_other_side(void **state)
{
    struct comparing comparing = {.pair = pair_new(*state, 0, 1)};
    pair_add(comparing.pair, &random_ops, &comparing, &compare_ops, &comparing);
    pair_start(comparing.pair);
    gate_wait(&comparing.pair->gate);
    assert_int_equal(pair_free(comparing.pair, NEVER_WAITED_MS), 0);
    assert_int_equal(comparing.next, ENVELOPES);
}

int
main(void)
{
    static const struct wire_test tests[] = {
        EVERYWHERE(every_member_reaches_the_other_side),
    };
    return run_over_all_wires(tests, DYN_ARRAY_LEN(tests));
}
