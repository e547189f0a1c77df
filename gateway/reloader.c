#include "gateway/reloader.h"

#include "core/log.h"
#include "gateway/watch.h"

#include <stdio.h>
#include <stdlib.h>

enum { WHY_BYTES = 2048 }; /* of what is said in an ACK; the log has all of it */

struct reloader {
    dynabus_t *gateway;
    bus_actor_t *me;
    bus_loop_t *loop;
};

/* A CONFIG on its way through the watch's thread and back. */
struct question {
    struct reloader *reloader;
    struct env_id id;
    bus_addr_t from;
    uint32_t processes; /* that answer in all; 0: a router knows that, not this one */
    enum gateway_reload_result result;
    char why[WHY_BYTES];
};

/* 03-CLIENT, Configuration. */
static const struct {
    enum env_outcome outcome;
    const char *reason;
} outcomes[] = {
    [GATEWAY_RELOAD_APPLIED] = {ENV_OUTCOME_OK, "applied"},
    [GATEWAY_RELOAD_UNCHANGED] = {ENV_OUTCOME_OK, "unchanged"},
    [GATEWAY_RELOAD_REFUSED] = {ENV_OUTCOME_ERROR, "refused"},
    [GATEWAY_RELOAD_PARTLY] = {ENV_OUTCOME_ERROR, "partly"},
};

static void
answer(void *arg)
{
    struct question *question = arg;
    struct reloader *reloader = question->reloader;
    const struct bus_process *process = &reloader->gateway->network.process;
    char hash[BUS_CONFIG_HASH_SIZE];
    struct env *ack = env_new(ENV_ACK);
    bus_process_config(process, hash);
    ack->id = question->id;
    ack->outcome = outcomes[question->result].outcome;
    ack->node = env_copy(ack, dyn_slice_str(process->node));
    ack->config_hash = env_copy(ack, dyn_slice_str(hash));
    ack->config_version = atomic_load(&process->config_version);
    ack->reason = dyn_slice_str(outcomes[question->result].reason);
    ack->error_text = env_copy(ack, dyn_slice_str(question->why[0] != '\0' ? question->why : NULL));
    ack->requests = question->processes;
    if (bus_send(reloader->me, question->from, &ack, NULL) != 0) {
        env_free(&ack); /* who asked is gone; the log says it all */
    }
    free(question);
}

/* On the watch's thread. */
static void
asked(void *arg, enum gateway_reload_result result, const char *why)
{
    struct question *question = arg;
    question->result = result;
    (void)snprintf(question->why, sizeof question->why, "%s", why);
    bus_loop_post(question->reloader->loop, answer, question);
}

static void
reloader_receive(void *self, struct env **env_p)
{
    struct reloader *reloader = self;
    const struct env *config = *env_p;
    if (config->kind == ENV_CONFIG) {
        struct question *question = dyn_zalloc(sizeof *question);
        question->reloader = reloader;
        question->id = config->id;
        question->from = config->from;
        question->processes = config->requests;
        gateway_watch_t *watch = atomic_load(&reloader->gateway->watch);
        dyn_log(DYN_LOG_INFO, "gateway.reload.asked", "the bus asks for the configuration to be read again");
        if (watch == NULL || gateway_watch_ask(watch, config->config_hash, asked, question) != 0) {
            question->result = GATEWAY_RELOAD_REFUSED;
            (void)snprintf(question->why, sizeof question->why, "%s",
                           "too many reloads wait already, or the gateway is closing or has just begun");
            answer(question);
        }
    }
    env_free(env_p);
}

void *
reloader_new(dynabus_t *gateway)
{
    struct reloader *reloader = dyn_zalloc(sizeof *reloader);
    reloader->gateway = gateway;
    return reloader;
}

static int
reloader_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)err;
    struct reloader *reloader = self;
    reloader->me = me;
    reloader->loop = bus_actor_loop(me);
    return 0;
}

const struct bus_actor_ops reloader_actor_ops = {
    .kind = "reloader",
    .start = reloader_start,
    .receive = reloader_receive,
    .stop = free,
};
