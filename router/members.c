/* Joining, leaving, choosing; see members.h. After each change the crews and models of the targets that it
 * touches are made anew: that is rare, and what is asked for each request lies ready. */
#include "router/members.h"

#include "core/log.h"
#include "proto/dialects/dialect.h"
#include "router/model_list.h"

#include <stdlib.h>

/* ---- choosing ---- */

static bool
is_full(const struct route_member *member, size_t bytes)
{
    bool has_bytes = member->bytes_max == 0 || member->in_flight == 0 ||
                     (bytes <= member->bytes_max && member->bytes <= member->bytes_max - bytes);
    return (member->requests_max != 0 && member->in_flight >= member->requests_max) || !has_bytes;
}

static const struct ready_target *
announced_as(const struct route_member *worker, struct dyn_slice target)
{
    for (size_t i = 0; i < worker->said.n_targets; i++) {
        if (dyn_slice_eq(worker->said.targets[i].name, target)) {
            return &worker->said.targets[i];
        }
    }
    return NULL;
}

static bool
announced_model(const struct route_member *member, const struct route_wish *wish)
{
    const struct ready_target *said = member->is_worker ? announced_as(member, wish->target) : NULL;
    bool serves = said == NULL || said->any_model;
    for (size_t i = 0; !serves && i < said->n_models; i++) {
        serves = dyn_slice_eq(said->models[i], wish->model);
    }
    return serves;
}

enum route_pick
route_member_pick(const struct route_crew *crew, const struct route_wish *wish, size_t *index)
{
    enum route_pick pick = ROUTE_PICK_NOBODY;
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < crew->n; i++) {
        size_t at = crew->turn + i < crew->n ? crew->turn + i : crew->turn + i - crew->n;
        const struct route_member *member = crew->members[at];
        bool is_good = !member->is_draining && member->addr != wish->avoid &&
                       (!crew->by_model || announced_model(member, wish));
        if (!is_good) {
            continue;
        }
        bool is_open = crew->boards != NULL && crew->boards[at] != NULL &&
                       health_state_of(crew->boards[at], wish->now_us) == HEALTH_OPEN;
        uint64_t load = member->in_flight + (member->is_late ? (uint64_t)UINT32_MAX : 0) +
                        (is_open ? 2 * (uint64_t)UINT32_MAX : 0);
        if (is_full(member, wish->bytes)) {
            pick = pick == ROUTE_PICK_NOBODY ? ROUTE_PICK_FULL : pick;
        } else if (pick != ROUTE_PICK_FOUND || load < least) {
            pick = ROUTE_PICK_FOUND;
            least = load;
            *index = at;
        }
    }
    return pick;
}

bool
route_crew_is_there(const struct route_crew *crew)
{
    for (size_t i = 0; i < crew->n; i++) {
        if (!crew->members[i]->is_draining) {
            return true;
        }
    }
    return false;
}

/* ---- targets and their crews ---- */

static void
gather_crew(struct route_members *members, size_t target)
{
    struct route_crew *crew = &members->crews[target];
    bool has_own = target < members->n_configured && members->here[target]->addr != 0;
    crew->members = dyn_realloc(crew->members, (members->n_workers + 1) * sizeof(struct route_member *));
    crew->boards = dyn_realloc(crew->boards, (members->n_workers + 1) * sizeof *crew->boards);
    crew->n = 0;
    if (has_own) {
        crew->boards[crew->n] = members->targets[target].health;
        crew->members[crew->n++] = members->here[target];
    }
    for (size_t i = 0; i < members->n_workers; i++) {
        if (route_set_has(&members->workers[i]->serves, target)) {
            crew->boards[crew->n] = route_member_board(members->workers[i], members->targets[target].name);
            crew->members[crew->n++] = members->workers[i];
        }
    }
    crew->turn = crew->n > 0 ? crew->turn % crew->n : 0;
}

static int
compare(const void *left, const void *right)
{
    const struct dyn_slice *a = left;
    const struct dyn_slice *b = right;
    int order = memcmp(a->data, b->data, a->len < b->len ? a->len : b->len);
    return order != 0 ? order : (a->len > b->len) - (a->len < b->len);
}

static size_t
without_repeats(struct dyn_slice *models, size_t n)
{
    size_t kept = 0;
    if (n > 1) {
        qsort(models, n, sizeof *models, compare);
    }
    for (size_t i = 0; i < n; i++) {
        if (kept == 0 || !dyn_slice_eq(models[i], models[kept - 1])) {
            models[kept++] = models[i];
        }
    }
    return kept;
}

/* What its workers say that a target without models of its own serves: everything that any of them does. */
static void
gather_models(struct route_members *members, size_t target)
{
    struct route_crew *crew = &members->crews[target];
    struct route_target *row = &members->targets[target];
    size_t n = 0;
    row->takes_any = false;
    for (size_t i = 0; i < crew->n; i++) {
        const struct ready_target *said =
            crew->members[i]->is_worker ? announced_as(crew->members[i], row->name) : NULL;
        row->takes_any = row->takes_any || said == NULL || said->any_model;
        if (said == NULL || said->n_models == 0) {
            continue; /* of this process and without models of its own: it takes what comes */
        }
        crew->models = dyn_realloc(crew->models, (n + said->n_models) * sizeof *crew->models);
        memcpy(crew->models + n, said->models, said->n_models * sizeof *crew->models);
        n += said->n_models;
    }
    row->models = crew->models;
    row->n_models = without_repeats(crew->models, n);
}

static void
gather(struct route_members *members, const struct route_set *targets)
{
    members->generation++;
    for (ROUTE_SET_EACH(i, targets)) {
        gather_crew(members, i);
        if (members->crews[i].by_model) {
            gather_models(members, i);
        }
    }
}

void
route_members_show_boards(struct route_members *members, const struct route_member *worker)
{
    for (size_t i = 0; i < members->n_targets; i++) {
        if (route_set_has(&worker->serves, i)) {
            gather_crew(members, i);
        }
    }
}

/* ---- announced targets ---- */

/* A name that no configuration has vouched for stands in headers, logs and labels. */
static bool
is_plain(struct dyn_slice name)
{
    enum { PLAIN_MAX = 64 };
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_letter && (c == '\0' || strchr("-_.:/@+", c) == NULL)) {
            return false;
        }
    }
    return name.len > 0 && name.len <= PLAIN_MAX;
}

/* Of a dialect or for surfaces that are not routed (yet). */
static bool
is_foreign(const struct ready_target *said)
{
    const uint32_t routed = 1u << ENV_SURFACE_CHAT | 1u << ENV_SURFACE_EMBEDDINGS;
    return (said->surfaces & routed) == 0 || dialect_find(said->dialect) == NULL;
}

static void
forget_target(struct route_members *members, size_t place)
{
    struct route_crew *crew = &members->crews[place];
    free(crew->name);
    free(crew->provider);
    crew->name = NULL;
    crew->provider = NULL;
    members->targets[place] = (struct route_target){.is_announced = true};
}

static size_t
find_target(const struct route_members *members, struct dyn_slice name)
{
    size_t i = 0;
    while (i < members->n_targets && !dyn_slice_eq(members->targets[i].name, name)) {
        i++;
    }
    return i;
}

/* A place for one more: behind the others, or of one that nobody serves or means any more. */
static size_t
free_place(const struct route_members *members, const struct route_set *busy)
{
    for (size_t i = members->n_configured; i < members->n_targets; i++) {
        if (members->crews[i].n == 0 && !route_set_has(busy, i)) {
            return i;
        }
    }
    return members->n_targets;
}

static size_t
add_target(struct route_members *members, const struct ready_target *said, const struct route_set *busy)
{
    size_t place = free_place(members, busy);
    if (place == ROUTE_TARGETS_MAX) {
        return place;
    }
    if (place == members->n_targets) {
        members->n_targets++;
        members->crews[place].by_model = true;
    }
    struct route_crew *crew = &members->crews[place];
    struct dyn_slice provider = is_plain(said->provider) ? said->provider : said->name;
    forget_target(members, place);
    crew->name = dyn_strndup(said->name.data, said->name.len);
    crew->provider = dyn_strndup(provider.data, provider.len);
    members->targets[place].name = dyn_slice_str(crew->name);
    members->targets[place].provider = dyn_slice_str(crew->provider);
    members->targets[place].surfaces = said->surfaces;
    return place;
}

/* Which targets the worker is a member of; the word of refusal when there are none, or no room. */
static const char *
place_targets(struct route_members *members, const struct ready *said, const struct route_joining *joining,
              struct route_set *serves)
{
    struct route_set busy = joining->busy;
    *serves = (struct route_set){{0}};
    for (size_t i = 0; i < said->n_targets; i++) {
        const struct ready_target *announced = &said->targets[i];
        size_t at = find_target(members, announced->name);
        bool is_new = at == members->n_targets;
        bool is_welcome = !is_new || (joining->accepts_new_targets && is_plain(announced->name));
        if (is_foreign(announced) || !is_welcome) {
            dyn_log(DYN_LOG_WARN, "router.worker.target", "a target that a worker offers is ignored",
                    DYN_LOG_SLICE("target", announced->name));
            continue;
        }
        at = is_new ? add_target(members, announced, &busy) : at;
        if (at == ROUTE_TARGETS_MAX) {
            return "limit";
        }
        route_set_add(serves, at);
        route_set_add(&busy, at);
    }
    return route_set_is_empty(serves) ? "role" : NULL;
}

/* ---- joining and leaving ---- */

struct route_member *
route_members_find(const struct route_members *members, bus_addr_t addr)
{
    for (size_t i = 0; i < members->n_workers; i++) {
        if (members->workers[i]->addr == addr) {
            return members->workers[i];
        }
    }
    return NULL;
}

struct route_member *
route_members_named(const struct route_members *members, struct dyn_slice name)
{
    for (size_t i = 0; i < members->n_workers && name.len > 0; i++) {
        if (dyn_slice_eq(members->workers[i]->name, name)) {
            return members->workers[i];
        }
    }
    return NULL;
}

static size_t
count_models(const struct ready *said)
{
    size_t n = 0;
    for (size_t i = 0; i < said->n_targets; i++) {
        n += said->targets[i].n_models;
    }
    return n;
}

static void
forget_said(struct route_members *members, const struct route_member *worker)
{
    if (worker->ready != NULL) {
        members->announced_bytes -= env_body_len(worker->ready);
        members->announced_models -= worker->n_models;
    }
}

static bool
has_room(const struct route_members *members, const struct env *ready, const struct ready *said)
{
    bool is_new = route_members_find(members, ready->from) == NULL;
    return (!is_new || members->n_workers < ROUTE_WORKERS_MAX) &&
           members->announced_bytes + env_body_len(ready) <= ROUTE_ANNOUNCED_BYTES_MAX &&
           members->announced_models + count_models(said) <= ROUTE_ANNOUNCED_MODELS_MAX;
}

static struct route_member *
add_worker(struct route_members *members, bus_addr_t addr)
{
    struct route_member *worker = dyn_zalloc(sizeof *worker);
    worker->addr = addr;
    worker->is_worker = true;
    size_t n = members->n_workers + 1;
    members->workers = dyn_realloc(members->workers, n * sizeof(struct route_member *));
    members->workers[members->n_workers++] = worker;
    return worker;
}

/* It serves now what it said, and nothing else. */
static void
take_said(struct route_members *members, struct env *ready, const struct ready *said,
          const struct route_set *serves)
{
    struct route_member *worker = route_members_find(members, ready->from);
    worker = worker != NULL ? worker : add_worker(members, ready->from);
    struct route_set touched = worker->serves;
    route_set_add_all(&touched, serves);
    struct env *former = worker->ready;
    forget_said(members, worker);
    route_member_health_move(members, worker, said);
    worker->ready = ready;
    worker->said = *said;
    worker->n_models = count_models(said);
    worker->serves = *serves;
    worker->name = ready->worker;
    worker->is_draining = false;
    worker->requests_max = ready->requests;
    worker->bytes_max = ready->request_bytes;
    members->announced_bytes += env_body_len(ready);
    members->announced_models += worker->n_models;
    gather(members, &touched);
    env_free(&former); /* no target shows its models any more */
}

const char *
route_members_join(struct route_members *members, struct env **ready_p, const struct route_joining *joining,
                   struct dyn_err *why)
{
    struct env *ready = *ready_p;
    struct ready said;
    struct route_set serves;
    if (ready->worker.len == 0) {
        (void)dyn_err_set(why, DYN_E_INVALID, "READY: 'worker' is missing");
        return "protocol";
    }
    if (ready_decode(dyn_block_slice(ready->body), &ready->arena, &said, why) != 0) {
        return why->code == DYN_E_LIMIT ? "limit" : "protocol";
    }
    if (!has_room(members, ready, &said)) {
        (void)dyn_err_set(why, DYN_E_LIMIT, "there are too many workers, or they serve too much");
        return "limit";
    }
    const char *refusal = place_targets(members, &said, joining, &serves);
    bool is_new = route_members_find(members, ready->from) == NULL;
    bool stays =
        refusal != NULL && !is_new && route_set_is_empty(&serves); /* until a reload has its targets */
    if (refusal != NULL && !stays) {
        (void)dyn_err_set(why, DYN_E_INVALID, "none of its targets is served here, or there are too many");
        return refusal;
    }
    *ready_p = NULL;
    take_said(members, ready, &said, &serves);
    return NULL;
}

void
route_members_leave(struct route_members *members, struct route_member *worker)
{
    size_t at = 0;
    while (members->workers[at] != worker) {
        at++;
    }
    members->n_workers--;
    memmove(&members->workers[at], &members->workers[at + 1],
            (members->n_workers - at) * sizeof(struct route_member *));
    forget_said(members, worker);
    gather(members, &worker->serves);
    route_member_health_forget(members, worker);
    env_free(&worker->ready);
    free(worker);
}

static void
place_configured(struct route_members *members, size_t place, const struct route_target *target)
{
    members->targets[place] = *target;
    members->crews[place].by_model = target->n_models == 0 && target->prefix.len == 0;
}

void
route_members_init(struct route_members *members, const struct route_target *targets, const bus_addr_t *addrs,
                   size_t n_targets)
{
    DYN_ASSERT(n_targets <= ROUTE_TARGETS_MAX);
    *members = (struct route_members){.n_targets = n_targets, .n_configured = n_targets, .generation = 1};
    members->here = dyn_zalloc((n_targets + 1) * sizeof(struct route_member *));
    for (size_t i = 0; i < n_targets; i++) {
        members->here[i] = dyn_zalloc(sizeof(struct route_member));
        members->here[i]->addr = addrs != NULL ? addrs[i] : 0;
        place_configured(members, i, &targets[i]);
        gather_crew(members, i);
    }
}

/* ---- other targets ---- */

/* The member of this process at that address goes on, whatever its target's number is. */
static struct route_member *
take_over(struct route_member **here, size_t n, bus_addr_t addr)
{
    for (size_t i = 0; i < n && addr != 0; i++) {
        if (here[i] != NULL && here[i]->addr == addr) {
            struct route_member *member = here[i];
            here[i] = NULL;
            return member;
        }
    }
    struct route_member *member = dyn_zalloc(sizeof *member);
    member->addr = addr;
    return member;
}

/* What is in flight at them has to find them. */
static void
keep_former(struct route_members *members, struct route_member **here, size_t n)
{
    size_t room = members->n_former + n + 1;
    members->former = dyn_realloc(members->former, room * sizeof(struct route_member *));
    for (size_t i = 0; i < n; i++) {
        if (here[i] != NULL) {
            members->former[members->n_former++] = here[i];
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < members->n_former; i++) {
        if (members->former[i]->in_flight > 0) {
            members->former[kept++] = members->former[i];
        } else {
            free(members->former[i]);
        }
    }
    members->n_former = kept;
}

static void
place_here(struct route_members *members, const struct route_target *targets, const bus_addr_t *addrs,
           size_t n_targets)
{
    struct route_member **former = members->here;
    size_t n_former = members->n_configured;
    members->here = dyn_zalloc((n_targets + 1) * sizeof(struct route_member *));
    for (size_t i = 0; i < n_targets; i++) {
        members->here[i] = take_over(former, n_former, addrs != NULL ? addrs[i] : 0);
        place_configured(members, i, &targets[i]);
    }
    keep_former(members, former, n_former);
    free(former);
}

/* An announced target that somebody serves or means stays announced, unless its name is configured now. */
static void
carry_announced(struct route_members *members, const struct route_joining *joining,
                struct route_renumbering *before, size_t from)
{
    for (size_t i = from; i < before->n_targets; i++) {
        struct route_crew *crew = &before->crews[i];
        bool is_used = crew->name != NULL && (crew->n > 0 || route_set_has(&joining->busy, i));
        bool is_new = is_used && find_target(members, before->targets[i].name) == members->n_targets;
        if (is_new && members->n_targets < ROUTE_TARGETS_MAX) {
            members->targets[members->n_targets] = before->targets[i];
            members->crews[members->n_targets++] =
                (struct route_crew){.name = crew->name, .provider = crew->provider, .by_model = true};
            crew->name = NULL;
            crew->provider = NULL;
        }
    }
}

static void
match_workers(struct route_members *members, const struct route_joining *joining)
{
    struct route_joining now = {.accepts_new_targets = joining->accepts_new_targets};
    for (size_t i = members->n_configured; i < members->n_targets; i++) {
        route_set_add(&now.busy, i);
    }
    for (size_t i = 0; i < members->n_workers; i++) {
        struct route_member *worker = members->workers[i];
        if (place_targets(members, &worker->said, &now, &worker->serves) != NULL) {
            worker->serves = (struct route_set){{0}};
        }
        route_set_add_all(&now.busy, &worker->serves);
    }
}

void
route_members_apply(struct route_members *members, const struct route_target *targets,
                    const bus_addr_t *addrs, size_t n_targets, const struct route_joining *joining,
                    struct route_renumbering *renumbering)
{
    DYN_ASSERT(n_targets <= ROUTE_TARGETS_MAX);
    size_t n_configured = members->n_configured;
    *renumbering = (struct route_renumbering){.n_targets = members->n_targets};
    renumbering->targets = dyn_alloc(sizeof members->targets);
    renumbering->crews = dyn_alloc(sizeof members->crews);
    memcpy(renumbering->targets, members->targets, sizeof members->targets);
    memcpy(renumbering->crews, members->crews, sizeof members->crews);
    memset(members->targets, 0, sizeof members->targets);
    memset(members->crews, 0, sizeof members->crews);
    place_here(members, targets, addrs, n_targets);
    members->n_targets = members->n_configured = n_targets;
    carry_announced(members, joining, renumbering, n_configured);
    match_workers(members, joining);
    struct route_set all = {{0}};
    for (size_t i = 0; i < members->n_targets; i++) {
        route_set_add(&all, i);
    }
    gather(members, &all);
    for (size_t i = 0; i < renumbering->n_targets; i++) {
        size_t at = find_target(members, renumbering->targets[i].name);
        renumbering->to[i] = (uint16_t)(at < members->n_targets ? at : ROUTE_TARGETS_MAX);
    }
}

void
route_renumbering_fini(struct route_renumbering *renumbering)
{
    for (size_t i = 0; i < renumbering->n_targets; i++) {
        free(renumbering->crews[i].members);
        free(renumbering->crews[i].boards);
        free(renumbering->crews[i].models);
        free(renumbering->crews[i].name);
        free(renumbering->crews[i].provider);
    }
    free(renumbering->targets);
    free(renumbering->crews);
    *renumbering = (struct route_renumbering){.targets = NULL};
}

void
route_members_fini(struct route_members *members)
{
    for (size_t i = 0; i < members->n_workers; i++) {
        route_member_health_forget(members, members->workers[i]);
        env_free(&members->workers[i]->ready);
        free(members->workers[i]);
    }
    for (size_t i = 0; i < members->n_targets; i++) {
        free(members->crews[i].members);
        free(members->crews[i].boards);
        free(members->crews[i].models);
        if (i >= members->n_configured) {
            forget_target(members, i);
        }
    }
    for (size_t i = 0; i < members->n_configured; i++) {
        free(members->here[i]);
    }
    for (size_t i = 0; i < members->n_former; i++) {
        free(members->former[i]);
    }
    free(members->workers);
    free(members->former);
    free(members->here);
    route_model_list_free(&members->list);
    *members = (struct route_members){0};
}
