/* A dialect is a wire language of an API: how to read a request, an answer and a stream, and how to
 * write an error. One file and one ops table each; the tables are listed in dialects.c. Client and
 * upstream in the same dialect: bytes go through untouched but for splices described here. */
#pragma once

#include "core/json_scan.h"
#include "proto/env.h"
#include "proto/sse.h"

/* Bits of dialect_request.params: DIALECT_PARAM_TEMPERATURE, ... (params.def). */
enum dialect_param {
#define DIALECT_PARAM(name, key) DIALECT_PARAM_BIT_##name,
#include "proto/dialects/params.def"
#undef DIALECT_PARAM
    DIALECT_PARAM_COUNT,
#define DIALECT_PARAM(name, key) DIALECT_PARAM_##name = 1 << DIALECT_PARAM_BIT_##name,
#include "proto/dialects/params.def"
#undef DIALECT_PARAM
};
_Static_assert(DIALECT_PARAM_COUNT <= 31, "a bit each");

/* "max_tokens" of the parameter of that number. */
const char *dialect_param_name(unsigned number);

struct chat_codec;
struct dialect_texts;
struct dialect_replay;

/* What one scan of a request found out. Offsets are into the body that was scanned. */
struct dialect_request {
    struct dyn_slice  model;       /* decoded; borrowed from body or arena */
    struct json_value model_value; /* in place, with quotes: what a splice replaces */
    bool              stream;
    bool              wants_usage; /* stream_options.include_usage is true */
    struct json_value stream_options; /* in place; raw.data NULL when absent */
    size_t            object_start;   /* offset behind the outer '{': where a member can be put first */
    bool              is_empty_object;
    uint64_t          max_output_tokens; /* of one choice, the larger of all limits given; 0: not given */
    uint64_t          n_choices;         /* 0: not given, one */
    uint32_t          params;            /* DIALECT_PARAM_*: given, and not null */
};

/* What a body for an upstream of the same dialect has otherwise than the client's. */
struct dialect_splice {
    struct dyn_slice        model;     /* instead of the client's; absent: the same */
    bool                    ask_usage; /* on streams */
    const struct json_edit *more;      /* of other members; ascending, not overlapping */
    size_t                  n_more;
};

struct dialect_problem {
    char             message[240];
    char             param[80]; /* "messages[2].role"; empty when the text is no JSON object at all */
};

/* What one event of a stream is. */
struct dialect_event {
    bool terminal;    /* the stream's end marker ("[DONE]") */
    bool error;       /* the provider reports an error inside the stream */
    bool content;     /* carries something for the reader: the answer has begun with it */
    bool usage_only;  /* exists only because usage was asked for: withheld from who did not ask */
    bool finished;    /* a finish reason was given */
    /* Known when the event carries it. Not known, but with counts: how long the prompt is, said early. */
    struct env_usage usage;
    struct dyn_slice error_message; /* when error: as the provider wrote it, still JSON-escaped */
};

struct dialect_ops {
    const char *name; /* "openai_chat" */
    const char *path; /* behind the API root: "/chat/completions" */

    /* Validates a request body and fills *request in one pass. -1 with a problem that names the field. */
    int (*read_request)(struct dyn_slice body, struct arena *arena, struct dialect_request *request,
                        struct dialect_problem *problem);
    /* The same, and where it has its members. NULL: only read_request is there. */
    int (*read_places)(struct dyn_slice body, struct arena *arena, struct dialect_request *request,
                       struct json_places *places, struct dialect_problem *problem);
    /* The body for an upstream of the same dialect. Returns NULL when nothing has to change, else a new
     * block. */
    dyn_block_t *(*splice_request)(struct dyn_slice body, const struct dialect_request *request,
                                   const struct dialect_splice *splice);
    /* Reads usage from a whole plain answer. 1: one that a strict reader of JSON refuses. -1: not an answer
     * of this dialect (garbage). */
    int (*read_answer)(struct dyn_slice body, struct env_usage *usage);
    /* Classifies one event of a stream. -1: garbage. Once for each chunk: what is plainly an ordinary one is
     * not validated as a whole. */
    int (*read_event)(const struct sse_event *event, struct dialect_event *seen);
    /* The body of an error answer. */
    void (*write_error)(struct dyn_buf *out, enum err_code code, struct dyn_slice message,
                        struct dyn_slice param, struct dyn_slice upstream_code);
    /* An error inside a stream that has begun: one whole SSE event (behaviour: no end marker after it). */
    void (*write_stream_error)(struct dyn_buf *out, enum err_code code, struct dyn_slice message);
    /* Whether a stream is whole with these bytes at its end: its end marker, as one event, is there. */
    bool (*is_stream_end)(struct dyn_slice bytes);
    /* The way to and from other dialects (chat.h, bridge.h). NULL: none, only its own kind understands it. */
    const struct chat_codec *chat;
    /* Where its texts are (texts.h). NULL: nobody can look at what is said in it. */
    const struct dialect_texts *texts;
    /* Plain answers as streams and back (replay.h). NULL: by way of the record of chat.h. */
    const struct dialect_replay *replay;
};

/* NULL when there is no dialect of that name. */
const struct dialect_ops *dialect_find(struct dyn_slice name);
/* All of them in order; NULL behind the last. */
const struct dialect_ops *dialect_at(size_t index);
extern const struct dialect_ops dialect_openai_chat;
extern const struct dialect_ops dialect_anthropic_messages;
/* The language of a client's request on that surface, in OpenAI's API; NULL: it has no body. */
const struct dialect_ops *dialect_of_surface(enum env_surface surface);
/* How the answer is sold, where an event of its stream says it: an event with text, in which read_event looks
 * for nothing else. Once per stream. */
void dialect_read_tier(struct dyn_slice data, struct env_usage *usage);
extern const struct dialect_ops dialect_openai_embeddings;
