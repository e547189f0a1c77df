/* request-logger: tells of each request at the stages where it is configured: a line in the log, and with
 * `persist` a row for the ledger. Rows are gathered for a moment and go to the process's journal in one
 * piece; nothing waits for them. Bodies only where `bodies` asks for them, cut and with secrets blacked out.
 * It decides nothing. */
#include "actors/plugins/plugin.h"
#include "core/blackout.h"
#include "core/log.h"
#include "proto/ledger.h"

#include <math.h>
#include <stdlib.h>

enum {
    GATHER_MS = 25,                 /* as events do: both wake the same thread */
    GATHER_BYTES = 128 * 1024,      /* more leave at once */
    WAITING_BYTES_MAX = 256 * 1024, /* of a cell, while the journal takes nothing */
    ID_HEX = 32,
    ERROR_BYTES = 2048, /* of a row's sentence */
};

static const char *const level_names[] = {"debug", "info", "warn", "error", NULL}; /* as enum dyn_log_level */

struct request_logger {
    int level;
    bool persist;
    bool bodies;
    uint64_t body_bytes;
    struct dyn_slice dsn;
    struct dyn_slice backend;
    blackout_t *blackout; /* of bodies, and of what providers say when they refuse */
};

/* What a cell gathers. */
struct gathered {
    plugin_cell_t *cell;
    struct bus_timer timer;
    struct dyn_buf rows;
    size_t n;
    uint64_t lost;
};

static const struct config_key keys[] = {
    {.name = "level",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct request_logger, level),
     .default_text = "info",
     .names = level_names,
     .help = "Level of the lines in the log."},
    {.name = "persist",
     .type = CONFIG_BOOL,
     .offset = offsetof(struct request_logger, persist),
     .default_text = "false",
     .help = "Whether a row is kept for each stage, in the `store` of the gateway. Without a store there are "
             "only the lines."},
    {.name = "bodies",
     .type = CONFIG_BOOL,
     .offset = offsetof(struct request_logger, bodies),
     .default_text = "false",
     .help = "Whether rows have the bodies of requests and of plain answers. Secrets that have a known form "
             "(keys, tokens, passwords, addresses of mail) are blacked out; prompts stay readable."},
    {.name = "body_bytes",
     .type = CONFIG_SIZE,
     .offset = offsetof(struct request_logger, body_bytes),
     .default_text = "16KiB",
     .min = 256,
     .max = 256.0 * 1024,
     .help = "How much of a body is kept; the rest is cut off."},
    {.name = "dsn",
     .type = CONFIG_STRING,
     .offset = offsetof(struct request_logger, dsn),
     .help = "Has no effect: rows go to the `store` of the gateway."},
    {.name = "backend",
     .type = CONFIG_STRING,
     .offset = offsetof(struct request_logger, backend),
     .help = "Has no effect: rows go to the `store` of the gateway."},
    {.name = NULL},
};
static const struct config_section section = {
    .keys = keys, .size = sizeof(struct request_logger), .mark_offset = SIZE_MAX};

static void
logger_check(void *config, struct config_problems *problems)
{
    struct request_logger *self = config;
    if (self->dsn.len > 0) {
        config_problem_add(problems, config_mark_of(problems, &self->dsn), true,
                           "'dsn' of request-logger has no effect: rows go to the `store` of the gateway");
    }
    if (self->backend.len > 0) {
        config_problem_add(
            problems, config_mark_of(problems, &self->backend), true,
            "'backend' of request-logger has no effect: rows go to the `store` of the gateway");
    }
}

static void
logger_adapt(const void *config, struct plugin_traits *traits)
{
    const struct request_logger *self = config;
    if (!self->bodies || !self->persist) {
        traits->needs &= ~(uint32_t)VOTE_NEEDS_BODY;
    } else {
        traits->watches = false; /* who is only told of an answer is not shown its body */
    }
}

static void *
logger_make(const struct plugin_making *making, struct dyn_err *err)
{
    struct request_logger *self = dyn_alloc(sizeof *self);
    *self = *(const struct request_logger *)making->config;
    self->dsn = self->backend = dyn_slice(NULL, 0);
    self->blackout = blackout_new(err);
    if (self->blackout == NULL) {
        free(self);
        return NULL;
    }
    return self;
}

static void
logger_free(void *shared)
{
    struct request_logger *self = shared;
    blackout_free(&self->blackout);
    free(self);
}

/* ---- rows on their way ---- */

static void
send_rows(struct gathered *gathered)
{
    struct ledger_message message = {
        .op = DYN_SLICE("rows"), .rows = dyn_buf_slice(&gathered->rows), .n_rows = gathered->n};
    bus_addr_t ledger = plugin_cell_host(gathered->cell)->ledger;
    if (gathered->n == 0) {
        return;
    }
    struct env *request = env_new(ENV_REQUEST);
    request->surface = ENV_SURFACE_LEDGER;
    request->id = env_id_random();
    request->body = ledger_message_encode(&message);
    request->is_own = request->tell = true; /* an END would wake this cell, and say nothing */
    if (ledger == 0 || plugin_send(gathered->cell, ledger, &request, NULL) == 0) {
        dyn_buf_clear(&gathered->rows);
        gathered->n = 0;
    }
    env_free(&request);
}

static void
on_gathered(struct bus_timer *timer)
{
    struct gathered *gathered = DYN_CONTAINER_OF(timer, struct gathered, timer);
    send_rows(gathered);
    if (gathered->n > 0) { /* the journal has no room at the moment */
        bus_timer_arm(plugin_cell_loop(gathered->cell), timer, GATHER_MS);
    }
}

static void
gather(struct gathered *gathered, const struct ledger_row *row)
{
    if (gathered->rows.len >= WAITING_BYTES_MAX) {
        atomic_uint_fast64_t *dropped = plugin_cell_host(gathered->cell)->ledger_dropped;
        if (dropped != NULL) {
            (void)atomic_fetch_add(dropped, 1);
        }
        dyn_log(DYN_LOG_WARN, "request_logger.lost", "a row is lost: the journal takes none",
                DYN_LOG_UINT("rows", ++gathered->lost));
        return;
    }
    ledger_row_encode(row, &gathered->rows);
    gathered->n++;
    if (gathered->rows.len >= GATHER_BYTES) {
        send_rows(gathered);
    }
    if (gathered->n > 0 && !bus_timer_is_armed(&gathered->timer)) {
        bus_timer_arm(plugin_cell_loop(gathered->cell), &gathered->timer, GATHER_MS);
    }
}

static void *
logger_cell_new(void *shared, plugin_cell_t *cell)
{
    const struct request_logger *self = shared;
    struct gathered *gathered = dyn_zalloc(sizeof *gathered);
    gathered->cell = cell;
    gathered->timer.fire = on_gathered;
    if (self->persist && plugin_cell_host(cell)->ledger == 0) {
        dyn_log(DYN_LOG_WARN, "request_logger.no_store",
                "`persist` has no effect: this process has no `store`, or its role is not a router's");
    }
    return gathered;
}

static void
logger_cell_free(void *shared, void *own)
{
    struct gathered *gathered = own;
    (void)shared;
    send_rows(gathered);
    bus_timer_fini(&gathered->timer);
    dyn_buf_fini(&gathered->rows);
    free(gathered);
}

/* ---- what is told ---- */

static double
cost_usd(const struct vote_facts *facts)
{
    return facts->cost == VOTE_COST_UNKNOWN ? (double)NAN : (double)facts->cost / 1e12;
}

static void
fill_end(const struct vote_facts *facts, struct ledger_request_log *row)
{
    row->provider = facts->provider;
    row->target = facts->target;
    row->status = facts->status;
    row->attempts = facts->attempts;
    row->prompt_tokens = facts->usage.prompt_tokens;
    row->completion_tokens = facts->usage.completion_tokens;
    row->total_tokens = facts->usage.total_tokens;
    row->duration_ms = (double)facts->total_us / 1000;
    row->ttft_ms = facts->ttft_us > 0 ? (double)facts->ttft_us / 1000 : (double)NAN;
    row->cost_usd = cost_usd(facts);
}

static void
fill(const struct plugin_ask *ask, uint64_t now_us, const char id[ID_HEX], struct ledger_request_log *row)
{
    const struct vote_facts *facts = ask->facts;
    *row = (struct ledger_request_log){
        .request_id = dyn_slice(id, ID_HEX),
        .stage = dyn_slice_str(vote_stage_name(ask->stage)),
        .trace_id = facts->trace_id,
        .created_us = now_us,
        .surface = dyn_slice_str(env_surface_name(facts->surface)),
        .model = facts->asked_model.len > 0 ? facts->asked_model : facts->model,
        .api_key_id = facts->key_id,
        .user = facts->user,
        .peer = facts->peer,
        .stream = facts->stream,
        .duration_ms = (double)NAN,
        .ttft_ms = (double)NAN,
        .cost_usd = (double)NAN,
    };
    if (ask->stage != VOTE_BEFORE_REQUEST) {
        fill_end(facts, row);
    }
    if (ask->stage == VOTE_ON_ERROR) {
        row->error_code = dyn_slice_str(err_row(facts->error)->code);
        row->error_message =
            facts->error_text.len > 0 ? facts->error_text : dyn_slice_str(err_row(facts->error)->sentence);
    }
}

static void
write_line(const struct request_logger *self, const struct ledger_request_log *row)
{
    const struct dyn_log_field fields[] = {
        DYN_LOG_SLICE("stage", row->stage),
        DYN_LOG_SLICE("trace_id", row->trace_id),
        DYN_LOG_SLICE("model", row->model),
        DYN_LOG_SLICE("key_id", row->api_key_id),
        DYN_LOG_SLICE("provider", row->provider),
        DYN_LOG_SLICE("target", row->target),
        DYN_LOG_UINT("status", row->status),
        DYN_LOG_UINT("tokens_in", row->prompt_tokens),
        DYN_LOG_UINT("tokens_out", row->completion_tokens),
        DYN_LOG_REAL("duration_ms", isnan(row->duration_ms) ? 0 : row->duration_ms),
        DYN_LOG_SLICE("error", row->error_message),
    };
    /* Before there is an answer nothing is known of it. */
    bool is_before = row->status == 0 && isnan(row->duration_ms);
    dyn_log_each((enum dyn_log_level)self->level, "request", NULL, fields,
                 is_before ? 4 : DYN_ARRAY_LEN(fields));
}

/* With its body, where that is wanted. */
static void
keep(const struct request_logger *self, struct gathered *gathered, const struct plugin_ask *ask,
     struct ledger_row *row)
{
    struct dyn_buf text = DYN_BUF_INIT;
    if (self->bodies && ask->body.len > 0) {
        blackout_write(self->blackout, ask->body, self->body_bytes, &text);
        bool is_request = ask->stage == VOTE_BEFORE_REQUEST;
        *(is_request ? &row->of.request_log.request_body : &row->of.request_log.response_body) =
            dyn_buf_slice(&text);
    }
    gather(gathered, row);
    dyn_buf_fini(&text);
}

static enum plugin_when
logger_vote(void *shared, void *own, plugin_cell_t *cell, const struct plugin_ask *ask,
            struct plugin_vote *vote)
{
    static const char digits[] = "0123456789abcdef";
    const struct request_logger *self = shared;
    struct gathered *gathered = own;
    struct ledger_row row = {.table = LEDGER_REQUEST_LOG};
    struct dyn_buf error = DYN_BUF_INIT;
    char id[ID_HEX];
    (void)vote;
    for (size_t i = 0; i < sizeof ask->ticket.id.bytes; i++) {
        id[2 * i] = digits[ask->ticket.id.bytes[i] >> 4];
        id[2 * i + 1] = digits[ask->ticket.id.bytes[i] & 15];
    }
    fill(ask, dyn_wall_us(plugin_cell_host(cell)->clock), id, &row.of.request_log);
    if (row.of.request_log.error_message.len > 0) {
        blackout_write(self->blackout, row.of.request_log.error_message, ERROR_BYTES, &error);
        row.of.request_log.error_message = dyn_buf_slice(&error);
    }
    if (dyn_log_enabled((enum dyn_log_level)self->level)) {
        write_line(self, &row.of.request_log);
    }
    if (self->persist && plugin_cell_host(cell)->ledger != 0) {
        keep(self, gathered, ask, &row);
    }
    dyn_buf_fini(&error);
    return PLUGIN_VOTED;
}

const struct plugin_ops plugin_request_logger = {
    .name = "request-logger",
    .type = PLUGIN_LOGGING,
    .summary = "Writes a line for each request, and a row that survives.",
    .traits = {.stages = VOTE_STAGE_BIT(VOTE_BEFORE_REQUEST) | VOTE_STAGE_BIT(VOTE_AFTER_REQUEST) |
                         VOTE_STAGE_BIT(VOTE_ON_ERROR),
               .needs = VOTE_NEEDS_BODY,
               .watches = true},
    .config = &section,
    .check = logger_check,
    .adapt = logger_adapt,
    .make = logger_make,
    .free = logger_free,
    .cell_new = logger_cell_new,
    .cell_free = logger_cell_free,
    .vote = logger_vote,
};
