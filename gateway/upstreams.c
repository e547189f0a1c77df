#include "gateway/upstreams.h"

#include "actors/providers/provider_config.h"
#include "core/buf.h"
#include "core/config_same.h"
#include "gateway/discover.h"
#include "router/router_config.h"

#include <stdlib.h>

/* The bundled mock serves "mock", and every behaviour that is spelled in a model's name (docs/mock.md). */
static const struct dyn_slice mock_models[] = {DYN_SLICE_INIT("mock")};
#define MOCK_NAME "mock"
static const struct dyn_slice mock_prefix = DYN_SLICE_INIT("mock-");

/* Of one target of a process, through all configurations that leave it as it is. */
struct upstream_shared {
    atomic_uint refs;
    struct upstream_tally *tally;
    struct dyn_list link; /* under its lock */
    struct provider_shared counts;
};

struct upstreams {
    const struct provider_config *config;
    provider_targets_t *targets;
    bool has_mock;                   /* its target is the first */
    struct upstream_shared **shared; /* one per target */
    struct registered **registered;  /* their targets are the last */
    size_t n_registered;
    size_t n_called; /* those before */
};

/* ---- what is shared ---- */

static void
add_counts(struct provider_shared *to, const struct provider_shared *from)
{
    to->succeeded += from->succeeded;
    to->failed += from->failed;
    to->cancelled += from->cancelled;
    to->credit_stalls += from->credit_stalls;
}

void
upstream_tally_init(struct upstream_tally *tally)
{
    (void)pthread_mutex_init(&tally->lock, NULL);
    dyn_list_init(&tally->shared);
}

void
upstream_tally_fini(struct upstream_tally *tally)
{
    (void)pthread_mutex_destroy(&tally->lock);
}

void
upstream_tally_each(struct upstream_tally *tally,
                    void (*add)(void *arg, const struct provider_shared *shared), void *arg)
{
    (void)pthread_mutex_lock(&tally->lock);
    add(arg, &tally->gone);
    for (struct dyn_list *link = tally->shared.next; link != &tally->shared; link = link->next) {
        add(arg, &DYN_CONTAINER_OF(link, struct upstream_shared, link)->counts);
    }
    (void)pthread_mutex_unlock(&tally->lock);
}

static struct upstream_shared *
shared_new(struct upstream_tally *tally, const struct provider_target *called)
{
    struct upstream_shared *shared = dyn_zalloc(sizeof *shared);
    if (called != NULL) {
        provider_shared_init(&shared->counts, called);
    }
    atomic_init(&shared->refs, 1);
    shared->tally = tally;
    dyn_list_init(&shared->link);
    (void)pthread_mutex_lock(&tally->lock);
    dyn_list_append(&tally->shared, &shared->link);
    (void)pthread_mutex_unlock(&tally->lock);
    return shared;
}

static struct upstream_shared *
shared_ref(struct upstream_shared *shared)
{
    (void)atomic_fetch_add_explicit(&shared->refs, 1, memory_order_relaxed);
    return shared;
}

static void
shared_unref(struct upstream_shared *shared)
{
    if (shared == NULL || atomic_fetch_sub_explicit(&shared->refs, 1, memory_order_acq_rel) > 1) {
        return;
    }
    struct upstream_tally *tally = shared->tally;
    (void)pthread_mutex_lock(&tally->lock);
    dyn_list_remove(&shared->link);
    add_counts(&tally->gone, &shared->counts);
    (void)pthread_mutex_unlock(&tally->lock);
    provider_shared_fini(&shared->counts);
    free(shared);
}

/* ---- which targets ---- */

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
    upstreams->has_mock = options->mock_url != NULL;
    if (upstreams->has_mock &&
        provider_targets_add(upstreams->targets, config, MOCK_NAME, "mock", options->mock_url, err) != 0) {
        return -1;
    }
    if (provider_targets_add_config(upstreams->targets, config, err) != 0) {
        return -1;
    }
    if (config->targets.n == 0 && provider_targets_add_env(upstreams->targets, config, err) != 0) {
        return -1;
    }
    return upstreams->has_mock ? check_mock_name(upstreams, err) : 0;
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
    upstreams->n_called = provider_targets_count(upstreams->targets);
    return rc == 0 ? check_count(upstreams->n_called + options->n_registered, options->may_be_none, err) : -1;
}

/* Targets are told apart by their names. */
static int
add_registered(upstreams_t *upstreams, const struct upstreams_options *options, struct dyn_err *err)
{
    upstreams->registered = dyn_zalloc((options->n_registered + 1) * sizeof(struct registered *));
    for (size_t i = 0; i < options->n_registered; i++) {
        struct dyn_slice name = options->registered[i]->target.name;
        for (size_t k = 0; k < upstreams->n_called; k++) {
            if (dyn_slice_eq(provider_targets_at(upstreams->targets, k)->name, name)) {
                return dyn_err_set(
                    err, DYN_E_CONFIG,
                    "'%.*s' is a target of the configuration and a registered provider; give one "
                    "of them another name",
                    (int)name.len, name.data);
            }
        }
        upstreams->registered[upstreams->n_registered++] = registered_ref(options->registered[i]);
    }
    return 0;
}

static void
share(upstreams_t *upstreams, const struct upstreams_options *options)
{
    size_t n = upstreams_count(upstreams);
    upstreams->shared = dyn_zalloc((n + 1) * sizeof(struct upstream_shared *));
    for (size_t i = 0; i < n; i++) {
        const struct provider_target *called = options->routes_only ? NULL : upstreams_target(upstreams, i);
        size_t before =
            options->former != NULL ? upstreams_former(upstreams, i, options->former) : UPSTREAMS_NONE;
        upstreams->shared[i] = before != UPSTREAMS_NONE ? shared_ref(options->former->shared[before])
                                                        : shared_new(options->tally, called);
    }
}

/* What a provider lists is as if it were declared, but where that shall be all. */
static void
add_discovered(upstreams_t *upstreams, const struct router_config *config, const struct discovery *discovery)
{
    for (size_t i = 0; i < upstreams->n_called; i++) {
        const struct provider_target *target = provider_targets_at(upstreams->targets, i);
        const struct discovered *found = discovery_of(discovery, target);
        if (found != NULL && !router_config_target(config, target->name)->models_only) {
            provider_targets_list(upstreams->targets, i, found->models, found->n);
        }
    }
}

upstreams_t *
upstreams_new(const config_t *config, const struct upstreams_options *options, struct dyn_err *err)
{
    upstreams_t *upstreams = dyn_zalloc(sizeof *upstreams);
    upstreams->config = config_values(config, &provider_config_part);
    upstreams->targets = provider_targets_new(NULL);
    if (add_all(upstreams, upstreams->config, options, err) != 0 ||
        add_registered(upstreams, options, err) != 0) {
        upstreams_free(&upstreams);
        return NULL;
    }
    add_discovered(upstreams, config_values(config, &router_config_part), options->discovery);
    share(upstreams, options);
    return upstreams;
}

void
upstreams_free(upstreams_t **upstreams_p)
{
    upstreams_t *upstreams = *upstreams_p;
    *upstreams_p = NULL;
    if (upstreams == NULL) {
        return;
    }
    for (size_t i = 0; upstreams->shared != NULL && i < upstreams_count(upstreams); i++) {
        shared_unref(upstreams->shared[i]);
    }
    for (size_t i = 0; i < upstreams->n_registered; i++) {
        registered_unref(&upstreams->registered[i]);
    }
    provider_targets_free(&upstreams->targets);
    free(upstreams->registered);
    free(upstreams->shared);
    free(upstreams);
}

/* ---- what goes on ---- */

/* The block of the file that the target was made of; NULL: the environment, or it is the mock's. */
static const struct provider_target_config *
block_of(const upstreams_t *upstreams, struct dyn_slice name)
{
    const struct provider_target_config *blocks = upstreams->config->targets.items;
    for (size_t i = 0; i < upstreams->config->targets.n; i++) {
        if (dyn_slice_eq(blocks[i].name.len > 0 ? blocks[i].name : blocks[i].virtual_key, name)) {
            return &blocks[i];
        }
    }
    return NULL;
}

static const struct config_key *
key_of(const char *name)
{
    const struct config_key *key = provider_config_part.section.keys;
    while (key->name != NULL && strcmp(key->name, name) != 0) {
        key++;
    }
    DYN_ASSERT(key->name != NULL);
    return key;
}

/* All that the provider's part says of it; what only routers look at is no part of that. */
static bool
same_block(const struct provider_target_config *a, const struct provider_target_config *b)
{
    if (a == NULL || b == NULL) {
        return a == b;
    }
    return config_section_same(key_of("targets")->section, a, b, NULL);
}

/* What the part says for all targets together. */
static bool
same_for_all(const struct provider_config *a, const struct provider_config *b)
{
    static const char *const of_each[] = {"targets", NULL};
    return config_section_same(&provider_config_part.section, a, b, of_each);
}

static size_t
find(const upstreams_t *upstreams, struct dyn_slice name)
{
    for (size_t i = 0; i < upstreams_count(upstreams); i++) {
        if (dyn_slice_eq(upstreams_target(upstreams, i)->name, name)) {
            return i;
        }
    }
    return UPSTREAMS_NONE;
}

size_t
upstreams_former(const upstreams_t *upstreams, size_t index, const upstreams_t *former)
{
    const struct provider_target *target = upstreams_target(upstreams, index);
    size_t before = find(former, target->name);
    if (before == UPSTREAMS_NONE ||
        upstreams_registered(upstreams, index) != upstreams_registered(former, before)) {
        return UPSTREAMS_NONE;
    }
    const struct provider_target *other = upstreams_target(former, before);
    bool goes_on = target->row == other->row && dyn_slice_eq(target->root, other->root) &&
                   dyn_slice_eq(target->key, other->key) && same_for_all(upstreams->config, former->config) &&
                   same_block(block_of(upstreams, target->name), block_of(former, target->name));
    return goes_on ? before : UPSTREAMS_NONE;
}

/* ---- looking ---- */

size_t
upstreams_count(const upstreams_t *upstreams)
{
    return upstreams != NULL ? upstreams->n_called + upstreams->n_registered : 0;
}

const struct provider_target *
upstreams_target(const upstreams_t *upstreams, size_t index)
{
    return index < upstreams->n_called ? provider_targets_at(upstreams->targets, index)
                                       : &upstreams->registered[index - upstreams->n_called]->target;
}

struct registered *
upstreams_registered(const upstreams_t *upstreams, size_t index)
{
    return index < upstreams->n_called ? NULL : upstreams->registered[index - upstreams->n_called];
}

struct provider_shared *
upstreams_shared(const upstreams_t *upstreams, size_t index)
{
    return &upstreams->shared[index]->counts;
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
        .any_model = target->row->any_model,
        .owns_base_url = target->owns_base_url,
    };
    if (upstreams_shared(upstreams, index)->guard != NULL) {
        route.health = provider_guard_board(upstreams_shared(upstreams, index)->guard);
    }
    if (upstreams->has_mock && dyn_slice_is(target->name, MOCK_NAME)) {
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
