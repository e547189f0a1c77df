#include "router/voters.h"

#include <stdlib.h>

static void
voter_free(struct route_voter *voter)
{
    free((char *)(uintptr_t)voter->name.data);
    free(voter);
}

void
route_voters_fini(struct route_voters *voters)
{
    for (size_t i = 0; i < voters->n; i++) {
        voter_free(voters->items[i]);
    }
    voters->n = 0;
}

/* One that nobody votes for goes, when configurations with ever new names have come and gone. There is one:
 * those who join unasked do not fill the table (add). */
static void
make_room(struct route_voters *voters)
{
    size_t gone = 0;
    if (voters->n < ROUTE_VOTERS_MAX) {
        return;
    }
    while (gone + 1 < voters->n && voters->items[gone]->n_peers > 0) {
        gone++;
    }
    voter_free(voters->items[gone]);
    voters->n--;
    memmove(voters->items + gone, voters->items + gone + 1, (voters->n - gone) * sizeof voters->items[0]);
}

static struct route_voter *
find(const struct route_voters *voters, struct dyn_slice name)
{
    for (size_t i = 0; i < voters->n; i++) {
        if (dyn_slice_eq(voters->items[i]->name, name)) {
            return voters->items[i];
        }
    }
    return NULL;
}

const struct route_voter *
route_voters_look(const struct route_voters *voters, struct dyn_slice name)
{
    return find(voters, name);
}

struct route_voter *
route_voters_find(struct route_voters *voters, struct dyn_slice name)
{
    struct route_voter *voter = find(voters, name);
    if (voter == NULL) {
        make_room(voters);
        voter = dyn_zalloc(sizeof *voter);
        voter->name = dyn_slice(dyn_strndup(name.data, name.len), name.len);
        voters->items[voters->n++] = voter;
    }
    return voter;
}

/* ---- processes ---- */

static struct route_voter_peer *
peer_of(struct route_voter *voter, bus_addr_t addr)
{
    for (size_t i = 0; i < voter->n_peers; i++) {
        if (voter->peers[i].addr == addr) {
            return &voter->peers[i];
        }
    }
    return NULL;
}

/* What any of them can do; a stage is asked of those that know it. */
static void
sum_up(struct route_voter *voter)
{
    struct route_traits all = {.watches = true};
    for (size_t i = 0; i < voter->n_peers; i++) {
        const struct route_traits *said = &voter->peers[i].said;
        all.stages |= said->stages;
        all.needs |= said->needs;
        all.charges |= said->charges;
        all.amends |= said->amends;
        all.answers |= said->answers;
        all.watches &= said->watches;
    }
    if (voter->n_peers > 0) {
        voter->said = all;
    }
}

static void
leave(struct route_voter *voter, bus_addr_t addr)
{
    struct route_voter_peer *peer = peer_of(voter, addr);
    if (peer != NULL) {
        *peer = voter->peers[--voter->n_peers];
        sum_up(voter);
    }
}

static bool
is_any_there(const struct route_voter *voter)
{
    size_t i = 0;
    while (i < voter->n_peers && voter->peers[i].is_draining) {
        i++;
    }
    return i < voter->n_peers;
}

/* Names that somebody votes under and nobody has asked for leave room for all that are configured. */
static bool
has_room(const struct route_voters *voters, const struct route_voter *voter)
{
    size_t taken = 0;
    for (size_t i = 0; i < voters->n; i++) {
        taken += voters->items[i]->n_peers > 0;
    }
    return voter != NULL ? voter->n_peers < ROUTE_VOTER_PEERS_MAX
                         : taken < ROUTE_VOTERS_MAX - ROUTE_PLUGINS_MAX;
}

/* What is new is said by who comes: a fleet is changed process by process. */
static const char *
add(struct route_voters *voters, const struct plugin_said *said, const struct env *ready)
{
    struct route_voter *voter = find(voters, said->name);
    if (!has_room(voters, voter)) {
        return "limit";
    }
    voter = route_voters_find(voters, said->name);
    voter->has_said = true;
    if (!is_any_there(voter)) {
        vote_breaker_succeeded(&voter->breaker); /* the one that failed is gone, or goes */
    }
    voter->peers[voter->n_peers++] = (struct route_voter_peer){
        .addr = ready->from,
        .requests_max = ready->requests,
        .said = {.stages = said->stages,
                 .needs = said->needs,
                 .charges = said->charges,
                 .amends = said->amends,
                 .answers = said->answers,
                 .watches = said->watches},
    };
    sum_up(voter);
    return NULL;
}

const char *
route_voters_join(struct route_voters *voters, const struct env *ready, struct dyn_err *why)
{
    struct plugin_said said[PLUGIN_SAID_MAX];
    const char *refusal = NULL;
    int n = plugin_ready_decode(dyn_block_slice(ready->body), said, why);
    route_voters_leave(voters, ready->from);
    voters->n_said++;
    if (n < 0) {
        return "protocol";
    }
    for (int i = 0; i < n && refusal == NULL; i++) {
        refusal = add(voters, &said[i], ready);
    }
    if (refusal != NULL) {
        route_voters_leave(voters, ready->from);
        (void)dyn_err_set(why, DYN_E_LIMIT, "more plugins than a router takes");
    }
    return refusal;
}

bool
route_voters_has(const struct route_voters *voters, bus_addr_t addr)
{
    for (size_t i = 0; i < voters->n; i++) {
        if (peer_of(voters->items[i], addr) != NULL) {
            return true;
        }
    }
    return false;
}

void
route_voters_leave(struct route_voters *voters, bus_addr_t addr)
{
    for (size_t i = 0; i < voters->n; i++) {
        leave(voters->items[i], addr);
    }
}

void
route_voters_drain(struct route_voters *voters, bus_addr_t addr)
{
    for (size_t i = 0; i < voters->n; i++) {
        struct route_voter_peer *peer = peer_of(voters->items[i], addr);
        if (peer != NULL) {
            peer->is_draining = true;
        }
    }
}

void
route_voters_late(struct route_voters *voters, bus_addr_t addr, bool is_late)
{
    for (size_t i = 0; i < voters->n; i++) {
        struct route_voter_peer *peer = peer_of(voters->items[i], addr);
        if (peer != NULL) {
            peer->is_late = is_late;
        }
    }
}

/* ---- asking ---- */

static bool
is_better(const struct route_voter_peer *peer, const struct route_voter_peer *best)
{
    if (best == NULL || peer->is_late != best->is_late) {
        return best == NULL || best->is_late;
    }
    return peer->in_flight < best->in_flight;
}

bool
route_voter_takes(const struct route_voter *voter, bus_addr_t addr)
{
    size_t i = 0;
    while (i < voter->n_peers && voter->peers[i].addr != addr) {
        i++;
    }
    return i < voter->n_peers && !voter->peers[i].is_draining;
}

static bool
votes_at(const struct route_voter_peer *peer, enum vote_stage stage)
{
    return (peer->said.stages & VOTE_STAGE_BIT(stage)) != 0;
}

bool
route_voter_is_there(const struct route_voter *voter, enum vote_stage stage)
{
    for (size_t i = 0; i < voter->n_peers; i++) {
        if (!voter->peers[i].is_draining && votes_at(&voter->peers[i], stage)) {
            return true;
        }
    }
    return false;
}

bus_addr_t
route_voter_pick(const struct route_voter *voter, enum vote_stage stage)
{
    const struct route_voter_peer *best = NULL;
    for (size_t i = 0; i < voter->n_peers; i++) {
        const struct route_voter_peer *peer = &voter->peers[i];
        bool has_room = peer->requests_max == 0 || peer->in_flight < peer->requests_max;
        if (!peer->is_draining && has_room && votes_at(peer, stage) && is_better(peer, best)) {
            best = peer;
        }
    }
    return best != NULL ? best->addr : 0;
}

bus_addr_t
route_voter_listener(const struct route_voter *voter, enum vote_stage stage, bus_addr_t first)
{
    const struct route_voter_peer *best = NULL;
    for (size_t i = 0; i < voter->n_peers; i++) {
        const struct route_voter_peer *peer = &voter->peers[i];
        bool is_equal = best != NULL && peer->is_draining == best->is_draining;
        if (peer->addr == first) {
            return first;
        }
        if (votes_at(peer, stage) &&
            (best == NULL || (is_equal ? is_better(peer, best) : best->is_draining))) {
            best = peer;
        }
    }
    return best != NULL ? best->addr : 0;
}

const struct route_traits *
route_voter_traits(const struct route_voter *voter, bus_addr_t addr)
{
    for (size_t i = 0; i < voter->n_peers; i++) {
        if (voter->peers[i].addr == addr) {
            return &voter->peers[i].said;
        }
    }
    return NULL;
}

void
route_voter_count(struct route_voter *voter, bus_addr_t addr, int change)
{
    struct route_voter_peer *peer = peer_of(voter, addr);
    if (peer != NULL && (change > 0 || peer->in_flight > 0)) {
        peer->in_flight = change > 0 ? peer->in_flight + 1 : peer->in_flight - 1;
    }
}
