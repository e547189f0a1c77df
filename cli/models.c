/* dynabus models: the catalogue for people and scripts. Nothing of it talks to a running gateway. */
#include "cli/models.h"

#include "cli/cli.h"
#include "core/buf.h"
#include "models/cost.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <time.h>

enum { AT_ONCE = 16, AT_ONCE_MAX = 64 };

static int
failed(const struct dyn_err *err)
{
    (void)fprintf(stderr, "dynabus models: %s\n", err->text);
    return CLI_FAILED;
}

int
models_read_file(const char *path, struct dyn_buf *out, struct dyn_err *err)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rbe");
    if (file == NULL) {
        return dyn_err_set(err, DYN_E_IO, "%s: %s", path, strerror(errno));
    }
    char piece[16384];
    for (size_t n; out->len <= CATALOGUE_BYTES_MAX && (n = fread(piece, 1, sizeof piece, file)) > 0;) {
        dyn_buf_add(out, piece, n);
    }
    bool is_broken = ferror(file) != 0;
    if (file != stdin) {
        (void)fclose(file);
    }
    return is_broken ? dyn_err_set(err, DYN_E_IO, "%s: cannot be read", path) : 0;
}

uint32_t
models_today(void)
{
    struct tm day;
    time_t now = time(NULL);
    if (gmtime_r(&now, &day) == NULL) {
        return 0;
    }
    return (uint32_t)((day.tm_year + 1900) * 10000 + (day.tm_mon + 1) * 100 + day.tm_mday);
}

void
models_put_per_million(struct dyn_buf *out, uint64_t price)
{
    enum { MILLION = 1000 * 1000 };
    if (price == PRICE_UNKNOWN) {
        dyn_buf_add_char(out, '-');
        return;
    }
    char text[COST_USD_TEXT_MAX];
    dyn_buf_add_uint(out, price / MILLION);
    size_t len = cost_usd_text(price % MILLION * MILLION, text); /* "0.15" */
    dyn_buf_add(out, text + 1, len - 1);
}

static catalogue_t *
open_catalogue(const struct models_options *options, struct dyn_err *err)
{
    if (options->catalog == NULL) {
        return catalogue_builtin();
    }
    struct dyn_buf text = DYN_BUF_INIT;
    catalogue_t *catalogue = NULL;
    if (models_read_file(options->catalog, &text, err) == 0) {
        catalogue = catalogue_load(dyn_buf_slice(&text), err);
    }
    dyn_buf_fini(&text);
    return catalogue;
}

enum {
    OPTION_PROVIDER = 'p',
    OPTION_MODE = 'm',
    OPTION_CATALOG = 'c',
    OPTION_DEPRECATED = 'd',
    OPTION_ALL = 'a',
    OPTION_JSON = 'j',
    OPTION_PRICES = 'r',
    OPTION_AT_ONCE = 'n'
};

static bool
take_at_once(const char *text, struct models_options *options)
{
    char *end;
    long n = strtol(text, &end, 10);
    options->at_once = n > 0 && n <= AT_ONCE_MAX ? (unsigned)n : 0;
    return *end == '\0' && options->at_once > 0;
}

static bool
take_option(int option, struct models_options *options)
{
    switch (option) {
    case OPTION_PROVIDER:
        options->provider = optarg;
        return true;
    case OPTION_MODE:
        options->mode = optarg;
        return true;
    case OPTION_CATALOG:
        options->catalog = optarg;
        return true;
    case OPTION_DEPRECATED:
        options->deprecated = true;
        return true;
    case OPTION_ALL:
        options->all = true;
        return true;
    case OPTION_JSON:
        options->json = true;
        return true;
    case OPTION_PRICES:
        options->prices = true;
        return true;
    case OPTION_AT_ONCE:
        return take_at_once(optarg, options);
    default:
        return false;
    }
}

/* argv[0] is the subcommand. */
static bool
read_options(int argc, char **argv, struct models_options *options)
{
    static const struct option known[] = {
        {"provider", required_argument, NULL, OPTION_PROVIDER},
        {"mode", required_argument, NULL, OPTION_MODE},
        {"catalog", required_argument, NULL, OPTION_CATALOG},
        {"deprecated", no_argument, NULL, OPTION_DEPRECATED},
        {"all", no_argument, NULL, OPTION_ALL},
        {"json", no_argument, NULL, OPTION_JSON},
        {"prices", no_argument, NULL, OPTION_PRICES},
        {"at-once", required_argument, NULL, OPTION_AT_ONCE},
        {NULL, 0, NULL, 0},
    };
    *options = (struct models_options){.at_once = AT_ONCE};
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (!take_option(option, options)) {
            return false;
        }
    }
    options->word = optind < argc ? argv[optind] : NULL;
    if (options->mode != NULL && !models_is_mode(options->mode)) {
        (void)fprintf(stderr, "dynabus models: there is no mode '%s'; there are:", options->mode);
        for (unsigned i = 0; i < CATALOGUE_MODE_COUNT; i++) {
            (void)fprintf(stderr, " %s", catalogue_mode_name((enum catalogue_mode)i));
        }
        (void)fputc('\n', stderr);
        return false;
    }
    return argc - optind <= 1;
}

int
cli_models(int argc, char **argv)
{
    struct models_options options;
    if (argc < 2 || !read_options(argc - 1, argv + 1, &options)) {
        return cli_wrong_usage("models");
    }
    const char *verb = argv[1];
    bool wants_word = strcmp(verb, "show") == 0 || strcmp(verb, "import") == 0;
    if (wants_word && options.word == NULL) {
        return cli_wrong_usage("models");
    }
    if (strcmp(verb, "import") == 0) {
        return models_import(&options);
    }
    struct dyn_err err;
    catalogue_t *catalogue = open_catalogue(&options, &err);
    if (catalogue == NULL) {
        return failed(&err);
    }
    int rc = strcmp(verb, "list") == 0    ? models_list(catalogue, &options)
             : strcmp(verb, "show") == 0  ? models_show(catalogue, &options)
             : strcmp(verb, "check") == 0 ? models_check(catalogue, &options)
                                          : cli_wrong_usage("models");
    catalogue_unref(&catalogue);
    return rc;
}
