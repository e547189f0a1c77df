/* Numbers that are kept on the bus, and the actor that tells a process's numbers to others. */
#include "actors/metrics/metrics.h"

#include "proto/node_event.h"

#include <stdlib.h>

static uint64_t
get(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void
read_process(void *arg, struct node_values *out)
{
    const struct bus_process *process = arg;
    uint64_t *values = out->values;
    values[NODE_bus_sent] += get(&process->sent);
    values[NODE_bus_received] += get(&process->received);
    values[NODE_bus_sent_bytes] += get(&process->sent_bytes);
    values[NODE_bus_received_bytes] += get(&process->received_bytes);
    values[NODE_peers_joined] += get(&process->peers_joined);
    values[NODE_peers_lost] += get(&process->peers_lost);
    values[NODE_heartbeats_lost] += get(&process->heartbeats_lost);
    values[NODE_reconnects] += get(&process->reconnects);
    values[NODE_peers_throttled] += get(&process->throttled);
    values[NODE_goodbyes_protocol] += get(&process->refused_protocol);
    values[NODE_goodbyes_version] += get(&process->refused_version);
    values[NODE_goodbyes_role] += get(&process->refused_role);
    values[NODE_goodbyes_limit] += get(&process->refused_limit);
    values[NODE_ignored_kinds] += get(&process->ignored_kinds);
}

struct node_source
metrics_of_process(struct bus_process *process)
{
    return (struct node_source){.read = read_process, .arg = process};
}

static void
read_publisher(void *arg, struct node_values *out)
{
    const struct publisher_counts *counts = arg;
    out->values[NODE_events_published] += get(&counts->published);
    out->values[NODE_events_refused] += get(&counts->refused);
    out->values[NODE_events_dropped] += get(&counts->unheard);
    out->values[NODE_replay_bytes] += get(&counts->replay_bytes);
}

struct node_source
metrics_of_publisher(struct publisher_counts *counts)
{
    return (struct node_source){.read = read_publisher, .arg = counts};
}

/* ---- the actor that tells ---- */

struct teller {
    struct teller_options options;
    struct node_source *sources;
    bus_actor_t *me;
    struct bus_timer timer;
};

static void
tell(struct teller *teller)
{
    const struct bus_process *process = teller->options.process;
    char hash[BUS_CONFIG_HASH_SIZE];
    bus_process_config(process, hash);
    struct node_breakers breakers = {NULL, 0};
    struct node_report report = {
        .breakers = &breakers,
        .origin = dyn_slice_str(process->node),
        .config = dyn_slice_str(hash),
        .version = dyn_slice_str(teller->options.version),
    };
    for (size_t i = 0; i < teller->options.n_sources; i++) {
        teller->sources[i].read(teller->sources[i].arg, &report.values);
        if (teller->sources[i].read_breakers != NULL) {
            teller->sources[i].read_breakers(teller->sources[i].arg, &breakers);
        }
    }
    struct env *event = env_new(ENV_EVENT);
    event->topic = DYN_SLICE(EVENT_NODE_COUNTERS);
    event->body = node_report_encode(&report);
    node_breakers_fini(&breakers);
    if (bus_send(teller->me, teller->options.to, &event, NULL) != 0) {
        env_free(&event); /* the next one says more anyway */
    }
}

static void
tell_again(struct bus_timer *timer)
{
    struct teller *teller = DYN_CONTAINER_OF(timer, struct teller, timer);
    tell(teller);
    bus_timer_arm(bus_actor_loop(teller->me), timer, NODE_TELL_MS);
}

void *
metrics_teller_new(const struct teller_options *options)
{
    struct teller *teller = dyn_zalloc(sizeof *teller);
    teller->options = *options;
    teller->timer.fire = tell_again;
    teller->sources = dyn_alloc((options->n_sources + 1) * sizeof *teller->sources);
    memcpy(teller->sources, options->sources, options->n_sources * sizeof *teller->sources);
    return teller;
}

static int
teller_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)err;
    struct teller *teller = self;
    teller->me = me;
    bus_timer_arm(bus_actor_loop(me), &teller->timer, NODE_TELL_MS);
    return 0;
}

static void
teller_receive(void *self, struct env **env_p)
{
    (void)self;
    env_free(env_p);
}

/* What was counted since the last time is not lost with a clean end. */
static void
teller_drain(void *self, uint64_t deadline_us)
{
    struct teller *teller = self;
    (void)deadline_us;
    tell(teller);
    bus_actor_idle(teller->me);
}

static void
teller_stop(void *self)
{
    struct teller *teller = self;
    bus_timer_fini(&teller->timer);
    free(teller->sources);
    free(teller);
}

const struct bus_actor_ops metrics_teller_actor_ops = {
    .kind = "teller",
    .start = teller_start,
    .receive = teller_receive,
    .drain = teller_drain,
    .stop = teller_stop,
};
