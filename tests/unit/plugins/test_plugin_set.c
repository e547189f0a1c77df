/* Instances of plugins over reloads: one for each name, the same while its configuration is, told of the
 * former one when it is not, and gone when nobody has it any more. */
#include "actors/plugins/plugin_set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static unsigned made;
static unsigned freed;
static void *last_former;

static void *
make(const struct plugin_making *making, struct dyn_err *err)
{
    if (strstr(making->json.data, "refuse") != NULL) {
        (void)dyn_err_set(err, DYN_E_CONFIG, "it is not to my taste");
        return NULL;
    }
    made++;
    last_former = making->former;
    return dyn_strndup(making->json.data, making->json.len);
}

static void
free_shared(void *shared)
{
    freed++;
    free(shared);
}

static enum plugin_when
vote(void *shared, void *own, plugin_cell_t *cell, const struct plugin_ask *ask, struct plugin_vote *vote)
{
    (void)shared;
    (void)own;
    (void)cell;
    (void)ask;
    (void)vote;
    return PLUGIN_VOTED;
}

static const struct plugin_ops mine = {
    .name = "mine",
    .type = PLUGIN_TRANSFORM,
    .traits = {.stages = VOTE_STAGE_BIT(VOTE_BEFORE_REQUEST) | VOTE_STAGE_BIT(VOTE_AFTER_REQUEST)},
    .make = make,
    .free = free_shared,
    .vote = vote,
};
static const struct plugin_ops *const registered[] = {&mine, NULL};
static const struct config_part *const parts[] = {&plugin_config_part};

static config_t *
config_of(const char *text)
{
    config_t *config = config_parse(dyn_slice_str(text), "c.yaml", parts, 1, NULL);
    if (!config_ok(config)) {
        struct dyn_buf why = DYN_BUF_INIT;
        config_print_problems(config, &why);
        print_error("%s", dyn_buf_cstr(&why));
        dyn_buf_fini(&why);
    }
    assert_true(config_ok(config));
    return config;
}

static plugin_set_t *
set_of(const char *text, plugin_set_t *former, struct dyn_err *err)
{
    static const struct plugin_host host = {.n_cells = 1};
    config_t *config = config_of(text);
    struct plugin_set_options options = {.config = config_values(config, &plugin_config_part),
                                         .registered = registered,
                                         .host = &host,
                                         .hosts_router = true,
                                         .former = former};
    plugin_set_t *set = plugin_set_new(&options, err);
    config_free(&config); /* what is needed of it was copied */
    return set;
}

static int
reset(void **state)
{
    (void)state;
    made = freed = 0;
    last_former = NULL;
    return 0;
}

static void
an_unchanged_one_goes_on(void **state)
{
    (void)state;
    struct dyn_err err;
    plugin_set_t *first = set_of("plugins: [{name: mine, enabled: true, config: {a: 1}}]", NULL, &err);
    const struct plugin_instance *instance = plugin_set_find(first, DYN_SLICE("mine"));
    assert_non_null(instance);
    plugin_set_t *second = set_of("plugins: [{name: mine, enabled: true, timeout: 1s, config: {a: 1}}, "
                                  "{name: max-token, enabled: true}]",
                                  first, &err);
    assert_ptr_equal(plugin_set_find(second, DYN_SLICE("mine")), instance);
    assert_int_equal(plugin_set_count(second), 2);
    assert_int_equal(made, 1);
    plugin_set_unref(&first);
    assert_int_equal(freed, 0);
    plugin_set_unref(&second);
    assert_int_equal(freed, 1);
}

static void
a_changed_one_is_told_of_the_former(void **state)
{
    (void)state;
    struct dyn_err err;
    plugin_set_t *first = set_of("plugins: [{name: mine, enabled: true, config: {a: 1}}]", NULL, &err);
    const struct plugin_instance *before = plugin_set_find(first, DYN_SLICE("mine"));
    plugin_set_t *second = set_of("plugins: [{name: mine, enabled: true, config: {a: 2}}]", first, &err);
    const struct plugin_instance *after = plugin_set_find(second, DYN_SLICE("mine"));
    assert_ptr_not_equal(before, after);
    assert_int_not_equal(before->serial, after->serial);
    assert_ptr_equal(last_former, before->shared);
    assert_string_equal(after->shared, "{\"a\":2}");
    plugin_set_unref(&first);
    plugin_set_unref(&second);
    assert_int_equal(freed, 2);
}

/* The plan of a request in flight keeps what it began with. */
static void
what_is_held_stays(void **state)
{
    (void)state;
    struct dyn_err err;
    plugin_set_t *set = set_of("plugins: [{name: mine, enabled: true}]", NULL, &err);
    plugin_set_t *held = plugin_set_hold(set);
    assert_true(plugin_set_is_held(set));
    plugin_set_unref(&set);
    assert_int_equal(freed, 0);
    plugin_set_release(&held);
    assert_int_equal(freed, 1);
}

static void
what_it_refuses_is_refused_with_its_name(void **state)
{
    (void)state;
    struct dyn_err err = {.text = ""};
    assert_null(set_of("plugins: [{name: mine, enabled: true, config: {how: refuse}}]", NULL, &err));
    assert_string_equal(err.text, "plugin 'mine': it is not to my taste");
}

/* Entries of one name are one plugin at all of their stages; those that are off, or elsewhere, are not. */
static void
entries_come_together(void **state)
{
    (void)state;
    config_t *config = config_of("plugins:\n"
                                 "  - {name: max-token, enabled: true}\n"
                                 "  - {name: mine, stage: after_request, enabled: true, on_failure: open}\n"
                                 "  - {name: far, type: logging, enabled: true, timeout: 2s}\n"
                                 "  - {name: mine, stage: before_request, enabled: true, on_failure: open}\n"
                                 "  - {name: other, enabled: false}\n");
    struct plugin_wanted wanted[PLUGINS_MAX];
    assert_int_equal(plugin_config_wanted(config_values(config, &plugin_config_part), registered, wanted), 3);
    assert_true(dyn_slice_is(wanted[0].name, "max-token"));
    assert_false(wanted[0].traits.amends); /* it only refuses unless it clamps */
    assert_false(wanted[0].fails_open);
    assert_ptr_equal(wanted[1].ops, &mine);
    assert_int_equal(wanted[1].stages, mine.traits.stages);
    assert_true(wanted[1].fails_open);
    assert_null(wanted[2].ops);
    assert_int_equal(wanted[2].stages, 0);
    assert_true(wanted[2].fails_open);
    assert_false(wanted[2].required);
    assert_int_equal(wanted[2].timeout_ms, 2000);
    config_free(&config);
}

/* A registered one that the file does not name stands behind the others; one that it switches off does not.
 */
static void
what_is_registered_votes_unless_it_is_switched_off(void **state)
{
    (void)state;
    struct dyn_err err;
    plugin_set_t *set = set_of("plugins: [{name: max-token, enabled: true}]", NULL, &err);
    assert_int_equal(plugin_set_count(set), 2);
    assert_true(dyn_slice_is(plugin_set_at(set, 1)->name, "mine"));
    assert_int_equal(plugin_set_at(set, 1)->traits.stages, mine.traits.stages);
    assert_string_equal(plugin_set_at(set, 1)->json, "{}");
    plugin_set_t *next = set_of("plugins: [{name: mine, enabled: false}]", set, &err);
    assert_int_equal(plugin_set_count(next), 0);
    plugin_set_unref(&set);
    plugin_set_unref(&next);
    assert_int_equal(freed, 1);
}

/* Nobody is left out in silence: neither a registered one nor those that keys with limits need. */
static void
more_than_there_is_room_for_are_refused(void **state)
{
    (void)state;
    static const struct plugin_host host = {.n_cells = 1};
    struct dyn_err err = {.text = ""};
    struct dyn_buf text = DYN_BUF_INIT;
    dyn_buf_add_str(&text, "plugins: [{name: max-token, enabled: true}");
    for (int i = 2; i < PLUGINS_MAX; i++) {
        dyn_buf_addf(&text, ", {name: other-%d, enabled: true}", i);
    }
    dyn_buf_add_char(&text, ']'); /* one less than there may be */
    plugin_set_t *set = set_of(dyn_buf_cstr(&text), NULL, &err);
    assert_int_equal(plugin_set_count(set), 2);
    config_t *config = config_of(dyn_buf_cstr(&text));
    config_t *implied = config_of("plugins: [{name: budget, enabled: true}]");
    struct plugin_set_options options = {.config = config_values(config, &plugin_config_part),
                                         .implied = config_values(implied, &plugin_config_part),
                                         .registered = registered,
                                         .host = &host,
                                         .hosts_router = true};
    assert_null(plugin_set_new(&options, &err));
    assert_non_null(strstr(err.text, "33 plugins are more than the 32"));
    config_free(&config);
    config_free(&implied);
    plugin_set_unref(&set);
    dyn_buf_fini(&text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_unchanged_one_goes_on, reset),
        cmocka_unit_test_setup(a_changed_one_is_told_of_the_former, reset),
        cmocka_unit_test_setup(what_is_held_stays, reset),
        cmocka_unit_test_setup(what_it_refuses_is_refused_with_its_name, reset),
        cmocka_unit_test_setup(entries_come_together, reset),
        cmocka_unit_test_setup(what_is_registered_votes_unless_it_is_switched_off, reset),
        cmocka_unit_test_setup(more_than_there_is_room_for_are_refused, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
