/* A guardrail that is a function of this program: it refuses requests that hold a card number, and it counts
 * what it let pass. Other programs reach the gateway by any OpenAI SDK. cc plugin.c -o plugin $(pkg-config
 * --cflags --libs dynabus) && ./plugin
 *   curl 127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \
 *     -d '{"model":"mock","messages":[{"role":"user","content":"4111 1111 1111 1111"}]}' */
#include <ctype.h>
#include <dynabus.h>
#include <stdatomic.h>
#include <stdio.h>

struct guard {
    atomic_uint passed;
    atomic_uint refused;
};

/* Sixteen digits, with or without blanks and dashes between them. */
static bool
has_card(const char *text)
{
    unsigned digits = 0;
    for (; *text != '\0'; text++) {
        if (isdigit((unsigned char)*text)) {
            digits++;
        } else if (*text != ' ' && *text != '-') {
            digits = 0;
        }
        if (digits == 16) {
            return true;
        }
    }
    return false;
}

/* Runs on threads of the gateway, on several at the same time, so it is quick and counts with atomics. What
 * takes longer keeps the ask and votes later, from another thread. */
static void
look(void *user, dynabus_ask_t *ask)
{
    struct guard *guard = user;
    const struct dynabus_text *texts;
    size_t n = dynabus_ask_texts(ask, &texts);
    for (size_t i = 0; i < n; i++) {
        if (has_card(texts[i].text)) {
            struct dynabus_vote vote = DYNABUS_VOTE_INIT;
            vote.verdict = DYNABUS_DENY;
            vote.reason = "card numbers stay here";
            atomic_fetch_add(&guard->refused, 1);
            dynabus_ask_vote(ask, &vote);
            return;
        }
    }
    atomic_fetch_add(&guard->passed, 1);
    dynabus_ask_vote(ask, NULL);
}

int
main(int argc, char **argv)
{
    struct guard guard = {0};
    struct dynabus_options options = DYNABUS_OPTIONS_INIT;
    struct dynabus_plugin plugin = DYNABUS_PLUGIN_INIT;
    char why[1024];
    options.serve_http = true;
    options.dev = true; /* loopback, without keys, with a model to try */
    options.listen = argc > 1 ? argv[1] : "127.0.0.1:8080";
    plugin.name = "cards";
    plugin.type = "guardrail";
    plugin.stages = DYNABUS_BEFORE_REQUEST;
    plugin.needs = DYNABUS_NEEDS_TEXTS;
    plugin.ask = look;
    plugin.user = &guard;
    dynabus_t *gateway = dynabus_new(&options, why, sizeof why);
    if (gateway == NULL || dynabus_register_plugin(gateway, &plugin, why, sizeof why) != 0) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    printf("%s refuses card numbers; Enter ends it\n", dynabus_url(gateway));
    fflush(stdout);
    getchar();
    dynabus_close(&gateway, 5000);
    printf("%u passed, %u refused\n", atomic_load(&guard.passed), atomic_load(&guard.refused));
    return 0;
}
