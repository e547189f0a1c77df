/* Inside the provider actor: one request to the upstream and the answer to its sender. Not for others. */
#pragma once

#include "actors/providers/provider.h"
#include "actors/providers/provider_errors.h"
#include "actors/providers/provider_guard.h"
#include "actors/providers/provider_skim.h"
#include "bus/credit.h"
#include "core/blackout.h"
#include "proto/dialects/bridge.h"
#include "proto/env_map.h"

/* One kind of request: how it is spoken of, and where it goes. */
struct provider_surface {
    const struct dialect_ops *dialect;
    http_origin_t **origins; /* one for each credential; one when there is none */
    size_t n_origins;        /* 0: the provider does not have it */
};

struct provider {
    struct provider_options options;
    bus_actor_t *me;
    bus_loop_t *loop;
    struct provider_surface chat;
    struct provider_surface embeddings;
    blackout_t *secret_shapes; /* made when a provider first says something of a failure */
    struct dyn_buf bridged;    /* room for what a bridge makes of one event; empty between two */
    struct limiter_seat seat;
    struct dyn_list queue; /* calls that wait for a place, in the order in which their time ends */
    struct bus_timer queue_timer;
    struct env_map calls;
    struct dyn_list spare; /* calls to be used again */
    size_t n_spare;
    struct bus_keeper spare_keeper;
    struct dyn_list stuck;   /* calls whose receiver's mailbox was full */
    struct bus_timer retry;  /* sends for those again */
    struct dyn_list orphans; /* in the order in which their time ends */
    struct bus_timer orphans_timer;
    struct bus_timer drain;
    bool is_draining;
};

enum call_mode {
    CALL_HEAD,    /* no head yet */
    CALL_PLAIN,   /* an answer that is one JSON text */
    CALL_STREAM,  /* server-sent events */
    CALL_REFUSED, /* an error status: its body is read for what it says */
};

struct provider_call {
    struct env_map_node node; /* the request's id */
    struct dyn_list link;     /* provider->spare or ->stuck */
    struct provider *provider;
    const struct dialect_ops *dialect;
    http_call_t *http; /* NULL: over, or let go */
    bus_addr_t reply_to;
    uint32_t attempt;
    uint32_t epoch;

    enum call_mode mode;
    bool is_stream;       /* asked for */
    bool tells_sent;      /* the router wants to hear when the request goes out, and has not yet */
    bool has_left;        /* a CHUNK was sent: nobody else can go on with this answer */
    bool is_orphan;       /* its router is gone; all is held */
    bool is_given_up;     /* the router's time for it was up, not its client gone */
    bool is_unwanted;     /* cancelled or cut off: nobody else will want it either */
    bool withholds_usage; /* we asked for it, the client did not */
    bool has_begun;       /* a CHUNK was made: errors come behind it, not instead */
    bool has_ended;       /* END was made */
    bool is_awake;        /* the stream has shown content, or its end */
    bool saw_terminal;
    bool is_framed;  /* the answer's length is told by its framing */
    bool is_encoded; /* content-encoding other than identity */
    unsigned status;

    struct env *reply;          /* first CHUNK or END in the making, with the answer's headers; may be NULL */
    dyn_block_t *block;         /* bytes collected; may be NULL */
    bridge_t *bridge;           /* NULL: the client speaks the upstream's dialect, bytes go as they are */
    struct provider_skim *skim; /* of a plain answer longer than a CHUNK; else NULL */
    struct sse_reader sse;

    struct dyn_list out; /* CHUNKs that wait for credit */
    struct env *end;     /* END that waits behind them */
    struct credit_sender credit;
    uint32_t piece_max; /* bytes of a CHUNK that any grant of this receiver covers in the end */
    uint32_t sequence;

    uint32_t unsupported; /* DIALECT_PARAM_* that the provider does not take and the caller is told of */
    struct env_usage usage;
    uint64_t content_events; /* that carried something for the reader */
    uint64_t request_bytes;
    uint64_t received_bytes; /* of a plain answer */
    uint64_t started_us;
    uint64_t first_byte_us; /* 0: none came */
    uint64_t body_bytes;    /* sent or to be sent */
    unsigned sent;          /* how often the request went out */
    unsigned sent_before;   /* the same of a call that this one has replaced */

    struct provider_pass pass;
    struct dyn_list queue_link; /* provider->queue */
    uint64_t queue_until_us;
    struct env *waiting;               /* the REQUEST, while the call waits for a place */
    dyn_block_t *waiting_body;         /* what will be sent */
    uint32_t refused_retry_ms;         /* turned away here: when it makes sense to come back */
    uint64_t first_content_us;         /* of a stream; 0: none came */
    char model[HEALTH_MODEL_NAME_MAX]; /* that its latency counts for */
    uint16_t model_len;

    struct dyn_list orphan; /* provider->orphans */
    uint64_t orphan_until_us;
    size_t orphan_bytes; /* counted for it in the process's sum */
};

/* ---- provider.c ---- */

/* A call has left provider->calls. */
void provider_call_gone(struct provider *provider);

/* ---- provider_gate.c: breaker, limiter, credentials ---- */

void provider_gate_init(struct provider *provider);
/* WAITS: its REQUEST and body go into call->waiting. In every case it leaves once, at the latest when freed.
 */
enum provider_verdict provider_gate_enter(struct provider_call *call, const struct env *request,
                                          struct provider_refusal *refusal);
/* The upstream is done with, and END is made: what is learned from it, and its place to the next. */
void provider_gate_leave(struct provider_call *call, enum env_outcome outcome, enum err_code code);
/* The same without learning anything. Again: does nothing. */
void provider_gate_drop(struct provider_call *call);
/* Calls of this actor were given places. */
void provider_gate_told(struct provider *provider);
void provider_gate_time_is_up(struct bus_timer *timer);
/* Starts the upstream call (provider.c). The body stays the caller's. */
void provider_call_send(struct provider_call *call, const struct env *request, dyn_block_t *body);

enum { PROVIDER_BRIDGED_KEPT_MAX = 64 * 1024 }; /* bytes of that room kept for the next */

/* Room for what a bridge makes, empty; good until the next one asks. */
static inline struct dyn_buf *
provider_bridged_room(struct provider *provider)
{
    if (provider->bridged.cap > PROVIDER_BRIDGED_KEPT_MAX) {
        dyn_buf_fini(&provider->bridged);
    }
    dyn_buf_clear(&provider->bridged);
    return &provider->bridged;
}

/* ---- provider_call.c ---- */

extern const struct http_call_ops provider_call_ops;
/* The call answers to the sender of that request, within the window that comes with it. */
void provider_call_belongs(struct provider_call *call, const struct env *request);
/* Bytes of a CHUNK that any grant of the sender covers in the end. */
uint32_t provider_call_piece_max(const struct env *request);
/* CREDIT came. */
void provider_call_granted(struct provider_call *call, uint32_t bytes);
void provider_call_free(struct provider_call *call);
/* Makes END and, when nothing waits for credit, sends it and frees the call: do not touch it after. The
 * upstream call, if there still is one, is cancelled (`let_go`: what is left of it may still come).
 * text, param and upstream code are for the caller's eyes and may be absent. */
void provider_call_succeed(struct provider_call *call, bool let_go);
void provider_call_fail(struct provider_call *call, enum err_code code, const struct provider_error *said);
/* The same with the provider's own words, cleaned: all of them for the operator, after `what`; for the caller
 * where they may be shown. */
void provider_call_fail_saying(struct provider_call *call, enum err_code code, const char *what,
                               struct provider_error *said, struct arena *arena);
/* Nobody wants the rest: what waits is dropped, and END goes at once. Also for a call that has ended. */
void provider_call_cancelled(struct provider_call *call);
void provider_call_cut_off(struct provider_call *call, enum err_code code);
/* What must not be shown of the target, into room for PROVIDER_SECRETS_MAX; returns how many. */
size_t provider_call_secrets(const struct provider_call *call, struct dyn_slice *secrets);
enum { PROVIDER_SECRETS_MAX = PROVIDER_KEYS_MAX + PROVIDER_HEADERS_MAX };
/* What was done to a request with parameters that the provider does not take, as its caller is told. */
void provider_call_warning(const struct provider_call *call, struct dyn_buf *text);
/* One line for the operator; limited by the log. */
void provider_call_log(const struct provider_call *call, enum err_code code, const char *detail);

/* ---- provider_reply.c: what goes back to the sender ---- */

/* When to try again, by the headers of an answer that failed. */
void provider_reply_hint(const struct provider_call *call, struct env *end);
/* The envelope that will carry the answer's status and headers: the first CHUNK, or END without any. */
struct env *provider_reply_first(struct provider_call *call);
void provider_reply_header(struct provider_call *call, struct dyn_slice name, struct dyn_slice value);
/* Takes *block_p (empty: freed) and sends it as CHUNKs as far as credit goes. */
void provider_reply_chunk(struct provider_call *call, dyn_block_t **block_p);
/* Sends what credit allows; pauses or resumes the upstream. True: the call is over and freed. */
bool provider_reply_flush(struct provider_call *call);
/* The request is on its way to the upstream: tells so who wants to hear it. */
void provider_reply_sent(struct provider_call *call);
/* Forgets the CHUNKs that wait. */
void provider_reply_drop(struct provider_call *call);
/* Bytes in front of what is collected: room for the head of the HTTP answer, or for a chunk's size. */
size_t provider_reply_headroom(const struct provider_call *call);
enum { PROVIDER_CHUNK_HEADROOM = 32, PROVIDER_CHUNK_TAILROOM = 2 };

/* ---- provider_orphan.c: calls that lose their router ---- */

/* Its router is gone: it goes on without. false: it may not, or not any more. */
bool provider_orphan_begin(struct provider_call *call);
/* Counts what an orphan holds, stops the upstream at the window's end. True: the call is over and freed. */
bool provider_orphan_hold(struct provider_call *call);
/* No orphan any more, if it was one. */
void provider_orphan_end(struct provider_call *call);
void provider_orphan_time_is_up(struct bus_timer *timer);
/* Nobody can ask for them any more. */
void provider_orphan_drop_all(struct provider *provider);
/* That router is gone: what becomes of all its calls. */
void provider_orphan_all_of(struct provider *provider, bus_addr_t router);
/* A later REQUEST for the same attempt: the call goes on for its sender (and may be over on return). false:
 * it can't, nothing was done. */
bool provider_orphan_attach(struct provider_call *call, const struct env *request);

/* ---- provider_plain.c, provider_stream.c: bytes of a good answer ---- */

void provider_plain_begin(struct provider_call *call, const struct http_call_head *head);
void provider_plain_data(struct provider_call *call, struct dyn_slice bytes);
void provider_plain_done(struct provider_call *call);
void provider_stream_begin(struct provider_call *call);
void provider_stream_data(struct provider_call *call, struct dyn_slice bytes);
void provider_stream_settled(struct provider_call *call);
/* Passes on the whole events that came before something went wrong. */
void provider_stream_cut(struct provider_call *call);
void provider_stream_done(struct provider_call *call);
