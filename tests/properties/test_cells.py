"""Whatever is doubled, late, given away twice or begun anew, each position is counted once.

Many orders of events at the origin's machine, each made up by hypothesis: the origin's own rules
alone have to keep the sum right.
"""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counter.config import LAN
from counter.messages import (
    COLLECTS,
    DONE,
    REFUSED,
    UNTIL_ALL,
    Ack,
    Batch,
    Delegate,
    Query,
    Reply,
    packed_positions,
    packed_rows,
)
from counter.query import Heard, Hops
from counter.wide import WideQuery
from tracker.members import Member, View, position

COUNT = 60
MEMBERS = [
    Member(f"n{i}", i.to_bytes(16, "little"), 0, 1, 0, "127.0.0.1", 1000 + i) for i in range(COUNT)
]
VIEW = View({member.name: member for member in MEMBERS})
NUMBER_AT = {position(f"n{i}"): i for i in range(COUNT)}
CONFIG = replace(LAN, cell_members_max=16, direct_max=4)

actions = st.lists(
    st.tuples(
        st.sampled_from(["ack", "refuse", "batch", "done", "silent", "reply", "time", "restart"]),
        st.integers(0, 2**16),
        st.integers(0, 2**16),
    ),
    max_size=60,
)


class Cluster:
    """The origin's query, and heads that tell the truth in any order, again, and late."""

    def __init__(self) -> None:
        request = Query(1, "k", 4, 0, 0, 60_000, UNTIL_ALL, 0, 0, False)
        own = MEMBERS[0]
        self.query = WideQuery(
            b"q" * 16,
            request,
            own.endpoint,
            position(own.name),
            VIEW,
            0.0,
            CONFIG,
            Hops(0.01, 0.0025),
            Random(1),
        )
        self.now = 0.0
        self.cells: dict[int, int] = {}
        self.sequences: dict[int, int] = {}
        self.sent: list[tuple[Delegate, object]] = []
        self.take(self.query.start(Heard(own.name, own.store[:8], 1, value_of(0), 0, 0.0, False)))

    def take(self, sends) -> None:
        self.sent += [(s.message, s.to) for s in sends if isinstance(s.message, Delegate)]

    def act(self, what: str, first: int, second: int) -> None:
        if what == "time":
            self.now = max(self.now, min(self.query.next_wave, self.now + 0.2))
            self.take(self.query.wave(self.now))
        elif what == "reply":
            number = first % COUNT
            self.query.hear(reply_of(number), MEMBERS[number].endpoint, self.now)
        elif self.sent:
            delegate, head = self.sent[first % len(self.sent)]
            self.tell(what, delegate, head, second)

    def tell(self, what: str, delegate: Delegate, head, drawn: int) -> None:
        share = delegate.share
        if what == "restart":
            self.cells[share] = self.cells.get(share, 1) + 1
            self.sequences[share] = 0
        elif what in ("ack", "refuse"):
            flags = COLLECTS if what == "ack" else REFUSED
            cell = self.cells.get(share, 1)
            ack = Ack(b"q" * 16, share, cell, flags, delegate.low, delegate.high, ())
            self.take(self.query.acknowledged(ack, head, self.now))
        else:
            self.batch(what, delegate, head, drawn)

    def batch(self, what: str, delegate: Delegate, head, drawn: int) -> None:
        begin, end = VIEW.span(delegate.low, delegate.high)
        inside = VIEW.positions[begin:end]
        dice = Random(drawn)
        told = inside if what == "done" else dice.sample(inside, dice.randrange(len(inside) + 1))
        silent = packed_positions(inside) if what == "silent" else b""
        share = delegate.share
        sequence = self.sequences.get(share, 0)
        self.sequences[share] = sequence + (drawn % 3 > 0)
        batch = Batch(
            b"q" * 16,
            share,
            self.cells.get(share, 1),
            sequence,
            DONE if what == "done" else 0,
            delegate.low,
            delegate.high,
            5,
            9,
            0,
            0,
            *packed_rows([row_of(NUMBER_AT[pos]) for pos in told]),
            silent,
            b"",
        )
        sends, _ = self.query.batched(batch, head, self.now)
        self.take(sends)


def value_of(number: int) -> int:
    """Return a share; every set of members has a sum of its own."""
    return 2**number


def row_of(number: int):
    member = MEMBERS[number]
    return (position(member.name), member.store[:8], 1, value_of(number), 2, 0)


def reply_of(number: int) -> Reply:
    pos, store, epoch, value, age, flags = row_of(number)
    return Reply(b"q" * 16, pos, store, epoch, value, age, flags, (), ())


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(actions)
def test_each_position_is_counted_once_in_whatever_order_the_news_comes(events):
    cluster = Cluster()
    query = cluster.query

    for event in events:
        cluster.act(*event)

        counted = [int(heard.name[1:]) for heard in query.answers.values()]
        assert len(counted) == len(set(counted))
        assert query.value == sum(value_of(number) for number in counted)
        assert {NUMBER_AT[pos] for pos in query.pending} == set(range(COUNT)) - set(counted)
        reason = query.verdict(cluster.now, view_is_current=True)
        assert (reason == "complete") == (not query.pending)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(actions)
def test_a_query_ends_however_it_began_and_nobody_that_was_silent_is_called_counted(events):
    cluster = Cluster()
    query = cluster.query
    for event in events:
        cluster.act(*event)

    steps = 0
    while query.verdict(cluster.now, view_is_current=True) is None:
        steps += 1
        assert steps < 1_000
        cluster.now = max(cluster.now, query.next_deadline())
        cluster.take(query.wave(cluster.now))

    assert query.verdict(cluster.now, view_is_current=True) in ("complete", "converged")
    assert len(query.silent()) == len(query.pending)
