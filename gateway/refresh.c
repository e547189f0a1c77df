#include "gateway/refresh.h"

#include "actors/providers/fetch.h"
#include "actors/providers/provider_config.h"
#include "core/log.h"
#include "gateway/discover.h"
#include "gateway/gateway.h"
#include "router/models_config.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { DISCOVERY_MIN_MS = 60 * 1000 };
enum { AGAIN_MS = 60 * 1000 }; /* after a failure, unless the refresh comes sooner */

/* What a configuration and the environment say. */
struct wanted {
    char *url; /* NULL: nothing is fetched */
    struct fetch_way way;
    uint32_t timeout_ms;
    uint64_t every_ms;
    uint64_t discover_every_ms; /* 0: providers are not asked for their models */
};

/* What the thread remembers from one fetch to the next. */
struct memory {
    char *url; /* of the last one; NULL: there was none */
    char etag[FETCH_ETAG_MAX];
    uint64_t due_ms; /* 0: never, so it is below */
    uint64_t discover_due_ms;
    char *asked; /* who was asked for models last; NULL: nobody was */
};

/* ---- what is wanted ---- */

static uint32_t
timeout_of(const struct models_config *models)
{
    uint64_t timeout_ms = models->catalog_timeout_ms;
    const char *text = getenv("FERRO_MODEL_CATALOG_TIMEOUT");
    uint64_t said_ms;
    if (!models->has_catalog_timeout && text != NULL &&
        config_read_duration(dyn_slice_str(text), &said_ms, NULL) == 0) {
        timeout_ms = said_ms;
    }
    return timeout_ms < UINT32_MAX ? (uint32_t)timeout_ms : UINT32_MAX;
}

/* Only who calls providers can ask them. */
static uint64_t
discovery_of_config(const struct dynabus *gateway, const struct models_config *models)
{
    uint64_t every_ms = models->discovery_interval_ms;
    const char *text = getenv("FERRO_MODEL_DISCOVERY_INTERVAL");
    uint64_t said_ms;
    if (!models->has_discovery_interval && text != NULL &&
        config_read_duration(dyn_slice_str(text), &said_ms, NULL) == 0 && said_ms >= DISCOVERY_MIN_MS) {
        every_ms = said_ms;
    }
    uint64_t told_ms = atomic_load(&gateway->refresh.discover_every_ms);
    every_ms = told_ms > 0 ? told_ms : every_ms;
    return gateway_has(gateway->roles, GATEWAY_ROLE_PROVIDER) ? every_ms : 0;
}

static struct wanted
wanted_by(struct dynabus *gateway)
{
    struct gateway_edition *edition = gateway_edition_now(gateway);
    const struct models_config_file *file = config_values(edition->config, &models_config_part);
    const struct models_config *models = &file->models;
    struct wanted wanted = {.timeout_ms = timeout_of(models),
                            .every_ms = models->catalog_refresh_ms,
                            .discover_every_ms = discovery_of_config(gateway, models)};
    const char *url = getenv("FERRO_MODEL_CATALOG_URL");
    bool is_wanted = edition->plan != NULL && wanted.timeout_ms > 0;
    if (is_wanted && models->catalog_url.len > 0) {
        wanted.url = dyn_strndup(models->catalog_url.data, models->catalog_url.len);
    } else if (is_wanted && url != NULL && *url != '\0') {
        wanted.url = dyn_strdup(url);
    }
    if (wanted.url != NULL) {
        const struct provider_config *providers = config_values(edition->config, &provider_config_part);
        const struct provider_upstream_config *upstream = &providers->upstream;
        wanted.way = fetch_way_to(wanted.url, upstream->proxy, upstream->no_proxy);
    }
    gateway_edition_unref(&edition);
    return wanted;
}

size_t
gateway_refresh_shown_url(const char *url, char *out, size_t size)
{
    const char *scheme_end = strstr(url, "://");
    const char *host = scheme_end != NULL ? scheme_end + 3 : url;
    size_t end = strcspn(host, "?#");
    size_t host_len = strcspn(host, "/?#");
    const char *at = host_len > 0 ? memrchr(host, '@', host_len) : NULL;
    size_t skip = at != NULL ? (size_t)(at + 1 - host) : 0;
    int len = snprintf(out, size, "%.*s%.*s", (int)(host - url), url, (int)(end - skip), host + skip);
    return len > 0 && (size_t)len < size ? (size_t)len : size - 1;
}

/* ---- one fetch ---- */

static void
warn(const char *url, const char *why)
{
    char shown[512];
    (void)gateway_refresh_shown_url(url, shown, sizeof shown);
    dyn_log(DYN_LOG_WARN, "gateway.refresh",
            "the catalogue of models could not be fetched; the one in force stays", DYN_LOG_STR("url", shown),
            DYN_LOG_STR("reason", why));
}

static int
take(struct dynabus *gateway, const struct fetch *fetch, struct dyn_err *err)
{
    if (fetch->error[0] != '\0') {
        return dyn_err_set(err, DYN_E_IO, "%s", fetch->error);
    }
    if (fetch->status != 200) {
        return dyn_err_set(err, DYN_E_IO, "it was answered with %ld", fetch->status);
    }
    catalogue_t *catalogue = catalogue_load(dyn_buf_slice(&fetch->body), err);
    if (catalogue == NULL) {
        return -1;
    }
    size_t n = catalogue_count(catalogue);
    catalogue_t *fetched = catalogue;
    catalogue = catalogue_over(fetched, catalogue_builtin());
    catalogue_unref(&fetched);
    if (gateway_take_catalogue(gateway, &catalogue, err) != 0) {
        catalogue_unref(&catalogue);
        return -1;
    }
    dyn_log(DYN_LOG_INFO, "gateway.refresh", "a newer catalogue of models is in force",
            DYN_LOG_UINT("models", n));
    return 0;
}

static bool
fetch_catalogue(struct dynabus *gateway, const struct wanted *wanted, struct memory *memory)
{
    struct gateway_refresh *refresh = &gateway->refresh;
    struct fetch fetch = {.url = wanted->url,
                          .follows = true,
                          .etag = memory->etag,
                          .proxy = wanted->way.proxy,
                          .no_proxy = wanted->way.no_proxy,
                          .timeout_ms = wanted->timeout_ms,
                          .bytes_max = CATALOGUE_BYTES_MAX};
    struct dyn_err err;
    int rc = fetch_all(&fetch, 1, 1, NULL, NULL, &refresh->stops, &err);
    if (atomic_load(&refresh->stops)) {
        dyn_buf_fini(&fetch.body);
        return false;
    }
    bool is_same = rc == 0 && fetch.status == 304 && memory->etag[0] != '\0';
    rc = rc == 0 && !is_same ? take(gateway, &fetch, &err) : rc;
    if (rc != 0) {
        warn(wanted->url, err.text);
    } else if (!is_same) {
        memcpy(memory->etag, fetch.got_etag, sizeof memory->etag);
    }
    (void)atomic_fetch_add(rc != 0 ? &refresh->failed : is_same ? &refresh->same : &refresh->loaded, 1);
    dyn_buf_fini(&fetch.body);
    return rc == 0;
}

static void
discover(struct dynabus *gateway, struct memory *memory)
{
    struct gateway_edition *edition = gateway_edition_now(gateway);
    free(memory->asked);
    memory->asked = discovery_asks(edition->upstreams);
    /* Only this thread changes what was discovered. */
    const struct discovery *former = gateway->reload.discovery;
    struct discovery *found = discovery_run(edition->upstreams, former, &gateway->refresh.stops);
    gateway_edition_unref(&edition);
    struct dyn_err err;
    bool stops = atomic_load(&gateway->refresh.stops);
    if (!stops && !discovery_same(found, former) && gateway_take_discovery(gateway, &found, &err) != 0) {
        dyn_log(DYN_LOG_WARN, "gateway.discover", "the models that were found cannot be taken up",
                DYN_LOG_STR("reason", err.text));
    }
    discovery_free(&found);
}

/* Whether a configuration brought a target that nobody has asked yet, or made another of one. */
static bool
asks_others(struct dynabus *gateway, const struct memory *memory)
{
    struct gateway_edition *edition = gateway_edition_now(gateway);
    char *asks = discovery_asks(edition->upstreams);
    gateway_edition_unref(&edition);
    bool is_other = memory->asked == NULL || strcmp(memory->asked, asks) != 0;
    free(asks);
    return is_other;
}

/* ---- the thread ---- */

static uint64_t
now_ms(void)
{
    return dyn_mono_us(&dyn_clock_system) / 1000;
}

/* Returns when it is time to look again: woken, closing, or due. */
static bool
rest(struct gateway_refresh *refresh, uint64_t due_ms)
{
    (void)pthread_mutex_lock(&refresh->lock);
    while (!refresh->is_woken && !refresh->is_closing && (due_ms == 0 || now_ms() < due_ms)) {
        if (due_ms == 0) {
            (void)pthread_cond_wait(&refresh->woken, &refresh->lock);
            continue;
        }
        struct timespec until = {.tv_sec = (time_t)(due_ms / 1000),
                                 .tv_nsec = (long)(due_ms % 1000) * 1000000};
        (void)pthread_cond_timedwait(&refresh->woken, &refresh->lock, &until);
    }
    refresh->is_woken = false;
    bool goes_on = !refresh->is_closing;
    (void)pthread_mutex_unlock(&refresh->lock);
    return goes_on;
}

static void
look_once(struct dynabus *gateway, struct memory *memory)
{
    struct wanted wanted = wanted_by(gateway);
    bool is_new = wanted.url != NULL && (memory->url == NULL || strcmp(memory->url, wanted.url) != 0);
    if (is_new) {
        memory->etag[0] = '\0';
        memory->due_ms = 0;
    }
    if (wanted.url != NULL && now_ms() >= memory->due_ms) {
        bool is_done = fetch_catalogue(gateway, &wanted, memory);
        uint64_t again_ms = wanted.every_ms < AGAIN_MS ? wanted.every_ms : AGAIN_MS;
        memory->due_ms = now_ms() + (is_done ? wanted.every_ms : again_ms);
    }
    if (wanted.url == NULL) {
        memory->due_ms = 0;
    }
    bool discovers = wanted.discover_every_ms > 0;
    if (discovers && (now_ms() >= memory->discover_due_ms || asks_others(gateway, memory))) {
        discover(gateway, memory);
        memory->discover_due_ms = now_ms() + wanted.discover_every_ms;
    }
    if (wanted.discover_every_ms == 0) {
        memory->discover_due_ms = 0;
    }
    fetch_way_fini(&wanted.way);
    free(memory->url);
    memory->url = wanted.url;
}

/* 0 is never. */
static uint64_t
sooner(uint64_t a, uint64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

static void *
refresh_main(void *arg)
{
    struct dynabus *gateway = arg;
    struct memory memory = {.url = NULL};
    do {
        look_once(gateway, &memory);
    } while (rest(&gateway->refresh, sooner(memory.due_ms, memory.discover_due_ms)));
    free(memory.url);
    free(memory.asked);
    return NULL;
}

/* Signals are for the threads of who uses the library. */
static bool
start_thread(struct dynabus *gateway)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    bool has_begun = pthread_create(&gateway->refresh.thread, NULL, refresh_main, gateway) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return has_begun;
}

void
gateway_refresh_look(struct dynabus *gateway)
{
    struct gateway_refresh *refresh = &gateway->refresh;
    struct wanted wanted = wanted_by(gateway);
    (void)pthread_mutex_lock(&refresh->lock);
    if (refresh->has_thread) {
        refresh->is_woken = true;
        (void)pthread_cond_signal(&refresh->woken);
    } else if ((wanted.url != NULL || wanted.discover_every_ms > 0) && !refresh->is_closing) {
        refresh->has_thread = start_thread(gateway);
        if (!refresh->has_thread) {
            warn(wanted.url != NULL ? wanted.url : "", "no thread could be started");
        }
    }
    (void)pthread_mutex_unlock(&refresh->lock);
    fetch_way_fini(&wanted.way);
    free(wanted.url);
}

void
gateway_refresh_init(struct gateway_refresh *refresh)
{
    pthread_condattr_t attributes;
    (void)pthread_mutex_init(&refresh->lock, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&refresh->woken, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}

void
gateway_refresh_close(struct gateway_refresh *refresh)
{
    atomic_store(&refresh->stops, true);
    (void)pthread_mutex_lock(&refresh->lock);
    refresh->is_closing = true;
    bool has_thread = refresh->has_thread;
    refresh->has_thread = false;
    (void)pthread_cond_signal(&refresh->woken);
    (void)pthread_mutex_unlock(&refresh->lock);
    if (has_thread) {
        (void)pthread_join(refresh->thread, NULL);
    }
}

void
gateway_refresh_fini(struct gateway_refresh *refresh)
{
    (void)pthread_cond_destroy(&refresh->woken);
    (void)pthread_mutex_destroy(&refresh->lock);
}
