"""What a soak has shown: pure functions over its report."""

import statistics

from bench_stats import slope

# Connections come and go: that many descriptors more in the last quarter than in the second are still the same.
DESCRIPTORS_SLACK, DESCRIPTORS_SHARE = 20, 0.05


def quarter(samples, key, number):
    """The median of one of the four quarters, counted from 0."""
    size = max(1, len(samples) // 4)
    return statistics.median(found[key] for found in samples[number * size : (number + 1) * size] or samples[-1:])


def wrong_answers(name, result, expected):
    """What became of requests that should not have."""
    never = {"cut": "cut", "timeouts": "without an answer in 10 s", "unfinished": "never finished", "lost": "tokens lost",
             "repeated": "tokens twice", "out_of_order": "tokens out of order", "mixed": "tokens of another call",
             "unreadable": "tokens unreadable"}  # fmt: skip
    if expected == "answered":
        never.update({"bad_status": "answered with an error", "incomplete": "not whole"})
    elif expected == "refused":
        never["incomplete"] = "not whole"
        if result["answers"]:
            yield f"{name}: {result['answers']} answered, though their upstream fails"
    else:  # broken off: the tokens behind the cut are lost by order
        del never["lost"]
        if result["answers"]:
            yield f"{name}: {result['answers']} said to be whole, though their upstream was cut"
    for key, words in never.items():
        if result[key]:
            yield f"{name}: {result[key]} {words}"
    # A request that found no connection was an error, and is in none of the above.
    known = result["cut"] + result["timeouts"] + result["bad_status"] + result["incomplete"]
    if result["errors"] > known:
        yield f"{name}: {result['errors'] - known} connections refused"


def growth(samples):
    """Descriptors and threads that became more while the load was the same."""
    if len(samples) < 8:
        return
    early, late = quarter(samples, "descriptors", 1), quarter(samples, "descriptors", 3)
    if late > early + max(DESCRIPTORS_SLACK, DESCRIPTORS_SHARE * early):
        yield f"descriptors grow: {early:.0f} in the second quarter, {late:.0f} in the last"
    early, late = quarter(samples, "threads", 1), quarter(samples, "threads", 3)
    if late > early:
        yield f"threads grow: {early:.0f} in the second quarter, {late:.0f} in the last"


def by_label(series, label):
    return sum(value for name, value in series.items() if label in name)


def judge(report):
    """Every broken promise, a sentence each."""
    found = []
    for name, result in report["clients"].items():
        found.extend(wrong_answers(name, result, report["expected"][name]))
    found.extend(growth(report["samples"]))
    begun = sum(result["begun"] for result in report["clients"].values())
    events = report["events"]
    if events["heard"] + events["missing"] != begun:
        found.append(f"{begun} requests, but {events['heard']} events")
    if events["missing"] or report["dropped"]:
        found.append(f"{max(events['missing'], report['dropped']):.0f} events lost")
    if events["late"]:
        found.append(f"{events['late']} events late: the worst by {events['most_s']:.1f} s")
    refused = by_label(report["reloads"], "refused")
    if refused or by_label(report["reloads"], "applied") < 1:
        found.append(f"configurations: {refused:.0f} refused, {by_label(report['reloads'], 'applied'):.0f} applied")
    if by_label(report["rows"], "dropped"):
        found.append(f"{by_label(report['rows'], 'dropped'):.0f} rows of the request log dropped")
    return found


def lines_of(report):
    """For people."""
    samples, minutes = report["samples"], report["seconds"] / 60
    yield (f"soak of {minutes:g} minutes: one cell, everything on, {report['reloads']['written']} changes of the configuration; "
           f"other programs took {report['others'] * 100:.1f} % of the machine")  # fmt: skip
    for name, result in report["clients"].items():
        whole = f"{result['answers']:,} answered whole, " if result["answers"] else ""
        yield (f"  {name:<10}{result['begun']:>10,} begun: {whole}{result['cancelled']:,} cancelled, "
               f"{result['bad_status']:,} answered with an error, {result['incomplete']:,} broken off, "
               f"{result['unfinished'] + result['cut'] + result['timeouts']} lost")  # fmt: skip
    never = sum(result.get("overdue", 0) for result in report["clients"].values())
    if never:
        yield f"  the rate was not kept: {never:,} requests never begun"
    half = samples[len(samples) // 2 :]
    steep = slope([found["at_s"] / 60 for found in half], [found["rss_kib"] for found in half])
    first, last = half[0]["rss_kib"] / 1024, half[-1]["rss_kib"] / 1024
    most = max(found["rss_kib"] for found in samples) / 1024
    before, after = (report[when]["rss_kib"] / 1024 for when in ("before", "after"))
    yield (f"  memory: {before:.1f} MiB before, {most:.1f} at most, second half {first:.1f} to {last:.1f} MiB, slope "
           f"{steep:+.1f} KiB a minute, {report['after_s']:.0f} s after {after:.1f} MiB")  # fmt: skip
    for key in ("descriptors", "threads"):
        quarters = ", ".join(f"{quarter(samples, key, number):.0f}" for number in range(4))
        yield f"  {key}: {report['before'][key]} before, by quarters {quarters}, {report['after'][key]} after"
    events = report["events"]
    yield (f"  events: {events['heard']:,} heard, {events['missing']} missing, {events['late']} late, the slowest after "
           f"{events['most_s'] * 1000:.0f} ms")  # fmt: skip
    for words, count in report["warnings"].items():
        yield f"  warned {count} times: {words}"
