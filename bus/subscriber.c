/* See subscriber.h. Names and sockets of all routers; what happens with the events of one is
 * event_source.c's. */
#include "bus/subscriber.h"

#include "bus/event_source.h"
#include "bus/links.h"
#include "bus/resolver.h"
#include "core/clock.h"
#include "core/log.h"

#include <errno.h>
#include <stdlib.h>
#include <zmq.h>

struct base {
    struct bus_endpoint endpoint;
    bool is_name;
};

struct subscriber {
    struct subscriber_options options;
    char *topic;
    char *credential;
    struct base *bases;
    void *context;
    struct event_source *sources[SUBSCRIBER_ROUTERS_MAX];
    size_t n_sources;
    size_t turn; /* who is asked first */
    uint64_t resolve_at_ms;
};

static uint64_t
now_ms(void)
{
    return dyn_mono_us(&dyn_clock_system) / 1000;
}

/* ---- who is listened to ---- */

static bool
is_known(const struct subscriber *subscriber, const char *base)
{
    for (size_t i = 0; i < subscriber->n_sources; i++) {
        if (strcmp(event_source_base(subscriber->sources[i]), base) == 0) {
            return true;
        }
    }
    return false;
}

static int
add_source(struct subscriber *subscriber, const struct bus_endpoint *endpoint, struct dyn_err *err)
{
    char text[BUS_ENDPOINT_MAX];
    bus_endpoint_text(endpoint, BUS_ENDPOINT_CLIENTS, text);
    if (is_known(subscriber, text) || subscriber->n_sources == SUBSCRIBER_ROUTERS_MAX) {
        return 0;
    }
    struct event_source_options options = {
        .context = subscriber->context,
        .security = subscriber->options.security,
        .endpoint = *endpoint,
        .topic = subscriber->topic,
        .credential = subscriber->credential,
        .replays = subscriber->options.replays,
        .since = subscriber->options.since,
        .fills = subscriber->options.fills,
    };
    struct event_source *source = event_source_open(&options, err);
    if (source == NULL) {
        return -1;
    }
    subscriber->sources[subscriber->n_sources++] = source;
    return 0;
}

/* An address that a name stands for no longer keeps its socket until it has been silent and unconnected. */
static void
drop_dead_sources(struct subscriber *subscriber)
{
    for (size_t i = subscriber->n_sources; i-- > 0;) {
        if (event_source_is_dead(subscriber->sources[i])) {
            event_source_close(&subscriber->sources[i]);
            subscriber->sources[i] = subscriber->sources[--subscriber->n_sources];
        }
    }
}

static void
look_up(struct subscriber *subscriber, const struct base *base)
{
    struct bus_addresses *addresses = dyn_alloc(sizeof *addresses);
    struct dyn_err err;
    if (bus_lookup_system(NULL, base->endpoint.host, addresses, &err) != 0) {
        dyn_log(DYN_LOG_WARN, "events.name", "a router's name does not resolve now",
                DYN_LOG_STR("name", base->endpoint.host), DYN_LOG_STR("reason", err.text));
        addresses->n = 0;
    }
    for (size_t i = 0; i < addresses->n; i++) {
        struct bus_endpoint endpoint = base->endpoint;
        memcpy(endpoint.host, addresses->text[i], sizeof addresses->text[i]);
        if (add_source(subscriber, &endpoint, &err) != 0) {
            dyn_log(DYN_LOG_WARN, "events.connect", err.text);
        }
    }
    free(addresses);
}

static void
look_up_names(struct subscriber *subscriber)
{
    uint64_t now = now_ms();
    if (now < subscriber->resolve_at_ms) {
        return;
    }
    bool any_name = false;
    for (size_t i = 0; i < subscriber->options.n_routers; i++) {
        if (subscriber->bases[i].is_name) {
            look_up(subscriber, &subscriber->bases[i]);
            any_name = true;
        }
    }
    if (any_name) {
        drop_dead_sources(subscriber);
    }
    subscriber->resolve_at_ms = now_ms() + BUS_RESOLVE_MS;
}

/* ---- life ---- */

static int
add_base(struct subscriber *subscriber, struct base *base, const char *text, struct dyn_err *err)
{
    char number[BUS_ADDRESS_TEXT];
    const bus_security_t *security = subscriber->options.security;
    if (bus_endpoint_parse(dyn_slice_str(text), &base->endpoint, err) != 0 ||
        (security != NULL && bus_security_check(security, &base->endpoint, err) != 0)) {
        return -1;
    }
    if (base->endpoint.is_ipc) {
        return add_source(subscriber, &base->endpoint, err);
    }
    if (base->endpoint.port == 0 || strcmp(base->endpoint.host, "*") == 0) {
        return dyn_err_set(err, DYN_E_CONFIG, "'%s' can be listened on, but not connected to", text);
    }
    base->is_name = !bus_address_is_number(base->endpoint.host, number);
    if (!base->is_name) {
        memcpy(base->endpoint.host, number, sizeof number);
        return add_source(subscriber, &base->endpoint, err);
    }
    return 0;
}

subscriber_t *
subscriber_open(const struct subscriber_options *options, struct dyn_err *err)
{
    struct subscriber *subscriber = dyn_zalloc(sizeof *subscriber);
    subscriber->options = *options;
    subscriber->topic = dyn_strdup(options->topic != NULL ? options->topic : "");
    subscriber->credential = options->credential != NULL ? dyn_strdup(options->credential) : NULL;
    subscriber->bases = dyn_zalloc((options->n_routers + 1) * sizeof *subscriber->bases);
    subscriber->context = zmq_ctx_new();
    for (size_t i = 0; i < options->n_routers; i++) {
        if (add_base(subscriber, &subscriber->bases[i], options->routers[i], err) != 0) {
            subscriber_close(&subscriber);
            return NULL;
        }
    }
    return subscriber;
}

void
subscriber_close(subscriber_t **subscriber_p)
{
    struct subscriber *subscriber = *subscriber_p;
    *subscriber_p = NULL;
    if (subscriber == NULL) {
        return;
    }
    while (subscriber->n_sources > 0) {
        event_source_close(&subscriber->sources[--subscriber->n_sources]);
    }
    while (zmq_ctx_term(subscriber->context) != 0 && zmq_errno() == EINTR) {
        /* the sockets are closed and nothing lingers */
    }
    free(subscriber->bases);
    free(subscriber->topic);
    free(subscriber->credential);
    free(subscriber);
}

unsigned
subscriber_connected(const subscriber_t *subscriber)
{
    unsigned n = 0;
    for (size_t i = 0; i < subscriber->n_sources; i++) {
        n += event_source_is_connected(subscriber->sources[i]) ? 1 : 0;
    }
    return n;
}

const char *
subscriber_refusal(const subscriber_t *subscriber)
{
    for (size_t i = 0; i < subscriber->n_sources; i++) {
        const char *why = event_source_refusal(subscriber->sources[i]);
        if (why[0] != '\0') {
            return why;
        }
    }
    return "";
}

/* ---- events ---- */

/* Each in turn, so that a busy router does not hide the others. */
static int
take_one(struct subscriber *subscriber, struct subscriber_event *event, struct dyn_err *err)
{
    for (size_t i = 0; i < subscriber->n_sources; i++) {
        size_t at = (subscriber->turn + i) % subscriber->n_sources;
        int result = event_source_next(subscriber->sources[at], event, err);
        if (result != 0) {
            subscriber->turn = at + 1;
            return result;
        }
    }
    return 0;
}

static int
wait_for_any(struct subscriber *subscriber, uint64_t until_ms)
{
    zmq_pollitem_t items[2 * SUBSCRIBER_ROUTERS_MAX];
    int n = 0;
    uint64_t wake_ms = until_ms < subscriber->resolve_at_ms ? until_ms : subscriber->resolve_at_ms;
    for (size_t i = 0; i < subscriber->n_sources; i++) {
        uint64_t due = event_source_due_ms(subscriber->sources[i]);
        wake_ms = due < wake_ms ? due : wake_ms;
        n += event_source_poll_items(subscriber->sources[i], &items[n]);
    }
    uint64_t now = now_ms();
    return zmq_poll(items, n, wake_ms > now ? (long)(wake_ms - now) : 0);
}

int
subscriber_next(subscriber_t *subscriber, uint32_t timeout_ms, struct subscriber_event *event,
                struct dyn_err *err)
{
    uint64_t end_ms = now_ms() + timeout_ms;
    for (;;) {
        look_up_names(subscriber);
        int result = take_one(subscriber, event, err);
        if (result != 0 || now_ms() >= end_ms) {
            return result;
        }
        if (wait_for_any(subscriber, end_ms) < 0) {
            return 0; /* a signal */
        }
    }
}
