#include "gateway/upstreams.h"

#include "actors/providers/provider_config.h"
#include "core/buf.h"
#include "mock/mock.h"

#include <stdio.h>
#include <stdlib.h>

/* The bundled mock serves "mock", and every behaviour that is spelled in a model's name (docs/mock.md). */
static const struct dyn_slice mock_models[] = {DYN_SLICE_INIT("mock")};
#define MOCK_NAME "mock"
static const struct dyn_slice mock_prefix = DYN_SLICE_INIT("mock-");

struct upstreams {
    provider_targets_t *targets;
    struct provider_shared *shared; /* one per target */
    mock_t *mock;                   /* NULL: not --dev. Its target is the first */
};

static int
add_mock(upstreams_t *upstreams, const struct provider_config *config, struct dyn_err *err)
{
    struct mock_options options = {.listen = "127.0.0.1:0"};
    upstreams->mock = mock_start(&options, err);
    if (upstreams->mock == NULL) {
        return -1;
    }
    char root[128];
    (void)snprintf(root, sizeof root, "%s/v1", mock_url(upstreams->mock));
    return provider_targets_add(upstreams->targets, config, MOCK_NAME, "mock", root, err);
}

/* Targets are told apart by their names, in the log as well as in answers. */
static int
check_mock_name(const upstreams_t *upstreams, struct dyn_err *err)
{
    for (size_t i = 1; i < provider_targets_count(upstreams->targets); i++) {
        if (dyn_slice_is(provider_targets_at(upstreams->targets, i)->name, MOCK_NAME)) {
            return dyn_err_set(err, DYN_E_CONFIG,
                               "--dev has a target '" MOCK_NAME
                               "' of its own; give the one in the configuration "
                               "another name");
        }
    }
    return 0;
}

static int
check_count(size_t n, bool may_be_none, struct dyn_err *err)
{
    if (n == 0 && !may_be_none) {
        return dyn_err_set(
            err, DYN_E_CONFIG,
            "there is no target; list some under 'targets' in a config file, or set a provider's "
            "key such as OPENAI_API_KEY, or try `dynabus serve --dev`, which needs neither");
    }
    if (n > ROUTE_TARGETS_MAX) {
        return dyn_err_set(err, DYN_E_CONFIG, "%zu targets are more than the %d that a router can hold", n,
                           ROUTE_TARGETS_MAX);
    }
    return 0;
}

static int
add_called(upstreams_t *upstreams, const struct provider_config *config,
           const struct upstreams_options *options, struct dyn_err *err)
{
    if (options->dev && add_mock(upstreams, config, err) != 0) {
        return -1;
    }
    if (provider_targets_add_config(upstreams->targets, config, err) != 0) {
        return -1;
    }
    if (config->targets.n == 0 && provider_targets_add_env(upstreams->targets, config, err) != 0) {
        return -1;
    }
    return options->dev ? check_mock_name(upstreams, err) : 0;
}

static int
add_all(upstreams_t *upstreams, const struct provider_config *config, const struct upstreams_options *options,
        struct dyn_err *err)
{
    int rc = options->routes_only ? provider_targets_add_routing(upstreams->targets, config, err)
                                  : add_called(upstreams, config, options, err);
    if (rc == 0 && options->names != NULL) {
        rc = provider_targets_select(upstreams->targets, dyn_slice_str(options->names), err);
    }
    return rc == 0 ? check_count(provider_targets_count(upstreams->targets), options->may_be_none, err) : -1;
}

upstreams_t *
upstreams_new(const config_t *config, const struct upstreams_options *options, struct dyn_err *err)
{
    upstreams_t *upstreams = dyn_zalloc(sizeof *upstreams);
    upstreams->targets = provider_targets_new(NULL);
    if (add_all(upstreams, config_values(config, &provider_config_part), options, err) != 0) {
        upstreams_free(&upstreams);
        return NULL;
    }
    size_t n = upstreams_count(upstreams);
    upstreams->shared = dyn_zalloc((n > 0 ? n : 1) * sizeof *upstreams->shared);
    return upstreams;
}

void
upstreams_free(upstreams_t **upstreams_p)
{
    upstreams_t *upstreams = *upstreams_p;
    *upstreams_p = NULL;
    if (upstreams != NULL) {
        provider_targets_free(&upstreams->targets);
        mock_stop(&upstreams->mock);
        free(upstreams->shared);
        free(upstreams);
    }
}

size_t
upstreams_count(const upstreams_t *upstreams)
{
    return upstreams != NULL ? provider_targets_count(upstreams->targets) : 0;
}

const struct provider_target *
upstreams_target(const upstreams_t *upstreams, size_t index)
{
    return provider_targets_at(upstreams->targets, index);
}

struct provider_shared *
upstreams_shared(const upstreams_t *upstreams, size_t index)
{
    return &upstreams->shared[index];
}

/* Both are in the order of `targets[].redeliver`. */
_Static_assert((int)ROUTE_REDELIVER_UNSENT == (int)PROVIDER_REDELIVER_UNSENT &&
                   (int)ROUTE_REDELIVER_NEVER == (int)PROVIDER_REDELIVER_NEVER,
               "the words of redelivery");

struct route_target
upstreams_route_target(const upstreams_t *upstreams, size_t index)
{
    const struct provider_target *target = upstreams_target(upstreams, index);
    struct route_target route = {
        .name = target->name,
        .provider = dyn_slice_str(target->row->id),
        .models = target->models,
        .n_models = target->n_models,
        .redeliver = (enum route_redeliver)target->redeliver,
        .surfaces = provider_row_surfaces(target->row),
        .takes_any = target->row->any_model && target->n_models == 0,
        .owns_base_url = target->owns_base_url,
    };
    if (upstreams->mock != NULL && dyn_slice_is(target->name, MOCK_NAME)) {
        route.models = mock_models;
        route.n_models = DYN_ARRAY_LEN(mock_models);
        route.prefix = mock_prefix;
        route.takes_any = false;
    }
    return route;
}

char *
upstreams_names(const upstreams_t *upstreams)
{
    struct dyn_buf names = DYN_BUF_INIT;
    for (size_t i = 0; i < upstreams_count(upstreams); i++) {
        dyn_buf_add_str(&names, i > 0 ? ", " : "");
        dyn_buf_add_slice(&names, upstreams_target(upstreams, i)->name);
    }
    char *text = dyn_strdup(dyn_buf_cstr(&names));
    dyn_buf_fini(&names);
    return text;
}
