/* libdynabus: an LLM gateway as an object. This is the library's only public header.
 *
 *   struct dynabus_options options = DYNABUS_OPTIONS_INIT;
 *   options.config_path = "config.yaml";
 *   char why[512];
 *   dynabus_t *gateway = dynabus_new(&options, why, sizeof why);
 *   dynabus_route(gateway, &request, answered, user);
 *   dynabus_close(&gateway, 5000);
 *
 * A gateway runs on threads of its own (one per cell and one for the rest). Any number of gateways can
 * live in one process; they share nothing but the log, which goes to standard error (LOG_LEVEL,
 * LOG_FORMAT). The library installs no signal handler. All functions may be called from any thread
 * except where a comment says otherwise. Strings are UTF-8 and borrowed until the call returns, in
 * callbacks until the callback returns. */
#ifndef DYNABUS_H
#define DYNABUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define DYNABUS_API __attribute__((visibility("default")))
#else
#define DYNABUS_API
#endif

typedef struct dynabus dynabus_t;

#define DYNABUS_CELLS_MAX 64

struct dynabus_options {
    size_t      size;        /* sizeof(struct dynabus_options): lets the struct grow */
    const char *config_path; /* .yaml, .yml or .json; or NULL */
    const char *config_text; /* the same as text (YAML), used when config_path is NULL; NULL: defaults */
    const char *listen;      /* "127.0.0.1:8080", ":8080", "[::1]:0"; NULL: as the config says */
    bool        serve_http;  /* false: no HTTP listener, only dynabus_route() */
    bool        dev;         /* as `dynabus serve --dev`: loopback only, a bundled mock model, targets
                                from the provider keys in the environment; config_* may be NULL */
    bool        ignore_unsupported; /* configuration keys not served in this version warn only */
    bool        reuse_port;  /* do not check whether the port is in use (a handover) */
    unsigned    cells;       /* 0: as the config says, else one per usable core; at most DYNABUS_CELLS_MAX */
    unsigned    port_tries;  /* with serve_http: how many next ports to try when one is in use */
    const char *roles;       /* "edge,router": parts of a gateway that this process hosts; NULL: all */
    const char *targets;     /* "a,b": those of the configured targets that this process calls; NULL: all */
    const char *bus;         /* base endpoint of the bus, tcp://HOST:PORT or ipc:///path: where a router
                                listens, else where one is; NULL: as the config says */
};
#define DYNABUS_OPTIONS_INIT \
    {sizeof(struct dynabus_options), NULL, NULL, NULL, false, false, false, false, 0, 0, NULL, NULL, NULL}

/* NULL on failure, with one sentence (or one line per configuration problem) in `why`. */
DYNABUS_API dynabus_t *dynabus_new(const struct dynabus_options *options, char *why, size_t why_size);

/* ---- the configuration ---- */

/* A configuration that was read and found sound, to look at and to give to dynabus_reload_config. Immutable;
 * any thread. It holds what was written, with references (`${NAME}`) as they stand in the file. */
typedef struct dynabus_config dynabus_config_t;

/* Reads a file (.yaml, .yml, .json) and checks all of it, as `dynabus validate` does. NULL with one line per
 * problem in `why`. The caller frees it. */
DYNABUS_API dynabus_config_t *dynabus_load_config(const char *path, char *why, size_t why_size);
/* Checks a configuration given as text (YAML). 0, or -1 with one line per problem in `why`. */
DYNABUS_API int dynabus_validate_config(const char *text, char *why, size_t why_size);
DYNABUS_API void dynabus_config_free(dynabus_config_t **config_p);
/* As it was written. Borrowed from the configuration. */
DYNABUS_API const char *dynabus_config_text(const dynabus_config_t *config);
/* Tells one text from another, as in READY, /readyz and /metrics: 16 hex digits. Borrowed. */
DYNABUS_API const char *dynabus_config_hash(const dynabus_config_t *config);
/* Which edition of the gateway's: 1 at its start, one higher with each that came into force; 0 of one that
 * dynabus_load_config made. */
DYNABUS_API uint64_t dynabus_config_version(const dynabus_config_t *config);

/* The one in force. The caller frees it; it stays as it is when the gateway takes up another. */
DYNABUS_API dynabus_config_t *dynabus_get_config(dynabus_t *gateway);

/* Reads the configuration file again, the keys that the bus lets in, and the files of TLS. A new
 * configuration comes into force as a whole or not at all: running requests end under the one that they
 * began with, targets that are the same keep their connections, breakers and samples (docs/reload.md says
 * what needs a restart). 0, or -1 with a line in `why` for each that can't be used and therefore stays as
 * it was. Waits for reloads of other threads. Not from a callback. */
DYNABUS_API int dynabus_reload(dynabus_t *gateway, char *why, size_t why_size);
/* The same with this configuration instead of the file's; it is checked again. Until another one comes,
 * or the file changes. */
DYNABUS_API int dynabus_reload_config(dynabus_t *gateway, const dynabus_config_t *config, char *why,
                                      size_t why_size);

/* For dynabus_close: as long as `drain_timeout` of the configuration says. */
#define DYNABUS_DRAIN_DEFAULT UINT32_MAX
/* Lets running requests finish for up to `drain_ms`, cancels the rest (their callbacks are called), ends
 * all threads, frees everything and sets *gateway_p to NULL. Not from a callback. Calls of other
 * threads that are under way are waited for, and callbacks get -1 from theirs; no other thread may begin one
 * when this has been called. Returns how many parts had to be cut off. */
DYNABUS_API unsigned dynabus_close(dynabus_t **gateway_p, uint32_t drain_ms);

struct dynabus_header {
    const char *name;
    const char *value;
};

/* One request, as a client would send it. */
struct dynabus_request {
    size_t      size;       /* sizeof(struct dynabus_request) */
    const char *body;       /* an OpenAI chat completions request; copied */
    size_t      body_len;
    const char *credential; /* NULL: the caller is this process and is trusted */
    uint32_t    timeout_ms; /* 0: request_timeout of the configuration */
    /* What a client would say in HTTP headers and strategies, plugins and the gateway look at, such as
     * `x-dynabus-target`, `x-dynabus-redeliver`, `idempotency-key`, `traceparent`, `cache-control`. At most
     * 32. The credential stands above. Copied. */
    const struct dynabus_header *headers;
    size_t      n_headers;
};
#define DYNABUS_REQUEST_INIT {sizeof(struct dynabus_request), NULL, 0, NULL, 0, NULL, 0}

struct dynabus_answer {
    int         status;     /* HTTP status: 200, or that of the error */
    const char *body;       /* the provider's answer byte for byte, or the error as JSON; empty after a
                               stream that ended well */
    size_t      body_len;
    const char *error_code; /* NULL when it went well, else as in docs/errors.md */
    const char *error;      /* the sentence; NULL when it went well */
    const char *provider;   /* "" when none was asked */
    const char *target;
    const char *trace_id;   /* 32 hex digits */
    uint32_t    attempts;
    bool        usage_known;
    uint64_t    prompt_tokens;
    uint64_t    completion_tokens;
    bool        cost_known;  /* false: the model has no known price, or it was a stream: its event has it */
    double      cost_usd;    /* of all attempts */
    const char *degraded;    /* what was lost between two dialects, a list with commas; "" */
    uint32_t    redelivered; /* how often it was sent again after a process was lost */
    uint32_t    upstream_calls;
    uint32_t    retry_after_s; /* 0: unknown */
    bool        usage_estimated;
    /* What a client would read in HTTP headers beside these: `x-ratelimit-..`, `x-dynabus-cache`, what the
     * provider wants to be passed on. Names in lower case. */
    const struct dynabus_header *headers;
    size_t      n_headers;
};

/* Called once per request, on a thread of the gateway. Must not block. */
typedef void (*dynabus_answer_fn)(void *user, const struct dynabus_answer *answer);
/* Called for each piece of a stream: whole server-sent events as the provider sent them. Return 0 to go
 * on; anything else cancels the request (the answer callback follows). Must not block. */
typedef int (*dynabus_chunk_fn)(void *user, const char *bytes, size_t len);

/* 0, or -1 when the gateway is closing, the request has no body, or 64 MiB of requests wait already for a
 * loop to take them; then nothing is called. */
DYNABUS_API int dynabus_route(dynabus_t *gateway, const struct dynabus_request *request,
                              dynabus_answer_fn answered, void *user);
/* The same with the answer in pieces when the request says "stream": true. */
DYNABUS_API int dynabus_route_stream(dynabus_t *gateway, const struct dynabus_request *request,
                                     dynabus_chunk_fn chunk, dynabus_answer_fn answered, void *user);

/* An embeddings request: `body` is one of OpenAI's POST /v1/embeddings. Otherwise as dynabus_route(). */
DYNABUS_API int dynabus_embed(dynabus_t *gateway, const struct dynabus_request *request,
                              dynabus_answer_fn answered, void *user);

/* ---- providers of the program's own ---- */

/* One request at such a provider. */
typedef struct dynabus_call dynabus_call_t;

struct dynabus_provider {
    size_t             size;   /* sizeof(struct dynabus_provider) */
    const char        *name;   /* the target's; letters, digits and -_. ; copied */
    const char *const *models; /* copied. None: any model that no other target declares */
    size_t             n_models;
    /* Takes a request, on a thread of the gateway; must not block. It is answered now or later, from any
     * thread, with dynabus_call_write() and, exactly once, dynabus_call_end(). */
    void (*call)(void *user, dynabus_call_t *call);
    /* Nobody wants the answer any more: the client is gone, its time is over. On a thread of the gateway;
     * must not block. dynabus_call_end() is called all the same, here or later. It may come while another
     * thread is inside dynabus_call_end() for the same call, or just has been: the handle is valid in it even
     * then, and no other call has the same one; what dynabus_call_data() points to is the program's to keep,
     * such as by looking the call up under a lock of its own. May be NULL. */
    void (*cancelled)(void *user, dynabus_call_t *call);
    /* The last call after all others: `user` is not used any more. On any thread. May be NULL. */
    void (*freed)(void *user);
    void *user;
};
#define DYNABUS_PROVIDER_INIT {sizeof(struct dynabus_provider), NULL, NULL, 0, NULL, NULL, NULL, NULL}

/* Adds a target of that name behind the others, or takes the place of the one that was registered under the
 * name before, whose calls go on. It is routed to as any target: strategies, retries and time-outs mean the
 * same. 0, or -1 with a sentence in `why` (`freed` is not called then). Not from a callback. */
DYNABUS_API int dynabus_register_provider(dynabus_t *gateway, const struct dynabus_provider *provider,
                                          char *why, size_t why_size);

/* Until dynabus_call_end(), from any thread. Strings are borrowed until then. */
DYNABUS_API const char *dynabus_call_body(const dynabus_call_t *call, size_t *len); /* the client's bytes */
DYNABUS_API const char *dynabus_call_model(const dynabus_call_t *call);
DYNABUS_API bool dynabus_call_is_stream(const dynabus_call_t *call); /* asked for server-sent events */
DYNABUS_API uint32_t dynabus_call_timeout_ms(const dynabus_call_t *call); /* what it had when it came */
/* The user's own, for whoever answers later. */
DYNABUS_API void dynabus_call_set_data(dynabus_call_t *call, void *data);
DYNABUS_API void *dynabus_call_data(const dynabus_call_t *call);

/* The next bytes of the answer: of a stream whole events, "data: {..}\n\n", the last one "data: [DONE]\n\n";
 * of a plain one pieces of the JSON text. Copied. 0: taken; 1: taken, and more than 256 KiB wait for the
 * client: go on when that suits; -1: dropped, nobody wants them any more or more than 16 MiB would wait.
 * What waits is all that was written and has not left for the client's side. */
DYNABUS_API int dynabus_call_write(dynabus_call_t *call, const char *bytes, size_t len);

struct dynabus_result {
    size_t      size;       /* sizeof(struct dynabus_result) */
    const char *error_code; /* NULL: it went well; else one of docs/errors.md: "upstream_error" lets the next
                               target be tried, "invalid_request" does not */
    const char *error;      /* the sentence for the caller; NULL: the code's own. Copied */
    uint32_t    retry_after_s;
    bool        usage_known;
    uint64_t    prompt_tokens;
    uint64_t    completion_tokens;
};
#define DYNABUS_RESULT_INIT {sizeof(struct dynabus_result), NULL, NULL, 0, false, 0, 0}

/* Ends the call; the handle is not valid any more. `result` NULL: it went well. */
DYNABUS_API void dynabus_call_end(dynabus_call_t *call, const struct dynabus_result *result);

/* ---- plugins of the program's own ---- */

/* Where a plugin votes. Added up. */
#define DYNABUS_BEFORE_REQUEST (1u << 1)
#define DYNABUS_DURING_STREAM  (1u << 2)
#define DYNABUS_AFTER_REQUEST  (1u << 3)
#define DYNABUS_ON_ERROR       (1u << 4) /* it is told, not asked */

/* What it has to know of a request; facts without work come always. Added up; TEXTS or BODY, not both. */
#define DYNABUS_NEEDS_COUNTS (1u << 0) /* user, estimated tokens, messages, length: one walk over the body */
#define DYNABUS_NEEDS_PRICE  (1u << 1) /* what it may cost */
#define DYNABUS_NEEDS_TEXTS  (1u << 3)
#define DYNABUS_NEEDS_BODY   (1u << 4)

/* One question to such a plugin. */
typedef struct dynabus_ask dynabus_ask_t;

struct dynabus_plugin {
    size_t             size;   /* sizeof(struct dynabus_plugin) */
    const char        *name;   /* letters, digits and -_. ; no built-in's; copied */
    const char        *type;   /* "guardrail", "auth", "ratelimit", "transform", "logging", "metrics": what
                                  its failure stands for and the status of its refusals; NULL: the first */
    unsigned           stages; /* at least one */
    unsigned           needs;
    bool               charges; /* a vote of it may take something that has to be given back */
    bool               amends;
    bool               answers;
    bool               watches; /* it only looks: after_request it is told, so that no answer waits for it */
    const char *const *headers; /* of clients that dynabus_ask_header() is to find; copied */
    size_t             n_headers;
    /* The `config:` of its entry as JSON, "{}" where there is none, before it comes into force. 0: sound;
     * anything else refuses it, with a sentence in `why`. May be NULL. On the thread that configures. */
    int (*check)(void *user, const char *config, char *why, size_t why_size);
    /* Is asked, or told. On a thread of the gateway, of several at the same time; must not block. Ends, now
     * or later and from any thread, with dynabus_ask_vote(), exactly once, also where nobody waits for the
     * vote. */
    void (*ask)(void *user, dynabus_ask_t *ask);
    /* Nobody waits for that vote any more: its time is over, or the request is. As `cancelled` of a provider:
     * dynabus_ask_vote() is called all the same; it may come while another thread is inside it. May be
     * NULL. */
    void (*cancelled)(void *user, dynabus_ask_t *ask);
    /* The last call after all others: `user` is not used any more. On any thread. May be NULL. */
    void (*freed)(void *user);
    void *user;
};
#define DYNABUS_PLUGIN_INIT                                                                          \
    {sizeof(struct dynabus_plugin), NULL, NULL, 0, 0, false, false, false, false, NULL, 0, NULL, NULL, \
     NULL, NULL, NULL}

/* From now on it votes on the requests that come, or takes the place of the one that was registered under the
 * name before, whose questions go on. An entry of that name in `plugins:` of the configuration says in which
 * place, at which of its stages and with which `config`, `timeout`, `on_failure` and `required`; one that is
 * not enabled keeps it from voting. Without an entry it votes behind all others, at all its stages, with the
 * defaults. Time limit and breaker are those of any plugin. 0, or -1 with a sentence in `why` (`freed` is not
 * called then). Not from a callback. */
DYNABUS_API int dynabus_register_plugin(dynabus_t *gateway, const struct dynabus_plugin *plugin, char *why,
                                        size_t why_size);
/* Makes the plugins of the configuration in force anew, the built-in and the registered ones; those whose
 * configuration is as it was go on with what they have counted and kept. dynabus_new(), a reload and
 * dynabus_register_plugin() do so as well: what this says beyond is how many names nobody serves here, a line
 * in `why` for each; these wait for a process that joins over the bus. -1 with a sentence: it failed, and all
 * is as it was. Not from a callback. */
DYNABUS_API int dynabus_load_plugins(dynabus_t *gateway, char *why, size_t why_size);

/* Of an ask, until dynabus_ask_vote(): from any thread, from one at a time. What they give is borrowed until
 * then. */

/* One of DYNABUS_BEFORE_REQUEST, .. */
DYNABUS_API unsigned dynabus_ask_stage(const dynabus_ask_t *ask);
/* It is told: nobody waits, and what it votes is dropped. On errors, after an answer when it watches, and how
 * a request ended that it charged. */
DYNABUS_API bool dynabus_ask_is_told(const dynabus_ask_t *ask);
/* A vote of it for this request said `charged`; only where it is told. */
DYNABUS_API bool dynabus_ask_has_charged(const dynabus_ask_t *ask);
/* The `config:` under which it is asked, as `check` had it. */
DYNABUS_API const char *dynabus_ask_config(const dynabus_ask_t *ask);

/* Fields that a stage does not have are "", 0 and false. */
struct dynabus_facts {
    const char *trace_id; /* the same at all stages of a request */
    const char *surface;  /* "chat", "embeddings" */
    const char *dialect;  /* of the bodies: "openai_chat" */
    const char *model;    /* an alias is replaced */
    const char *asked_model;
    const char *key_id;
    const char *group; /* of the key */
    const char *peer;  /* the client's address */
    bool        stream;
    uint64_t    max_output; /* tokens asked for; 0: none */
    /* with DYNABUS_NEEDS_COUNTS */
    const char *end_user; /* `user` of the body */
    uint64_t    prompt_tokens; /* estimated; after an answer what was used */
    uint64_t    n_messages;
    uint64_t    input_bytes;
    bool        has_images;
    bool        has_tools;
    /* with DYNABUS_NEEDS_PRICE */
    bool        estimate_known;
    double      estimate_usd; /* the most that it can cost */
    /* after an answer, and on errors */
    const char *target;
    const char *provider;
    const char *answered_by; /* the plugin whose answer it is; "": a provider's */
    int         status;
    const char *error_code;
    const char *error;
    const char *refused_by; /* the plugin that refused; "": none did */
    uint64_t    completion_tokens;
    bool        cost_known;
    double      cost_usd;
    uint32_t    attempts;
    uint64_t    total_us;
    uint64_t    ttft_us;
};
DYNABUS_API const struct dynabus_facts *dynabus_ask_facts(dynabus_ask_t *ask);
/* Of the client's headers that the plugin wants, by its name in lower case; NULL: it is not there. */
DYNABUS_API const char *dynabus_ask_header(dynabus_ask_t *ask, const char *name);
/* The client's body, after_request the answer's; "" without DYNABUS_NEEDS_BODY. */
DYNABUS_API const char *dynabus_ask_body(const dynabus_ask_t *ask, size_t *len);

/* A text of the body, or the next piece of a stream. */
struct dynabus_text {
    const char *text; /* UTF-8, escapes decoded; a zero byte behind it */
    size_t      len;
    const char *kind;   /* "text", "name", "tool_arguments", "tool_result", "reasoning", "refusal",
                           "image_url", "member_name" (of an object in a schema: `at` is that member, and an
                           edit there replaces its value) */
    const char *role;   /* "user"; of an answer "assistant" */
    const char *at;     /* JSON pointer of the string in the body, for edits; "" of a stream */
    uint32_t    choice; /* of an answer */
    uint32_t    tool;   /* of a stream: number of the tool call */
    uint64_t    from;   /* of a stream: bytes of this choice, kind and tool before it */
};
/* With DYNABUS_NEEDS_TEXTS the texts of the body, during a stream those that came since the last question.
 * How many there are. */
DYNABUS_API size_t dynabus_ask_texts(dynabus_ask_t *ask, const struct dynabus_text **texts);
/* Of the body: parts of it hold no text to look at, such as images. */
DYNABUS_API bool dynabus_ask_is_uninspectable(dynabus_ask_t *ask);
/* Of a stream: no text comes behind these. */
DYNABUS_API bool dynabus_ask_is_last(dynabus_ask_t *ask);
/* The user's own, for whoever votes later. At any time. */
DYNABUS_API void dynabus_ask_set_data(dynabus_ask_t *ask, void *data);
DYNABUS_API void *dynabus_ask_data(const dynabus_ask_t *ask);

enum dynabus_verdict {
    DYNABUS_PASS,   /* go on */
    DYNABUS_DENY,   /* refuse; during a stream: cut it behind what is clear */
    DYNABUS_AMEND,  /* go on with these edits of the body; a plugin that `amends` */
    DYNABUS_ANSWER, /* this is the answer and no provider is asked; before_request, one that `answers` */
    DYNABUS_FAILED, /* it could not decide: its `on_failure` does */
};
/* A change of the body: all that a vote has are made, or none and the plugin has failed. */
struct dynabus_edit {
    const char *op;    /* "replace", "remove", "add" */
    const char *at;    /* JSON pointer into the body as it was asked about */
    const char *value; /* JSON text; NULL to remove */
};
/* Of a stream: text from `from` up to `to` is replaced by `text`. */
struct dynabus_mask {
    uint64_t    from;
    uint64_t    to;
    const char *text;
};
/* Of a stream: what of one choice, kind and tool may go to the client. What has no mark waits. */
struct dynabus_mark {
    uint32_t    choice;
    const char *kind;
    uint32_t    tool;
    uint64_t    clear; /* bytes from its beginning */
    const struct dynabus_mask *masks; /* ascending, not overlapping, none beyond `clear` */
    size_t      n_masks;
};

struct dynabus_vote {
    size_t      size; /* sizeof(struct dynabus_vote) */
    enum dynabus_verdict verdict;
    int         status;     /* DENY: 4xx or 5xx; 0: by stage and type */
    const char *error_code; /* DENY: one of docs/errors.md; NULL: by stage and type */
    const char *reason;     /* DENY, FAILED: one sentence for the caller */
    const char *log;        /* for the log alone */
    const char *notes;      /* shown in the event */
    uint32_t    retry_after_s;
    bool        charged; /* it took something, so it is told how the request ends; a plugin that `charges` */
    const struct dynabus_header *headers; /* for the answer, also a refusal */
    size_t      n_headers;
    const struct dynabus_edit *edits; /* AMEND */
    size_t      n_edits;
    const char *answer; /* ANSWER: a plain one in the request's dialect, also where a stream is wanted */
    size_t      answer_len;
    uint64_t    prompt_tokens; /* ANSWER: what it is to have used; both 0: nothing is said */
    uint64_t    completion_tokens;
    const struct dynabus_mark *marks; /* during a stream */
    size_t      n_marks;
    const char *closing; /* DENY during a stream: its last words, in place of an error; NULL: none */
};
#define DYNABUS_VOTE_INIT                                                                                \
    {sizeof(struct dynabus_vote), DYNABUS_PASS, 0, NULL, NULL, NULL, NULL, 0, false, NULL, 0, NULL, 0, \
     NULL, 0, 0, 0, NULL, 0, NULL}
/* Votes, and ends the ask: the handle is not valid any more. All is copied. `vote` NULL: pass; during a
 * stream all text of this ask may go. */
DYNABUS_API void dynabus_ask_vote(dynabus_ask_t *ask, const struct dynabus_vote *vote);

/* ---- what there is ---- */

/* A target of the configuration in force, or a registered provider. */
struct dynabus_target {
    char   name[128];     /* cut where it is longer */
    char   provider[128]; /* id of its provider; of a registered one its name */
    size_t n_models;      /* that it declares; 0: those of its provider */
    bool   is_registered; /* with dynabus_register_provider() */
};
/* Return 0 to go on. */
typedef int (*dynabus_target_fn)(void *user, const struct dynabus_target *target);
/* All of them in their order; returns how many were told. `told` is called on the caller's thread, as below,
 * and may call anything but dynabus_close(). */
DYNABUS_API size_t dynabus_list(dynabus_t *gateway, dynabus_target_fn told, void *user);
/* 0, or -1: there is none of that name. */
DYNABUS_API int dynabus_get(dynabus_t *gateway, const char *name, struct dynabus_target *target);
/* The first one that serves the model: that declares it, or whose provider has it; else that takes any. 0, or
 * -1: none does. It says nothing about the strategy, nor about how the target is. */
DYNABUS_API int dynabus_find_by_model(dynabus_t *gateway, const char *model, struct dynabus_target *target);
/* The same among those that answer with streams. */
DYNABUS_API int dynabus_find_streaming_by_model(dynabus_t *gateway, const char *model,
                                                struct dynabus_target *target);

struct dynabus_model {
    const char *id;
    const char *provider;
    const char *target;         /* who declares it; NULL in the catalogue */
    uint32_t    context_window; /* tokens; 0: unknown */
    uint32_t    max_output;     /* tokens; 0: unknown */
    bool        is_priced;      /* false: the prices are unknown, which is not zero */
    double      input_usd;      /* for a million tokens */
    double      output_usd;
    bool        is_deprecated;
};
/* Return 0 to go on. */
typedef int (*dynabus_model_fn)(void *user, const struct dynabus_model *model);
/* What the targets declare, and where they declare nothing what the catalogue knows of their provider. */
DYNABUS_API size_t dynabus_all_models(dynabus_t *gateway, dynabus_model_fn told, void *user);
/* From now on asks the providers of the targets which models they have, at once and then every `interval_s`
 * seconds, whatever the configuration says; what they say is routed and listed. 0, or -1: the interval is 0,
 * or no provider is called from here. */
DYNABUS_API int dynabus_start_discovery(dynabus_t *gateway, uint32_t interval_s);
/* All that the catalogue knows, in order of provider and id. */
DYNABUS_API size_t dynabus_catalog(dynabus_t *gateway, dynabus_model_fn told, void *user);

#define DYNABUS_REQUEST_COMPLETED "gateway.request.completed"
#define DYNABUS_REQUEST_FAILED    "gateway.request.failed"

/* What is known when a request has ended. Fields that an event does not have are NULL or 0. */
struct dynabus_event {
    const char *topic; /* DYNABUS_REQUEST_COMPLETED or DYNABUS_REQUEST_FAILED */
    const char *trace_id;
    const char *provider;
    const char *target;
    const char *model;
    const char *key_id;
    const char *error;      /* failed: the sentence, without secrets */
    const char *error_code; /* failed */
    int         status;     /* what the client got */
    bool        stream;
    uint32_t    attempts;
    uint32_t    upstream_calls;
    uint64_t    latency_us;
    uint64_t    ttft_us; /* 0: no content was sent */
    uint64_t    tokens_in;
    uint64_t    tokens_out;
    bool        cost_model_found; /* false: the model has no known price, the costs below are 0 */
    double      cost_usd;
    double      cost_input_usd;
    double      cost_output_usd;
    double      cost_cache_read_usd;
    double      cost_cache_write_usd;
    double      cost_reasoning_usd;
    uint64_t    timestamp_us; /* since 1970-01-01 UTC */
    double      cost_image_usd;
    double      cost_audio_usd;
    double      cost_other_usd; /* searches, pages, what has a price per request */
    bool        estimated;      /* tokens or costs, all or some: it or another attempt was broken off */
    const char *degraded;       /* what was lost between two dialects, a list with commas */
    const char *warnings;       /* what was done to the request */
};
typedef void (*dynabus_hook_fn)(void *user, const struct dynabus_event *event);

/* Hooks run one at a time on a thread that carries no requests; a hook that falls behind loses events
 * (dynabus_events_dropped), never slows requests. At most 16. 0, or -1 when there are too many
 * or the gateway is closing. Only requests that end after the call are seen. */
DYNABUS_API int dynabus_add_hook(dynabus_t *gateway, dynabus_hook_fn hook, void *user);
DYNABUS_API uint64_t dynabus_events_dropped(const dynabus_t *gateway);

/* "http://127.0.0.1:8080", or "" without HTTP. Borrowed. */
DYNABUS_API const char *dynabus_url(const dynabus_t *gateway);
/* False while a process without a router has not found one yet. For the first time true when requests can be
 * served, or served for others; a router is ready from the start, whoever has joined it. */
DYNABUS_API bool dynabus_is_ready(const dynabus_t *gateway);
/* Target names in order, comma separated. Borrowed. */
DYNABUS_API const char *dynabus_targets(const dynabus_t *gateway);
/* "tcp://127.0.0.1:7400" where the bus listens or what it connects to; "" when it does not leave the
 * process. Borrowed. */
DYNABUS_API const char *dynabus_bus(const dynabus_t *gateway);
/* "edge, router, provider, ...". Borrowed. */
DYNABUS_API const char *dynabus_roles(const dynabus_t *gateway);
/* "MASTER_KEY", "none (loopback only)", ... Borrowed. */
DYNABUS_API const char *dynabus_client_auth(const dynabus_t *gateway);
/* "0.1.0". */
DYNABUS_API const char *dynabus_version(void);

#ifdef __cplusplus
}
#endif

#endif
