"""What a few repetitions of a measurement say: a median, how far they lie apart, and whether that is too far to say
anything. Pure functions; who measures is elsewhere."""

import statistics

# The direct path (client and upstream, nothing between) is the same in every round. How far its figures may lie apart,
# over their median, before a figure of that row is noise. The tail of a latency moves more than its middle.
LIMITS = {"cpu": 0.30, "rate": 0.30, "p50": 0.50, "p99": 1.50}


# Of two equal builds one is the slower in each of so many rounds in a row once in 32 comparisons.
ROUNDS_TO_TELL = 6


def value_at(result, key):
    """`key` is a path into a result of the load client: 'latency.p50_us'."""
    for part in key.split("."):
        result = result[part]
    return result


def kind_of(key):
    """Which of LIMITS a figure goes by."""
    if "p99" in key:
        return "p99"
    if "p50" in key:
        return "p50"
    return "rate" if key.endswith("_per_s") else "cpu"


class Sample:
    """The repetitions of one figure."""

    def __init__(self, values):
        self.values = list(values)
        self.median = statistics.median(self.values)
        self.low, self.high = min(self.values), max(self.values)

    @property
    def spread(self):
        """From the smallest to the largest, over the median."""
        return (self.high - self.low) / abs(self.median) if self.median else 0.0

    def __repr__(self):
        return f"Sample({self.values})"


def sample(runs, key):
    return Sample(value_at(run, key) for run in runs)


def beyond(runs, direct, key):
    """What a path adds to the direct one, round by round: drift of the machine falls out."""
    return Sample(value_at(run, key) - value_at(bare, key) for run, bare in zip(runs, direct))


def ratios(ours, theirs, key):
    """Of two paths, round by round."""
    pairs = [(value_at(one, key), value_at(other, key)) for one, other in zip(ours, theirs)]
    return Sample(one / other if other else float("nan") for one, other in pairs)


def noise(direct, key):
    """Why a figure of this row would be noise, or None."""
    if len(direct) < 2:
        return None
    spread, limit = sample(direct, key).spread, LIMITS[kind_of(key)]
    if spread <= limit:
        return None
    return f"too noisy: the direct path differs by {spread * 100:.0f} % (limit {limit * 100:.0f} %)"


def unanswered(*paths):
    """Why a row has no figure: answers that never came cost nothing, and are the slowest."""
    failed = sum(run.get("errors", 0) for runs in paths for run in runs or ())
    return f"{failed:,} answers failed in this row" if failed else None


def not_all_open(runs):
    """Why a row of streams shows fewer than it says, or None."""
    for run in runs:
        if run.get("mode") == "streams" and run["connects"] < run["connections"]:
            return f"only {run['connects']:,} of {run['connections']:,} streams were open"
    return None


def rate_missed(runs):
    """With a rate: why the latencies leave out the worst, or None."""
    never = sum(run.get("overdue", 0) for run in runs)
    return f"the rate was not kept: {never:,} requests never begun" if never else None


def own_noise(found, key):
    """The same of the figure itself, which may lie twice as far apart: what is behind it does more."""
    if found.median <= 0:
        return "cannot be told: less than the direct path's own spread"
    if found.spread <= 2 * LIMITS[kind_of(key)]:
        return None
    return f"too noisy: its rounds differ by {found.spread * 100:.0f} %"


def difference(ratio):
    """What paired ratios of two builds say: 'slower', 'faster', or that they say nothing."""
    if len(ratio.values) < ROUNDS_TO_TELL:
        return "too few rounds to tell"
    if ratio.low > 1.0:
        return f"{(ratio.median - 1) * 100:.1f} % more"
    if ratio.high < 1.0:
        return f"{(1 - ratio.median) * 100:.1f} % less"
    return "no difference can be told"


def slope(times, values):
    """Least squares: how much `values` grow in a unit of `times`."""
    if len(times) < 2:
        return 0.0
    middle_time, middle = statistics.mean(times), statistics.mean(values)
    below = sum((time - middle_time) ** 2 for time in times)
    above = sum((time - middle_time) * (value - middle) for time, value in zip(times, values))
    return above / below if below else 0.0
