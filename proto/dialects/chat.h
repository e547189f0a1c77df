/* A chat in no wire language: what a request, an answer or an event of a stream says, in a record that holds
 * what any of our dialects can say. Each dialect reads its own language into it and writes it from it; a
 * bridge (bridge.h) puts two of them together. It is no tree for all purposes: clients and upstreams of the
 * same dialect never come here.
 *
 * Texts are called `json` when they are JSON strings as they stood in their source, quotes and escapes and
 * all: most of a chat is text, and it goes from one language to the other without being decoded. Everything
 * is borrowed from the source or lies in the arena. Absent means not said. */
#pragma once

#include "core/arena.h"
#include "core/buf.h"
#include "core/json_scan.h"
#include "proto/env.h"
#include "proto/sse.h"

struct dialect_problem;

/* ---- requests ---- */

enum chat_role { CHAT_SYSTEM, CHAT_DEVELOPER, CHAT_USER, CHAT_ASSISTANT, CHAT_TOOL };

enum chat_part_kind {
    CHAT_TEXT,       /* text */
    CHAT_REFUSAL,    /* text */
    CHAT_THINKING,   /* text, signature */
    CHAT_REDACTED,   /* data: json */
    CHAT_IMAGE_URL,  /* data: json; detail */
    CHAT_IMAGE_DATA, /* data: base64 without quotes; media_type; detail */
    CHAT_FILE_DATA,  /* the same; text is its name */
    CHAT_CALL,       /* id, name, arguments */
    CHAT_OTHER,      /* name: its type. Only its own dialect knows it */
};

struct chat_part {
    struct chat_part *next;
    enum chat_part_kind kind;
    bool is_json;                  /* CALL: `arguments` is a JSON object */
    struct dyn_slice text;         /* json */
    struct dyn_slice data;
    struct dyn_slice media_type;   /* plain: letters that need no escape */
    struct dyn_slice detail;       /* json */
    struct dyn_slice id;           /* json */
    struct dyn_slice name;         /* json */
    struct dyn_slice arguments;    /* decoded text */
    struct dyn_slice signature;    /* json */
    struct dyn_slice cache_control; /* a JSON object */
};

struct chat_parts {
    struct chat_part *first;
    struct chat_part *last;
};

struct chat_message {
    struct chat_message *next;
    enum chat_role role;
    unsigned index; /* in the source, for who is told what was lost */
    bool is_error;  /* TOOL: the tool failed */
    bool is_legacy; /* role "function" */
    struct dyn_slice name;         /* json */
    struct dyn_slice tool_call_id; /* json; TOOL */
    struct dyn_slice thinking;     /* json; ASSISTANT: its thoughts without a signature */
    struct chat_parts parts;
};

enum chat_said { CHAT_UNSAID, CHAT_NO, CHAT_YES };

struct chat_tool {
    struct chat_tool *next;
    unsigned index;
    bool is_function;
    enum chat_said strict;
    struct dyn_slice name;          /* json */
    struct dyn_slice description;   /* json */
    struct dyn_slice parameters;    /* a JSON schema; absent: none */
    struct dyn_slice cache_control; /* a JSON object */
};

enum chat_choice { CHAT_CHOICE_UNSAID, CHAT_CHOICE_AUTO, CHAT_CHOICE_NONE, CHAT_CHOICE_ANY, CHAT_CHOICE_ONE };

enum chat_format { CHAT_FORMAT_TEXT, CHAT_FORMAT_JSON, CHAT_FORMAT_SCHEMA };

/* A member that is in no other field. */
struct chat_other {
    struct chat_other *next;
    struct dyn_slice key; /* between its quotes, as it stood */
    struct json_value value;
};

struct chat_request {
    struct dyn_slice model; /* decoded */
    struct chat_message *messages;
    struct chat_message *last_message;
    struct chat_tool *tools;
    struct chat_tool *last_tool;
    enum chat_choice tool_choice;
    struct dyn_slice tool_choice_name; /* json; CHOICE_ONE */
    enum chat_said parallel_calls;
    uint64_t max_tokens;          /* 0: not said */
    struct dyn_slice temperature; /* numbers as they stood */
    struct dyn_slice top_p;
    struct dyn_slice top_k;
    struct json_value stop; /* a string, or an array of them; raw absent: none */
    struct dyn_slice user;  /* json */
    struct dyn_slice effort;   /* json: how hard to think, in OpenAI's words */
    struct dyn_slice thinking; /* a JSON object: the same in Anthropic's */
    enum chat_format format;
    struct dyn_slice format_name;        /* json */
    struct dyn_slice format_description; /* json */
    struct dyn_slice schema;             /* JSON; FORMAT_SCHEMA */
    enum chat_said format_strict;
    struct dyn_slice service_tier; /* json */
    bool stream;
    bool wants_usage;
    struct chat_other *others;
    struct chat_other *last_other;
};

/* ---- answers ---- */

enum chat_finish {
    CHAT_FINISH_NONE,
    CHAT_FINISH_STOP,
    CHAT_FINISH_LENGTH,
    CHAT_FINISH_CALLS,
    CHAT_FINISH_FILTER, /* refused or withheld */
};

struct chat_answer {
    struct dyn_slice id;    /* json */
    struct dyn_slice model; /* json */
    uint64_t created_s;     /* 0: not said */
    struct chat_parts parts;
    enum chat_finish finish;
    struct env_usage usage;
};

/* ---- streams ---- */

enum chat_event_kind {
    CHAT_BEGIN,     /* id, model; usage as far as it is known then */
    CHAT_ADD,       /* `text` behind the part at hand, of kind `part`: text, refusal or thinking */
    CHAT_SIGN,      /* text: the signature of the thinking that is over */
    CHAT_HIDE,      /* text: redacted thinking, whole */
    CHAT_CALL_BEGIN, /* call, id, name */
    CHAT_CALL_ADD,  /* call, text: more of its arguments */
    CHAT_FINISH,    /* finish */
    CHAT_USAGE,     /* usage, final */
    CHAT_ERROR,     /* text: what the provider says, may be absent */
    CHAT_END,       /* the stream is whole */
    CHAT_PING,      /* nothing yet; the provider is at work */
};

struct chat_event {
    enum chat_event_kind kind;
    enum chat_part_kind part;
    enum chat_finish finish;
    unsigned call;          /* number of the tool call, from 0 */
    struct dyn_slice text;  /* json */
    struct dyn_slice id;    /* json */
    struct dyn_slice model; /* json */
    struct dyn_slice name;  /* json */
    const struct env_usage *usage;
};

/* Calls in one answer, and parts that are open at once: what a stream's state is bounded by. */
enum { CHAT_CALLS_MAX = 128, CHAT_OPEN_MAX = 128 };

/* What a reader of a stream remembers between two events. A dialect uses what it needs. */
struct chat_reading {
    unsigned calls; /* begun so far */
    unsigned n_open;
    struct chat_open_part {
        int64_t index; /* the dialect's own number */
        unsigned call;
        bool is_call;
        bool has_text;
    } open[CHAT_OPEN_MAX];
    bool has_begun;
    bool has_finish;
    struct env_usage usage;
};

/* What a writer remembers. `head` is made once: what every event of the stream begins with. */
struct chat_writing {
    uint64_t created_s;
    bool wants_usage;
    bool is_open; /* a part that is not a call */
    enum chat_part_kind open;
    unsigned parts; /* begun so far */
    unsigned calls;
    unsigned call_part[CHAT_CALLS_MAX]; /* number of the part that each call is */
    enum chat_finish finish;
    struct env_usage usage;
    struct dyn_buf head;
};

typedef void (*chat_event_fn)(void *self, const struct chat_event *event);

/* ---- what a dialect must do ---- */

/* What a target's language has no words for: names as in errors ("messages[2].name"), in a comma list of at
 * most CHAT_LOSSES_MAX bytes; where that is too short the last item is "...". What may not stand in a
 * header is replaced. */
struct chat_losses {
    struct dyn_buf list;
};
enum { CHAT_LOSSES_MAX = 1024 };

struct chat_codec {
    bool has_schemas; /* can say FORMAT_SCHEMA */
    /* `body` was validated by the dialect's read_request. -1 with a problem. */
    int (*read_request)(struct dyn_slice body, struct arena *arena, struct chat_request *request,
                        struct dialect_problem *problem);
    /* What only tunes the answer and cannot be said is a loss; what changes the question is refused: -1 with
     * a problem that names the field as the caller wrote it. */
    int (*write_request)(const struct chat_request *request, struct arena *arena, struct dyn_buf *out,
                         struct chat_losses *losses, struct dialect_problem *problem);
    /* A whole plain answer; -1: it is none. It must stay while the record is used. */
    int (*read_answer)(struct dyn_slice body, struct arena *arena, struct chat_answer *answer);
    void (*write_answer)(const struct chat_answer *answer, struct dyn_buf *out);
    /* One event of a stream, validated here; calls `tell` for each thing that it says. -1: garbage. */
    int (*read_event)(struct chat_reading *reading, const struct sse_event *event, chat_event_fn tell,
                      void *self);
    /* Events of the wire for one thing said, none to several. */
    void (*write_event)(struct chat_writing *writing, const struct chat_event *event, struct dyn_buf *out);
};

/* ---- chat.c: what codecs share ---- */

struct chat_part *chat_part_add(struct chat_parts *parts, struct arena *arena, enum chat_part_kind kind);
struct chat_message *chat_message_add(struct chat_request *request, struct arena *arena, enum chat_role role);
struct chat_tool *chat_tool_add(struct chat_request *request, struct arena *arena);
void chat_other_add(struct chat_request *request, struct arena *arena, const struct json_member *member);

void chat_lose(struct chat_losses *losses, const char *path, ...) DYN_PRINTF(2, 3);
/* Always -1. `what` is the rest of a sentence that begins with the field's name. */
int chat_refuse(struct dialect_problem *problem, const char *what, const char *path, ...) DYN_PRINTF(3, 4);

/* The object that a validated text is. */
struct json_value chat_object(struct dyn_slice body);
/* The member's raw value when it has that type, else absent. */
struct dyn_slice chat_member(struct json_value object, const char *key, enum json_type type);
struct json_value chat_find(struct json_value object, const char *key); /* raw absent: there is none */
/* A string's bytes: in place when nothing is escaped, else in the arena. */
struct dyn_slice chat_decode(struct dyn_slice json, struct arena *arena);
/* A JSON string of plain bytes, in the arena. */
struct dyn_slice chat_encode(struct dyn_slice plain, struct arena *arena);
/* Whether a JSON string holds nothing but white space (Unicode's), or nothing at all. */
bool chat_is_blank(struct dyn_slice json);
/* Whether a JSON string has bytes. */
static inline bool
chat_has_text(struct dyn_slice json)
{
    return json.len > 2;
}
uint64_t chat_count(struct json_value object, const char *key); /* 0: none, or no number */

/* Whether the client asks in Anthropic's words that the model think. */
bool chat_is_thinking(const struct chat_request *request);

/* The part of a stream that has this number and is not closed; NULL: there is none. */
struct chat_open_part *chat_open_part_find(struct chat_reading *reading, int64_t index);

/* Writing JSON: a comma goes in front of everything but the first in its brackets. */
void chat_put_key(struct dyn_buf *out, const char *key);
void chat_put_raw(struct dyn_buf *out, const char *key, struct dyn_slice raw); /* absent: nothing */
void chat_put_item(struct dyn_buf *out);
