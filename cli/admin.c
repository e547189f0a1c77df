/* dynabus admin ..: what an operator does to the keys and budgets of a running gateway, over its own HTTP.
 * Each command is one request to /admin; a secret is printed once, by create and rotate. */
#include "cli/admin.h"
#include "cli/cli.h"
#include "cli/http_place.h"
#include "core/clock.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *
first_set(const char *const *variables, const char *otherwise)
{
    for (; *variables != NULL; variables++) {
        const char *value = getenv(*variables);
        if (value != NULL && *value != '\0') {
            return value;
        }
    }
    return otherwise;
}

/* ---- the question ---- */

static int
send_all(int fd, struct dyn_slice text)
{
    while (text.len > 0) {
        ssize_t put = send(fd, text.data, text.len, MSG_NOSIGNAL);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            return -1;
        }
        text = dyn_slice(text.data + put, text.len - (size_t)put);
    }
    return 0;
}

static int
receive_all(int fd, struct dyn_buf *answer)
{
    for (;;) {
        char *room = dyn_buf_room(answer, 16384);
        ssize_t got = room != NULL ? recv(fd, room, 16384, 0) : -1;
        if (got < 0 && room != NULL && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return (int)got;
        }
        answer->len += (size_t)got;
    }
}

/* A header's value that would end it is no value. */
static bool
fits_header(const char *text)
{
    return text != NULL && strpbrk(text, "\r\n") == NULL;
}

int
admin_ask(const struct admin_wanted *wanted, const char *method, const char *path, struct dyn_slice body,
          struct dyn_buf *answer)
{
    struct cli_place place;
    if (cli_read_url(wanted->url, &place) != 0) {
        (void)fprintf(stderr, "dynabus admin: a gateway's URL is http://HOST:PORT, not '%s'\n", wanted->url);
        return -1;
    }
    if (!fits_header(wanted->key)) {
        (void)fputs("dynabus admin: no key; give --api-key, or set DYNABUS_API_KEY or MASTER_KEY\n", stderr);
        return -1;
    }
    int fd = cli_connect("dynabus admin", &place);
    if (fd < 0) {
        return -1;
    }
    struct dyn_buf request = DYN_BUF_INIT;
    dyn_buf_addf(&request,
                 "%s /admin/%s HTTP/1.1\r\nHost: %s:%s\r\nAuthorization: Bearer %s\r\nConnection: close\r\n"
                 "User-Agent: dynabus-admin\r\n",
                 method, path, place.host, place.port, wanted->key);
    if (body.data != NULL) {
        dyn_buf_addf(&request, "Content-Type: application/json\r\nContent-Length: %zu\r\n", body.len);
    }
    dyn_buf_add_str(&request, "\r\n");
    dyn_buf_add_slice(&request, body);
    int rc = send_all(fd, dyn_buf_slice(&request)) != 0 ? -1 : receive_all(fd, answer);
    (void)close(fd);
    dyn_buf_fini(&request);
    if (rc != 0) {
        (void)fprintf(stderr, "dynabus admin: no whole answer from %s:%s\n", place.host, place.port);
    }
    return rc;
}

/* ---- the answer ---- */

/* Status, and where the body begins; 0: it is no answer of a gateway. */
unsigned
admin_take_apart(struct dyn_buf *answer, struct dyn_slice *body)
{
    static const char begin[] = "HTTP/1.1 ";
    const char *text = dyn_buf_cstr(answer);
    const char *end = strstr(text, "\r\n\r\n");
    if (strncmp(text, begin, sizeof begin - 1) != 0 || end == NULL) {
        return 0;
    }
    *body = dyn_slice(end + 4, answer->len - (size_t)(end + 4 - text));
    return (unsigned)strtoul(text + sizeof begin - 1, NULL, 10);
}

void
admin_print_text(FILE *out, struct json_value object, const char *name, const char *otherwise, int width)
{
    struct json_value value;
    struct dyn_buf text = DYN_BUF_INIT;
    if (json_find(object, name, &value) && value.type == JSON_STRING) {
        json_string_decode(value, &text);
    } else if (json_find(object, name, &value) && value.type == JSON_ARRAY) {
        struct json_member item;
        for (struct json_iter it = json_iter(value); json_iter_next(&it, &item);) {
            dyn_buf_add_str(&text, text.len > 0 ? "," : "");
            json_string_decode(item.value, &text);
        }
    } else if (json_find(object, name, &value) && value.type == JSON_NUMBER) {
        dyn_buf_add_slice(&text, value.raw);
    }
    for (size_t i = 0; i < text.len; i++) { /* what would move a terminal's cursor */
        text.data[i] = (unsigned char)text.data[i] < ' ' || text.data[i] == 0x7f ? '?' : text.data[i];
    }
    (void)fprintf(out, "%-*s", width, text.len > 0 ? dyn_buf_cstr(&text) : otherwise);
    dyn_buf_fini(&text);
}

static const char *
state_of(struct json_value key)
{
    struct json_value value;
    if (json_find(key, "revoked_at", &value) && value.type == JSON_STRING) {
        return "revoked";
    }
    return json_find(key, "active", &value) && value.type == JSON_TRUE ? "active" : "expired";
}

static void
print_row(struct json_value key)
{
    admin_print_text(stdout, key, "id", "-", 18);
    admin_print_text(stdout, key, "name", "-", 24);
    admin_print_text(stdout, key, "scopes", "-", 22);
    (void)printf("%-9s", state_of(key));
    admin_print_text(stdout, key, "expires_at", "never", 26);
    admin_print_text(stdout, key, "usage_count", "0", 0);
    (void)putchar('\n');
}

static void
print_table(struct json_value value)
{
    struct json_member item;
    (void)printf("%-18s%-24s%-22s%-9s%-26s%s\n", "ID", "NAME", "SCOPES", "STATE", "EXPIRES", "USES");
    (void)printf("%-18s%-24s%-22s%-9s%-26s%s\n", "--", "----", "------", "-----", "-------", "----");
    for (struct json_iter it = json_iter(value); value.type == JSON_ARRAY && json_iter_next(&it, &item);) {
        print_row(item.value);
    }
    if (value.type == JSON_OBJECT) {
        print_row(value);
    }
}

int
admin_tell_error(unsigned status, struct dyn_slice body)
{
    struct json_value value;
    struct json_value error;
    bool is_known = json_scan(body, JSON_DEPTH_DEFAULT, &value, NULL) == 0 && value.type == JSON_OBJECT &&
                    json_find(value, "error", &error) && error.type == JSON_OBJECT;
    (void)fprintf(stderr, "dynabus admin: %u: ", status);
    if (is_known) {
        admin_print_text(stderr, error, "message", "no reason was given", 0);
    }
    (void)fputc('\n', stderr);
    return CLI_FAILED;
}

/* `shows_secret`: the key is there in full, this once. */
static int
tell(const struct admin_wanted *wanted, struct dyn_buf *answer, bool shows_secret, const char *done)
{
    struct json_value value;
    struct dyn_slice body = {NULL, 0};
    unsigned status = admin_take_apart(answer, &body);
    if (status < 200 || status > 299) {
        return admin_tell_error(status, body);
    }
    if (status == 204) {
        (void)puts(wanted->is_json ? "{}" : done);
        return CLI_OK;
    }
    if (json_scan(body, JSON_DEPTH_DEFAULT, &value, NULL) != 0) {
        (void)fputs("dynabus admin: what answers there is not a gateway\n", stderr);
        return CLI_FAILED;
    }
    struct json_value id;
    bool is_key = value.type == JSON_OBJECT && json_find(value, "id", &id);
    if (wanted->is_json) {
        (void)printf("%.*s\n", (int)body.len, body.data);
    } else if (is_key || value.type == JSON_ARRAY) {
        print_table(value);
    } else {
        (void)puts(done);
    }
    if (shows_secret && !wanted->is_json) {
        (void)fputs("\nThis is the key; it is not shown again:\n\n  ", stdout);
        admin_print_text(stdout, value, "key", "-", 0);
        (void)putchar('\n');
    }
    return CLI_OK;
}

/* ---- what is to be changed ---- */

static void
add_names(struct dyn_buf *body, const char *member, const struct admin_names *names)
{
    if (names->n == 0) {
        return;
    }
    dyn_buf_addf(body, "%s\"%s\":[", body->len > 1 ? "," : "", member);
    for (size_t i = 0; i < names->n; i++) {
        dyn_buf_add_str(body, i > 0 ? "," : "");
        dyn_buf_add_json_string(body, dyn_slice_str(names->items[i]));
    }
    dyn_buf_add_char(body, ']');
}

static void
add_text(struct dyn_buf *body, const char *member, const char *text)
{
    if (text != NULL) {
        dyn_buf_addf(body, "%s\"%s\":", body->len > 1 ? "," : "", member);
        dyn_buf_add_json_string(body, dyn_slice_str(text));
    }
}

/* "90d", "12h", "30m": seconds; 0: it is none of these. */
uint64_t
admin_seconds_of(const char *text)
{
    char *end = NULL;
    unsigned long number = strtoul(text, &end, 10);
    uint64_t unit = *end == 'd' ? 86400 : *end == 'h' ? 3600 : *end == 'm' ? 60 : *end == 's' ? 1 : 0;
    bool is_good = end != text && text[0] != '-' && unit != 0 && end[1] == '\0' && number <= 100000;
    return is_good ? number * unit : 0;
}

static int
write_body(const struct admin_wanted *wanted, struct dyn_buf *body)
{
    char expires[DYN_TIMESTAMP_SIZE];
    dyn_buf_add_char(body, '{');
    add_text(body, "name", wanted->name);
    add_text(body, "group", wanted->group);
    add_names(body, "scopes", &wanted->scopes);
    add_names(body, "models", &wanted->models);
    add_names(body, "targets", &wanted->targets);
    if (wanted->expires_in != NULL && strcmp(wanted->expires_in, "never") == 0) {
        dyn_buf_addf(body, "%s\"clear_expiration\":true", body->len > 1 ? "," : "");
    } else if (wanted->expires_in != NULL) {
        uint64_t seconds = admin_seconds_of(wanted->expires_in);
        if (seconds == 0) {
            (void)fprintf(stderr, "dynabus admin: --expires-in takes 90d, 12h, 30m or never, not '%s'\n",
                          wanted->expires_in);
            return -1;
        }
        dyn_timestamp(dyn_wall_us(&dyn_clock_system) + seconds * 1000000, expires);
        add_text(body, "expires_at", expires);
    }
    dyn_buf_add_char(body, '}');
    return 0;
}

/* ---- commands ---- */

static const struct command {
    const char *word;
    const char *method;
    const char *action; /* behind the id */
    bool takes_id;
    bool sends_body;
    bool shows_secret;
    const char *done;
} commands[] = {
    {.word = "list", .method = "GET"},
    {.word = "get", .method = "GET", .takes_id = true},
    {.word = "create", .method = "POST", .sends_body = true, .shows_secret = true},
    {.word = "update", .method = "PUT", .takes_id = true, .sends_body = true},
    {.word = "revoke", .method = "POST", .action = "/revoke", .takes_id = true, .done = "revoked"},
    {.word = "rotate", .method = "POST", .action = "/rotate", .takes_id = true, .shows_secret = true},
    {.word = "delete", .method = "DELETE", .takes_id = true, .done = "deleted"},
};

static bool
is_id(const char *text)
{
    size_t len = strlen(text);
    return len > 0 && len <= 64 && strspn(text, "0123456789abcdefABCDEF") == len;
}

static int
run(const struct command *command, const char *id, const struct admin_wanted *wanted)
{
    char path[160];
    struct dyn_buf body = DYN_BUF_INIT;
    struct dyn_buf answer = DYN_BUF_INIT_LIMIT(ADMIN_ANSWER_MAX);
    (void)snprintf(path, sizeof path, "keys%s%s%s", id != NULL ? "/" : "", id != NULL ? id : "",
                   command->action != NULL ? command->action : "");
    int code = CLI_USAGE;
    if (!command->sends_body || write_body(wanted, &body) == 0) {
        struct dyn_slice sent = command->sends_body ? dyn_buf_slice(&body) : dyn_slice(NULL, 0);
        bool is_asked = admin_ask(wanted, command->method, path, sent, &answer) == 0;
        code = is_asked ? tell(wanted, &answer, command->shows_secret, command->done) : CLI_FAILED;
    }
    dyn_buf_fini(&body);
    dyn_buf_fini(&answer);
    return code;
}

/* ---- budgets ---- */

static void
print_usd(struct json_value account, const char *name)
{
    struct json_value usd;
    bool is_there = json_find(account, name, &usd);
    (void)printf("%14.6f", is_there ? strtod(usd.raw.data, NULL) : 0.0);
}

static void
print_budgets(struct json_value list)
{
    struct json_member item;
    (void)printf("%14s%14s%14s%14s  %s\n", "DAY USD", "WEEK USD", "MONTH USD", "TOTAL USD", "ACCOUNT");
    for (struct json_iter it = json_iter(list); json_iter_next(&it, &item);) {
        print_usd(item.value, "day_usd");
        print_usd(item.value, "week_usd");
        print_usd(item.value, "month_usd");
        print_usd(item.value, "total_usd");
        (void)fputs("  ", stdout);
        admin_print_text(stdout, item.value, "account", "-", 0);
        (void)putchar('\n');
    }
}

static int
list_budgets(const struct admin_wanted *wanted)
{
    struct dyn_buf answer = DYN_BUF_INIT_LIMIT(ADMIN_ANSWER_MAX);
    struct json_value value, list;
    struct dyn_slice body = {NULL, 0};
    if (admin_ask(wanted, "GET", "budgets?limit=200", body, &answer) != 0) {
        dyn_buf_fini(&answer);
        return CLI_FAILED;
    }
    unsigned status = admin_take_apart(&answer, &body);
    bool is_list = status == 200 && json_scan(body, JSON_DEPTH_DEFAULT, &value, NULL) == 0 &&
                   value.type == JSON_OBJECT && json_find(value, "data", &list) && list.type == JSON_ARRAY;
    int code = CLI_OK;
    if (!is_list) {
        code = admin_tell_error(status, body);
    } else if (wanted->is_json) {
        (void)printf("%.*s\n", (int)body.len, body.data);
    } else {
        print_budgets(list);
    }
    dyn_buf_fini(&answer);
    return code;
}

void
admin_add_escaped(struct dyn_buf *path, const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        bool is_letter = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z');
        bool is_plain = is_letter || (*at >= '0' && *at <= '9');
        dyn_buf_addf(path, is_plain ? "%c" : "%%%02x", (unsigned char)*at);
    }
}

static int
reset_budget(const char *account, const struct admin_wanted *wanted)
{
    struct dyn_buf path = DYN_BUF_INIT, answer = DYN_BUF_INIT_LIMIT(ADMIN_ANSWER_MAX);
    dyn_buf_add_str(&path, "budgets/");
    admin_add_escaped(&path, account);
    dyn_buf_add_str(&path, "/reset");
    bool is_asked = admin_ask(wanted, "POST", dyn_buf_cstr(&path), dyn_slice("", 0), &answer) == 0;
    int code = is_asked ? tell(wanted, &answer, false, "reset") : CLI_FAILED;
    dyn_buf_fini(&path);
    dyn_buf_fini(&answer);
    return code;
}

static int
choose_budgets(char **words, int n, const struct admin_wanted *wanted)
{
    if (n == 2 && strcmp(words[1], "list") == 0) {
        return list_budgets(wanted);
    }
    bool is_reset = n == 3 && strcmp(words[1], "reset") == 0;
    return is_reset ? reset_budget(words[2], wanted) : cli_wrong_usage("admin");
}

static int
choose(char **words, int n, const struct admin_wanted *wanted)
{
    if (n > 0 && strcmp(words[0], "budgets") == 0) {
        return choose_budgets(words, n, wanted);
    }
    if (n > 0 && (strcmp(words[0], "logs") == 0 || strcmp(words[0], "audit") == 0)) {
        return admin_choose_logs(words, n, wanted);
    }
    const struct command *command = NULL;
    for (size_t i = 0; n >= 2 && strcmp(words[0], "keys") == 0 && i < DYN_ARRAY_LEN(commands); i++) {
        command = strcmp(words[1], commands[i].word) == 0 ? &commands[i] : command;
    }
    if (command == NULL || n != 2 + command->takes_id) {
        return cli_wrong_usage("admin");
    }
    if (command->takes_id && !is_id(words[2])) {
        (void)fprintf(stderr, "dynabus admin: '%s' is no id of a key; `dynabus admin keys list` shows them\n",
                      words[2]);
        return CLI_USAGE;
    }
    if (command->method[1] == 'O' && command->sends_body && wanted->name == NULL) {
        (void)fputs("dynabus admin: a new key needs --name\n", stderr);
        return CLI_USAGE;
    }
    return run(command, command->takes_id ? words[2] : NULL, wanted);
}

static bool
add_name(struct admin_names *names, const char *name)
{
    if (names->n == ADMIN_NAMES_MAX) {
        (void)fprintf(stderr, "dynabus admin: more than %d names\n", ADMIN_NAMES_MAX);
        return false;
    }
    names->items[names->n++] = name;
    return true;
}

enum admin_option { URL = 1, KEY, FORMAT, NAME, GROUP, EXPIRES, SCOPE, MODEL, TARGET, FILTER };

static bool
take_option(struct admin_wanted *wanted, int option, const char *value)
{
    switch (option) {
    case URL:
        wanted->url = value;
        return true;
    case KEY:
        wanted->key = value;
        return true;
    case FORMAT:
        wanted->is_json = strcmp(value, "json") == 0;
        return wanted->is_json || strcmp(value, "table") == 0;
    case NAME:
        wanted->name = value;
        return true;
    case GROUP:
        wanted->group = value;
        return true;
    case EXPIRES:
        wanted->expires_in = value;
        return true;
    case SCOPE:
        return add_name(&wanted->scopes, value);
    case MODEL:
        return add_name(&wanted->models, value);
    case TARGET:
        return add_name(&wanted->targets, value);
    default:
        return false;
    }
}

/* The name of an option is that of the parameter, but for a few. `value` NULL: a flag. */
static bool
add_filter(struct admin_wanted *wanted, const char *option, const char *value)
{
    static const char *const others[][2] = {
        {"key-id", "api_key_id"}, {"trace-id", "trace_id"}, {"actor", "actor_id"}};
    struct admin_filter *filter = &wanted->filters[wanted->n_filters];
    if (wanted->n_filters == ADMIN_FILTERS_MAX) {
        return false;
    }
    *filter = (struct admin_filter){option, value != NULL ? value : "true"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(others); i++) {
        filter->name = strcmp(option, others[i][0]) == 0 ? others[i][1] : filter->name;
    }
    wanted->n_filters++;
    return true;
}

int
cli_admin(int argc, char **argv)
{
    static const char *const urls[] = {"DYNABUS_URL", "FERROGW_URL", NULL};
    static const char *const keys[] = {"DYNABUS_API_KEY", "FERROGW_API_KEY", "MASTER_KEY", NULL};
    static const struct option known[] = {
        {"gateway-url", required_argument, NULL, URL}, {"api-key", required_argument, NULL, KEY},
        {"format", required_argument, NULL, FORMAT},   {"name", required_argument, NULL, NAME},
        {"group", required_argument, NULL, GROUP},     {"expires-in", required_argument, NULL, EXPIRES},
        {"scope", required_argument, NULL, SCOPE},     {"model", required_argument, NULL, MODEL},
        {"target", required_argument, NULL, TARGET},   {"limit", required_argument, NULL, FILTER},
        {"offset", required_argument, NULL, FILTER},   {"stage", required_argument, NULL, FILTER},
        {"provider", required_argument, NULL, FILTER}, {"key-id", required_argument, NULL, FILTER},
        {"trace-id", required_argument, NULL, FILTER}, {"since", required_argument, NULL, FILTER},
        {"before", required_argument, NULL, FILTER},   {"bodies", no_argument, NULL, FILTER},
        {"action", required_argument, NULL, FILTER},   {"outcome", required_argument, NULL, FILTER},
        {"actor", required_argument, NULL, FILTER},    {0},
    };
    int index = 0;
    struct admin_wanted wanted = {.url = first_set(urls, "http://localhost:8080"),
                                  .key = first_set(keys, NULL)};
    for (int option; (option = getopt_long(argc, argv, "", known, &index)) != -1;) {
        bool is_filter = option == FILTER;
        if (is_filter ? !add_filter(&wanted, known[index].name, optarg)
                      : !take_option(&wanted, option, optarg)) {
            return cli_wrong_usage("admin");
        }
    }
    return choose(argv + optind, argc - optind, &wanted);
}
