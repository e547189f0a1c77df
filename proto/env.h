/* The envelope: what actors say to each other (specified in proto/01-ENVELOPE.md). On the local wire
 * a pointer to this struct is passed; on every other wire it is encoded as a msgpack header frame and
 * a raw body frame by proto/env_codec.h.
 *
 * An envelope owns its strings (in its arena) and one reference to its body. It has one holder at a
 * time; `struct env **` parameters take it and set the pointer to NULL on success. Loop thread only. */
#pragma once

#include "core/arena.h"
#include "core/block.h"
#include "core/list.h"
#include "proto/err.h"

struct dialect_request;
struct vote_facts;

/* Where an actor is, for its peers in this process: loop number and slot. 0 is nobody. */
typedef uint32_t bus_addr_t;

enum env_kind {
    ENV_REQUEST = 1, /* client side -> router -> provider */
    ENV_CHUNK,       /* provider -> router -> client side: the next bytes of the answer */
    ENV_END,         /* the same way, exactly one per request (and per attempt) */
    ENV_CANCEL,      /* towards the provider */
    ENV_CREDIT,      /* towards the provider: bytes the receiver can take */
    ENV_DISPATCHED,  /* router -> owner: who works on the request, and that it streams */
    ENV_READY,
    ENV_HEARTBEAT,
    ENV_GOODBYE,
    ENV_ASK,
    ENV_VOTE,
    ENV_EVENT,       /* topic + msgpack map in the body */
    ENV_CONFIG,
    ENV_ACK,
    ENV_KIND_COUNT
};

enum env_surface {
    ENV_SURFACE_NONE = 0, /* only with `refuse`: a path that this gateway does not serve */
    ENV_SURFACE_CHAT,     /* POST /v1/chat/completions */
    ENV_SURFACE_MODELS,   /* GET /v1/models; answered by the router */
    ENV_SURFACE_MODEL,    /* GET /v1/models/{id}; `model` is the id */
    ENV_SURFACE_HEALTH,   /* GET /health; not admitted, open */
    ENV_SURFACE_READY,    /* GET /readyz; not admitted, open */
    ENV_SURFACE_METRICS,  /* GET /metrics; answered by the metrics actor, admitted by the router */
    ENV_SURFACE_EVENTS,   /* events again from `since` on (04-EVENTS); answered by the router's process */
    ENV_SURFACE_EMBEDDINGS, /* POST /v1/embeddings */
    ENV_SURFACE_EXPLAIN,  /* POST /admin/explain; answered by the router, calls nobody */
    ENV_SURFACE_LEDGER,   /* a question to the ledger (06-LEDGER): from outside admitted by the router */
    ENV_SURFACE_ADMIN,    /* /admin/..; `model` is "METHOD PATH?QUERY", the path behind /admin/ */
    ENV_SURFACE_COUNT
};

enum env_outcome { ENV_OUTCOME_OK = 1, ENV_OUTCOME_ERROR, ENV_OUTCOME_CANCELLED };

/* Fixed: 01-ENVELOPE gives these numbers. Bytes. */
enum {
    ENV_CHUNK_MAX = 32 * 1024,         /* body of one CHUNK */
    ENV_WINDOW_FIRST = 64 * 1024,      /* credit granted in REQUEST */
    ENV_HELD_ANSWER_MAX = 1024 * 1024, /* body of END; a plain answer up to this is held until END */
    ENV_HEADERS_MAX = 32,              /* entries in `headers` */
    ENV_BODY_HEADROOM = 1280,          /* free bytes in front of an answer's body for the HTTP head */
};

struct env_id {
    uint8_t bytes[16];
};

struct env_header {
    struct dyn_slice name; /* lower case */
    struct dyn_slice value;
};

/* How a provider sold it, in the order of models/catalogue.h; the wire has these numbers. */
enum env_service {
    ENV_SERVICE_STANDARD,
    ENV_SERVICE_BATCH,
    ENV_SERVICE_FLEX,
    ENV_SERVICE_PRIORITY,
    ENV_SERVICE_OTHER, /* in a way that no price list knows; so is any larger number */
};

struct env_usage {
    bool     known;
    bool     estimated;
    uint64_t prompt_tokens;     /* includes cached */
    uint64_t completion_tokens; /* includes reasoning */
    uint64_t total_tokens;
    uint64_t cached_tokens;
    uint64_t reasoning_tokens;
    uint64_t cache_write_tokens; /* beside the prompt: written to the provider's cache */
    uint64_t audio_in_tokens;    /* of the prompt */
    uint64_t audio_out_tokens;   /* of the completion */
    uint64_t cache_write_1h_tokens; /* those of the written that are kept for an hour */
    uint64_t image_in_tokens;       /* of the prompt */
    uint64_t image_out_tokens;      /* of the completion */
    uint64_t searches;              /* of the web, which the model made */
    uint64_t service;               /* enum env_service */
};

struct env {
    struct dyn_list link; /* mailbox, or the holder's own list */
    bus_addr_t      from; /* set by bus_send */
    bus_addr_t      to;
    size_t          mailbox_bytes; /* what it counts for in the receiver's mailbox; the bus's own */

    enum env_kind kind;
    struct env_id id;
    uint32_t      attempt; /* 1.. from the router on; 0 between owner and router */
    uint32_t      epoch;   /* which dispatch of this attempt (redelivery) */
    uint16_t      minor;   /* of the version that its header was written in; made here: 0 */

    /* REQUEST */
    enum env_surface surface;
    enum err_code    refuse;      /* the edge found it unacceptable: answer this after admission */
    struct dyn_slice refuse_text; /* may be absent: the row's sentence */
    struct dyn_slice dialect;     /* "openai_chat" */
    struct dyn_slice model;       /* as the client wrote it; absent: read from the body */
    struct dyn_slice upstream_model; /* router -> provider: what the target calls it; absent: the same */
    struct dyn_slice target;      /* router -> provider: name of the target */
    struct dyn_slice credential;  /* owner -> router only; never travels further */
    struct dyn_slice idempotency_key; /* the client's, for the upstream */
    struct dyn_slice peer;        /* client's address for the log */
    uint32_t         deadline_ms; /* left; 0: the router's default */
    uint32_t         attempts_left; /* 0: the router's default */
    uint64_t         received_us; /* monotonic clock of this process when the request began; not encoded */
    /* What the router's one look at the body found out, so that the provider need not look again. Borrowed
     * from the sender, which keeps it until the attempt's END; good while the receiver handles the envelope.
     * NULL behind every wire but the local one (not encoded), and once the sender has been stopped. */
    const struct dialect_request *facts;

    struct dyn_slice redeliver;   /* REQUEST: `always`, `unsent`, `never`; absent: the target's */
    bool             track;       /* owner -> router: tell by DISPATCHED which worker has it */
    bool             attach;      /* router -> worker: go on with the call of this id if you have it */
    uint32_t         worker_attempt; /* DISPATCHED to the owner, REQUEST sent again: where `worker` has it */
    uint32_t         worker_epoch;
    uint64_t         since;       /* REQUEST of the surface `events`: the first sequence number wanted */

    /* REQUEST (first window) and CREDIT: bytes. */
    uint32_t credit;

    /* REQUEST, first CHUNK, END */
    bool             stream;   /* the answer is (to be) an event stream */
    struct dyn_slice trace_id; /* 32 hex digits */
    struct dyn_slice traceparent; /* W3C header to send on; absent: none came in */

    /* CHUNK */
    uint32_t sequence; /* from 0 in each attempt */

    /* first CHUNK, END */
    uint16_t          status; /* HTTP status of the answer; in END also when the first CHUNK said it */
    struct dyn_slice  content_type;
    /* In the arena: answer headers for the client. In a REQUEST of an owner those of the client's headers
     * that decide where it goes; they end at the router (not cloned). */
    struct env_header *headers;
    size_t            n_headers;

    /* END */
    enum env_outcome outcome;
    enum err_code    error;
    struct dyn_slice error_text;  /* what the caller may read; absent: the row's sentence */
    struct dyn_slice error_param; /* field of the request that is wrong */
    struct dyn_slice upstream_code; /* the provider's own error code, when its text may be shown */
    uint32_t         retry_after_s; /* for the caller; 0: unknown */
    uint32_t         retry_ms; /* after so long another try at this target makes sense; 0: unknown */
    uint16_t         upstream_status; /* of its answer; 0: none came */
    uint32_t         creds;    /* credentials of the target that are not set aside now */
    struct dyn_slice degraded; /* what was lost between two dialects: a comma list */
    struct dyn_slice warnings; /* what was done to the request that its caller should know */
    struct env_usage usage;
    uint32_t         upstream_calls; /* how often bytes of this request reached an upstream */
    uint64_t         upstream_us;   /* time spent waiting for upstreams until the first byte */
    uint64_t         upstream_total_us; /* until the last byte */
    uint64_t         body_bytes; /* bytes of the whole answer, all CHUNKs and END */
    bool             is_scanned; /* its dialect's read_answer() said 0 to all of it here; not encoded */

    /* first CHUNK and END, from the router on */
    struct dyn_slice provider; /* provider id: "openai" */
    uint32_t         attempts;

    uint32_t         redelivered; /* how often it was sent again after a process was lost */

    /* DISPATCHED, READY, GOODBYE; REQUEST sent again: who had it */
    struct dyn_slice worker;
    bool             sent;   /* DISPATCHED from a worker: bytes of the request have reached an upstream */
    struct dyn_slice reason; /* CANCEL, GOODBYE: a word for logs and counters */

    /* READY (02-WORKER); its body is a map with what a worker serves. A worker's HEARTBEAT may have a body,
     * too: the health of its targets (proto/health.h) */
    struct dyn_slice node;        /* the process, 32 hex digits, random */
    struct dyn_slice role;        /* what the peer says it is; its key must allow it */
    struct dyn_slice config_hash;
    uint32_t         requests;      /* REQUESTs in flight that it takes here; 0: its default */
    uint64_t         request_bytes; /* ... and bytes of their bodies */

    uint64_t         config_version; /* CONFIG, ACK: which configuration; its digest is config_hash */

    /* ASK and VOTE (proto/vote.h) */
    struct dyn_slice plugin;      /* whose vote it is; in a READY of the role plugin: nothing */
    uint8_t          stage;       /* enum vote_stage */
    uint8_t          verdict;     /* VOTE: enum vote_verdict */
    bool             tell;        /* ASK: nobody waits for a VOTE; rows for a journal: nor for their END */
    bool             charged;     /* VOTE: something is to be settled or given back; ASK: it had said so */
    struct dyn_slice notes;       /* VOTE: a few words for the event */
    uint64_t         instance;    /* ASK, VOTE: which one, in the process; 0: who has the name. Not encoded */
    struct vote_facts *facts_asked; /* ASK: a counted reference */

    /* EVENT */
    struct dyn_slice topic;
    uint64_t         event_sequence; /* from 1, in each node and epoch */

    /* This process made the body, so that nobody in it checks it again: of an EVENT it is a batch
     * (proto/event_batch.h), of a REQUEST of the surface `ledger` a message with its rows last. Crosses
     * loops; not encoded. */
    bool             is_own;

    dyn_block_t *body; /* NULL: empty. Shared bytes are never written */

    struct arena arena;
    _Alignas(16) char inline_memory[384]; /* most strings of a request fit here */
};

struct env *env_new(enum env_kind kind) __attribute__((returns_nonnull));
/* Frees it with its strings and its reference to the body; sets *env_p to NULL. NULL is accepted. */
void env_free(struct env **env_p);

/* The strings are copied into the envelope. */
struct dyn_slice env_copy(struct env *env, struct dyn_slice bytes);
/* Name and value are copied. False: it was left out, on every wire alike, since there are ENV_HEADERS_MAX or
 * it is longer than a header may be (01-ENVELOPE, `headers`). */
bool env_add_header(struct env *env, struct dyn_slice name, struct dyn_slice value);
/* The same of several, copied in one piece. */
void env_add_headers(struct env *env, const struct env_header *headers, size_t n);
/* `to` has room for n; terminated as by arena_copy(). */
void env_headers_copy(struct arena *arena, const struct env_header *from, size_t n, struct env_header *to);
/* A new envelope of that kind about the same request: id, attempt and epoch are copied. */
struct env *env_about(enum env_kind kind, const struct env *other) __attribute__((returns_nonnull));
/* A second REQUEST with the same fields and the same body (one more reference), except credential. */
struct env *env_clone_request(const struct env *request) __attribute__((returns_nonnull));

/* A second EVENT with the same topic and body. */
struct env *env_clone_event(const struct env *event) __attribute__((returns_nonnull));

struct env_id env_id_random(void);
bool env_id_eq(const struct env_id *a, const struct env_id *b);
const char *env_kind_name(enum env_kind kind);       /* "request"; "unknown" out of range */
const char *env_surface_name(enum env_surface surface);

static inline size_t
env_body_len(const struct env *env)
{
    return env->body ? env->body->len : 0;
}
