/* Ballots between the files of the vote: votes.c, votes_ask.c, votes_taken.c, votes_told.c. Not for
 * others. */
#pragma once

#include "router/votes.h"

struct route_voter *route_ballot_voter(struct route_request *rq, const struct route_plugin *plugin);
/* How a plugin of this loop is asked without envelopes; NULL: it is not. */
const struct vote_here *route_votes_here(const struct route_request *rq, const struct route_plugin *plugin);
/* It let it pass; what it said besides. */
void route_ballot_passed(struct route_request *rq, size_t i, struct route_voter *voter,
                         const struct vote_heard *heard);
/* Its VOTE, taken where it is kept. */
void route_ballot_take(struct route_request *rq, size_t i, struct env **vote_p);
/* Asks the plugin of that ballot, waits for it to join, or settles the ballot without it. */
void route_ballot_ask(struct route_request *rq, size_t i);
/* The plugin has failed; its policy decides. */
void route_ballot_fail(struct route_request *rq, size_t i, const char *why, struct dyn_slice detail);
/* ... by being silent, gone or full, which its breaker hears of. A vote that is of no use is not for it: it
 * came in time, and what it is of no use for may have been made so by the client. */
void route_ballot_fail_late(struct route_request *rq, size_t i, const char *why);
/* Who was asked may let go of the question. */
void route_ballot_withdraw(struct route_request *rq, struct route_ballot *ballot);
/* When the plugin will have failed; UINT64_MAX: not before the request's deadline. */
uint64_t route_ballot_until_us(const struct route_ballot *ballot);
/* The request's timer, for the first of those that are waited for. */
void route_ballots_arm(struct route_request *rq);
/* For the event. */
void route_ballot_note(struct route_request *rq, const struct route_ballot *ballot, unsigned verdict,
                       struct dyn_slice reason);
