/* dynabus ask: one chat request over the bus (03-CLIENT), as a program in any language would make it. It uses
 * nothing of the gateway but the codec of envelopes. */
#include "bus/client.h"
#include "bus/credit.h"
#include "cli/bus_options.h"
#include "cli/cli.h"
#include "core/buf.h"
#include "core/json_scan.h"
#include "proto/sse.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    TICK_MS = 1000,       /* the router ends what takes too long; only the connection is watched here */
    PLAIN_MAX = 64 << 20, /* of an answer that is kept until its end */
};

struct ask_options {
    struct bus_options bus;
    const char *model;
    const char *text;
    bool stream;
    bool json;
};

struct ask {
    const struct ask_options *options;
    bus_client_t *client;
    struct env_id id;
    struct credit_receiver credit;
    uint32_t next_sequence;
    struct dyn_buf plain; /* a plain answer, which may start over until its END */
    struct sse_reader events;
    bool is_stream; /* the answer, whatever was asked for */
    bool on_terminal;
    bool ended_line;
};

/* ---- printing ---- */

/* A terminal would obey what a model says. */
static void
print(struct ask *ask, struct dyn_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        bool is_control = (c < ' ' && c != '\n' && c != '\t') || c == 0x7f;
        (void)putchar(ask->on_terminal && is_control ? '?' : c);
    }
    if (text.len > 0) {
        ask->ended_line = text.data[text.len - 1] == '\n';
    }
    (void)fflush(stdout);
}

static bool
first_item(struct json_value list, struct json_value *item)
{
    struct json_member member;
    struct json_iter it = json_iter(list);
    if (list.type != JSON_ARRAY || !json_iter_next(&it, &member)) {
        return false;
    }
    *item = member.value;
    return true;
}

/* choices[0].message.content, or of a stream's event choices[0].delta.content. */
static bool
find_content(struct dyn_slice text, const char *where, struct json_value *content)
{
    struct json_value value;
    struct json_value choice;
    return json_scan(text, JSON_DEPTH_DEFAULT, &value, NULL) == 0 && json_find(value, "choices", &value) &&
           first_item(value, &choice) && json_find(choice, where, &value) &&
           json_find(value, "content", content) && content->type == JSON_STRING;
}

static void
print_content(struct ask *ask, struct json_value content)
{
    struct dyn_buf text = DYN_BUF_INIT;
    json_string_decode(content, &text);
    print(ask, dyn_buf_slice(&text));
    dyn_buf_fini(&text);
}

/* An answer that is no text (calls of tools) is shown as it came. */
static void
print_plain(struct ask *ask, struct dyn_slice body)
{
    struct json_value content;
    if (!ask->options->json && find_content(body, "message", &content)) {
        print_content(ask, content);
    } else {
        print(ask, body);
    }
}

static void
print_events(struct ask *ask, struct dyn_slice bytes)
{
    struct sse_event event;
    struct json_value content;
    if (ask->options->json) {
        print(ask, bytes);
        return;
    }
    while (sse_reader_next(&ask->events, &bytes, &event) == 1) {
        if (find_content(event.data, "delta", &content)) {
            print_content(ask, content);
        }
    }
}

/* ---- asking ---- */

static dyn_block_t *
chat_body(const struct ask_options *options)
{
    struct dyn_buf json = DYN_BUF_INIT;
    dyn_buf_add_str(&json, "{\"model\":");
    dyn_buf_add_json_string(&json, dyn_slice_str(options->model));
    dyn_buf_add_str(&json, options->stream ? ",\"stream\":true" : "");
    dyn_buf_add_str(&json, ",\"messages\":[{\"role\":\"user\",\"content\":");
    dyn_buf_add_json_string(&json, dyn_slice_str(options->text));
    dyn_buf_add_str(&json, "}]}");
    dyn_block_t *body = dyn_block_copy(0, dyn_buf_slice(&json));
    dyn_buf_fini(&json);
    return body;
}

static int
send_request(struct ask *ask, struct dyn_err *err)
{
    const struct ask_options *options = ask->options;
    struct env *request = env_new(ENV_REQUEST);
    ask->id = request->id = env_id_random();
    request->surface = ENV_SURFACE_CHAT;
    request->stream = options->stream;
    request->dialect = DYN_SLICE("openai_chat");
    request->credit = ENV_WINDOW_FIRST;
    if (options->bus.api_key != NULL) {
        request->credential = dyn_slice_str(options->bus.api_key);
    }
    request->body = chat_body(options);
    int result = bus_client_send(ask->client, request, err);
    env_free(&request);
    return result;
}

static int
grant(struct ask *ask, size_t used, struct dyn_err *err)
{
    uint32_t bytes = credit_receiver_consumed(&ask->credit, used);
    if (bytes == 0) {
        return 0;
    }
    struct env *credit = env_new(ENV_CREDIT);
    credit->id = ask->id;
    credit->credit = bytes;
    int result = bus_client_send(ask->client, credit, err);
    env_free(&credit);
    return result;
}

/* ---- the answer ---- */

static int
take_chunk(struct ask *ask, const struct env *chunk, struct dyn_err *err)
{
    struct dyn_slice bytes = dyn_block_slice(chunk->body);
    bool is_first = chunk->sequence == 0;
    if (is_first && !(ask->is_stream && ask->next_sequence > 0)) {
        ask->is_stream = chunk->stream;
        dyn_buf_clear(&ask->plain); /* a plain answer may start over */
    } else if (chunk->sequence != ask->next_sequence) {
        return dyn_err_set(err, DYN_E_INVALID, "a piece of the answer is missing");
    }
    ask->next_sequence = chunk->sequence + 1;
    if (!credit_receiver_arrived(&ask->credit, bytes.len)) {
        return dyn_err_set(err, DYN_E_INVALID, "the router sent more than it was granted");
    }
    if (ask->is_stream) {
        print_events(ask, bytes);
    } else {
        dyn_buf_add_slice(&ask->plain, bytes);
        if (ask->plain.failed) {
            return dyn_err_set(err, DYN_E_LIMIT, "the answer is longer than %d bytes", PLAIN_MAX);
        }
    }
    return grant(ask, bytes.len, err);
}

static int
refused(const struct env *end, struct dyn_err *err)
{
    const struct err_row *row = err_row(end->error != ERR_NONE ? end->error : ERR_INTERNAL);
    struct dyn_slice text = end->error_text.len > 0 ? end->error_text : dyn_slice_str(row->sentence);
    struct dyn_buf said = DYN_BUF_INIT;
    dyn_buf_addf(&said, "%.*s (%s)", (int)text.len, text.data, row->code);
    if (end->retry_after_s > 0) {
        dyn_buf_addf(&said, "; try again in %u s", end->retry_after_s);
    }
    (void)dyn_err_set(err, DYN_E_INVALID, "%s", dyn_buf_cstr(&said));
    dyn_buf_fini(&said);
    return -1;
}

static int
take_end(struct ask *ask, const struct env *end, struct dyn_err *err)
{
    struct dyn_slice body = dyn_block_slice(end->body);
    if (end->outcome == ENV_OUTCOME_CANCELLED) {
        return dyn_err_set(err, DYN_E_INVALID, "the request was cancelled");
    }
    if (end->outcome != ENV_OUTCOME_OK) {
        return refused(end, err);
    }
    if (ask->is_stream || end->stream) {
        print_events(ask, body);
    } else {
        print_plain(ask, body.len > 0 ? body : dyn_buf_slice(&ask->plain));
    }
    return 0;
}

/* 1: not the end yet. */
static int
take(struct ask *ask, const struct env *env, struct dyn_err *err)
{
    if (env->kind == ENV_GOODBYE && !dyn_slice_is(env->reason, "drain")) {
        return dyn_err_set(err, DYN_E_GONE, "the router told us to go: %.*s", (int)env->reason.len,
                           env->reason.len > 0 ? env->reason.data : "");
    }
    if (!env_id_eq(&env->id, &ask->id)) {
        return 1;
    }
    if (env->kind == ENV_CHUNK) {
        return take_chunk(ask, env, err) == 0 ? 1 : -1;
    }
    return env->kind == ENV_END ? take_end(ask, env, err) : 1;
}

static int
ask_and_wait(struct ask *ask, struct dyn_err *err)
{
    int result = send_request(ask, err) == 0 ? 1 : -1;
    while (result == 1) {
        struct env *env = NULL;
        result = bus_client_receive(ask->client, TICK_MS, &env, err);
        if (result == 0) {
            result = take(ask, env, err);
        }
        env_free(&env);
    }
    return result;
}

/* ---- the command ---- */

static int
run(const struct ask_options *options, struct dyn_err *err)
{
    struct ask ask = {
        .options = options,
        .plain = DYN_BUF_INIT_LIMIT(PLAIN_MAX),
        .on_terminal = isatty(STDOUT_FILENO) == 1,
        .ended_line = true,
    };
    int result = -1;
    bus_security_t *security = bus_options_security(&options->bus, err);
    ask.client = security != NULL ? bus_client_open(options->bus.bus, security, err) : NULL;
    if (ask.client != NULL) {
        credit_receiver_init(&ask.credit, ENV_WINDOW_FIRST);
        sse_reader_init(&ask.events, SSE_EVENT_MAX);
        result = ask_and_wait(&ask, err);
        sse_reader_fini(&ask.events);
        dyn_buf_fini(&ask.plain);
        if (!ask.ended_line) {
            (void)putchar('\n');
        }
    }
    bus_client_close(&ask.client);
    bus_security_free(&security);
    return result;
}

static int
parse(int argc, char **argv, struct ask_options *options)
{
    enum { STREAM = BUS_OPTION_END, JSON };
    static const struct option known[] = {
        BUS_OPTION_ROWS,
        {"stream", no_argument, NULL, STREAM},
        {"json", no_argument, NULL, JSON},
        {0},
    };
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (option == STREAM) {
            options->stream = true;
        } else if (option == JSON) {
            options->json = true;
        } else if (!bus_options_take(&options->bus, option, optarg)) {
            return -1;
        }
    }
    if (argc - optind != 2 || !bus_options_are_whole(&options->bus)) {
        return -1;
    }
    options->model = argv[optind];
    options->text = argv[optind + 1];
    return 0;
}

int
cli_ask(int argc, char **argv)
{
    struct ask_options options = {.bus = bus_options_default()};
    struct dyn_err err = {.code = DYN_OK};
    if (parse(argc, argv, &options) != 0) {
        return cli_wrong_usage("ask");
    }
    if (run(&options, &err) != 0) {
        (void)fflush(stdout);
        (void)fprintf(stderr, "dynabus ask: %s\n", err.text);
        return CLI_FAILED;
    }
    return CLI_OK;
}
