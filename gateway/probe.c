#include "gateway/probe.h"

#include <stdlib.h>

struct probe {
    bus_actor_t *me;
    struct probe_options options;
    bus_addr_t edge; /* who asks: the only one here */
};

static void
answer(struct probe *probe, const struct env *request, struct env *end)
{
    end->id = request->id;
    end->epoch = request->epoch;
    end->content_type = DYN_SLICE("application/json");
    if (bus_send(probe->me, request->from, &end, NULL) != 0) {
        env_free(&end); /* who asked is gone */
    }
}

static struct env *
state_of(const struct probe *probe, bool is_health)
{
    bool is_ready = !probe->options.joins || bus_process_peers(probe->options.process) > 0;
    struct env *end = env_new(ENV_END);
    struct dyn_slice text =
        is_health  ? DYN_SLICE("{\"status\":\"ok\",\"providers\":[]}")
        : is_ready ? DYN_SLICE("{\"status\":\"ready\"}")
                   : DYN_SLICE("{\"status\":\"not_ready\",\"reason\":\"no router is connected\"}");
    end->outcome = ENV_OUTCOME_OK;
    end->status = is_health || is_ready ? 200 : 503;
    end->body = dyn_block_copy(ENV_BODY_HEADROOM, text);
    end->body_bytes = text.len;
    return end;
}

static void
refuse(struct probe *probe, const struct env *request)
{
    struct env *end = env_new(ENV_END);
    end->outcome = ENV_OUTCOME_ERROR;
    end->error = ERR_NOT_FOUND;
    end->status = err_row(ERR_NOT_FOUND)->http;
    answer(probe, request, end);
}

static void
take_request(struct probe *probe, struct env **env_p)
{
    struct env *request = *env_p;
    bool is_health = request->surface == ENV_SURFACE_HEALTH;
    bool is_metrics = request->surface == ENV_SURFACE_METRICS && probe->options.router != 0;
    probe->edge = request->from;
    if (is_health || request->surface == ENV_SURFACE_READY) {
        answer(probe, request, state_of(probe, is_health));
    } else if (!is_metrics || bus_send(probe->me, probe->options.router, env_p, NULL) != 0) {
        refuse(probe, request);
    }
}

static void
probe_receive(void *self, struct env **env_p)
{
    struct probe *probe = self;
    bool is_back = probe->options.router != 0 && (*env_p)->from == probe->options.router;
    if ((*env_p)->kind == ENV_REQUEST) {
        take_request(probe, env_p);
    } else if (bus_send(probe->me, is_back ? probe->edge : probe->options.router, env_p, NULL) != 0) {
        env_free(env_p); /* CREDIT or CANCEL of what was answered here */
    }
    env_free(env_p);
}

void *
probe_new(const struct probe_options *options)
{
    struct probe *probe = dyn_zalloc(sizeof *probe);
    probe->options = *options;
    return probe;
}

static int
probe_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)err;
    ((struct probe *)self)->me = me;
    return 0;
}

static void
probe_stop(void *self)
{
    free(self);
}

const struct bus_actor_ops probe_actor_ops = {
    .kind = "probe",
    .start = probe_start,
    .receive = probe_receive,
    .stop = probe_stop,
};
