/* What the router answers itself: which models are served, and whether anything is. */
#include "core/buf.h"
#include "router/request.h"

static void
add_model(struct dyn_buf *out, struct dyn_slice id, struct dyn_slice owner)
{
    dyn_buf_add_str(out, "{\"id\":");
    dyn_buf_add_json_string(out, id);
    dyn_buf_add_str(out, ",\"object\":\"model\",\"created\":0,\"owned_by\":");
    dyn_buf_add_json_string(out, owner);
    dyn_buf_add_char(out, '}');
}

/* The first target that lists an id owns it. */
static const struct route_target *
owner_of(const struct router_options *options, struct dyn_slice model, size_t before)
{
    for (size_t i = 0; i < before; i++) {
        for (size_t k = 0; k < options->targets[i].n_models; k++) {
            if (dyn_slice_eq(options->targets[i].models[k], model)) {
                return &options->targets[i];
            }
        }
    }
    return NULL;
}

static void
write_models(const struct router_options *options, struct dyn_buf *out)
{
    dyn_buf_add_str(out, "{\"object\":\"list\",\"data\":[");
    bool first = true;
    for (size_t i = 0; i < options->n_targets; i++) {
        const struct route_target *target = &options->targets[i];
        for (size_t k = 0; k < target->n_models; k++) {
            if (owner_of(options, target->models[k], i) != NULL) {
                continue;
            }
            dyn_buf_add_str(out, first ? "" : ",");
            first = false;
            add_model(out, target->models[k], target->provider);
        }
    }
    dyn_buf_add_str(out, "]}");
}

/* No breaker exists yet that could be open: a configured target is a routable one. */
static void
write_health(const struct router_options *options, struct dyn_buf *out)
{
    dyn_buf_add_str(out, options->n_targets > 0 ? "{\"status\":\"ok\"" : "{\"status\":\"no_providers\"");
    dyn_buf_add_str(out, ",\"providers\":[");
    for (size_t i = 0; i < options->n_targets; i++) {
        dyn_buf_add_str(out, i > 0 ? ",{\"name\":" : "{\"name\":");
        dyn_buf_add_json_string(out, options->targets[i].name);
        dyn_buf_addf(out, ",\"status\":\"available\",\"circuit\":\"closed\",\"models\":%zu}",
                     options->targets[i].n_models);
    }
    dyn_buf_add_str(out, "]}");
}

static void
write_ready(const struct router_options *options, struct dyn_buf *out)
{
    if (options->n_targets == 0) {
        dyn_buf_add_str(out, "{\"status\":\"not_ready\",\"reason\":\"no routable targets\"}");
        return;
    }
    dyn_buf_add_str(out, "{\"status\":\"ready\",\"targets\":[");
    for (size_t i = 0; i < options->n_targets; i++) {
        dyn_buf_add_str(out, i > 0 ? ",{\"name\":" : "{\"name\":");
        dyn_buf_add_json_string(out, options->targets[i].name);
        dyn_buf_add_str(out, ",\"routable\":true}");
    }
    dyn_buf_add_str(out, "]}");
}

static bool
write_one_model(const struct route_request *rq, struct dyn_buf *out)
{
    const struct router_options *options = &rq->router->options;
    const struct route_target *owner = owner_of(options, rq->model, options->n_targets);
    if (owner != NULL) {
        add_model(out, rq->model, owner->provider);
    }
    return owner != NULL;
}

/* NULL: there is no such model. */
struct env *
route_local_answer(const struct route_request *rq)
{
    const struct router_options *options = &rq->router->options;
    struct dyn_buf out = DYN_BUF_INIT;
    uint16_t status = 200;
    bool found = true;
    if (rq->request->surface == ENV_SURFACE_MODELS) {
        write_models(options, &out);
    } else if (rq->request->surface == ENV_SURFACE_MODEL) {
        found = write_one_model(rq, &out);
    } else {
        bool is_health = rq->request->surface == ENV_SURFACE_HEALTH;
        (is_health ? write_health : write_ready)(options, &out);
        status = options->n_targets > 0 ? 200 : 503;
    }
    struct env *end = NULL;
    if (found) {
        end = env_new(ENV_END);
        end->id = rq->node.id;
        end->outcome = ENV_OUTCOME_OK;
        end->status = status;
        end->content_type = DYN_SLICE("application/json");
        end->body = dyn_block_copy(ENV_BODY_HEADROOM, dyn_buf_slice(&out));
        end->body_bytes = out.len;
    }
    dyn_buf_fini(&out);
    return end;
}
