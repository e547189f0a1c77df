/* dynabus models check: are the pages still there that the facts are from? Each source is asked once with
 * HEAD. A page that refuses to be asked so (401, 403, 405, 429 and the like) is there; one that is not found,
 * or whose host is not, is named. */
#include "actors/providers/fetch.h"
#include "cli/cli.h"
#include "cli/models.h"

#include <stdlib.h>
#include <unistd.h>

enum { PATIENCE_MS = 15 * 1000, BODY_MAX = 64 * 1024, BAR = 30 };

struct check {
    struct fetch *fetches;
    size_t n, ended;
    size_t there, shy, gone, unreachable;
    bool shows_bar;
};

static int
compare_text(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static const char **
collect(const catalogue_t *catalogue, const char *provider, size_t *n_p)
{
    const struct catalogue_model *first = catalogue_at(catalogue, 0);
    size_t n_models = catalogue_count(catalogue);
    if (provider != NULL) {
        n_models = catalogue_of_provider(catalogue, dyn_slice_str(provider), &first);
    }
    const char **sources = dyn_alloc((n_models + 1) * sizeof *sources);
    size_t n = 0;
    for (size_t i = 0; i < n_models; i++) {
        struct dyn_slice source = catalogue_source(&first[i]);
        if (source.data != NULL) {
            sources[n++] = source.data; /* texts of a catalogue are terminated */
        }
    }
    qsort(sources, n, sizeof *sources, compare_text);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (kept == 0 || strcmp(sources[kept - 1], sources[i]) != 0) {
            sources[kept++] = sources[i];
        }
    }
    *n_p = kept;
    return sources;
}

static void
show_bar(const struct check *check)
{
    int filled = (int)(check->ended * BAR / check->n);
    (void)fprintf(stderr, "\r[%.*s%*s] %zu/%zu  gone %zu  unreachable %zu ", filled,
                  "##############################", BAR - filled, "", check->ended, check->n, check->gone,
                  check->unreachable);
    (void)fflush(stderr);
}

static void
ended(void *self, struct fetch *fetch)
{
    struct check *check = self;
    long status = fetch->status;
    bool is_gone = status == 404 || status == 410;
    bool is_there = status >= 200 && status < 400;
    check->ended++;
    check->there += is_there;
    check->gone += is_gone;
    check->unreachable += status == 0;
    check->shy += status != 0 && !is_there && !is_gone;
    if (check->shows_bar) {
        show_bar(check);
    }
}

static void
print_result(const struct check *check)
{
    for (size_t i = 0; i < check->n; i++) {
        const struct fetch *fetch = &check->fetches[i];
        if (fetch->status == 0) {
            (void)printf("unreachable  %s  (%s)\n", fetch->url, fetch->error);
        } else if (fetch->status == 404 || fetch->status == 410) {
            (void)printf("gone %ld     %s\n", fetch->status, fetch->url);
        }
    }
    (void)printf("%zu sources: %zu there, %zu there but not for a HEAD, %zu gone, %zu unreachable\n",
                 check->n, check->there, check->shy, check->gone, check->unreachable);
}

int
models_check(const catalogue_t *catalogue, const struct models_options *options)
{
    struct check check = {.shows_bar = isatty(STDERR_FILENO)};
    const char **sources = collect(catalogue, options->provider, &check.n);
    check.fetches = dyn_zalloc((check.n + 1) * sizeof *check.fetches);
    struct fetch_way *ways = dyn_zalloc((check.n + 1) * sizeof *ways);
    for (size_t i = 0; i < check.n; i++) {
        ways[i] = fetch_way_to(sources[i], dyn_slice(NULL, 0), dyn_slice(NULL, 0));
        check.fetches[i] = (struct fetch){.url = sources[i],
                                          .head_only = true,
                                          .follows = true,
                                          .proxy = ways[i].proxy,
                                          .no_proxy = ways[i].no_proxy,
                                          .timeout_ms = PATIENCE_MS,
                                          .bytes_max = BODY_MAX};
    }
    struct dyn_err err;
    int rc = check.n > 0 ? fetch_all(check.fetches, check.n, options->at_once, ended, &check, NULL, &err)
                         : dyn_err_set(&err, DYN_E_INVALID, "no model of that provider has a source");
    if (check.shows_bar) {
        (void)fputc('\n', stderr);
    }
    if (rc == 0) {
        print_result(&check);
    } else {
        (void)fprintf(stderr, "dynabus models: %s\n", err.text);
    }
    for (size_t i = 0; i < check.n; i++) {
        fetch_way_fini(&ways[i]);
    }
    free(ways);
    free(sources);
    free(check.fetches);
    return rc == 0 && check.gone + check.unreachable == 0 ? CLI_OK : CLI_FAILED;
}
