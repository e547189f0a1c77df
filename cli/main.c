/* The dynabus program: finds the subcommand and runs it. */
#include "cli/cli.h"
#include "core/nearest.h"

#include <stdio.h>

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

void
cli_print_usage(const char *command)
{
    const struct cli_command *found = find(command);
    if (found != NULL) {
        (void)printf("usage: dynabus %s %s\n\n%s\n", found->name, found->usage, found->help);
    }
}

int
cli_help(int argc, char **argv)
{
    if (argc > 1) {
        if (find(argv[1]) == NULL) {
            (void)fprintf(stderr, "dynabus: there is no command '%s'\n", argv[1]);
            return CLI_USAGE;
        }
        cli_print_usage(argv[1]);
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

static bool
is_any(const char *word, const char *a, const char *b)
{
    return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

int
main(int argc, char **argv)
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
    if (argc > 2 && is_any(argv[2], "--help", "-h")) {
        cli_print_usage(command->name);
        return CLI_OK;
    }
    return command->run(argc - 1, argv + 1);
}
