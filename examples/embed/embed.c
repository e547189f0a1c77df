/* A gateway inside a C program. Without an argument it asks the bundled mock model; with one, the targets of
 * that configuration.   cc embed.c -o embed $(pkg-config --cflags --libs dynabus) */
#include <dynabus.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>

static sem_t answered;

static void
print_answer(void *user, const struct dynabus_answer *answer)
{
    *(int *)user = answer->status;
    printf("%d from target %s: %.*s\n", answer->status, answer->target, (int)answer->body_len, answer->body);
    sem_post(&answered);
}

int
main(int argc, char **argv)
{
    struct dynabus_options options = DYNABUS_OPTIONS_INIT;
    options.config_path = argc > 1 ? argv[1] : NULL;
    options.dev = argc <= 1;
    char why[1024];
    dynabus_t *gateway = dynabus_new(&options, why, sizeof why);
    if (gateway == NULL) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    struct dynabus_request request = DYNABUS_REQUEST_INIT;
    request.body = "{\"model\":\"mock\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}";
    request.body_len = strlen(request.body);
    int status = 0;
    sem_init(&answered, 0, 0);
    if (dynabus_route(gateway, &request, print_answer, &status) == 0) {
        sem_wait(&answered);
    }
    dynabus_close(&gateway, 5000);
    return status == 200 ? 0 : 1;
}
