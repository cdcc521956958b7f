"""The load generator tells of itself, and the last reads take all keys."""

import pytest

from loadtest.finals import KEYS_SINGLY_MAX, Finals, grouped, question
from loadtest.generator import Generator


def make_generator(**fields):
    return Generator(**{"cpu_s": 0.2, "elapsed_s": 1.0, **fields})


def test_a_generator_with_time_to_spare_warns_of_nothing():
    generator = make_generator()
    for _ in range(200):
        generator.began(0.0002)

    assert generator.warnings() == []
    told = generator.as_dict()
    assert (told["loop"], told["cpu_share"], told["with_nodes"]) == ("open", 0.2, False)
    assert (told["skipped"], told["queries_skipped"], told["is_bottleneck"]) == (0, 0, False)
    assert told["late_ms"]["p99"] == pytest.approx(0.2, rel=0.01)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cpu_s": 0.9}, "the generator took 90 % of a core"),
        ({"cpu_s": 0.9, "is_shared": True}, "this process, nodes and load generator, took 90 %"),
        ({"skipped": 3}, "3 increments were not sent"),
        ({"queries_skipped": 2}, "2 queries were not asked"),
    ],
)
def test_what_may_have_been_measured_instead_of_the_cluster_is_told(fields, words):
    generator = make_generator(**fields)

    (warning,) = generator.warnings()
    assert words in warning
    assert generator.as_dict()["is_bottleneck"]


def test_increments_that_begin_late_are_told_if_they_are_many():
    generator = make_generator()
    for _ in range(99):
        generator.began(0.0)
    generator.began(0.02)
    assert generator.warnings() == []
    generator.began(0.02)

    assert "2.0 % of the increments began more than 10 ms late" in generator.warnings()[0]


@pytest.mark.parametrize("fields", [{"cpu_s": None}, {"elapsed_s": 0.0}], ids=["no CPU", "no time"])
def test_a_share_that_cannot_be_told_is_none(fields):
    assert make_generator(**fields).as_dict()["cpu_share"] is None


# -- the last reads -------------------------------------------------------------------------


def test_a_few_keys_are_read_one_by_one():
    keys = [f"key-{number}" for number in range(KEYS_SINGLY_MAX)]

    assert grouped(keys) == [(key,) for key in keys]
    assert question(("key-0",)) == "key-0"


def test_many_keys_are_read_in_groups_that_a_query_takes():
    keys = [f"key-{number:03}" for number in range(100)]
    long = [f"{number:03}{'k' * 197}" for number in range(20)]

    groups, long_groups = grouped(keys), grouped(long)

    assert [len(group) for group in groups] == [32, 32, 32, 4]
    assert [len(group) for group in long_groups] == [2] * 10
    assert [key for group in groups for key in group] == keys
    assert all(question(group).startswith("=\n") for group in groups + long_groups)


def test_a_later_read_takes_the_place_of_an_earlier_one():
    finals = Finals(["a"])
    finals.take(("a",), {"a": 1}, {"n1": 1}, is_covered=False)
    assert (finals.covered, finals.has_shares("a")) == (0, False)

    finals.take(("a",), {"a": 3}, {"n1": 1, "n2": 2}, is_covered=True)

    assert (finals.covered, finals.has_shares("a"), finals.totals) == (1, True, {"a": 3})
