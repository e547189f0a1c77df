/* The map from request ids to what handles them: found while there, gone when removed, through every growth.
 */
#include "proto/env_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/rand.h"

enum { NODES = 3000 };

struct thing {
    struct env_map_node node;
    struct env_id id;
    bool is_in;
};

static void
expect_as_told(const struct env_map *map, const struct thing *things)
{
    size_t n = 0;
    for (size_t i = 0; i < NODES; i++) {
        assert_ptr_equal(env_map_find(map, &things[i].id), things[i].is_in ? &things[i].node : NULL);
        n += things[i].is_in ? 1 : 0;
    }
    assert_int_equal(map->n, n);
}

static void
take_all(struct env_map *map)
{
    size_t n = map->n;
    for (struct env_map_node *node; (node = env_map_any(map)) != NULL; n--) {
        struct thing *thing = DYN_CONTAINER_OF(node, struct thing, node);
        assert_true(thing->is_in);
        thing->is_in = false;
        env_map_remove(map, node);
    }
    assert_int_equal(n, 0);
    assert_int_equal(map->n, 0);
}

static void
what_is_in_is_found_and_what_is_out_is_not(void **state)
{
    (void)state;
    struct thing *things = dyn_zalloc(NODES * sizeof *things);
    struct env_map map;
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 7);
    env_map_init(&map);
    assert_null(env_map_any(&map));
    for (size_t i = 0; i < NODES; i++) {
        things[i].id = env_id_random();
    }
    for (unsigned round = 0; round < 4; round++) {
        for (size_t turn = 0; turn < (size_t)NODES * 2; turn++) {
            struct thing *thing = &things[dyn_rng_next(&rng) % NODES];
            if (thing->is_in) {
                env_map_remove(&map, &thing->node);
            } else {
                env_map_add(&map, &thing->node, &thing->id);
            }
            thing->is_in = !thing->is_in;
        }
        assert_non_null(env_map_any(&map));
        expect_as_told(&map, things);
        if (round % 2 == 1) {
            take_all(&map);
            expect_as_told(&map, things);
        }
    }
    env_map_fini(&map);
    free(things);
}

/* A peer that chooses its ids so that they meet in one bucket finds a longer chain and nothing worse. */
static void
ids_that_meet_are_told_apart(void **state)
{
    (void)state;
    struct thing things[200] = {{.is_in = false}};
    struct env_map map;
    env_map_init(&map);
    for (size_t i = 0; i < DYN_ARRAY_LEN(things); i++) {
        things[i].id.bytes[15] = (uint8_t)i;
        things[i].is_in = true;
        env_map_add(&map, &things[i].node, &things[i].id);
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(things); i++) {
        assert_ptr_equal(env_map_find(&map, &things[i].id), &things[i].node);
    }
    take_all(&map);
    env_map_fini(&map);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_in_is_found_and_what_is_out_is_not),
        cmocka_unit_test(ids_that_meet_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
