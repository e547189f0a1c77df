/* dynabus import: another gateway's configuration turned into one of ours. What could not be carried over is
 * told on standard error as well as in the result. */
#include "cli/cli.h"
#include "cli/text_file.h"
#include "core/config.h"
#include "gateway/litellm.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

struct import_options {
    const char *path; /* NULL: standard output */
    bool force;
};

static int
failed(const char *file, const char *why)
{
    (void)fprintf(stderr, "dynabus import: %s: %s\n", file, why);
    return CLI_FAILED;
}

/* NULL with errno; errno 0: the file is too long. */
static char *
read_whole(const char *path, size_t *len)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return NULL;
    }
    char *text = dyn_alloc(CONFIG_MAX_BYTES + 1);
    *len = fread(text, 1, CONFIG_MAX_BYTES + 1, file);
    int error = ferror(file) ? EIO : 0;
    (void)fclose(file);
    if (error != 0 || *len > CONFIG_MAX_BYTES) {
        free(text);
        errno = error;
        return NULL;
    }
    return text;
}

static void
tell_notes(const struct litellm *import, const char *file)
{
    for (size_t i = 0; i < import->n_notes; i++) {
        const struct litellm_note *note = &import->notes[i];
        if (note->line > 0) {
            (void)fprintf(stderr, "%s:%u: not carried over: %s\n", file, note->line, note->text);
        } else {
            (void)fprintf(stderr, "%s: not carried over: %s\n", file, note->text);
        }
    }
}

static int
import_litellm(const char *file, struct dyn_slice text, const struct import_options *options)
{
    struct litellm import;
    struct dyn_err err;
    struct dyn_buf out = DYN_BUF_INIT;
    int code = CLI_FAILED;
    litellm_init(&import);
    if (litellm_read(&import, text, &err) != 0) {
        (void)failed(file, err.text);
    } else {
        litellm_write(&import, file, &out);
        tell_notes(&import, file);
        bool is_written = cli_write_text("import", options->path, options->force, &out) == 0;
        if (import.n == 0) {
            (void)failed(file, "no target could be made of it");
        } else if (is_written) {
            code = CLI_OK;
        }
    }
    dyn_buf_fini(&out);
    litellm_fini(&import);
    return code;
}

int
cli_import(int argc, char **argv)
{
    enum { FORCE = 1 };
    static const struct option known[] = {{"force", no_argument, NULL, FORCE}, {0}};
    struct import_options options = {0};
    for (int option; (option = getopt_long(argc, argv, "o:", known, NULL)) != -1;) {
        if (option == 'o') {
            options.path = optarg;
        } else if (option == FORCE) {
            options.force = true;
        } else {
            return cli_wrong_usage("import");
        }
    }
    if (argc - optind != 2 || strcmp(argv[optind], "litellm") != 0) {
        return cli_wrong_usage("import");
    }
    const char *file = argv[optind + 1];
    size_t len = 0;
    char *text = read_whole(file, &len);
    if (text == NULL) {
        return failed(file, errno != 0 ? strerrordesc_np(errno) : "it is longer than 1 MiB");
    }
    int code = import_litellm(file, dyn_slice(text, len), &options);
    free(text);
    return code;
}
