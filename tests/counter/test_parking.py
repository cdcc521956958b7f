"""What a node takes to be parked, what it refuses, and what a failing disk makes of it."""

from dataclasses import replace
from random import Random

import pytest

from counter.config import NodeConfig
from counter.crdt import Counters
from counter.faded import FADING_S, SLOT_S
from counter.failover import Failover
from counter.ledger import Ledger
from counter.messages import (
    ACK_DISK,
    AT_WORK,
    COUNTED_THERE,
    DOOR,
    ELSEWHERE,
    GRANTED,
    HOME_MAY_SAY,
    NO_HOME,
    NO_WORD,
    PARKED_ROWS_PER_PAGE,
    TOO_OLD,
    UNDERWAY,
    UNKNOWN_HOME,
    Disown,
    Disowned,
    DropParked,
    EndSession,
    Increment,
    ListParked,
    Park,
    Parked,
    ParkedDropped,
    ParkedList,
    name_of,
)
from counter.parking import ASKERS_MAX
from tracker.errors import FrameError
from tracker.machine import (
    Close,
    Closed,
    Emit,
    Open,
    Opened,
    Persist,
    Persisted,
    PersistFailed,
    Send,
    Unreachable,
)
from tracker.members import GONE, Member, View
from tracker.messages import Refused
from tracker.wire import SHARE_MAX, packed

OWN, HOME = b"b" * 16, b"h" * 16
LINK = 3


def make_member(**changes):
    return replace(Member("home", HOME, 1, 1, 0, "127.0.0.1", 7401), **changes)


def make(durable=True, parked_max=10, member=None):
    config = replace(NodeConfig(name="b"), parked_max=parked_max)
    ledger = Ledger(config, Counters(OWN, 1), durable=durable)
    view = View({"home": make_member() if member is None else member})
    return Failover(ledger, view, Random(1)), ledger


def park(sequence=1, pairs=("k", 2), ack=0, home=HOME):
    return Park(7, b"s" * 16, sequence, pairs, ack, home, "home")


def said(effects):
    return [effect.message for effect in effects if isinstance(effect, Send)]


def test_a_node_in_memory_holds_an_increment_at_once_and_says_so():
    failover, _ = make(durable=False)

    assert said(failover.parking.park(LINK, park(), 0.0)) == [Parked(7, False, False)]


def test_so_many_wait_for_one_increment_to_be_on_disk_and_no_more():
    failover, _ = make()
    failover.parking.park(LINK, park(1), 0.0)
    for _ in range(ASKERS_MAX - 1):
        assert failover.parking.park(LINK, park(1), 0.0) == []

    assert said(failover.parking.park(LINK, park(1), 0.0))[0].code == "busy"


def test_the_same_increment_parked_again_is_held_once_and_another_content_is_refused():
    failover, _ = make()
    first = failover.parking.park(LINK, park(), 0.0)
    again = failover.parking.park(LINK, park(), 0.0)
    other = failover.parking.park(LINK, park(pairs=("k", 3)), 0.0)

    assert isinstance(first[0], Persist)
    assert again == []
    assert said(other)[0].code == "other-content"
    assert said(failover.settled(Persisted(1))) == [Parked(7, True, False), Parked(7, True, True)]
    assert said(failover.parking.park(LINK, park(), 0.0)) == [Parked(7, True, True)]
    assert failover.parking.uncertain("k") == (0, 2, 1)


def test_a_node_does_not_hold_what_was_first_sent_to_itself():
    failover, _ = make()

    assert said(failover.parking.park(LINK, park(home=OWN), 0.0))[0].code == "home"


def test_what_cannot_be_counted_here_is_not_held_either():
    failover, ledger = make()
    ledger.is_leaving = True

    assert said(failover.parking.park(LINK, park(), 0.0))[0].code == "leaving"


def test_without_room_a_client_hears_busy_unless_something_is_held_for_a_node_given_up():
    failover, _ = make(durable=False, parked_max=1)
    failover.parking.park(LINK, park(1), 0.0)
    assert said(failover.parking.park(LINK, park(2), 0.0))[0].code == "busy"

    failover.parking.follow(View({"home": make_member(status=GONE)}))
    effects = failover.parking.park(LINK, park(2), 0.0)

    assert [effect.event for effect in effects if isinstance(effect, Emit)] == ["parked-given-up"]
    assert said(effects) == [Parked(7, False, False)]


@pytest.mark.parametrize(("definite", "code"), [(True, "disk"), (False, "in-doubt")])
def test_what_the_disk_refuses_is_not_held(definite, code):
    failover, _ = make()
    failover.parking.park(LINK, park(), 0.0)

    effects = failover.settled(PersistFailed(1, "no room", definite))

    assert said(effects) == [Refused(7, code, "no room")]
    assert not failover.parking


def asked(failover, now=1.0):
    """Let a home be asked; returns the question."""
    opened = failover.parking.look(now)
    assert opened == [Open(("127.0.0.1", 7401))]
    (question,) = said(failover.streamed(Opened(9, ("127.0.0.1", 7401)), now))
    assert isinstance(question, Disown)
    return question


@pytest.mark.parametrize("definite", [True, False], ids=["certainly", "perhaps"])
def test_what_is_granted_is_not_counted_while_the_disk_refuses_it(definite):
    failover, ledger = make()
    failover.parking.park(LINK, park(), 0.0)
    failover.settled(Persisted(1))
    question = asked(failover)
    failover.parking.disowned(9, Disowned(question.request, (GRANTED,)), 1.0)

    event = PersistFailed(2, "no room", definite)
    ledger.persist_failed(event)
    failover.settled(event)

    assert ledger.counters.value("k") == 0
    assert failover.parking.uncertain("k") == (0, 2, 1)
    assert failover.parking.look(1.0) == []


def test_a_home_is_asked_again_later_and_later_and_what_is_too_old_never_more():
    failover, _ = make(durable=False)
    failover.parking.park(LINK, park(pairs=("k", -2)), 0.0)
    question = asked(failover, 1.0)
    assert failover.parking.disowned(9, Disowned(question.request, (UNDERWAY,)), 1.0) == [Close(9)]
    due = failover.parking.deadline()
    assert due > 1.0

    question = asked(failover, due)
    failover.parking.disowned(9, Disowned(question.request, (TOO_OLD,)), due)

    assert failover.parking.deadline() is None
    assert failover.parking.uncertain("k") == (2, 0, 1)


def test_a_home_that_does_not_answer_or_answers_something_else_is_asked_again():
    failover, _ = make(durable=False)
    failover.parking.park(LINK, park(), 0.0)
    asked(failover, 1.0)

    assert failover.parking.look(failover.parking.deadline()) == [Close(9)]
    question = asked(failover, 60.0)
    assert failover.parking.disowned(9, Disowned(question.request, ()), 60.0) == [Close(9)]
    assert failover.parking.deadline() > 60.0


def test_what_is_granted_counts_under_the_name_that_its_key_has_by_then_also_after_a_restart():
    failover, ledger = make()
    parked = failover.parking.park(LINK, park(pairs=("k", 2, "other", 1)), 0.0)
    failover.settled(Persisted(1))
    question = asked(failover)
    ledger.counters.names["k"] = name_of("k", 3)
    settled = failover.parking.disowned(9, Disowned(question.request, (GRANTED,)), 1.0)
    ledger.persisted(Persisted(2))
    failover.settled(Persisted(2))
    again, kept = make()
    for persist in [*parked, *settled]:
        if isinstance(persist, Persist):
            again.restore(persist.kind, persist.record)

    for counters in (ledger.counters, kept.counters):
        assert counters.own.positive == {name_of("k", 3): 2, "other": 1}


def test_the_short_way_leaves_a_write_of_which_something_was_parked_to_the_common_one():
    failover, ledger = make()
    failover.parking.park(LINK, park(), 0.0)
    failover.settled(Persisted(1))
    ledger.persisted(Persisted(1))
    ledger.increment(LINK, Increment(b"c" * 16, 1, ("k", 5), ACK_DISK))
    question = asked(failover)
    failover.parking.disowned(9, Disowned(question.request, (GRANTED,)), 1.0)

    assert ledger.counted(3) is None
    assert ledger.counted(2) == [(LINK, 1)]
    assert ledger.counted(3) is None
    assert ledger.counters.value("k") == 5
    ledger.persisted(Persisted(3))
    assert ledger.counters.value("k") == 7


def test_what_is_being_adopted_stands_in_a_snapshot_and_is_kept_in_range():
    failover, ledger = make()
    failover.parking.park(LINK, park(), 0.0)
    failover.settled(Persisted(1))
    question = asked(failover)
    failover.parking.disowned(9, Disowned(question.request, (GRANTED,)), 1.0)

    again, kept = make()
    for record in [*ledger.dump(), *failover.dump()]:
        if not again.restore("state", record):
            kept.restore("state", record)

    assert ledger.holds_counts
    assert ledger.leaves_range(("k", SHARE_MAX - 1))
    assert not ledger.leaves_range(("k", SHARE_MAX - 2))
    assert kept.counters.value("k") == 2
    assert again.parking.uncertain("k") == (0, 0, 0)


def test_a_home_that_leaves_gives_nothing_away_any_more():
    failover, ledger = make()
    ledger.is_leaving = True

    (said_of_it,) = said(failover.fences.disown(LINK, Disown(1, OWN, HOME, ((b"s" * 16, 1, 5),))))

    assert said_of_it == Disowned(1, (UNDERWAY,))
    assert len(failover.fences) == 0


def test_a_node_that_leaves_holds_nothing_for_others():
    failover, ledger = make()
    ledger.is_leaving = True

    assert said(failover.parking.park(LINK, park(), 0.0))[0].code == "leaving"


def waiting(*sequences, durable=False, pairs=("k", 2), **options):
    """Return a node that holds these, and the question its home is asked about them."""
    failover, ledger = make(durable=durable, **options)
    for sequence in sequences:
        failover.parking.park(LINK, park(sequence, pairs), 0.0)
    if durable:
        failover.settled(Persisted(ledger.token))
    return failover, ledger, asked(failover)


def test_only_as_much_is_given_up_as_there_is_to_be_room_for():
    failover, _ = make(durable=False, parked_max=3)
    for sequence in (1, 2, 3):
        failover.parking.park(LINK, park(sequence), 0.0)
    failover.parking.follow(View({"home": make_member(store=b"new" + bytes(13))}))

    effects = failover.parking.park(LINK, park(4), 0.0)

    assert len([effect for effect in effects if isinstance(effect, Emit)]) == 1
    assert failover.parking.uncertain("k") == (0, 6, 3)


def test_what_a_home_could_not_tell_makes_room_too():
    failover, _, question = waiting(1, parked_max=1)
    failover.parking.disowned(9, Disowned(question.request, (TOO_OLD,)), 1.0)

    effects = failover.parking.park(LINK, park(2), 2.0)

    assert said(effects) == [Parked(7, False, False)]
    assert len(failover.parking) == 1


def test_nothing_is_given_up_for_what_finds_no_room_for_another_reason():
    failover, _ = make(durable=False)
    assert said(failover.parking.park(LINK, park(1, ("k", SHARE_MAX)), 0.0)) == [
        Parked(7, False, False)
    ]

    refused = said(failover.parking.park(LINK, park(2, ("k", 1)), 0.0))

    assert refused[0].code == "busy"
    assert failover.parking.uncertain("k") == (0, SHARE_MAX, 1)


@pytest.mark.parametrize("restarts", [False, True], ids=["running", "started again"])
def test_what_was_given_up_is_not_held_when_it_is_parked_once_more(restarts):
    failover, _, _ = waiting(1, durable=True, parked_max=1)
    kept = [Persist(1, "counts", record) for record in failover.dump()]
    failover.parking.follow(View({"home": make_member(status=GONE)}))
    kept += failover.parking.park(LINK, park(2), 0.0)
    if restarts:
        failover, _ = make(parked_max=1)
        for persist in kept:
            if isinstance(persist, Persist):
                failover.restore(persist.kind, persist.record)
        failover.parking.follow(View({"home": make_member(status=GONE)}))

    again = failover.parking.park(LINK, park(1), 1.0)

    # To say that it is held would be a promise that nobody keeps.
    assert Parked(7, True, True) not in said(again)


def test_what_is_settled_is_known_up_to_a_limit(monkeypatch):
    monkeypatch.setattr("counter.parking.SETTLED_MAX", 1)
    failover, _, question = waiting(1, 2)
    failover.parking.disowned(9, Disowned(question.request, (GRANTED, GRANTED)), 1.0)

    assert said(failover.parking.park(LINK, park(2), 2.0)) == [Parked(7, False, True)]
    assert said(failover.parking.park(LINK, park(1), 2.0)) == [Parked(7, False, False)]


OTHER = b"o" * 16


def disowned(failover, sequence=1, by=OTHER, ticket=4, home=HOME):
    return failover.fences.disown(9, Disown(1, home, by, ((b"s" * 16, sequence, ticket),)))


def test_who_alone_holds_what_a_store_counted_says_what_that_would_and_gives_it_away_once():
    heir, ledger = make()
    assert said(disowned(heir)) == [Disowned(1, ())]
    heir.fences.speaks_for = lambda store, life: store == HOME

    (fence,) = disowned(heir)
    granted = said(heir.settled(Persisted(ledger.token)))

    assert isinstance(fence, Persist)
    assert granted == [Disowned(1, (GRANTED,))]
    assert said(disowned(heir)) == [Disowned(1, (GRANTED,))]
    assert said(disowned(heir, by=b"x" * 16)) == [Disowned(1, (ELSEWHERE,))]
    assert said(disowned(heir, home=OTHER)) == [Disowned(1, ())]


def test_an_heir_that_leaves_itself_gives_away_nothing_more_and_says_what_it_gave():
    heir, ledger = make(durable=False)
    heir.fences.speaks_for = lambda store, life: store == HOME
    disowned(heir)
    ledger.is_leaving = True

    assert said(disowned(heir)) == [Disowned(1, (GRANTED,))]
    assert said(disowned(heir, sequence=2)) == [Disowned(1, (UNDERWAY,))]


def test_the_heir_of_a_home_that_left_is_asked_and_an_operator_is_told_to_wait():
    heir = Member("heir", OTHER, 0, 1, 0, "127.0.0.1", 7409)
    failover, _ = make(durable=False)
    failover.parking.park(LINK, park(), 0.0)
    failover.parking.follow(View({"home": make_member().handed_over("heir"), "heir": heir}))

    assert failover.parking.look(1.0) == [Open(("127.0.0.1", 7409))]
    assert listed(failover)[0].rows[0][7] == HOME_MAY_SAY
    assert said(drop(failover, 1))[0].text.startswith("heir holds what home had counted, and")
    (ask,) = failover.streamed(Opened(9, ("127.0.0.1", 7409)), 1.0)
    assert (ask.message.home, ask.message.by) == (HOME, OWN)
    # The last word of the home may still be on its way; where it is lost, nobody can say.
    failover.parking.disowned(9, Disowned(ask.message.request, ()), 1.0)
    assert listed(failover)[0].rows[0][7] == NO_HOME
    failover.parking.look(60.0)
    (ask,) = failover.streamed(Opened(9, ("127.0.0.1", 7409)), 60.0)
    failover.parking.disowned(9, Disowned(ask.message.request, (GRANTED,)), 1.0)
    assert failover.parking.uncertain("k") == (0, 0, 0)


def test_where_the_name_of_a_home_is_anothers_all_are_asked_who_holds_what_it_counted():
    others = [Member(f"n{n}", b"%d" % n * 16, 0, 1, 0, "127.0.0.1", 7410 + n) for n in range(4)]
    home = make_member(store=b"x" * 16, reign=2)
    view = View({member.name: member for member in (home, *others)})
    failover, _ = make(durable=False)
    failover.parking.park(LINK, park(1), 0.0)
    failover.parking.park(LINK, park(2), 0.0)
    failover.parking.follow(view)
    assert listed(failover)[0].rows[0][7] == NO_HOME
    holder, answers = view.ring[-1], [(GRANTED, UNDERWAY), (COUNTED_THERE,)]

    asked, now = [], 1.0
    effects = failover.parking.look(now)
    while effects:
        to = effects[-1].to
        (ask,) = failover.streamed(Opened(9, to), now)
        asked.append(to)
        verdicts = answers.pop(0) if to == holder.endpoint else ()
        _, *effects = failover.parking.disowned(9, Disowned(ask.message.request, verdicts), now)
        if not effects and (due := failover.parking.deadline()) is not None:
            now = due
            effects = failover.parking.look(now)

    # Each of the others once, and then only whoever knows.
    assert asked == [member.endpoint for member in view.ring] + [holder.endpoint]
    assert failover.parking.uncertain("k") == (0, 0, 0)


def test_a_stream_that_never_comes_is_given_up_in_time():
    failover, _ = make(durable=False)
    failover.parking.park(LINK, park(), 0.0)
    assert failover.parking.look(1.0) == [Open(("127.0.0.1", 7401))]

    assert failover.parking.look(failover.parking.deadline()) == []

    assert not failover.parking.homes.opens(("127.0.0.1", 7401))
    assert failover.parking.look(60.0) == [Open(("127.0.0.1", 7401))]


def test_a_verdict_about_what_was_given_up_meanwhile_changes_nothing():
    failover, ledger, question = waiting(1, 2)
    failover.parking.give_up(failover.parking.entries()[0])

    failover.parking.disowned(9, Disowned(question.request, (GRANTED, GRANTED)), 1.0)

    assert ledger.counters.value("k") == 2
    assert failover.parking.uncertain("k") == (0, 0, 0)


def test_what_is_granted_to_a_node_that_leaves_is_not_counted_behind_the_back_of_its_heir():
    failover, ledger, question = waiting(1)
    ledger.is_leaving = True

    failover.parking.disowned(9, Disowned(question.request, (GRANTED,)), 1.0)

    assert ledger.counters.value("k") == 0
    assert failover.parking.uncertain("k") == (0, 2, 1)


def test_what_would_leave_the_range_of_a_share_waits_until_there_is_room():
    failover, ledger, question = waiting(1)
    ledger.counters.own.add("k", SHARE_MAX)

    failover.parking.disowned(9, Disowned(question.request, (GRANTED,)), 1.0)
    assert failover.parking.uncertain("k") == (0, 2, 1)

    ledger.counters.own.positive["k"] = 5
    question = asked(failover, failover.parking.deadline())
    failover.parking.disowned(9, Disowned(question.request, (GRANTED,)), 9.0)
    assert ledger.counters.value("k") == 7


def test_what_is_granted_waits_while_what_is_counted_of_its_key_moves_to_a_later_epoch():
    failover, ledger, question = waiting(1)
    ledger.moving["k"] = ((0, 3),)

    failover.parking.disowned(9, Disowned(question.request, (GRANTED,)), 1.0)
    assert failover.parking.uncertain("k") == (0, 2, 1)

    ledger.moving.clear()
    question = asked(failover, failover.parking.deadline())
    failover.parking.disowned(9, Disowned(question.request, (GRANTED,)), 9.0)
    assert ledger.counters.value("k") == 2


def test_a_node_that_is_asked_for_nothing_any_more_is_asked_an_empty_question():
    failover, _ = make(durable=False)
    failover.parking.park(LINK, park(), 0.0)
    failover.parking.look(1.0)
    failover.parking.give_up(failover.parking.entries()[0])

    (question,) = said(failover.streamed(Opened(9, ("127.0.0.1", 7401)), 1.0))
    effects = failover.parking.disowned(9, Disowned(question.request, ()), 1.0)

    assert question.rows == ()
    assert effects == [Close(9)]
    assert failover.parking.deadline() is None


def test_a_record_of_no_kind_that_is_known_is_passed_over():
    failover, _ = make()

    assert failover.restore("counts", packed((9, 1)))
    assert failover.dump() == []


def test_what_was_settled_is_known_after_a_restart_from_a_snapshot():
    failover, ledger, question = waiting(1, 2, durable=True, pairs=("k", 2, "j", 1))
    failover.parking.disowned(9, Disowned(question.request, (GRANTED, UNDERWAY)), 1.0)
    ledger.persisted(Persisted(ledger.token))
    failover.settled(Persisted(ledger.token))

    again, _ = make()
    for record in failover.dump():
        again.restore("state", record)

    pairs = ("k", 2, "j", 1)
    assert said(again.parking.park(LINK, park(1, pairs), 0.0)) == [Parked(7, True, True)]
    assert said(again.parking.park(LINK, park(1, ("k", 3)), 0.0))[0].code == "other-content"
    assert again.parking.uncertain("k") == (0, 2, 1)


@pytest.mark.parametrize("durable", [True, False], ids=["on disk", "in memory"])
@pytest.mark.parametrize("verdict", [COUNTED_THERE, ELSEWHERE])
def test_what_counts_elsewhere_is_let_go_for_good(durable, verdict):
    failover, ledger, question = waiting(1, durable=durable)
    kept = [Persist(0, "counts", record) for record in failover.dump()]

    kept += failover.parking.disowned(9, Disowned(question.request, (verdict,)), 1.0)

    again, other = make(durable=durable)
    for persist in kept:
        if isinstance(persist, Persist):
            again.restore(persist.kind, persist.record)
    for node, counts in [(failover, ledger), (again, other)][: 1 + durable]:
        assert counts.counters.value("k") == 0
        assert node.parking.uncertain("k") == (0, 0, 0)
        assert said(node.parking.park(LINK, park(1), 9.0)) == [Parked(7, durable, True)]


def test_a_query_that_asked_the_home_before_it_counted_hears_of_it_where_it_was_parked():
    failover, _, question = waiting(1)
    failover.parking.disowned(9, Disowned(question.request, (COUNTED_THERE,)), 1.0)

    assert len(failover.parking) == 0
    assert failover.parking.uncertain("k") == (0, 0, 0)
    told = failover.parking.in_doubt.about("k", 6.0)
    assert told.faded == ((5_000, 0, 2, 1),)
    assert told.heard(4.9).amounts == (0, 0, 0)
    assert told.heard(5.0).amounts == (0, 2, 1)
    assert failover.parking.in_doubt.about("k") is None


def test_what_was_let_go_is_told_of_as_long_as_a_query_can_live():
    failover, _, question = waiting(1)
    failover.parking.disowned(9, Disowned(question.request, (COUNTED_THERE,)), 1.0)

    failover.parking.look(1.0 + FADING_S)
    assert failover.parking.in_doubt.about("k", 1.0 + FADING_S) is not None
    failover.parking.look(1.0 + FADING_S + SLOT_S)
    assert failover.parking.in_doubt.by_key == {}


def test_news_of_others_does_not_hurry_the_question_to_a_home():
    failover, _, question = waiting(1)
    failover.parking.disowned(9, Disowned(question.request, (UNDERWAY,)), 1.0)
    due = failover.parking.deadline()
    other = make_member(name="other", store=b"o" * 16)

    failover.parking.follow(View({"home": make_member(), "other": other}))
    assert failover.parking.deadline() == due

    failover.parking.follow(View({"home": make_member(epoch=2), "other": other}))
    assert failover.parking.deadline() == 0.0


def test_a_home_that_left_while_it_was_asked_is_not_asked_again():
    failover, _, _ = waiting(1)
    failover.parking.follow(View())

    assert failover.parking.look(failover.parking.deadline()) == [Close(9)]

    assert failover.parking.deadline() is None
    assert failover.parking.uncertain("k") == (0, 2, 1)


@pytest.mark.parametrize("pairs", [("k",), (), ("k", 1, "j"), 5, ["k", True], ["k", 2**60]])
def test_what_no_increment_holds_is_not_parked(pairs):
    body = DOOR.encode(park(pairs=pairs))

    with pytest.raises(FrameError):
        DOOR.decode(body)


# -- streams to a home ----------------------------------------------------------------------------


def test_a_home_that_cannot_be_reached_or_hangs_up_is_asked_again():
    failover, _ = make(durable=False)
    failover.parking.park(LINK, park(), 0.0)
    failover.parking.look(1.0)
    assert failover.streamed(Unreachable(("127.0.0.1", 7401), "nobody"), 1.0) == []
    first = failover.parking.deadline()
    asked(failover, first)

    assert failover.streamed(Closed(9, "reset"), first) == []
    assert failover.parking.deadline() > first
    assert failover.streamed(Closed(9, "again"), first) is None


def test_a_verdict_on_a_stream_of_somebody_else_says_nothing():
    failover, _, question = waiting(1)
    take = failover.handlers()[Disowned]

    assert take(77, Disowned(question.request, (GRANTED,)), 1.0) == []
    assert take(9, Disowned(question.request, (GRANTED,)), 1.0)[0] == Close(9)


# -- what an operator does ------------------------------------------------------------------------


def listed(failover, now=5.0):
    return said(failover.handlers()[ListParked](LINK, ListParked(3), now))


def drop(failover, ticket, now=5.0):
    return failover.handlers()[DropParked](LINK, DropParked(4, ticket), now)


GONE_HOME = View({"home": make_member(status=GONE)})
NO_ROWS = [ParkedList(3, True, ())]


def test_what_is_parked_is_listed_with_its_age_and_what_is_to_be_expected():
    failover, _ = make(durable=False)
    assert listed(failover) == NO_ROWS
    failover.parking.park(LINK, park(1, ("a", 1, "b", -2, "c", 3)), 2.0)

    (page,) = listed(failover)
    row = (1, HOME, "home", b"s" * 16, 1, ("a", 1, "b", -2), 3, HOME_MAY_SAY, 3.0)
    assert (page.end, page.rows) == (True, (row,))
    assert DOOR.decode(DOOR.encode(page)) == page

    for view, hope in [(GONE_HOME, NO_HOME), (View(), UNKNOWN_HOME)]:
        failover.parking.follow(view)
        assert [row[7] for row in listed(failover)[0].rows] == [hope]


def test_a_home_that_lost_its_name_is_known_under_the_one_that_is_left_to_it():
    failover, _ = make(durable=False)
    failover.parking.park(LINK, park(1), 2.0)
    left = make_member().without_name()
    taken = make_member(store=b"new" + bytes(13))

    failover.parking.follow(View({"home": taken, left.name: left}))

    assert [row[7] for row in listed(failover)[0].rows] == [HOME_MAY_SAY]
    assert Open(left.endpoint) in failover.parking.look(2.0)


def test_a_long_list_comes_in_pages_and_after_a_restart_no_age_is_known():
    failover, _ = make(durable=False, parked_max=500)
    for sequence in range(1, 2 * PARKED_ROWS_PER_PAGE + 2):
        failover.parking.park(LINK, park(sequence), 0.0)
    again, _ = make()
    for record in failover.dump():
        again.restore("state", record)

    pages = listed(again)

    assert [page.end for page in pages] == [False, False, True]
    assert [len(page.rows) for page in pages] == [PARKED_ROWS_PER_PAGE] * 2 + [1]
    assert {row[8] for page in pages for row in page.rows} == {-1.0}


def test_what_a_home_may_still_settle_is_not_given_up():
    failover, _, question = waiting(1)
    assert said(drop(failover, 1))[0].code == "awaited"
    assert said(drop(failover, 2))[0].code == "unknown"

    failover.parking.disowned(9, Disowned(question.request, (TOO_OLD,)), 1.0)

    assert listed(failover)[0].rows[0][7] == NO_WORD
    assert said(drop(failover, 1)) == [ParkedDropped(4)]
    assert listed(failover) == NO_ROWS


def test_what_is_being_written_is_not_given_up():
    failover, _ = make()
    failover.parking.park(LINK, park(), 0.0)
    failover.parking.follow(GONE_HOME)

    assert listed(failover)[0].rows[0][7] == AT_WORK
    assert said(drop(failover, 1))[0].code == "busy"


@pytest.mark.parametrize("fails", [False, True], ids=["written", "disk full"])
def test_an_operator_hears_that_something_is_given_up_when_it_is_on_disk(fails):
    failover, ledger, _ = waiting(1, durable=True)
    failover.parking.follow(GONE_HOME)

    effects = drop(failover, 1)

    assert [type(effect) for effect in effects] == [Persist, Emit]
    if fails:
        (refused,) = said(failover.settled(PersistFailed(ledger.token, "no room", True)))
        assert refused.code == "disk"
    else:
        assert said(failover.settled(Persisted(ledger.token))) == [ParkedDropped(4)]
    assert failover.parking.uncertain("k") == (0, 0, 0)


def test_so_many_may_be_given_up_at_once(monkeypatch):
    monkeypatch.setattr("counter.leftovers.WRITES_MAX", 1)
    failover, _, _ = waiting(1, 2, durable=True)
    failover.parking.follow(GONE_HOME)
    drop(failover, 1)

    assert said(drop(failover, 2))[0].code == "busy"


# -- homes ----------------------------------------------------------------------------------------


def disown(failover, *tickets, home=OWN):
    rows = tuple([(b"s" * 16, number, ticket) for number, ticket in enumerate(tickets, 1)])
    return failover.fences.disown(LINK, Disown(1, home, HOME, rows))


def test_a_store_says_nothing_of_what_was_sent_to_another_one():
    failover, _ = make()

    assert disown(failover, 5, home=b"z" * 16) == [Send(LINK, Disowned(1, ()))]


def test_a_home_says_what_it_counted_what_it_gave_away_and_what_nobody_can_tell_any_more():
    failover, ledger = make(durable=False)
    ledger.increment(LINK, Increment(b"s" * 16, 1, ("k", 2), 0))
    ledger.increment(LINK, Increment(b"e" * 16, 1, ("k", 2), 0))
    ledger.end_session(LINK, EndSession(1, b"e" * 16))

    assert said(disown(failover, 5, 6)) == [Disowned(1, (COUNTED_THERE, GRANTED))]
    assert said(disown(failover, 5, 6)) == [Disowned(1, (COUNTED_THERE, GRANTED))]
    assert said(disown(failover, 5, 7)) == [Disowned(1, (COUNTED_THERE, ELSEWHERE))]
    ended = Disown(1, OWN, HOME, ((b"e" * 16, 1, 8),))
    assert said(failover.fences.disown(LINK, ended)) == [Disowned(1, (TOO_OLD,))]
    refused = said(ledger.increment(LINK, Increment(b"s" * 16, 2, ("k", 2), 0)))
    assert refused[0].code == "given-away"
    assert "which alone may count it" in refused[0].text


def test_with_too_many_answers_waiting_for_the_disk_a_home_gives_nothing_away(monkeypatch):
    monkeypatch.setattr("counter.fences.ANSWERS_MAX", 1)
    failover, _ = make()
    disown(failover, 5)

    (answer,) = said(disown(failover, 5, 6))

    assert answer == Disowned(1, (UNDERWAY, UNDERWAY))
    assert len(failover.fences) == 1


def test_an_increment_on_its_way_to_the_disk_is_not_given_away():
    failover, ledger = make()
    ledger.increment(LINK, Increment(b"s" * 16, 1, ("k", 2), ACK_DISK))
    assert said(disown(failover, 5)) == [Disowned(1, (UNDERWAY,))]

    ledger.persisted(Persisted(ledger.token))

    assert said(disown(failover, 5)) == [Disowned(1, (COUNTED_THERE,))]


def test_of_what_it_gave_away_a_home_remembers_so_much_and_its_sessions_know_the_rest():
    failover, _ = make(durable=False)
    failover.fences.fences_max = 1
    disown(failover, 5, 6)

    assert len(failover.fences) == 1
    assert said(disown(failover, 5, 7)) == [Disowned(1, (GRANTED, ELSEWHERE))]


@pytest.mark.parametrize("kind", ["counts", "state"], ids=["from the log", "from a snapshot"])
def test_a_fence_stands_after_a_restart(kind):
    failover, ledger = make()
    (written,) = disown(failover, 5, 6)
    failover.settled(Persisted(ledger.token))
    again, kept = make()
    records = [written.record] if kind == "counts" else [*failover.dump(), *ledger.dump()]
    for record in records:
        if not again.restore(kind, record):
            kept.restore(kind, record)

    assert said(disown(again, 5, 7)) == [Disowned(1, (GRANTED, ELSEWHERE))]
    assert (b"s" * 16, 2) in kept.given_away
    assert "no operation" not in kept.given_away


@pytest.mark.parametrize("definite", [True, False], ids=["certainly", "perhaps"])
def test_a_fence_that_is_not_on_disk_gives_nothing_away(definite):
    failover, ledger = make()
    assert isinstance(disown(failover, 5)[0], Persist)
    assert said(disown(failover, 5)) == [Disowned(1, (UNDERWAY,))]

    effects = failover.settled(PersistFailed(ledger.token, "no room", definite))
    again = disown(failover, 5)

    assert said(effects) == [Disowned(1, (UNDERWAY,))]
    # After a failure that may have been none the fence stays, and nobody hears of it.
    assert isinstance(again[0], Persist) == definite
    assert (b"s" * 16, 1) in ledger.given_away
