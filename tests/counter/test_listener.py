"""What members say to the queries of a node: heard by the one it is meant for, or by none."""

from dataclasses import replace

import pytest
from origins import (
    Origin,
    last_answer,
    make_member,
    make_view,
)

from counter.messages import (
    COLLECTS,
    DONE,
    UNHELD,
    Ack,
    Answer,
    Ask,
    Back,
    Batch,
    Delegate,
    packed_rows,
)
from counter.parts import part_epoch
from tracker.machine import Send
from tracker.members import position


def test_an_answer_to_an_unknown_query_is_dropped_and_counted():
    origin = Origin(3)
    asks = origin.ask()

    assert origin.reply(asks, 1, query=b"?" * 16) == []
    origin.reply(asks, 1, store=b"wrong---")
    origin.reply(asks, 1)
    origin.reply(asks, 2)

    assert origin.asker.listener.strangers == 2


def test_a_query_knows_its_own_asks():
    origin = Origin(3)
    asks = origin.ask()

    assert origin.asker.listener.is_own(asks[0].message.query)
    assert not origin.asker.listener.is_own(b"?" * 16)


@pytest.mark.parametrize("count", [0, 3])
def test_the_words_of_heads_that_nobody_asked_are_dropped_and_their_batches_confirmed(count):
    origin = Origin()
    query = origin.ask()[0].message.query if count else b"x" * 16
    head = ("10.0.0.9", 7401)
    batch = Batch(query, 1, 2, 3, 0, 0, 1, 0, 0, 0, 0, b"", (), b"", b"")

    sends = origin.asker.listener.batched(batch, head, 0.0)
    none = origin.asker.listener.acknowledged(Ack(query, 1, 2, 1, 0, 1, ()), head, 0.0)

    assert sends == [Send(head, Back(query, 2, 3, 0))]
    assert none == []
    assert origin.asker.listener.strangers == 2


def held_of(origin, member, flags):
    """Return what else is in the reply of one who holds a part of that member's share."""
    others = ((member.store[:8], part_epoch(3), 9),)
    return {"others": others, "flags": flags, "roll": origin.view.roll}


@pytest.mark.parametrize("flags", [0, UNHELD], ids=["it has all", "nobody knows"])
@pytest.mark.parametrize("first", [1, 2], ids=["the store first", "the part first"])
def test_the_word_of_a_store_that_may_hold_less_than_a_part_of_it_ends_no_query(flags, first):
    origin = Origin(4)
    asks = origin.ask()
    part = held_of(origin, make_member(1), flags)
    for index in (first, 3 - first):
        assert origin.reply(asks, index, **(part if index == 2 else {})) == []

    effects = origin.reply(asks, 3)

    # Asked anew, by another id, or at its end.
    assert [e.message for e in effects if isinstance(e.message, Answer)] == (
        [] if flags else [last_answer(effects)]
    )
    assert bool(origin.begin()) is bool(flags)


def test_a_part_of_which_nobody_knows_whether_its_store_has_all_counts_while_that_is_gone():
    origin = Origin(3)
    asks = origin.ask()
    origin.reply(asks, 1, **held_of(origin, make_member(7), UNHELD))

    answer = last_answer(origin.reply(asks, 2))

    assert (answer.complete, answer.value) == (True, 111)


def test_the_word_of_a_head_that_it_collects_an_arc_reaches_the_query_that_gave_it_away():
    origin = Origin(40, cell_members_max=8)
    delegate = next(e.message for e in origin.ask() if isinstance(e.message, Delegate))
    (query,) = origin.asker.under_way()
    head = query.view.at(delegate.skip[-1])
    arc = (delegate.low, delegate.high, delegate.skip[:-1])

    ack = Ack(query.id, delegate.share, 9, COLLECTS, *arc)
    assert origin.asker.listener.acknowledged(ack, head.endpoint, 0.01) == []

    assert query.wards[delegate.share].head == head.endpoint
    assert delegate.share not in query.delegation.charges


def test_what_the_heads_of_a_wide_query_tell_is_remembered_and_ends_it():
    origin = Origin(40, cell_members_max=8)
    asks = origin.ask()
    shares = [e.message for e in asks if isinstance(e.message, Delegate)]
    (query,) = origin.asker.under_way()
    effects = []
    for message in shares:
        begin, end = query.view.span(message.low, message.high)
        inside = [m for m in query.view.ring[begin:end] if position(m.name) in query.pending]
        head = next(m for m in inside if position(m.name) == message.skip[-1]).endpoint
        rows = packed_rows([(position(m.name), m.store[:8], 1, 3, 2, 0) for m in inside])
        arc = (message.low, message.high)
        batch = Batch(query.id, message.share, 9, 0, DONE, *arc, 8, 9, 0, 0, *rows, b"", b"")
        effects += origin.asker.listener.batched(batch, head, 0.01)
    effects += origin.asker.conclude(query.id, 0.01, view_known_until=0.0)

    alone = [m for m in make_view(40) if position(m.name) in query.pending]
    assert {e.to for e in asks if isinstance(e.message, Ask)} == {m.endpoint for m in alone}
    assert last_answer(effects).complete
    assert last_answer(effects).value == 100 + 3 * 39
    assert len(origin.asker.listener.last_values) == 39


def test_a_batch_tells_whose_views_are_not_that_of_the_query():
    origin = Origin(40, cell_members_max=8)
    asks = origin.ask()
    message = next(e.message for e in asks if isinstance(e.message, Delegate))
    (query,) = origin.asker.under_way()
    head = query.view.at(message.skip[-1])
    other = query.view.ring[3]
    own, strange = (position(head.name), query.view.roll), (position(other.name), 77)
    arc = (message.low, message.high)
    batch = Batch(query.id, message.share, 9, 0, 0, *arc, 8, 9, 0, 0, b"", (), b"", b"")
    batch = replace(batch, rolls=(own, strange, (5, 78), (6, 0)))

    origin.asker.listener.batched(batch, head.endpoint, 0.01)

    assert origin.asker.listener.strange == [(77, other.endpoint), (78, head.endpoint)]
