/* A model that is a function of this program; other programs reach it by any OpenAI SDK.
 *   cc provider.c -o provider $(pkg-config --cflags --libs dynabus) && ./provider
 *   curl 127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \
 *     -d '{"model":"clock","messages":[{"role":"user","content":"?"}]}' */
#include <dynabus.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Runs on a thread of the gateway, so it is quick; what takes longer answers later, from another thread. */
static void
tell_the_time(void *user, dynabus_call_t *call)
{
    char text[512];
    time_t now = time(NULL);
    struct tm day;
    char clock[32];
    (void)user;
    strftime(clock, sizeof clock, "%H:%M:%S", gmtime_r(&now, &day));
    const char *form =
        dynabus_call_is_stream(call)
            ? "data: {\"object\":\"chat.completion.chunk\",\"model\":\"clock\",\"choices\":[{\"index\":0,"
              "\"delta\":{\"role\":\"assistant\",\"content\":\"%s UTC\"},\"finish_reason\":\"stop\"}]}\n\n"
              "data: [DONE]\n\n"
            : "{\"object\":\"chat.completion\",\"model\":\"clock\",\"choices\":[{\"index\":0,\"message\":"
              "{\"role\":\"assistant\",\"content\":\"%s UTC\"},\"finish_reason\":\"stop\"}]}";
    snprintf(text, sizeof text, form, clock);
    dynabus_call_write(call, text, strlen(text));
    dynabus_call_end(call, NULL);
}

int
main(int argc, char **argv)
{
    static const char *const models[] = {"clock"};
    struct dynabus_options options = DYNABUS_OPTIONS_INIT;
    struct dynabus_provider provider = DYNABUS_PROVIDER_INIT;
    char why[1024];
    options.serve_http = true;
    options.dev = true; /* loopback, without keys */
    options.listen = argc > 1 ? argv[1] : "127.0.0.1:8080";
    provider.name = "clock";
    provider.models = models;
    provider.n_models = 1;
    provider.call = tell_the_time;
    dynabus_t *gateway = dynabus_new(&options, why, sizeof why);
    if (gateway == NULL || dynabus_register_provider(gateway, &provider, why, sizeof why) != 0) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    printf("%s serves the model 'clock'; Enter ends it\n", dynabus_url(gateway));
    fflush(stdout);
    getchar();
    dynabus_close(&gateway, 5000);
    return 0;
}
