/* Actors that come and go while the bus runs: their addresses, what waits for them, whose children they
 * are. The loop is turned by hand, but for the last test, in which another loop sends to them all the
 * time. */
#include "bus/bus_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

struct child {
    unsigned received, stopped;
    bus_addr_t last_from;
};

struct parent {
    bus_actor_t *me;
    unsigned received, stopped;
    unsigned children_stopped_before; /* when it was stopped */
    struct child *child;
    bus_addr_t last_from;
};

static int
parent_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)err;
    ((struct parent *)self)->me = me;
    return 0;
}

static void
parent_receive(void *self, struct env **env_p)
{
    struct parent *parent = self;
    parent->received++;
    parent->last_from = (*env_p)->from;
}

static void
parent_stop(void *self)
{
    struct parent *parent = self;
    parent->stopped++;
    parent->children_stopped_before = parent->child != NULL ? parent->child->stopped : 0;
}

static void
child_receive(void *self, struct env **env_p)
{
    struct child *child = self;
    child->received++;
    child->last_from = (*env_p)->from;
}

static void
child_stop(void *self)
{
    ((struct child *)self)->stopped++;
}

static const struct bus_actor_ops parent_ops = {
    .kind = "parent", .start = parent_start, .receive = parent_receive, .stop = parent_stop};
static const struct bus_actor_ops child_ops = {.kind = "child", .receive = child_receive, .stop = child_stop};

struct scene {
    bus_t *bus;
    bus_loop_t *loop;
    struct parent parent;
    bus_addr_t addr;
};

/* Without threads: this one is the loop's. */
static void
scene_open(struct scene *scene)
{
    *scene = (struct scene){.bus = bus_new(NULL, NULL)};
    scene->loop = bus_add_loop(scene->bus, "test");
    scene->addr = bus_add_actor(scene->bus, scene->loop, &parent_ops, &scene->parent);
    scene->parent.me = bus_find(scene->bus, scene->addr);
}

static void
send_to(struct scene *scene, bus_addr_t to, enum dyn_code expected)
{
    struct dyn_err err = {.code = DYN_OK};
    struct env *env = env_new(ENV_CHUNK);
    env->body = dyn_block_copy(0, DYN_SLICE("body"));
    assert_int_equal(bus_send(scene->parent.me, to, &env, &err), expected == DYN_OK ? 0 : -1);
    assert_int_equal(err.code, expected);
    env_free(&env);
}

static void
a_live_actor_receives_until_it_is_removed(void **state)
{
    struct scene scene;
    struct child child = {0};
    (void)state;
    scene_open(&scene);
    bus_addr_t addr = bus_add_live_actor(scene.parent.me, &child_ops, &child);
    assert_int_not_equal(addr, 0);
    send_to(&scene, addr, DYN_OK);
    bus_loop_run_once(scene.loop, 0);
    assert_int_equal(child.received, 1);
    send_to(&scene, addr, DYN_OK);
    assert_true(bus_mailbox_bytes(scene.bus, addr) > 0);
    bus_remove_actor(scene.parent.me, addr);
    assert_int_equal(bus_mailbox_bytes(scene.bus, addr), 0); /* what waited is freed */
    assert_int_equal(child.stopped, 1);
    send_to(&scene, addr, DYN_E_GONE);
    bus_remove_actor(scene.parent.me, addr); /* twice is once */
    bus_loop_run_once(scene.loop, 0);
    assert_int_equal(child.received, 1);
    assert_int_equal(child.stopped, 1);
    bus_free(&scene.bus);
}

static void
children_are_stopped_before_their_parent(void **state)
{
    struct scene scene;
    struct child child = {0};
    (void)state;
    scene_open(&scene);
    scene.parent.child = &child;
    (void)bus_add_live_actor(scene.parent.me, &child_ops, &child);
    bus_free(&scene.bus);
    assert_int_equal(child.stopped, 1);
    assert_int_equal(scene.parent.stopped, 1);
    assert_int_equal(scene.parent.children_stopped_before, 1);
}

static void
an_envelope_can_be_sent_in_anothers_name(void **state)
{
    struct scene scene;
    struct child child = {0};
    struct env *env = env_new(ENV_CREDIT);
    (void)state;
    scene_open(&scene);
    bus_addr_t addr = bus_add_live_actor(scene.parent.me, &child_ops, &child);
    assert_int_equal(bus_send_as(scene.parent.me, addr, scene.addr, &env, NULL), 0);
    bus_loop_run_once(scene.loop, 0);
    assert_int_equal(scene.parent.received, 1);
    assert_int_equal(scene.parent.last_from, addr);
    bus_free(&scene.bus);
}

/* Nobody who still knows an address reaches who came long after. */
static void
an_address_is_not_used_again_for_a_long_time(void **state)
{
    enum { OTHERS = 10000 };
    struct scene scene;
    struct child child = {0};
    (void)state;
    scene_open(&scene);
    bus_addr_t first = bus_add_live_actor(scene.parent.me, &child_ops, &child);
    bus_remove_actor(scene.parent.me, first);
    for (unsigned i = 0; i < OTHERS; i++) {
        bus_addr_t addr = bus_add_live_actor(scene.parent.me, &child_ops, &child);
        assert_int_not_equal(addr, first);
        assert_int_not_equal(addr, 0);
        bus_remove_actor(scene.parent.me, addr);
    }
    send_to(&scene, first, DYN_E_GONE);
    assert_int_equal(child.stopped, OTHERS + 1);
    bus_free(&scene.bus);
}

static void
there_is_room_for_65535_and_then_it_is_said(void **state)
{
    struct scene scene;
    struct child child = {0};
    bus_addr_t last = 0;
    unsigned added = 0;
    (void)state;
    scene_open(&scene);
    for (bus_addr_t addr = 1; addr != 0 && added <= BUS_SLOTS_MAX; added += addr != 0) {
        addr = bus_add_live_actor(scene.parent.me, &child_ops, &child);
        last = addr != 0 ? addr : last;
    }
    assert_int_equal(added, BUS_SLOTS_MAX - 1); /* the parent has a place, too */
    bus_remove_actor(scene.parent.me, last);
    bus_addr_t again = bus_add_live_actor(scene.parent.me, &child_ops, &child);
    assert_int_not_equal(again, 0);
    assert_int_not_equal(again, last); /* the same place, another generation */
    send_to(&scene, last, DYN_E_GONE);
    send_to(&scene, again, DYN_OK);
    bus_loop_run_once(scene.loop, 0);
    assert_int_equal(child.received, 1);
    bus_free(&scene.bus);
    assert_int_equal(child.stopped, BUS_SLOTS_MAX);
}

/* ---- from another loop ---- */

enum { COMING_AND_GOING = 20000 };

struct chase {
    atomic_uint addr; /* of the live actor right now */
    atomic_bool over;
    bus_actor_t *hunter, *keeper;
    struct child child;
    struct bus_task hunt, keep;
    unsigned turns;
    pthread_mutex_t lock;
    pthread_cond_t done;
};

static void
hunt(struct bus_task *task)
{
    struct chase *chase = DYN_CONTAINER_OF(task, struct chase, hunt);
    struct env *env = env_new(ENV_CREDIT);
    env->id.bytes[0] = 1;
    env->credit = 1;
    if (bus_send(chase->hunter, atomic_load(&chase->addr), &env, NULL) != 0) {
        env_free(&env);
    }
    if (!atomic_load(&chase->over)) {
        bus_task_queue(bus_actor_loop(chase->hunter), task);
    }
}

static void
keep(struct bus_task *task)
{
    struct chase *chase = DYN_CONTAINER_OF(task, struct chase, keep);
    bus_remove_actor(chase->keeper, atomic_load(&chase->addr));
    atomic_store(&chase->addr, bus_add_live_actor(chase->keeper, &child_ops, &chase->child));
    if (++chase->turns < COMING_AND_GOING) {
        bus_task_queue(bus_actor_loop(chase->keeper), task);
        return;
    }
    (void)pthread_mutex_lock(&chase->lock);
    atomic_store(&chase->over, true);
    (void)pthread_cond_signal(&chase->done);
    (void)pthread_mutex_unlock(&chase->lock);
}

static int
hunter_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct chase *chase = self;
    (void)err;
    chase->hunter = me;
    bus_task_init(&chase->hunt, hunt);
    bus_task_queue(bus_actor_loop(me), &chase->hunt);
    return 0;
}

static int
keeper_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct chase *chase = self;
    (void)err;
    chase->keeper = me;
    bus_task_init(&chase->keep, keep);
    bus_task_queue(bus_actor_loop(me), &chase->keep);
    return 0;
}

static void
receive_nothing(void *self, struct env **env_p)
{
    (void)self, (void)env_p;
}

static void
hunter_stop(void *self)
{
    bus_task_cancel(&((struct chase *)self)->hunt);
}

static void
keeper_stop(void *self)
{
    bus_task_cancel(&((struct chase *)self)->keep);
}

static const struct bus_actor_ops hunter_ops = {
    .kind = "hunter", .start = hunter_start, .receive = receive_nothing, .stop = hunter_stop};
static const struct bus_actor_ops keeper_ops = {
    .kind = "keeper", .start = keeper_start, .receive = receive_nothing, .stop = keeper_stop};

static void
another_loop_may_send_to_those_who_come_and_go(void **state)
{
    struct chase chase = {.turns = 0};
    bus_t *bus = bus_new(NULL, NULL);
    (void)state;
    (void)pthread_mutex_init(&chase.lock, NULL);
    (void)pthread_cond_init(&chase.done, NULL);
    (void)bus_add_actor(bus, bus_add_loop(bus, "keeper"), &keeper_ops, &chase);
    (void)bus_add_actor(bus, bus_add_loop(bus, "hunter"), &hunter_ops, &chase);
    assert_int_equal(bus_start(bus, NULL), 0);
    (void)pthread_mutex_lock(&chase.lock);
    while (!atomic_load(&chase.over)) {
        (void)pthread_cond_wait(&chase.done, &chase.lock);
    }
    (void)pthread_mutex_unlock(&chase.lock);
    (void)bus_stop(bus, 1000);
    assert_int_equal(chase.child.stopped, COMING_AND_GOING);
    bus_free(&bus);
}

/* ---- with a life of their own ---- */

struct life {
    bus_actor_t *me;
    bool fails;
    unsigned started, stopped, drained;
    uint64_t deadline_us;
    unsigned idles;
    struct bus_task idle;
};

static int
life_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct life *life = self;
    life->started++;
    life->me = me;
    return life->fails ? dyn_err_set(err, DYN_E_CONFIG, "no") : 0;
}

static void
life_receive(void *self, struct env **env_p)
{
    (void)self;
    (void)env_p;
}

static void
life_drain(void *self, uint64_t deadline_us)
{
    struct life *life = self;
    life->drained++;
    life->deadline_us = deadline_us;
}

static void
life_stop(void *self)
{
    ((struct life *)self)->stopped++;
}

static const struct bus_actor_ops life_ops = {
    .kind = "life", .start = life_start, .receive = life_receive, .drain = life_drain, .stop = life_stop};

static void
became_idle(struct bus_task *task)
{
    DYN_CONTAINER_OF(task, struct life, idle)->idles++;
}

static void
a_started_actor_is_drained_by_its_parent(void **state)
{
    (void)state;
    struct scene scene;
    struct life life = {0};
    struct dyn_err err;
    scene_open(&scene);
    bus_task_init(&life.idle, became_idle);
    bus_addr_t addr = bus_start_live_actor(scene.parent.me, &life_ops, &life, &err);
    assert_int_not_equal(addr, 0);
    assert_int_equal(life.started, 1);
    assert_int_equal(bus_actor_addr(life.me), addr);
    send_to(&scene, addr, DYN_OK);
    assert_true(bus_kind_bytes(scene.bus, "life") > 0);
    bus_loop_run_once(scene.loop, 0);
    assert_int_equal(bus_kind_bytes(scene.bus, "life"), 0);
    bus_drain_live_actor(scene.parent.me, addr, 5000, &life.idle);
    assert_int_equal(life.deadline_us, 5000);
    assert_false(bus_live_actor_is_idle(scene.parent.me, addr));
    bus_drain_live_actor(scene.parent.me, addr, 2000, &life.idle);
    assert_int_equal(life.drained, 2);
    assert_int_equal(life.deadline_us, 2000);
    bus_actor_idle(life.me);
    assert_true(bus_live_actor_is_idle(scene.parent.me, addr));
    assert_int_equal(life.idles, 0); /* not from inside of what it does */
    bus_loop_run_once(scene.loop, 0);
    assert_int_equal(life.idles, 1);
    bus_remove_actor(scene.parent.me, addr);
    assert_int_equal(life.stopped, 1);
    assert_true(bus_live_actor_is_idle(scene.parent.me, addr)); /* gone */
    bus_free(&scene.bus);
}

static void
one_that_cannot_start_leaves_nothing(void **state)
{
    (void)state;
    struct scene scene;
    struct life life = {.fails = true};
    struct dyn_err err;
    scene_open(&scene);
    assert_int_equal(bus_start_live_actor(scene.parent.me, &life_ops, &life, &err), 0);
    assert_string_equal(err.text, "no");
    assert_int_equal(life.stopped, 1);
    bus_free(&scene.bus);
    assert_int_equal(life.stopped, 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_live_actor_receives_until_it_is_removed),
        cmocka_unit_test(children_are_stopped_before_their_parent),
        cmocka_unit_test(an_envelope_can_be_sent_in_anothers_name),
        cmocka_unit_test(an_address_is_not_used_again_for_a_long_time),
        cmocka_unit_test(there_is_room_for_65535_and_then_it_is_said),
        cmocka_unit_test(another_loop_may_send_to_those_who_come_and_go),
        cmocka_unit_test(a_started_actor_is_drained_by_its_parent),
        cmocka_unit_test(one_that_cannot_start_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
