/* Ballots between the files of the vote: votes.c, votes_ask.c, votes_taken.c, votes_told.c. Not for
 * others. */
#pragma once

#include "router/votes.h"

struct route_voter *route_ballot_voter(struct route_request *rq, const struct route_plugin *plugin);
/* Asks the plugin of that ballot, waits for it to join, or settles the ballot without it. */
void route_ballot_ask(struct route_request *rq, size_t i);
/* The plugin has failed, which its breaker hears of; its policy decides. */
void route_ballot_fail(struct route_request *rq, size_t i, const char *why, struct dyn_slice detail);
/* Who was asked may let go of the question. */
void route_ballot_withdraw(struct route_request *rq, struct route_ballot *ballot);
/* When the plugin will have failed; UINT64_MAX: not before the request's deadline. */
uint64_t route_ballot_until_us(const struct route_ballot *ballot);
/* The request's timer, for the first of those that are waited for. */
void route_ballots_arm(struct route_request *rq);
/* For the event. */
void route_ballot_note(struct route_request *rq, const struct route_ballot *ballot, const char *verdict,
                       struct dyn_slice reason);
