#include "actors/plugins/plugin_actor.h"

#include "core/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    LEAVING_LOOK_MS = 1000, /* how often to look whether nobody asks them any more */
    FORMER_MAX = 16,        /* sets; reloads that come faster than requests end */
    CELLS_MAX = (FORMER_MAX + 1) * PLUGINS_MAX,
    DRAIN_GRACE_MS = 10, /* how the last requests ended is still on its way from idle routers */
};

/* What a posted wake-up holds: it may come when the cell is gone. */
struct waker {
    atomic_uint refs;
    atomic_bool is_pending;
    plugin_cell_t *cell; /* the loop's; NULL: gone */
};

/* One plugin in this cell. */
struct plugin_cell {
    struct plugin_actor *actor;
    struct plugin_instance *instance;
    void *own;
    struct arena scratch;
    bool is_scratch_used;
    struct waker *waker;
};

struct plugin_actor {
    struct plugin_actor_options options;
    bus_actor_t *me;
    bus_loop_t *loop;
    plugin_set_t *sets[FORMER_MAX + 1]; /* the one in force first */
    size_t n_sets;
    plugin_cell_t *cells[CELLS_MAX];
    size_t n_cells;
    plugin_set_t *first; /* from the options until the start */
    struct bus_timer leaving;
    struct bus_timer drain;
};

/* ---- what plugins call ---- */

static void
begin_scratch(plugin_cell_t *cell)
{
    if (cell->is_scratch_used) {
        arena_fini(&cell->scratch);
        arena_init(&cell->scratch, NULL, 0);
        cell->is_scratch_used = false;
    }
}

struct arena *
plugin_cell_arena(plugin_cell_t *cell)
{
    cell->is_scratch_used = true;
    return &cell->scratch;
}

char *
plugin_cell_text(plugin_cell_t *cell, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    size_t used = len < 0 ? 0 : (size_t)len < sizeof text ? (size_t)len : sizeof text - 1;
    return (char *)(uintptr_t)arena_copy(plugin_cell_arena(cell), dyn_slice(text, used)).data;
}

bus_loop_t *
plugin_cell_loop(const plugin_cell_t *cell)
{
    return cell->actor->loop;
}

unsigned
plugin_cell_number(const plugin_cell_t *cell)
{
    return cell->actor->options.cell;
}

const struct plugin_host *
plugin_cell_host(const plugin_cell_t *cell)
{
    return cell->actor->options.host;
}

int
plugin_send(plugin_cell_t *cell, bus_addr_t to, struct env **env_p, struct dyn_err *err)
{
    (*env_p)->plugin = env_copy(*env_p, cell->instance->name);
    return bus_send(cell->actor->me, to, env_p, err);
}

static void
waker_unref(struct waker *waker)
{
    if (atomic_fetch_sub_explicit(&waker->refs, 1, memory_order_acq_rel) == 1) {
        free(waker);
    }
}

static void
wake_posted(void *arg)
{
    struct waker *waker = arg;
    plugin_cell_t *cell = waker->cell;
    atomic_store_explicit(&waker->is_pending, false, memory_order_release);
    if (cell != NULL && cell->instance->ops->wake != NULL) {
        cell->instance->ops->wake(cell->instance->shared, cell->own, cell);
    }
    waker_unref(waker);
}

void
plugin_wake(plugin_cell_t *cell)
{
    struct waker *waker = cell->waker;
    if (atomic_exchange_explicit(&waker->is_pending, true, memory_order_acq_rel)) {
        return;
    }
    (void)atomic_fetch_add_explicit(&waker->refs, 1, memory_order_relaxed);
    bus_loop_post(cell->actor->loop, wake_posted, waker);
}

/* ---- votes ---- */

static void
fill_edits(struct env *env, const struct plugin_vote *vote)
{
    struct dyn_buf body = DYN_BUF_INIT;
    vote_edits_encode(vote->edits, vote->n_edits, &body);
    env->body = dyn_block_copy(0, dyn_buf_slice(&body));
    dyn_buf_fini(&body);
}

static void
fill_body(struct env *env, struct plugin_vote *vote)
{
    if (vote->verdict == VOTE_AMEND) {
        fill_edits(env, vote);
    } else if (vote->verdict == VOTE_ANSWER) {
        env->body = vote->answer;
        env->usage = vote->usage;
        env->content_type = env_copy(env, vote->content_type);
        vote->answer = NULL;
    } else {
        env->body = vote->marks;
        vote->marks = NULL;
    }
    dyn_block_unref(&vote->answer); /* of another verdict */
    dyn_block_unref(&vote->marks);
}

/* An ASK becomes the VOTE on it: an envelope less for each. It says whose it is already. */
static struct env *
turned(struct env **ask_p)
{
    struct env *env = *ask_p;
    *ask_p = NULL;
    env->kind = ENV_VOTE;
    env->charged = false;
    vote_facts_unref(&env->facts_asked);
    dyn_block_unref(&env->body);
    return env;
}

static struct env *
vote_on(const plugin_cell_t *cell, const struct plugin_ticket *ticket)
{
    struct env *env = env_new(ENV_VOTE);
    env->id = ticket->id;
    env->attempt = ticket->attempt;
    env->epoch = ticket->epoch;
    env->stage = (uint8_t)ticket->stage;
    env->instance = ticket->serial;
    env->plugin = env_copy(env, cell->instance->name);
    return env;
}

static void
fill_vote(struct env *env, struct plugin_vote *vote)
{
    env->verdict = (uint8_t)vote->verdict;
    env->status = vote->status;
    env->error = vote->error;
    env->error_text = env_copy(env, vote->reason);
    env->reason = env_copy(env, vote->log);
    env->notes = env_copy(env, vote->notes);
    env->retry_after_s = vote->retry_after_s;
    env->charged = vote->charged;
    env_add_headers(env, vote->headers, vote->n_headers);
    fill_body(env, vote);
}

/* Takes `env`. */
static void
send_vote(plugin_cell_t *cell, struct env *env, bus_addr_t to, struct plugin_vote *vote)
{
    fill_vote(env, vote);
    if (bus_send(cell->actor->me, to, &env, NULL) != 0) {
        env_free(&env); /* the router is gone, and its request with it */
    }
}

void
plugin_vote_send(plugin_cell_t *cell, const struct plugin_ticket *ticket, struct plugin_vote *vote)
{
    send_vote(cell, vote_on(cell, ticket), ticket->from, vote);
    begin_scratch(cell);
}

static void
drop_vote(struct plugin_vote *vote)
{
    dyn_block_unref(&vote->answer);
    dyn_block_unref(&vote->marks);
}

static void
ask(plugin_cell_t *cell, struct env **env_p)
{
    struct env *env = *env_p;
    struct plugin_vote vote = {.verdict = VOTE_PASS};
    struct plugin_ask asked = {
        .ticket = {env->id, env->attempt, env->epoch, (enum vote_stage)env->stage, env->from,
                   cell->instance->serial},
        .stage = (enum vote_stage)env->stage,
        .facts = env->facts_asked,
        .body = dyn_block_slice(env->body),
        .block = env->body,
        .now_us = bus_loop_now_us(cell->actor->loop),
        .is_told = env->tell,
        .has_charged = env->charged,
    };
    const struct plugin_instance *instance = cell->instance;
    begin_scratch(cell);
    enum plugin_when when = instance->ops->vote(instance->shared, cell->own, cell, &asked, &vote);
    if (when == PLUGIN_VOTED && !env->tell) {
        send_vote(cell, turned(env_p), asked.ticket.from, &vote);
    } else {
        drop_vote(&vote);
    }
}

/* Who is asked for is not here: its failure policy decides, at once. */
static void
say_failed(struct plugin_actor *actor, const struct env *env)
{
    struct env *vote = env_about(ENV_VOTE, env);
    vote->plugin = env_copy(vote, env->plugin);
    vote->stage = env->stage;
    vote->verdict = VOTE_FAILED;
    vote->reason = DYN_SLICE("not here");
    if (env->tell || bus_send(actor->me, env->from, &vote, NULL) != 0) {
        env_free(&vote);
    }
}

/* ---- cells ---- */

static plugin_cell_t *
cell_numbered(const struct plugin_actor *actor, uint64_t serial)
{
    for (size_t i = 0; i < actor->n_cells; i++) {
        if (actor->cells[i]->instance->serial == serial) {
            return actor->cells[i];
        }
    }
    return NULL;
}

static plugin_cell_t *
cell_of(struct plugin_actor *actor, const struct env *env)
{
    if (env->instance != 0) {
        return cell_numbered(actor, env->instance);
    }
    const struct plugin_instance *named =
        actor->n_sets > 0 ? plugin_set_find(actor->sets[0], env->plugin) : NULL;
    return named != NULL ? cell_numbered(actor, named->serial) : NULL;
}

static bool
is_plain_pass(const struct plugin_vote *vote)
{
    bool has_more = vote->retry_after_s != 0 || vote->reason.len > 0 || vote->log.len > 0 ||
                    vote->answer != NULL || vote->marks != NULL;
    return vote->verdict == VOTE_PASS && vote->status == 0 && !has_more;
}

/* Who is asked for by the number of its instance, without an envelope. */
static enum vote_here_said
ask_here(void *self, const struct vote_question *question, struct vote_heard *heard)
{
    struct plugin_actor *actor = self;
    plugin_cell_t *cell = cell_numbered(actor, question->instance);
    if (cell == NULL) {
        return VOTE_HERE_ABSENT;
    }
    const struct plugin_instance *instance = cell->instance;
    struct plugin_vote vote = {.verdict = VOTE_PASS};
    struct plugin_ask asked = {
        .ticket = {question->id, 0, question->epoch, question->stage, question->from, instance->serial},
        .stage = question->stage,
        .facts = question->facts,
        .body = dyn_block_slice(question->body),
        .block = question->body,
        .texts = question->texts,
        .deltas = question->deltas,
        .now_us = bus_loop_now_us(actor->loop),
        .is_told = question->tell,
        .has_charged = question->charged,
    };
    begin_scratch(cell);
    enum plugin_when when = instance->ops->vote(instance->shared, cell->own, cell, &asked, &vote);
    if (when != PLUGIN_VOTED || question->tell) {
        drop_vote(&vote);
        return VOTE_HERE_LATER;
    }
    if (is_plain_pass(&vote)) {
        *heard = (struct vote_heard){.headers = vote.headers,
                                     .n_headers = vote.n_headers,
                                     .notes = vote.notes,
                                     .charged = vote.charged,
                                     .marks = vote.marked,
                                     .n_marks = vote.n_marked};
        return VOTE_HERE_PASSED;
    }
    heard->vote = vote_on(cell, &asked.ticket);
    heard->vote->from = bus_actor_addr(actor->me);
    fill_vote(heard->vote, &vote);
    return VOTE_HERE_VOTED;
}

static bool
is_in_any(const struct plugin_actor *actor, const struct plugin_instance *instance)
{
    for (size_t i = 0; i < actor->n_sets; i++) {
        if (plugin_set_find(actor->sets[i], instance->name) == instance) {
            return true;
        }
    }
    return false;
}

static bool
has_cell(const struct plugin_actor *actor, const struct plugin_instance *instance)
{
    for (size_t i = 0; i < actor->n_cells; i++) {
        if (actor->cells[i]->instance == instance) {
            return true;
        }
    }
    return false;
}

static void
add_cell(struct plugin_actor *actor, const struct plugin_instance *instance)
{
    DYN_ASSERT(actor->n_cells < CELLS_MAX);
    plugin_cell_t *cell = dyn_zalloc(sizeof *cell);
    cell->actor = actor;
    cell->instance = plugin_instance_ref(instance);
    arena_init(&cell->scratch, NULL, 0);
    cell->waker = dyn_zalloc(sizeof *cell->waker);
    atomic_init(&cell->waker->refs, 1);
    atomic_init(&cell->waker->is_pending, false);
    cell->waker->cell = cell;
    if (instance->ops->cell_new != NULL) {
        cell->own = instance->ops->cell_new(instance->shared, cell);
    }
    actor->cells[actor->n_cells++] = cell;
}

static void
cell_free(plugin_cell_t *cell)
{
    const struct plugin_ops *ops = cell->instance->ops;
    if (ops->cell_free != NULL) {
        ops->cell_free(cell->instance->shared, cell->own);
    }
    cell->waker->cell = NULL;
    waker_unref(cell->waker);
    plugin_instance_unref(cell->instance);
    arena_fini(&cell->scratch);
    free(cell);
}

static void
drop_cells(struct plugin_actor *actor)
{
    size_t kept = 0;
    for (size_t i = 0; i < actor->n_cells; i++) {
        if (is_in_any(actor, actor->cells[i]->instance)) {
            actor->cells[kept++] = actor->cells[i];
        } else {
            cell_free(actor->cells[i]);
        }
    }
    actor->n_cells = kept;
}

/* ---- sets ---- */

/* Former ones whose plans are gone, and the oldest when there are too many. */
static void
drop_sets(struct plugin_actor *actor)
{
    size_t kept = actor->n_sets > 0 ? 1 : 0;
    for (size_t i = kept; i < actor->n_sets; i++) {
        if (plugin_set_is_held(actor->sets[i]) && kept < FORMER_MAX) {
            actor->sets[kept++] = actor->sets[i];
        } else {
            plugin_set_unref(&actor->sets[i]);
        }
    }
    actor->n_sets = kept;
    drop_cells(actor);
}

static void
look_at_leaving(struct bus_timer *timer)
{
    struct plugin_actor *actor = DYN_CONTAINER_OF(timer, struct plugin_actor, leaving);
    drop_sets(actor);
    if (actor->n_sets > 1) {
        bus_timer_arm(actor->loop, &actor->leaving, LEAVING_LOOK_MS);
    }
}

void
plugin_actor_apply(void *self, plugin_set_t *set)
{
    struct plugin_actor *actor = self;
    memmove(actor->sets + 1, actor->sets, actor->n_sets * sizeof actor->sets[0]);
    actor->sets[0] = plugin_set_ref(set);
    actor->n_sets++;
    drop_sets(actor);
    for (size_t i = 0; i < plugin_set_count(set); i++) {
        if (!has_cell(actor, plugin_set_at(set, i))) {
            add_cell(actor, plugin_set_at(set, i));
        }
    }
    if (actor->n_sets > 1 && actor->loop != NULL) {
        bus_timer_arm(actor->loop, &actor->leaving, LEAVING_LOOK_MS);
    }
}

/* ---- the actor ---- */

static void
forget(struct plugin_actor *actor, const struct env *env)
{
    plugin_cell_t *cell = cell_of(actor, env);
    if (cell == NULL || cell->instance->ops->forget == NULL) {
        return;
    }
    struct plugin_ticket ticket = {.id = env->id,
                                   .attempt = env->attempt,
                                   .epoch = env->epoch,
                                   .stage = (enum vote_stage)env->stage,
                                   .from = env->from,
                                   .serial = cell->instance->serial};
    cell->instance->ops->forget(cell->instance->shared, cell->own, cell, &ticket);
}

static void
take_other(struct plugin_actor *actor, struct env **env_p)
{
    for (size_t i = 0; i < actor->n_cells && *env_p != NULL; i++) {
        plugin_cell_t *cell = actor->cells[i];
        if (cell->instance->ops->receive != NULL) {
            cell->instance->ops->receive(cell->instance->shared, cell->own, cell, env_p);
        }
    }
}

static void
actor_receive(void *self, struct env **env_p)
{
    struct plugin_actor *actor = self;
    struct env *env = *env_p;
    if (env->kind == ENV_ASK) {
        plugin_cell_t *cell = cell_of(actor, env);
        if (cell != NULL && env->facts_asked != NULL) {
            ask(cell, env_p);
        } else {
            say_failed(actor, env);
        }
    } else if (env->kind == ENV_CANCEL) {
        forget(actor, env);
    } else {
        take_other(actor, env_p);
    }
    env_free(env_p);
}

static void
drain_cells(struct bus_timer *timer)
{
    struct plugin_actor *actor = DYN_CONTAINER_OF(timer, struct plugin_actor, drain);
    for (size_t i = 0; i < actor->n_cells; i++) {
        plugin_cell_t *cell = actor->cells[i];
        if (cell->instance->ops->drain != NULL) {
            cell->instance->ops->drain(cell->instance->shared, cell->own, cell);
        }
    }
    bus_actor_idle(actor->me);
}

static void
actor_drain(void *self, uint64_t deadline_us)
{
    struct plugin_actor *actor = self;
    (void)deadline_us;
    bus_timer_arm(actor->loop, &actor->drain, DRAIN_GRACE_MS);
}

void *
plugin_actor_new(const struct plugin_actor_options *options)
{
    struct plugin_actor *actor = dyn_zalloc(sizeof *actor);
    actor->options = *options;
    actor->options.set = NULL;
    actor->leaving.fire = look_at_leaving;
    actor->drain.fire = drain_cells;
    actor->first = options->set != NULL ? plugin_set_ref(options->set) : NULL;
    return actor;
}

static int
actor_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)err;
    struct plugin_actor *actor = self;
    actor->me = me;
    actor->loop = bus_actor_loop(me);
    if (actor->first != NULL) {
        plugin_actor_apply(actor, actor->first);
        plugin_set_unref(&actor->first);
    }
    if (actor->options.here != NULL) {
        *actor->options.here = (struct vote_here){ask_here, actor};
    }
    return 0;
}

static void
actor_stop(void *self)
{
    struct plugin_actor *actor = self;
    if (actor->options.here != NULL) {
        *actor->options.here = (struct vote_here){.ask = NULL};
    }
    bus_timer_fini(&actor->leaving);
    bus_timer_fini(&actor->drain);
    while (actor->n_sets > 0) {
        plugin_set_unref(&actor->sets[--actor->n_sets]);
    }
    plugin_set_unref(&actor->first);
    drop_cells(actor);
    free(actor);
}

const struct bus_actor_ops plugin_actor_ops = {
    .kind = "plugins",
    .start = actor_start,
    .receive = actor_receive,
    .drain = actor_drain,
    .stop = actor_stop,
};
