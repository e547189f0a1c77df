#include "proto/dialects/request_body.h"

#include "core/buf.h"

#include <stdio.h>

/* Longest model name: it travels in envelope headers and stands in log lines. */
#define MODEL_MAX_BYTES 512u
/* An escape is at most so much longer than what it stands for: a name beyond that need not be decoded. */
#define ESCAPED_MAX_BYTES 6u

int
request_body_scan(struct dyn_slice body, json_member_fn visit, void *self, struct dialect_problem *problem)
{
    struct json_error error = {"nothing", 0};
    int result = json_scan_object(body, JSON_DEPTH_DEFAULT, visit, self, &error);
    if (result < 0) {
        problem->param[0] = '\0';
        (void)snprintf(problem->message, sizeof problem->message,
                       "the body is not a valid JSON object: %s at byte %zu", error.what, error.offset);
        return -1;
    }
    return result;
}

const char *
request_body_model(struct json_value value, struct arena *arena, struct dialect_request *request)
{
    if (value.type != JSON_STRING) {
        return "must be a string";
    }
    struct dyn_slice model = json_string_plain(value);
    if (model.data == NULL && value.raw.len <= ESCAPED_MAX_BYTES * MODEL_MAX_BYTES + 2) {
        struct dyn_buf decoded = DYN_BUF_INIT;
        json_string_decode(value, &decoded);
        model = arena_copy(arena, dyn_buf_slice(&decoded));
        dyn_buf_fini(&decoded);
    }
    if (model.data == NULL || model.len > MODEL_MAX_BYTES) {
        return "must not be longer than 512 bytes";
    }
    if (model.len == 0) {
        return "must not be empty";
    }
    request->model = model;
    request->model_value = value;
    return NULL;
}
