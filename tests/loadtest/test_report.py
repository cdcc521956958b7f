"""The report: the contract's JSON, the log, the table."""

import json
from pathlib import Path

import pytest

from loadtest import report
from loadtest.checker import row
from loadtest.latency import Histogram
from loadtest.report import Queries, QueryRecord, RunLog, Situation, Writes
from tracker.errors import ConfigError

FIELDS = {
    "": "nodes mode seed chatter latency_ms loss crash boot_s writes queries checks cpu_s rss_mb",
    "writes": "acked unknown lost doubled per_s latency_us",
    "queries": (
        "count reasons coverage_min t50_ms t90_ms t99_ms t100_ms stop_ms messages_per_node"
        " bytes_per_node duplicates_share hops_max node_messages_max drain_ms"
    ),
}
SITUATION = Situation(nodes=1000, mode="sockets", seed=4711, chatter=10, latency_ms=10)


def make_record(**fields):
    values = {
        "key": "hits",
        "origin": "n1",
        "reason": "complete",
        "value": 7,
        "coverage": 1.0,
        "stop_ms": 24.0,
        "t100_ms": 23.0,
        "messages": 2_000,
        "bytes": 164_000,
        "hops": 3,
        "node_messages_max": 12,
    }
    return QueryRecord(**(values | fields))


def make_summary(*records, ok=True, **situation):
    queries = Queries(nodes=1000)
    for record in records or [make_record()]:
        queries.add(record)
    latency = Histogram([41, 66, 2_110])
    writes = Writes(acked=93_412, elapsed_s=10.0, latency_us=latency)
    asked = Situation(**{**SITUATION.__dict__, **situation})
    check = row("exact total", 93_412, 93_412 if ok else 93_411)
    return report.summary(asked, writes, queries, [check], boot_s=2.1, cpu_s=9.123, rss_mb=209.6)


@pytest.mark.parametrize("part", FIELDS, ids=lambda part: part or "the whole")
def test_the_summary_has_exactly_the_fields_of_the_contract_in_its_order(part):
    result = make_summary()

    assert " ".join(result[part] if part else result) == FIELDS[part]


def test_the_summary_is_json_with_the_numbers_it_was_given():
    result = json.loads(report.json_line(make_summary(make_record(), make_record())))

    assert result["writes"]["per_s"] == 9_341
    assert result["queries"]["messages_per_node"] == 2.0
    assert result["queries"]["bytes_per_node"] == 164
    assert result["checks"] == [
        {"name": "exact total", "ok": True, "expected": 93_412, "found": 93_412}
    ]
    assert (result["cpu_s"], result["rss_mb"]) == (9.12, 210)


def test_queries_are_summed_up_by_their_reasons_and_extremes():
    result = make_summary(
        make_record(duplicates=100),
        make_record(reason="converged", coverage=0.9, t100_ms=None, hops=4, node_messages_max=3),
    )["queries"]

    assert result["reasons"] == {"complete": 1, "converged": 1}
    assert (result["coverage_min"], result["hops_max"], result["node_messages_max"]) == (0.9, 4, 12)
    assert result["duplicates_share"] == 0.025
    assert result["t100_ms"]["max"] == 23.0
    assert result["t50_ms"]["max"] is None


def test_a_run_without_queries_has_no_times_and_no_coverage():
    empty = report.summary(SITUATION, Writes(), Queries(nodes=9), [], boot_s=0, cpu_s=0, rss_mb=0)

    assert (empty["queries"]["count"], empty["queries"]["coverage_min"]) == (0, None)
    assert report.table(empty)


def test_the_table_of_a_run_reads_as_in_the_contract():
    lines = report.table(make_summary(), repeat="loadtest --nodes 1000 --seed 4711")

    assert lines == [
        "nodes    ━━━━━━━━━━━━━━━━━━━━ 1 000/1 000 up      2.1 s",
        "writes   ━━━━━━━━━━━━━━━━━━━━ 93 412 counted    9 341 /s   0 lost  0 doubled",
        "queries  ━━━━━━━━━━━━━━━━━━━━ 1/1",
        "                p50     p90     p99   p99.9     max",
        "query (ms)     24.0    24.0    24.0    24.0    24.0      complete 1",
        "inc   (µs)       66   2 110   2 110   2 110   2 110",
        "messages      2.0 per node and query      duplicates 0 %",
        "checks   ✓ every acknowledged increment is in the final total (93 412 = 93 412)",
        "repeat: loadtest --nodes 1000 --seed 4711",
    ]


def test_increments_that_took_long_are_told_in_ms_and_no_cell_runs_into_the_next():
    result = make_summary()
    result["writes"]["latency_us"] = {
        "p50": 27_968.0, "p90": 101_632.0, "p99": 496_640.0, "p999": 1_005_568.0,
        "max": 2_529_952.0,
    }  # fmt: skip

    line = next(line for line in report.table(result) if line.startswith("inc"))
    narrow = next(line for line in report.table(result, is_narrow=True) if line.startswith("inc"))

    assert line == "inc   (ms)     28.0   101.6   496.6 1 005.6 2 530.0"
    assert narrow.split() == ["inc", "ms", "28.0", "101.6", "496.6", "1006", "2530"]
    assert len(narrow) == 39


def test_a_query_that_nobody_answered_has_a_reason_and_no_times():
    result = make_summary(
        make_record(), make_record(reason="connection lost", coverage=0.0, stop_ms=0.0)
    )

    assert result["queries"]["reasons"] == {"complete": 1, "connection lost": 1}
    assert result["queries"]["coverage_min"] == 0.0
    assert result["queries"]["stop_ms"]["p50"] == 24.0


def test_what_the_generator_says_of_itself_stands_in_the_table():
    told = {
        "loop": "open", "cpu_share": 0.97, "with_nodes": False, "skipped": 1_200,
        "late_ms": {"p50": 1.0, "p90": 2.0, "p99": 54.9, "p999": 60.0, "max": 61.0},
        "queries_skipped": 0, "in_flight_max": 9, "is_bottleneck": True,
    }  # fmt: skip

    lines = report.table({**make_summary(), "generator": told})

    assert (
        "generator     97 % of a core, 99 % begun within 54.9 ms, 1 200 skipped,"
        " it may be what was measured"
    ) in lines


def test_the_table_marks_a_check_that_failed():
    lines = report.table(make_summary(ok=False))

    assert any("✗ every acknowledged" in line and "(93 412 ≠ 93 411)" in line for line in lines)


def test_a_log_and_a_command_too_long_for_one_line_stand_on_two():
    short = report.table(make_summary(), log=Path("logs/x"), repeat="loadtest --nodes 9")
    long = report.table(make_summary(), log=Path("logs/x"), repeat="loadtest " + "9" * 80)

    assert short[-1] == "log logs/x      repeat: loadtest --nodes 9"
    assert long[-2:] == ["log logs/x", "repeat: loadtest " + "9" * 80]


def test_the_table_tells_coverage_when_a_query_was_not_complete():
    lines = report.table(make_summary(make_record(reason="converged", coverage=0.997)))

    assert "messages      2.0 per node and query      duplicates 0 %      coverage 99.7 %" in lines


def test_a_name_from_outside_cannot_move_the_cursor_of_who_reads_the_table():
    lines = report.table(make_summary(make_record(reason="\x1b[2J")))

    assert "\x1b" not in "".join(lines)


def test_a_bar_is_filled_by_its_share_and_never_beyond():
    assert report.bar(0.5, 4) == "━━──"
    assert [report.bar(-1.0, 2), report.bar(7.0, 2)] == ["──", "━━"]


def test_the_log_begins_with_a_header_and_ends_with_the_summary(tmp_path):
    summary = make_summary()
    with RunLog(tmp_path / "logs", SITUATION) as log:
        log.write(make_record().as_dict())
        log.write(summary)

    lines = [json.loads(line) for line in log.path.read_text().splitlines()]

    assert lines[0]["header"]["seed"] == 4711
    assert lines[1]["query"]["stop_ms"] == 24.0
    assert lines[2] == summary


def test_a_second_run_of_one_seed_does_not_overwrite_the_log_of_the_first(tmp_path):
    with RunLog(tmp_path, SITUATION) as first, RunLog(tmp_path, SITUATION) as second:
        pass

    assert [first.path.name, second.path.name] == [
        "loadtest-sockets-1000-4711.jsonl",
        "loadtest-sockets-1000-4711-2.jsonl",
    ]


def test_a_log_that_cannot_be_written_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="cannot write a log into"):
        RunLog(tmp_path / "file" / "logs", SITUATION)
