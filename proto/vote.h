/* What a router asks plugins and what they answer (specified in proto/05-PLUGIN.md): the facts of an ASK,
 * and the bodies of ASK and VOTE. All else of the two stands in the envelope itself (proto/env.h).
 *
 *   ASK   id, epoch, `plugin`, `stage`, `tell`, facts; body by what the plugin needs: none, a map of texts
 *         (VOTE_NEEDS_TEXT), the client's or the provider's own bytes (VOTE_NEEDS_BODY), a map of deltas
 *         (stage during_stream).
 *   VOTE  id, epoch, `plugin`, `verdict`; status, error, error_text (for the caller), reason (for us),
 *         retry_after_s, headers (for the answer), charged, notes; body: edits (amend), the answer (answer),
 *         marks (during_stream).
 *
 * Bodies are MessagePack on every wire, the local one too: made once, shared by all that are asked. A plugin
 * of the asker's own loop is asked without envelopes where it can be (proto/vote_here.h). */
#pragma once

#include "core/arena.h"
#include "core/buf.h"
#include "core/err.h"
#include "proto/env.h"
#include "proto/mp.h"

#include <stdatomic.h>

/* Where a plugin is asked. Bits 1 << enum vote_stage where several are meant. */
enum vote_stage {
    VOTE_STAGE_NONE = 0,
    VOTE_BEFORE_REQUEST,
    VOTE_DURING_STREAM,
    VOTE_AFTER_REQUEST,
    VOTE_ON_ERROR,
    VOTE_STAGE_COUNT
};
#define VOTE_STAGE_BIT(stage) (1u << (unsigned)(stage))

enum vote_verdict {
    VOTE_NONE = 0,
    VOTE_PASS,   /* go on */
    VOTE_DENY,   /* refuse; during a stream: cut it */
    VOTE_AMEND,  /* go on with these edits of the body */
    VOTE_ANSWER, /* this is the answer; no provider is asked */
    VOTE_FAILED, /* it could not decide: its failure policy does */
    VOTE_VERDICT_COUNT
};

const char *vote_stage_name(enum vote_stage stage);       /* "before_request"; "none" */
enum vote_stage vote_stage_by_name(struct dyn_slice name); /* VOTE_STAGE_NONE: unknown */
const char *vote_verdict_name(enum vote_verdict verdict); /* "pass" */
enum vote_verdict vote_verdict_by_name(struct dyn_slice name); /* VOTE_NONE: unknown */

/* What a plugin wants to be told, so that no request pays for what nobody asks. */
enum {
    VOTE_NEEDS_COUNTS = 1 << 0,  /* user, estimated tokens, messages, input bytes: one walk over the body */
    VOTE_NEEDS_PRICE = 1 << 1,   /* what it may cost; needs COUNTS */
    VOTE_NEEDS_HEADERS = 1 << 2, /* the client's headers that its row names */
    VOTE_NEEDS_TEXT = 1 << 3,    /* the texts of the body, as a map */
    VOTE_NEEDS_BODY = 1 << 4,    /* the body itself; texts and body exclude each other */
};
const char *vote_need_name(unsigned bit);             /* 0: "counts", ..; NULL behind the last */
uint32_t vote_need_by_name(struct dyn_slice name);    /* 0: unknown */

#define VOTE_COST_UNKNOWN UINT64_MAX

/* What is known of a request at a stage. Made once for each stage, shared by all who are asked there, in
 * whatever loop: counted references, written by its maker only and before anybody else has it. Its texts lie
 * in its arena. Absent, 0 and false: not known, or not so. */
struct vote_facts {
    atomic_uint refs;

    enum env_surface surface;
    struct dyn_slice dialect;
    struct dyn_slice trace_id;
    struct dyn_slice model;       /* an alias is replaced */
    struct dyn_slice asked_model; /* as the client wrote it */
    struct dyn_slice key_id;      /* who asks: id of the key, `master`, `anonymous` */
    struct dyn_slice group;       /* of the key */
    uint64_t         key_rpm, key_rpd; /* requests of the key in a minute, in a day; 0: any number */
    uint64_t         key_tpm, key_tpd; /* tokens */
    uint64_t         key_day, key_week, key_month; /* what it may spend, 10^-12 USD; 0: anything */
    struct dyn_slice peer;        /* the client's address */
    bool             stream;
    uint64_t         n_choices;   /* asked for; 0: one */
    uint64_t         max_output;  /* tokens of all choices, by the larger of the limits given; 0: none */
    uint64_t         time_us;     /* since 1970-01-01 UTC, when the request came */

    /* VOTE_NEEDS_COUNTS */
    struct dyn_slice user;          /* `user` of the body */
    uint64_t         max_tokens;    /* both as they stand there; 0: not given */
    uint64_t         max_completion_tokens;
    uint64_t         prompt_tokens; /* estimated: text, tools and images */
    uint64_t         n_messages;
    uint64_t         input_bytes;   /* of texts and image addresses, decoded */
    bool             has_images;
    bool             has_tools;

    /* VOTE_NEEDS_PRICE: the most that it can cost among the targets that serve it, as far as is known now. */
    uint64_t         estimate;      /* 10^-12 USD; VOTE_COST_UNKNOWN: some target has no price */

    /* VOTE_NEEDS_HEADERS: those that rows of plugins name, in lower case */
    const struct env_header *headers;
    size_t                   n_headers;

    /* after_request and on_error */
    struct dyn_slice target;       /* that answered, or was tried last */
    struct dyn_slice provider;
    struct dyn_slice answered_by;  /* the plugin whose answer it is; absent: a provider's */
    struct dyn_slice content_type;
    uint16_t         status;       /* that the client gets */
    enum err_code    error;        /* on_error */
    struct dyn_slice error_text;
    bool             refused;      /* on_error: a plugin did it, `refused_by` */
    struct dyn_slice refused_by;
    struct env_usage usage;
    uint64_t         cost;         /* 10^-12 USD of what was used; VOTE_COST_UNKNOWN: no price is known */
    uint32_t         attempts;
    uint32_t         upstream_calls;
    uint64_t         total_us;     /* since the request came */
    uint64_t         ttft_us;      /* to the first content; 0: there was none */
    uint64_t         upstream_us;

    struct arena arena;
    _Alignas(16) char inline_memory[512];
};

/* One reference, empty. */
struct vote_facts *vote_facts_new(void) __attribute__((returns_nonnull));
struct vote_facts *vote_facts_ref(struct vote_facts *facts) __attribute__((returns_nonnull));
void vote_facts_unref(struct vote_facts **facts_p); /* NULL is accepted */
/* The value of a header of the client's, by its name in lower case; absent: it is not there. */
struct dyn_slice vote_facts_header(const struct vote_facts *facts, struct dyn_slice name);

/* ---- the map of texts: what a request or a plain answer says ---- */

enum vote_text_kind {
    VOTE_TEXT = 0,
    VOTE_TEXT_NAME,           /* of a tool that is called, or of who speaks */
    VOTE_TEXT_TOOL_ARGUMENTS, /* JSON as the model wrote it */
    VOTE_TEXT_TOOL_RESULT,
    VOTE_TEXT_REASONING,
    VOTE_TEXT_REFUSAL,
    VOTE_TEXT_IMAGE_URL,
    VOTE_TEXT_MEMBER_NAME, /* of an object in a schema or in arguments: no edit can take its place */
    VOTE_TEXT_KIND_COUNT
};
const char *vote_text_kind_name(enum vote_text_kind kind); /* "text", "tool_arguments" */
enum vote_text_kind vote_text_kind_by_name(struct dyn_slice name); /* VOTE_TEXT: unknown */

struct vote_text {
    struct dyn_slice    role;   /* "user"; of an answer: "assistant" */
    enum vote_text_kind kind;
    struct dyn_slice    at;     /* JSON pointer of the string in the body, for edits */
    uint32_t            choice; /* of an answer */
    struct dyn_slice    text;   /* decoded: UTF-8 */
};

/* Writes the map: begin, add .., end. `uninspectable`: parts can't be read as text (an image, audio). */
struct vote_texts_writer {
    struct dyn_buf *out;
    size_t          start;
    uint32_t        n;
    bool            uninspectable;
};
void vote_texts_begin(struct vote_texts_writer *writer, struct dyn_buf *out);
void vote_texts_add(struct vote_texts_writer *writer, const struct vote_text *text);
void vote_texts_end(struct vote_texts_writer *writer);

/* Reads it, from anyone: -1 with a sentence when it is no such map. Then one text after the other; a false
 * one is none any more. Unknown members are skipped, texts of unknown kinds are VOTE_TEXT. */
struct vote_texts {
    struct mp_cursor cursor;
    uint64_t         left;
    bool             uninspectable;
    const struct vote_text *items; /* of a list (vote_here.h), the next one; NULL: it is a map */
};
DYN_MUST_CHECK int vote_texts_open(struct vote_texts *texts, struct dyn_slice body, struct dyn_err *err);
bool vote_texts_next(struct vote_texts *texts, struct vote_text *text);

/* ---- edits: the body of a VOTE that amends ---- */

enum vote_edit_op { VOTE_EDIT_REPLACE, VOTE_EDIT_REMOVE, VOTE_EDIT_ADD };
/* One change of a JSON text (proto/edits.h makes them). */
struct vote_edit {
    enum vote_edit_op op;
    struct dyn_slice  at;    /* JSON pointer */
    struct dyn_slice  value; /* JSON text; none with REMOVE */
};
enum { VOTE_EDITS_MAX = 1024 };
void vote_edits_encode(const struct vote_edit *edits, size_t n, struct dyn_buf *out);
/* From anyone: at most VOTE_EDITS_MAX, into the arena; texts point into `body`. -1 with a sentence. */
DYN_MUST_CHECK int vote_edits_decode(struct dyn_slice body, struct arena *arena, struct vote_edit **edits,
                                     size_t *n, struct dyn_err *err);

/* ---- during a stream ---- */

/* A channel is one run of text of an answer: the content of a choice, the arguments of one of its tool calls.
 * Positions count bytes of its UTF-8 from 0. */
struct vote_channel {
    uint32_t            choice;
    enum vote_text_kind kind;
    uint32_t            tool; /* number of the tool call; 0 for others */
};

/* ASK: what came since the last one, {deltas: [{choice, kind, tool, from, text}], last: bool}. */
struct vote_delta {
    struct vote_channel channel;
    uint64_t            from; /* position of its first byte */
    struct dyn_slice    text;
};
struct vote_deltas {
    struct vote_delta *items;
    size_t             n;
    bool               is_last;
};
void vote_deltas_encode(const struct vote_delta *deltas, size_t n, bool is_last, struct dyn_buf *out);
/* To one that takes over a stream: where each channel stands, and what of it is not decided. */
void vote_deltas_encode_rest(const struct vote_delta *deltas, size_t n, bool is_last, struct dyn_buf *out);
DYN_MUST_CHECK int vote_deltas_decode(struct dyn_slice body, struct arena *arena, struct vote_delta **deltas,
                                      size_t *n, bool *is_last, struct dyn_err *err);
/* Of deltas that were decoded: whether they are those of vote_deltas_encode_rest(). */
bool vote_deltas_resume(struct dyn_slice body);

/* VOTE: {marks: [{choice, kind, tool, clear, masks: [[from, to, text], ..]}], closing}: up to `clear` the
 * channel may go, with what lies in a mask replaced. A verdict of DENY cuts the stream behind what is
 * clear. */
struct vote_mask {
    uint64_t         from;
    uint64_t         to;
    struct dyn_slice text;
};
struct vote_mark {
    struct vote_channel     channel;
    uint64_t                clear;
    const struct vote_mask *masks; /* ascending, not overlapping, none beyond `clear` */
    size_t                  n_masks;
};
void vote_marks_encode(const struct vote_mark *marks, size_t n, struct dyn_buf *out);
/* With `closing`: the last words to the reader of a stream that this vote cuts, in place of an error. Absent:
 * none. */
void vote_marks_encode_closing(const struct vote_mark *marks, size_t n, struct dyn_slice closing,
                               struct dyn_buf *out);
/* Of marks that were decoded; absent: none. Points into `body`. */
struct dyn_slice vote_marks_closing(struct dyn_slice body);
DYN_MUST_CHECK int vote_marks_decode(struct dyn_slice body, struct arena *arena, struct vote_mark **marks,
                                     size_t *n, struct dyn_err *err);
