/* How one call to the mock is answered: what a model's name, or a rule of a script, asks for. The keys
 * are the table behaviours.def. Pure data; nothing here does anything. */
#pragma once

#include "core/buf.h"
#include "core/err.h"

/* Each list begins with what is meant when the key is absent. */
enum mock_finish { MOCK_FINISH_STOP, MOCK_FINISH_LENGTH, MOCK_FINISH_CONTENT_FILTER };
enum mock_usage { MOCK_USAGE_ASKED, MOCK_USAGE_NEVER, MOCK_USAGE_ALWAYS, MOCK_USAGE_FINISH };
enum mock_cut { MOCK_CUT_NONE, MOCK_CUT_START, MOCK_CUT_HEAD, MOCK_CUT_BODY, MOCK_CUT_EVENT, MOCK_CUT_DONE };
enum mock_hang { MOCK_HANG_NONE, MOCK_HANG_HEAD, MOCK_HANG_BODY };
enum mock_error { MOCK_ERROR_NONE, MOCK_ERROR_FIRST, MOCK_ERROR_MIDDLE };
enum mock_garbage {
    MOCK_GARBAGE_NONE,
    MOCK_GARBAGE_HEAD,
    MOCK_GARBAGE_BODY,
    MOCK_GARBAGE_HTML,
    MOCK_GARBAGE_EVENT,
};
enum mock_line_end { MOCK_LINE_END_LF, MOCK_LINE_END_CRLF, MOCK_LINE_END_CR };

struct mock_range {
    uint32_t from;
    uint32_t to; /* included; the same as `from` for a fixed value */
};

#define MOCK_AFTER_HALF UINT32_MAX
#define MOCK_RETRY_NONE UINT32_MAX

struct mock_behaviour {
    uint32_t tokens;
    uint32_t word_bytes; /* 0: words of their own length */
    struct mock_range pace_ms;
    struct mock_range delay_ms;
    struct mock_range first_ms;
    uint32_t seed;
    uint32_t tools;
    uint32_t think;
    uint32_t status;  /* 0: 200 and an answer */
    uint32_t retry_s; /* MOCK_RETRY_NONE: no header */
    uint32_t line_bytes;
    uint32_t after; /* MOCK_AFTER_HALF: half of the tokens */
    uint32_t drip_ms;
    uint32_t piece_bytes;
    uint32_t times;
    uint32_t every;
    enum mock_finish finish;
    enum mock_usage usage;
    enum mock_cut cut;
    enum mock_hang hang;
    enum mock_error error;
    enum mock_garbage garbage;
    enum mock_line_end line_end;
    bool tag;
    bool echo;
    bool limits;
    bool reset;
    bool no_space;
    bool comments;
    bool close;
};

/* What plain "mock" does. */
void mock_behaviour_init(struct mock_behaviour *behaviour);
/* Adds what "key-value-key-value" asks for. -1 with a sentence that names the key and what it takes. */
int mock_behaviour_parse(struct mock_behaviour *behaviour, struct dyn_slice text, struct dyn_err *err);
/* The same for the name of a model; what stands before a last '/' does not count. Names that do not begin
 * with "mock" are answered as "mock" is. */
int mock_behaviour_of_model(struct mock_behaviour *behaviour, struct dyn_slice model, struct dyn_err *err);
/* Takes out everything that is a fault. */
void mock_behaviour_heal(struct mock_behaviour *behaviour);
/* The table of all keys in Markdown. */
void mock_behaviour_write_table(struct dyn_buf *out);
