"""A wide query at its origin: arcs given away, wards watched, orphans asked, each counted once."""

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest

from counter.config import LAN
from counter.delegation import GENERATIONS_MAX, Arc
from counter.messages import (
    COLLECTS,
    DECREASED,
    DONE,
    DOUBT,
    HELD,
    OUTDONE,
    REFUSED,
    RING,
    UNHELD,
    UNTIL_ALL,
    Ack,
    Ask,
    Back,
    Batch,
    Delegate,
    Query,
    Reply,
    packed_positions,
    packed_rows,
)
from counter.parts import part_epoch
from counter.query import CONVERGED, Heard, Hops
from counter.wards import Ward, Wards
from counter.wide import PROBES_MAX, WideQuery, is_wide
from tracker.members import GONE, Member, View, position

HOME = ("127.0.0.1", 1000)
CONFIG = replace(LAN, cell_members_max=32, direct_max=8)
COUNT = 200


def make_member(number, epoch=1):
    store = number.to_bytes(16, "little")
    return Member(f"n{number}", store, 0, epoch, 0, "127.0.0.1", 1000 + number)


MEMBERS = [make_member(number) for number in range(COUNT)]
VIEW = View({member.name: member for member in MEMBERS})
BY_POSITION = {position(member.name): member for member in MEMBERS}


class Origin:
    """A wide query, its cells by share, and what it sends."""

    def __init__(self, config=CONFIG, view=VIEW, chatter=4, age_max=0):
        own = MEMBERS[0]
        request = Query(1, "k", chatter, 0, age_max, 20_000, UNTIL_ALL, 0, 0, False)
        parts = (request, HOME, position("n0"), view, 0.0, config, Hops(0.01, 0.0025), Random(1))
        self.query = WideQuery(b"q" * 16, *parts)
        self.sends = self.query.start(Heard("n0", own.store[:8], 1, 1, 0, 0.0, False))
        self.delegates = [s.message for s in self.sends if isinstance(s.message, Delegate)]

    def head(self, delegate):
        return BY_POSITION[delegate.skip[-1]].endpoint

    def inside(self, delegate):
        """Return the members of an arc, its head among them, without the origin."""
        begin, end = VIEW.span(delegate.low, delegate.high)
        return [m for m in VIEW.ring[begin:end] if m.name != "n0"]

    def ack(self, delegate, flags=COLLECTS, now=0.02, sender=None, **changes):
        cell = 9 if flags & COLLECTS else 0
        skip = delegate.skip[:-1]
        message = Ack(b"q" * 16, delegate.share, cell, flags, delegate.low, delegate.high, skip)
        sender = sender or self.head(delegate)
        return self.query.acknowledged(replace(message, **changes), sender, now)

    def batch(self, delegate, members=(), now=0.05, sender=None, **changes):
        return self.query.batched(
            batch_of(delegate, members, **changes), sender or self.head(delegate), now
        )

    def all_but(self, *kept):
        """Let every cell but those tell everything."""
        for delegate in self.delegates:
            if delegate not in kept:
                self.ack(delegate)
                self.tell(delegate, self.inside(delegate), asks=LAN.waves_min)

    def tell(self, delegate, members, now=0.05, first=0, **changes):
        """Let a head tell these members in batches, and that it has done."""
        pages = [members[i : i + 40] for i in range(0, len(members), 40)] or [[]]
        for number, page in enumerate(pages, first):
            flags = DONE if number == first + len(pages) - 1 else 0
            self.batch(delegate, page, now, sequence=number, flags=flags, **changes)


def row_of(member, value=1, **changes):
    row = {"epoch": member.epoch, "value": value, "age": 2, "flags": 0} | changes
    return (position(member.name), member.store[:8], *row.values())


def batch_of(delegate, members=(), **changes):
    batch = Batch(
        b"q" * 16,
        delegate.share,
        9,
        0,
        0,
        delegate.low,
        delegate.high,
        10,
        30,
        0,
        0,
        *packed_rows([row_of(member) for member in members]),
        b"",
        b"",
    )
    return replace(batch, **changes)


def reply_of(member, value=1):
    return Reply(b"q" * 16, position(member.name), member.store[:8], 1, value, 1, 0, (), ())


def verdict(query, now=1.0):
    return query.verdict(now, view_is_current=True)


def test_what_a_cell_could_not_tell_of_others_lists_is_asked_for_anew():
    origin = Origin()
    delegate = origin.delegates[0]
    origin.ack(delegate)
    origin.batch(delegate, origin.inside(delegate), flags=OUTDONE | DONE)
    origin.all_but(delegate)

    assert origin.query.pending == {}
    assert verdict(origin.query) == "again"


# -- which queries are wide -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chatter", "visits", "members_max", "expected"),
    [(0, 0, 199, True), (0, 0, 200, False), (1, 1, 32, False), (1, 0, 32, True), (0, 1, 32, True)],
)
def test_a_query_is_wide_above_the_size_of_a_cell_unless_it_is_a_chain(
    chatter, visits, members_max, expected
):
    request = Query(1, "k", chatter, visits, 0, 0, UNTIL_ALL, 0, 0, False)

    assert is_wide(VIEW, request, replace(LAN, cell_members_max=members_max)) is expected


# -- answers ----------------------------------------------------------------------------------


def test_the_ring_is_given_away_and_all_heads_tell_everything():
    origin = Origin()
    assert len(origin.delegates) == 4

    origin.all_but()

    assert verdict(origin.query) == "complete"
    assert origin.query.value == COUNT
    assert origin.query.hops_seen == 2


def test_each_batch_is_confirmed_every_time_it_comes_and_counted_once():
    origin = Origin()
    delegate = origin.delegates[0]
    members = origin.inside(delegate)[:5]

    first, fresh = origin.batch(delegate, members)
    second, stale = origin.batch(delegate, members)

    assert [type(send.message) for send in first + second] == [Back, Back]
    assert (len(fresh), len(stale)) == (5, 0)
    assert origin.query.value == 6


def test_an_answer_that_comes_in_two_ways_is_counted_once():
    origin = Origin()
    one, other = origin.delegates[:2]
    member = origin.inside(one)[3]

    origin.batch(one, [member])
    origin.batch(other, [member])
    assert not origin.query.hear(reply_of(member), member.endpoint, 0.06)

    assert origin.query.value == 2
    assert origin.query.duplicates == 2


def test_a_row_under_another_store_than_the_member_s_is_not_counted():
    origin = Origin()
    delegate = origin.delegates[0]
    liar = replace(origin.inside(delegate)[0], store=b"x" * 16)

    origin.batch(delegate, [liar])

    assert origin.query.value == 1
    assert origin.query.tally.strangers == 1


def test_a_member_that_only_the_head_knows_is_counted_once():
    origin = Origin()
    joiner = make_member(5_000)

    origin.batch(origin.delegates[0], [joiner])
    origin.batch(origin.delegates[1], [joiner])

    assert origin.query.value == 2
    assert origin.query.tally.unlisted == 1


def test_a_key_that_was_decreased_is_told_by_the_row():
    origin = Origin()
    member = origin.inside(origin.delegates[0])[0]
    rows = packed_rows([row_of(member, value=0, flags=DECREASED)])

    origin.batch(origin.delegates[0], identities=rows[0], numbers=rows[1])

    assert origin.query.answers[member.store[:8]].has_decreased
    assert origin.query.changed_at == 0.0


@pytest.mark.parametrize(("flags", "why"), [(0, "complete"), (UNHELD, "again")])
def test_a_store_that_may_hold_less_than_a_part_that_a_cell_tells_has_all_asked_anew(flags, why):
    origin = Origin()
    delegate = origin.delegates[0]
    holder, store, *others = origin.inside(delegate)
    part = (position(holder.name), store.store[:8], part_epoch(3), 9, 2, HELD)
    rows = packed_rows([row_of(holder, flags=flags), part, row_of(store)])
    origin.ack(delegate)

    origin.batch(delegate, identities=rows[0], numbers=rows[1])
    origin.tell(delegate, others, first=1, asks=LAN.waves_min)
    origin.all_but(delegate)

    assert verdict(origin.query) == why


@pytest.mark.parametrize("what", ["ack", "batch"])
def test_who_is_not_the_head_of_a_share_is_not_believed(what):
    origin = Origin()
    delegate = origin.delegates[0]
    if what == "ack":
        sends = origin.ack(delegate, sender=("10.9.9.9", 9))
    else:
        sends, _ = origin.batch(delegate, origin.inside(delegate)[:3], sender=("10.9.9.9", 9))

    assert sends == []
    assert origin.query.value == 1
    assert origin.query.tally.strangers == 1
    assert delegate.share in origin.query.delegation.charges


def test_without_a_limit_of_the_asker_whoever_a_head_calls_cut_off_is_asked_by_the_origin():
    origin = Origin()
    delegate = origin.delegates[0]
    one, *rest = origin.inside(delegate)
    origin.all_but(delegate)
    origin.tell(delegate, rest, cut=packed_positions([position(one.name)]))

    assert verdict(origin.query) is None
    assert one.endpoint in [send.to for send in origin.query.wave(origin.query.next_wave)]


def test_positions_cut_off_by_age_are_reported_and_an_answer_of_theirs_still_counts():
    origin = Origin(age_max=9)
    delegate = origin.delegates[0]
    one, two, *rest = origin.inside(delegate)
    cut = packed_positions([position(m.name) for m in (one, two)])
    origin.all_but(delegate)
    origin.tell(delegate, rest, cut=cut)
    assert verdict(origin.query) == "aged"

    origin.batch(delegate, [one], sequence=7)

    assert [m.name for m, _ in origin.query.silent()] == [two.name]


def test_the_direct_answer_of_a_head_above_the_cells_measures_no_hop():
    origin = Origin()
    member = origin.inside(origin.delegates[0])[0]
    hops = origin.query.hops

    assert origin.query.hear(reply_of(member), member.endpoint, 0.9)

    assert origin.query.hops is hops
    assert hops.weight == 0


def test_an_acknowledgement_measures_the_hop_unless_it_was_asked_for_twice():
    origin = Origin()
    origin.ack(origin.delegates[0], now=0.03)
    assert origin.query.hops.mean_s == pytest.approx(0.015)
    assert origin.query.hops.weight == 1

    origin.query.wave(0.05)
    origin.ack(origin.delegates[1], now=0.06)
    assert origin.query.hops.weight == 1


# -- arcs -------------------------------------------------------------------------------------


def test_who_is_skipped_by_a_cell_is_asked_by_the_origin_if_no_answer_comes():
    origin = Origin()
    skipped = origin.inside(origin.delegates[0])[1]

    origin.ack(origin.delegates[0], skip=(position(skipped.name), 12345))
    sends = origin.query.wave(origin.query.wave_at)

    assert skipped.endpoint in [send.to for send in sends if isinstance(send.message, Ask)]


def test_members_that_the_head_did_not_know_are_asked_by_the_origin():
    origin = Origin()
    delegate = origin.delegates[0]
    origin.all_but(delegate)
    origin.ack(delegate)
    unknown, *known = origin.inside(delegate)
    origin.tell(delegate, known)

    (send,) = origin.query.wave(0.06)

    assert send.to == unknown.endpoint
    assert isinstance(send.message, Ask)


def test_the_silence_that_a_head_has_proven_ends_the_query():
    origin = Origin()
    delegate = origin.delegates[0]
    silent, *rest = origin.inside(delegate)
    origin.all_but(delegate)
    origin.tell(delegate, rest, silent=packed_positions([position(silent.name), 77]))

    assert verdict(origin.query) == CONVERGED
    assert [(m.name, why) for m, why in origin.query.silent()] == [(silent.name, "no answer")]
    assert origin.query.wave(1.0) == []


def test_the_word_of_a_head_that_asked_too_seldom_is_finished_by_the_origin():
    origin = Origin()
    delegate = origin.delegates[0]
    silent, *rest = origin.inside(delegate)
    origin.all_but(delegate)
    named = packed_positions([position(silent.name)])
    origin.tell(delegate, rest, silent=named, asks=2)
    assert verdict(origin.query) is None
    wanted = origin.query.asks_wanted()

    asks, now = [], 0.06
    while verdict(origin.query, now) is None:
        now = max(now, origin.query.next_deadline())
        asks += origin.query.wave(now)

    assert len(asks) == wanted - 2
    assert verdict(origin.query, now) == CONVERGED
    assert origin.query.hear(reply_of(silent), silent.endpoint, now)


def test_the_evidence_of_all_cells_decides_how_many_asks_are_wanted():
    origin = Origin()
    before = origin.query.asks_wanted()

    (back,), _ = origin.batch(origin.delegates[0], again=400, before=1_000)

    assert origin.query.asks_wanted() > before
    assert back.message.asks == origin.query.asks_wanted()


def test_a_head_that_falls_silent_is_asked_and_then_its_arc_is_given_away_anew():
    origin = Origin()
    delegate = origin.delegates[0]
    origin.all_but(delegate)
    origin.ack(delegate)

    probes, now = [], 0.1
    while not origin.query.delegation.charges:
        now = max(now, origin.query.next_wave)
        sends = origin.query.wave(now)
        probes += [s for s in sends if getattr(s.message, "share", 0) == delegate.share]

    assert len(probes) == PROBES_MAX
    assert {probe.to for probe in probes} == {origin.head(delegate)}
    parts = [c.arc for c in origin.query.delegation.charges.values()]
    assert {part.generation for part in parts} == {1}
    assert (min(p.low for p in parts), max(p.high for p in parts)) == (delegate.low, delegate.high)


def test_a_late_batch_of_a_lost_head_still_counts_and_still_only_once():
    origin = Origin()
    delegate = origin.delegates[0]
    origin.all_but(delegate)
    origin.ack(delegate)
    ward = origin.query.wards[delegate.share]
    anew = origin.query._lose(ward, 1.0)
    part = next(send.message for send in anew if isinstance(send.message, Delegate))

    members = origin.inside(delegate)
    origin.tell(delegate, members)
    origin.tell(part, [m for m in members if part.low <= position(m.name) < part.high])

    assert verdict(origin.query) == "complete"
    assert origin.query.value == COUNT


def test_what_little_is_left_of_a_lost_arc_is_asked_member_by_member():
    origin = Origin()
    delegate = origin.delegates[0]
    origin.all_but(delegate)
    origin.ack(delegate)
    members = origin.inside(delegate)
    origin.batch(delegate, members[:-3])

    origin.ack(delegate, REFUSED)
    sends = origin.query.wave(origin.query.next_wave)

    assert [send.to for send in sends] == [m.endpoint for m in members[-3:]]


def test_a_lost_arc_that_was_given_away_too_often_is_asked_member_by_member():
    origin = Origin()
    delegate = origin.delegates[0]
    origin.ack(delegate)
    ward = origin.query.wards[delegate.share]
    ward.arc = replace(ward.arc, generation=GENERATIONS_MAX)

    assert origin.query._lose(ward, 1.0) == []
    assert len(origin.query.orphans) == len(origin.inside(delegate))


def test_a_refusal_of_a_charge_is_followed_by_another_head():
    origin = Origin()

    (send,) = origin.ack(origin.delegates[0], REFUSED)

    assert isinstance(send.message, Delegate)
    assert (send.message.low, send.message.high) == (
        origin.delegates[0].low,
        origin.delegates[0].high,
    )


def test_a_refusal_of_what_was_lost_already_changes_nothing():
    origin = Origin()
    delegate = origin.delegates[0]
    origin.ack(delegate)
    origin.ack(delegate, REFUSED)

    assert origin.ack(delegate, REFUSED) == []


def test_another_life_of_a_head_begins_its_batches_anew():
    origin = Origin()
    delegate = origin.delegates[0]
    origin.all_but(delegate)
    members = origin.inside(delegate)
    origin.batch(delegate, members[:3], sequence=0)
    origin.batch(delegate, members[:3], sequence=0, cell=10)
    origin.batch(delegate, members[3:20], sequence=1, cell=10)
    assert verdict(origin.query) is None

    origin.batch(delegate, members[20:], sequence=2, cell=10, flags=DONE)

    assert verdict(origin.query) == "complete"
    assert origin.query.value == COUNT


def test_what_was_passed_on_is_closed_when_heads_below_have_told_everything():
    origin = Origin()
    delegate = origin.delegates[0]
    origin.all_but(delegate)
    origin.ack(delegate, 0)
    ward = origin.query.wards[delegate.share]
    members = origin.inside(delegate)
    middle = position(members[20].name)

    below = [replace(delegate, share=901, high=middle), replace(delegate, share=902, low=middle)]
    origin.tell(below[0], members[1:20])
    assert ward.is_open
    origin.tell(below[1], members[20:])

    assert not ward.is_open
    assert list(origin.query.orphans) == [position(members[0].name)]


def test_what_was_passed_on_and_never_told_is_given_away_anew():
    origin = Origin()
    delegate = origin.delegates[0]
    origin.all_but(delegate)
    origin.ack(delegate, 0)
    members = origin.inside(delegate)
    middle = position(members[10].name)
    origin.tell(replace(delegate, share=901, high=middle), members[:10])

    sends = origin.query.wave(origin.query.wards[delegate.share].due)

    messages = [s.message for s in sends if isinstance(s.message, Delegate)]
    assert min(m.low for m in messages) == middle
    assert max(m.high for m in messages) == delegate.high


def test_a_head_of_a_part_proves_that_the_head_of_the_whole_is_there():
    origin = Origin()
    delegate, other = origin.delegates[:2]
    middle = position(origin.inside(delegate)[10].name)
    part = replace(delegate, share=901, high=middle)

    origin.ack(part, sender=("127.0.0.1", 1_111))

    assert delegate.share not in origin.query.delegation.charges
    assert not origin.query.wards[delegate.share].is_collected
    assert other.share in origin.query.delegation.charges


def test_past_too_many_arcs_rows_are_counted_and_the_rest_is_asked_by_the_origin():
    origin = Origin(replace(CONFIG, arcs_max=4))
    origin.all_but()
    extra = replace(origin.delegates[0], share=901)

    sends, fresh = origin.batch(extra, [make_member(7_000)], sender=("127.0.0.1", 1_111))

    assert [type(send.message) for send in sends] == [Back]
    assert len(fresh) == 1
    assert 901 not in origin.query.wards


def test_whoever_falls_through_the_arcs_is_asked_by_the_origin_in_the_end():
    origin = Origin(replace(CONFIG, arcs_max=4))
    delegate, unnoted = origin.delegates[:2]
    ends = [position(m.name) for m in origin.inside(delegate)[:8]]
    for share, (low, high) in enumerate(pairwise(ends[:4]), 901):
        part = replace(delegate, share=share, low=low, high=high)
        origin.ack(part, sender=("127.0.0.1", 1_111))
    origin.ack(unnoted)
    assert unnoted.share not in origin.query.wards

    now = 0.03
    while verdict(origin.query, now) is None:
        now = max(now, origin.query.next_deadline())
        origin.query.wave(now)

    assert verdict(origin.query, now) == CONVERGED
    assert len(origin.query.pending) == COUNT - 1
    wanted = origin.query.asks_wanted()
    assert all(pending.asks >= wanted for pending in origin.query.pending.values())


def test_an_arc_handed_back_is_asked_member_by_member():
    origin = Origin(replace(CONFIG, arcs_max=1))

    assert len(origin.query.delegation.charges) == 1
    assert len(origin.query.orphans) == COUNT - 1 - len(origin.inside(origin.delegates[0]))


def test_members_asked_one_by_one_get_time_to_answer_before_they_are_asked_again():
    view = View({m.name: m for m in MEMBERS[:5]})
    origin = Origin(replace(CONFIG, cell_members_max=2), view=view)

    assert [type(send.message) for send in origin.sends] == [Ask] * 4
    assert origin.query.wave(0.01) == []
    assert len(origin.query.wave(origin.query.next_wave)) == 4


def test_orphans_are_asked_no_more_than_so_many_in_one_pause():
    origin = Origin(replace(CONFIG, arcs_max=1, repair_asks_max=10))
    origin.ack(origin.delegates[0])
    now = origin.query.next_wave
    first = origin.query.wave(now)
    again = origin.query.wave(now)
    later = origin.query.wave(origin.query.next_wave)

    assert [len(first), len(again), len(later)] == [10, 0, 10]
    assert not {send.to for send in first} & {send.to for send in later}


def test_an_orphan_at_whose_port_nobody_listens_is_not_asked_again():
    origin = Origin(replace(CONFIG, arcs_max=1))
    origin.all_but()
    sends = origin.query.wave(origin.query.next_wave)
    for send in sends:
        origin.query.undelivered(send.message, send.to)

    assert origin.query.wave(origin.query.next_wave) == []
    assert verdict(origin.query) == CONVERGED


# -- members that come and go -----------------------------------------------------------------


def test_a_joiner_is_asked_by_the_origin_and_a_leaver_is_not_waited_for():
    origin = Origin()
    origin.all_but(origin.delegates[0])
    origin.ack(origin.delegates[0])
    leaver = origin.inside(origin.delegates[0])[0]
    joiner = make_member(5_001)

    origin.query.follow(VIEW.merged([joiner, leaver.became(GONE)]))
    (send,) = origin.query.wave(0.06)

    assert send.to == joiner.endpoint
    assert position(leaver.name) not in origin.query.pending


def test_a_silent_member_that_comes_back_is_asked_again():
    origin = Origin()
    delegate = origin.delegates[0]
    silent, other, *rest = origin.inside(delegate)
    origin.all_but(delegate)
    named = packed_positions([position(m.name) for m in (silent, other)])
    origin.tell(delegate, rest, silent=named)

    origin.query.follow(VIEW.merged([replace(silent, epoch=2, port=9)]))
    sends = origin.query.wave(1.0)

    assert [send.to for send in sends] == [("127.0.0.1", 9)]


# -- time -------------------------------------------------------------------------------------


def test_an_origin_whose_own_loop_lags_blames_nobody_yet():
    origin = Origin(replace(CONFIG, arcs_max=1))
    late = origin.query.next_wave + 5.0

    origin.ack(origin.delegates[0])
    origin.query.excuse(late, lag_s=0.001)
    assert origin.query.next_wave < late
    origin.query.excuse(late, lag_s=5.0)

    assert origin.query.wave(late) == []
    origin.query.excuse(late, lag_s=5.0)
    assert origin.query.wave(late + 1.0) != []


def test_what_the_heads_have_spent_is_part_of_the_cost():
    origin = Origin()
    before = origin.query.messages

    origin.batch(origin.delegates[0], messages=70)

    assert origin.query.messages == before + 70 + 2


def test_the_whole_ring_can_be_one_arc():
    origin = Origin(chatter=1)

    assert (origin.delegates[0].low, origin.delegates[-1].high) == (0, RING)


def test_where_more_than_a_few_heads_asked_more_often_the_origin_wants_as_many_asks():
    origin = Origin()
    told, *others = origin.delegates
    before = origin.query.asks_wanted()

    for delegate in others:
        origin.ack(delegate)
        origin.tell(delegate, origin.inside(delegate)[:-1], asks=LAN.waves_min)
    few = origin.query.asks_wanted()
    for delegate in others:
        origin.query.wards[delegate.share].asks = before + 9
    origin.ack(told)
    origin.tell(told, origin.inside(told), asks=LAN.waves_min)

    assert few == before
    assert origin.query.asks_wanted() == before + 9


@pytest.mark.parametrize(
    ("asks", "enough"),
    [([], 0), ([5], 5), ([5, 17], 17), ([5] * 8 + [17, 17], 5), ([5] * 7 + [17] * 3, 17)],
    ids=str,
)
def test_three_quarters_of_the_ended_cells_asked_no_more_often_than_is_enough(asks, enough):
    arc = Arc(0, 1, ())
    wards = [Ward(n, arc, ("127.0.0.1", 1), 0.0, True, asks=k) for n, k in enumerate([0, *asks])]

    assert Wards({ward.share: ward for ward in wards}).asks_of_ended() == enough


def test_whoever_was_spoken_for_by_a_liar_is_asked_by_the_origin_itself():
    origin = Origin()
    liar, other = MEMBERS[7], MEMBERS[8]
    forged = Reply(b"q" * 16, position("n8"), other.store[:8], 2, 99, 1, 0, (), ())
    own = Reply(b"q" * 16, position("n7"), liar.store[:8], 1, 1, 1, 0, (), ())

    assert origin.query.hear(forged, liar.endpoint, 0.02)
    assert origin.query.hear(own, liar.endpoint, 0.03)

    assert origin.query.value == 2
    assert other.endpoint in [send.to for send in origin.query.wave(0.04)]


def test_an_orphan_is_asked_on_when_a_late_cell_proves_that_more_asks_are_wanted():
    origin = Origin()
    query, (late, first, *_) = origin.query, origin.delegates
    origin.all_but(late, first)
    silent, *others = origin.inside(first)[1:]
    origin.ack(first)
    named = packed_positions([position(silent.name)])
    origin.tell(first, [origin.inside(first)[0], *others], silent=named, asks=0)
    origin.ack(late)
    waiting, now = query.pending[position(silent.name)], 0.05
    while (due := min([query.wave_at, 9.0])) < 9.0:
        now = max(now, due) + 1e-6
        query.wards[late.share].due = now + 1.0
        query.wave(now)
    enough, wanted = waiting.asks, query.asks_wanted()
    assert enough >= wanted

    origin.tell(late, origin.inside(late), now=now, again=40, before=60)

    assert query.asks_wanted() > wanted
    while verdict(query, now) is None and query.next_wave < query.deadline:
        now = max(now, query.next_wave) + 1e-6
        query.wave(now)
    assert waiting.asks == query.asks_wanted() > enough
    assert verdict(query, now) == CONVERGED


@pytest.mark.parametrize(
    ("now", "uncertain"), [(0.003, (2, 5, 3)), (0.05, (2, 12, 4))], ids=["young", "older"]
)
def test_what_a_cell_tells_to_be_in_doubt_counts_for_queries_of_that_age(now, uncertain):
    origin = Origin()
    delegate = origin.delegates[0]
    origin.ack(delegate, now=0.001)
    member = origin.inside(delegate)[0]
    where, store = position(member.name), member.store[:8]
    doubts = [(where, store, 3, -2, 0, DOUBT), (where, store, 3, 5, 0, DOUBT),
              (where, store, 4, 12, 3, DOUBT)]  # fmt: skip
    identities, numbers = packed_rows([row_of(member), *doubts])

    _, fresh = origin.batch(delegate, now=now, identities=identities, numbers=numbers)

    assert [row[0] for row in fresh] == [where]
    assert origin.query.uncertain == {where: uncertain}
