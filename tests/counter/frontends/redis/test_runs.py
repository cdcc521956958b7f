"""Runs: what several come to, what is answered to each, and that C and Python say the same."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counter.config import NodeConfig
from counter.crdt import Counters, Share
from counter.frontends.redis.door import reckoner
from counter.frontends.redis.runs import PlainReckoner
from counter.ledger import Ledger
from counter.messages import PAIRS_MAX
from tracker.native import extension
from tracker.wire import AMOUNT_MAX

NATIVE: Any = extension("counter.native.runs")
RESP_2, RESP_3 = SimpleNamespace(protocol=2), SimpleNamespace(protocol=3)


def make_ledger(**held: int) -> Ledger:
    ledger = Ledger(NodeConfig(name="n1"), Counters(b"x" * 16, 1), durable=True)
    for key, total in held.items():
        ledger.counters.own.add(key, total)
    return ledger


def in_python(ledger: Ledger) -> PlainReckoner:
    counters = ledger.counters
    return PlainReckoner(lambda key: counters.value(counters.names.get(key, key)))


@pytest.fixture(params=["python", "native"])
def make_reckoner(request):
    """Return what makes a reckoner of a ledger, in Python and in C."""
    if request.param == "python":
        return lambda ledger: reckoner(None, in_python(ledger), ledger)
    if NATIVE is None:
        pytest.skip("NO NATIVE MODULES: not built here")
    return lambda ledger: reckoner(NATIVE, in_python(ledger), ledger)


def placed(*runs: list[tuple[str, int]]) -> list[Any]:
    return [(run, RESP_2) for run in runs]


# -- one operation --------------------------------------------------------------------------


def test_pairs_of_one_key_and_sign_become_one_as_long_as_they_fit(make_reckoner):
    runs = placed([("a", 1), ("b", -1), ("a", -2), ("a", 3)], [("a", AMOUNT_MAX), ("a", 1)])

    pairs = make_reckoner(make_ledger()).pairs(runs)

    assert pairs == ("a", 4, "b", -1, "a", -2, "a", AMOUNT_MAX, "a", 1)


def test_a_pair_is_added_to_up_to_the_largest_amount_and_no_further(make_reckoner):
    runs = placed([("a", AMOUNT_MAX - 1), ("a", 1), ("b", 1 - AMOUNT_MAX), ("b", -1), ("b", -1)])

    pairs = make_reckoner(make_ledger()).pairs(runs)

    assert pairs == ("a", AMOUNT_MAX, "b", -AMOUNT_MAX, "b", -1)


def test_more_keys_than_one_operation_holds_are_left_to_whoever_sends_it(make_reckoner):
    runs = placed([(f"k{n}", 1) for n in range(PAIRS_MAX)], [("more", 1)])

    assert len(make_reckoner(make_ledger()).pairs(runs)) == 2 * (PAIRS_MAX + 1)


# -- replies --------------------------------------------------------------------------------


def test_each_increment_is_answered_with_what_was_held_right_after_it(make_reckoner):
    runs = placed([("a", 1), ("b", 2)], [("a", 3)], [], [("a", -10), ("a", 1)])

    # All are counted already: of `a` 5 were held before them, of `b` none.
    replies = make_reckoner(make_ledger(a=5 + 1 + 3 - 10 + 1, b=2)).replies(runs)

    assert replies == [b":6\r\n:2\r\n", b":9\r\n", b"", b":-1\r\n:0\r\n"]


def test_what_others_left_here_is_part_of_what_is_held(make_reckoner):
    ledger = make_ledger(a=2)
    ledger.counters.others[b"y" * 16] = Share(1)
    ledger.counters.others[b"y" * 16].add("a", 40)

    assert make_reckoner(ledger).replies(placed([("a", 1), ("a", 1)])) == [b":41\r\n:42\r\n"]


def test_what_was_counted_down_is_part_of_what_is_held(make_reckoner):
    ledger = make_ledger(a=2, b=1)
    ledger.counters.own.add("a", -3)

    assert make_reckoner(ledger).replies(placed([("a", 1), ("b", 1)])) == [b":-1\r\n:1\r\n"]


def test_a_key_that_was_reset_is_answered_with_its_epoch(make_reckoner):
    ledger = make_ledger(a=90)
    ledger.counters.own.add("a\0001", 3)
    ledger.counters.names["a"] = "a\0001"

    assert make_reckoner(ledger).replies(placed([("a", 2), ("a", 1)])) == [b":2\r\n:3\r\n"]


def test_a_key_that_nobody_counts_any_more_is_held_at_nothing(make_reckoner):
    assert make_reckoner(make_ledger()).replies(placed([("gone", 1)])) == [b":0\r\n"]


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (2**63 - 1, [b":9223372036854775807\r\n"] * 2),
        pytest.param(2**63, [b"$19\r\n9223372036854775808\r\n", b"(9223372036854775808\r\n"]),
        (-(2**63) + 1, [b":-9223372036854775807\r\n"] * 2),
        pytest.param(-(2**63), [b"$20\r\n-9223372036854775808\r\n", b"(-9223372036854775808\r\n"]),
    ],
    ids=["most", "past it", "least", "below it"],
)
def test_a_value_past_64_bits_keeps_its_digits(make_reckoner, held, said):
    ledger = make_ledger()
    ledger.counters.others[b"y" * 16] = Share(1)
    ledger.counters.others[b"y" * 16].positive["a"] = max(held, 0)
    ledger.counters.others[b"y" * 16].negative["a"] = max(-held, 0)

    replies = make_reckoner(ledger).replies([([("a", 0)], RESP_2), ([("a", 0)], RESP_3)])

    assert replies == said


def test_what_cannot_say_what_is_held_is_not_answered(make_reckoner):
    made = make_reckoner(make_ledger())
    fails = reckoner(
        NATIVE if type(made) is not PlainReckoner else None,
        PlainReckoner(lambda key: {}[key]),
        make_ledger(),
    )

    with pytest.raises(KeyError):
        fails.replies(placed([("a", 1)]))


# -- C and Python ---------------------------------------------------------------------------

keys = st.sampled_from(["a", "b", "c-\u00e9", "k" * 256])
amounts = st.integers(-3, 5) | st.sampled_from([AMOUNT_MAX, -AMOUNT_MAX, AMOUNT_MAX - 1])
some_runs = st.lists(st.lists(st.tuples(keys, amounts), max_size=6), max_size=5)
totals = st.dictionaries(keys, st.integers(-5, 5) | st.sampled_from([2**62, -(2**62)]))


@pytest.mark.skipif(NATIVE is None, reason="NO NATIVE MODULES: not built here")
@given(some_runs, totals, totals, st.booleans())
def test_c_and_python_say_the_same(runs, own, left, is_reset):
    ledger = make_ledger()
    counters = ledger.counters
    for share, told in ((counters.own, own), (Share(1), left)):
        for key, total in told.items():
            share.add(key, total)
        if share is not counters.own and told:
            counters.others[b"y" * 16] = share
    if is_reset:
        counters.names["a"] = "a\0001"
    plain = in_python(ledger)
    native = reckoner(NATIVE, plain, ledger)

    assert native.pairs(placed(*runs)) == plain.pairs(placed(*runs))
    assert native.replies(placed(*runs)) == plain.replies(placed(*runs))


@pytest.mark.skipif(NATIVE is None, reason="NO NATIVE MODULES: not built here")
@pytest.mark.parametrize(
    "runs",
    [
        [([("a", 1)], RESP_2), 5],
        [([("a", 1), ("b",)], RESP_2)],
        [([("a", 1.5)], RESP_2)],
        [((("a", 1), ("a", 2)), RESP_2)],
    ],
    ids=["no run", "no pair", "no amount", "no list"],
)
def test_the_native_reckoner_leaves_to_python_what_it_does_not_know(runs):
    asked = []

    class Plain:
        held = staticmethod(lambda key: 0)

        def pairs(self, runs):
            asked.append(runs)
            return "pairs"

        def replies(self, runs):
            asked.append(runs)
            return "replies"

    made: Any = reckoner(NATIVE, Plain(), make_ledger())  # type: ignore[arg-type]

    assert (made.pairs(runs), made.replies(runs)) == ("pairs", "replies")
    assert asked == [runs, runs]


@pytest.mark.skipif(NATIVE is None, reason="NO NATIVE MODULES: not built here")
def test_the_native_reckoner_wants_a_list():
    made: Any = reckoner(NATIVE, in_python(make_ledger()), make_ledger())

    for ask in (made.pairs, made.replies):
        with pytest.raises(TypeError, match="wanted a list"):
            ask(())
