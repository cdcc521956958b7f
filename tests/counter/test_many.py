"""The origin of a query for many keys: each member once, a sum for each key, honest bounds."""

from dataclasses import replace
from random import Random

import pytest

from counter import many
from counter.config import LAN
from counter.doubtful import Doubted
from counter.lastknown import LastValues
from counter.many import LOOKING, ManyQuery, Sums
from counter.messages import (
    DECREASED,
    GOSSIP,
    KEYS_KEPT_MAX,
    KEYS_PER_PAGE,
    LEAF,
    UNTIL_ALL,
    UNTIL_SHARE,
    WORKING,
    AskMany,
    Query,
    Reply,
    ReplyMany,
    UncertainMany,
    named,
    prefixed,
)
from counter.parts import PARTS_FOLLOW
from counter.query import AGAIN, COMPLETE, CONVERGED, DEADLINE, SATISFIED, Heard, Hops
from counter.tables import Table
from counter.telling import NOT_KNOWN, answer_of
from tracker.members import GONE, Member, View, position


def make_member(index):
    return Member(f"n{index}", index.to_bytes(8, "big") * 2, 0, 1, 0, "127.0.0.1", 1000 + index)


class Origin:
    """A query of n0, whose own table is empty unless told otherwise."""

    def __init__(self, question=None, count=3, own=(), until=(UNTIL_ALL, 0), deadline_ms=1_000):
        member = make_member(0)
        question = prefixed("") if question is None else question
        request = Query(1, question, 0, 0, 0, deadline_ms, *until, 0, False)
        view = View().merged([make_member(i) for i in range(count)])
        hops = Hops(LAN.hop_s, LAN.hop_s / 4)
        parts = (request, member.endpoint, position("n0"), view, 0.0, LAN, hops, Random(1))
        self.query = ManyQuery(b"q" * 16, *parts)
        self.asks = self.query.start(Heard("n0", member.store[:8], 1, 0, 0, 0.0, False))
        if own is not None:
            self.list(*own)

    def list(self, *rows, left_out=0, rest=0, decreased=False, now=0.0):
        total = sum([value for _, value in rows])
        self.query.listed(Table(total, decreased, rows, left_out, rest), now)

    def reply(self, index, *rows, left_out=0, rest=0, flags=0, now=0.01):
        member = make_member(index)
        total = sum([value for _, value in rows]) + left_out * rest
        reply = ReplyMany(
            b"q" * 16, position(member.name), member.store[:8], 1, total, 1, flags, (), 0,
            rows, left_out, rest,
        )  # fmt: skip
        return self.query.hear(reply, member.endpoint, now)

    def verdict(self, now=0.01, **standing):
        return self.query.verdict(now, **{"view_is_current": True, **standing})

    def told(self, reason=COMPLETE):
        return [row for page in self.query.pages(1, reason) for row in page.rows]


def test_asks_with_the_question():
    origin = Origin(named("a", "b"), count=30)

    assert {(type(s.message), s.message.key) for s in origin.asks} == {(AskMany, named("a", "b"))}


def test_sums_each_key_over_the_members():
    origin = Origin(own=(("a", 1),))
    origin.reply(1, ("a", 10), ("b", 5))
    origin.reply(2, ("b", 20))

    assert origin.verdict() == COMPLETE
    assert origin.told() == [("b", 25, 25, 25), ("a", 11, 11, 11)]
    assert origin.query.value == 36


def test_counts_each_member_once():
    origin = Origin()
    assert origin.reply(1, ("a", 10))

    assert not origin.reply(1, ("a", 10))

    assert origin.told() == [("a", 10, 10, 10)]


def test_every_reply_is_counted_and_weighed_whatever_it_brings():
    origin = Origin(count=4)
    members = [make_member(index) for index in range(4)]
    plain = [
        ReplyMany(b"q" * 16, position(m.name), m.store[:8], 1, 5, 1, 0, (), 0, (("a", 5),), 0, 0)
        for m in members
    ]
    told = Doubted(1, 2, 3, (("a", 1, 2),), faded=((4, 5, 6, 7),))
    looking = replace(plain[1], value=0, rows=(), flags=WORKING)
    holder = replace(plain[1], holds=members[2].store[:8])
    for reply in (looking, holder, holder, plain[2]):
        origin.query.hear(reply, members[1].endpoint, 0.01)
    origin.query.offer(told, 0.02)
    origin.query.hear(plain[3], members[3].endpoint, 0.02)

    bodies = [GOSSIP.encode(reply) for reply in (looking, holder, holder, plain[2])]
    bodies.append(GOSSIP.encode(UncertainMany(GOSSIP.encode(plain[3]), *told)))
    assert origin.query.reply_bytes == sum([len(body) for body in bodies])
    assert origin.query.replies == len(bodies)


def test_a_named_key_that_nobody_holds_is_told_as_nothing():
    origin = Origin(named("a", "b"))
    origin.reply(1, ("a", 10))
    origin.reply(2)

    assert origin.told() == [("a", 10, 10, 10), ("b", 0, 0, 0)]


def test_a_key_that_was_not_asked_for_is_not_told():
    named_ones, prefix = Origin(named("a", "b")), Origin(prefixed("a"))
    for origin in (named_ones, prefix):
        origin.reply(1, ("z", 10), ("a", 1))

    assert [row[0] for row in named_ones.told()] == ["a", "b"]
    assert [row[0] for row in prefix.told()] == ["a"]


def test_a_key_that_a_member_did_not_list_has_at_most_its_rest_there():
    origin = Origin()
    origin.reply(1, ("a", 100), ("b", 50), left_out=3, rest=40)
    origin.reply(2, ("a", 7), left_out=1, rest=6)

    assert origin.told() == [("a", 107, 107, 107), ("b", 50, 50, 56)]
    (page,) = origin.query.pages(1, COMPLETE)
    assert (page.keys, page.left_out, page.unseen) == (2, 4, 46)


def test_where_a_key_decreased_the_truth_may_lie_below_too():
    origin = Origin()
    origin.reply(1, ("a", 100), left_out=3, rest=40, flags=DECREASED)
    origin.reply(2, ("b", -70))

    assert origin.told() == [("a", 100, 100, 100), ("b", -70, -110, -30)]
    assert origin.told(DEADLINE) == [("a", 100, None, None), ("b", -70, None, None)]


def test_while_members_are_silent_only_the_lower_bound_is_certain():
    origin = Origin()
    origin.reply(1, ("a", 100))

    assert origin.told(DEADLINE) == [("a", 100, 100, None)]


def test_many_keys_are_told_in_pages_and_none_in_one():
    origin = Origin()
    assert [page.rows for page in origin.query.pages(1, COMPLETE)] == [()]
    origin.reply(1, *[(f"k{i}", 1) for i in range(KEYS_PER_PAGE + 1)])

    assert [len(page.rows) for page in origin.query.pages(7, COMPLETE)] == [KEYS_PER_PAGE, 1]
    assert {page.request for page in origin.query.pages(7, COMPLETE)} == {7}


def test_is_not_complete_before_the_own_node_has_looked_through_its_keys():
    origin = Origin(own=None, count=2)
    origin.reply(1, ("a", 1))
    assert origin.verdict() is None
    assert (origin.query.members, len(origin.query.answers)) == (2, 1)
    assert origin.verdict(now=1.0) == DEADLINE

    origin.list(("a", 4), decreased=True, now=0.2)
    origin.list(("a", 4))

    assert origin.verdict() == COMPLETE
    assert (origin.query.value, origin.query.answers[make_member(0).store[:8]].at_s) == (5, 0.2)
    assert origin.told() == [("a", 5, 5, 5)]


def test_a_deadline_before_the_own_node_has_looked_names_it_and_whoever_looks_as_well():
    origin = Origin(own=None, count=4)
    origin.reply(1, ("a", 1))
    origin.reply(2, flags=WORKING)

    answer = answer_of(origin.query, LastValues(9), DEADLINE, 1.0, 1, "", "n0", 0.0)

    assert (answer.answered, answer.missing, answer.members) == (1, 3, 4)
    assert (answer.why, answer.filled_age_s) == ("", NOT_KNOWN)
    assert [(member.name, why) for member, why in origin.query.silent()] == [
        ("n0", LOOKING), ("n2", LOOKING), ("n3", "no answer"),
    ]  # fmt: skip


def test_without_the_own_share_the_asker_may_be_satisfied():
    origin = Origin(own=None, count=4, until=(UNTIL_SHARE, 500))
    origin.reply(1)
    assert origin.verdict() is None

    origin.reply(2)

    assert origin.verdict() == SATISFIED


def ended(origin, *, is_looking):
    """Repair as long as wanted; returns why and when it ends."""
    origin.reply(1, ("a", 1))
    now = 0.02
    while (why := origin.verdict(now)) is None:
        asks = origin.query.wave(now)
        assert all(send.message.flags & LEAF for send in asks)
        assert all(GOSSIP.decode(GOSSIP.encode(send.message)) for send in asks)
        if asks and is_looking:
            origin.reply(2, flags=WORKING, now=now)
        now = max(now + 0.001, origin.query.next_deadline())
    return why, now


def test_a_member_that_is_looking_is_not_given_up():
    assert ended(Origin(deadline_ms=9_000), is_looking=False)[0] == CONVERGED
    assert ended(Origin(deadline_ms=9_000), is_looking=True) == (DEADLINE, 9.0)


def test_a_long_search_says_nothing_of_the_network():
    origin = Origin()
    origin.reply(2, flags=WORKING, now=0.01)
    before = origin.query.hops.mean_s

    origin.reply(2, ("a", 5), now=0.7)

    assert origin.query.hops.mean_s == before
    assert origin.told()[0][:2] == ("a", 5)


def test_the_word_of_a_stranger_that_it_is_looking_is_nothing():
    origin = Origin()
    origin.reply(9, flags=WORKING)
    member = make_member(9)
    forged = ReplyMany(
        b"q" * 16, position("n1"), member.store[:8], 1, 0, 1, WORKING, (), 0, (), 0, 0
    )
    origin.query.hear(forged, member.endpoint, 0.01)

    assert origin.query.looking == {}


def test_a_stranger_who_says_that_he_holds_the_counts_of_others_takes_nobody_off_the_list():
    origin = Origin()
    stranger, holds = make_member(9), b"".join([make_member(i).store[:8] for i in (1, 2)])
    forged = ReplyMany(
        b"q" * 16, position("n1"), stranger.store[:8], 1, 0, 1, 0, (), 0, (), 0, 0, holds
    )

    assert not origin.query.hear(forged, stranger.endpoint, 0.01)
    assert len(origin.query.pending) == 2


def test_keys_that_were_told_from_elsewhere_are_asked_anew_when_he_was_belied():
    origin = Origin()
    member = make_member(2)
    forged = ReplyMany(
        b"q" * 16, position("n2"), member.store[:8], 2, 9, 1, 0, (), 0, (("a", 9),), 0, 0
    )

    assert origin.query.hear(forged, make_member(1).endpoint, 0.01)
    origin.reply(1, ("a", 1))

    assert origin.query.verdict(0.01, view_is_current=True) == "again"


def test_a_plain_reply_is_no_answer():
    origin, member = Origin(), make_member(1)
    reply = Reply(b"q" * 16, position("n1"), member.store[:8], 1, 5, 1, 0, (), ())

    assert not origin.query.hear(reply, member.endpoint, 0.01)
    assert (origin.query.value, origin.query.tally.strangers) == (0, 1)


# -- what the origin keeps --------------------------------------------------------------------


@pytest.fixture
def room_for_two(monkeypatch):
    monkeypatch.setattr(many, "KEYS_KEPT_MAX", 2)


def add(sums, *rows, left_out=0, rest=0, decreased=False):
    sums.add(rows, left_out, rest, decreased=decreased)


def test_the_smaller_half_is_dropped_and_bounds_what_comes_back(room_for_two):
    sums = Sums()
    add(sums, ("a", 10), ("b", 9), ("c", 4), ("d", -5))
    assert sorted(sums.by_key) == ["a", "b"]
    add(sums, ("c", 1))

    assert sums.bounds("a") == (10, 10)
    assert sums.bounds("c") == (1 - 5, 1 + 4)
    assert (sums.unseen, sums.left_out) == (5, 2)


def test_what_is_told_is_no_more_than_what_is_kept(room_for_two):
    sums = Sums()
    add(sums, ("a", 10), ("b", 9), ("c", 4))

    assert sums.largest() == [("a", 10), ("b", 9)]
    assert sums.largest() == [("a", 10), ("b", 9)]
    assert (sums.unseen, sums.left_out) == (4, 1)


def test_keys_that_are_only_in_doubt_find_no_more_room_than_others(room_for_two):
    sums = Sums()
    add(sums, ("a", 10))

    sums.doubt(Doubted(0, 9, 3, ()), [("b", 0, 9), ("c", 0, 2), ("d", 0, 1)])

    assert len(sums.by_key) == 2
    assert (sums.bounds("a"), sums.bounds("b")) == ((10, 10), (0, 9))
    assert (sums.unseen, sums.left_out) == (2, 2)


def test_doubts_about_many_keys_are_kept_of_no_more_members_than_can_answer(monkeypatch):
    monkeypatch.setattr(many, "UNLISTED_MAX", -2)
    origin = Origin()

    for pos in (1, 2, 3):
        origin.query.doubt(pos, Doubted(1, 2, 3, ()))

    assert list(origin.query.told) == [1]


def test_who_is_not_listed_and_in_the_answer_of_another_one_is_not_counted_again():
    origin = Origin(count=2)
    holder, leaver = make_member(1), make_member(9)
    rest = (1, 0, 1, 0, (), 0, (("a", 12),), 0, 0)
    held = ReplyMany(b"q" * 16, position("n1"), holder.store[:8], *rest, leaver.store[:8])
    again = ReplyMany(b"q" * 16, position("n9"), leaver.store[:8], *rest)

    assert origin.query.hear(replace(held, value=12), holder.endpoint, 0.01)
    assert not origin.query.hear(replace(again, value=5), leaver.endpoint, 0.01)

    assert origin.verdict() == COMPLETE
    assert (origin.query.value, origin.query.duplicates) == (12, 1)


def test_the_limit_is_one_that_a_client_can_read_in_a_second():
    assert KEYS_KEPT_MAX // KEYS_PER_PAGE == 32


# -- parts that are left aside ----------------------------------------------------------------


def aside(*, at_home=False):
    """Return a query of three, of whom n1 (or n0, the origin) holds a part of n2's share."""
    origin, owner = Origin(own=None if at_home else ()), make_member(2)
    if at_home:
        origin.query.listed(Table(0, False, (), 0, 0, (), (owner.store[:8],)), 0.0)
        origin.reply(1)
    else:
        holder = make_member(1)
        told = b"q" * 16, position("n1"), holder.store[:8], 1, 0, 1, 0, (), 0, (), 0, 0, b""
        origin.query.hear(ReplyMany(*told, (owner.store[:8],)), holder.endpoint, 0.01)
    return origin, owner


@pytest.mark.parametrize("at_home", [False, True], ids=["by a member", "by the origin"])
def test_a_part_that_is_left_to_its_store_ends_nothing_as_long_as_that_answers(at_home):
    origin, _ = aside(at_home=at_home)

    origin.reply(2, ("a", 5))

    assert origin.verdict() == COMPLETE


@pytest.mark.parametrize("at_home", [False, True], ids=["by a member", "by the origin"])
def test_where_its_store_is_given_up_all_are_asked_anew_whoever_hears_of_that_first(at_home):
    origin, owner = aside(at_home=at_home)
    origin.reply(2, ("a", 5))

    origin.query.follow(View().merged([*map(make_member, range(2)), owner.became(GONE)]))

    assert origin.verdict() == AGAIN


def test_where_its_store_has_begun_another_life_all_are_asked_anew():
    origin, owner = aside()
    origin.reply(2, ("a", 5))

    again = replace(owner, epoch=2)
    origin.query.follow(View().merged([*map(make_member, range(2)), again]))

    assert origin.verdict() == AGAIN


def test_a_start_of_its_store_that_no_list_has_yet_ends_no_query():
    origin, owner = aside()
    later = b"q" * 16, position("n2"), owner.store[:8], 2, 0, 1, 0, (), 0, (), 0, 0

    origin.query.hear(ReplyMany(*later), owner.endpoint, 0.01)

    assert origin.verdict() is None


@pytest.mark.parametrize("at_home", [True, False], ids=["at home", "elsewhere"])
@pytest.mark.parametrize("is_unheld", [False, True], ids=["it has all", "nobody knows"])
def test_the_word_of_a_store_that_may_hold_less_than_was_left_aside_has_all_asked_anew(
    at_home, is_unheld
):
    origin, _ = aside(at_home=at_home)
    origin.query.is_unheld = is_unheld
    assert origin.verdict() is None

    origin.reply(2, ("a", 7))

    assert origin.verdict() == (AGAIN if is_unheld else COMPLETE)


# -- parts that are counted -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "verdict"), [(2, COMPLETE), (3, AGAIN)], ids=["nobody knows its store", "it is there"]
)
def test_a_part_is_in_an_answer_only_where_its_store_is_not_expected_to_speak(count, verdict):
    origin, store = Origin(count=count, own=None), make_member(2).store[:8]
    origin.query.listed(Table(5, False, (("a", 5),), 0, 0, (PARTS_FOLLOW, store)), 0.0)

    origin.reply(1, ("a", 7))

    assert origin.verdict() == verdict
