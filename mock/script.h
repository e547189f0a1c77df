/* A script: rules in a JSON file that say how the mock answers, for names that are no mock names, for
 * sequences of calls, and for answers of any shape (docs/mock.md). Read once, strictly: an unknown key is
 * an error. A rule counts its calls. */
#pragma once

#include "edge/http_server.h"
#include "mock/behaviour.h"

typedef struct mock_script mock_script_t;

struct mock_rule {
    struct dyn_slice model; /* exact, or up to a final '*'; absent: any */
    struct dyn_slice path;
    struct mock_behaviour *behaviours; /* of the first call, the second, ...; the last one stays */
    uint32_t n_behaviours;
    uint64_t calls;

    bool has_answer; /* what follows is said instead of a chat completion */
    unsigned status;
    struct http_header *headers;
    size_t n_headers;
    struct dyn_slice content_type;
    struct dyn_slice body;    /* of a plain answer; absent: `text` or words in a chat completion */
    struct dyn_slice text;    /* content of a chat completion */
    struct dyn_slice *events; /* data of each event of a stream */
    uint32_t n_events;
    bool no_done;
};

/* NULL with a sentence that says where. The text is copied. */
mock_script_t *mock_script_parse(struct dyn_slice text, struct dyn_err *err);
mock_script_t *mock_script_load(const char *path, struct dyn_err *err);
void mock_script_free(mock_script_t **script_p);

/* The first rule that fits, or NULL. A NULL script has none. `model` is absent for requests without one. */
struct mock_rule *mock_script_match(mock_script_t *script, struct dyn_slice path, struct dyn_slice model);
/* What the rule's next call does. Counts it. */
const struct mock_behaviour *mock_rule_next(struct mock_rule *rule);
/* Models for /v1/models; 0: the script names none. */
size_t mock_script_models(const mock_script_t *script, const struct dyn_slice **models);
