"""Thresholds: how they are written, what they are judged against, what is refused."""

from dataclasses import replace

import pytest

from loadtest.differences import numbers_in
from loadtest.generator import Generator
from loadtest.latency import Histogram
from loadtest.report import Queries, QueryRecord, Situation, Writes, summary
from loadtest.thresholds import Measured, name_of, parse
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
    generator = Generator(skipped=3, queries_skipped=1, in_flight_max=7, cpu_s=2.0, elapsed_s=8.0)
    for late_ms in (1, 2, 20):
        generator.began(late_ms / 1000)
    return Measured(
        writes=writes, queries=queries, boot_s=2.5, cpu_s=9.0, rss_mb=210.0,
        generator=generator, refused=4,
    )  # fmt: skip


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
        ("lost==0", 0, True),
        ("doubled<1", 0, True),
        ("boot_s<5s", 2.5, True),
        ("boot_s<=2500ms", 2.5, True),
        ("cpu_s<8.5", 9.0, False),
        ("rss_mb<211", 210.0, True),
        ("cpu_share<30%", 0.25, True),
        ("late.max<10ms", 20.0, False),
        ("generator.late_ms.p50<10ms", 2.0, True),
        ("skipped==0", 3, False),
        ("refused<5", 4, True),
        ("reasons.complete==100", 100, True),
        ("reasons.deadline==0", 0, True),
        ("inc.p99.9<=0.9ms", 0.9, True),
        ("inc.p999<=900us", 0.9, True),
        ("queries.stop_ms.p99<100ms", 99.0, True),
        ("queries.stop_ms.p999<=100ms", 100.0, True),
        ("writes.latency_us.max<1ms", 0.9, True),
        ("queries.messages_per_node<=2.1", 2.1, True),
        ("writes.per_s>99", 100.0, True),
        ("queries.reasons.complete>=100", 100, True),
    ],
)
def test_a_threshold_is_judged_against_the_number_it_names(written, found, ok):
    row = parse(written).row(make_measured())

    assert row["found"] == pytest.approx(found, rel=0.005)
    assert row["ok"] is ok
    assert parse(row["name"]) == parse(written)


def test_a_number_is_judged_before_it_is_rounded_for_people():
    measured = make_measured(make_record(5.0, messages=200_004))

    assert not parse("messages_per_node<=2000.03").row(measured)["ok"]


@pytest.mark.parametrize("written", ["t100.p99<1s", "drain.max<1s", "cpu_share<1"])
def test_what_was_never_measured_was_not_reached(written):
    row = parse(written).row(replace(make_measured(), generator=Generator()))

    assert (row["ok"], row["found"]) == (False, None)


def test_without_a_query_nothing_about_queries_was_reached():
    row = parse("coverage_min>=0").row(Measured(writes=Writes(), queries=Queries(nodes=9)))

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
        ("queries.stop.p99<1s", r"did you mean queries.stop_ms.p99\?"),
        ("reasons.compleet>1", r"did you mean reasons.complete\?"),
        ("boot_s<5%", "boot_s is compared with a time, like 5s"),
        ("coverage_min>100.5%", "coverage_min is a share of all, 100% at most"),
        ("complete_share>=1.01", "complete_share is a share of all, 100% at most"),
        ("coverage_min>5x", "coverage_min is compared with a share"),
        ("messages_per_node<5%", "is compared with a number"),
        ("query.p99<\x1b[31m", r"\\x1b"),
    ],
)
def test_what_is_no_threshold_is_refused_with_what_would_be_one(written, words):
    with pytest.raises(ConfigError, match=words):
        parse(written)


def test_every_number_of_the_report_can_be_bounded_and_is_found_as_it_stands_there():
    measured = make_measured(
        *[
            make_record(ms, drain_ms=1.0, t50_ms=2.0, t90_ms=3.0, t99_ms=4.0, t100_ms=5.0)
            for ms in (1.0, 2.5, 7.0)
        ]
    )
    situation = Situation(nodes=100, mode="sockets", seed=1, chatter=10, latency_ms=0.0)
    told = summary(
        situation, measured.writes, measured.queries, [],
        boot_s=measured.boot_s, cpu_s=measured.cpu_s, rss_mb=measured.rss_mb,
    )  # fmt: skip
    told |= {"generator": measured.generator.as_dict(), "load": {"refused": measured.refused}}
    numbers = dict(numbers_in(told))

    assert len(numbers) > 40
    for path, value in numbers.items():
        is_time, in_us = "_ms." in path or "_us." in path, "_us." in path
        found = parse(f"{path}>=0{'ms' if is_time else ''}").row(measured)["found"]
        scale = 1000.0 if in_us else 1.0
        assert found * scale == pytest.approx(value, rel=0.001), path


def test_a_name_is_the_same_short_and_as_it_stands_in_json():
    assert name_of("queries.stop_ms.p999") == name_of("query.p99.9") == "query.p99.9"
    assert name_of("writes.per_s") == name_of("writes_per_s") == "writes_per_s"
