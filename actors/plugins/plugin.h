/* A plugin votes on requests: one struct of callbacks, one row in plugins.def, one file. It knows no
 * router, no HTTP and no provider; what it is asked and what it says is proto/vote.h.
 *
 * Of each configured plugin there is ONE instance in a process, shared by all cells: state that must be one
 * lies there, behind its own lock or atomics. In front of it, in each cell, stands struct plugin_cell, whose
 * callbacks all run on the cell's loop. Callbacks never block.
 *
 * A reload makes a new instance only where the configuration of the plugin differs; else the same goes on.
 * Requests in flight go on with the instance that they began with. */
#pragma once

#include "bus/bus.h"
#include "core/config.h"
#include "proto/vote_here.h"

typedef struct plugin_cell plugin_cell_t;

/* What decides about its statuses and its failure policy when the configuration says nothing. */
enum plugin_type {
    PLUGIN_GUARDRAIL,
    PLUGIN_AUTH,
    PLUGIN_RATELIMIT,
    PLUGIN_TRANSFORM,
    PLUGIN_LOGGING, /* fails open */
    PLUGIN_METRICS, /* fails open */
    PLUGIN_TYPE_COUNT
};
const char *plugin_type_name(enum plugin_type type);
int plugin_type_by_name(struct dyn_slice name); /* -1: there is none */

/* What a refusal before_request is, unless the vote says: money, time, or the request itself. */
enum err_code plugin_denial(struct dyn_slice name, enum plugin_type type);

/* What the process lends to all plugins. Outlives them. */
struct answer_counters;
struct lease_counters;
struct plugin_host {
    const struct dyn_clock *clock;
    unsigned n_cells;
    bus_addr_t ledger; /* who takes REQUESTs of the surface `ledger` in this process; 0: nobody */
    atomic_uint_fast64_t *ledger_dropped; /* rows that it did not take are counted here; NULL: nowhere */
    struct answer_counters *answers; /* where caches count; NULL: nobody wants to know */
    struct lease_counters *leases;   /* where leases of limits count; NULL: nobody wants to know */
};

/* Whose question it is: kept by value while the answer is still to come. */
struct plugin_ticket {
    struct env_id id;
    uint32_t      attempt;
    uint32_t      epoch;
    enum vote_stage stage;
    bus_addr_t    from; /* the router */
    uint64_t      serial; /* of the plugin's instance; the cell's own */
};

/* A question. Borrowed until vote() returns; facts may be kept with vote_facts_ref(). */
struct plugin_ask {
    struct plugin_ticket     ticket;
    enum vote_stage          stage;
    struct vote_facts       *facts;
    struct dyn_slice         body;   /* by the row's needs: texts, raw bytes, deltas; absent: none */
    dyn_block_t             *block;  /* the same, to keep a reference; may be NULL */
    const struct vote_text_list *texts; /* in place of a map of texts, when traits.lists; else NULL */
    const struct vote_deltas *deltas; /* the same of a stream's deltas: a vote that passes says `marked` */
    uint64_t                 now_us; /* the loop's monotonic time */
    /* It is told, not asked: nobody waits for a vote (on_error; the end of a stream; the end of a request
     * that it charged). What vote() says is dropped. */
    bool                     is_told;
    bool                     has_charged; /* a vote of it for this request said `charged`; only when told */
};

/* What it says. Comes zeroed with the verdict PASS. Texts must stay until vote() or plugin_vote_send()
 * returns; they are copied. */
struct plugin_vote {
    enum vote_verdict verdict;
    uint16_t          status;     /* DENY: 4xx or 5xx; 0: by stage and type (plugin.h of the row) */
    enum err_code     error;      /* DENY: the row of errors.def; ERR_NONE: by stage and type */
    struct dyn_slice  reason;     /* DENY, FAILED: for the caller, one sentence */
    struct dyn_slice  log;        /* for our log only */
    struct dyn_slice  notes;      /* shown in the event: "cache=miss" */
    uint32_t          retry_after_s;
    bool              charged;    /* it took something, so it is told how the request ends */
    const struct env_header *headers; /* for the answer, also a refusal */
    size_t            n_headers;
    const struct vote_edit *edits; /* AMEND */
    size_t            n_edits;
    dyn_block_t      *answer;     /* ANSWER: taken. A plain answer in the dialect of the request */
    struct dyn_slice  content_type; /* ANSWER; absent: application/json */
    struct env_usage  usage;      /* ANSWER: what it would have used */
    dyn_block_t      *marks;      /* during_stream: taken */
    const struct vote_mark *marked; /* PASS on `deltas`: the same before they are packed */
    size_t            n_marked;
};

enum plugin_when {
    PLUGIN_VOTED, /* *vote holds it */
    PLUGIN_LATER, /* plugin_vote_send() will be called with the ticket, unless forget() comes first */
};

struct plugin_ops;

/* What the router has to know of it. */
struct plugin_traits {
    uint32_t stages;  /* VOTE_STAGE_BIT of each where it can be asked */
    uint32_t needs;   /* VOTE_NEEDS_* */
    bool     charges; /* a vote of it may take something that has to be given back */
    bool     amends;
    bool     answers;
    bool     lists;   /* it reads texts as a list as well, where there is one (vote_here.h) */
    bool     watches; /* it only looks: after_request it is told, not asked, so that no answer waits for it */
    /* Requests may wait for the answer of another: its vote may take as long as the request. One that it
     * charged is told with its plain answer, whatever form the client got, and goes on when its client has
     * left; then forget() comes, and a CANCEL to who asked ends it. Only in the router's process. */
    bool     shares;
};

/* What an instance is made of; for the call only. */
struct plugin_making {
    const struct plugin_ops   *ops;
    struct dyn_slice           name;   /* as the configuration calls it */
    const void                *config; /* the struct of ops->config, filled and checked */
    struct dyn_slice           json;   /* `config:` as JSON, for a plugin without a table of keys; "{}" */
    const struct plugin_host  *host;
    /* The instance of the same name under the configuration before (still in use until its requests have
     * ended), or NULL: counters may go on. */
    void *former;
};

struct plugin_ops {
    const char      *name;    /* "word-filter" */
    enum plugin_type type;
    const char      *summary; /* one sentence for the docs page */
    struct plugin_traits traits;
    uint32_t denies; /* VOTE_STAGE_BIT of each stage where it may refuse; for the docs page */
    const char *const *headers; /* of the client's that it wants, in lower case; ends with NULL; NULL: none */

    /* The keys of `config:`; makes the schema, and the docs page. Its struct's defaults are the tables'.
     * NULL: any keys, given to make() as JSON (plugins that a program registers). */
    const struct config_section *config;
    /* Checks that no single key can express. May be NULL. `config` is that struct. */
    void (*check)(void *config, struct config_problems *problems);
    /* What of the row's traits this configuration does without; `traits` comes as in the row. May be NULL. */
    void (*adapt)(const void *config, struct plugin_traits *traits);

    /* The instance. NULL with a sentence: the configuration is refused. */
    void *(*make)(const struct plugin_making *making, struct dyn_err *err);
    void (*free)(void *shared); /* no cell uses it any more */

    /* What each cell keeps for itself; all NULL: nothing. */
    void *(*cell_new)(void *shared, plugin_cell_t *cell);
    void (*cell_free)(void *shared, void *own);

    /* Decides. `own` is the cell's. */
    enum plugin_when (*vote)(void *shared, void *own, plugin_cell_t *cell, const struct plugin_ask *ask,
                             struct plugin_vote *vote);
    /* Nobody waits for that vote any more, or (`shares`) for that request. May be NULL for a plugin that
     * never says LATER. */
    void (*forget)(void *shared, void *own, plugin_cell_t *cell, const struct plugin_ticket *ticket);
    /* After plugin_wake(). May be NULL. */
    void (*wake)(void *shared, void *own, plugin_cell_t *cell);
    /* The process ends, and no request of this cell is open any more: the last chance to send something. May
     * be NULL. */
    void (*drain)(void *shared, void *own, plugin_cell_t *cell);
    /* An envelope that is no ASK: an answer to what plugin_send() sent. Takes it when it asked for it, and
     * leaves it when it did not. May be NULL. */
    void (*receive)(void *shared, void *own, plugin_cell_t *cell, struct env **env_p);
};

/* ---- for plugins; on the cell's loop unless a comment says otherwise ---- */

/* The vote that LATER promised. Takes its answer and marks. */
void plugin_vote_send(plugin_cell_t *cell, const struct plugin_ticket *ticket, struct plugin_vote *vote);
/* Calls wake() on the cell's loop soon. Any thread, while the instance is in use by that cell (between
 * cell_new and cell_free); several before it has run are one. */
void plugin_wake(plugin_cell_t *cell);
/* An envelope of the plugin's own, to host->ledger or whoever answered. The id's END comes to receive().
 * Semantics of bus_send(). */
DYN_MUST_CHECK int plugin_send(plugin_cell_t *cell, bus_addr_t to, struct env **env_p, struct dyn_err *err);
/* Memory for texts and edits of the vote that is being made; used again for the next one. */
char *plugin_cell_text(plugin_cell_t *cell, const char *fmt, ...) DYN_PRINTF(2, 3);
struct arena *plugin_cell_arena(plugin_cell_t *cell);
bus_loop_t *plugin_cell_loop(const plugin_cell_t *cell);
unsigned plugin_cell_number(const plugin_cell_t *cell);
const struct plugin_host *plugin_cell_host(const plugin_cell_t *cell);

/* ---- the built-ins ---- */

/* NULL: there is none of that name. */
const struct plugin_ops *plugin_builtin(struct dyn_slice name);
/* In the order of plugins.def; NULL behind the last. */
const struct plugin_ops *plugin_builtin_at(size_t index);
#define PLUGIN(symbol) extern const struct plugin_ops plugin_##symbol;
#include "actors/plugins/plugins.def"
#undef PLUGIN
