/* The step that explains: the request that is asked about goes through what RESOLVE and PICK do, with their
 * own functions, and ends there. */
#include "router/explain.h"

#include "router/facts.h"
#include "router/request.h"

/* Who may see all targets may see where a request goes; without any key everybody may. */
static enum err_code
judge(const struct route_request *rq)
{
    const struct admission *admission = &rq->router->options.shared->admission;
    if (dyn_slice_is(rq->key_id, "anonymous") && (admission->master_key.len > 0 || admission->keys != NULL)) {
        return rq->request->credential.len > 0 ? ERR_INVALID_API_KEY : ERR_MISSING_API_KEY;
    }
    return (rq->scopes & KEY_SCOPE_READ) != 0 ? ERR_NONE : ERR_INSUFFICIENT_SCOPE;
}

/* From now on the REQUEST is the one that is asked about. */
static int
become(struct route_request *rq, const struct route_explain *explain, struct dialect_problem *problem)
{
    struct env *request = rq->request;
    dyn_block_t *body = dyn_block_copy(0, explain->body);
    dyn_block_unref(&request->body);
    request->body = body;
    request->surface = explain->surface;
    rq->dialect = dialect_of_surface(explain->surface);
    if (rq->dialect->read_request(dyn_block_slice(body), &request->arena, &rq->facts, problem) != 0) {
        return -1;
    }
    rq->asked_model = env_copy(request, rq->facts.model);
    rq->model = route_plan_model(rq->plan, rq->asked_model);
    return 0;
}

/* What the decision did not need to know is shown all the same. */
static void
see_all(const struct route_request *rq, struct route_facts *facts, const struct route_view *view)
{
    struct router *router = rq->router;
    uint64_t model_key = health_model_key(rq->model);
    uint64_t now_us = bus_loop_now_us(router->loop);
    if ((rq->plan->needs & (ROUTE_NEEDS_BODY | ROUTE_NEEDS_TEXT)) == 0) {
        route_facts_read(facts, dyn_block_slice(rq->request->body), NULL, ROUTE_NEEDS_BODY,
                         &rq->request->arena);
    }
    for (ROUTE_SET_EACH(i, &view->candidates)) {
        struct route_target_view *seen = &router->seen[i];
        const health_board_t *board = view->targets[i].health;
        route_price_of(rq->plan, &view->targets[i], rq->model, seen);
        if (board != NULL) {
            struct health_view health;
            health_view_of(board, model_key, now_us, &health);
            seen->in_flight = health.in_flight;
            seen->samples = health.samples;
            seen->ttft_us = health.ttft_us;
            seen->total_us = health.total_us;
        }
    }
}

static struct env *
answer(const struct route_request *rq, const struct dyn_buf *text)
{
    struct env *end = env_new(ENV_END);
    end->id = rq->node.id;
    end->outcome = ENV_OUTCOME_OK;
    end->status = 200;
    end->content_type = DYN_SLICE("application/json");
    end->body = dyn_block_copy(ENV_BODY_HEADROOM, dyn_buf_slice(text));
    end->body_bytes = text->len;
    return end;
}

/* As route_step_pick(), but that nothing follows. -1 with err where a real one would be refused. */
static int
decide(struct route_request *rq, struct route_explain *explain, struct dyn_buf *out, struct dyn_err *err)
{
    struct route_candidacy found;
    struct route_facts facts;
    struct route_view view;
    struct route_decision decision;
    struct dyn_rng rng = rq->router->rng;
    if (explain->has_seed) {
        dyn_rng_seed(&rng, explain->seed);
    }
    if (route_gather_facts(rq, &facts, err) != 0) {
        return -1;
    }
    route_find_candidates(rq, &found);
    route_look_around(rq, &found, &view);
    (void)route_decide(rq->plan, &facts, &view, &rng, &decision);
    see_all(rq, &facts, &view);
    struct dyn_buf plugins = DYN_BUF_INIT;
    route_explain_plugins(rq->router, rq->plan, facts.stream, &plugins);
    explain->plugins = dyn_buf_slice(&plugins);
    route_explain_write(explain, &facts, &view, &decision, out);
    explain->plugins = dyn_slice(NULL, 0);
    dyn_buf_fini(&plugins);
    return 0;
}

enum route_step
route_step_explain(struct route_request *rq)
{
    struct route_explain explain;
    struct dialect_problem problem = {.message = ""};
    struct dyn_err err = {.text = ""};
    struct dyn_slice asker = rq->key_id;
    enum err_code refused = judge(rq);
    if (refused != ERR_NONE) {
        return route_fail(rq, refused, NULL, NULL);
    }
    if (route_explain_read(rq->request, &explain, &problem) != 0 || become(rq, &explain, &problem) != 0) {
        rq->request->surface = ENV_SURFACE_EXPLAIN;
        return route_fail(rq, ERR_INVALID_REQUEST, problem.message, problem.param);
    }
    struct dyn_buf text = DYN_BUF_INIT;
    rq->key_id = explain.key_id.data != NULL ? explain.key_id : asker;
    int failed = decide(rq, &explain, &text, &err);
    rq->key_id = asker;
    rq->request->surface = ENV_SURFACE_EXPLAIN;
    if (failed == 0) {
        rq->inbound = answer(rq, &text);
    }
    dyn_buf_fini(&text);
    if (failed != 0) {
        return route_fail(rq, route_facts_refusal(&err), err.text, NULL);
    }
    return ROUTE_STEP_REPLY;
}
