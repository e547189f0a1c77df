/* The subcommands of `dynabus`: one file each, listed in commands.def. */
#pragma once

struct cli_command {
    const char *name;
    const char *usage;                 /* behind the name, one line */
    const char *help;                  /* what it does, one sentence */
    int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns the exit code */
};

extern const struct cli_command cli_commands[]; /* ends with a NULL name */

#define COMMAND(name, usage, help) int cli_##name(int argc, char **argv);
#include "cli/commands.def"
#undef COMMAND

/* Prints usage of one command to standard output. */
void cli_print_usage(const char *command);
/* Exit codes: 0 done, 1 it could not be done, 2 used wrongly. */
enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };
