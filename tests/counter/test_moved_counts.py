"""Counts that went from a member to another one: each store once, and none left out."""

from dataclasses import replace
from math import inf
from random import Random

import pytest

from counter.asker import TORN, Asker
from counter.cells import Cell
from counter.config import LAN
from counter.many import ManyQuery
from counter.messages import (
    HELD,
    RING,
    UNTIL_ALL,
    Answer,
    Ask,
    Batch,
    Delegate,
    Query,
    Reply,
    ReplyMany,
    positions_in,
    prefixed,
)
from counter.query import AGAIN, AGED, COMPLETE, CONVERGED, DEADLINE, Heard, Hops, OwnQuery
from counter.rounds import AGAINS_MAX
from counter.tables import Table
from counter.wide import WideQuery
from tracker.members import AWAY, DEAD, GONE, SUSPECT, Member, View, position

ID = b"q" * 16
LINK = 5


def make_member(index, **changes):
    store = index.to_bytes(8, "big") * 2
    return replace(Member(f"n{index}", store, 0, 1, 0, "127.0.0.1", 1000 + index), **changes)


def make_view(count=4):
    return View().merged([make_member(index) for index in range(count)])


def left(index, heir="n2"):
    return make_member(index).handed_over(heir)


def make_reply(index, value=1, *held, query=ID):
    """Return what a member answers; `held` are (whose, value)."""
    member = make_member(index)
    others = tuple([(make_member(whose).store[:8], 1, amount) for whose, amount in held])
    return Reply(query, position(member.name), member.store[:8], 1, value, 1, 0, (), others)


class Origin:
    """A query of n0, whose share is 100."""

    def __init__(self, kind=OwnQuery, count=4, key="k", view=None, age_max=0):
        request = Query(1, key, 0, 0, age_max, 2_000, UNTIL_ALL, 0, 0, False)
        own, view = make_member(0), view or make_view(count)
        hops = Hops(0.010, 0.0025)
        where = (own.endpoint, position(own.name), view, 0.0, LAN, hops, Random(1))
        self.query = kind(ID, request, *where)
        self.asks = self.query.start(Heard(own.name, own.store[:8], 1, 100, 0, 0.0, False))

    def reply(self, index, value=1, *held):
        reply = make_reply(index, value, *held)
        is_first = self.query.hear(reply, make_member(index).endpoint, 0.02)
        if is_first:
            self.query.hold(reply.others, reply.age, 0.02)
        return is_first

    def follow(self, *news):
        self.query.follow(self.query.view.merged(news))

    def verdict(self, **standing):
        return self.query.verdict(0.02, **{"view_is_current": True, **standing})


# -- each store once ----------------------------------------------------------------------------


def test_what_a_member_holds_of_one_that_is_gone_is_in_the_total():
    origin = Origin(view=make_view(4).merged([left(3)]))
    origin.reply(1, 10)
    origin.reply(2, 20, (3, 7))

    assert (origin.query.value, origin.verdict()) == (137, COMPLETE)
    assert (len(origin.query.answers), origin.query.members) == (3, 3)
    assert [(h.name, h.value) for h in origin.query.heard()][-1] == ("n3", 7)


@pytest.mark.parametrize("first", ["the owner", "the holder"])
def test_a_share_that_two_tell_counts_once(first):
    origin = Origin()
    origin.reply(1, 10)
    if first == "the owner":
        origin.reply(3, 7)
    origin.reply(2, 20, (3, 7))
    if first == "the holder":
        assert origin.reply(3, 7)

    assert (origin.query.value, origin.verdict()) == (137, COMPLETE)
    assert (len(origin.query.answers), origin.query.members) == (4, 4)


def test_two_who_hold_the_same_count_it_once():
    origin = Origin(view=make_view(4).merged([left(3)]))
    origin.reply(1, 10, (3, 7))
    origin.reply(2, 20, (3, 7))

    assert (origin.query.value, origin.query.duplicates) == (137, 0)


@pytest.mark.parametrize("status", [SUSPECT, DEAD, AWAY])
def test_nobody_waits_for_a_member_that_does_not_live_and_whose_counts_are_told_by_another(status):
    origin = Origin(view=make_view().merged([make_member(3, status=status)]))
    origin.reply(1)
    origin.reply(2, 1, (3, 0))

    assert origin.query.pending == {}
    assert origin.verdict() == COMPLETE


def test_a_member_that_lives_speaks_for_itself_whatever_others_say_that_it_has():
    origin = Origin()
    origin.reply(1)
    origin.reply(2, 1, (3, 1_000_000))

    assert (origin.verdict(), origin.query.value, origin.query.answered) == (None, 102, 3)
    assert origin.reply(3, 7)
    assert (origin.verdict(), origin.query.value) == (COMPLETE, 109)


def silence(origin):
    """Let all who are waited for be asked until their silence is proof; returns why it ends."""
    query, why = origin.query, None
    while why is None:
        now = query.next_deadline()
        why = query.verdict(now, view_is_current=True)
        if why is None:
            for send in query.wave(now):
                index = send.to[1] - 1000
                if position(f"n{index}") not in query.pending:
                    query.hear(make_reply(index), send.to, now)
    assert now < query.deadline
    return why


@pytest.mark.parametrize(("told", "ends"), [([3], COMPLETE), ([], CONVERGED)])
def test_a_holder_is_believed_once_the_silence_of_the_owner_is_proof(told, ends):
    origin = Origin()
    origin.reply(1)
    origin.reply(2, 1, *[(index, 7) for index in told])

    assert silence(origin) == ends
    assert origin.query.value == 102 + 7 * len(told)


def test_before_silence_is_proof_the_deadline_ends_it_without_the_holders_word():
    origin = Origin()
    origin.reply(1)
    origin.reply(2, 1, (3, 7))

    assert origin.query.verdict(2.0, view_is_current=True) == DEADLINE
    assert origin.query.value == 102


@pytest.mark.parametrize("became", [make_member(3, status=DEAD), left(3)], ids=["dead", "gone"])
def test_a_holder_is_believed_once_the_owner_is_known_not_to_live(became):
    origin = Origin()
    origin.reply(1)
    origin.reply(2, 1, (3, 7))
    origin.follow(became)

    assert (origin.verdict(), origin.query.value) == (COMPLETE, 109)
    assert origin.query.answered == 4


def test_whoever_cuts_a_member_off_cannot_speak_for_it_too():
    origin = Origin(age_max=2)
    origin.query.hear(replace(make_reply(1), cut=(0, RING - 1)), make_member(1).endpoint, 0.02)
    origin.reply(2, 1, (3, 7))

    assert origin.verdict() == AGED
    assert origin.query.value == 102


def test_a_share_of_somebody_the_view_does_not_know_counts():
    origin = Origin()
    origin.reply(2, 20, (9, 5))

    assert origin.query.value == 125
    assert {heard.name for heard in origin.query.heard()} >= {f"?{make_member(9).store[:8].hex()}"}


def test_a_member_that_becomes_known_after_its_counts_is_not_asked():
    origin = Origin(count=3)
    origin.reply(2, 20, (9, 5))
    origin.follow(make_member(9))

    assert make_member(9).store[:8] in origin.query.answers
    assert position("n9") not in origin.query.pending


# -- none left out ------------------------------------------------------------------------------


def test_a_leaver_that_was_not_heard_is_waited_for():
    origin = Origin()
    origin.reply(1)
    origin.reply(2)
    origin.follow(left(3))

    assert origin.verdict(view_is_current=False) is None
    assert origin.verdict() == AGAIN
    assert origin.verdict(view_is_current=False, view_is_hopeless=True) == AGAIN
    assert origin.query.silent() == [(make_member(3), "handed its counts over meanwhile")]
    assert origin.query.members == 4


@pytest.mark.parametrize("who", ["itself", "its heir"])
def test_a_leaver_may_still_be_heard_by(who):
    origin = Origin()
    origin.reply(1)
    origin.follow(left(3))
    if who == "itself":
        assert origin.reply(3, 7)
        origin.reply(2)
    else:
        origin.reply(2, 1, (3, 7))

    assert (origin.verdict(), origin.query.value) == (COMPLETE, 109)


def test_a_leaver_that_was_heard_is_not_waited_for():
    origin = Origin()
    for index in (1, 2, 3):
        origin.reply(index)
    origin.follow(left(3))

    assert origin.verdict() == COMPLETE


@pytest.mark.parametrize("note", ["", "given up by an operator"], ids=["empty", "forgotten"])
def test_a_member_that_is_gone_for_another_reason_is_not_waited_for(note):
    origin = Origin()
    origin.reply(1)
    origin.reply(2)
    origin.follow(make_member(3).became(GONE, note))

    assert origin.verdict() == COMPLETE


def test_a_leaver_whose_tombstone_is_forgotten_is_waited_for():
    origin = Origin()
    origin.reply(1)
    origin.reply(2)
    origin.query.follow(make_view(3))

    assert origin.verdict() == AGAIN


def test_another_store_under_its_name_does_not_answer_for_it():
    origin = Origin()
    origin.reply(1)
    origin.reply(2)
    anew = make_member(3, store=b"anew" * 4, reign=1)
    origin.follow(make_member(3).became(GONE).without_name(), anew)

    reply = replace(make_reply(3, 7), store=anew.store[:8])
    assert origin.query.hear(reply, anew.endpoint, 0.03)
    assert origin.verdict() == AGAIN
    assert origin.reply(3, 5)
    assert (origin.verdict(), origin.query.value) == (COMPLETE, 114)


def test_an_arc_that_aging_cut_off_does_not_hide_a_leaver():
    origin = Origin(age_max=2)
    place = position("n3")
    low, high = place, place + 1
    origin.query.hear(replace(make_reply(1), cut=(low, high)), make_member(1).endpoint, 0.02)
    origin.reply(2)
    assert place in origin.query.cut
    origin.follow(left(3))

    assert origin.verdict() == AGAIN


def test_a_member_that_is_away_is_waited_for_under_its_own_name():
    origin = Origin()
    origin.follow(make_member(3).became(AWAY))

    assert origin.query.moved == {}
    assert position("n3") in origin.query.pending


# -- asked anew -----------------------------------------------------------------------------------


class Asking:
    """An asker at n0, in a cluster whose n3 leaves while it is asked."""

    def __init__(self):
        self.asker = Asker(LAN, make_member(0), Random(1))
        self.view = make_view()
        self.now = 0.0

    def standing(self):
        return {"view_known_until": inf, "view_is_hopeless": False}

    def ask(self):
        request = Query(1, "k", 0, 0, 0, 2_000, UNTIL_ALL, 0, 0, False)
        self.asker.take(LINK, request, self.now, view_is_known=True)
        return self.begin()

    def begin(self, held=()):
        effects = []
        for due in self.asker.released(self.now, view_is_known=True):
            effects += self.asker.begin(
                due, (100, False), self.view, self.now, held=held, **self.standing()
            )
        return effects

    def torn(self, effects):
        """Let everybody but n3 answer, and then n3 be gone; returns what follows."""
        query = next(e.message.query for e in effects if isinstance(e.message, Ask))
        for index in (1, 2):
            self.asker.listener.hear(
                make_reply(index, query=query), make_member(index).endpoint, self.now
            )
        self.asker.follow(make_view().merged([left(3)]))
        return query, self.asker.tick(self.now, 0.0, **self.standing())


def answers(effects):
    return [e.message for e in effects if isinstance(e.message, Answer)]


def test_a_torn_query_is_asked_anew_under_another_id():
    asking = Asking()
    first, effects = asking.torn(asking.ask())
    assert answers(effects) == []
    assert not asking.asker.listener.is_own(first)
    asking.view = make_view().merged([left(3)])

    asks = asking.begin(held=((make_member(3).store[:8], 1, 7),))
    query = next(e.message.query for e in asks if isinstance(e.message, Ask))
    for index in (1, 2):
        asking.asker.listener.hear(make_reply(index, query=query), make_member(index).endpoint, 0.0)
    [answer] = answers(asking.asker.conclude(query, 0.0, view_known_until=inf))

    assert query != first
    assert (answer.value, answer.reason, answer.request) == (109, COMPLETE, 1)


def test_a_query_that_is_torn_again_and_again_ends_and_says_so():
    asking = Asking()
    effects = asking.ask()
    for _ in range(AGAINS_MAX):
        _, ended = asking.torn(effects)
        assert answers(ended) == []
        effects = asking.begin()
    _, ended = asking.torn(effects)

    [answer] = answers(ended)
    assert (answer.reason, answer.why, answer.complete) == (CONVERGED, TORN, False)
    assert answer.value == 102


def test_the_last_known_value_of_a_holder_holds_what_it_holds():
    asking = Asking()
    query = next(e.message.query for e in asking.ask() if isinstance(e.message, Ask))
    asking.asker.listener.hear(make_reply(2, 20, (9, 5), query=query), make_member(2).endpoint, 0.0)

    assert asking.asker.listener.last_values.get(make_member(2).store[:8], "k").value == 25


# -- cells, and many keys -------------------------------------------------------------------------


def make_cell(view, holds=()):
    own = make_member(0)
    ask = Delegate(ID, 1, "k", ("127.0.0.1", 9), 3, 1, 1, 9, 2_000, 0, 0, RING, (), ())
    request = Query(0, "k", 3, 1, 0, 2_000, UNTIL_ALL, 0, 0, False)
    hops = Hops(0.010, 0.0025)
    where = (own.endpoint, position(own.name), view, 0.0, LAN, hops, Random(1))
    return Cell(ID, request, *where, ask=ask, origin=ask.home, cell=3, holds=holds)


def test_a_head_tells_what_its_members_hold_of_others():
    cell = make_cell(make_view(2), ((make_member(8).store[:8], 1, 8),))
    own = make_member(0)
    cell.start(Heard(own.name, own.store[:8], 1, 100, 0, 0.0, False))

    sends = cell.take(make_reply(1, 10, (9, 5)), make_member(1).endpoint, 0.02)

    [batch] = [send.message for send in sends if isinstance(send.message, Batch)]
    held = [row for row in batch.rows() if row[5] & HELD]
    assert [(row[1], row[3]) for row in held] == [
        (make_member(8).store[:8], 8),
        (make_member(9).store[:8], 5),
    ]


def test_a_head_calls_a_member_silent_that_somebody_else_speaks_for():
    cell, own = make_cell(make_view(3)), make_member(0)
    cell.start(Heard(own.name, own.store[:8], 1, 100, 0, 0.0, False))
    sends = cell.take(make_reply(1, 10, (2, 5)), make_member(1).endpoint, 0.02)

    while not cell.is_done:
        now = cell.next_due()
        more = cell.tick(now, 0.0)
        sends += more
        for send in [send for send in more if send.to == make_member(1).endpoint]:
            sends += cell.take(make_reply(1, 10), send.to, now + 0.001)

    told = [send.message for send in sends if isinstance(send.message, Batch)]
    batches = {batch.sequence: batch for batch in told}.values()
    rows = [row for batch in batches for row in batch.rows()]
    silent = [pos for batch in batches for pos in positions_in(batch.silent)]
    assert [(row[1], row[3]) for row in rows if row[5] & HELD] == [(make_member(2).store[:8], 5)]
    assert silent == [position("n2")]


def test_the_origin_of_a_wide_query_counts_what_heads_tell_once():
    origin = Origin(WideQuery)
    row = (position("n2"), make_member(9).store[:8], 1, 5, 2, HELD)
    own = (position("n3"), make_member(3).store[:8], 1, 7, 2, 0)

    assert [origin.query._count(row, 0.02) for _ in range(2)] == [True, False]
    origin.follow(left(3))
    assert origin.query._count(own, 0.02)
    assert (origin.query.value, origin.query.moved) == (112, {})


class Many(Origin):
    """A query for many keys."""

    def __init__(self, **wishes):
        super().__init__(ManyQuery, key=prefixed(""), **wishes)

    def own(self, *held):
        stores = tuple([make_member(whose).store[:8] for whose in held])
        self.query.listed(Table(100, False, (("k", 100),), 0, 0, stores), 0.0)

    def reply(self, index, value=1, *held):
        member = make_member(index)
        stores = b"".join([make_member(whose).store[:8] for whose in held])
        reply = ReplyMany(
            ID, position(member.name), member.store[:8], 1, value, 1, 0, (), 0,
            (("k", value),), 0, 0, stores,
        )  # fmt: skip
        return self.query.hear(reply, member.endpoint, 0.02)


def test_nobody_waits_for_a_member_that_does_not_live_and_whose_keys_another_one_tells():
    origin = Many(view=make_view().merged([make_member(3, status=DEAD)]))
    origin.own()
    origin.reply(1)
    origin.reply(2, 8, 3, 9)

    assert (origin.query.value, origin.verdict()) == (109, COMPLETE)
    origin.follow(make_member(3, incarnation=1, status=DEAD))
    assert origin.verdict() == COMPLETE
    assert not origin.reply(3, 7)
    assert (origin.query.value, origin.verdict()) == (109, COMPLETE)


def test_of_many_keys_a_member_that_lives_speaks_for_itself_and_all_are_asked_anew():
    origin = Many()
    origin.own()
    origin.reply(1)
    origin.reply(2, 8, 3)

    assert origin.verdict() is None
    origin.follow(make_member(3, incarnation=1))
    assert origin.verdict() is None
    assert not origin.reply(3, 7)
    assert origin.verdict() == AGAIN


@pytest.mark.parametrize("held", [[3], []])
def test_of_many_keys_a_holder_is_believed_once_the_owner_is_silent_for_good(held):
    origin = Many()
    origin.own()
    origin.reply(1)
    origin.reply(2, 8, *held)

    assert silence(origin) == (COMPLETE if held else CONVERGED)


def test_sums_that_overlap_are_asked_for_anew_and_never_added_up():
    origin = Many()
    origin.own()
    origin.reply(1)
    origin.reply(3, 7)

    assert not origin.reply(2, 8, 3)
    assert (origin.query.value, origin.verdict()) == (108, AGAIN)


def test_the_own_sum_may_overlap_as_well():
    origin = Many()
    origin.reply(3, 7)
    origin.own(3)

    assert (origin.query.value, origin.verdict()) == (7, AGAIN)


def test_a_leaver_of_many_keys_may_be_covered_after_it_is_gone():
    origin = Many()
    origin.own()
    origin.reply(1)
    origin.follow(left(3))
    origin.reply(2, 8, 3)

    assert (origin.query.value, origin.verdict()) == (109, COMPLETE)


def test_where_a_member_is_given_up_while_it_is_waited_for_parts_of_it_are_asked_for_anew():
    origin = Many()
    origin.own()
    origin.reply(1)
    origin.reply(2, 8)

    origin.follow(make_member(3).became(GONE))

    assert (origin.query.value, origin.verdict()) == (109, AGAIN)
