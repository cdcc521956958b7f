"""Answers from where their giver is not listed: who is believed, and what is withdrawn."""

from dataclasses import replace
from random import Random

import pytest

from counter.asker import Asker
from counter.config import LAN
from counter.doubtful import Doubted
from counter.messages import UNTIL_ALL, Query, Reply
from counter.query import Heard, Hops, OwnQuery
from tracker.members import SUSPECT, Member, View, position

ID, NOW = b"q" * 16, 10.02
ELSEWHERE = ("127.0.0.1", 9999)
FORGED = 1_000_000


def make_member(index, **changes):
    store = index.to_bytes(8, "big") * 2
    return replace(Member(f"n{index}", store, 0, 1, 0, "127.0.0.1", 1000 + index), **changes)


def begun(count=5, **changes):
    """Return a query of n0, whose share is 100; `changes` are those of n2."""
    view = View().merged([make_member(i, **(changes if i == 2 else {})) for i in range(count)])
    own = make_member(0)
    where = (own.endpoint, position(own.name), view, 10.0, LAN)
    request = Query(1, "k", 0, 0, 0, 2_000, UNTIL_ALL, 0, 0, False)
    query = OwnQuery(ID, request, *where, Hops(0.010, 0.0025), Random(1))
    query.start(Heard(own.name, own.store[:8], 1, 100, 0, 0.0, False))
    return query


def make_reply(index, value=1, **changes):
    member = make_member(index)
    reply = Reply(ID, position(member.name), member.store[:8], 1, value, 1, 0, (), ())
    return replace(reply, **changes)


def hear(query, index, value=1, sender=None, **changes):
    sender = make_member(index).endpoint if sender is None else sender
    return query.hear(make_reply(index, value, **changes), sender, NOW)


def make_ghost(value=FORGED, name="nobody"):
    return Reply(ID, position(name), name.encode().ljust(8)[:8], 1, value, 1, 0, (), ())


def at(index):
    return make_member(index).endpoint


def verdict(query):
    return query.verdict(NOW, view_is_current=True)


def test_a_member_that_has_answered_speaks_for_nobody_else():
    query = begun()
    hear(query, 1)

    assert not hear(query, 2, FORGED, sender=at(1), epoch=2)
    assert not query.hear(make_ghost(), at(1), NOW)
    assert (query.value, query.tally.strangers, query.members) == (101, 2, 5)


def test_the_asking_node_itself_is_nobody_else():
    query = begun()

    assert not hear(query, 2, FORGED, sender=at(0), epoch=2)


def test_what_a_liar_said_first_is_withdrawn_when_he_answers_for_himself():
    query = begun()

    assert hear(query, 2, FORGED, sender=at(1), epoch=2)
    assert hear(query, 1)

    assert query.value == 101
    assert query.pending[position("n2")].member.name == "n2"
    assert hear(query, 2, 7)
    hear(query, 3)
    hear(query, 4)
    assert (query.value, verdict(query)) == (110, "complete")


def test_an_invented_member_is_withdrawn_when_the_liar_answers_for_himself():
    query = begun(2)

    assert query.hear(make_ghost(), at(1), NOW)
    assert hear(query, 1)

    assert (query.value, query.members, verdict(query)) == (101, 2, "complete")


def test_a_member_is_believed_before_somebody_elsewhere_who_said_he_was_him():
    query = begun(3)

    assert hear(query, 1, FORGED, sender=ELSEWHERE, epoch=2)
    assert hear(query, 1, 5)
    assert hear(query, 2)

    assert (query.value, verdict(query)) == (106, "complete")


def test_from_one_address_nobody_is_believed_under_two_names():
    query = begun()

    assert hear(query, 1, sender=ELSEWHERE, epoch=2)
    assert not hear(query, 2, FORGED, sender=ELSEWHERE, epoch=2)
    assert not query.hear(make_ghost(), ELSEWHERE, NOW)
    assert query.value == 101


def test_members_that_started_again_at_each_other_s_addresses_are_all_counted():
    query = begun(4)

    assert hear(query, 1, 10, sender=at(2), epoch=2)
    assert hear(query, 2, 20, sender=at(3), epoch=2)
    assert hear(query, 3, 30, sender=at(1), epoch=2)

    assert (query.value, verdict(query)) == (160, "complete")


def test_a_repeated_answer_of_one_who_moved_changes_nothing():
    query = begun()
    hear(query, 1, sender=at(2), epoch=2)

    assert not hear(query, 1, sender=at(2), epoch=2)
    assert (query.value, query.duplicates) == (101, 1)
    moved = [make_member(1, epoch=2, port=1002), make_member(2, epoch=2, port=1003)]
    query.follow(query.view.merged(moved))
    assert not hear(query, 1, sender=at(2), epoch=2)
    assert query.value == 101


def test_a_suspect_does_not_keep_its_address_from_others():
    query = begun(status=SUSPECT)

    assert query.hear(make_ghost(3), at(2), NOW)
    assert hear(query, 2)
    assert query.value == 104


@pytest.mark.parametrize("name", ["n2", "nobody"])
def test_what_was_said_elsewhere_is_not_kept_as_a_last_value(name):
    asker = Asker(LAN, make_member(0), Random(1))
    asker.take(1, Query(1, "k", 0, 0, 0, 2_000, UNTIL_ALL, 0, 0, False), 10.0, view_is_known=True)
    (due,) = asker.released(10.0, view_is_known=True)
    view = begun(4).view
    asker.begin(due, (100, False), view, 10.0, view_known_until=11.0, view_is_hopeless=False)
    told = make_reply(2, FORGED, epoch=2) if name == "n2" else make_ghost()

    asker.listener.hear(replace(told, query=due.id), ELSEWHERE, NOW)
    assert due.query.value == 100 + FORGED
    assert len(asker.listener.last_values) == 0

    asker.listener.hear(make_reply(1, query=due.id), at(1), NOW)
    assert len(asker.listener.last_values) == 1


@pytest.mark.parametrize("who", ["a member", "nobody"])
def test_what_is_withdrawn_takes_what_it_said_was_in_doubt_with_it(who):
    query = begun()
    query.offered = Doubted(5, 6, 7, ())
    if who == "nobody":
        query.hear(make_ghost(), at(1), NOW)
    else:
        hear(query, 2, FORGED, sender=at(1), epoch=2)
    query.offered = None
    assert list(query.uncertain.values()) == [(5, 6, 7)]

    hear(query, 1)

    assert query.uncertain == {}


def test_what_is_withdrawn_may_have_been_displaced_before():
    query = begun()
    hear(query, 2, FORGED, sender=at(1), epoch=2)
    another = replace(make_member(2), store=b"another one here", reign=1)

    query.follow(query.view.merged([another]))
    hear(query, 1)

    assert query.value == 101
    assert query.pending[position("n2")].member == another
