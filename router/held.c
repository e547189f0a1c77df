/* A plain answer that plugins have to see before its client does: its CHUNKs stay here until its END, and it
 * goes on as one END then. Bounded by ENV_HELD_ANSWER_MAX: of a longer one nobody can be asked, so what
 * plugins' failure policy says decides. Nothing of a held answer has begun: it can be sent for again. */
#include "core/log.h"
#include "router/votes.h"

/* ---- what is held ---- */

void
route_held_drop(struct route_request *rq)
{
    for (struct dyn_list *link; (link = dyn_list_pop(&rq->held)) != NULL;) {
        struct env *chunk = DYN_CONTAINER_OF(link, struct env, link);
        env_free(&chunk);
    }
    rq->held_bytes = 0;
    env_free(&rq->held_end);
}

static bool
is_asked_after(const struct route_request *rq, const struct route_plugin *plugin)
{
    struct route_traits traits = route_traits_of(rq->router, plugin);
    return (traits.stages & VOTE_STAGE_BIT(VOTE_AFTER_REQUEST)) != 0 && !traits.watches;
}

bool
route_holds_answers(const struct route_request *rq)
{
    const struct route_plan *plan = route_voting_plan(rq);
    bool holds = false;
    for (size_t i = 0; i < plan->n_plugins && route_has_votes(rq, VOTE_AFTER_REQUEST); i++) {
        holds = holds || is_asked_after(rq, &plan->plugins[i]);
    }
    return holds;
}

/* The first whose failure refuses. */
static const struct route_plugin *
first_closed(const struct route_request *rq)
{
    const struct route_plan *plan = route_voting_plan(rq);
    for (size_t i = 0; i < plan->n_plugins; i++) {
        if (is_asked_after(rq, &plan->plugins[i]) && !plan->plugins[i].fails_open) {
            return &plan->plugins[i];
        }
    }
    return NULL;
}

/* ---- more than can be looked at ---- */

/* What fits into the owner's window goes; its CREDIT brings the rest. */
static void
release(struct route_request *rq)
{
    while (!dyn_list_is_empty(&rq->held) && !rq->has_gap) {
        struct env *chunk = DYN_CONTAINER_OF(rq->held.next, struct env, link);
        size_t len = env_body_len(chunk);
        if (len > rq->window) {
            return;
        }
        (void)dyn_list_pop(&rq->held);
        rq->held_bytes -= len;
        route_pass_chunk(rq, &chunk);
    }
    if (rq->has_gap) {
        route_held_drop(rq);
    }
}

static void
too_long(struct route_request *rq)
{
    const struct route_plugin *closed = first_closed(rq);
    dyn_log(DYN_LOG_WARN, "router.plugin.too_long", "an answer is too long for plugins to look at",
            DYN_LOG_SLICE("plugin", closed != NULL ? closed->name : DYN_SLICE("-")),
            DYN_LOG_STR("answer", closed != NULL ? "is refused" : "goes on unseen"),
            DYN_LOG_SLICE("trace_id", rq->request->trace_id));
    if (closed != NULL) {
        rq->has_gap = true;
        route_held_drop(rq);
        route_cancel(rq, ERR_PLUGIN_ERROR, "too long");
        return;
    }
    rq->now->is_held = false;
    release(rq);
}

/* ---- CHUNKs and the END ---- */

void
route_hold(struct route_request *rq, struct env **chunk_p)
{
    struct env *chunk = *chunk_p;
    size_t len = env_body_len(chunk);
    *chunk_p = NULL;
    dyn_list_append(&rq->held, &chunk->link);
    rq->held_bytes += len;
    if (!rq->now->is_held) { /* it goes on already */
        release(rq);
        return;
    }
    if (rq->held_bytes > ENV_HELD_ANSWER_MAX) {
        too_long(rq);
    } else if (len > 0) {
        route_grant(rq, rq->now, (uint32_t)len); /* nothing of it is in the owner's window */
    }
}

bool
route_held_waits(struct route_request *rq, struct env **end_p)
{
    bool waits = !rq->now->is_held && !dyn_list_is_empty(&rq->held);
    if (waits) {
        rq->held_end = *end_p;
        *end_p = NULL;
    }
    return waits;
}

void
route_held_go_on(struct route_request *rq)
{
    if (rq->now->is_held || dyn_list_is_empty(&rq->held)) {
        return;
    }
    release(rq);
    if (dyn_list_is_empty(&rq->held) && rq->held_end != NULL) {
        rq->inbound = rq->held_end;
        rq->held_end = NULL;
        route_resume(rq, ROUTE_STEP_WAIT);
    }
}

/* What the first CHUNK said of the answer stands in the END then, unless that says it itself. */
static void
take_head(struct env *end, const struct env *first)
{
    end->status = end->status != 0 ? end->status : first->status;
    if (end->content_type.data == NULL) {
        end->content_type = env_copy(end, first->content_type);
    }
    for (size_t i = 0; i < first->n_headers && end->n_headers < ENV_HEADERS_MAX; i++) {
        env_add_header(end, first->headers[i].name, first->headers[i].value);
    }
}

void
route_held_join(struct route_request *rq)
{
    struct env *end = rq->inbound;
    if (!rq->now->is_held || dyn_list_is_empty(&rq->held)) {
        return;
    }
    if (end->outcome != ENV_OUTCOME_OK) {
        route_held_drop(rq);
        return;
    }
    dyn_block_t *body = dyn_block_new(ENV_BODY_HEADROOM, rq->held_bytes + env_body_len(end));
    take_head(end, DYN_CONTAINER_OF(rq->held.next, struct env, link));
    for (struct dyn_list *link = rq->held.next; link != &rq->held; link = link->next) {
        struct dyn_slice piece = dyn_block_slice(DYN_CONTAINER_OF(link, struct env, link)->body);
        dyn_block_append(&body, piece.data, piece.len);
    }
    struct dyn_slice rest = dyn_block_slice(end->body);
    dyn_block_append(&body, rest.data, rest.len);
    dyn_block_unref(&end->body);
    end->body = body;
    end->is_scanned = false;
    route_held_drop(rq);
    rq->now->next_sequence = 0; /* towards the owner it comes whole */
}
