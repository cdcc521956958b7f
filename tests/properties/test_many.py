"""Whatever many members hold and leave out: the truth about each key lies within its bounds."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from counter import many, tables
from counter.crdt import Counters
from counter.doubtful import InDoubt
from counter.many import Sums
from counter.messages import ROWS_ROOM_BYTES, prefixed
from counter.tables import Search, Tables

KEYS = [f"k{i}" for i in range(12)] + ["other"]

shares = st.lists(
    st.lists(st.tuples(st.sampled_from(KEYS), st.integers(-50, 10**6)), max_size=30), max_size=12
)
growing = st.lists(
    st.lists(st.tuples(st.sampled_from(KEYS), st.integers(0, 10**6)), max_size=30), max_size=12
)


def held(share):
    counters = Counters(b"s" * 16, 1)
    for key, amount in share:
        counters.own.add(key, amount)
    return counters


def table_of(counters, room):
    tables.ROWS_ROOM_BYTES = room
    try:
        own = Tables(counters, None, None)
        search: Search = own._search(prefixed("k"))
        table = search.step()
        assert table is not None
        return table
    finally:
        tables.ROWS_ROOM_BYTES = ROWS_ROOM_BYTES


def asked(members, room):
    """Return the sums at the origin, the whole total, and the truth about each key."""
    sums, total, truth = Sums(), 0, {}
    for share in members:
        counters = held(share)
        table = table_of(counters, room)
        decreased = table.has_decreased
        sums.add(table.rows, table.left_out, table.rest, decreased=decreased)
        total += table.total
        for key in counters.own.positive:
            if key.startswith("k"):
                truth[key] = truth.get(key, 0) + counters.value(key)
    return sums, total, truth


@given(shares)
def test_when_nothing_is_left_out_the_sums_are_those_of_a_dict(members):
    sums, total, truth = asked(members, ROWS_ROOM_BYTES)

    told = dict(sums.largest())
    assert {key: told.get(key, 0) for key in truth} == truth
    assert total == sum(truth.values())
    assert (sums.left_out, sums.unseen) == (0, 0)
    assert all(sums.bounds(key) == (value, value) for key, value in told.items())


@given(shares, st.integers(0, 60))
def test_the_truth_lies_within_the_bounds_whatever_is_left_out(members, room):
    sums, total, truth = asked(members, room)

    assert total == sum(truth.values())
    for key, value in truth.items():
        if key in sums.by_key:
            low, high = sums.bounds(key)
            assert low <= value <= high
        else:
            assert abs(value) <= sums.unseen


doubts = st.lists(st.lists(st.tuples(st.sampled_from(KEYS), st.integers(-50, 10**6)), max_size=12))


@settings(max_examples=200)
@given(shares, doubts, st.integers(0, 60), st.integers(2, 4096))
def test_whatever_is_parked_may_settle_and_each_key_stays_within_its_bounds(
    members, parked, room, kept
):
    before, many.KEYS_KEPT_MAX = many.KEYS_KEPT_MAX, kept
    try:
        sums, _, truth = asked(members, room)
        least, most = dict(truth), dict(truth)
        for pairs in parked:
            known = InDoubt()
            for pair in pairs:
                known.add(pair, 1)
            told = known.about(prefixed("k"))
            if told is None:
                continue
            sums.doubt(told.cut(room % 5), told.cut(room % 5).rows)
            for key, minus, plus in told.rows:
                least[key] = least.get(key, 0) - minus
                most[key] = most.get(key, 0) + plus
        sums.largest()
    finally:
        many.KEYS_KEPT_MAX = before

    for key in most:
        if key in sums.by_key:
            low, high = sums.bounds(key)
            assert low <= least[key] <= most[key] <= high
        else:
            assert max(-least[key], most[key]) <= sums.unseen


@given(growing, st.integers(0, 60))
def test_of_keys_that_only_grow_no_sum_is_above_the_truth(members, room):
    sums, _, truth = asked(members, room)

    assert all(sums.bounds(key)[0] == value <= truth[key] for key, value in sums.largest())


@settings(max_examples=200)
@given(seed=st.integers(0, 2**32))
def test_the_truth_lies_within_the_bounds_whatever_the_origin_drops(seed):
    rng = Random(seed)
    members = [
        [(rng.choice(KEYS), rng.randint(-5, 20)) for _ in range(rng.randint(0, 20))]
        for _ in range(15)
    ]
    before, many.KEYS_KEPT_MAX = many.KEYS_KEPT_MAX, 3
    try:
        sums, _, truth = asked(members, rng.choice([30, 900]))
        sums.largest()
    finally:
        many.KEYS_KEPT_MAX = before

    for key, value in truth.items():
        if key in sums.by_key:
            low, high = sums.bounds(key)
            assert low <= value <= high
        else:
            assert abs(value) <= sums.unseen
