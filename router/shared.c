#include "router/shared.h"

#include "proto/dialects/replay.h"
#include "router/votes.h"

struct route_shared {
    replay_t *replay;   /* of a stream */
    dyn_block_t *plain; /* of a plain answer in pieces, and at the end the answer */
    bool is_stream;
    bool has_chunks;
    bool is_lost; /* it is longer than what is kept of an answer */
    bool is_kept; /* `plain` is what it was before plugins amended it */
    bool is_orphan;
    size_t owed; /* bytes that passed, and nobody granted anew */
};

/* ---- what passes ---- */

void
route_share(struct route_request *rq)
{
    if (rq->shared == NULL) {
        rq->shared = arena_zalloc(&rq->request->arena, sizeof *rq->shared);
    }
}

static void
start_over(struct route_shared *shared, bool is_stream)
{
    replay_free(&shared->replay);
    dyn_block_unref(&shared->plain);
    shared->is_stream = is_stream;
    shared->has_chunks = true;
    shared->is_lost = false;
    shared->is_kept = false;
}

/* Who gets it later has it amended anew: by who votes then. */
void
route_shared_keep(struct route_request *rq, dyn_block_t *answer)
{
    if (rq->shared != NULL && !rq->shared->is_kept) {
        start_over(rq->shared, false);
        rq->shared->plain = dyn_block_ref(answer);
        rq->shared->is_kept = true;
    }
}

static void
gather(const struct route_request *rq, struct route_shared *shared, const struct env *piece)
{
    struct dyn_slice bytes = dyn_block_slice(piece->body);
    if (shared->is_lost || bytes.len == 0) {
        return;
    }
    if (shared->is_stream) {
        shared->replay =
            shared->replay != NULL ? shared->replay : replay_new(rq->dialect, ENV_HELD_ANSWER_MAX);
        if (shared->replay != NULL) {
            replay_feed(shared->replay, bytes);
        }
        return;
    }
    if (shared->plain == NULL) {
        shared->plain = dyn_block_new(0, bytes.len);
    }
    shared->is_lost = shared->plain->len + bytes.len > ENV_HELD_ANSWER_MAX;
    if (shared->is_lost) {
        dyn_block_unref(&shared->plain);
    } else {
        dyn_block_append(&shared->plain, bytes.data, bytes.len);
    }
}

bool
route_shared_passes(struct route_request *rq, struct env **env_p)
{
    struct route_shared *shared = rq->shared;
    const struct env *env = *env_p;
    if (env->kind == ENV_CHUNK && !shared->is_kept) {
        if (env->sequence == 0) {
            start_over(shared, env->stream);
        }
        gather(rq, shared, env);
    }
    if (!shared->is_orphan) {
        return true;
    }
    shared->owed += env->kind == ENV_CHUNK ? env_body_len(env) : 0;
    env_free(env_p);
    return false;
}

/* ---- without an owner ---- */

bool
route_is_orphan(const struct route_request *rq)
{
    return rq->shared != NULL && rq->shared->is_orphan;
}

static void
tell_plugins(struct route_request *rq)
{
    for (size_t i = 0; i < rq->votes->plan->n_plugins; i++) {
        const struct route_plugin *plugin = &rq->votes->plan->plugins[i];
        if (!plugin->traits.shares || !((rq->votes->charged >> i) & 1)) {
            continue;
        }
        struct env *cancel = env_new(ENV_CANCEL);
        cancel->id = rq->node.id;
        cancel->stage = VOTE_AFTER_REQUEST;
        cancel->instance = plugin->serial;
        cancel->plugin = env_copy(cancel, plugin->name);
        if (bus_send(rq->router->me, rq->router->options.plugins, &cancel, NULL) != 0) {
            env_free(&cancel); /* it goes on to its end for whoever waits */
        }
    }
}

bool
route_outlives_owner(struct route_request *rq)
{
    bool can = rq->shared != NULL && rq->told == NULL && rq->cancelled_for == ERR_NONE && !rq->has_gap &&
               rq->successor == NULL && !rq->router->is_draining;
    if (!can || rq->shared->is_orphan) {
        return can;
    }
    rq->owner = 0;
    rq->shared->is_orphan = true;
    rq->shared->owed = rq->window < ENV_WINDOW_FIRST ? ENV_WINDOW_FIRST - rq->window : 0;
    rq->router->n_orphans++;
    tell_plugins(rq);
    route_orphans_grant(rq->router, &rq->node.id);
    return true;
}

void
route_orphans_grant(struct router *router, const struct env_id *id)
{
    struct env_map_node *node = env_map_find(&router->requests, id);
    struct route_request *rq = node != NULL ? DYN_CONTAINER_OF(node, struct route_request, node) : NULL;
    if (rq != NULL && route_is_orphan(rq) && rq->shared->owed > 0) {
        size_t owed = rq->shared->owed;
        rq->shared->owed = 0;
        route_credit(rq, (uint32_t)owed);
    }
}

/* ---- the end ---- */

void
route_shared_end(struct route_request *rq, const struct env *end)
{
    struct route_shared *shared = rq->shared;
    if (end->outcome != ENV_OUTCOME_OK) {
        start_over(shared, false);
        return;
    }
    if (shared->is_kept) {
        return;
    }
    bool is_whole = env_body_len(end) > 0 && rq->now->next_sequence == 0;
    if (!shared->has_chunks || is_whole) {
        start_over(shared, end->stream);
    }
    gather(rq, shared, end);
    if (shared->replay != NULL) {
        shared->plain = replay_answer(shared->replay, &end->usage, 0);
        replay_free(&shared->replay);
    }
}

dyn_block_t *
route_shared_answer(const struct route_request *rq)
{
    return rq->shared != NULL ? rq->shared->plain : NULL;
}

void
route_shared_fini(struct route_request *rq)
{
    if (rq->shared != NULL) {
        rq->router->n_orphans -= rq->shared->is_orphan ? 1 : 0;
        start_over(rq->shared, false);
        rq->shared = NULL;
    }
}

/* ---- answers of plugins ---- */

int
route_replay(struct route_request *rq, struct env *end)
{
    bool is_due = rq->votes != NULL && rq->votes->answered_by.len > 0 && rq->facts.stream && !end->stream;
    if (!is_due) {
        return 0;
    }
    dyn_block_t *stream =
        replay_stream(rq->dialect, dyn_block_slice(end->body), rq->facts.wants_usage, ENV_BODY_HEADROOM);
    if (stream == NULL) {
        return -1;
    }
    dyn_block_unref(&end->body);
    end->body = stream;
    end->is_scanned = false;
    end->stream = true;
    end->content_type = DYN_SLICE("text/event-stream");
    return 0;
}

struct dyn_slice
route_cache_said(const struct route_request *rq)
{
    return rq->votes != NULL ? rq->votes->cache_said : dyn_slice(NULL, 0);
}
