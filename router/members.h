/* Who serves which target, as one router knows it: provider actors of its own process and workers that joined
 * (proto/02-WORKER.md). Keeps the table of targets too, since workers bring models and whole targets with
 * them. It sends nothing and knows no request; what is in flight is counted for it by the walker. */
#pragma once

#include "proto/health.h"
#include "proto/ready.h"
#include "router/strategy.h"

/* Of one router. What workers said is kept as long as they are there. */
enum {
    ROUTE_WORKERS_MAX = 1024,
    ROUTE_ANNOUNCED_BYTES_MAX = 16 * 1024 * 1024, /* bodies of READYs, all workers together */
    ROUTE_ANNOUNCED_MODELS_MAX = 16 * 1024,       /* names in them */
};

/* One who takes REQUESTs. */
struct route_member {
    bus_addr_t addr;
    bool is_worker; /* in another process: it may be lost */
    bool is_draining;
    bool is_late; /* not heard of for a while: only when there is nobody else */
    uint32_t in_flight;
    uint64_t bytes;        /* bodies of what is in flight */
    uint32_t requests_max; /* 0: any number */
    uint64_t bytes_max;    /* 0: any; an idle one takes a body of any size */

    /* Of a worker. */
    struct dyn_slice name; /* unique in the fleet */
    struct route_set serves;
    struct env *ready; /* what it said; all its names lie there */
    struct ready said;
    size_t n_models; /* in `said`, all targets together */
    health_board_t **boards; /* of the targets in `said`, in their order; NULL: nothing was told yet */
};

/* The members of one target, those of this process first. */
struct route_crew {
    struct route_member **members;
    const health_board_t **boards; /* how the target fares at each of them; NULL: nothing is known */
    size_t n;
    size_t turn;              /* who is looked at first the next time */
    struct dyn_slice *models; /* those that workers gave the target; sorted, each once */
    char *name;               /* of an announced target */
    char *provider;           /* the same */
    bool by_model; /* the target has no models of its own: a member serves those that it announced */
};

struct route_members {
    struct route_target targets[ROUTE_TARGETS_MAX]; /* configured ones, then announced ones */
    struct route_crew crews[ROUTE_TARGETS_MAX];     /* of the target with the same index */
    size_t n_targets;
    uint64_t generation; /* another one whenever what targets serve has changed */
    size_t n_configured;
    struct route_member **here; /* n_configured; addr 0: there is none */
    struct route_member **former; /* those of this process that a reload took out of their crew */
    size_t n_former;
    struct route_crew nobody; /* of a target that is gone */
    struct route_member **workers; /* in the order in which they joined */
    size_t n_workers;
    size_t announced_bytes;
    size_t announced_models;
    size_t n_boards; /* of workers */
    const catalogue_t *catalogue;  /* of models, for that list; borrowed. NULL: there is none */
    struct route_model_list *list; /* model_list.h; NULL: nobody has asked for it */
};

/* What is borrowed in `targets` outlives it. `addrs`: the provider actor of each on this loop, 0: none; NULL:
 * no target has one. */
void route_members_init(struct route_members *members, const struct route_target *targets,
                        const bus_addr_t *addrs, size_t n_targets);
void route_members_fini(struct route_members *members);

/* NULL when that address is no worker's. */
struct route_member *route_members_find(const struct route_members *members, bus_addr_t addr);
/* NULL: there is no worker of that name. */
struct route_member *route_members_named(const struct route_members *members, struct dyn_slice name);

struct route_joining {
    bool accepts_new_targets;
    struct route_set busy; /* announced targets that requests in flight may mean: their places are kept */
};
/* A READY: takes it and makes its sender a member; again: says anew what it serves. NULL, or the word of the
 * GOODBYE with which it is refused, and *why in a sentence; one that was a member still is then. Who had the
 * same name before has to go once this one has joined. */
const char *route_members_join(struct route_members *members, struct env **ready_p,
                               const struct route_joining *joining, struct dyn_err *why);
/* The worker is gone, and freed. */
void route_members_leave(struct route_members *members, struct route_member *worker);

/* What a reload made of the targets: their new numbers. */
struct route_renumbering {
    uint16_t to[ROUTE_TARGETS_MAX]; /* ROUTE_TARGETS_MAX: it is gone */
    struct route_target *targets;   /* as they were, by their old numbers */
    struct route_crew *crews;       /* the same */
    size_t n_targets;
};
/* Other targets take the place of the configured ones, as route_members_init has them. Workers and announced
 * targets stay, matched by name; a worker that serves none of them any more stays too, for its calls and for
 * the next reload. Members in flight stay good. Who keeps a number or the address of a target looks into the
 * renumbering at once; afterwards it is given back. */
void route_members_apply(struct route_members *members, const struct route_target *targets,
                         const bus_addr_t *addrs, size_t n_targets, const struct route_joining *joining,
                         struct route_renumbering *renumbering);
void route_renumbering_fini(struct route_renumbering *renumbering);

/* What a dispatch needs of a member. */
struct route_wish {
    struct dyn_slice target;
    struct dyn_slice model;
    size_t bytes;     /* of the body */
    bus_addr_t avoid; /* 0: nobody */
    uint64_t now_us;  /* for breakers, which are open for a time */
};
enum route_pick { ROUTE_PICK_NOBODY, ROUTE_PICK_FULL, ROUTE_PICK_FOUND };
/* The member with the fewest in flight, of equals the next in turn. None that drains or did not announce the
 * model; one whose breaker is open, or that is late, only when there is nobody else. FULL: there are some,
 * all at their budgets. Pure. *index: in the crew. */
enum route_pick route_member_pick(const struct route_crew *crew, const struct route_wish *wish,
                                  size_t *index);

/* ---- health (member_health.c) ---- */

/* A HEARTBEAT of a worker with a map. -1 with err: it is none, and nothing has changed. */
int route_members_hear(struct route_members *members, struct route_member *worker, struct dyn_slice map,
                       uint64_t now_us, struct dyn_err *err);
/* How the target with that index fares: of each figure the best that a member shows, since a request goes to
 * one of them. Nothing known is closed, and without figures. */
void route_members_health(const struct route_members *members, size_t target, struct dyn_slice model,
                          uint64_t now_us, struct health_view *view);
/* Whether some member's breaker is closed, or nothing is known; what most requests need to know. */
bool route_members_is_closed(const struct route_members *members, size_t target, uint64_t now_us);
/* The same with the name hashed once for many targets. */
void route_members_health_of(const struct route_members *members, size_t target, uint64_t model_key,
                             uint64_t now_us, struct health_view *view);

/* Between members.c and member_health.c: a worker says anew what it serves, or is gone; crews show the boards
 * that it has now; the board of one target, NULL: there is none. */
void route_member_health_move(struct route_members *members, struct route_member *worker,
                              const struct ready *said);
void route_member_health_forget(struct route_members *members, struct route_member *worker);
void route_members_show_boards(struct route_members *members, const struct route_member *worker);
health_board_t *route_member_board(const struct route_member *worker, struct dyn_slice target);

/* There is a member that drains not. */
bool route_crew_is_there(const struct route_crew *crew);

/* ROUTE_TARGETS_MAX: it is none of theirs (any more). */
static inline size_t
route_members_number(const struct route_members *members, const struct route_target *target)
{
    bool is_there = target >= members->targets && target < members->targets + ROUTE_TARGETS_MAX;
    return is_there ? (size_t)(target - members->targets) : (size_t)ROUTE_TARGETS_MAX;
}

static inline struct route_crew *
route_crew_of(struct route_members *members, const struct route_target *target)
{
    size_t number = route_members_number(members, target);
    return number < ROUTE_TARGETS_MAX ? &members->crews[number] : &members->nobody;
}
