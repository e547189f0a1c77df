/* Links to all routers, see links.h: which addresses there are, and a link (bus/remote.h) for each. What
 * is said over a link is its owner's business. */
#include "bus/links.h"

#include "bus/resolver.h"
#include "core/log.h"

#include <stdio.h>
#include <stdlib.h>

/* One of the configured endpoints. */
struct base {
    struct bus_links *links;
    struct bus_endpoint endpoint;
    bool is_name;                    /* of hosts; else it is its only address */
    bool has_failed;                 /* the last look-up, which is in the log */
    struct bus_question *question;   /* under way */
    struct bus_addresses *addresses; /* the last good answer; NULL before */
};

struct entry {
    bus_link_t *link;
    char endpoint[BUS_ENDPOINT_MAX];
    bool is_named;
};

struct bus_links {
    bus_actor_t *owner;
    bus_resolver_t *resolver;
    enum bus_endpoint_part part;
    struct bus_remote_options options;
    struct base *bases;
    size_t n_bases;
    struct entry *entries;
    size_t n_entries;
    size_t cap_entries;
    struct bus_timer again;
    bool is_draining;
};

/* ---- addresses to links ---- */

static void
address_text(const struct bus_links *links, const struct base *base, const char *address,
             char out[BUS_ENDPOINT_MAX])
{
    struct bus_endpoint endpoint = base->endpoint;
    if (address != NULL) {
        (void)snprintf(endpoint.host, sizeof endpoint.host, "%s", address);
    }
    bus_endpoint_text(&endpoint, links->part, out);
}

static struct entry *
find_entry(struct bus_links *links, const char *endpoint)
{
    for (size_t i = 0; i < links->n_entries; i++) {
        if (strcmp(links->entries[i].endpoint, endpoint) == 0) {
            return &links->entries[i];
        }
    }
    return NULL;
}

static int
add_entry(struct bus_links *links, const char *endpoint, struct dyn_err *err)
{
    struct bus_remote_options options = links->options;
    options.endpoint = endpoint;
    bus_link_t *link = bus_link_open(links->owner, &options, err);
    if (link == NULL) {
        return -1;
    }
    if (links->is_draining) {
        bus_link_drain(link);
    }
    if (links->n_entries == links->cap_entries) {
        links->cap_entries = links->cap_entries > 0 ? 2 * links->cap_entries : 4;
        links->entries = dyn_realloc(links->entries, links->cap_entries * sizeof *links->entries);
    }
    struct entry *entry = &links->entries[links->n_entries++];
    entry->link = link;
    entry->is_named = true;
    (void)snprintf(entry->endpoint, sizeof entry->endpoint, "%s", endpoint);
    return 0;
}

static int
name_address(struct bus_links *links, const struct base *base, const char *address, struct dyn_err *err)
{
    char endpoint[BUS_ENDPOINT_MAX];
    address_text(links, base, address, endpoint);
    struct entry *entry = find_entry(links, endpoint);
    if (entry == NULL) {
        return add_entry(links, endpoint, err);
    }
    entry->is_named = true;
    return 0;
}

static void
name_all_of(struct bus_links *links, const struct base *base)
{
    struct dyn_err err;
    if (!base->is_name) {
        if (name_address(links, base, NULL, &err) != 0) {
            dyn_log(DYN_LOG_WARN, "bus.no_link", "a router cannot be connected to",
                    DYN_LOG_STR("reason", err.text));
        }
        return;
    }
    for (size_t i = 0; base->addresses != NULL && i < base->addresses->n; i++) {
        if (name_address(links, base, base->addresses->text[i], &err) != 0) {
            dyn_log(DYN_LOG_WARN, "bus.no_link", "a router cannot be connected to",
                    DYN_LOG_STR("name", base->endpoint.host), DYN_LOG_STR("reason", err.text));
        }
    }
}

static void
close_unnamed(struct bus_links *links)
{
    size_t kept = 0;
    for (size_t i = 0; i < links->n_entries; i++) {
        struct entry *entry = &links->entries[i];
        if (entry->is_named || bus_link_is_connected(entry->link)) {
            links->entries[kept++] = *entry;
        } else {
            bus_link_close(&entry->link);
        }
    }
    links->n_entries = kept;
}

static void
follow_names(struct bus_links *links)
{
    for (size_t i = 0; i < links->n_entries; i++) {
        links->entries[i].is_named = false;
    }
    for (size_t i = 0; i < links->n_bases; i++) {
        name_all_of(links, &links->bases[i]);
    }
    close_unnamed(links);
}

/* ---- names to addresses ---- */

static void
log_once(struct base *base, const struct dyn_err *err)
{
    if (!base->has_failed) {
        dyn_log(DYN_LOG_WARN, "bus.unresolved", "the name of a router cannot be resolved; it is tried again",
                DYN_LOG_STR("name", base->endpoint.host), DYN_LOG_STR("reason", err->text));
    }
    base->has_failed = true;
}

static void
on_answer(void *arg, const struct bus_addresses *addresses, const struct dyn_err *err)
{
    struct base *base = arg;
    base->question = NULL;
    if (addresses == NULL) {
        log_once(base, err);
        return;
    }
    base->has_failed = false;
    if (base->addresses == NULL) {
        base->addresses = dyn_alloc(sizeof *base->addresses);
    }
    *base->addresses = *addresses;
    follow_names(base->links);
}

static void
ask(struct base *base)
{
    struct bus_links *links = base->links;
    if (base->is_name && base->question == NULL) {
        base->question = bus_resolver_ask(links->resolver, base->endpoint.host, bus_actor_loop(links->owner),
                                          on_answer, base);
    }
}

static void
ask_again(struct bus_timer *timer)
{
    struct bus_links *links = DYN_CONTAINER_OF(timer, struct bus_links, again);
    for (size_t i = 0; i < links->n_bases; i++) {
        ask(&links->bases[i]);
    }
    follow_names(links);
    bus_timer_arm(bus_actor_loop(links->owner), timer, BUS_RESOLVE_MS);
}

/* ---- life ---- */

static int
open_base(struct bus_links *links, struct base *base, const char *text, struct dyn_err *err)
{
    char number[BUS_ADDRESS_TEXT];
    struct bus_endpoint *endpoint = &base->endpoint;
    base->links = links;
    if (bus_endpoint_parse(dyn_slice_str(text), endpoint, err) != 0) {
        return -1;
    }
    if (!endpoint->is_ipc && (endpoint->port == 0 || strcmp(endpoint->host, "*") == 0)) {
        return dyn_err_set(err, DYN_E_CONFIG, "'%s' can be listened on, but not connected to", text);
    }
    if (bus_security_check(links->options.process->security, endpoint, err) != 0) {
        return -1;
    }
    if (endpoint->is_ipc) {
        return name_address(links, base, NULL, err);
    }
    base->is_name = !bus_address_is_number(endpoint->host, number);
    if (base->is_name) {
        ask(base);
        return 0;
    }
    memcpy(endpoint->host, number, sizeof number);
    return name_address(links, base, NULL, err);
}

static int
open_bases(struct bus_links *links, const char *const *bases, size_t n_bases, struct dyn_err *err)
{
    bus_security_t *security = links->options.process->security;
    if (bus_security_has_curve(security) && !bus_security_knows_routers(security)) {
        return dyn_err_set(err, DYN_E_CONFIG, "no key of a router is known: set bus.curve.servers");
    }
    links->bases = dyn_zalloc(n_bases * sizeof *links->bases);
    for (size_t i = 0; i < n_bases; i++) {
        links->n_bases++;
        if (open_base(links, &links->bases[i], bases[i], err) != 0) {
            return -1;
        }
    }
    return 0;
}

bus_links_t *
bus_links_open(bus_actor_t *owner, bus_resolver_t *resolver, const char *const *bases, size_t n_bases,
               enum bus_endpoint_part part, const struct bus_remote_options *options, struct dyn_err *err)
{
    struct bus_links *links = dyn_zalloc(sizeof *links);
    links->owner = owner;
    links->resolver = resolver;
    links->part = part;
    links->options = *options;
    links->again.fire = ask_again;
    if (open_bases(links, bases, n_bases, err) != 0) {
        bus_links_close(&links);
        return NULL;
    }
    bus_timer_arm(bus_actor_loop(owner), &links->again, BUS_RESOLVE_MS);
    return links;
}

size_t
bus_links_count(const bus_links_t *links)
{
    return links->n_entries;
}

bus_link_t *
bus_links_at(const bus_links_t *links, size_t index)
{
    return links->entries[index].link;
}

void
bus_links_drain(bus_links_t *links)
{
    links->is_draining = true;
    for (size_t i = 0; i < links->n_entries; i++) {
        bus_link_drain(links->entries[i].link);
    }
}

size_t
bus_links_say_ready(bus_links_t *links)
{
    size_t n_old = 0;
    for (size_t i = 0; i < links->n_entries; i++) {
        n_old += bus_link_say_ready(links->entries[i].link) ? 0 : 1;
    }
    return n_old;
}

void
bus_links_close(bus_links_t **links_p)
{
    struct bus_links *links = *links_p;
    *links_p = NULL;
    if (links == NULL) {
        return;
    }
    bus_timer_fini(&links->again);
    for (size_t i = 0; i < links->n_bases; i++) {
        bus_question_cancel(&links->bases[i].question);
        free(links->bases[i].addresses);
    }
    for (size_t i = 0; i < links->n_entries; i++) {
        bus_link_close(&links->entries[i].link);
    }
    free(links->bases);
    free(links->entries);
    free(links);
}
