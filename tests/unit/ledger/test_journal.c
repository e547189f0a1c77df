/* What a journal says to those who bring it rows. The loop is turned by hand, and there is no ledger. */
#include "actors/ledger/journal.h"

#include "bus/bus_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ANSWERS_MAX = 4 };

struct teller {
    struct env *answers[ANSWERS_MAX];
    size_t n;
};

static void
teller_receive(void *self, struct env **env_p)
{
    struct teller *teller = self;
    assert_true(teller->n < ANSWERS_MAX);
    teller->answers[teller->n++] = *env_p;
    *env_p = NULL;
}

static void
teller_stop(void *self)
{
    struct teller *teller = self;
    while (teller->n > 0) {
        env_free(&teller->answers[--teller->n]);
    }
}

static const struct bus_actor_ops teller_ops = {
    .kind = "teller", .receive = teller_receive, .stop = teller_stop};

struct scene {
    bus_t *bus;
    bus_loop_t *loop;
    struct ledger_gauges gauges;
    struct teller teller;
    bus_actor_t *me;
    bus_addr_t journal;
};

static void
scene_open(struct scene *scene)
{
    struct dyn_err err;
    *scene = (struct scene){.bus = bus_new(NULL, NULL)};
    scene->loop = bus_add_loop(scene->bus, "test");
    struct journal_options options = {
        .bytes_max = 65536, .node = "0123456789abcdef0123456789abcdef", .gauges = &scene->gauges};
    journal_t *journal = journal_new(&options);
    scene->journal = bus_add_actor(scene->bus, scene->loop, &journal_actor_ops, journal);
    bus_addr_t teller = bus_add_actor(scene->bus, scene->loop, &teller_ops, &scene->teller);
    scene->me = bus_find(scene->bus, teller);
    assert_int_equal(journal_actor_ops.start(journal, bus_find(scene->bus, scene->journal), &err), 0);
}

static struct env_id
bring(struct scene *scene, const char *op, bool tells)
{
    struct ledger_row row = {.table = LEDGER_REQUEST_LOG};
    struct dyn_buf rows = DYN_BUF_INIT;
    row.of.request_log = (struct ledger_request_log){.request_id = DYN_SLICE("r"), .stage = DYN_SLICE("s")};
    ledger_row_encode(&row, &rows);
    struct ledger_message message = {.op = dyn_slice_str(op), .rows = dyn_buf_slice(&rows), .n_rows = 1};
    struct env *request = env_new(ENV_REQUEST);
    struct env_id id = request->id = env_id_random();
    request->surface = ENV_SURFACE_LEDGER;
    request->tell = tells;
    request->body = ledger_message_encode(&message);
    assert_int_equal(bus_send(scene->me, scene->journal, &request, NULL), 0);
    dyn_buf_fini(&rows);
    return id;
}

/* Who only tells is not woken for it; the rows are taken all the same. */
static void
rows_that_are_told_of_are_not_acknowledged(void **state)
{
    struct scene scene;
    (void)state;
    scene_open(&scene);
    struct env_id first = bring(&scene, "rows", false);
    (void)bring(&scene, "rows", true);
    struct env_id last = bring(&scene, "status", false);
    for (unsigned i = 0; i < 4; i++) {
        bus_loop_run_once(scene.loop, 0);
    }
    assert_int_equal(scene.teller.n, 2);
    assert_true(env_id_eq(&scene.teller.answers[0]->id, &first));
    assert_int_equal(scene.teller.answers[0]->outcome, ENV_OUTCOME_OK);
    assert_true(env_id_eq(&scene.teller.answers[1]->id, &last));
    assert_int_equal(scene.teller.answers[1]->error, ERR_LEDGER_UNAVAILABLE);
    assert_int_equal(atomic_load(&scene.gauges.taken_rows), 2);
    bus_free(&scene.bus);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_that_are_told_of_are_not_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
