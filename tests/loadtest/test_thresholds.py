"""Thresholds: how they are written, what they are judged against, what is refused."""

import pytest

from loadtest.latency import Histogram
from loadtest.report import Queries, QueryRecord, Writes
from loadtest.thresholds import parse
from tracker.errors import ConfigError


def make_record(stop_ms, **fields):
    values = {
        "key": "k", "origin": "n1", "reason": "complete", "value": 1, "coverage": 1.0,
        "messages": 210, "bytes": 20_000, "duplicates": 21, "hops": 2, "node_messages_max": 12,
    }  # fmt: skip
    return QueryRecord(**{**values, "stop_ms": stop_ms, **fields})


def make_measured(*records):
    queries = Queries(nodes=100)
    for record in records or [make_record(stop_ms) for stop_ms in range(1, 101)]:
        queries.add(record)
    writes = Writes(acked=500, elapsed_s=5.0, latency_us=Histogram([100.0, 900.0]))
    return writes, queries


@pytest.mark.parametrize(
    ("written", "found", "ok"),
    [
        ("query.p99<100ms", 99.0, True),
        ("query.p50<50ms", 50.0, False),
        ("query.p50 <= 50.2ms", 50.0, True),
        ("query.p95>94ms", 95.0, True),
        ("query.max<0.1s", 100.0, False),
        ("query.mean<51ms", 50.5, True),
        ("inc.p99<1ms", 0.9, True),
        ("inc.max<500us", 0.9, False),
        ("messages_per_node<2.1", 2.1, False),
        ("messages_per_node<=2.1", 2.1, True),
        ("bytes_per_node<201", 200.0, True),
        ("duplicates_share<11%", 0.1, True),
        ("duplicates_share<0.1", 0.1, False),
        ("coverage_min>=100%", 1.0, True),
        ("complete_share==1", 1.0, True),
        ("node_messages_max<=12", 12, True),
        ("hops_max<2", 2, False),
        ("writes_per_s>=100", 100.0, True),
        ("queries>=101", 100, False),
        ("unknown==0", 0, True),
    ],
)
def test_a_threshold_is_judged_against_the_number_it_names(written, found, ok):
    row = parse(written).row(make_measured())

    assert row["found"] == pytest.approx(found, rel=0.005)
    assert row["ok"] is ok
    assert row["name"] == written.replace(" ", "")


def test_a_number_is_judged_before_it_is_rounded_for_people():
    measured = make_measured(make_record(5.0, messages=200_004))

    assert not parse("messages_per_node<=2000.03").row(measured)["ok"]


@pytest.mark.parametrize("written", ["t100.p99<1s", "drain.max<1s"])
def test_what_was_never_measured_was_not_reached(written):
    row = parse(written).row(make_measured())

    assert (row["ok"], row["found"]) == (False, None)


def test_without_a_query_nothing_about_queries_was_reached():
    row = parse("coverage_min>=0").row((Writes(), Queries(nodes=9)))

    assert (row["ok"], row["found"]) == (False, None)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("query.p99", "is not a threshold, like query.p99<100ms"),
        ("qery.p99<100ms", r"nothing is called qery.p99; did you mean query.p99\?"),
        ("message_per_node<3", r"did you mean messages_per_node\?"),
        ("zzz<3", "known: messages_per_node"),
        ("query<100ms", "which part of query"),
        ("query.p100<100ms", "which part of query"),
        ("query.p99<100", "query.p99 is compared with a time, like 100ms"),
        ("hops_max<3ms", "hops_max is compared with a number"),
        ("coverage_min>5x", "coverage_min is compared with a share"),
        ("messages_per_node<5%", "is compared with a number"),
        ("query.p99<\x1b[31m", r"\\x1b"),
    ],
)
def test_what_is_no_threshold_is_refused_with_what_would_be_one(written, words):
    with pytest.raises(ConfigError, match=words):
        parse(written)
