"""The straight way: what it takes, what it leaves, and that C and Python do the same."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spoiled import spoiled, spoiled_at_random

from counter.config import NodeConfig
from counter.crdt import Counters, Share
from counter.frontends.redis import resp, straight
from counter.frontends.redis.door import native
from counter.frontends.redis.straight import RUN_MAX, Straight
from counter.ledger import Ledger
from tracker.native import extension
from tracker.wire import SHARE_MAX

NATIVE: Any = extension("counter.native.redis")
KEYS = ("hits", "misses", "clics-\u00e9", "k" * 256, "large")


def make_ledger(*, durable: bool = False) -> Ledger:
    """Return a ledger that holds all KEYS at 5, one of them near its limit."""
    ledger = Ledger(NodeConfig(name="n1"), Counters(b"x" * 16, 1), durable=durable)
    for key in KEYS:
        ledger.counters.own.add(key, 5)
    ledger.counters.own.add("large", SHARE_MAX - 10)
    return ledger


@pytest.fixture(params=["python", "native"])
def make_way(request):
    """Return what makes a way into a ledger, in Python and in C."""
    if request.param == "python":
        return Straight
    if NATIVE is None:
        pytest.skip("NO NATIVE MODULES: not built here")
    return lambda ledger: native(NATIVE, ledger)


def incr(key: str | bytes, by: int | None = None, name: str | None = None) -> bytes:
    spelled = key if isinstance(key, bytes) else key.encode()
    words = [(name or ("INCR" if by is None else "INCRBY")).encode(), spelled]
    return resp.array([resp.bulk(w) for w in [*words, *([] if by is None else [b"%d" % by])]])


# -- what it takes --------------------------------------------------------------------------


def test_each_increment_is_answered_with_what_is_held_after_it(make_way):
    ledger = make_ledger()

    replies = make_way(ledger)(1, incr("hits") + incr("misses", 10) + incr("hits", 3, "incrBy"))

    assert replies == b":6\r\n:15\r\n:9\r\n"
    assert ledger.counters.own.positive["hits"] == 9
    assert ledger.operations == 3


def test_what_stands_behind_plain_increments_is_left(make_way):
    ledger, data = make_ledger(), b"x" + incr("hits") + incr("hits") + b"PING\r\n"

    replies, end = make_way(ledger).take(data, 1)

    assert (replies, data[end:]) == (b":6\r\n:7\r\n", b"PING\r\n")


def test_bytes_of_which_only_a_part_is_plain_are_not_taken_as_a_whole(make_way):
    ledger = make_ledger()

    assert make_way(ledger)(1, incr("hits") + b"PING\r\n") is None
    assert ledger.counters.own.positive["hits"] == 5


def test_a_long_run_is_counted_in_parts(make_way):
    ledger = make_ledger()
    way, data = make_way(ledger), incr("hits") * (RUN_MAX + 1)

    assert way(1, data) is None
    replies, end = way.take(data, 0)

    assert replies.count(b"\n") == RUN_MAX
    assert data[end:] == incr("hits")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(incr("new"), id="a key that is not held"),
        pytest.param(incr("hits", 0), id="nothing"),
        pytest.param(incr("hits", -1), id="a decrease"),
        pytest.param(incr("hits", 1, "DECRBY"), id="another command"),
        pytest.param(incr("hits", 2**53), id="more than an increment may hold"),
        pytest.param(incr("large", 6), id="near the limit of a share"),
        pytest.param(incr(b"hits\xff"), id="no UTF-8"),
        pytest.param(incr("hits\x001"), id="the name of an epoch"),
        pytest.param(incr("hits")[:-1], id="half a request"),
        pytest.param(b"INCR hits\r\n", id="a typed line"),
        pytest.param(b"*2\r\n$4\r\nINCR\r\n$3\r\nhits\r\n", id="a length that does not fit"),
        pytest.param(b"*2\r\n$4\r\nINCR\r\n$04\r\nhits\r\n", id="a length in another way"),
        pytest.param(b"*3\r\n$6\r\nINCRBY\r\n$4\r\nhits\r\n$2\r\n7\r\n", id="an amount too short"),
        pytest.param(b"*3\r\n$6\r\nINCRBY\r\n$4\r\nhits\r\n$2\r\n07\r\n", id="a leading zero"),
        pytest.param(b"", id="nothing at all"),
    ],
)
def test_anything_else_is_left_alone(make_way, data):
    ledger = make_ledger()
    ledger.counters.own.add("hits\0001", 1)
    before = dict(ledger.counters.own.positive)
    way = make_way(ledger)

    assert way(1, data) is None
    assert way.take(data, 0) == (b"", 0)
    assert (dict(ledger.counters.own.positive), ledger.operations) == (before, 0)


def leaving(ledger):
    ledger.is_leaving = True


def held(ledger):
    ledger.is_held = True


def decreased(ledger):
    ledger.counters.own.add("hits", -1)


def adopted(ledger):
    ledger.counters.others[b"y" * 16] = Share(1)


@pytest.mark.parametrize("happens", [leaving, held, decreased, adopted])
def test_a_node_that_has_to_look_twice_is_left_alone(make_way, happens):
    ledger = make_ledger()
    happens(ledger)

    assert make_way(ledger)(1, incr("hits")) is None


def test_a_key_that_was_reset_counts_in_its_epoch(make_way):
    ledger = make_ledger()
    ledger.counters.names["hits"] = "hits\0001"
    ledger.counters.own.add("hits\0001", 2)

    assert make_way(ledger)(1, incr("hits")) == b":3\r\n"
    assert ledger.counters.own.positive["hits"] == 5


def test_what_was_read_before_is_counted_as_what_was_not(make_way):
    ledger = make_ledger()
    way, requests = make_way(ledger), [incr("hits"), incr("misses", 2), incr("hits", 7, "incrby")]

    for _ in range(2):
        for request in [*requests, b"".join(requests), incr("hits") * 3]:
            assert way(1, request).count(b":") in (1, 3)

    assert ledger.counters.own.positive["hits"] == 5 + 2 * (1 + 7 + 8 + 3)
    assert ledger.operations == 2 * 9


def test_what_was_read_before_is_looked_at_again_before_it_counts(make_way):
    ledger = make_ledger()
    way = make_way(ledger)
    assert way(1, incr("hits")) == b":6\r\n"
    ledger.counters.names["hits"] = "hits\0001"
    assert way(1, incr("hits")) is None

    ledger.counters.own.add("hits\0001", 2)
    data = incr("hits") + incr("new")
    replies, end = way.take(data, 0)

    assert (replies, data[end:]) == (b":3\r\n", incr("new"))
    assert ledger.counters.own.positive["hits"] == 6
    ledger.counters.own.add("hits\0001", -1)
    assert way(1, incr("hits")) is None
    ledger.counters.own.negative.clear()
    ledger.counters.own.ceiling = 3
    assert way(1, incr("hits")) is None


def test_requests_that_are_remembered_are_forgotten_at_the_limit(monkeypatch):
    monkeypatch.setattr(straight, "REQUESTS_KNOWN_MAX", 2)
    way = Straight(make_ledger())

    for amount in range(1, 6):
        assert way(1, incr("hits", amount)) is not None

    assert len(way._whole) <= 2
    assert max(map(len, way._known.values())) <= 2


def test_on_disk_nothing_is_counted_but_runs_are_read(make_way):
    ledger = make_ledger(durable=True)
    way, data = make_way(ledger), incr("hits") + incr("new", 7) + incr("clics-\u00e9")

    assert way(1, data) is None
    run, end = way.run(data, 0)

    assert run == [("hits", 1), ("new", 7)]
    assert data[end:] == incr("clics-\u00e9")
    assert way.run(b"PING\r\n", 0) == ([], 0)


@pytest.mark.parametrize("durable", [False, True])
def test_decreases_are_read_and_counted_by_nobody_here(make_way, durable):
    ledger = make_ledger(durable=durable)
    way, data = make_way(ledger), incr("hits", 7, "DECRBY") + incr("new", None, "decr")
    read = [("hits", -7), ("new", -1)]

    for _ in range(2):  # read, and known
        assert way(1, data) is None
        assert way(1, incr("hits", None, "DECR")) is None
        assert way.take(incr("hits", None, "DECR"), 0) == (b"", 0)
        assert way.run(data + b"PING\r\n", 0) == (read, len(data))
    assert (ledger.counters.own.positive["hits"], ledger.operations) == (5, 0)


def test_a_decrease_ends_what_is_counted_at_once(make_way):
    ledger, data = make_ledger(), incr("hits") + incr("hits", None, "DECR") + incr("hits")

    assert make_way(ledger)(1, data) is None
    assert make_way(ledger).take(data, 0) == (b":6\r\n", len(incr("hits")))


def test_a_run_is_no_longer_than_one_operation(make_way):
    run, _ = make_way(make_ledger(durable=True)).run(incr("hits") * (RUN_MAX + 1), 0)

    assert len(run) == RUN_MAX


# -- C and Python ---------------------------------------------------------------------------

words = st.sampled_from([*KEYS, "new", "\x7f", "hits\0001"])
amounts = st.none() | st.integers(-1, 12) | st.sampled_from([2**53 - 1, 2**53, 10**17])
whole = st.builds(
    incr, words, amounts, st.sampled_from([None, None, "incr", "INCRBY", "DECR", "decrBy"])
)
pieces = st.lists(st.one_of(whole, whole, whole, st.binary(max_size=6)), max_size=6)
damages = st.none() | st.tuples(st.integers(0, 200), st.binary(max_size=2))


@pytest.mark.skipif(NATIVE is None, reason="NO NATIVE MODULES: not built here")
@pytest.mark.slow
@given(st.lists(st.tuples(pieces, damages), min_size=1, max_size=5))
def test_c_and_python_say_and_do_the_same(steps):
    ledgers = make_ledger(), make_ledger()
    ways = Straight(ledgers[0]), native(NATIVE, ledgers[1])
    for parts, damage in steps:
        data = b"".join(parts)
        if damage is not None and data:
            at = damage[0] % len(data)
            data = data[:at] + damage[1] + data[at + 1 :]
        for ask in (
            lambda way, data=data: way(1, data),
            lambda way, data=data: way.take(data, 0),
            lambda way, data=data: way.run(data, len(data) // 3),
        ):
            assert ask(ways[0]) == ask(ways[1])
    states = [(list(one.counters.own.positive.items()), one.operations) for one in ledgers]

    assert states[0] == states[1]


class Twins:
    """A way in Python and one in C, each into a ledger of its own."""

    def __init__(self) -> None:
        self.ledgers = make_ledger(), make_ledger()
        self.ways = Straight(self.ledgers[0]), native(NATIVE, self.ledgers[1])

    def compare(self, data: bytes) -> None:
        for name, begin in (("__call__", 1), ("take", 0), ("run", 0), ("take", len(data) // 2)):
            words = (begin, data) if name == "__call__" else (data, begin)
            said = [getattr(way, name)(*words) for way in self.ways]
            assert said[0] == said[1]

    @property
    def states(self) -> list[Any]:
        return [(list(one.counters.own.positive.items()), one.operations) for one in self.ledgers]


SPOILT = [
    incr("hits"),
    incr("hits", 12, "DECRBY"),
    incr("clics-\u00e9", 127, "incrBy"),
    incr("hits", 2**53 - 1) + incr("hits"),
]
NUMBERS = [b"9" * 18, b"9" * 19, b"4294967295", b"-1", b"0", b"\r\n", b"$", b"*1\r\n" * 20]


@pytest.mark.skipif(NATIVE is None, reason="NO NATIVE MODULES: not built here")
@pytest.mark.slow
@pytest.mark.parametrize("data", SPOILT, ids=range(4))
def test_a_request_spoiled_in_any_way_is_counted_by_both_or_by_none(data):
    twins = Twins()

    for one in spoiled(data):
        twins.compare(one)
    for at in range(len(data)):
        for number in NUMBERS:
            twins.compare(data[:at] + number + data[at:])
            twins.compare(data[:at] + number + data[at + 1 :])

    assert twins.states[0] == twins.states[1]


@pytest.mark.skipif(NATIVE is None, reason="NO NATIVE MODULES: not built here")
@pytest.mark.soak
@pytest.mark.parametrize("seed", range(8))
def test_requests_spoiled_at_random_are_counted_by_both_or_by_none(seed):
    dice, twins = Random(seed), Twins()

    for _ in range(50_000):
        data = b"".join(dice.choices(SPOILT, k=dice.randint(1, 3)))
        at = dice.randint(0, len(data))
        spelled = data[:at] + dice.choice(NUMBERS) + data[at:]
        twins.compare(dice.choice([spelled, spoiled_at_random(data, dice)]))
    assert twins.states[0] == twins.states[1]


@pytest.mark.skipif(NATIVE is None, reason="NO NATIVE MODULES: not built here")
def test_the_native_way_refuses_what_is_no_place_in_the_bytes():
    way: Any = native(NATIVE, make_ledger())

    for place in (-1, 5):
        with pytest.raises(ValueError, match="no place"):
            way.take(b"PING", place)
    with pytest.raises(TypeError, match="wanted bytes"):
        way.run("PING", 0)
    with pytest.raises(TypeError, match="takes a link"):
        way(b"PING")
