"""Figures as a table for a terminal and for a page: the same cells, laid out twice."""

from bench_bounds import RIVALS
from bench_rows import ALL


def scale_of(value, unit):
    """Divisor, decimals and unit in which a figure is shown."""
    if unit == "/s":
        return 1, 0, "/s"
    if unit != "us":
        return 1, 1, f" {unit}"
    if abs(value) >= 10_000:
        return 1000, 1, " ms"
    return 1, 0 if abs(value) >= 1000 else 1, " us"


def number(value, unit):
    divisor, decimals, shown = scale_of(value, unit)
    return f"{value / divisor:,.{decimals}f}{shown}"


def spread(found, unit):
    """A median, and behind it the smallest and the largest of the rounds."""
    if found is None:
        return ""
    divisor, decimals, _ = scale_of(found["median"], unit)
    if found["low"] == found["high"]:
        return number(found["median"], unit)  # one round
    low, high = (f"{found[end] / divisor:,.{decimals}f}" for end in ("low", "high"))
    return f"{number(found['median'], unit)} ({low}..{high})"


def whole(us):
    """A bound or a figure of others, in microseconds: as round as it was given."""
    return f"{us / 1000:g} ms" if us >= 1000 else f"{us:g} us"


def times(ratio):
    return "" if ratio is None else f"{ratio:.2f} x"


def bound(figure):
    if figure["now"] is None:
        return ""
    if figure.get("absolute"):
        return f"<= {whole(figure['now'])}: {figure['state']}"
    return f"<= {figure['now']:g} x: {figure['state']}"


def rivals(figure):
    shown = [whole(value) if figure.get("absolute") else f"{value:g} x" for value in figure["rivals"]]
    return ", ".join(f"{name.partition(' ')[0]} {value}" for name, value in zip(RIVALS, shown))


HEADS = ("", "direct", "nginx", "dynabus", "to nginx", "bound", "others, each beside nginx")


def cells(figure):
    """One line of the large table. A figure that is noise is not shown: the reason stands in its place."""
    first = figure["title"]
    if figure["noise"]:
        return (first, "", "", figure["noise"], "", bound(figure), rivals(figure))
    unit = figure["unit"]
    everything = first.startswith("  ")
    return (
        first,
        "" if everything or figure["direct"] is None else number(figure["direct"]["median"], unit),
        "" if everything else spread(figure["nginx"], unit),
        spread(figure["ours"], unit),
        times(figure["ratio"]),
        bound(figure),
        "" if everything else rivals(figure),
    )


def memory_cells(line):
    def with_state(name, state):
        value = line.get(name)
        return "" if value is None else number(value, line["unit"]) + (f" ({line[state]})" if state and line[state] else "")

    shown = ", ".join(f"{name.partition(' ')[0]} {value:g} {line['unit']}" for name, value in zip(RIVALS, line["rivals"]))
    limit = f"<= {line['now']:g} {line['unit']}" if line["now"] else ""
    return (line["title"], with_state("nginx", None), with_state("dynabus", "state"), with_state(ALL, "state_all"), limit, shown)


MEMORY_HEADS = ("memory", "nginx", "dynabus", "everything on", "bound", "others")


def ratio_text(found):
    if found["low"] == found["high"]:
        return times(found["median"])
    return f"{found['median']:.2f} x ({found['low']:.2f}..{found['high']:.2f})"


def over_cells(line):
    limit = f"<= {line['now']:g} x: {line['state']}" if line["now"] else ""
    return (line["title"], line["noise"] or ratio_text(line["ratio"]), limit)


OVER_HEADS = ("everything on over none of it", "ratio", "bound")


def feature_cells(line):
    if line["noise"]:
        return (line["title"], line["per"], line["noise"], "")
    return (line["title"], line["per"], spread(line["us"], "us"), ratio_text(line["ratio"]))


FEATURE_HEADS = ("switched on alone", "CPU per", "more", "over none")
CALL_HEADS = ("counted per request, 64 connections", "nginx", "dynabus", "everything on", "bound")
CALLS_NOW, ALLOCATIONS_NOW = 10, 0.5  # per request; what is made once for many requests rounds to none


def counted(counts, path, what, of):
    """The sum of what one path calls, over the names that `of` accepts, or None where nothing was counted."""
    begin = f"{path}.{what}."
    values = [row["value"] for row in counts if row["name"].startswith(begin) and of(row["name"][len(begin) :])]
    return sum(values) if values else None


def call_rows(counts):
    """System calls and allocations per request, from a list of {name, value, unit}: name is path.what.total, and
    path.what.MODULE for who allocates."""
    rows = []
    for title, what, of, now in (
        ("system calls", "system_calls", lambda name: name == "total", CALLS_NOW),
        ("heap allocations by the gateway", "allocations", lambda name: name.startswith("dynabus"), ALLOCATIONS_NOW),
        ("heap allocations by libraries", "allocations", lambda name: name.startswith("lib"), None),
    ):
        values = [counted(counts, path, what, of) for path in ("nginx", "dynabus", ALL)]
        if any(value is not None for value in values):
            ours = [value for value in values[1:] if value is not None]
            held = now is not None and bool(ours) and max(ours) <= now
            bound_text = "" if now is None else f"<= {now:g}: {'held' if held else 'MISSED'}"
            rows.append((title, *("" if value is None else f"{value:.2f}" for value in values), bound_text))
    return rows


def tables(report):
    """All tables of a run: heads, rows."""
    yield HEADS, [cells(figure) for figure in report["figures"]]
    yield OVER_HEADS, [over_cells(line) for line in report["over_none"]]
    yield FEATURE_HEADS, [feature_cells(line) for line in report["features"]]
    yield MEMORY_HEADS, [memory_cells(line) for line in report["memory_lines"]]
    yield CALL_HEADS, call_rows(report.get("counts", []))


def as_text(heads, rows):
    """Columns as wide as what stands in them; the last one ends where it ends."""
    if not rows:
        return ""
    widths = [max(len(row[at]) for row in (heads, *rows)) for at in range(len(heads))]
    lines = []
    for row in (heads, *rows):
        padded = [cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths))]
        padded[-1] = row[-1]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines) + "\n"


def as_markdown(heads, rows):
    if not rows:
        return ""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        shown = [cell.replace("MISSED", "**MISSED**") for cell in row]
        shown[0] = "&nbsp; " + shown[0].strip() if shown[0].startswith("  ") else shown[0]
        lines.append("| " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n"


def machine_lines(machine):
    """On what it ran, for people."""
    virtual = f" under {machine['virtual']}" if machine["virtual"] else ""
    yield f"{machine['processors']} processors ({machine['cpu']}{virtual}), {machine['memory_mib']:,} MiB, Linux {machine['kernel']}"
    yield f"{'; '.join(machine['gateway'])}; {machine['nginx']}; {machine['compiler']}; {machine['descriptors']:,} descriptors"


MUCH = 0.10  # of the machine taken by others: figures are then not for quoting


def settings_lines(settings):
    where = "the path under test alone on one processor" if settings["pinned"] else "processes placed by the kernel"
    rounds = "1 round" if settings["rounds"] == 1 else f"{settings['rounds']} rounds"
    yield (
        f"{settings['kind']}: {rounds}, paths by turns, {settings['seconds']:.0f} s; one cell, one worker of nginx; {where}; "
        f"load average {settings['load_before']:.1f} before; other programs took {settings['others'] * 100:.1f} % of the machine"
    )
    if settings["others"] > MUCH:
        yield "NOT FOR QUOTING: other programs ran on this machine"
