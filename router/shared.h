/* Requests whose answer others wait for, and answers that were kept. A plugin with the trait `shares` has
 * said (by `charged`) that the answer of this request is to be told: so it is put together while it passes,
 * as a plain answer whatever form the owner gets, and the request outlives its owner until that plugin
 * cancels it. And the other way: a plain answer that a plugin gave becomes a stream for who wants one. Costs
 * nothing where no such plugin is. Private to router/. */
#pragma once

#include "router/request.h"

struct route_shared;

/* That vote made it one. */
void route_share(struct route_request *rq);
/* The owner is gone. true: it goes on without, and who shares it is told; `rq` may be gone then. */
bool route_outlives_owner(struct route_request *rq);
bool route_is_orphan(const struct route_request *rq);
/* What goes to the owner passes here first. false: there is no owner, and it is freed. */
bool route_shared_passes(struct route_request *rq, struct env **env_p);
/* Bytes that an owner would have granted again, now that an envelope has been handled. That request may be
 * gone afterwards. */
void route_orphans_grant(struct router *router, const struct env_id *id);
/* A plugin amends that plain answer: those who get it later have it amended anew, so it is kept as it was. */
void route_shared_keep(struct route_request *rq, dyn_block_t *answer);
/* It ends so: its answer, if it is whole, is kept for who is told of it. */
void route_shared_end(struct route_request *rq, const struct env *end);
/* NULL: there is none. Borrowed. */
dyn_block_t *route_shared_answer(const struct route_request *rq);
void route_shared_fini(struct route_request *rq);

/* A plugin's plain answer is to be a stream now. -1: that cannot be. */
int route_replay(struct route_request *rq, struct env *end);
/* What a cache said in the head of the answer, "hit" or "miss"; absent: none was asked. */
struct dyn_slice route_cache_said(const struct route_request *rq);
