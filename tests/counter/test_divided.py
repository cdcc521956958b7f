"""Two parts of one store, of which neither holds the other: no answer with one of them is whole."""

from dataclasses import replace
from itertools import permutations
from random import Random

import pytest

from counter.adoption import Adoption, Stage
from counter.asker import Asker
from counter.cells import STEM_ROWS_MAX, Cell
from counter.config import LAN, NodeConfig
from counter.crdt import Counters
from counter.gossip import Gossip
from counter.keyindex import KeyIndex
from counter.leaving import Leaving
from counter.ledger import Ledger
from counter.many import ManyQuery
from counter.messages import (
    GOSSIP,
    HELD,
    OTHERS_MAX,
    RING,
    SKIP_MAX,
    STEM,
    UNTIL_ALL,
    Answer,
    Ask,
    Batch,
    Delegate,
    Offer,
    Page,
    Query,
    Reply,
    ReplyMany,
    Seal,
    Take,
    packed_rows,
    prefixed,
)
from counter.parts import (
    PART,
    STEM_BYTES_MAX,
    are_divided,
    divided_in,
    end_in,
    listed,
    outermost,
    part_end,
    part_epoch,
    part_key,
    reaches,
    stem_of,
)
from counter.query import COMPLETE, CONVERGED, Heard, Hops, OwnQuery
from counter.storage.base import UNKNOWN
from counter.tables import Search, Table
from counter.wide import WideQuery
from tracker import wire
from tracker.boots import LINEAGE_MAX, Life
from tracker.errors import FrameError
from tracker.machine import Persist, Persisted, Send
from tracker.members import GONE, Member, View, position
from tracker.pages import members_to_record
from tracker.wire import DATAGRAM_BYTES_MAX, SHARE_MAX

ID = b"q" * 16
STORE = b"t" * 16
ONE, TWO, THREE, OTHER = b"one-boot", b"two-boot", b"thr-boot", b"oth-boot"


def part(token, value, *lives):
    """Return a part that goes to this record: of the last of these lives (boot, its beginning)."""
    (boot, _), *_ = lives
    epoch = part_epoch(token)
    past = [Life(9 - back, boot, begin) for back, (boot, begin) in enumerate(lives)]
    return STORE[:8], epoch, value, stem_of(part_key(STORE, epoch, boot), past)


# The store went on from record 5 of its first life; a backup that holds 3 and 6 is of that one.
LATER = part(9, 90, (TWO, 5), (ONE, 0))
INSIDE = part(3, 30, (ONE, 0))
APART = part(6, 60, (ONE, 0))


def make_member(index):
    store = index.to_bytes(8, "big") * 2
    return Member(f"n{index}", store, 0, 1, 0, "127.0.0.1", 1000 + index)


def make_view(count=4):
    return View().merged([make_member(index) for index in range(count)])


def where(view):
    own = make_member(0)
    return own.endpoint, position(own.name), view, 0.0, LAN, Hops(0.010, 0.0025), Random(1)


class Origin:
    """A query of n0, whose share is 100, of three others whose share is 1."""

    def __init__(self, kind=OwnQuery, key="k", view=None):
        request = Query(1, key, 0, 0, 0, 2_000, UNTIL_ALL, 0, 0, False)
        own = make_member(0)
        self.query = kind(ID, request, *where(view or make_view()))
        self.query.start(Heard(own.name, own.store[:8], 1, 100, 0, 0.0, False))

    def reply(self, index, *held):
        member = make_member(index)
        reply = Reply(ID, position(member.name), member.store[:8], 1, 1, 1, 0, (), held)
        reply = GOSSIP.decode(GOSSIP.encode(reply))
        assert self.query.hear(reply, member.endpoint, 0.02)
        self.query.hold(reply.others, reply.age, 0.02)

    def verdict(self):
        return self.query.verdict(0.03, view_is_current=True)


def asked(*held):
    origin = Origin()
    for index in (1, 2, 3):
        origin.reply(index, *held[index - 1 : index])
    return origin


# -- what a stem says -------------------------------------------------------------------------


def test_a_stem_says_of_each_life_the_latest_first_how_far_it_goes():
    _, _, _, stem = part(9, 0, (THREE, 7), (TWO, 5), (ONE, 0))

    assert stem == part_end(part_epoch(9), THREE) + part_end(part_epoch(7), TWO) + part_end(
        part_epoch(5), ONE
    )


def test_of_a_life_that_ended_nobody_knows_where_nothing_is_said():
    _, _, _, stem = part(9, 0, (THREE, 7), (TWO, -1), (OTHER, 4), (ONE, 0))

    assert stem == part_end(part_epoch(9), THREE) + part_end(part_epoch(7), TWO) + part_end(
        part_epoch(4), ONE
    )


def test_a_life_that_wrote_nothing_begins_where_the_next_one_does():
    _, _, _, stem = part(9, 0, (THREE, 7), (TWO, UNKNOWN), (ONE, 0))

    assert not reaches(stem, part_end(part_epoch(8), ONE))
    assert reaches(stem, part_end(part_epoch(7), ONE))


@pytest.mark.parametrize(
    ("other", "is_held"),
    [
        (LATER, True),
        (INSIDE, True),
        (part(5, 0, (ONE, 0)), True),
        (APART, False),
        (part(9, 0, (OTHER, 5), (ONE, 0)), False),
        (part(12, 0, (TWO, 5), (ONE, 0)), False),
        ((STORE[:8], part_epoch(3), 0, part_end(part_epoch(3))), False),
    ],
)
def test_a_part_holds_those_that_end_no_later_in_a_life_that_it_goes_through(other, is_held):
    assert reaches(LATER[3], other[3][:8]) is is_held


def test_of_parts_that_name_no_life_only_the_same_one_is_held():
    end = part_end(part_epoch(9))

    assert reaches(end, end)
    assert not reaches(end, part_end(part_epoch(3)))


# -- at an origin -----------------------------------------------------------------------------


@pytest.mark.parametrize("held", [*permutations([LATER, INSIDE, LATER])])
def test_where_one_part_holds_all_the_others_it_counts_and_the_answer_is_complete(held):
    origin = asked(*held)

    assert (origin.query.value, origin.verdict()) == (193, COMPLETE)


@pytest.mark.parametrize("held", [*permutations([LATER, APART, INSIDE])])
def test_where_none_does_the_one_that_goes_further_counts_and_no_answer_is_complete(held):
    origin = asked(*held)

    assert (origin.query.value, origin.verdict()) == (193, CONVERGED)
    assert list(origin.query.divided) == [STORE[:8]]


def test_two_that_end_with_records_of_one_number_in_different_lives_are_not_the_same():
    origin = asked(LATER, part(9, 91, (OTHER, 5), (ONE, 0)))

    assert origin.verdict() == CONVERGED


def test_two_who_hold_the_same_part_make_an_answer_complete_whatever_they_know_of_it():
    origin = asked((*LATER[:3], LATER[3][:8]), INSIDE, LATER)

    assert (origin.query.value, origin.verdict()) == (193, COMPLETE)


def test_where_not_enough_is_known_of_a_part_no_answer_is_complete():
    origin = asked((*LATER[:3], LATER[3][:8]), INSIDE)

    assert origin.verdict() == CONVERGED


@pytest.mark.parametrize("is_first", [True, False])
def test_the_whole_share_holds_whatever_its_parts_do(is_first):
    whole = (STORE[:8], 4, 200)
    origin = asked(whole, LATER, APART) if is_first else asked(LATER, APART, whole)

    assert (origin.query.value, origin.verdict()) == (303, COMPLETE)


def test_an_answer_says_of_which_store_backups_went_on_apart():
    asker = Asker(LAN, make_member(0), Random(1))
    request = Query(1, "k", 0, 0, 0, 2_000, UNTIL_ALL, 0, 0, False)
    asker.take(5, request, 0.0, view_is_known=True)
    known = {"view_known_until": float("inf"), "view_is_hopeless": False}
    [due] = asker.released(0.0, view_is_known=True)
    asks = asker.begin(due, (100, False), make_view(3), 0.0, held=(LATER,), **known)
    query = next(e.message.query for e in asks if isinstance(e.message, Ask))
    for index, held in ((1, (APART,)), (2, ())):
        member = make_member(index)
        roll = make_view(3).roll
        reply = Reply(query, position(member.name), member.store[:8], 1, 1, 1, 0, (), held, roll)
        asker.listener.hear(reply, member.endpoint, 0.0)
    effects = asker.conclude(query, 0.0, view_known_until=float("inf"))

    [answer] = [e.message for e in effects if isinstance(e.message, Answer)]
    assert (answer.value, answer.complete, answer.reason) == (192, False, CONVERGED)
    assert f"store {STORE.hex()[:8]} at n0, n1 went on apart" in answer.why


# -- in wide clusters -------------------------------------------------------------------------


def told_by_a_head(*held):
    """Return the batches of a head whose one member holds these."""
    own = make_member(0)
    ask = Delegate(ID, 1, "k", ("127.0.0.1", 9), 3, 1, 1, 9, 2_000, 0, 0, RING, (), ())
    request = Query(0, "k", 3, 1, 0, 2_000, UNTIL_ALL, 0, 0, False)
    cell = Cell(ID, request, *where(make_view(2)), ask=ask, origin=ask.home, cell=3)
    cell.start(Heard(own.name, own.store[:8], 1, 100, 0, 0.0, False))
    member = make_member(1)
    reply = Reply(ID, position(member.name), member.store[:8], 1, 1, 1, 0, (), held)
    sends = cell.take(reply, member.endpoint, 0.02)
    return [send.message for send in sends if isinstance(send.message, Batch)]


@pytest.mark.parametrize(("held", "is_divided"), [((LATER, INSIDE), False), ((LATER, APART), True)])
@pytest.mark.parametrize("is_late", [True, False])
def test_heads_tell_how_parts_came_about_in_whatever_order(held, is_divided, is_late):
    origin = Origin(WideQuery)
    rows = [
        row for batch in told_by_a_head(*held) for row in batch.rows() if row[5] & (HELD | STEM)
    ]

    for row in sorted(rows, reverse=is_late):
        origin.query._count(row, 0.02)

    assert origin.query.value == 190
    assert bool(origin.query.divided) is is_divided


def test_heads_tell_of_so_many_lives_beside_one_answer():
    lives = [(bytes([n]) * 8, 40 - n) for n in range(LINEAGE_MAX + 1)]
    held = part(90, 1, *lives), (b"other-st", *part(90, 1, *lives)[1:])

    [batch] = told_by_a_head(*held)

    assert len([row for row in batch.rows() if row[5] == STEM]) == STEM_ROWS_MAX


@pytest.mark.parametrize(
    "row", [(5, STORE[:8], 4, 7, 1, STEM), (5, STORE[:8], PART + 1, -7, 1, STEM)]
)
def test_a_row_of_a_stem_that_makes_no_sense_changes_nothing(row):
    origin = Origin(WideQuery)
    identities, numbers = packed_rows([row])

    assert (len(identities), len(numbers)) == (16, 3)
    assert origin.query._count(row, 0.02) is False
    assert (origin.query.value, list(origin.query.divided)) == (100, [])


# -- at one that holds them -------------------------------------------------------------------


OWN = replace(make_member(0), boot=b"boot-own")
GIVEN_UP = Member("n9", STORE, 0, 9, 0, "10.0.0.2", 7401).became(GONE)


def holder(*parts, known=()):
    """Return a node that holds these."""
    gossip = Gossip(NodeConfig(name=OWN.name), LAN, OWN, (("127.0.0.1", 7400),), Random(1))
    gossip.restore("members", members_to_record([OWN, *known]))
    counters = gossip.ledger.counters
    for store, epoch, value, stem in parts:
        key = store + stem[:8]
        counters.merge(key, epoch, [("k", value, 0)])
        counters.note_stem(key, stem)
    return gossip


def test_what_is_held_is_told_with_its_stem_and_a_share_that_is_whole_with_none():
    gossip = holder(LATER)
    gossip.ledger.counters.merge(b"w" * 16, 3, [("k", 4, 0)])

    assert gossip.handover.held_of("k") == (LATER, (b"w" * 8, 3, 4))


@pytest.mark.parametrize("count", [1, 5, 12, OTHERS_MAX])
def test_an_answer_with_stems_fits_a_datagram_however_many_parts_are_held(count):
    gossip, lives = holder(), [(bytes([n]) * 8, 2**40 - n) for n in range(LINEAGE_MAX + 1)]
    for n in range(OTHERS_MAX):
        store = bytes([n + 1]) * 8
        _, epoch, _, stem = part(2**41, 0, *lives)
        key = store + (stem[:8] if n < count else b"whole-on")
        gossip.ledger.counters.merge(key, epoch if n < count else 2**31 - 1, [("k", SHARE_MAX, 0)])
        gossip.ledger.counters.note_stem(key, stem)
    held, most = gossip.handover.held_of("k"), 2**64 - 1
    cut = (0, *[most] * (SKIP_MAX + 1))
    reply = Reply(ID, most, ID[:8], 2**32 - 1, SHARE_MAX, 255, 255, cut, held, 2**32 - 1)

    assert len(GOSSIP.encode(reply)) <= DATAGRAM_BYTES_MAX
    assert len([row for row in held if len(row) == 4]) == (count if count < OTHERS_MAX else 0)


def test_the_longest_stem_of_all_fits_an_answer_whose_member_holds_four_parts():
    lives = [(bytes([n]) * 8, 40 - n) for n in range(LINEAGE_MAX + 1)]
    gossip = holder(*[(bytes([n]) * 8, *part(90, 1, *lives)[1:]) for n in range(4)])

    assert {len(row[3]) for row in gossip.handover.held_of("k")} == {STEM_BYTES_MAX}


@pytest.mark.parametrize(
    ("parts", "aside"), [([LATER, INSIDE], ()), ([LATER, APART], (STORE[:8],))]
)
def test_of_many_keys_it_says_whether_the_part_that_is_told_may_lack_some_of_another(parts, aside):
    gossip = holder(*parts)
    store, counters = gossip.ledger.counters.store, gossip.ledger.counters
    held = [key for key in counters.others if gossip.handover.answers_for(key)]
    indexes = [KeyIndex(counters.share(key).positive) for key in (store, *held)]

    table = Search(prefixed("k"), counters, held, indexes).step()

    assert (table.total, table.aside) == (90, aside)


@pytest.mark.parametrize("known", [[], [GIVEN_UP]])
@pytest.mark.parametrize(("aside", "ends"), [((), COMPLETE), ((STORE[:8],), CONVERGED)])
def test_an_answer_of_many_keys_with_such_a_part_is_not_complete(aside, ends, known):
    origin = Origin(ManyQuery, prefixed("k"), make_view().merged(known))
    origin.query.listed(Table(90, False, (("k", 90),), 0, 0, told_as_part(STORE), aside), 0.01)
    for index in (1, 2, 3):
        member = make_member(index)
        who = ID, position(member.name), member.store[:8], 1, 0, 1, 0, (), 0, (), 0, 0
        origin.query.hear(ReplyMany(*who), member.endpoint, 0.02)

    assert (origin.query.value, origin.verdict()) == (90, ends)


def told_as_part(store):
    return tuple(listed([], [store[:8]]))


def test_a_store_is_asked_of_each_part_that_is_in_no_other_one():
    parent = Member("n1", STORE, 0, 9, 0, "10.0.0.2", 7401, boot=THREE)
    gossip = holder(LATER, INSIDE, APART, known=[parent])

    asks = [e.message for e in gossip.newcomers.parents.look(0.0) if isinstance(e, Send)]

    assert sorted([ask.part for ask in asks]) == [APART[1], LATER[1]]


# -- what becomes of it -----------------------------------------------------------------------


def test_a_store_that_was_made_of_a_backup_knows_through_which_lives_that_went():
    gossip, (store, epoch, value, stem) = holder(), LATER
    gossip.forks.splits, gossip.forks.pasts = ((STORE, 9),), ((Life(2, TWO, 5), Life(1, ONE, 0)),)
    gossip.ledger.counters.merge(store + stem[:8], epoch, [("k", value, 0)])

    gossip.resume(9)

    assert gossip.handover.held_of("k") == (LATER,)


def test_a_snapshot_keeps_what_is_known_of_a_part_that_was_handed_over():
    gossip, again = holder(LATER), holder()
    for record in gossip.dump():
        again.restore("state", record)

    again.resume(0)

    assert again.handover.held_of("k") == (LATER,)


def test_an_heir_is_told_of_each_part_through_which_lives_it_goes_and_knows_it_after_a_crash():
    counters, heir = holder(LATER).ledger.counters, make_member(1)
    ledger = Ledger(NodeConfig(name=heir.name), Counters(heir.store, 1), durable=True)
    adoption, disk = Adoption(ledger, heir.name), []
    leaving = Leaving(Ledger(NodeConfig(name=OWN.name), counters, durable=False), OWN, Random(1))

    for effect in handed_over(leaving, adoption, View().merged([OWN, heir])):
        disk += [effect.record] if isinstance(effect, Persist) else []
    for seen in (ledger, replayed(heir, disk)):
        [key] = [key for key in seen.counters.others if key[:8] == STORE[:8]]
        assert seen.counters.stem(key) == LATER[3]


def handed_over(leaving, adoption, view):
    """Hand everything over; returns what the heir did."""
    leaving.begin(view)
    leaving.look(view, 0.0)
    [offer] = leaving.opened(5, 0.0)
    effects = adoption.offer(5, offer.message, view, 0.0)
    sends = leaving.take(Take(has_all=False), 0.0)
    while sends:
        send = sends.pop(0)
        if isinstance(send.message, Page):
            effects += adoption.page(5, send.message, 0.0)
            sends += leaving.stored(send.message.number, 0.0)
        elif isinstance(send.message, Seal):
            effects += adoption.seal(5, send.message, 0.0)
    return [*effects, *adoption.persisted(Persisted(adoption.ledger.token))]


def replayed(heir, disk):
    """Return the counts of the next life of an heir."""
    ledger = Ledger(NodeConfig(name=heir.name), Counters(heir.store, 2), durable=True)
    adoption = Adoption(ledger, heir.name)
    for record in disk:
        _, what, *fields = wire.unpacked(record)
        adoption.restore(what, fields)
    return ledger


@pytest.mark.parametrize(
    "page",
    [
        ["stems"],
        ["stems", 5],
        ["stems", [[b"short", b""]]],
        ["stems", [[b"k" * 16, b"s" * (STEM_BYTES_MAX + 1)]]],
        ["stems", [[b"k" * 16, b""]] * (OTHERS_MAX + 1)],
    ],
)
def test_a_page_of_stems_that_makes_no_sense_is_refused(page):
    with pytest.raises(FrameError):
        Stage(Offer("n1", STORE, (), 0), 0.0).take(wire.packed(page))


def test_nothing_is_known_of_a_part_that_is_not_held():
    counters = Counters(b"s" * 16, 1)

    counters.note_stem(STORE[:8] + LATER[3][:8], LATER[3])

    assert counters.stems == {}


def test_the_parts_that_no_other_one_holds_are_told_apart_by_their_stores():
    other = b"other-st"
    keys = [STORE[:8] + p[3][:8] for p in (LATER, INSIDE, APART)] + [other + INSIDE[3][:8]]
    stems = {keys[0]: LATER[3]}

    assert outermost({key: stems.get(key, end_in(key)) for key in keys}) == sorted(
        [keys[0], keys[2], keys[3]]
    )
    assert divided_in(keys, stems) == {STORE[:8]}
    assert are_divided({INSIDE[3]: INSIDE[3]}) is False
