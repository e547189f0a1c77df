/* What operators ask over /admin, on its way to who answers; and who tried without being allowed to. */
#include "core/log.h"
#include "core/rand.h"
#include "proto/ledger.h"
#include "router/guessing.h"
#include "router/request.h"

#include <stdio.h>

static bool
is_about(struct dyn_slice question, const char *word)
{
    size_t len = strlen(word);
    const char *blank = question.len > 0 ? memchr(question.data, ' ', question.len) : NULL;
    size_t at = blank != NULL ? (size_t)(blank - question.data) + 1 : question.len;
    if (question.len < at + len || memcmp(question.data + at, word, len) != 0) {
        return false;
    }
    size_t end = at + len;
    return end == question.len || question.data[end] == '/' || question.data[end] == '?';
}

/* Who asks is for the router to say. What else a client sent along is nobody's business here. */
static void
drop_headers(struct env *request)
{
    request->n_headers = 0;
}

/* Who answers is told who asks: for its log, and so that nobody locks himself out. */
enum route_step
route_ask_admin(struct route_request *rq)
{
    struct router *router = rq->router;
    struct dyn_slice question = rq->request->model;
    struct route_member *who = NULL;
    const char *otherwise = NULL;
    rq->attempt = 1;
    if (is_about(question, "keys")) {
        who = &router->keys_admin;
        otherwise = "this gateway keeps no keys; name a store for them in the configuration, "
                    "`store: {backend: sqlite}` or `keys: {file: PATH}`";
    } else if (is_about(question, "logs") || is_about(question, "audit") || is_about(question, "budgets")) {
        who = &router->logs_admin;
        otherwise = "this gateway keeps no logs and no spend; say where in the configuration, "
                    "`store: {backend: sqlite, dsn: PATH}`";
    } else {
        return route_fail(rq, ERR_NOT_FOUND, NULL, NULL);
    }
    drop_headers(rq->request);
    if (who->addr == 0) {
        return route_fail(rq, ERR_NOT_IMPLEMENTED, otherwise, NULL);
    }
    if (route_dispatch(rq, who, NULL) != 0) {
        return route_fail(rq, ERR_SATURATED, NULL, NULL);
    }
    return ROUTE_STEP_WAIT;
}

/* ---- who was not let in ---- */

/* Anybody may cause such a row: not more of them than fit beside all others. */
enum { REFUSALS_BURST = 60, REFUSAL_COST_US = 1000000 };

static bool
has_room(struct router *router, uint64_t now_us)
{
    uint64_t paid_us = router->refusals_paid_us > now_us ? router->refusals_paid_us : now_us;
    if (paid_us > now_us + (uint64_t)REFUSALS_BURST * REFUSAL_COST_US) {
        return false;
    }
    router->refusals_paid_us = paid_us + REFUSAL_COST_US;
    return true;
}

/* "POST keys/ID/revoke": what it would have been, and about which key. */
static const char *
action_of(struct dyn_slice question, struct dyn_slice *about)
{
    const char *blank = memchr(question.data, ' ', question.len);
    size_t at = (size_t)(blank - question.data) + 1 + sizeof "keys" - 1;
    struct dyn_slice path = dyn_slice(question.data + at, question.len - at);
    const char *mark = path.len > 0 ? memchr(path.data, '?', path.len) : NULL;
    path.len = mark != NULL ? (size_t)(mark - path.data) : path.len;
    *about = dyn_slice(NULL, 0);
    if (is_about(question, "logs")) {
        return "logs.purge";
    }
    if (is_about(question, "budgets")) {
        return "budget.reset";
    }
    if (path.len < 2) {
        return "key.create";
    }
    path = dyn_slice(path.data + 1, path.len - 1);
    const char *slash = memchr(path.data, '/', path.len);
    size_t id_len = slash != NULL ? (size_t)(slash - path.data) : path.len;
    *about = dyn_slice(path.data, id_len < KEY_ID_LEN ? id_len : KEY_ID_LEN);
    struct dyn_slice action =
        slash != NULL ? dyn_slice(slash + 1, path.len - id_len - 1) : dyn_slice(NULL, 0);
    return dyn_slice_is(action, "revoke")   ? "key.revoke"
           : dyn_slice_is(action, "rotate") ? "key.rotate"
           : question.data[0] == 'D'        ? "key.delete"
                                            : "key.update";
}

static struct env *
row_of(const struct route_request *rq, const char *action, struct dyn_slice about, enum err_code refused)
{
    uint8_t bytes[16];
    char id[2 * sizeof bytes];
    char detail[64];
    struct dyn_buf rows = DYN_BUF_INIT;
    dyn_random_bytes(bytes, sizeof bytes);
    dyn_hex_encode(id, bytes, sizeof bytes);
    (void)snprintf(detail, sizeof detail, "{\"error\":\"%s\"}", err_row(refused)->code);
    struct ledger_row row = {.table = LEDGER_AUDIT};
    row.of.audit = (struct ledger_audit){
        .id = dyn_slice(id, sizeof id),
        .occurred_us = dyn_wall_us(bus_loop_clock(rq->router->loop)),
        .action = dyn_slice_str(action),
        .actor = rq->key != NULL ? rq->key->name : dyn_slice(NULL, 0),
        .actor_id = rq->key_id,
        .target_id = about,
        .outcome = DYN_SLICE("denied"),
        .detail = dyn_slice_str(detail),
        .source_ip = guessing_host(rq->request->peer),
        .trace_id = rq->request->trace_id,
    };
    ledger_row_encode(&row, &rows);
    struct ledger_message message = {.op = DYN_SLICE("rows"), .rows = dyn_buf_slice(&rows), .n_rows = 1};
    struct env *env = env_new(ENV_REQUEST);
    env->surface = ENV_SURFACE_LEDGER;
    env->id = env_id_random();
    env->body = ledger_message_encode(&message);
    dyn_buf_fini(&rows);
    return env;
}

void
route_audit_refusal(struct route_request *rq, enum err_code refused)
{
    struct router *router = rq->router;
    struct dyn_slice question = rq->request->model;
    struct dyn_slice about;
    bool is_about_rows =
        is_about(question, "keys") || is_about(question, "logs") || is_about(question, "budgets");
    bool is_change = rq->request->surface == ENV_SURFACE_ADMIN && is_about_rows &&
                     !(question.len > 3 && memcmp(question.data, "GET ", 4) == 0);
    bool is_told = refused == ERR_INSUFFICIENT_SCOPE || refused == ERR_INVALID_API_KEY;
    if (!is_change || !is_told || !has_room(router, bus_loop_now_us(router->loop))) {
        return;
    }
    const char *action = action_of(question, &about);
    dyn_log(DYN_LOG_INFO, "audit", "somebody tried to change what he may not", DYN_LOG_STR("action", action),
            DYN_LOG_SLICE("actor_id", rq->key_id), DYN_LOG_SLICE("target_id", about),
            DYN_LOG_STR("outcome", "denied"), DYN_LOG_STR("why", err_row(refused)->code),
            DYN_LOG_SLICE("source_ip", rq->request->peer), DYN_LOG_SLICE("trace_id", rq->request->trace_id));
    if (router->keys_admin.addr != 0) {
        struct env *env = row_of(rq, action, about, refused);
        if (bus_send(router->me, router->keys_admin.addr, &env, NULL) != 0) {
            env_free(&env);
        }
    }
}
