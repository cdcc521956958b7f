"""The giving side of a hand-over: its steps, its receivers, and what a crash leaves of it."""

from random import Random

import pytest

from counter.config import NodeConfig
from counter.crdt import Counters, Share
from counter.leaving import PATIENCE_S, RETRY_S, UNFENCED_S, WINDOW_MAX, Leaving
from counter.ledger import Ledger
from counter.messages import (
    COPYING,
    DRAINED,
    FENCING,
    LEAVING,
    PAGE_ROWS_MAX,
    QUIET_MS_MAX,
    SEALING,
    SEEKING,
    EndSession,
    Offer,
    Page,
    Seal,
    SessionEnded,
    Sole,
    Take,
)
from counter.records import ROWS_PER_RECORD
from tracker import wire
from tracker.machine import Close, Emit, Open, Persist, Persisted, PersistFailed, Send
from tracker.members import DEAD, Member, View
from tracker.messages import Refused

OWN, OTHER = b"o" * 16, b"x" * 16
LINK = 7


def make_member(index, **changes):
    store = bytes([index]) * 16
    wishes = {"durable": True, **changes}
    return Member(f"n{index}", store, 0, 1, 0, "127.0.0.1", 1000 + index, **wishes)


ME, DURABLE, MEMORY = make_member(1), make_member(2), make_member(3, durable=False)


class Leaver:
    """A node that is to leave; its disk is the list of what was written."""

    def __init__(self, *others, durable=True, keys=2):
        self.view = View().merged([ME, *others])
        me = make_member(1, durable=durable)
        self.ledger = Ledger(NodeConfig(name="n1"), Counters(me.store, 1), durable=durable)
        for number in range(keys):
            self.ledger.counters.own.add(f"k{number}", 1)
        self.leaving = Leaving(self.ledger, me, Random(1))
        self.disk = []
        self.now = 0.0

    def took(self, effects):
        """Note what was written; returns the other effects."""
        self.disk += [effect.record for effect in effects if isinstance(effect, Persist)]
        return [effect for effect in effects if not isinstance(effect, Persist)]

    def begin(self):
        return self.took(self.leaving.begin(self.view))

    def synced(self):
        return self.took(self.leaving.persisted(Persisted(self.ledger.token), self.now))

    def look(self):
        return self.took(self.leaving.look(self.view, self.now))

    def offered(self):
        """Begin, and come to the offer; returns it."""
        self.begin()
        self.synced()
        self.look()
        [offer] = self.leaving.opened(LINK, self.now)
        return offer.message

    def sealed(self):
        """Come to the word of the receiver; returns what follows from it."""
        self.offered()
        self.leaving.take(Take(False), self.now)
        while self.leaving.phase == COPYING:
            self.took(self.leaving.stored(self.leaving._sent, self.now))
        self.synced()
        return self.took(self.leaving.adopted(ME.store))

    def again(self, records=None):
        """Return the next life, made of what was written, or of a snapshot."""
        leaver = Leaver(DURABLE)
        for record in self.disk if records is None else records:
            _, what, *fields = wire.unpacked(record)
            leaver.leaving.restore(what, fields)
        leaver.leaving.resume()
        return leaver

    @property
    def phase(self):
        return self.leaving.phase

    @property
    def why(self):
        return self.leaving.state(1).why


def test_the_steps_of_a_hand_over():
    leaver = Leaver(DURABLE)
    leaver.ledger.counters.others[OTHER] = Share(4)
    leaver.ledger.counters.others[OTHER].add("k", 9)

    assert leaver.begin() == [Emit("draining", {"keys": 3})]
    assert (leaver.phase, leaver.ledger.is_leaving) == (FENCING, True)
    assert leaver.look() == []
    leaver.synced()
    assert leaver.phase == SEEKING
    assert leaver.look() == [Open(DURABLE.endpoint)]
    assert leaver.leaving.opens(DURABLE.endpoint)
    stores = ((ME.store, 1), (OTHER, 4))
    [offer] = leaver.leaving.opened(LINK, 0.0)
    assert offer == Send(LINK, Offer("n1", ME.store, stores, 3))
    first, second = leaver.leaving.take(Take(False), 0.0)
    assert (first.message.number, second.message.number) == (1, 2)
    assert leaver.leaving.stored(1, 0.0) == []
    assert leaver.leaving.state(5).done == 2
    assert leaver.took(leaver.leaving.stored(2, 0.0)) == []
    assert leaver.phase == SEALING
    assert leaver.synced() == [Send(LINK, Seal(2, 3))]
    assert leaver.took(leaver.leaving.adopted(ME.store)) == []
    assert not leaver.leaving.holds_nothing
    ends = [Close(LINK), Emit("handed-over", {"to": "n2", "keys": 3})]
    assert leaver.synced() == [Send(LINK, Sole((ME.store,), (), QUIET_MS_MAX)), *ends]
    assert (leaver.phase, leaver.leaving.holds_nothing) == (LEAVING, True)
    leaver.leaving.gone()
    state = leaver.leaving.state(5)
    assert (state.phase, state.heir, state.done, state.total) == (DRAINED, "n2", 3, 3)
    assert leaver.leaving.deadline() is None


def test_in_memory_nothing_waits_for_a_disk():
    leaver = Leaver(MEMORY, durable=False)

    leaver.begin()
    assert leaver.phase == SEEKING
    ends = [Close(LINK), Emit("handed-over", {"to": "n3", "keys": 2})]
    assert leaver.sealed() == [Send(LINK, Sole((ME.store,), (), QUIET_MS_MAX)), *ends]
    assert (leaver.phase, leaver.disk) == (LEAVING, [])


@pytest.mark.parametrize("lives", [(), (b"own boot", b"another.")])
def test_a_heir_is_told_of_whatever_nobody_else_holds_and_of_the_lives_of_these(lives):
    leaver = Leaver(MEMORY, durable=False)
    leaver.leaving.soles = lambda: (OTHER,)
    if lives:
        leaver.ledger.boots = lives[0]
        leaver.leaving.lives_of = {OTHER: lives[1]}.__getitem__

    sole, *_ = leaver.sealed()

    assert sole.message == Sole((ME.store, OTHER), (), QUIET_MS_MAX, lives)


def test_who_may_have_left_a_copy_elsewhere_tells_no_heir_that_it_is_the_only_one():
    leaver = Leaver(MEMORY, DURABLE, durable=False)
    leaver.offered()
    leaver.leaving.take(Take(False), 0.0)
    while leaver.phase == COPYING:
        leaver.took(leaver.leaving.stored(leaver.leaving._sent, 0.0))
    assert leaver.phase == SEALING
    # It has the seal, and is not heard of any more.
    leaver.leaving.failed("gone", 0.0)
    leaver.view = View().merged([m for m in leaver.view if m.name != leaver.leaving.heir])

    leaver.look()
    leaver.leaving.opened(LINK, 0.0)
    leaver.leaving.take(Take(True), 0.0)
    effects = leaver.leaving.adopted(ME.store)
    assert [e for e in effects if isinstance(e, Send)] == []
    assert leaver.phase == LEAVING


def test_what_is_on_its_way_is_bounded():
    leaver = Leaver(DURABLE, keys=PAGE_ROWS_MAX * (WINDOW_MAX + 2))
    leaver.offered()

    sent = leaver.leaving.take(Take(False), 0.0)

    assert len(sent) == WINDOW_MAX
    assert len(leaver.leaving.stored(2, 0.0)) == 2
    assert leaver.leaving.stored(2, 0.0) == []
    assert leaver.leaving.stored(WINDOW_MAX + 9, 0.0) == []


def test_what_the_receiver_has_already_is_not_sent_again():
    leaver = Leaver(DURABLE)
    leaver.offered()

    assert leaver.leaving.take(Take(True), 0.0) == []
    assert leaver.took(leaver.leaving.adopted(ME.store)) == [Close(LINK)]


@pytest.mark.parametrize("word", ["too soon", "another store"])
def test_a_word_that_was_not_waited_for_ends_nothing(word):
    leaver = Leaver(DURABLE)
    leaver.offered()
    if word == "another store":
        leaver.leaving.take(Take(True), 0.0)

    assert leaver.leaving.adopted(ME.store if word == "too soon" else OTHER) == []
    assert not leaver.leaving.holds_nothing


def test_a_second_wish_changes_nothing():
    leaver = Leaver(DURABLE)
    leaver.begin()

    assert leaver.begin() == []
    assert len(leaver.disk) == 1


def test_a_node_without_counts_only_leaves():
    leaver = Leaver(keys=0)

    assert leaver.begin() == []
    assert (leaver.phase, leaver.ledger.is_leaving) == (LEAVING, True)


def test_counts_on_disk_are_not_given_to_a_node_in_memory():
    leaver = Leaver(MEMORY)

    code, text = leaver.leaving.begin(leaver.view)

    assert (code, leaver.phase, leaver.ledger.is_leaving) == ("nobody", None, False)
    assert text == "no other living durable member could take the counts of n1"


def test_a_node_that_is_not_announced_stays():
    leaver = Leaver(DURABLE)
    leaver.ledger.is_held = True

    assert leaver.leaving.begin(leaver.view)[0] == "not-announced"
    assert leaver.phase is None


def test_a_disk_is_preferred_by_a_node_in_memory():
    for seed in range(9):
        leaver = Leaver(MEMORY, DURABLE, make_member(4, durable=False), durable=False)
        leaver.leaving._rng.seed(seed)
        leaver.begin()

        assert leaver.look() == [Open(DURABLE.endpoint)]


# -- receivers that do not take it ----------------------------------------------------------------


def test_a_refusal_leads_to_the_next_one_and_then_to_a_pause():
    leaver = Leaver(DURABLE, make_member(4))
    first = leaver.offered()
    assert isinstance(first, Offer)

    assert leaver.leaving.refused(Refused(0, "full", "no room"), 1.0) == [Close(LINK)]
    leaver.now = 1.0
    assert [type(effect) for effect in leaver.look()] == [Open]
    assert leaver.leaving.failed("nobody there", 2.0) == []
    leaver.now = 2.0
    assert leaver.look() == [Emit("drain-waits", {"reason": "nobody there", "full": True})]
    assert leaver.look() == []
    assert leaver.leaving.deadline() == 2.0 + RETRY_S
    leaver.now = 2.0 + RETRY_S
    assert [type(effect) for effect in leaver.look()] == [Open]


def test_a_receiver_that_says_nothing_more_is_given_up():
    leaver = Leaver(DURABLE, make_member(4))
    leaver.offered()
    leaver.now = PATIENCE_S

    closed, opened = leaver.look()

    assert closed == Close(LINK)
    assert isinstance(opened, Open)
    assert leaver.phase == SEEKING


def test_whoever_may_have_all_of_it_is_tried_first():
    for seed in range(9):
        others = [make_member(index) for index in range(4, 9)]
        leaver = Leaver(DURABLE, *others)
        leaver.leaving._rng.seed(seed)
        leaver.offered()
        heir = leaver.leaving._peer
        leaver.leaving.take(Take(True), 0.0)
        leaver.leaving.failed("it closed", 1.0)
        leaver.leaving._tried.clear()
        leaver.now = 1.0

        assert leaver.look() == [Open(heir.endpoint)]


def test_while_nobody_lives_it_waits():
    leaver = Leaver(DURABLE)
    leaver.begin()
    leaver.synced()
    leaver.view = View().merged([ME, DURABLE.became(DEAD)])

    assert [effect.event for effect in leaver.look()] == ["drain-waits"]
    assert leaver.why == "no other living member could take the counts"


# -- the disk ------------------------------------------------------------------------------------


def test_without_a_fence_on_disk_it_counts_on():
    leaver = Leaver(DURABLE)
    leaver.begin()
    failed = PersistFailed(leaver.ledger.token, "no space", definite=True)

    assert leaver.leaving.persist_failed(PersistFailed(0, "x", definite=True), 0.0) == []
    told = leaver.leaving.persist_failed(failed, 0.0)

    assert told == [Emit("drain-failed", {"reason": "no space"})]
    assert (leaver.phase, leaver.ledger.is_leaving, leaver.why) == (None, False, "no space")
    assert leaver.leaving.unfenced(UNFENCED_S - 0.1) == "no space"
    assert leaver.leaving.unfenced(UNFENCED_S) == ""
    leaver.begin()
    assert (leaver.phase, leaver.why, leaver.leaving.unfenced(0.0)) == (FENCING, "", "")


def test_with_a_fence_that_may_be_on_disk_it_counts_no_more():
    leaver = Leaver(DURABLE)
    leaver.begin()

    leaver.leaving.persist_failed(PersistFailed(leaver.ledger.token, "EIO", definite=False), 0.0)

    assert (leaver.phase, leaver.ledger.is_leaving) == (FENCING, True)


def test_it_is_over_although_that_is_not_on_disk():
    leaver = Leaver(DURABLE)
    leaver.sealed()
    failed = PersistFailed(leaver.ledger.token, "no space", definite=True)

    assert leaver.leaving.persist_failed(failed, 0.0) == [
        Close(LINK),
        Emit("handed-over", {"to": "n2", "keys": 2}),
    ]


def test_who_may_have_the_seal_is_asked_first_after_a_crash():
    for seed in range(9):
        leaver = Leaver(DURABLE)
        leaver.offered()
        leaver.leaving.take(Take(False), 0.0)
        leaver.took(leaver.leaving.stored(1, 0.0))
        for records in (None, leaver.leaving.dump()):
            again = leaver.again(records)
            again.view = View().merged([ME, DURABLE, *[make_member(i) for i in range(4, 9)]])
            again.leaving._rng.seed(seed)

            assert again.look() == [Open(DURABLE.endpoint)]


@pytest.mark.parametrize("is_there", [True, False], ids=["there", "gone"])
def test_the_seal_is_asked_for_although_its_note_is_not_on_disk(is_there):
    leaver = Leaver(DURABLE)
    leaver.offered()
    leaver.leaving.take(Take(False), 0.0)
    leaver.took(leaver.leaving.stored(1, 0.0))
    if not is_there:
        leaver.leaving.failed("it closed", 0.0)
    failed = PersistFailed(leaver.ledger.token, "no space", definite=True)

    sent = [Send(LINK, Seal(1, 2))] if is_there else []
    assert leaver.leaving.persist_failed(failed, 0.0) == sent


def test_the_word_of_the_disk_about_others_changes_nothing():
    leaver = Leaver(DURABLE)
    assert leaver.synced() == []
    leaver.begin()

    assert leaver.leaving.persisted(Persisted(0), 0.0) == []
    assert leaver.phase == FENCING


def test_a_crash_in_the_middle_leads_back_to_a_search():
    leaver = Leaver(DURABLE)
    leaver.offered()

    again = leaver.again()

    assert (again.phase, again.ledger.is_leaving) == (SEEKING, True)
    assert again.look() == [Open(DURABLE.endpoint)]
    assert again.leaving.state(1).total == 2


def test_after_the_end_a_crash_leads_to_the_end():
    leaver = Leaver(DURABLE)
    leaver.sealed()

    again = leaver.again()

    assert (again.phase, again.leaving.heir, again.leaving.holds_nothing) == (LEAVING, "n2", True)


def test_a_node_that_does_not_leave_has_nothing_to_resume():
    leaver = Leaver(DURABLE)

    assert leaver.leaving.dump() == []
    assert leaver.again([]).phase is None


def test_a_snapshot_says_how_far_it_is():
    leaver = Leaver(DURABLE)
    leaver.offered()
    assert leaver.again(leaver.leaving.dump()).phase == SEEKING

    leaver.leaving.take(Take(True), 0.0)
    leaver.took(leaver.leaving.adopted(ME.store))
    assert leaver.again(leaver.leaving.dump()).phase == LEAVING

    leaver.synced()
    assert leaver.again(leaver.leaving.dump()).phase == LEAVING


def test_pages_hold_every_share_and_every_operation():
    leaver = Leaver(DURABLE)
    leaver.ledger.counters.others[OTHER] = Share(4)
    leaver.ledger.counters.others[OTHER].add("k", 9)
    leaver.ledger.sessions.remember(b"c" * 16, 1, ("k", 1))
    leaver.offered()

    pages = [effect.message for effect in leaver.leaving.take(Take(False), 0.0)]

    assert all(isinstance(page, Page) for page in pages)
    kinds = [wire.unpacked(page.body)[:2] for page in pages]
    assert kinds[:2] == [["share", ME.store], ["share", OTHER]]
    assert kinds[2][0] == "sessions"


def test_what_may_never_come_back_is_told_to_the_heir_page_by_page():
    leaver = Leaver(DURABLE)
    leaver.leaving.retired_pages = lambda: [b"a page"]
    leaver.offered()

    bodies = [effect.message.body for effect in leaver.leaving.take(Take(False), 0.0)]

    assert b"a page" in bodies


def test_nothing_is_offered_while_what_is_held_takes_another_form():
    leaver = Leaver(DURABLE)
    leaver.begin()
    leaver.synced()
    assert leaver.leaving.may_change
    leaver.leaving.is_changing = lambda: True

    assert leaver.look() == []
    leaver.leaving.is_changing = lambda: False
    leaver.now = leaver.leaving.deadline()
    assert [type(effect) for effect in leaver.look()] == [Open]
    assert not leaver.leaving.may_change


def test_who_had_sealed_for_somebody_before_a_crash_may_have_left_a_copy_there():
    leaver = Leaver(DURABLE)
    leaver.disk.append(wire.packed(["handover", "sealing", "n9", [OTHER]]))
    again = leaver.again()
    again.look()
    again.leaving.opened(LINK, 0.0)
    again.leaving.take(Take(False), 0.0)
    while again.phase == COPYING:
        again.took(again.leaving.stored(again.leaving._sent, 0.0))
    again.synced()

    assert again.took(again.leaving.adopted(ME.store)) == [Close(LINK)]
    assert [type(effect) for effect in again.synced()] == [Emit]


def test_a_goodbye_while_sessions_are_sent_changes_nothing_of_what_is_sent():
    leaver = Leaver(DURABLE)
    sessions = [number.to_bytes(16, "big") for number in range(WINDOW_MAX * ROWS_PER_RECORD)]
    for session in sessions:
        leaver.ledger.sessions.remember(session, 1, ("k", 1))
    leaver.offered()
    sent = leaver.leaving.take(Take(False), 0.0)

    reply = leaver.ledger.end_session(9, EndSession(1, sessions[3]))
    sent += leaver.leaving.stored(WINDOW_MAX, 0.0)

    assert reply == [Send(9, SessionEnded(1, False))]
    bodies = [wire.unpacked(effect.message.body) for effect in sent if isinstance(effect, Send)]
    rows = [row for kind, *rest in bodies if kind == "sessions" for row in rest[0]]
    assert [row[0] for row in rows] == sessions
