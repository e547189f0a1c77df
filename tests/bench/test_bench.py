"""The judgement of the benchmark: what is noise, what is held, what two builds say of each other, and how it is shown."""

import xml.etree.ElementTree as ElementTree

import bench_bounds
import bench_page
import bench_plot
import bench_stats
import bench_table
import bench_wrk
import pytest
import soak_judge
from bench_rows import ALL, ROUNDS, Row, rows_of, wide_streams
from bench_svg import chart


def runs(*values, p50=(100.0, 101.0, 102.0)):
    """Results of the load client, one for each round."""
    return [
        {
            "cpu_us": value,
            "answers_per_s": 1000.0,
            "tokens": 8,
            "rss_peak_kib": 20480,
            "latency": {"p50_us": at, "p99_us": at * 2},
            "latency_curve": [[0, at], [0.5, at], [0.9, at * 2], [1, at * 3]],
        }
        for value, at in zip(values, p50)
    ]


def figure(results, title):
    return next(found for found in bench_bounds.figures_of(results) if found["title"] == title)


def test_statistics():
    found = bench_stats.Sample([3.0, 1.0, 2.0])
    assert (found.median, found.low, found.high, found.spread) == (2.0, 1.0, 3.0, 1.0)
    assert bench_stats.value_at({"latency": {"p50_us": 7}}, "latency.p50_us") == 7
    assert bench_stats.slope([0, 1, 2, 3], [10, 12, 14, 16]) == pytest.approx(2.0)
    assert bench_stats.slope([1], [1]) == 0.0


def test_what_a_path_adds_is_taken_round_by_round():
    """A machine that slows down in one round slows both paths: what lies between them stays."""
    direct, ours = runs(1, 1, 1, p50=(100, 300, 100)), runs(1, 1, 1, p50=(150, 350, 150))
    assert bench_stats.beyond(ours, direct, "latency.p50_us").values == [50, 50, 50]


def test_a_direct_path_that_differs_makes_noise():
    assert bench_stats.noise(runs(10.0, 10.5, 11.0), "cpu_us") is None
    assert "direct path differs" in bench_stats.noise(runs(10.0, 15.0, 11.0), "cpu_us")
    assert bench_stats.noise(runs(10.0), "cpu_us") is None
    assert bench_stats.own_noise(bench_stats.Sample([1.0, 1.1]), "cpu_us") is None
    assert "rounds differ" in bench_stats.own_noise(bench_stats.Sample([1.0, 3.0, 1.0]), "cpu_us")
    assert "cannot be told" in bench_stats.own_noise(bench_stats.Sample([-1.0, 0.0, -2.0]), "latency.p50_us")


def test_a_row_with_failed_answers_has_no_figure():
    failed = [{**run, "errors": 1} for run in runs(13, 13, 13)]
    by_path = {"direct": runs(5, 5, 5), "nginx": runs(10, 10, 10), "dynabus": failed}
    found = figure({"requests-1": by_path}, "CPU per request, 1 connection")
    assert found["noise"] == "3 answers failed in this row" and found["state"] == "noise"
    by_path = {"direct": runs(5, 5, 5), "nginx": failed, "dynabus": runs(13, 13, 13)}
    found = figure({"requests-1": by_path}, "CPU per request, 1 connection")
    assert (found["noise"], found["ratio"], found["state"]) == (None, None, "cannot be told")
    few = [{"mode": "streams", "connects": 7681, "connections": 9800}]
    assert bench_stats.not_all_open(few) == "only 7,681 of 9,800 streams were open"


def test_a_rate_that_was_not_kept_hides_the_worst():
    assert bench_stats.rate_missed([{"overdue": 0}, {}]) is None
    assert "3 requests never begun" in bench_stats.rate_missed([{"overdue": 3}, {"overdue": 0}])


def test_two_builds_differ_only_where_every_round_says_so():
    assert bench_stats.difference(bench_stats.Sample([1.05, 1.10, 1.20] * 2)) == "10.0 % more"
    assert bench_stats.difference(bench_stats.Sample([0.80, 0.90, 0.95] * 2)) == "10.0 % less"
    assert bench_stats.difference(bench_stats.Sample([0.98, 1.05, 1.10] * 2)) == "no difference can be told"
    assert bench_stats.difference(bench_stats.Sample([1.5, 1.6, 1.5, 1.6, 1.5])) == "too few rounds to tell"


def test_bounds_are_held_missed_or_noise():
    title = "CPU per request, 1 connection"
    quiet = {"direct": runs(5, 5, 5), "nginx": runs(10, 10, 10)}
    found = figure({"requests-1": {**quiet, "dynabus": runs(13, 13, 13)}}, title)
    assert (found["state"], found["ratio"], found["ahead"]) == ("aim met", 1.3, True)
    found = figure({"requests-1": {**quiet, "dynabus": runs(16, 16, 16)}}, title)
    assert found["state"] == "held"
    found = figure({"requests-1": {**quiet, "dynabus": runs(21, 21, 21)}}, title)
    assert (found["state"], found["ahead"]) == ("MISSED", False)
    found = figure({"requests-1": {**quiet, "direct": runs(5, 9, 5), "dynabus": runs(21, 21, 21)}}, title)
    assert (found["state"], found["ahead"]) == ("noise", None)
    shown = bench_table.cells(found)
    assert "too noisy" in shown[3] and "21" not in "".join(shown)


def test_processes_are_compared_with_one_process():
    by_path = {"direct": runs(5, 5, 5), "one": runs(5, 5, 5, p50=(200,) * 3), "dynabus": runs(5, 5, 5, p50=(500,) * 3)}
    found = next(found for found in bench_bounds.figures_of({"fleet-1": by_path}) if found["title"].startswith("added p50"))
    assert (found["ours"]["median"], found["state"]) == (300, "held")


def test_everything_on_has_its_own_bound():
    by_path = {"direct": runs(5, 5, 5), "nginx": runs(10, 10, 10), "dynabus": runs(26, 26, 26), ALL: runs(29, 29, 29)}
    results = {"requests-64": by_path}
    bare, everything = (found for found in bench_bounds.figures_of(results) if ".cpu_us." in found["id"])
    assert (bare["now"], bare["state"]) == (2.5, "MISSED")
    assert (everything["now"], everything["state"]) == (3.0, "held")
    over = bench_bounds.over_none(results)[0]
    assert (over["ratio"]["median"], over["state"]) == (pytest.approx(29 / 26), "held")


def test_a_feature_is_compared_round_by_round():
    results = {"features-64": {"direct": runs(5, 5, 5), "dynabus": runs(20, 30, 20), "rate-limit": runs(25, 37.5, 25)}}
    found = bench_bounds.features_of(results)[0]
    assert found["ratio"] == {"median": 1.25, "low": 1.25, "high": 1.25}


def test_memory_has_bounds_in_its_unit():
    ours = {"start_kib": 11264, "idle_stream_kib": 30.0}
    memory = {"nginx": {"start_kib": 15360}, "dynabus": ours, "counts": {"streams": "2,000"}}
    found = {line["title"]: line for line in bench_bounds.memory_of(memory, {})}
    assert found["resident at start"]["state"] == "held"
    assert found["per idle stream, of 2,000"]["state"] == "MISSED"
    assert bench_table.memory_cells(found["resident at start"])[1:3] == ("15.0 MiB", "11.0 MiB (held)")


@pytest.mark.parametrize(
    "value, unit, shown",
    [(12.34, "us", "12.3 us"), (1234.5, "us", "1,234 us"), (12345, "us", "12.3 ms"), (22954.4, "/s", "22,954/s"),
     (2.5, "KiB", "2.5 KiB")],
)
def test_figures_are_short(value, unit, shown):
    assert bench_table.number(value, unit) == shown


def test_tables_line_up_and_survive_markdown():
    rows = [("a", "1", "MISSED"), ("  b", "10", "")]
    lines = bench_table.as_text(("", "n", "bound"), rows).splitlines()
    assert lines[1].index("1") + 1 == lines[2].index("10") + 2
    page = bench_table.as_markdown(("", "n", "bound"), rows).splitlines()
    assert page[1] == "|---|---|---|" and "**MISSED**" in page[2] and page[3].startswith("| &nbsp; b |")
    assert bench_table.as_text(("x",), []) == bench_table.as_markdown(("x",), []) == ""


def test_counts_of_another_program_are_a_table():
    values = {"dynabus.system_calls.total": 9.5, "dynabus.system_calls.poll": 2.0, "dynabus-all.system_calls.total": 10.5,
              "dynabus.allocations.total": 23.0, "dynabus.allocations.dynabus": 1.0, "dynabus.allocations.libcurl": 22.0}  # fmt: skip
    counts = [{"name": name, "value": value, "unit": "calls/request"} for name, value in values.items()]
    assert bench_table.call_rows(counts) == [
        ("system calls", "", "9.50", "10.50", "<= 10: MISSED"),
        ("heap allocations by the gateway", "", "1.00", "", "<= 0.5: MISSED"),
        ("heap allocations by libraries", "", "22.00", "", ""),
    ]


def test_charts_are_well_formed():
    series = [("direct", [(1, 10.0), (64, 1000.0)]), ("a <b> & c", [(1, None), (64, 0.0)])]
    root = ElementTree.fromstring(chart("t", "x", "y", series, x_log=True, y_log=True))
    words = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"t", "x", "y", "a <b> & c", "1,000"} <= set(words)
    points = root.findall("{http://www.w3.org/2000/svg}circle")
    assert len(points) == 2  # what is not there, or cannot be on a logarithmic axis, is left out
    assert float(points[0].get("cy")) > float(points[1].get("cy"))


@pytest.mark.parametrize("values", [[0, 0], [3], [1, 2000], [0.001, 0.002], [17.3, 20.5]])
def test_any_axis_has_ticks_inside(values):
    root = ElementTree.fromstring(chart("t", "x", "y", [("s", list(enumerate(values)))]))
    for node in root.findall("{http://www.w3.org/2000/svg}circle"):
        assert 0 <= float(node.get("cx")) <= 720 and 0 <= float(node.get("cy")) <= 380


def test_pictures_are_drawn_of_what_there_is():
    by_path = {"direct": runs(5, 5, 5), "nginx": runs(10, 10, 10), "dynabus": runs(13, 13, 13)}
    memory = {"seconds": [0, 1], "mib": {"dynabus": [17.0, 18.0]}}
    drawn = bench_plot.pictures({"runs": {"requests-1": by_path}, "memory_over_time": memory})
    assert set(drawn) == {"latency.svg", "memory.svg"}
    many = {"requests-1": by_path, "requests-64": by_path}
    assert "cpu.svg" in bench_plot.pictures({"runs": many, "memory_over_time": {"seconds": [], "mib": {}}})


def test_every_line_has_a_row():
    names = {row.name for row in rows_of("full", 20_000, ("rows",), ("dynabus-guard",))}
    assert {line.row for line in bench_bounds.LINES} <= names | {"fleet-1"}  # which starts processes of its own
    for kind in ROUNDS:
        assert rows_of(kind, 20_000)


def test_streams_as_descriptors_allow():
    assert wide_streams(1024) == 312
    assert wide_streams(1_000_000) == 10_000
    assert Row("r", True, 2, 1, tokens=20, pace_ms=250).ramp_ms == 1000


def test_what_wrk_says_is_read():
    said = """Running 1s test @ http://127.0.0.1:1/v1/chat/completions
  1 threads and 64 connections
    Latency     1.32ms  600us
  20011 requests in 1.00s, 21.13MB read
  Socket errors: connect 0, read 1, write 0, timeout 2
  Non-2xx or 3xx responses: 4
Requests/sec:  19987.03
"""
    found = bench_wrk.read(said)
    assert (found["answers"], found["errors"], found["answers_per_s"]) == (20011, 7, 19987.03)
    assert bench_wrk.read("unable to connect") is None
    assert 1000 < len(bench_wrk.body_of(Row("r", False, 64, 1))) <= 1024


def full_report(cpu, **settings):
    results = {"requests-1": {"direct": runs(5, 5, 5), "nginx": runs(10, 10, 10), "dynabus": runs(cpu, cpu, cpu)}}
    machine = {"processors": 2, "cpu": "x", "virtual": "", "memory_mib": 1, "kernel": "k", "gateway": ["g"], "nginx": "n",
               "compiler": "c", "descriptors": 1024, "when": "today"}  # fmt: skip
    return {
        "machine": machine,
        "settings": {"kind": "full", "only": None, "rounds": 3, "seconds": 9, "pinned": False, "others": 0.01,
                     "load_before": 0.1, **settings},
        "figures": bench_bounds.figures_of(results),
        "over_none": [],
        "features": [],
        "memory_lines": [],
        "faults": {},
        "tokens": 8,
        "runs": results,
        "memory_over_time": {"seconds": [], "mib": {}},
    }


def test_the_page_quotes_the_slowest_of_runs_that_agree():
    reports = [full_report(13), full_report(14), full_report(13.5)]
    assert bench_page.unfit(reports) is None and bench_page.slowest(reports) == 1
    page = bench_page.replaced(f"# head\n\n{bench_page.BEGIN}\nBEFORE\n{bench_page.END}\n\n## tail\n",
                               bench_page.section(reports))  # fmt: skip
    assert page.startswith("# head") and page.endswith("## tail\n") and "BEFORE" not in page
    assert "14.0 us" in page and "agrees within 10 %" in page and "latency.svg" in page
    assert "CPU per request, 1 connection (54 %)" in bench_page.section([full_report(13), full_report(20)])


def test_the_page_takes_no_run_that_was_disturbed():
    assert "other programs" in bench_page.unfit([full_report(13), full_report(13, others=0.3)])
    assert "rows" in bench_page.unfit([full_report(13, only="streams")])


def soak_report(**changes):
    """Of a soak in which all was well."""
    fine = {key: 0 for key in ("cut", "timeouts", "unfinished", "lost", "repeated", "out_of_order", "mixed", "unreadable",
                               "bad_status", "incomplete", "errors", "cancelled")}  # fmt: skip
    samples = [{"at_s": at, "rss_kib": 20480, "descriptors": 1000, "threads": 8} for at in range(40)]
    report = {
        "seconds": 80,
        "others": 0.02,
        "before": samples[0],
        "after": samples[0],
        "after_s": 60,
        "samples": samples,
        "clients": {
            "requests": {**fine, "begun": 10, "answers": 10},
            "refused": {**fine, "begun": 5, "answers": 0, "bad_status": 5},
        },
        "expected": {"requests": "answered", "refused": "refused"},
        "events": {"heard": 15, "missing": 0, "late": 0, "most_s": 0.1},
        "dropped": 0,
        "rows": {'gateway_ledger_rows_total{step="dropped"}': 0.0},
        "reloads": {"written": 3, 'gateway_config_reloads_total{result="applied"}': 3.0},
        "warnings": {},
    }
    report["clients"]["refused"]["errors"] = 5
    for path, value in changes.items():
        *inside, last = path.split("__")
        place = report
        for key in inside:
            place = place[key]
        place[last] = value
    return report


def test_a_good_soak_is_good():
    assert soak_judge.judge(soak_report()) == []
    assert "<svg" in bench_plot.soak(soak_report())
    assert "slope +0.0 KiB a minute" in "\n".join(soak_judge.lines_of(soak_report()))


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"clients__requests__cut": 1, "clients__requests__errors": 1}, "requests: 1 cut"),
        ({"clients__requests__unfinished": 2}, "2 never finished"),
        ({"clients__requests__bad_status": 3, "clients__requests__errors": 3}, "3 answered with an error"),
        ({"clients__requests__errors": 4}, "4 connections refused"),
        ({"clients__refused__answers": 1}, "though their upstream fails"),
        ({"events__heard": 14}, "15 requests, but 14 events"),
        ({"events__heard": 14, "events__missing": 1}, "1 events lost"),
        ({"events__late": 1}, "1 events late"),
        ({"reloads": {"written": 3, 'x{result="refused"}': 1.0, 'x{result="applied"}': 2.0}}, "1 refused"),
        ({"rows": {'x{step="dropped"}': 9.0}}, "9 rows"),
    ],
)
def test_what_a_soak_breaks_is_said(changes, words):
    assert any(words in one for one in soak_judge.judge(soak_report(**changes)))


def test_descriptors_that_grow_are_seen():
    samples = soak_report()["samples"]
    growing = [{**found, "descriptors": 1000 + 5 * at} for at, found in enumerate(samples)]
    assert any("descriptors grow" in one for one in soak_judge.growth(growing))
    threads = [{**found, "threads": 8 + at // 30} for at, found in enumerate(samples)]
    assert any("threads grow" in one for one in soak_judge.growth(threads))
