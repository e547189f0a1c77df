#include "gateway/housekeeping.h"

#include "core/log.h"

#include <stdlib.h>

/* The log's own measure: it limits lines by the second. */
enum { HOUSEKEEPING_EVERY_MS = 1000 };

struct housekeeping {
    bus_loop_t *loop;
    struct bus_timer timer;
};

static void
keep_house(struct bus_timer *timer)
{
    struct housekeeping *house = DYN_CONTAINER_OF(timer, struct housekeeping, timer);
    dyn_log_flush();
    bus_timer_arm(house->loop, timer, HOUSEKEEPING_EVERY_MS);
}

void *
housekeeping_new(void)
{
    struct housekeeping *house = dyn_zalloc(sizeof *house);
    house->timer.fire = keep_house;
    return house;
}

static int
housekeeping_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)err;
    struct housekeeping *house = self;
    house->loop = bus_actor_loop(me);
    bus_timer_arm(house->loop, &house->timer, HOUSEKEEPING_EVERY_MS);
    return 0;
}

static void
housekeeping_receive(void *self, struct env **env_p)
{
    (void)self;
    env_free(env_p); /* nobody has its address */
}

static void
housekeeping_stop(void *self)
{
    struct housekeeping *house = self;
    bus_timer_fini(&house->timer);
    free(house);
}

const struct bus_actor_ops housekeeping_actor_ops = {
    .kind = "housekeeping",
    .start = housekeeping_start,
    .receive = housekeeping_receive,
    .stop = housekeeping_stop,
};
