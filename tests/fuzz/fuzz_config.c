/* The configuration loader over any bytes: the first one chooses YAML or JSON and the options, the rest is
 * the file. What comes out has to keep its promises whatever went in. */
#include "tests/unit/core/test_config_schema.h"

#include <stdlib.h>

static void
check(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void
check_problems(const config_t *config)
{
    const struct config_problems *problems = config_problems(config);
    struct config_mark last = {0, 0};
    size_t errors = 0;
    for (size_t i = 0; i < problems->n; i++) {
        const struct config_problem *problem = &problems->items[i];
        check(problem->mark.line > last.line ||
              (problem->mark.line == last.line && problem->mark.column >= last.column));
        check(problem->text[0] != '\0' && strchr(problem->text, '\n') == NULL);
        last = problem->mark;
        errors += problem->is_warning ? 0 : 1;
    }
    check(problems->left_out > 0 || errors == problems->errors);
    check(config_ok(config) == (problems->errors == 0));
}

static void
check_text(struct dyn_slice text)
{
    check(text.data == NULL || (text.data[text.len] == '\0' && strlen(text.data) == text.len));
}

static void
check_values(const config_t *config)
{
    const struct server_values *server = server_of(config);
    check(server->port >= 1 && server->port <= 65535);
    check(server->ratio >= 0 && server->ratio <= 1);
    check(server->body >= 1024 && server->body <= 1073741824);
    check(server->idle_ms >= 100 && server->idle_ms <= 3600000);
    check(server->mode >= 0 && server->mode <= 2);
    check_text(server->listen);
    check_text(server->tls.key);
    for (size_t i = 0; i < server->origins.n; i++) {
        check_text(server->origins.items[i]);
    }
    for (size_t i = 0; i < server->headers.n; i++) {
        check_text(server->headers.keys[i]);
        check_text(server->headers.values[i]);
    }
    const struct router_values *router = config_values(config, &router_part);
    const struct provider_values *provider = config_values(config, &provider_part);
    check(router->targets.n == provider->targets.n);
    const struct target_values *targets = router->targets.items;
    for (size_t i = 0; i < router->targets.n; i++) {
        check(targets[i].weight >= 1 && targets[i].weight <= 100);
        check(config_mark_of(config_problems(config), &targets[i]).line > 0 || !config_ok(config));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct dyn_slice text = {(const char *)data + 1, size - 1};
    const struct config_part *const none[] = {NULL};
    bool reads_files = memmem(text.data, text.len, "file:", 5) != NULL; /* of this machine */
    struct config_options options = {.lookup = &test_lookup,
                                     .ignore_unsupported = (data[0] & 2) != 0,
                                     .resolve = reads_files ? none : NULL,
                                     .n_resolve = 1};
    config_t *config = config_parse(text, (data[0] & 1) != 0 ? "f.json" : "f.yaml", test_parts,
                                    DYN_ARRAY_LEN(test_parts), &options);
    check_problems(config);
    check_values(config);
    struct dyn_buf out = DYN_BUF_INIT;
    config_print_problems(config, &out);
    dyn_buf_fini(&out);
    config_free(&config);
    return 0;
}
