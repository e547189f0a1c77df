/* The client: sends requests to the router, and counts its answers. */
#include "tests/simulator/sim.h"

#include <stdio.h>

enum { USERS = 1000, PROMPT_BYTES = 1600 };

static int
client_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)err;
    ((struct sim *)self)->client = me;
    return 0;
}

static void
count_arrival(struct sim *sim)
{
    struct sim_result *result = &sim->result;
    bool are_open = result->open_after_us != UINT64_MAX;
    if (sim_is_trouble(sim->now_us)) {
        result->trouble_requests++;
        *(are_open ? &result->open_requests : &result->requests_before) += 1;
    }
    sim->began_us[result->requests++] = sim->now_us;
    sim->n_open++;
}

void
sim_arrive(struct sim *sim)
{
    static char body[PROMPT_BYTES + 200];
    static const char format[] =
        "{\"model\":\"m\",\"user\":\"u%u\",\"messages\":[{\"role\":\"user\",\"content\":\"%0*d\"}]}";
    int len = snprintf(body, sizeof body, format, (unsigned)dyn_rng_below(&sim->rng, USERS), PROMPT_BYTES, 1);
    struct env *request = env_new(ENV_REQUEST);
    uint64_t number = sim->result.requests;
    memcpy(request->id.bytes, &number, sizeof number);
    request->surface = ENV_SURFACE_CHAT;
    request->dialect = DYN_SLICE("openai_chat");
    request->trace_id = DYN_SLICE("0123456789abcdef0123456789abcdef");
    request->credit = ENV_WINDOW_FIRST;
    request->body = dyn_block_copy(0, dyn_slice(body, (size_t)len));
    count_arrival(sim);
    DYN_ASSERT(bus_send(sim->client, sim->router, &request, NULL) == 0);
}

static void
client_receive(void *self, struct env **env_p)
{
    struct sim *sim = self;
    const struct env *end = *env_p;
    uint64_t number;
    if (end->kind != ENV_END) {
        env_free(env_p);
        return;
    }
    memcpy(&number, end->id.bytes, sizeof number);
    uint64_t began_us = sim->began_us[number];
    sim->n_open--;
    if (end->outcome == ENV_OUTCOME_OK) {
        sim->times[sim->result.served++] = sim->now_us - began_us;
        sim->result.trouble_served += sim_is_trouble(began_us);
    }
    env_free(env_p);
}

static void
client_stop(void *self)
{
    (void)self;
}

const struct bus_actor_ops sim_client_ops = {
    .kind = "client", .start = client_start, .receive = client_receive, .stop = client_stop};
