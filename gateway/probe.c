#include "gateway/probe.h"

#include <stdlib.h>

struct probe {
    bus_actor_t *me;
    const struct bus_process *process;
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
    bool is_known = bus_process_peers(probe->process) > 0;
    struct env *end = env_new(ENV_END);
    struct dyn_slice text = is_health  ? DYN_SLICE("{\"status\":\"ok\",\"providers\":[]}")
                            : is_known ? DYN_SLICE("{\"status\":\"ready\"}")
                                       : DYN_SLICE("{\"status\":\"not_ready\",\"reason\":\"no router is connected\"}");
    end->outcome = ENV_OUTCOME_OK;
    end->status = is_health || is_known ? 200 : 503;
    end->body = dyn_block_copy(ENV_BODY_HEADROOM, text);
    end->body_bytes = text.len;
    return end;
}

static void
probe_receive(void *self, struct env **env_p)
{
    struct probe *probe = self;
    struct env *env = *env_p;
    bool is_health = env->surface == ENV_SURFACE_HEALTH;
    if (env->kind == ENV_REQUEST && (is_health || env->surface == ENV_SURFACE_READY)) {
        answer(probe, env, state_of(probe, is_health));
    } else if (env->kind == ENV_REQUEST) {
        struct env *end = env_new(ENV_END);
        end->outcome = ENV_OUTCOME_ERROR;
        end->error = ERR_NOT_FOUND;
        end->status = err_row(ERR_NOT_FOUND)->http;
        answer(probe, env, end);
    }
    env_free(env_p);
}

void *
probe_new(const struct bus_process *process)
{
    struct probe *probe = dyn_zalloc(sizeof *probe);
    probe->process = process;
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
