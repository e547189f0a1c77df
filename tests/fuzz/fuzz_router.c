/* A router among owners and workers who do anything at any time: each byte pair is something that one of them
 * says, or time that passes. Whatever it was, when all workers have left and the time is over nothing is in
 * flight, every budget is free again, and who asked under an id of its own has got exactly one END. */
#include "tests/unit/router/router_world.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OPERATIONS_MAX = 200, REQUESTS_MAX = 64 };

enum what {
    NEW_REQUEST,
    REPEAT,
    CANCEL,
    CREDIT,
    READY_ONE,
    READY_NEW,
    READY_BROKEN,
    GOODBYE_DRAIN,
    GOODBYE_LOST,
    CHUNK,
    CHUNK_WRONG,
    END_OK,
    END_ERROR,
    DISPATCHED,
    TIME,
    LONG_TIME,
    N_WHATS
};

struct asked {
    struct env_id id;
    enum who owner;
    unsigned ends;
    bool is_plain_case; /* asked once, by somebody who did not leave */
};

struct play {
    struct world *world;
    struct asked asked[REQUESTS_MAX];
    size_t n_asked;
    struct env *work[REQUESTS_MAX]; /* REQUESTs that the workers got, the newest over the oldest */
    enum who worker[REQUESTS_MAX];
    uint32_t sequence[REQUESTS_MAX];
    size_t n_work;
};

static struct asked *
find_asked(struct play *play, const struct env_id *id)
{
    for (size_t i = 0; i < play->n_asked; i++) {
        if (env_id_eq(&play->asked[i].id, id)) {
            return &play->asked[i];
        }
    }
    return NULL;
}

static void
keep_work(struct play *play, enum who who, struct env *env)
{
    size_t at = play->n_work++ % REQUESTS_MAX;
    if (play->work[at] != NULL && play->worker[at] == HERE) { /* a provider of this process always ends */
        say(play->world, HERE, error_of(play->work[at], ERR_UPSTREAM_INVALID, 1));
    }
    env_free(&play->work[at]);
    play->work[at] = env;
    play->worker[at] = who;
    play->sequence[at] = 0;
}

static void
hear_all(struct play *play)
{
    for (enum who who = OWNER; who < N_PEERS; who++) {
        for (struct dyn_list *link; (link = dyn_list_pop(&play->world->peers[who].received)) != NULL;) {
            struct env *env = DYN_CONTAINER_OF(link, struct env, link);
            struct asked *asked = find_asked(play, &env->id);
            if (env->kind == ENV_REQUEST) {
                keep_work(play, who, env);
                continue;
            }
            if (env->kind == ENV_END && asked != NULL) {
                asked->ends++;
                DYN_ASSERT(env->status >= 200);
            }
            env_free(&env);
        }
    }
}

static void
ask_new(struct play *play, enum who owner, unsigned kind)
{
    static const char *const redeliver[] = {NULL, "unsent", "never", "always"};
    if (play->n_asked == REQUESTS_MAX) {
        return;
    }
    struct env *request = request_of(kind & 1 ? CHAT_STREAM : CHAT);
    memset(request->id.bytes, 0, sizeof request->id.bytes);
    request->id.bytes[0] = (uint8_t)(play->n_asked + 1);
    request->track = (kind & 2) != 0;
    request->redeliver = dyn_slice_str(redeliver[kind >> 2 & 3]);
    request->epoch = kind >> 4 & 1;
    if (kind & 32) {
        request->worker = DYN_SLICE("worker-b");
        request->worker_attempt = 1;
    }
    play->asked[play->n_asked++] = (struct asked){.id = request->id, .owner = owner, .is_plain_case = true};
    say(play->world, owner, request);
}

static void
repeat(struct play *play, enum who owner, unsigned which)
{
    if (play->n_asked == 0) {
        return;
    }
    struct asked *asked = &play->asked[which % play->n_asked];
    struct env *request = request_of(which & 64 ? CHAT_STREAM : CHAT);
    request->id = asked->id;
    request->epoch = which >> 5 & 1;
    asked->is_plain_case = false;
    say(play->world, owner, request);
}

static void
say_about(struct play *play, enum who owner, enum env_kind kind, unsigned which)
{
    if (play->n_asked > 0) {
        about(play->world, owner, kind, play->asked[which % play->n_asked].id, which * 999);
    }
}

static void
leave(struct play *play, enum who who, const char *reason)
{
    for (size_t i = 0; i < play->n_asked && strcmp(reason, "drain") != 0; i++) {
        play->asked[i].is_plain_case = play->asked[i].is_plain_case && play->asked[i].owner != who;
    }
    goodbye(play->world, who, reason);
}

static void
join_as(struct play *play, enum who who, enum what what, unsigned number)
{
    static const struct dyn_slice models[] = {DYN_SLICE_INIT("m"), DYN_SLICE_INIT("other")};
    struct ready_target said = {.name = what == READY_ONE ? DYN_SLICE("one") : DYN_SLICE("new"),
                                .models = models,
                                .n_models = number & 1 ? 2 : 1,
                                .any_model = (number & 2) != 0};
    struct env *ready = ready_of(name_of(number & 4 ? B : who), &said, 1);
    ready->requests = number >> 4 & 3;
    if (what == READY_BROKEN && number < ready->body->len) {
        dyn_block_data(ready->body)[number] = (char)0xc1;
    }
    say(play->world, who, ready);
}

static void
work_on(struct play *play, enum what what, unsigned number)
{
    static char bytes[ENV_CHUNK_MAX];
    static const enum err_code errors[] = {ERR_UPSTREAM_ERROR, ERR_DRAINING, ERR_SATURATED,
                                           ERR_UPSTREAM_INVALID, ERR_NONE};
    size_t n = play->n_work < REQUESTS_MAX ? play->n_work : REQUESTS_MAX;
    size_t at = n > 0 ? number % n : 0;
    if (n == 0 || play->work[at]->kind != ENV_REQUEST) {
        return;
    }
    const struct env *request = play->work[at];
    struct env *env = NULL;
    if (what == CHUNK || what == CHUNK_WRONG) {
        uint32_t sequence = play->sequence[at]++ + (what == CHUNK_WRONG);
        env = chunk_of(request, sequence, dyn_slice(bytes, number & 128 ? sizeof bytes : number & 7));
    } else if (what == END_OK) {
        env = end_of(request, number & 128 ? "whole" : NULL);
    } else if (what == END_ERROR) {
        env = error_of(request, errors[number % DYN_ARRAY_LEN(errors)], number >> 7);
    } else {
        env = env_about(ENV_DISPATCHED, request);
        env->sent = true;
    }
    say(play->world, play->worker[at], env);
}

static void
do_one(struct play *play, uint8_t what_and_who, uint8_t number)
{
    enum what what = (enum what)(what_and_who % N_WHATS);
    enum who owner = what_and_who >> 4 & 1 ? OWNER : OTHER;
    enum who worker = (enum who)(A + (what_and_who >> 5) % 3);
    switch ((int)what) {
    case NEW_REQUEST:
        ask_new(play, owner, number);
        break;
    case REPEAT:
        repeat(play, owner, number);
        break;
    case CANCEL:
        say_about(play, owner, ENV_CANCEL, number);
        break;
    case CREDIT:
        say_about(play, owner, ENV_CREDIT, number);
        break;
    case READY_ONE:
    case READY_NEW:
    case READY_BROKEN:
        join_as(play, worker, what, number);
        break;
    case GOODBYE_DRAIN:
        goodbye(play->world, number & 1 ? worker : owner, "drain");
        break;
    case GOODBYE_LOST:
        leave(play, number & 1 ? worker : owner, "lost");
        break;
    case TIME:
        pass_ms(play->world, number);
        break;
    case LONG_TIME:
        pass_ms(play->world, number * UINT64_C(200));
        break;
    default:
        work_on(play, what, number);
    }
    hear_all(play);
}

/* Everything that may still be waited for passes. */
static void
check_end(struct play *play)
{
    struct world *world = play->world;
    for (enum who who = A; who <= C; who++) {
        goodbye(world, who, "close");
    }
    for (unsigned i = 0; i < 8; i++) {
        hear_all(play);
        for (size_t k = 0; k < REQUESTS_MAX; k++) { /* the provider of this process has no GOODBYE */
            if (play->work[k] != NULL && play->worker[k] == HERE) {
                say(world, HERE, error_of(play->work[k], ERR_UPSTREAM_INVALID, 1));
            }
        }
        pass_ms(world, TIMEOUT_MS + WAIT_MS);
    }
    hear_all(play);
    DYN_ASSERT(world->impl->requests.n == 0);
    DYN_ASSERT(world->impl->members.n_workers == 0);
    DYN_ASSERT(world->impl->members.announced_bytes == 0 && world->impl->members.announced_models == 0);
    DYN_ASSERT(dyn_list_is_empty(&world->impl->parked));
    for (size_t i = 0; i < world->n_targets; i++) {
        DYN_ASSERT(world->impl->members.here[i]->in_flight == 0 && world->impl->members.here[i]->bytes == 0);
    }
    for (size_t i = 0; i < play->n_asked; i++) {
        DYN_ASSERT(!play->asked[i].is_plain_case || play->asked[i].ends == 1);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct play play = {.world = world_new()};
    struct world *world = play.world;
    if (size > 0 && data[0] & 1) {
        serve_here(world);
    }
    world->n_targets = 2;
    world->config.max_attempts = 2;
    for (size_t i = 0; size > 0 && i < world->n_targets; i++) { /* the usual, repeats, hedges, both */
        world->targets[i].retry = (struct route_retry){.attempts = data[0] & 4 ? 3 : 1, .base_ms = 50};
        world->targets[i].hedge = (struct route_hedge){data[0] & 8, 20, 100};
    }
    world->config.retry_budget.min_per_second = 3;
    world->options.accepts_new_targets = size > 0 && (data[0] & 2);
    world_start(world);
    walk_all_targets(world);
    for (size_t i = 1; i + 1 < size && i < 2 * OPERATIONS_MAX; i += 2) {
        do_one(&play, data[i], data[i + 1]);
    }
    check_end(&play);
    for (size_t i = 0; i < REQUESTS_MAX; i++) {
        env_free(&play.work[i]);
    }
    world_free(world);
    return 0;
}
