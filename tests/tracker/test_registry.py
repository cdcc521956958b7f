"""The tracker's machine, message by message: who is taken in, refused, suspected, told what."""

import random

import pytest

from tracker.config import TrackerConfig
from tracker.errors import FrameError
from tracker.machine import (
    Accepted,
    Close,
    Closed,
    Emit,
    Leave,
    Persist,
    Persisted,
    PersistFailed,
    Send,
    SendAll,
)
from tracker.members import ALIVE, AWAY, DEAD, GONE, SUSPECT, Member, View
from tracker.messages import (
    CANDIDATES_MAX,
    MEMBERSHIP,
    NEWS_PER_PAGE,
    Beat,
    Departed,
    Departing,
    Find,
    Forget,
    Forgotten,
    Found,
    Heartbeat,
    Listed,
    Refused,
    Register,
    Registered,
    Roster,
    Teach,
    news_from_wire,
    news_to_wire,
)
from tracker.pages import members_from_record, members_to_record
from tracker.publication import Publication
from tracker.registry import Registry
from tracker.table import COUNT_MAX, PAGES_AT_ONCE_MAX, Table
from tracker.wire import FRAME_BYTES_MAX

EPOCH = b"tracker1"


def make_member(name="n1", store=None, *, port=7401, epoch=1, **fields):
    store = (store or name).encode().ljust(16, b".")
    reign, incarnation = fields.pop("reign", 0), fields.pop("incarnation", 0)
    return Member(name, store, reign, epoch, incarnation, "10.0.0.11", port, **fields)


def make_registry(saved=None, seed=1, **config):
    registry = Registry(TrackerConfig(**config), EPOCH, saved, random.Random(seed))
    registry.start(0.0)
    return registry


def sent(effects, kind, link=None):
    """Return the messages of one kind that go to a link, or to any."""
    return [
        e.message
        for e in effects
        if isinstance(e, Send | SendAll) and isinstance(e.message, kind)
        for to in (e.to if isinstance(e, SendAll) else [e.to])
        if link in (None, to)
    ]


def emitted(effects):
    return [e.event for e in effects if isinstance(e, Emit)]


def register(registry, link, member, now=0.0):
    return registry.receive(link, Register(member), now)


def join(registry, link, member, now=0.0):
    """Register, beat, and acknowledge the list that comes back."""
    effects = register(registry, link, member, now)
    assert sent(effects, Registered, link), effects
    effects += beat(registry, link, 0, now)
    effects += beat(registry, link, registry.table.version, now)
    return effects


def beat(registry, link, version=None, now=0.0, incarnation=0, activity=0):
    version = registry.table.version if version is None else version
    return registry.receive(link, Beat(version, incarnation, activity), now)


def run(registry, until):
    """Tick whenever the registry wants it."""
    effects = []
    while (at := registry.deadline()) <= until:
        fresh = registry.tick(at)
        for effect in [e for e in fresh if isinstance(e, Persist)]:
            fresh += registry.submit(Persisted(effect.token), at)
        effects += fresh
    return effects


def status(registry, name="n1"):
    return registry.table.get(name).status


# -- reflexes ---------------------------------------------------------------------------------


def rested(count=2):
    """Return a registry whose members have acknowledged everything, and all of it is saved."""
    registry = make_registry()
    for link in range(1, count + 1):
        join(registry, link, make_member(f"n{link}", port=7400 + link), now=0.1)
    run(registry, 1.0)
    for link in range(1, count + 1):
        beat(registry, link, now=1.0)
    while registry._keeping.is_in_flight:
        registry.submit(Persisted(registry._keeping.token), 1.0)
    run(registry, 2.0)
    return registry


def beat_of(registry, incarnation=0, activity=0, behind=0):
    return MEMBERSHIP.encode(Beat(registry.table.version - behind, incarnation, activity))


def test_a_beat_without_news_is_taken_in_bytes_and_not_answered():
    registry = rested()

    assert registry.reflex(1, beat_of(registry, activity=300), 2.5) == b""

    assert registry._activity("n1") == 300
    assert registry._seen("n1", 3.0).beat_s == 0.5
    assert status(registry, "n1") == ALIVE
    run(registry, 5.2)
    assert (status(registry, "n1"), status(registry, "n2")) == (ALIVE, SUSPECT)


@pytest.mark.parametrize(
    ("link", "wishes"),
    [
        pytest.param(9, {}, id="a link on which nobody registered"),
        pytest.param(1, {"incarnation": 1}, id="a denial"),
        pytest.param(1, {"behind": 1}, id="a version of before"),
    ],
)
def test_every_other_beat_is_left_to_the_common_way(link, wishes):
    registry = rested()

    assert registry.reflex(link, beat_of(registry, activity=5, **wishes), 2.5) is None
    assert registry._activity("n1") == 0


def test_while_news_or_a_record_wait_no_beat_is_a_reflex():
    registry = rested()
    register(registry, 3, make_member("n3", port=7403), now=2.5)
    assert registry.reflex(1, beat_of(registry), 2.5) is None

    unsaved = rested()
    unsaved._keeping.is_wanted = True
    assert unsaved.reflex(1, beat_of(unsaved), 2.5) is None


def test_while_others_wait_for_news_or_a_list_no_reader_is_settled():
    table = Table(EPOCH)
    table.put(make_member(), 0.0)
    publication = Publication(table, 0.05)
    publication.add(1)
    publication.acknowledged(1, 1)
    publication.due(0.0)
    assert not publication.is_settled(1)
    assert publication.announced(lambda link: True, lambda link, version: True) == [(1, 1)]
    assert publication.is_settled(1)

    publication.add(2)
    publication.acknowledged(2, 1)
    assert not publication.is_settled(1)
    publication.due(1.0)
    publication.announced(lambda link: True, lambda link, version: True)
    assert publication.is_settled(1)

    publication.changed()
    assert not publication.is_settled(1)


def test_a_tracker_that_was_stopped_for_more_than_a_second_blames_nobody_for_it():
    registry = rested()
    for link in (1, 2):
        beat(registry, link, now=2.0)

    registry.tick(4.2)
    run(registry, 6.1)
    assert status(registry) == ALIVE

    run(registry, 6.3)
    assert status(registry) == SUSPECT


def test_a_heartbeat_without_news_is_one_effect_for_all_who_lack_nothing():
    registry = rested(3)
    register(registry, 4, make_member("n4", port=7404), now=2.5)
    for link in (1, 3):
        beat(registry, link, now=2.6)

    effects = registry.tick(3.0)

    [to_all] = [e for e in effects if isinstance(e, SendAll)]
    assert (to_all.to, to_all.message.page) == ((1, 3), b"\x90")
    assert [e.to for e in effects if isinstance(e, Send)] == [2, 4]


# -- joining ----------------------------------------------------------------------------------


def test_a_registration_is_answered_with_reign_incarnation_and_the_digest_of_the_view():
    registry = make_registry()
    member = make_member(incarnation=3)

    effects = register(registry, 7, member)

    assert sent(effects, Registered, 7) == [Registered(EPOCH, 0, 3, View({"n1": member}).digest)]
    assert emitted(effects) == ["joined"]
    assert len(registry) == 1


def test_the_first_beat_of_a_newcomer_brings_it_the_whole_list_at_once():
    registry = make_registry()
    join(registry, 1, make_member("n1"))
    register(registry, 2, make_member("n2"), now=0.01)

    [heartbeat] = sent(beat(registry, 2, 0, now=0.2), Heartbeat, 2)

    assert (heartbeat.since, heartbeat.version) == (0, 2)
    assert {m.name for m in news_from_wire(heartbeat.page)} == {"n1", "n2"}


def test_a_first_change_after_quiet_is_published_in_the_same_breath():
    registry = make_registry()
    join(registry, 1, make_member("n1"))

    effects = register(registry, 2, make_member("n2"), now=5.0)

    [heartbeat] = sent(effects, Heartbeat, 1)
    assert [m.name for m in news_from_wire(heartbeat.page)] == ["n2"]


def test_changes_in_quick_succession_are_published_together_after_the_gap():
    registry = make_registry()
    join(registry, 1, make_member("n1"))
    beat(registry, 1, now=0.5)
    register(registry, 2, make_member("n2"), now=0.5)
    beat(registry, 1, now=0.5)

    effects = register(registry, 3, make_member("n3"), now=0.51)
    effects += register(registry, 4, make_member("n4"), now=0.52)
    assert sent(effects, Heartbeat, 1) == []

    assert 0.55 <= registry.deadline() < 0.56
    [heartbeat] = sent(registry.tick(0.56), Heartbeat, 1)
    assert [m.name for m in news_from_wire(heartbeat.page)] == ["n3", "n4"]


def test_a_second_registration_on_one_link_is_out_of_place():
    registry = make_registry()
    join(registry, 1, make_member("n1"))

    [refused] = sent(register(registry, 1, make_member("n2")), Refused)

    assert refused.code == "unexpected"
    assert len(registry) == 1


@pytest.mark.parametrize(
    "message", [Beat(0, 0, 0), Departing(True), Teach(b"\x90")], ids=["beat", "departing", "teach"]
)
def test_who_has_not_registered_has_nothing_to_say(message):
    [refused] = sent(make_registry().receive(5, message, 0.0), Refused, 5)

    assert refused.code == "not-registered"


def test_what_only_a_tracker_says_is_refused_and_what_is_refused_is_swallowed():
    registry = make_registry()

    [refused] = sent(registry.receive(5, Departed(1), 0.0), Refused)

    assert refused.code == "unexpected"
    assert registry.receive(5, Refused(0, "x", "y"), 0.0) == []
    assert registry.receive(("10.0.0.1", 1), Roster(1), 0.0) == []
    assert registry.submit(Accepted(5, ("10.0.0.1", 1)), 0.0) == []


# -- clashes ----------------------------------------------------------------------------------


def refusal(effects, link):
    """Return the refusal sent to a link that is then closed."""
    [refused] = sent(effects, Refused, link)
    assert Close(link) in effects
    assert "refused" in emitted(effects)
    assert refused.request == 0
    return refused


def test_a_living_name_is_refused_to_another_store_naming_both_addresses():
    registry = make_registry()
    join(registry, 1, make_member(port=7401))
    beat(registry, 1, now=2.0)

    refused = refusal(register(registry, 2, make_member(store="x", port=7409), now=2.4), 2)

    assert refused.code == "name-taken"
    assert refused.text.startswith(
        'the name "n1" is taken by 10.0.0.11:7401, alive (beat 0.4 s ago)'
    )
    assert "10.0.0.11:7409" in refused.text
    assert registry.table.get("n1").port == 7401


def test_a_name_of_the_saved_list_counts_as_living_until_it_is_found_silent():
    registry = make_registry(members_to_record([make_member()]))

    refused = refusal(register(registry, 2, make_member(store="x"), now=0.1), 2)

    assert "alive (as last told)" in refused.text


def test_the_same_store_and_start_at_two_addresses_at_once_is_a_clone():
    registry = make_registry()
    join(registry, 1, make_member(port=7401))

    refused = refusal(register(registry, 2, make_member(port=7402)), 2)

    assert refused.code == "clone"
    assert "10.0.0.11:7401" in refused.text
    assert "10.0.0.11:7402" in refused.text


def test_a_reconnection_from_the_same_address_replaces_the_old_link_and_changes_nothing():
    registry = make_registry()
    join(registry, 1, make_member())
    version = registry.table.version

    effects = register(registry, 2, make_member())

    assert Close(1) in effects
    assert emitted(effects) == ["returned"]
    assert registry.table.version == version
    assert registry.submit(Closed(1, "late news of it"), 1.0) == []


def test_a_later_start_of_a_store_that_lives_elsewhere_has_to_try_again():
    registry = make_registry()
    join(registry, 1, make_member(port=7401, incarnation=5))

    refused = register(registry, 2, make_member(port=7402, epoch=2))
    registry.submit(Closed(1, "reset"), 0.5)
    effects = register(registry, 3, make_member(port=7402, epoch=2), now=0.6)

    [refusal] = sent(refused, Refused, 2)
    assert refusal.code == "in-use"
    assert "10.0.0.11:7401" in refusal.text
    assert "10.0.0.11:7402" in refusal.text
    assert emitted(effects) == ["moved"]
    assert sent(effects, Registered, 3)[0].incarnation == 0
    assert registry.table.get("n1").endpoint == ("10.0.0.11", 7402)


def test_a_later_start_at_the_same_address_takes_over_at_once():
    registry = make_registry()
    join(registry, 1, make_member(port=7401, incarnation=5))

    effects = register(registry, 2, make_member(port=7401, epoch=2))

    assert Close(1) in effects
    assert emitted(effects) == ["restarted"]


def test_a_suspect_that_comes_back_at_a_new_address_has_moved_and_is_alive_again():
    registry = make_registry()
    join(registry, 1, make_member(port=7401))
    registry.submit(Closed(1, "reset"), 1.0)

    effects = register(registry, 2, make_member(port=7402), now=1.5)

    assert emitted(effects) == ["moved"]
    assert sent(effects, Registered)[0].incarnation == 1
    assert status(registry) == ALIVE


def test_a_tracker_that_starts_with_a_list_gives_up_those_who_do_not_come_back():
    registry = make_registry(members_to_record([make_member("n1"), make_member("n2")]))
    # As a driver does, which finds news due from before the start.
    registry.tick(0.001)
    run(registry, 1.0)
    join(registry, 1, make_member("n1"), now=1.0)
    for second in range(2, 20):
        run(registry, float(second))
        beat(registry, 1, now=float(second))

    assert (status(registry, "n1"), status(registry, "n2")) == (ALIVE, DEAD)


def test_an_earlier_start_of_a_store_is_an_old_backup():
    registry = make_registry()
    join(registry, 1, make_member(epoch=5))
    registry.submit(Closed(1, "reset"), 1.0)

    assert refusal(register(registry, 2, make_member(epoch=4), now=2.0), 2).code == "old-backup"


def test_a_living_store_under_another_name_is_refused():
    registry = make_registry()
    join(registry, 1, make_member("n1", "s"))

    assert refusal(register(registry, 2, make_member("n2", "s", epoch=2)), 2).code == "clone"


def test_a_stopped_store_may_take_another_name_and_its_old_name_is_given_up():
    registry = make_registry()
    join(registry, 1, make_member("n1", "s"))
    registry.submit(Closed(1, "reset"), 1.0)

    effects = register(registry, 2, make_member("n2", "s", epoch=2), now=2.0)

    assert emitted(effects) == ["gone", "renamed"]
    assert status(registry, "n1") == GONE
    assert registry.table.get("n1").note == "renamed to n2"


@pytest.mark.parametrize(("epoch", "code"), [(1, "clone"), (0, "old-backup")])
def test_a_stopped_store_under_another_name_needs_a_later_start(epoch, code):
    registry = make_registry()
    join(registry, 1, make_member("n1", "s"))
    registry.submit(Closed(1, "reset"), 1.0)

    again = make_member("n2", "s", epoch=epoch)

    assert refusal(register(registry, 2, again, now=2.0), 2).code == code


def test_a_stopped_store_may_take_the_name_of_one_that_is_gone():
    registry = make_registry()
    join(registry, 1, make_member("n1", "s"))
    join(registry, 2, make_member("n2", "t"))
    registry.submit(Closed(1, "reset"), 1.0)
    registry.receive(2, Departing(False), 1.0)

    register(registry, 3, make_member("n2", "s", epoch=2), now=2.0)

    assert status(registry, "n1") == GONE
    assert registry.table.get("n2").reign == 1


def test_a_durable_name_is_kept_for_its_store_and_the_refusal_names_the_three_ways_out():
    registry = make_registry()
    join(registry, 1, make_member())
    registry.submit(Closed(1, "reset"), 1.0)

    refused = refusal(register(registry, 2, make_member(store="x"), now=8.0), 2)

    assert refused.code == "name-kept"
    assert "suspect for 7 s" in refused.text
    for way in ("data directory", "--name", "counter forget n1"):
        assert way in refused.text


def test_a_crashed_memory_node_is_replaced_and_its_counts_are_said_to_be_lost():
    registry = make_registry()
    join(registry, 1, make_member(durable=False))
    registry.submit(Closed(1, "reset"), 1.0)

    effects = register(registry, 2, make_member(store="x", durable=False), now=2.0)

    assert emitted(effects) == ["counts-lost", "joined"]
    assert sent(effects, Registered)[0].reign == 1
    assert registry.table.get("n1").note.startswith("counts of its previous store are lost (")
    register(registry, 3, make_member(store="x", durable=False), now=3.0)
    assert registry.table.get("n1").note.startswith("counts of its previous store are lost (")


def test_the_name_of_one_that_is_gone_is_free_under_a_new_reign():
    registry = make_registry()
    join(registry, 1, make_member())
    registry.receive(1, Departing(False), 1.0)

    effects = register(registry, 2, make_member(store="x"), now=2.0)

    assert sent(effects, Registered)[0].reign == 1
    assert status(registry) == ALIVE


def test_a_reign_given_by_another_tracker_is_believed():
    registry = make_registry()
    join(registry, 1, make_member())
    registry.submit(Closed(1, "reset"), 1.0)

    effects = register(registry, 2, make_member(store="x", reign=4), now=2.0)

    assert sent(effects, Registered)[0].reign == 4


def test_a_full_tracker_refuses_new_names_and_keeps_the_old_ones():
    registry = make_registry(members_max=1)
    join(registry, 1, make_member("n1"))

    assert refusal(register(registry, 2, make_member("n2")), 2).code == "full"
    assert sent(register(registry, 3, make_member("n1")), Registered, 3)


def test_two_names_at_one_place_of_the_ring_are_refused(monkeypatch):
    monkeypatch.setattr("tracker.table.position", lambda name: 7)
    registry = make_registry()
    join(registry, 1, make_member("n1"))

    assert refusal(register(registry, 2, make_member("n2")), 2).code == "position"
    registry.receive(1, Teach(news_to_wire([make_member("n3")])), 0.0)
    assert registry.table.get("n3") is None


def test_numbers_without_room_to_grow_are_refused():
    registry = make_registry()

    refused = refusal(register(registry, 1, make_member(incarnation=COUNT_MAX + 1)), 1)

    assert refused.code == "out-of-range"


def test_the_longest_names_and_addresses_make_no_refusal_too_long_to_send():
    registry = make_registry()
    long = Member("n" * 64, b"s" * 16, 0, 2**31, 0, "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff", 65535)
    register(registry, 1, long)
    registry.submit(Closed(1, "reset"), 1.0)
    others = [(b"s" * 16, 1), (b"t" * 16, 1), (b"s" * 16, 2**31)]

    for store, epoch in others:
        again = Member("n" * 64, store, 0, epoch, 0, long.host, 65535)
        for message in sent(register(registry, 2, again, now=2.0), Refused):
            MEMBERSHIP.decode(MEMBERSHIP.encode(message))


# -- beats and silence ------------------------------------------------------------------------


def test_a_closed_connection_makes_suspect_at_once_and_dead_later():
    registry = make_registry()
    join(registry, 1, make_member())

    effects = registry.submit(Closed(1, "reset"), 1.0)

    assert emitted(effects) == ["suspect"]
    assert status(registry) == SUSPECT
    assert "dead" not in emitted(run(registry, 10.9))
    assert "dead" in emitted(run(registry, 11.1))
    assert status(registry) == DEAD


def test_a_tracker_that_takes_other_limits_doubts_the_silent_by_them():
    registry = make_registry(suspect_after_s=60.0, dead_after_s=200.0)
    join(registry, 1, make_member())
    for second in range(30):
        run(registry, float(second))
    assert status(registry) == ALIVE

    registry.hold_to(TrackerConfig())
    registry.tick(29.5)

    assert status(registry) == SUSPECT


def test_a_silent_member_is_suspect_after_three_seconds_and_dead_ten_later():
    registry = make_registry()
    join(registry, 1, make_member())
    beat(registry, 1, now=1.0)

    run(registry, 3.9)
    assert status(registry) == ALIVE
    run(registry, 4.1)
    assert status(registry) == SUSPECT
    run(registry, 14.1)
    assert status(registry) == DEAD


def test_a_suspect_that_beats_is_alive_again_only_by_a_higher_incarnation():
    registry = make_registry()
    join(registry, 1, make_member())
    run(registry, 3.5)

    beat(registry, 1, now=3.6)
    assert status(registry) == SUSPECT
    effects = beat(registry, 1, now=3.7, incarnation=1)

    assert status(registry) == ALIVE
    assert registry.table.get("n1").incarnation == 1
    assert emitted(effects) == ["alive"]


def test_a_suspect_that_beats_without_denying_dies_only_when_it_falls_silent():
    registry = make_registry()
    join(registry, 1, make_member())
    run(registry, 3.5)
    for second in range(4, 30):
        run(registry, second)
        beat(registry, 1, now=float(second))

    assert status(registry) == SUSPECT
    run(registry, 29 + 3 + 10.1)
    assert status(registry) == DEAD


def test_a_closing_link_says_nothing_new_of_a_suspect():
    registry = make_registry()
    join(registry, 1, make_member())
    run(registry, 3.5)
    version = registry.table.version

    registry.submit(Closed(1, "reset"), 3.6)

    assert registry.table.version == version


def test_an_incarnation_past_all_use_is_ignored():
    registry = make_registry()
    join(registry, 1, make_member())

    beat(registry, 1, incarnation=COUNT_MAX + 1)

    assert registry.table.get("n1").incarnation == 0


def test_a_tracker_that_was_stopped_itself_suspects_nobody_for_it():
    registry = make_registry()
    join(registry, 1, make_member())

    registry.tick(60.0)

    assert status(registry) == ALIVE
    run(registry, 64.0)
    assert status(registry) == SUSPECT


def test_the_dead_are_forgotten_where_a_time_was_set():
    registry = make_registry(forget_after_s=60.0)
    join(registry, 1, make_member())
    registry.submit(Closed(1, "reset"), 0.0)

    effects = run(registry, 70.5)

    assert status(registry) == GONE
    assert registry.table.get("n1").note == "given up: dead for 60 s"
    assert emitted(effects)[-1] == "gone"


# -- leaving ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("durable", "holds_counts", "becomes", "events"),
    [
        (True, True, AWAY, ["left"]),
        (True, False, GONE, ["left"]),
        (False, False, GONE, ["left"]),
        (False, True, DEAD, ["counts-lost", "left"]),
    ],
    ids=["durable with counts", "durable without", "memory without", "memory with counts"],
)
def test_a_graceful_stop(durable, holds_counts, becomes, events):
    registry = make_registry()
    join(registry, 1, make_member(durable=durable))
    join(registry, 2, make_member("n2"))

    effects = registry.receive(1, Departing(holds_counts), 5.0)

    assert sent(effects, Departed, 1) == [Departed(becomes)]
    assert emitted(effects) == events
    assert status(registry) == becomes
    [told] = sent(effects, Heartbeat, 2)
    assert news_from_wire(told.page)[0].status == becomes
    assert registry.submit(Closed(1, "bye"), 5.1) == []
    run(registry, 100.0)
    assert status(registry) == becomes


def test_who_is_away_comes_back_as_the_same_member():
    registry = make_registry()
    join(registry, 1, make_member())
    registry.receive(1, Departing(True), 1.0)

    register(registry, 2, make_member(epoch=2), now=50.0)

    assert status(registry) == ALIVE


# -- heartbeats -------------------------------------------------------------------------------


def test_an_idle_heartbeat_is_one_small_message_shared_by_all():
    registry = make_registry()
    for link in range(1, 4):
        join(registry, link, make_member(f"n{link}", port=7400 + link))
    run(registry, 1.0)
    for link in range(1, 4):
        beat(registry, link, now=1.1)

    first, *others = sent(registry.tick(2.0), Heartbeat)

    assert len(others) == 2
    assert all(other is first for other in others)
    assert first.since == first.version == 3
    assert len(MEMBERSHIP.encode(first)) < 40


def test_nodes_at_one_version_are_told_by_the_same_bytes():
    registry = make_registry()
    for link in range(1, 4):
        join(registry, link, make_member(f"n{link}", port=7400 + link))
    run(registry, 1.0)
    for link in range(1, 4):
        beat(registry, link, now=1.1)

    told = sent(register(registry, 9, make_member("n9"), now=1.5), Heartbeat)

    assert len(told) == 3
    assert told[0] is told[1] is told[2]


def test_while_news_is_on_its_way_no_more_is_sent_before_the_interval():
    registry = make_registry()
    join(registry, 1, make_member("n1"))
    run(registry, 1.0)
    beat(registry, 1, now=1.1)
    acknowledged = registry.table.version
    register(registry, 2, make_member("n2"), now=1.2)

    assert sent(register(registry, 3, make_member("n3"), now=1.5), Heartbeat, 1) == []
    assert sent(registry.tick(1.6), Heartbeat, 1) == []
    [again] = sent(registry.tick(2.0), Heartbeat, 1)

    assert again.since == acknowledged
    assert [m.name for m in news_from_wire(again.page)] == ["n2", "n3"]


def test_an_acknowledgement_brings_what_has_changed_meanwhile():
    registry = make_registry()
    join(registry, 1, make_member("n1"))
    run(registry, 1.0)
    beat(registry, 1, now=1.1)
    register(registry, 2, make_member("n2"), now=1.2)
    version = registry.table.version
    register(registry, 3, make_member("n3"), now=1.5)

    [more] = sent(beat(registry, 1, version, now=1.6), Heartbeat, 1)

    assert more.since == version
    assert [m.name for m in news_from_wire(more.page)] == ["n3"]


def test_a_node_that_comes_back_is_told_only_what_it_missed():
    registry = make_registry()
    join(registry, 1, make_member("n1"))
    join(registry, 2, make_member("n2", port=7402))
    seen = registry.table.version
    register(registry, 3, make_member("n3", port=7403), now=0.5)

    register(registry, 4, make_member("n1"), now=0.8)
    [told] = sent(beat(registry, 4, seen, now=0.9), Heartbeat, 4)

    assert told.since == seen
    assert [m.name for m in news_from_wire(told.page)] == ["n3"]


def test_a_version_from_the_future_is_taken_for_the_present():
    registry = make_registry()
    join(registry, 1, make_member("n1"))

    beat(registry, 1, 4_000_000_000)

    [idle] = sent(registry.tick(1.0), Heartbeat, 1)
    assert idle.since == idle.version == 1


def test_a_long_list_comes_in_consecutive_pages_each_of_which_fits_a_frame():
    count = 8 * NEWS_PER_PAGE
    members = [make_member(f"n{i}", note="\N{SNOWMAN}" * 100) for i in range(count)]
    registry = make_registry(members_to_record(members))
    register(registry, 1, make_member("zz"))
    known, effects, version = {}, beat(registry, 1, 0), 0

    for second in range(1, 100):
        pages = sent(effects, Heartbeat, 1)
        assert len(pages) <= PAGES_AT_ONCE_MAX
        for page in pages:
            assert page.since == version
            assert len(MEMBERSHIP.encode(page)) <= FRAME_BYTES_MAX
            known.update({m.name: m for m in news_from_wire(page.page)})
            version = page.version
        if version == registry.table.version:
            break
        effects = beat(registry, 1, version, now=second * 0.06)

    assert len(known) == count + 1


# -- teaching ---------------------------------------------------------------------------------


def teach(registry, link, members, now=0.0):
    return registry.receive(link, Teach(news_to_wire(members)), now)


def test_a_fresh_tracker_learns_from_a_node_and_watches_those_it_was_told_of():
    registry = make_registry()
    join(registry, 1, make_member())
    away = make_member("n3", status=AWAY)
    gone = make_member("n4", status=GONE)

    teach(registry, 1, [make_member("n2"), away, gone], now=0.5)

    assert len(registry) == 3
    assert status(registry, "n2") == ALIVE
    for second in (1.0, 2.0, 3.0):
        beat(registry, 1, now=second)
    run(registry, 4.0)
    assert (status(registry), status(registry, "n2")) == (ALIVE, SUSPECT)
    run(registry, 14.0)
    assert status(registry, "n2") == DEAD
    assert status(registry, "n3") == AWAY
    assert status(registry, "n4") == GONE


def test_older_news_and_repeated_pages_change_nothing():
    registry = make_registry()
    join(registry, 1, make_member(epoch=3))
    teach(registry, 1, [make_member("n2")])
    version = registry.table.version

    teach(registry, 1, [make_member("n2")])
    teach(registry, 1, [make_member(epoch=2, status=DEAD)])

    assert registry.table.version == version


def test_a_page_that_everybody_teaches_is_read_once(monkeypatch):
    read = []
    monkeypatch.setattr(
        "tracker.registry.news_from_wire", lambda page: read.append(page) or news_from_wire(page)
    )
    registry = make_registry()
    for link in range(3):
        join(registry, link, make_member(f"n{link}", port=7000 + link))
        teach(registry, link, [make_member("x")])

    assert len(read) == 1


def test_later_news_of_a_watched_stranger_renews_the_watch():
    registry = make_registry()
    join(registry, 1, make_member())
    teach(registry, 1, [make_member("n2")], now=0.0)
    for second in (1.0, 2.0, 2.9):
        beat(registry, 1, now=second)
    teach(registry, 1, [make_member("n2", incarnation=1)], now=2.5)

    run(registry, 3.5)
    assert status(registry, "n2") == ALIVE
    run(registry, 5.6)
    assert status(registry, "n2") == SUSPECT


def test_a_bad_page_is_refused_and_the_node_stays():
    registry = make_registry()
    join(registry, 1, make_member())

    [refused] = sent(registry.receive(1, Teach(b"\xc1"), 0.0), Refused, 1)

    assert refused.code == "bad-page"
    assert status(registry) == ALIVE


def test_a_full_table_learns_nobody_new_and_still_learns_of_the_known():
    registry = make_registry(members_max=2)
    join(registry, 1, make_member())
    teach(registry, 1, [make_member("n2")])

    teach(registry, 1, [make_member("n3"), make_member("n2", epoch=9)])

    assert registry.table.get("n3") is None
    assert registry.table.get("n2").epoch == 9


def test_a_name_given_away_twice_belongs_to_the_later_registration():
    registry = make_registry()
    join(registry, 1, make_member("n1"))
    join(registry, 2, make_member("n2", port=7402))

    effects = teach(registry, 1, [make_member("n2", "other", reign=1)])

    assert refusal(effects, 2).code == "name-lost"
    assert registry.table.get("n2").reign == 1


def test_suspicion_taught_about_a_living_member_is_published_so_that_it_can_deny_it():
    registry = make_registry()
    join(registry, 1, make_member("n1"))
    join(registry, 2, make_member("n2", port=7402))

    effects = teach(registry, 1, [make_member("n2", port=7402, status=SUSPECT)], now=0.5)

    told = [m for page in sent(effects, Heartbeat, 2) for m in news_from_wire(page.page)]
    assert [m.status for m in told if m.name == "n2"] == [SUSPECT]


# -- the saved list ---------------------------------------------------------------------------


def persists(effects):
    return [e for e in effects if isinstance(e, Persist)]


def test_the_list_is_saved_when_it_changed_and_not_otherwise():
    registry = make_registry()

    [record] = persists(join(registry, 1, make_member()))

    assert (record.token, record.kind) == (1, "members")
    assert list(members_from_record(record.record)) == [make_member()]
    registry.submit(Persisted(1), 0.1)
    for second in range(1, 4):
        assert persists(registry.tick(float(second))) == []
        beat(registry, 1, now=float(second))


def test_the_more_members_the_rarer_is_the_list_saved_with_tokens_that_grow_by_one():
    many = [make_member(f"m{number}", port=9_000 + number) for number in range(900)]
    registry = make_registry(members_to_record(many))
    records = []
    for step in range(100):
        now = step * 0.02
        effects = register(registry, step, make_member(f"n{step}", port=7000 + step), now=now)
        effects += registry.tick(now)
        for record in persists(effects):
            records.append((now, record.token))
            registry.submit(Persisted(record.token), now)

    assert [token for _, token in records] == [1, 2, 3, 4]


def test_while_one_record_is_being_written_no_other_is_begun():
    registry = make_registry()
    register(registry, 1, make_member("n1"), now=0.0)

    assert persists(register(registry, 2, make_member("n2"), now=5.0)) == []
    [record] = persists(registry.submit(Persisted(1), 6.0))

    assert record.token == 2


def test_a_failed_write_is_said_and_tried_again_later():
    registry = make_registry()
    register(registry, 1, make_member())

    effects = registry.submit(PersistFailed(1, "disk\x1b full", True), 1.0)

    assert effects == [Emit("members-not-saved", {"reason": "disk\\x1b full"})]
    assert [r.token for r in persists(run(registry, 5.9))] == []
    assert [r.token for r in persists(run(registry, 6.1))] == [2]


def test_a_tracker_that_leaves_saves_what_it_has_not_saved_yet():
    registry = make_registry()
    register(registry, 1, make_member())
    registry.submit(Persisted(1), 0.01)
    register(registry, 2, make_member("n2"), now=0.02)

    assert len(persists(registry.submit(Leave(), 0.03))) == 1


def test_a_restarted_tracker_knows_who_is_missing():
    saved = members_to_record([make_member("n1"), make_member("n2", status=DEAD)])
    registry = make_registry(saved)

    assert len(registry) == 2
    effects = run(registry, 3.1)
    assert emitted(effects) == ["suspect"]
    assert (status(registry, "n1"), status(registry, "n2")) == (SUSPECT, DEAD)


@pytest.mark.parametrize(
    "record",
    [b"", b"\xc1", b"\x90", b"\x92\x09\x90", b"\x92\x01\x91\x05", b"\x92\x01\x91\xc4\x01\xc1"],
    ids=["empty", "no msgpack", "no fields", "later format", "no page", "bad page"],
)
def test_a_damaged_list_is_not_taken_for_an_empty_one(record):
    with pytest.raises(FrameError):
        make_registry(record)


# -- clients ----------------------------------------------------------------------------------


def test_a_client_finds_a_member_by_name_without_registering():
    registry = make_registry()
    join(registry, 1, make_member())
    beat(registry, 1, activity=42)

    [found] = sent(registry.receive(9, Find(5, "n1"), 0.0), Found, 9)

    assert found == Found(5, (("n1", "10.0.0.11", 7401, ALIVE, 42),))


@pytest.mark.parametrize("name", ["nobody", "\x1b[2J", "gone"])
def test_a_name_nobody_has_is_unknown_and_printed_safely(name):
    registry = make_registry(members_to_record([make_member("gone", status=GONE)]))

    [refused] = sent(registry.receive(9, Find(5, name), 0.0), Refused, 9)

    assert (refused.request, refused.code) == (5, "unknown")
    assert "\x1b" not in refused.text


def test_candidates_are_living_members_in_random_order_and_not_too_many():
    members = [make_member(f"n{i}", port=1000 + i) for i in range(100)]
    dead = [make_member(f"d{i}", status=DEAD) for i in range(100)]
    registry = make_registry(members_to_record(members + dead))

    draws = [sent(registry.receive(9, Find(1, ""), 0.0), Found)[0].candidates for _ in range(3)]

    assert all(len(draw) == len(set(draw)) == CANDIDATES_MAX for draw in draws)
    assert all(row[0].startswith("n") for draw in draws for row in draw)
    assert len(set(draws)) == 3


def test_turns_go_round_all_who_live_however_many_they_are():
    members = [make_member(f"n{i}", port=1000 + i) for i in range(100)]
    dead = [make_member(f"d{i}", status=DEAD) for i in range(10)]
    registry = make_registry(members_to_record(members + dead))

    rounds = [
        [row[0] for row in sent(registry.receive(9, Find(1, "", turn), 0.0), Found)[0].candidates]
        for turn in range(200)
    ]

    firsts = [names[0] for names in rounds]
    assert sorted(firsts[:100]) == sorted(member.name for member in members)
    assert firsts[100:] == firsts[:100]
    # Whoever finds the first one gone goes on with those who have their turns behind it.
    assert all(names == (firsts * 2)[i : i + CANDIDATES_MAX] for i, names in enumerate(rounds))


def test_a_turn_among_few_names_each_of_them_once():
    registry = make_registry()
    for link in range(3):
        join(registry, link, make_member(f"n{link}", port=7000 + link))

    [found] = sent(registry.receive(9, Find(1, "", 2**62), 0.0), Found)

    assert sorted(row[0] for row in found.candidates) == ["n0", "n1", "n2"]


def test_those_who_died_are_no_candidates_any_more():
    registry = make_registry()
    for link in range(5):
        join(registry, link, make_member(f"n{link}", port=7000 + link))
    for link in (1, 4, 0):
        registry.submit(Closed(link, "reset"), 0.0)

    [found] = sent(registry.receive(9, Find(1, ""), 0.0), Found)

    assert {row[0] for row in found.candidates} == {"n2", "n3"}


def test_an_empty_tracker_has_no_candidates_and_an_empty_roster():
    registry = make_registry()

    assert sent(registry.receive(9, Find(1, ""), 0.0), Found) == [Found(1, ())]
    assert sent(registry.receive(9, Find(1, "", 7), 0.0), Found) == [Found(1, ())]
    assert sent(registry.receive(9, Roster(2), 0.0), Listed) == [Listed(2, True, ())]


def test_the_roster_says_who_is_how_for_how_long():
    registry = make_registry()
    join(registry, 1, make_member("n2"))
    beat(registry, 1, activity=3)
    join(registry, 2, make_member("n1"))
    registry.submit(Closed(2, "reset"), 1.0)

    [listed] = sent(registry.receive(9, Roster(7), 3.5), Listed, 9)

    rows = [(m.name, m.status, seconds, activity) for m, seconds, activity in listed.rows]
    assert rows == [("n1", SUSPECT, 2.5, -1), ("n2", ALIVE, 3.5, 3)]
    assert listed.end


def test_a_long_roster_comes_in_pages_that_fit():
    members = [make_member(f"n{i}", note="\N{SNOWMAN}" * 400) for i in range(600)]
    registry = make_registry(members_to_record(members))

    pages = sent(registry.receive(9, Roster(7), 1.0), Listed, 9)

    assert [page.end for page in pages] == [False] * (len(pages) - 1) + [True]
    assert sum(len(page.rows) for page in pages) == 600
    assert all(MEMBERSHIP.decode(MEMBERSHIP.encode(p)) == p for p in pages)
    assert all(len(MEMBERSHIP.encode(p)) <= FRAME_BYTES_MAX for p in pages)


def test_a_member_that_is_not_alive_can_be_given_up():
    registry = make_registry()
    join(registry, 1, make_member())
    registry.submit(Closed(1, "reset"), 1.0)

    effects = registry.receive(9, Forget(4, "n1"), 3.0)

    assert sent(effects, Forgotten, 9) == [Forgotten(4, SUSPECT, 2.0)]
    assert emitted(effects) == ["gone"]
    assert status(registry) == GONE
    assert sent(registry.receive(9, Forget(5, "n1"), 4.0), Forgotten) == [Forgotten(5, GONE, 1.0)]


@pytest.mark.parametrize(("name", "code"), [("n1", "alive"), ("n2", "unknown")])
def test_the_living_and_the_unknown_cannot_be_given_up(name, code):
    registry = make_registry()
    join(registry, 1, make_member())

    [refused] = sent(registry.receive(9, Forget(4, name), 3.0), Refused, 9)

    assert (refused.request, refused.code) == (4, code)
    assert status(registry) == ALIVE


def test_a_forgotten_member_that_was_only_paused_has_to_register_and_is_alive_again():
    registry = make_registry()
    join(registry, 1, make_member())
    run(registry, 14.0)

    effects = registry.receive(9, Forget(4, "n1"), 14.5)
    assert Close(1) in effects
    [refused] = sent(beat(registry, 1, now=15.0), Refused, 1)
    assert refused.code == "not-registered"
    register(registry, 2, make_member(), now=15.5)

    assert status(registry) == ALIVE
    assert registry.table.get("n1").incarnation == 1


def test_of_two_names_taught_for_one_store_the_later_owns_it():
    registry = make_registry()
    join(registry, 1, make_member())
    teach(registry, 1, [make_member("a", "s", status=DEAD), make_member("b", "s", status=DEAD)])

    registry.receive(9, Forget(4, "a"), 1.0)

    assert registry.table.owner_of(b"s".ljust(16, b".")).name == "b"


def test_the_digest_kept_with_each_change_is_that_of_the_view():
    registry = make_registry()
    for link in range(6):
        join(registry, link, make_member(f"n{link}", port=7000 + link))
    registry.submit(Closed(1, "reset"), 0.0)
    registry.receive(2, Departing(False), 0.0)
    beat(registry, 3, incarnation=4)

    assert registry.table.digest == View(dict(registry.table.members)).digest


def test_tombstones_are_kept_up_to_a_limit_the_oldest_go_first(monkeypatch):
    monkeypatch.setattr("tracker.table.TOMBSTONES_MAX", 2)
    registry = make_registry()
    for link in range(3):
        join(registry, link, make_member(f"n{link}", port=7000 + link))
        registry.receive(link, Departing(False), 0.0)

    assert sorted(registry.table.members) == ["n1", "n2"]
    assert len(registry) == 0
    assert registry.table.digest == View(dict(registry.table.members)).digest


def test_what_was_forgotten_meanwhile_is_removed_without_a_word(monkeypatch):
    monkeypatch.setattr("tracker.table.TOMBSTONES_MAX", 1)
    table = Table(EPOCH)
    for name in ("n1", "n2"):
        table.put(make_member(name).became(GONE), 0.0)

    table.remove("n1")

    assert sorted(table.members) == ["n2"]


def test_the_pages_kept_encoded_are_limited(monkeypatch):
    monkeypatch.setattr("tracker.table.RANGES_MAX", 2)
    registry = make_registry(members_to_record([make_member(f"n{i}") for i in range(9)]))

    for since in range(8):
        [first, *_] = registry.table.heartbeats(since)
        assert first.since == since

    assert len(registry.table._ranges) == 2
