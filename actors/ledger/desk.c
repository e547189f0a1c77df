/* See desk.h. */
#include "actors/ledger/desk.h"

#include "actors/ledger/desk_answer.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/rand.h"
#include "proto/env_map.h"

#include <stdio.h>
#include <stdlib.h>

enum { ID_HEX = 32 };

struct asked {
    struct env_map_node node; /* the id that the journal knows it by */
    struct env *request;
    struct arena arena;
    struct desk_question question;
};

struct desk {
    bus_addr_t journal;
    bus_actor_t *me;
    struct env_map asked;
    bool is_draining;
};

/* ---- answers ---- */

static void
send_end(struct desk *desk, const struct env *request, struct env *end)
{
    (void)env_add_header(end, DYN_SLICE("cache-control"), DYN_SLICE("no-store"));
    if (bus_send(desk->me, request->from, &end, NULL) != 0) {
        env_free(&end); /* who asked is gone */
    }
}

static void
refuse(struct desk *desk, const struct env *request, const struct desk_refusal *refusal)
{
    struct env *end = env_about(ENV_END, request);
    end->outcome = ENV_OUTCOME_ERROR;
    end->error = refusal->code;
    end->status = err_row(refusal->code)->http;
    end->retry_after_s = refusal->code == ERR_LEDGER_UNAVAILABLE ? 1 : 0;
    if (refusal->text[0] != '\0') {
        end->error_text = env_copy(end, dyn_slice_str(refusal->text));
    }
    end->error_param = dyn_slice_str(refusal->param);
    send_end(desk, request, end);
}

static void
tell(struct desk *desk, const struct asked *asked, const struct ledger_message *answer)
{
    struct dyn_buf body = DYN_BUF_INIT;
    struct env *end = env_about(ENV_END, asked->request);
    desk_answer_write(&asked->question, answer, &body);
    end->outcome = ENV_OUTCOME_OK;
    end->status = 200;
    end->content_type = DYN_SLICE("application/json");
    end->body = dyn_block_copy(ENV_BODY_HEADROOM, dyn_buf_slice(&body));
    end->body_bytes = body.len;
    dyn_buf_fini(&body);
    send_end(desk, asked->request, end);
}

/* ---- the audit log ---- */

static struct dyn_slice
asker_of(const struct env *request)
{
    for (size_t i = 0; i < request->n_headers; i++) {
        if (dyn_slice_is(request->headers[i].name, "x-dynabus-key")) {
            return request->headers[i].value;
        }
    }
    return DYN_SLICE("-");
}

/* "10.0.0.1:51234" and "[::1]:51234" without the port. */
static struct dyn_slice
address_of(struct dyn_slice peer)
{
    const char *bracket = peer.len > 0 && peer.data[0] == '[' ? memchr(peer.data, ']', peer.len) : NULL;
    const char *colon = peer.len > 0 ? memchr(peer.data, ':', peer.len) : NULL;
    if (bracket != NULL) {
        return dyn_slice(peer.data + 1, (size_t)(bracket - peer.data) - 1);
    }
    bool is_one = colon != NULL && memchr(colon + 1, ':', peer.len - (size_t)(colon - peer.data) - 1) == NULL;
    return is_one ? dyn_slice(peer.data, (size_t)(colon - peer.data)) : peer;
}

static int
ask(struct desk *desk, const struct ledger_message *message, const struct env_id *id)
{
    struct env *request = env_new(ENV_REQUEST);
    request->surface = ENV_SURFACE_LEDGER;
    request->id = *id;
    request->body = ledger_message_encode(message);
    int rc = bus_send(desk->me, desk->journal, &request, NULL);
    env_free(&request);
    return rc;
}

static void
keep_audit(struct desk *desk, const struct ledger_audit *audit)
{
    struct ledger_row row = {.table = LEDGER_AUDIT};
    struct dyn_buf rows = DYN_BUF_INIT;
    struct env_id id = env_id_random();
    row.of.audit = *audit;
    ledger_row_encode(&row, &rows);
    struct ledger_message message = {.op = DYN_SLICE("rows"), .rows = dyn_buf_slice(&rows), .n_rows = 1};
    if (ask(desk, &message, &id) != 0) {
        dyn_log(DYN_LOG_WARN, "audit.lost", "a row of the audit log is lost: the journal takes none");
    }
    dyn_buf_fini(&rows);
}

static void
tell_audit(struct desk *desk, const struct asked *asked, enum err_code error, uint64_t deleted)
{
    bool is_reset = asked->question.about == DESK_RESET;
    const char *action = is_reset ? "budget.reset" : "logs.purge";
    const struct env *request = asked->request;
    char id[ID_HEX];
    struct dyn_buf detail = DYN_BUF_INIT;
    struct env_id random = env_id_random();
    const char *outcome = error == ERR_NONE ? "ok" : err_row(error)->http < 500 ? "denied" : "error";
    dyn_hex_encode(id, random.bytes, sizeof random.bytes);
    if (!is_reset) {
        dyn_buf_addf(&detail, "{\"deleted\":%llu,\"filters\":", (unsigned long long)deleted);
        desk_question_filters(&asked->question, &detail);
        dyn_buf_add_char(&detail, '}');
    }
    struct ledger_audit audit = {.id = dyn_slice(id, ID_HEX),
                                 .occurred_us = dyn_wall_us(&dyn_clock_system),
                                 .action = dyn_slice_str(action),
                                 .target_id = asked->question.ask.account,
                                 .actor_id = asker_of(request),
                                 .outcome = dyn_slice_str(outcome),
                                 .detail = dyn_buf_slice(&detail),
                                 .source_ip = address_of(request->peer),
                                 .trace_id = request->trace_id};
    dyn_log(DYN_LOG_INFO, "audit",
            is_reset ? "an operator forgave what was spent, or tried to"
                     : "an operator deleted rows of the request log, or tried to",
            DYN_LOG_STR("action", action), DYN_LOG_SLICE("actor_id", audit.actor_id),
            DYN_LOG_STR("outcome", outcome),
            DYN_LOG_STR("why", error == ERR_NONE ? NULL : err_row(error)->code),
            DYN_LOG_UINT("rows", deleted), DYN_LOG_SLICE("source_ip", audit.source_ip),
            DYN_LOG_SLICE("trace_id", audit.trace_id));
    keep_audit(desk, &audit);
    dyn_buf_fini(&detail);
}

/* ---- questions ---- */

static void
asked_free(struct asked *asked)
{
    env_free(&asked->request);
    arena_fini(&asked->arena);
    free(asked);
}

static bool
is_change(const struct asked *asked)
{
    return asked->question.about == DESK_PURGE || asked->question.about == DESK_RESET;
}

static void
give_up(struct desk *desk, struct asked *asked, const struct desk_refusal *refusal)
{
    refuse(desk, asked->request, refusal);
    if (is_change(asked)) {
        tell_audit(desk, asked, refusal->code, 0);
    }
    asked_free(asked);
}

static void
take_request(struct desk *desk, struct env **env_p)
{
    struct desk_refusal refusal = {.code = ERR_SATURATED};
    struct asked *asked = dyn_zalloc(sizeof *asked);
    struct env_id id = env_id_random();
    asked->request = *env_p;
    *env_p = NULL;
    arena_init(&asked->arena, NULL, 0);
    if (desk->asked.n >= DESK_QUESTIONS_MAX ||
        desk_question_read(asked->request->model, &asked->arena, &asked->question, &refusal) != 0) {
        give_up(desk, asked, &refusal);
        return;
    }
    if (ask(desk, &asked->question.ask, &id) != 0) {
        refusal = (struct desk_refusal){.code = ERR_LEDGER_UNAVAILABLE};
        give_up(desk, asked, &refusal);
        return;
    }
    env_map_add(&desk->asked, &asked->node, &id);
}

static void
look_whether_idle(struct desk *desk)
{
    if (desk->is_draining && desk->asked.n == 0) {
        bus_actor_idle(desk->me);
    }
}

static void
take_end(struct desk *desk, const struct env *end)
{
    struct env_map_node *node = env_map_find(&desk->asked, &end->id);
    struct ledger_message answer = {.n_rows = 0};
    struct desk_refusal refusal = {.code = ERR_NONE};
    if (node == NULL) {
        return; /* rows of the audit log, acknowledged */
    }
    struct asked *asked = DYN_CONTAINER_OF(node, struct asked, node);
    if (end->outcome != ENV_OUTCOME_OK) {
        refusal.code = end->error == ERR_INVALID_REQUEST ? ERR_INVALID_REQUEST : ERR_LEDGER_UNAVAILABLE;
        (void)snprintf(refusal.text, sizeof refusal.text, "%.*s", (int)sizeof refusal.text - 1,
                       end->error_text.data != NULL ? end->error_text.data : "");
    } else if (ledger_message_decode(dyn_block_slice(end->body), &answer, NULL) != 0) {
        refusal.code = ERR_LEDGER_UNAVAILABLE;
    } else if (asked->question.about == DESK_RESET && answer.changed == 0) {
        refusal.code = ERR_NOT_FOUND;
        (void)snprintf(refusal.text, sizeof refusal.text, "that account has spent nothing");
    }
    if (refusal.code != ERR_NONE) {
        refuse(desk, asked->request, &refusal);
    } else {
        tell(desk, asked, &answer);
    }
    if (is_change(asked)) {
        tell_audit(desk, asked, refusal.code, answer.changed);
    }
    env_map_remove(&desk->asked, node);
    asked_free(asked);
    look_whether_idle(desk);
}

static void
desk_receive(void *self, struct env **env_p)
{
    struct desk *desk = self;
    const struct env *env = *env_p;
    if (env->kind == ENV_REQUEST && env->surface == ENV_SURFACE_ADMIN) {
        take_request(desk, env_p);
    } else if (env->kind == ENV_END) {
        take_end(desk, env);
    }
    env_free(env_p); /* CREDIT and CANCEL: an answer is whole, and what is gone is gone */
}

/* ---- life ---- */

void *
desk_new(bus_addr_t journal)
{
    struct desk *desk = dyn_zalloc(sizeof *desk);
    desk->journal = journal;
    env_map_init(&desk->asked);
    return desk;
}

static int
desk_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)err;
    ((struct desk *)self)->me = me;
    return 0;
}

/* The journal answers every question, in time. */
static void
desk_drain(void *self, uint64_t deadline_us)
{
    struct desk *desk = self;
    (void)deadline_us;
    desk->is_draining = true;
    look_whether_idle(desk);
}

static void
desk_stop(void *self)
{
    struct desk *desk = self;
    for (struct env_map_node *node; (node = env_map_any(&desk->asked)) != NULL;) {
        env_map_remove(&desk->asked, node);
        asked_free(DYN_CONTAINER_OF(node, struct asked, node));
    }
    env_map_fini(&desk->asked);
    free(desk);
}

const struct bus_actor_ops desk_actor_ops = {
    .kind = "desk",
    .start = desk_start,
    .receive = desk_receive,
    .drain = desk_drain,
    .stop = desk_stop,
};
