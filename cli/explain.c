/* dynabus explain: compiles the configuration as `serve` does, asks a router of its own where the request
 * would go, and prints the answer. No target is called, no port opened; how targets fare is not known here
 * (POST /admin/explain of a running gateway knows). */
#include "actors/providers/provider_config.h"
#include "cli/cli.h"
#include "core/buf.h"
#include "core/json_scan.h"
#include "core/log.h"
#include "edge/edge_config.h"
#include "gateway/edition.h"
#include "gateway/gateway_config.h"
#include "gateway/parts.h"
#include "router/models_config.h"
#include "router/router.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { REQUEST_MAX = 64 * 1024 * 1024, HEADERS_MAX = 32, STOP_MS = 2000 };

struct question {
    const char *config;
    const char *path;
    const char *key;
    const char *surface;
    const char *seed;
    const char *headers[HEADERS_MAX];
    size_t n_headers;
    bool json;
};

static int
complain(const char *what, const char *why)
{
    (void)fprintf(stderr, "dynabus explain: %s: %s\n", what, why);
    return CLI_FAILED;
}

/* ---- who asks the router ---- */

struct asker {
    bus_addr_t router;
    struct env *request;
    struct env *end;
    pthread_mutex_t lock;
    pthread_cond_t ended;
};

static int
asker_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct asker *asker = self;
    return bus_send(me, asker->router, &asker->request, err);
}

static void
asker_receive(void *self, struct env **env_p)
{
    struct asker *asker = self;
    if ((*env_p)->kind != ENV_END) {
        env_free(env_p);
        return;
    }
    (void)pthread_mutex_lock(&asker->lock);
    asker->end = *env_p;
    *env_p = NULL;
    (void)pthread_cond_signal(&asker->ended);
    (void)pthread_mutex_unlock(&asker->lock);
}

static void
asker_stop(void *self)
{
    (void)self;
}

static const struct bus_actor_ops asker_ops = {
    .kind = "asker", .start = asker_start, .receive = asker_receive, .stop = asker_stop};

/* The END, or NULL with a sentence. */
static struct env *
ask_router(struct route_plan *plan, struct env *request, struct dyn_err *err)
{
    struct router_shared shared = {.admission = {.open = true}};
    struct asker asker = {.request = request};
    struct bus_options bus_options = {.inproc = false};
    struct router_options options = {.plan = plan, .shared = &shared};
    bus_t *bus = bus_new(&bus_options, err);
    if (bus == NULL) {
        env_free(&asker.request);
        return NULL;
    }
    (void)pthread_mutex_init(&asker.lock, NULL);
    (void)pthread_cond_init(&asker.ended, NULL);
    bus_loop_t *loop = bus_add_loop(bus, "explain");
    asker.router = bus_add_actor(bus, loop, &router_actor_ops, router_new(&options));
    (void)bus_add_actor(bus, loop, &asker_ops, &asker);
    if (bus_start(bus, err) == 0) {
        (void)pthread_mutex_lock(&asker.lock);
        while (asker.end == NULL) {
            (void)pthread_cond_wait(&asker.ended, &asker.lock);
        }
        (void)pthread_mutex_unlock(&asker.lock);
        (void)bus_stop(bus, STOP_MS);
    }
    bus_free(&bus);
    env_free(&asker.request);
    (void)pthread_cond_destroy(&asker.ended);
    (void)pthread_mutex_destroy(&asker.lock);
    return asker.end;
}

/* ---- the question ---- */

static int
read_file(const char *path, struct dyn_buf *out)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (file == NULL) {
        return -1;
    }
    size_t got;
    do {
        char *room = dyn_buf_room(out, 65536);
        got = fread(room, 1, 65536, file);
        out->len += got;
    } while (got > 0 && out->len <= REQUEST_MAX);
    int failed = ferror(file) || out->len > REQUEST_MAX;
    if (file != stdin) {
        (void)fclose(file);
    }
    return failed ? -1 : 0;
}

static void
add_string(struct dyn_buf *out, const char *name, const char *value)
{
    if (value != NULL) {
        dyn_buf_addf(out, ",\"%s\":", name);
        dyn_buf_add_json_string(out, dyn_slice_str(value));
    }
}

static struct env *
make_request(const struct question *question, const struct dyn_buf *body)
{
    struct dyn_buf text = DYN_BUF_INIT;
    dyn_buf_add_str(&text, "{\"request\":");
    dyn_buf_add(&text, body->data, body->len);
    add_string(&text, "key", question->key);
    add_string(&text, "surface", question->surface);
    if (question->seed != NULL) {
        dyn_buf_addf(&text, ",\"seed\":%s", question->seed);
    }
    for (size_t i = 0; i < question->n_headers; i++) {
        const char *colon = strchr(question->headers[i], ':');
        dyn_buf_add_str(&text, i == 0 ? ",\"headers\":{" : ",");
        struct dyn_slice name = dyn_slice(question->headers[i], (size_t)(colon - question->headers[i]));
        dyn_buf_add_json_string(&text, name);
        dyn_buf_add_char(&text, ':');
        dyn_buf_add_json_string(&text, dyn_slice_str(colon + 1 + strspn(colon + 1, " ")));
    }
    dyn_buf_add_str(&text, question->n_headers > 0 ? "}}" : "}");
    struct env *request = env_new(ENV_REQUEST);
    request->id = env_id_random();
    request->surface = ENV_SURFACE_EXPLAIN;
    request->body = dyn_block_copy(0, dyn_buf_slice(&text));
    request->credit = ENV_WINDOW_FIRST;
    dyn_buf_fini(&text);
    return request;
}

/* ---- the answer ---- */

static struct json_value
member(struct json_value object, const char *name)
{
    struct json_value value = {JSON_NULL, DYN_SLICE("")};
    (void)json_find(object, name, &value);
    return value;
}

static void
print_text(struct json_value value)
{
    struct dyn_buf text = DYN_BUF_INIT;
    if (value.type == JSON_STRING) {
        json_string_decode(value, &text);
    } else if (value.type != JSON_NULL) {
        dyn_buf_add_slice(&text, value.raw);
    }
    (void)fputs(text.len > 0 ? dyn_buf_cstr(&text) : "-", stdout);
    dyn_buf_fini(&text);
}

static void
print_head(struct json_value answer)
{
    struct json_value refused = member(answer, "refused");
    (void)printf("model     ");
    print_text(member(answer, "asked_model"));
    if (!dyn_slice_eq(member(answer, "model").raw, member(answer, "asked_model").raw)) {
        (void)printf(", an alias of ");
        print_text(member(answer, "model"));
    }
    (void)printf("\nstrategy  ");
    print_text(member(answer, "strategy"));
    if (member(answer, "rule").type == JSON_NUMBER) {
        int64_t rule = 0;
        (void)json_int64(member(answer, "rule"), &rule);
        (void)printf(", rule %lld of the list", (long long)rule + 1);
    }
    bool is_overridden = member(answer, "overridden").type == JSON_TRUE;
    (void)printf("%s\n", is_overridden ? "; the request names its targets" : "");
    if (refused.type == JSON_OBJECT) {
        (void)printf("refused   ");
        print_text(member(refused, "status"));
        (void)printf(" ");
        print_text(member(refused, "code"));
        (void)printf(": ");
        print_text(member(refused, "message"));
        (void)printf("\n");
    }
}

static void
print_column(struct json_value target, const char *name, int width)
{
    struct json_value value = member(target, name);
    struct dyn_slice shown = value.type == JSON_NUMBER ? value.raw : json_string_plain(value);
    if (shown.len == 0 || dyn_slice_is(shown, "0")) {
        shown = DYN_SLICE("-");
    }
    (void)printf("%-*.*s ", width, (int)shown.len, shown.data);
}

static void
print_targets(struct json_value answer)
{
    static const struct {
        const char *name;
        const char *title;
        int width;
    } columns[] = {{"place", "place", 6},
                   {"name", "target", 24},
                   {"provider", "provider", 18},
                   {"breaker", "breaker", 10},
                   {"estimated_cost_usd", "cost USD", 14}};
    (void)printf("\n");
    for (size_t i = 0; i < DYN_ARRAY_LEN(columns); i++) {
        (void)printf("%-*s ", columns[i].width, columns[i].title);
    }
    (void)printf("why\n");
    struct json_iter targets = json_iter(member(answer, "targets"));
    for (struct json_member item; json_iter_next(&targets, &item);) {
        for (size_t i = 0; i < DYN_ARRAY_LEN(columns); i++) {
            print_column(item.value, columns[i].name, columns[i].width);
        }
        print_text(member(item.value, "why"));
        (void)printf("\n");
    }
}

static void
print_only_for(struct json_value whom)
{
    if (whom.type == JSON_STRING) {
        (void)printf("       only ");
        print_text(whom);
    }
    (void)printf("\n");
}

static void
print_plugins(struct json_value answer)
{
    static const struct {
        const char *name;
        const char *title;
        int width;
    } columns[] = {{"stage", "stage", 15}, {"group", "group", 6},        {"name", "plugin", 24},
                   {"place", "place", 8},  {"on_failure", "failure", 8}, {"timeout_ms", "ms", 6}};
    struct json_iter plugins = json_iter(member(answer, "plugins"));
    bool has_head = false;
    for (struct json_member item; json_iter_next(&plugins, &item);) {
        if (!has_head) {
            (void)printf("\n");
            for (size_t i = 0; i < DYN_ARRAY_LEN(columns); i++) {
                (void)printf("%-*s ", columns[i].width, columns[i].title);
            }
            (void)printf("required\n");
            has_head = true;
        }
        for (size_t i = 0; i < DYN_ARRAY_LEN(columns); i++) {
            print_column(item.value, columns[i].name, columns[i].width);
        }
        (void)printf("%s", member(item.value, "required").type == JSON_TRUE ? "yes" : "no");
        print_only_for(member(item.value, "only_for"));
    }
}

static int
print_answer(const struct question *question, const struct env *end)
{
    struct dyn_slice body = dyn_block_slice(end->body);
    if (end->outcome != ENV_OUTCOME_OK) {
        struct dyn_slice own = dyn_slice_str(err_row(end->error)->sentence);
        struct dyn_slice text = end->error_text.len > 0 ? end->error_text : own;
        (void)fprintf(stderr, "dynabus explain: %.*s\n", (int)text.len, text.data);
        return CLI_FAILED;
    }
    struct json_value answer;
    if (question->json || json_scan(body, JSON_DEPTH_DEFAULT, &answer, NULL) != 0) {
        (void)printf("%.*s\n", (int)body.len, body.data);
        return CLI_OK;
    }
    print_head(answer);
    print_targets(answer);
    print_plugins(answer);
    return CLI_OK;
}

/* ---- putting it together ---- */

/* As a router without providers reads it: no credential is needed to say where a request goes. A file without
 * targets means those of the environment. */
static struct gateway_edition *
compile(const char *path, struct upstream_tally *tally, config_t **implied_p, struct dyn_err *err)
{
    static const struct config_part *const resolved[] = {&gateway_config_part, &edge_config_part,
                                                         &router_config_part, &models_config_part};
    struct config_options how = {.resolve = resolved, .n_resolve = DYN_ARRAY_LEN(resolved)};
    config_t *config = config_load(path, gateway_parts, gateway_n_parts, &how);
    if (!config_ok(config)) {
        struct dyn_buf text = DYN_BUF_INIT;
        config_print_problems(config, &text);
        (void)fputs(dyn_buf_cstr(&text), stderr);
        dyn_buf_fini(&text);
        config_free(&config);
        (void)dyn_err_set(err, DYN_E_CONFIG, "the configuration cannot be used");
        return NULL;
    }
    const struct provider_config *providers = config_values(config, &provider_config_part);
    struct upstreams_options options = {.tally = tally, .routes_only = providers->targets.n > 0};
    catalogue_t *catalogue = catalogue_builtin();
    struct gateway_edition *edition = gateway_edition_new(1, &config, &options, true, catalogue, err);
    catalogue_unref(&catalogue);
    static const struct plugin_host host = {.clock = &dyn_clock_system, .n_cells = 1};
    config_t *implied = edition != NULL ? gateway_implied_of(edition->config) : NULL;
    struct plugin_set_options plugins = {.host = &host, .hosts_router = true, .hosts_plugin = true};
    plugins.implied = implied != NULL ? config_values(implied, &plugin_config_part) : NULL;
    if (edition != NULL && gateway_edition_add_plugins(edition, &plugins, err) != 0) {
        gateway_edition_unref(&edition);
    }
    *implied_p = implied;
    return edition;
}

static int
explain(const struct question *question)
{
    struct dyn_err err = {.text = ""};
    struct dyn_buf body = DYN_BUF_INIT;
    struct upstream_tally tally = {.lock = PTHREAD_MUTEX_INITIALIZER};
    int code = CLI_FAILED;
    upstream_tally_init(&tally);
    config_t *implied = NULL;
    struct gateway_edition *edition = compile(question->config, &tally, &implied, &err);
    if (edition == NULL) {
        code = complain(question->config, err.text);
    } else if (read_file(question->path, &body) != 0) {
        code = complain(question->path, errno != 0 ? strerror(errno) : "it is too long");
    } else {
        struct env *end = ask_router(edition->plan, make_request(question, &body), &err);
        code = end != NULL ? print_answer(question, end) : complain("the router", err.text);
        env_free(&end);
    }
    dyn_buf_fini(&body);
    gateway_edition_unref(&edition);
    config_free(&implied);
    upstream_tally_fini(&tally);
    return code;
}

static bool
take_header(struct question *question, const char *text)
{
    const char *colon = strchr(text, ':');
    if (colon == NULL || colon == text || question->n_headers == HEADERS_MAX) {
        return false;
    }
    question->headers[question->n_headers++] = text;
    return true;
}

static bool
is_number(const char *text)
{
    return *text != '\0' && text[strspn(text, "0123456789")] == '\0' && strlen(text) < 19;
}

int
cli_explain(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"header", required_argument, NULL, 'h'},
        {"key", required_argument, NULL, 'k'},
        {"surface", required_argument, NULL, 's'},
        {"seed", required_argument, NULL, 'n'},
        {"json", no_argument, NULL, 'j'},
        {NULL, 0, NULL, 0},
    };
    struct question question = {.config = NULL};
    bool is_good = true;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        question.config = c == 'c' ? optarg : question.config;
        question.key = c == 'k' ? optarg : question.key;
        question.surface = c == 's' ? optarg : question.surface;
        question.seed = c == 'n' ? optarg : question.seed;
        question.json = question.json || c == 'j';
        is_good = is_good && c != '?' && (c != 'h' || take_header(&question, optarg)) &&
                  (c != 'n' || is_number(optarg));
    }
    if (!is_good || question.config == NULL || argc - optind != 1) {
        return cli_wrong_usage("explain");
    }
    question.path = argv[optind];
    dyn_log_configure(STDERR_FILENO, DYN_LOG_WARN, DYN_LOG_FORMAT_TEXT);
    return explain(&question);
}
