/* Answers of the router itself that no END can hold, and the list of models when there are many of them. */
#include "router/model_list.h"
#include "tests/unit/router/router_hear.h"

#include <stdio.h>

enum { MODELS = 20000, NAME_SIZE = 32, TARGETS = 5 };

static char names[MODELS][NAME_SIZE];
static struct dyn_slice models[MODELS];

static void
name_models(void)
{
    for (size_t i = 0; i < MODELS; i++) {
        (void)snprintf(names[i], NAME_SIZE, "a-family/model-%zu", i);
        models[i] = dyn_slice_str(names[i]);
    }
}

/* One target lists them all. */
static struct world *
with_models(size_t n)
{
    struct world *world = world_new();
    name_models();
    world->targets[0].models = models;
    world->targets[0].n_models = n;
    world_start(world);
    return world;
}

static struct env_id
ask_for(struct world *world, enum env_surface surface)
{
    struct env *request = env_new(ENV_REQUEST);
    struct env_id id = request->id = env_id_random();
    request->surface = surface;
    request->credit = ENV_WINDOW_FIRST;
    say(world, OWNER, request);
    return id;
}

/* All CHUNKs that are there, behind what there was before; their bytes. */
static size_t
hear_chunks(struct world *world, uint32_t *sequence, struct dyn_buf *text)
{
    size_t before = text->len;
    struct dyn_list *received = &world->peers[OWNER].received;
    while (!dyn_list_is_empty(received) &&
           DYN_CONTAINER_OF(received->next, struct env, link)->kind == ENV_CHUNK) {
        struct env *chunk = hear(world, OWNER, ENV_CHUNK);
        assert_int_equal(chunk->sequence, (*sequence)++);
        assert_int_equal(chunk->status, chunk->sequence == 0 ? 200 : 0);
        assert_true(env_body_len(chunk) <= ENV_CHUNK_MAX);
        dyn_buf_add_slice(text, dyn_block_slice(chunk->body));
        env_free(&chunk);
    }
    return text->len - before;
}

static void
assert_is_the_list(struct dyn_slice text, size_t n)
{
    struct dyn_buf expected = DYN_BUF_INIT;
    dyn_buf_add_str(&expected, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < n; i++) {
        dyn_buf_addf(&expected,
                     "%s{\"id\":\"%s\",\"object\":\"model\",\"created\":0,\"owned_by\":\"openai\"}",
                     i > 0 ? "," : "", names[i]);
    }
    dyn_buf_add_str(&expected, "]}");
    assert_true(dyn_slice_eq(text, dyn_buf_slice(&expected)));
    dyn_buf_fini(&expected);
}

static void
a_long_list_goes_in_pieces_within_credit(void **state)
{
    (void)state;
    struct world *world = with_models(MODELS);
    struct env_id id = ask_for(world, ENV_SURFACE_MODELS);
    struct dyn_buf text = DYN_BUF_INIT;
    uint32_t sequence = 0;
    assert_int_equal(hear_chunks(world, &sequence, &text), ENV_WINDOW_FIRST);
    hear_nothing(world, OWNER);
    about(world, OWNER, ENV_CREDIT, id, 7);
    assert_int_equal(hear_chunks(world, &sequence, &text), 7);
    size_t got = 1;
    while (got > 0 && dyn_list_is_empty(&world->peers[OWNER].received)) {
        about(world, OWNER, ENV_CREDIT, id, 100000);
        got = hear_chunks(world, &sequence, &text);
    }
    struct env *end = hear(world, OWNER, ENV_END);
    assert_int_equal(end->outcome, ENV_OUTCOME_OK);
    assert_int_equal(end->status, 200);
    assert_int_equal(env_body_len(end), 0);
    assert_int_equal(end->body_bytes, text.len);
    assert_is_the_list(dyn_buf_slice(&text), MODELS);
    assert_int_equal(world->impl->requests.n, 0);
    env_free(&end);
    dyn_buf_fini(&text);
    world_free(world);
}

static void
one_that_fits_comes_whole(void **state)
{
    (void)state;
    struct world *world = with_models(100);
    (void)ask_for(world, ENV_SURFACE_MODELS);
    struct env *end = hear(world, OWNER, ENV_END);
    assert_is_the_list(dyn_block_slice(end->body), 100);
    assert_true(dyn_block_headroom(end->body) >= ENV_BODY_HEADROOM);
    assert_false(dyn_block_is_shared(end->body));
    env_free(&end);
    world_free(world);
}

static void
who_does_not_want_it_any_more_cancels_it(void **state)
{
    (void)state;
    struct world *world = with_models(MODELS);
    struct dyn_buf text = DYN_BUF_INIT;
    uint32_t sequence = 0;
    struct env_id id = ask_for(world, ENV_SURFACE_MODELS);
    (void)hear_chunks(world, &sequence, &text);
    about(world, OWNER, ENV_CANCEL, id, 0);
    fails_with(world, OWNER, ERR_CLIENT_CLOSED);
    (void)ask_for(world, ENV_SURFACE_MODELS); /* and one is left waiting when the router goes */
    dyn_buf_fini(&text);
    world_free(world);
}

/* The same from the metrics actor of the process. */
static void
a_long_page_of_metrics_goes_in_pieces(void **state)
{
    (void)state;
    struct world *world = world_new();
    serve_here(world);
    world_start(world);
    struct env_id id = ask_for(world, ENV_SURFACE_METRICS);
    struct env *asked = hear(world, METRICS, ENV_REQUEST);
    struct env *page = end_of(asked, "");
    dyn_block_unref(&page->body);
    page->body = dyn_block_new(0, ENV_HELD_ANSWER_MAX + 5);
    page->body->len = ENV_HELD_ANSWER_MAX + 5;
    memset(dyn_block_data(page->body), 'm', page->body->len);
    page->content_type = DYN_SLICE("text/event-stream");
    page->stream = true; /* as what a plugin answers may be */
    say(world, METRICS, page);
    assert_true(DYN_CONTAINER_OF(world->peers[OWNER].received.next, struct env, link)->stream);
    struct dyn_buf text = DYN_BUF_INIT;
    uint32_t sequence = 0;
    size_t got = hear_chunks(world, &sequence, &text);
    while (got > 0 && dyn_list_is_empty(&world->peers[OWNER].received)) {
        about(world, OWNER, ENV_CREDIT, id, ENV_WINDOW_FIRST);
        got = hear_chunks(world, &sequence, &text);
    }
    assert_int_equal(text.len, ENV_HELD_ANSWER_MAX + 5);
    hear_and_drop(world, OWNER, ENV_END);
    env_free(&asked);
    dyn_buf_fini(&text);
    world_free(world);
}

/* ---- the list ---- */

/* Each target lists all of its own and some of the one before: the first owns them. */
static void
each_belongs_to_the_first_that_lists_it(void **state)
{
    (void)state;
    enum { EACH = MODELS / TARGETS, SHARED = 100 };
    static const char *const owners[TARGETS] = {"p0", "p1", "p2", "p3", "p4"};
    struct route_target targets[TARGETS] = {{.name = {NULL, 0}}};
    struct route_members members;
    name_models();
    for (size_t i = 0; i < TARGETS; i++) {
        size_t from = i * EACH - (i > 0 ? SHARED : 0);
        targets[i] = (struct route_target){.name = dyn_slice_str(owners[i]),
                                           .provider = dyn_slice_str(owners[i]),
                                           .models = models + from,
                                           .n_models = (i + 1) * EACH - from};
    }
    route_members_init(&members, targets, NULL, TARGETS);
    for (size_t i = 0; i < MODELS; i++) {
        assert_ptr_equal(route_model_owner(&members, models[i]), &members.targets[i / EACH]);
    }
    assert_null(route_model_owner(&members, DYN_SLICE("a-family/model-")));
    assert_null(route_model_owner(&members, dyn_slice(NULL, 0)));
    members.targets[0].n_models = 0; /* it lists them no longer */
    members.generation++;
    assert_null(route_model_owner(&members, models[0]));
    assert_ptr_equal(route_model_owner(&members, models[EACH - 1]), &members.targets[1]);
    route_members_fini(&members);
}

/* Routing asks the catalogue about targets that say nothing of their models, and so does the list. */
static void
one_that_lists_none_has_those_of_the_catalogue(void **state)
{
    (void)state;
    struct dyn_slice own[] = {DYN_SLICE_INIT("gpt-4o"), DYN_SLICE_INIT("mine")};
    struct route_target targets[] = {
        {.name = DYN_SLICE_INIT("lists"), .provider = DYN_SLICE_INIT("openai"), .models = own, .n_models = 2},
        {.name = DYN_SLICE_INIT("none"), .provider = DYN_SLICE_INIT("openai")},
        {.name = DYN_SLICE_INIT("strict"), .provider = DYN_SLICE_INIT("anthropic"), .models_only = true},
        {.name = DYN_SLICE_INIT("announced"), .provider = DYN_SLICE_INIT("groq"), .is_announced = true},
        {.name = DYN_SLICE_INIT("vllm"), .provider = DYN_SLICE_INIT("openai-compatible")},
    };
    struct route_members members;
    const struct catalogue_model *first;
    catalogue_t *catalogue = catalogue_builtin();
    route_members_init(&members, targets, NULL, DYN_ARRAY_LEN(targets));
    assert_null(route_model_owner(&members, DYN_SLICE("gpt-4o-mini")));
    members.catalogue = catalogue;
    assert_ptr_equal(route_model_owner(&members, DYN_SLICE("gpt-4o")), &members.targets[0]);
    size_t n = catalogue_of_provider(catalogue, DYN_SLICE("openai"), &first);
    size_t n_listed = 2;
    for (size_t i = 0; i < n; i++) {
        bool is_asked_here = first[i].mode == CATALOGUE_MODE_CHAT ||
                             first[i].mode == CATALOGUE_MODE_EMBEDDING ||
                             first[i].mode == CATALOGUE_MODE_UNKNOWN;
        bool is_own = dyn_slice_is(catalogue_id(&first[i]), "gpt-4o");
        const struct route_target *owner = route_model_owner(&members, catalogue_id(&first[i]));
        assert_ptr_equal(owner, is_own ? &members.targets[0] : is_asked_here ? &members.targets[1] : NULL);
        n_listed += is_asked_here && !is_own;
    }
    assert_true(n_listed > 20);
    (void)catalogue_of_provider(catalogue, DYN_SLICE("anthropic"), &first);
    assert_null(route_model_owner(&members, catalogue_id(first)));
    (void)catalogue_of_provider(catalogue, DYN_SLICE("groq"), &first);
    assert_null(route_model_owner(&members, catalogue_id(first)));
    struct dyn_slice text = dyn_block_slice(route_models_text(&members));
    size_t n_told = 0;
    for (size_t at = 0; at + 5 < text.len; at++) {
        n_told += memcmp(text.data + at, "\"id\":", 5) == 0;
    }
    assert_int_equal(n_told, n_listed);
    route_members_fini(&members);
    catalogue_unref(&catalogue);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_list_goes_in_pieces_within_credit),
        cmocka_unit_test(one_that_fits_comes_whole),
        cmocka_unit_test(who_does_not_want_it_any_more_cancels_it),
        cmocka_unit_test(a_long_page_of_metrics_goes_in_pieces),
        cmocka_unit_test(each_belongs_to_the_first_that_lists_it),
        cmocka_unit_test(one_that_lists_none_has_those_of_the_catalogue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
