/* The subcommands of `dynabus`: one file each, listed in commands.def. */
#pragma once

struct cli_command {
    const char *name;
    const char *usage;                 /* behind the name, one line */
    const char *help;                  /* what it does, one sentence */
    int (*run)(int argc, char **argv); /* argv[0] is "dynabus NAME"; returns the exit code */
};

extern const struct cli_command cli_commands[]; /* ends with a NULL name */

#define COMMAND(name, usage, help) int cli_##name(int argc, char **argv);
#include "cli/commands.def"
#undef COMMAND

/* Says on standard error how a command is used; returns CLI_USAGE. */
int cli_wrong_usage(const char *command);
/* After the lines of a command that goes on running: it does so even when nobody can read them. */
void cli_flush_start_lines(void);
/* More files and connections than the usual 1,024 where the system allows it. Before anything is opened. */
void cli_raise_descriptor_limit(void);
/* Exit codes: 0 done, 1 it could not be done, 2 used wrongly. */
enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };
