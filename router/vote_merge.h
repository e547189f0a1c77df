/* What is done next with the votes of one stage, from what is known of them: a pure function, so that the
 * outcome depends on the order of the configuration and on what was voted, never on the order in which votes
 * come.
 *
 * Neighbours that may be asked together are asked at once; any other is asked when all before it have passed.
 * The first denial in the order of the configuration wins: it is known as soon as all before it have passed,
 * whoever behind it has not voted yet. An answer does not end the stage: guardrails behind it still vote. */
#pragma once

#include "core/base.h"

enum { VOTE_ROUND_MAX = 32 };

enum vote_ballot {
    VOTE_BALLOT_OPEN,     /* not asked yet */
    VOTE_BALLOT_ASKED,
    VOTE_BALLOT_PASSED,   /* also one that amended, and one that failed and is let pass */
    VOTE_BALLOT_ANSWERED,
    VOTE_BALLOT_DENIED,   /* also one that failed and is not let pass */
};

struct vote_round {
    size_t n; /* those of the stage, in the order of the configuration */
    uint8_t ballots[VOTE_ROUND_MAX]; /* enum vote_ballot */
    uint32_t alone; /* bit of each that is asked when all before it have passed, and nobody with it */
};

enum vote_move {
    VOTE_MOVE_ASK,    /* those from `from` to before `to` */
    VOTE_MOVE_WAIT,   /* for a vote */
    VOTE_MOVE_DENIED, /* by `from` */
    VOTE_MOVE_PASSED, /* all; `from` is the first that answered, or n */
};

struct vote_decision {
    enum vote_move move;
    size_t from;
    size_t to;
};

struct vote_decision vote_round_next(const struct vote_round *round);
