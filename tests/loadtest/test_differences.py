"""Two reports side by side: what is compared, and when a number got worse."""

import pytest

from loadtest.differences import (
    BETTER,
    DEPTH_MAX,
    SAME,
    UNJUDGED,
    WORSE,
    compare,
    numbers_in,
    situations,
    table,
)

REPORT = {
    "nodes": 10,
    "seed": 7,
    "boot_s": 1.5,
    "writes": {"acked": 100, "per_s": 50, "latency_us": {"p50": 40.0, "max": None}},
    "queries": {
        "reasons": {"complete": 9, "deadline": 1},
        "coverage_min": 1.0,
        "stop_ms": {"p50": 20.0},
        "bytes_per_node": 80,
    },
    "checks": [{"name": "exact total", "ok": True, "expected": 1, "found": 1}],
    "interrupted": True,
}


def changed(**numbers):
    """Return REPORT with some numbers changed, by their dotted names (`__` for a dot)."""
    result = {**REPORT, **{k: dict(v) for k, v in REPORT.items() if isinstance(v, dict)}}
    for name, value in numbers.items():
        place = result
        *parents, leaf = name.split("__")
        for parent in parents:
            place[parent] = place = dict(place[parent])
        place[leaf] = value
    return result


def verdict(first, second, name, share=0.10):
    (row,) = (row for row in compare(first, second, share) if row.name == name)
    return row.verdict


def test_every_number_is_compared_and_nothing_else():
    assert dict(numbers_in(REPORT)) == {
        "boot_s": 1.5,
        "writes.acked": 100,
        "writes.per_s": 50,
        "writes.latency_us.p50": 40.0,
        "queries.reasons.complete": 9,
        "queries.reasons.deadline": 1,
        "queries.coverage_min": 1.0,
        "queries.stop_ms.p50": 20.0,
        "queries.bytes_per_node": 80,
    }


@pytest.mark.parametrize(
    ("name", "worse", "better", "unit"),
    [
        ("boot_s", 1.7, 1.3, "s"),
        ("writes__per_s", 44, 56, "/s"),
        ("writes__latency_us__p50", 45.0, 35.0, "µs"),
        ("queries__stop_ms__p50", 23.0, 17.0, "ms"),
        ("queries__coverage_min", 0.8, 1.2, "share"),
        ("queries__bytes_per_node", 90, 70, "bytes"),
        ("queries__reasons__complete", 8, 10, ""),
        ("queries__reasons__deadline", 2, 0, ""),
    ],
)
def test_a_number_is_judged_by_the_side_that_is_better_for_it(name, worse, better, unit):
    dotted = name.replace("__", ".")

    assert verdict(REPORT, changed(**{name: worse}), dotted) == WORSE
    assert verdict(REPORT, changed(**{name: better}), dotted) == BETTER
    assert verdict(REPORT, REPORT, dotted) == SAME
    (row,) = (row for row in compare(REPORT, REPORT) if row.name == dotted)
    assert (row.unit, row.ratio) == (unit, 1.0)


def test_a_number_that_has_no_better_side_is_not_judged():
    assert verdict(REPORT, changed(writes__acked=5), "writes.acked") == UNJUDGED


def test_a_change_within_the_share_is_none():
    slower = changed(queries__stop_ms__p50=22.0)

    assert verdict(REPORT, slower, "queries.stop_ms.p50", 0.10) == SAME
    assert verdict(REPORT, slower, "queries.stop_ms.p50", 0.09) == WORSE


def test_what_was_nothing_and_is_something_got_worse_and_has_no_ratio():
    first, second = changed(writes__lost=0), changed(writes__lost=1)
    (row,) = (row for row in compare(first, second) if row.name == "writes.lost")

    assert (row.verdict, row.ratio) == (WORSE, None)


def test_a_number_that_one_of_them_lacks_is_shown_and_not_judged():
    (row,) = (row for row in compare(REPORT, changed(cpu_s=3.0)) if row.name == "cpu_s")

    assert (row.first, row.second, row.ratio, row.verdict) == (None, 3.0, None, UNJUDGED)


def test_what_was_asked_for_is_no_result():
    other = {**REPORT, "nodes": 20, "loss": 0.1}

    assert situations(REPORT, other) == [("nodes", 10, 20), ("loss", None, 0.1)]
    assert {row.name for row in compare(REPORT, other)} == {name for name, _ in numbers_in(REPORT)}


def test_a_report_without_an_end_is_read_to_a_depth_and_what_is_no_number_is_left_out():
    deep = {"a": 1.0}
    for _ in range(DEPTH_MAX + 1):
        deep = {"a": deep}

    assert list(numbers_in(deep)) == []
    assert list(numbers_in({"a_ms": float("nan"), "b_ms": float("inf"), "c_ms": True})) == []


def test_the_table_shows_each_number_with_both_values_ratio_and_mark():
    second = changed(queries__stop_ms__p50=30.0, writes__per_s=60_000, writes__acked=1_234_567)
    second["extra_ms"] = 12_345.6

    lines = table(compare(REPORT, second))

    found = {line.split()[0]: " ".join(line.split()[1:]) for line in lines}
    assert found["number"] == "A B B/A"
    assert found["queries.stop_ms.p50"] == "ms 20 30 1.50 worse"
    assert found["writes.per_s"] == "/s 50 60 000 1200.00 better"
    assert found["writes.acked"] == "100 1 234 567 12345.67"
    assert found["extra_ms"] == "ms - 12 346 -"


def test_two_reports_without_numbers_are_a_table_of_its_head_alone():
    assert len(table(compare({}, {}))) == 1


def test_a_row_of_json_says_its_verdict_in_words():
    rows = compare(REPORT, changed(queries__stop_ms__p50=30.0))

    told = {row.name: row.as_dict()["verdict"] for row in rows}
    assert told["queries.stop_ms.p50"] == "worse"
    assert told["writes.acked"] == "not judged"
    assert told["boot_s"] == "same"
