/* The dynabus program: finds the subcommand and runs it. */
#include "cli/cli.h"
#include "core/nearest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

/* More serve nobody on one machine: tables are sized by the limit. A higher limit of the caller's stays. */
enum { DESCRIPTORS_MAX = 65536 };

const struct cli_command cli_commands[] = {
#define COMMAND(name, usage, help) {#name, usage, help, cli_##name},
#include "cli/commands.def"
#undef COMMAND
    {0},
};

static const struct cli_command *
find(const char *name)
{
    for (const struct cli_command *command = cli_commands; command->name != NULL; command++) {
        if (strcmp(command->name, name) == 0) {
            return command;
        }
    }
    return NULL;
}

static void
print_usage(FILE *out, const struct cli_command *command)
{
    (void)fprintf(out, "usage: dynabus %s%s%s\n\n%s\n", command->name, command->usage[0] != '\0' ? " " : "",
                  command->usage, command->help);
}

int
cli_wrong_usage(const char *command)
{
    const struct cli_command *found = find(command);
    DYN_ASSERT(found != NULL); /* a literal of ours */
    print_usage(stderr, found);
    return CLI_USAGE;
}

void
cli_flush_start_lines(void)
{
    (void)fflush(stdout);
    clearerr(stdout);
}

void
cli_raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    rlim_t wanted = limit.rlim_max < DESCRIPTORS_MAX ? limit.rlim_max : DESCRIPTORS_MAX;
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = wanted;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int
unknown_command(const char *word)
{
    const char *names[32];
    size_t n = 0;
    for (const struct cli_command *command = cli_commands; command->name != NULL; command++) {
        names[n++] = command->name;
    }
    const char *meant = dyn_nearest(dyn_slice_str(word), names, n);
    if (meant != NULL) {
        (void)fprintf(stderr, "dynabus: there is no command '%s'; did you mean 'dynabus %s'?\n", word, meant);
    } else {
        (void)fprintf(stderr, "dynabus: there is no command '%s'; `dynabus help` lists them\n", word);
    }
    return CLI_USAGE;
}

int
cli_help(int argc, char **argv)
{
    if (argc > 1) {
        const struct cli_command *command = find(argv[1]);
        if (command == NULL) {
            return unknown_command(argv[1]);
        }
        print_usage(stdout, command);
        return CLI_OK;
    }
    (void)puts("Dynabus, an LLM gateway on an open message bus.\n\nusage: dynabus COMMAND [ARGUMENTS]\n");
    for (const struct cli_command *command = cli_commands; command->name != NULL; command++) {
        (void)printf("  %-10s %s\n", command->name, command->help);
    }
    (void)puts(
        "\n`dynabus COMMAND --help` tells more. Try `dynabus serve --dev`: no key and no config needed.");
    return CLI_OK;
}

static bool
is_any(const char *word, const char *a, const char *b)
{
    return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

static bool
asks_for_help(int argc, char **argv)
{
    for (int i = 2; i < argc; i++) {
        if (is_any(argv[i], "--help", "-h")) {
            return true;
        }
    }
    return false;
}

static int
run(int argc, char **argv)
{
    if (argc < 2 || is_any(argv[1], "--help", "-h")) {
        return cli_help(1, argv);
    }
    if (is_any(argv[1], "--version", "-V")) {
        return cli_version(1, argv + 1);
    }
    const struct cli_command *command = find(argv[1]);
    if (command == NULL) {
        return unknown_command(argv[1]);
    }
    if (asks_for_help(argc, argv)) {
        print_usage(stdout, command);
        return CLI_OK;
    }
    char title[32]; /* what getopt's own sentences begin with */
    (void)snprintf(title, sizeof title, "dynabus %s", command->name);
    argv[1] = title;
    return command->run(argc - 1, argv + 1);
}

/* Who was started without standard descriptors gets the null device for them: the next file or connection
 * would become descriptor 1 or 2 otherwise, and receive what is printed and logged. */
static int
fill_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) {
            return -1;
        }
    }
    return 0;
}

int
main(int argc, char **argv)
{
    if (fill_standard_descriptors() != 0) {
        return CLI_FAILED; /* there is nowhere to say why */
    }
    int code = run(argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        (void)fprintf(stderr, "dynabus: cannot write to standard output: %s\n", strerror(errno));
        return code != CLI_OK ? code : CLI_FAILED;
    }
    return code;
}
