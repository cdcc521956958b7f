"""The receiving side of a hand-over: what it takes, when it counts, what a crash leaves."""

from dataclasses import replace

import pytest

from counter.adoption import ADOPTED_MAX, GIVEN_MAX, STAGE_IDLE_S, STAGES_MAX, Adoption
from counter.config import LATE_S, NodeConfig
from counter.crdt import Counters, Share
from counter.ledger import Ledger
from counter.messages import Adopted, Offer, Page, Seal, Sole, Stored, Take
from counter.pages import pages_of_share
from counter.sessions import Sessions
from counter.stamps import new_session
from tracker import wire
from tracker.machine import Close, Emit, Persist, Persisted, PersistFailed, Send
from tracker.members import Member, View
from tracker.messages import Refused

OWN, LEAVER, THIRD = b"o" * 16, b"l" * 16, b"t" * 16
LINK = 7
VIEW = View().merged(
    [
        Member("n1", OWN, 0, 1, 0, "127.0.0.1", 1001),
        Member("n2", LEAVER, 0, 1, 0, "127.0.0.1", 1002),
        Member("n3", THIRD, 0, 1, 0, "127.0.0.1", 1003),
    ]
)


def make_share(epoch=1, **counts):
    share = Share(epoch)
    for key, amount in counts.items():
        share.add(key, amount)
    return share


SHARE = make_share(views=5, clicks=-2)
[BODY] = [body for body, _ in pages_of_share(LEAVER, SHARE)]
SESSIONS = wire.packed(["sessions", [[b"c" * 16, 1, ["views", 5]]]])


def make_sole(*stores):
    return Sole(stores or (LEAVER,))


def make_offer(name="n2", store=LEAVER, stores=((LEAVER, 1),), keys=2):
    return Offer(name, store, stores, keys)


class Heir:
    """A node that is offered something; its disk is the list of what was written."""

    def __init__(self, *, durable=True, **limits):
        config = replace(NodeConfig(name="n1"), **limits)
        self.ledger = Ledger(config, Counters(OWN, 1), durable=durable)
        self.adoption = Adoption(self.ledger, "n1")
        self.disk = []

    def took(self, effects):
        """Note what was written; returns the other effects."""
        self.disk += [effect.record for effect in effects if isinstance(effect, Persist)]
        return [effect for effect in effects if not isinstance(effect, Persist)]

    def offer(self, offer=None, link=LINK, now=0.0):
        return self.took(self.adoption.offer(link, offer or make_offer(), VIEW, now))

    def page(self, body=BODY, number=1, link=LINK):
        return self.took(self.adoption.page(link, Page(number, body), 1.0))

    def seal(self, pages=1, link=LINK, keys=2):
        return self.took(self.adoption.seal(link, Seal(pages, keys), 2.0))

    def synced(self):
        return self.adoption.persisted(Persisted(self.ledger.token))

    def total(self, key="views"):
        return self.ledger.counters.value(key)

    def again(self, records=None):
        """Return the next life, made of what was written, or of a snapshot."""
        heir = Heir()
        for record in self.disk if records is None else records:
            _, what, *fields = wire.unpacked(record)
            heir.adoption.restore(what, fields)
        heir.adoption.resume()
        return heir


def refusals(effects):
    return [effect.message.code for effect in effects if isinstance(effect.message, Refused)]


def test_a_share_counts_from_the_seal_on_and_not_before():
    heir = Heir()

    assert heir.offer() == [Send(LINK, Take(False))]
    assert heir.page() == []
    assert heir.synced() == [Send(LINK, Stored(1))]
    assert heir.seal() == []
    assert (heir.total(), heir.adoption.owns(LINK)) == (0, True)
    adopted, told = heir.synced()

    assert adopted == Send(LINK, Adopted(LEAVER))
    assert told == Emit("adopted", {"name": "n2", "keys": 2, "stores": 1})
    assert (heir.total(), heir.total("clicks")) == (5, -2)
    assert heir.ledger.counters.others[LEAVER].epoch == 1
    assert heir.adoption.deadline() is None


def test_whom_the_leaver_has_forgotten_the_heir_takes_for_new_no_more_than_its_own():
    stamped, unstamped, own = new_session(1_000, b"c" * 8), b"u" * 16, b"v" * 16
    leaver = Sessions(9, 9)
    leaver.forgotten.add(stamped)
    leaver.forgotten.add(unstamped)
    heir = Heir()
    heir.ledger.sessions.forgotten.add(own)
    pages = [wire.packed(["forgotten", row]) for row in leaver.forgotten.rows()]

    heir.offer()
    heir.page()
    for number, page in enumerate(pages, 2):
        assert heir.page(page, number) == []
    heir.seal(1 + len(pages))
    heir.synced()

    for known in (heir, heir.again()):
        forgotten = known.ledger.sessions.forgotten
        assert forgotten.may_hold(stamped)
        assert forgotten.may_hold(unstamped)
    assert heir.ledger.sessions.forgotten.may_hold(own)


@pytest.mark.parametrize(
    "row",
    [7, [1, 7, 1, 0, b"x"], [1, 0, 1, 2**17, b"x"], [1, 0, 1, 0, "x"], [-1, 0, 1, 0, b"x"]],
    ids=["no row", "no such filter", "past its end", "no bytes", "no stamp"],
)
def test_a_page_of_the_forgotten_that_is_none_ends_the_hand_over(row):
    heir = Heir()
    heir.offer()

    assert refusals(heir.page(wire.packed(["forgotten", row]))) == ["bad-page"]


def test_a_node_in_memory_stores_by_taking():
    heir = Heir(durable=False)

    heir.offer()
    assert heir.page() == [Send(LINK, Stored(1))]
    adopted, _ = heir.seal()

    assert adopted == Send(LINK, Adopted(LEAVER))
    assert (heir.total(), heir.disk) == (5, [])


def test_one_sync_may_store_many_pages():
    heir = Heir()
    heir.offer(make_offer(keys=4))
    heir.page()
    [other] = [body for body, _ in pages_of_share(LEAVER, make_share(a=1, b=2))]
    heir.page(other, 2)

    assert heir.synced() == [Send(LINK, Stored(2))]
    assert heir.synced() == []


def test_what_was_counted_under_which_id_comes_along():
    heir = Heir(durable=False)
    heir.offer()
    heir.page()
    heir.page(SESSIONS, 2)
    heir.seal(2)

    assert list(heir.ledger.sessions.rows()) == [(b"c" * 16, 1, ("views", 5))]


def test_an_offer_of_what_is_here_already_needs_no_page():
    heir = Heir(durable=False)
    heir.offer()
    heir.page()
    heir.seal()

    assert heir.offer(link=8) == [Send(8, Take(True)), Send(8, Adopted(LEAVER))]
    assert heir.total() == 5


def test_what_is_held_already_is_not_counted_again():
    heir = Heir(durable=False)
    heir.ledger.counters.others[THIRD] = make_share(views=7)
    heir.offer(make_offer(stores=((LEAVER, 1), (THIRD, 1)), keys=3))
    heir.page()
    [held] = [body for body, _ in pages_of_share(THIRD, make_share(views=7))]
    heir.page(held, 2)
    heir.seal(2, keys=3)

    assert heir.total() == 12


def test_a_name_of_an_epoch_tells_that_there_is_one():
    heir, told = Heir(durable=False), []
    heir.adoption.adopted = lambda: told.append(heir.total("views\x003"))
    heir.offer(make_offer(keys=1))
    heir.page(next(pages_of_share(LEAVER, make_share(**{"views\x003": 4})))[0])
    heir.seal(keys=1)

    assert told == [4]


# -- refusals -----------------------------------------------------------------------------------


def leave(heir):
    heir.ledger.is_leaving = True


def hold_back(heir):
    heir.ledger.is_held = True


def fill(heir):
    for number in range(ADOPTED_MAX):
        heir.ledger.counters.others[number.to_bytes(16, "big")] = Share(1)


def crowd(heir):
    for link in range(100, 100 + STAGES_MAX):
        name, store = f"m{link}", link.to_bytes(16, "big")
        view = View().merged([Member(name, store, 0, 1, 0, "127.0.0.1", link)])
        heir.adoption.offer(link, make_offer(name, store), view, 0.0)


REFUSED = {
    "one that leaves itself": (leave, make_offer(), "leaving"),
    "one that is not announced": (hold_back, make_offer(), "not-announced"),
    "one that does not know the name": (None, make_offer(name="n9"), "unknown"),
    "another store under the name": (None, make_offer(store=THIRD), "unknown"),
    "its own store": (None, make_offer(name="n1", store=OWN), "unknown"),
    "one that holds as many as it can": (fill, make_offer(), "full"),
    "one that takes over others": (crowd, make_offer(), "busy"),
    "more keys than it has room for": (None, make_offer(keys=11), "full"),
}


@pytest.mark.parametrize(("prepare", "offer", "code"), REFUSED.values(), ids=REFUSED)
def test_an_offer_is_refused_by(prepare, offer, code):
    heir = Heir(counters_max=10)
    if prepare is not None:
        prepare(heir)

    assert refusals(heir.offer(offer)) == [code]
    assert not heir.adoption.owns(LINK)


BAD_PAGES = {
    "a page out of order": (2, BODY),
    "no page": (1, b"\x05"),
    "a share that was not offered": (1, next(pages_of_share(THIRD, SHARE))[0]),
    "another epoch of it": (1, next(pages_of_share(LEAVER, make_share(2, views=5)))[0]),
    "more keys than were offered": (1, next(pages_of_share(LEAVER, make_share(a=1, b=2, c=3)))[0]),
}


@pytest.mark.parametrize(("number", "body"), BAD_PAGES.values(), ids=BAD_PAGES)
def test_a_bad_page_ends_the_hand_over(number, body):
    heir = Heir()
    heir.offer()

    assert refusals(heir.page(body, number)) == ["bad-page"]
    assert not heir.adoption.owns(LINK)


def test_a_page_or_a_seal_that_nothing_was_agreed_on_is_refused():
    heir = Heir()

    assert refusals(heir.page()) == ["unexpected"]
    assert refusals(heir.seal()) == ["bad-page"]


def test_a_seal_over_missing_pages_is_refused():
    heir = Heir()
    heir.offer()

    assert refusals(heir.seal(1)) == ["bad-page"]


def test_a_page_behind_the_seal_is_refused_and_a_second_seal_changes_nothing():
    heir = Heir()
    heir.offer()
    heir.page()
    heir.seal()

    assert heir.seal() == []
    assert refusals(heir.page(number=2)) == ["bad-page"]


# -- what goes wrong -----------------------------------------------------------------------------


def test_a_page_that_is_not_on_disk_ends_the_hand_over():
    heir = Heir()
    heir.offer()
    heir.page()
    failed = PersistFailed(heir.ledger.token, "no space", definite=True)

    assert heir.adoption.persist_failed(PersistFailed(0, "no space", definite=True)) == []
    assert heir.adoption.persist_failed(failed) == [Send(LINK, Refused(0, "disk", "no space"))]


def test_a_seal_that_is_not_on_disk_adopts_nothing():
    heir = Heir()
    heir.offer()
    heir.page()
    heir.seal()

    failed = PersistFailed(heir.ledger.token, "no space", definite=True)

    assert refusals(heir.adoption.persist_failed(failed)) == ["disk"]
    assert (heir.synced(), heir.total()) == ([], 0)


def test_the_end_of_the_stream_drops_what_is_not_sealed():
    heir = Heir()
    heir.offer()
    heir.page()
    heir.adoption.closed(LINK)
    heir.adoption.closed(99)

    assert not heir.adoption.owns(LINK)


def test_the_end_of_the_stream_behind_a_seal_changes_nothing():
    heir = Heir()
    heir.offer()
    heir.page()
    heir.seal()
    heir.adoption.closed(LINK)
    heir.synced()

    assert heir.total() == 5


def test_a_leaver_that_falls_silent_is_given_up():
    heir = Heir()
    heir.offer(now=1.0)

    assert heir.adoption.deadline() == 1.0 + STAGE_IDLE_S
    assert heir.adoption.tick(STAGE_IDLE_S) == []
    assert heir.adoption.tick(1.0 + STAGE_IDLE_S) == [Close(LINK)]
    assert not heir.adoption.owns(LINK)


def test_another_try_of_a_leaver_begins_anew():
    heir = Heir()
    heir.offer()
    heir.page()

    assert heir.offer(link=8) == [Send(8, Take(False))]
    assert (heir.adoption.owns(LINK), heir.adoption.owns(8)) == (False, True)
    heir.page(link=8)
    heir.seal(link=8)
    heir.synced()
    assert heir.total() == 5


def test_a_node_that_leaves_itself_sends_its_leavers_away():
    heir = Heir()
    heir.offer()

    assert refusals(heir.adoption.end()) == ["leaving"]
    assert not heir.adoption.owns(LINK)


# -- after a crash ------------------------------------------------------------------------------


def test_what_was_sealed_is_there_after_a_crash():
    heir = Heir()
    heir.offer()
    heir.page()
    heir.page(SESSIONS, 2)
    heir.seal(2)

    again = heir.again()

    assert again.total() == 5
    assert list(again.ledger.sessions.rows()) == [(b"c" * 16, 1, ("views", 5))]


def test_what_was_not_sealed_is_dropped_by_a_crash():
    heir = Heir()
    heir.offer()
    heir.page()

    again = heir.again()

    assert again.total() == 0
    assert again.offer() == [Send(LINK, Take(False))]


def test_a_snapshot_in_the_middle_holds_what_the_log_held():
    heir = Heir()
    heir.offer()
    heir.page()
    before = heir.adoption.dump()
    heir.seal()
    behind = heir.adoption.dump()

    assert heir.again([*before, *heir.disk[-1:]]).total() == 5
    assert heir.again(before).total() == 0
    assert heir.again(behind).total() == 5


# -- what nobody else holds -------------------------------------------------------------------


def adopted_by(heir, link=LINK):
    """Let a member hand over everything, and its word of that be heard."""
    heir.offer(link=link)
    heir.page(link=link)
    heir.seal(link=link)
    if heir.ledger.durable:
        heir.synced()
    return heir


@pytest.mark.parametrize("durable", [True, False])
def test_what_nobody_else_holds_is_noted_and_survives_a_restart(durable):
    heir = adopted_by(Heir(durable=durable))

    heir.took(heir.adoption.sole(LINK, make_sole(), 3.0))

    assert heir.adoption.folding.finals == (LEAVER,)
    if durable:
        again = heir.again()
        assert again.adoption.folding.finals == (LEAVER,)
        assert again.again(heir.adoption.folding.dump()).adoption.folding.finals == ()


def test_only_what_was_adopted_on_this_very_stream_is_noted():
    heir = adopted_by(Heir())
    other, closed = adopted_by(Heir()), adopted_by(Heir())
    closed.adoption.closed(LINK)

    assert heir.adoption.sole(LINK + 1, make_sole(), 3.0) == []
    heir.took(heir.adoption.sole(LINK, make_sole(THIRD), 3.0))
    assert other.adoption.sole(LINK, make_sole(LEAVER), 3.0) != []
    assert closed.adoption.sole(LINK, make_sole(), 3.0) == []

    assert heir.adoption.folding.finals == closed.adoption.folding.finals == ()


def test_a_giver_that_asks_again_whether_all_is_there_may_say_so_too():
    heir = adopted_by(Heir())
    heir.adoption.closed(LINK)

    take, adopted = heir.offer(link=LINK + 1)
    heir.took(heir.adoption.sole(LINK + 1, make_sole(), 3.0))

    assert (take.message, adopted.message) == (Take(True), Adopted(LEAVER))
    assert heir.adoption.folding.finals == (LEAVER,)


def test_streams_of_givers_are_remembered_within_bounds():
    heir = adopted_by(Heir())

    for link in range(100, 100 + GIVEN_MAX):
        heir.offer(link=link)

    assert heir.adoption.sole(LINK, make_sole(), 3.0) == []
    assert len(heir.adoption._given) == GIVEN_MAX


def test_what_was_folded_is_not_taken_a_second_time():
    heir = adopted_by(Heir())
    heir.adoption.folding._fold(b"G" * 16, (LEAVER,))

    take, _ = heir.offer(link=LINK + 1)

    assert (take.message, heir.total()) == (Take(True), 5)


def test_what_may_never_come_back_goes_with_the_seal_and_with_the_last_word():
    heir = Heir()
    heir.offer()
    heir.page()
    assert heir.page(wire.packed(["retired", [THIRD]]), 2) == []
    assert len(heir.adoption.retired) == 0
    heir.seal(2)
    heir.synced()

    assert heir.took(heir.adoption.sole(LINK, Sole((LEAVER,), (LEAVER,), 5_000), 2.0)) == []

    for known in (heir.adoption, heir.again().adoption, heir.again(heir.adoption.dump()).adoption):
        assert len(known.retired) == 2
    assert heir.adoption.folding.quiet_until(2.0) == 2.0 + 5.0 + LATE_S
