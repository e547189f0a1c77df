#include "router/vote_merge.h"

static bool
is_alone(const struct vote_round *round, size_t i)
{
    return (round->alone >> i) & 1;
}

/* Where the group ends that begins at `from`. */
static size_t
group_end(const struct vote_round *round, size_t from)
{
    size_t to = from + 1;
    while (!is_alone(round, from) && to < round->n && round->ballots[to] == VOTE_BALLOT_OPEN &&
           !is_alone(round, to)) {
        to++;
    }
    return to;
}

struct vote_decision
vote_round_next(const struct vote_round *round)
{
    size_t answered = round->n;
    for (size_t i = 0; i < round->n; i++) {
        switch ((enum vote_ballot)round->ballots[i]) {
        case VOTE_BALLOT_OPEN:
            return (struct vote_decision){VOTE_MOVE_ASK, i, group_end(round, i)};
        case VOTE_BALLOT_ASKED:
            return (struct vote_decision){VOTE_MOVE_WAIT, i, i};
        case VOTE_BALLOT_DENIED:
            return (struct vote_decision){VOTE_MOVE_DENIED, i, i};
        case VOTE_BALLOT_ANSWERED:
            answered = answered == round->n ? i : answered;
            break;
        case VOTE_BALLOT_PASSED:
            break;
        }
    }
    return (struct vote_decision){VOTE_MOVE_PASSED, answered, answered};
}
