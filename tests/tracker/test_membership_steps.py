"""A node's half of membership, one message at a time."""

import random

import pytest
from tracker_world import T1, T2, heartbeat, make_member, make_registered

from tracker.admission import IN_USE_TRIES_MAX
from tracker.machine import (
    Close,
    Closed,
    Emit,
    Open,
    Opened,
    Send,
    Unreachable,
)
from tracker.members import AWAY, DEAD, GONE, SUSPECT, View
from tracker.membership import Membership
from tracker.messages import (
    NEWS_PER_PAGE,
    Beat,
    Departed,
    Heartbeat,
    Refused,
    Registered,
    Teach,
    Welcome,
    news_from_wire,
)


def test_a_registered_node_says_at_once_where_it_stands():
    _, effects = make_registered()

    assert effects == [Send(1, Beat(0, 0, 0))]


def test_news_is_acknowledged_at_once_and_an_idle_heartbeat_is_answered_with_a_beat():
    node, _ = make_registered()

    assert node.receive(1, heartbeat([make_member("n2")], 4, 0), 0.1) == [Send(1, Beat(4, 0, 0))]
    node.activity = 7
    assert node.receive(1, heartbeat([], 4, 4), 0.2) == [Send(1, Beat(4, 0, 7))]
    assert node.heard_at == 0.2


def test_a_page_after_a_gap_is_not_taken_in_and_the_old_version_said_again():
    node, _ = make_registered()
    node.receive(1, heartbeat([make_member("n2")], 4, 0), 0.1)

    assert node.receive(1, heartbeat([make_member("n3")], 9, 7), 0.2) == [Send(1, Beat(4, 0, 0))]
    assert node.view.get("n3") is None
    assert node.heard_at == 0.1


def test_repeated_news_is_acknowledged_again():
    node, _ = make_registered()
    page = heartbeat([make_member("n2")], 4, 0)
    node.receive(1, page, 0.1)

    assert node.receive(1, page, 0.2) == [Send(1, Beat(4, 0, 0))]


def test_the_first_pages_of_a_long_list_are_no_view_to_rely_on():
    node, _ = make_registered()
    crowd = [make_member(f"m{i}") for i in range(NEWS_PER_PAGE)]

    node.receive(1, heartbeat(crowd, 256, 0), 0.1)
    assert node.heard_at is None
    node.receive(1, heartbeat([make_member()], 257, 256), 0.2)

    assert node.heard_at == 0.2


def test_a_heartbeat_of_another_epoch_or_link_is_ignored():
    node, _ = make_registered()

    assert node.receive(1, heartbeat([make_member("n2")], 4, 0, b"tracker0"), 0.1) == []
    assert node.receive(2, heartbeat([make_member("n2")], 4, 0), 0.1) == []
    assert node.receive(1, Registered(b"tracker2", 0, 0, 0), 0.1) == []
    assert node.receive(1, Welcome(1, "tracker", ""), 0.1) == []
    assert node.receive(1, Departed(GONE), 0.1) == []
    assert len(node.view) == 0


def test_a_page_that_cannot_be_read_ends_the_stream():
    node, _ = make_registered()

    effects = node.receive(1, Heartbeat(b"tracker1", 4, 0, b"\xc1"), 0.1)

    assert effects[0] == Close(1)
    assert not node.owns(1)


@pytest.mark.parametrize("status", [SUSPECT, DEAD, AWAY, GONE])
def test_a_node_denies_whatever_is_wrong_about_it(status):
    node, _ = make_registered()

    effects = node.receive(1, heartbeat([make_member(status=status)], 4, 0), 0.1)

    assert effects[-1] == Send(1, Beat(4, 1, 0))
    assert node.member.incarnation == 1


def test_a_denial_is_made_once_for_each_suspicion():
    node, _ = make_registered()
    for _ in range(3):
        node.receive(1, heartbeat([make_member(status=SUSPECT)], 4, 0), 0.1)

    assert node.member.incarnation == 1


def test_a_leaving_node_denies_nothing_and_beats_no_more():
    node, _ = make_registered()
    node.depart(True, 0.0)

    assert node.receive(1, heartbeat([make_member(status=AWAY)], 4, 0), 0.1) == [
        Emit("joined", {"tracker": "10.0.0.1:7400", "ms": 100.0, "members": 1})
    ]
    assert node.tick(1.0) == []
    assert node.receive(1, Refused(0, "not-registered", ""), 1.0) == []


def test_a_node_that_knows_others_teaches_a_tracker_whose_digest_differs():
    view = View().merged([make_member("n2"), make_member("n3")])

    _, effects = make_registered(view)

    [taught] = [e.message for e in effects if isinstance(e.message, Teach)]
    assert {m.name for m in news_from_wire(taught.page)} == {"n2", "n3"}


def test_a_tracker_that_knows_the_same_is_taught_nothing():
    view = View().merged([make_member("n2"), make_member()])

    _, effects = make_registered(view, view.digest)

    assert len(effects) == 1


def test_refusals_of_something_else_do_not_end_a_registration():
    node, _ = make_registered()

    assert node.receive(1, Refused(7, "busy", "x"), 0.1) == []
    [told] = node.receive(1, Refused(0, "bad-page", "x\x1b"), 0.1)

    assert told == Emit("tracker-complains", {"code": "bad-page", "text": "x\\x1b"})
    assert node.is_registered


def test_a_tracker_that_has_lost_the_registration_is_registered_with_again():
    node, _ = make_registered()

    effects = node.receive(1, Refused(0, "not-registered", "who?"), 0.1)

    assert effects[0] == Close(1)
    assert not node.is_registered
    assert node.tick(node.deadline()) == [Open(T1)]


def test_to_a_restarted_tracker_a_node_says_that_it_knows_nothing_of_it():
    node, _ = make_registered()
    node.receive(1, heartbeat([make_member("n2")], 4, 0), 0.1)

    for link, epoch, version in ((2, b"tracker1", 4), (3, b"tracker2", 0)):
        node.submit(Closed(link - 1, "reset"), 1.0)
        node.tick(node.deadline())
        node.submit(Opened(link, T1), 1.5)
        effects = node.receive(link, Registered(epoch, 0, 0, node.view.digest), 1.5)
        assert Send(link, Beat(version, 0, 0)) in effects


def test_a_tracker_given_up_for_its_silence_is_not_known_to_be_out_of_reach():
    node, _ = make_registered()
    node.receive(1, heartbeat([make_member("n2")], 4, 0), 0.0)
    node.tick(1.0)
    node.tick(2.0)

    assert Close(1) in node.tick(3.0)
    assert not node.is_cut_off


def test_events_of_others_streams_are_none_of_its_business():
    node, _ = make_registered()

    assert node.submit(Unreachable(T2, "x"), 0.1) == []
    assert node.submit(Unreachable(T1, "late"), 0.1) == []
    assert node.submit(Closed(9, "x"), 0.1) == []


@pytest.mark.parametrize("to", [T1, T2], ids=["to a tracker that is there", "to somebody else"])
def test_a_stream_that_nobody_wants_any_more_is_closed(to):
    node, _ = make_registered()

    assert node.submit(Opened(9, to), 0.1) == [Close(9)]


def test_a_node_that_was_stopped_itself_does_not_blame_its_trackers():
    node, _ = make_registered()

    effects = node.tick(60.0)

    assert effects == [Send(1, Beat(0, 0, 0))]
    assert node.owns(1)


def test_the_reign_and_incarnation_a_tracker_gives_are_kept_and_told_to_the_others():
    node = Membership([T1, T2], make_member(), View(), random.Random(1), 1.0, 0.1, 1.5)
    node.start(0.0)
    node.submit(Opened(1, T1), 0.0)
    node.submit(Opened(2, T2), 0.0)
    node.receive(1, Registered(b"tracker1", 0, 0, 0), 0.0)

    effects = node.receive(2, Registered(b"tracker2", 1, 4, 0), 0.0)

    assert effects == [Send(1, Beat(0, 4, 0)), Send(2, Beat(0, 4, 0))]
    assert (node.member.reign, node.member.incarnation) == (1, 4)


def test_a_tracker_with_a_long_interval_is_not_given_up_between_two_heartbeats():
    node = Membership([T1], make_member(), View(), random.Random(1), 1.0, 0.1, 1.5)
    node.start(0.0)
    node.submit(Opened(1, T1), 0.0)
    node.receive(1, Registered(b"tracker1", 0, 0, 0, 5_000), 0.0)

    early = [effect for second in range(1, 15) for effect in node.tick(float(second))]
    late = node.tick(15.0)

    assert Close(1) not in early
    assert Close(1) in late


def test_a_store_that_lives_elsewhere_is_given_up_after_some_tries():
    node = Membership([T1], make_member(), View(), random.Random(1), 1.0, 0.1, 1.5)
    told, now = node.start(0.0), 0.0
    finals = []
    for link in range(1, 30):
        if Open(T1) not in told:
            break
        node.submit(Opened(link, T1), now)
        refused = node.receive(link, Refused(0, "in-use", "lives at 10.0.0.9:7401"), now)
        finals += [e.details["final"] for e in refused if isinstance(e, Emit)]
        now = node.deadline() or now
        told = node.tick(now)

    assert finals == [False, True]
    assert link == IN_USE_TRIES_MAX + 2
    assert [refusal.code for refusal in node.refusals] == ["in-use"]
    assert 5.0 < now < 15.0
