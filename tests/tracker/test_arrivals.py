"""A tracker that has not heard a store yet waits for the one that runs, before it takes a copy."""

from random import Random

import pytest

from counter.config import NodeConfig
from tracker import arrivals as module
from tracker.arrivals import WAIT_S, Arrivals
from tracker.config import TrackerConfig
from tracker.contact import SILENT_INTERVALS
from tracker.machine import Closed, Opened, Persisted, Send
from tracker.members import ALIVE, DEAD, NOBODY, Member
from tracker.membership import Membership
from tracker.messages import (
    ARRIVING_MAX,
    MEMBERSHIP,
    Announced,
    Beat,
    Find,
    Found,
    Heartbeat,
    Register,
    Registered,
    Roster,
    Teach,
    news_to_wire,
)
from tracker.registry import Registry

STORE = b"s" * 16
TRACKER = ("10.0.0.100", 7400)
COPY, ORIGINAL, OTHER = 1, 2, 3


def make_member(name="n1", *, store=STORE, epoch=2, boot=b"copy", port=7409, **changes):
    told = b"".join([boot] * 2)
    return Member(name, store, 0, epoch, 0, "10.0.0.1", port, boot=told, **changes)


def made(**changes):
    return Register(make_member(**changes), is_back=True)


RUNNING = Register(make_member(epoch=1, boot=b"orig", port=7401), has_counted=True)


def make_registry():
    registry = Registry(TrackerConfig(), b"t" * 8, None, Random(1))
    registry.start(0.0)
    return registry


def words(effects, link):
    return [e.message for e in effects if isinstance(e, Send) and e.to == link]


def first_word(effects, link):
    return next(w for w in words(effects, link) if not isinstance(w, Heartbeat))


def test_a_copy_that_comes_first_waits_and_is_refused_once_its_store_is_here():
    registry = make_registry()

    assert registry.receive(COPY, made(), 0.1) == []
    assert registry.table.owner_of(STORE) is None
    assert isinstance(first_word(registry.receive(ORIGINAL, RUNNING, 2.0), ORIGINAL), Registered)
    assert registry.deadline() <= 0.1 + WAIT_S
    refused = first_word(registry.tick(0.1 + WAIT_S), COPY)

    assert refused.code == "in-use"
    assert registry.table.owner_of(STORE).boot == b"origorig"


def test_a_start_of_which_nobody_else_comes_is_taken_in_when_the_wait_is_over():
    registry = make_registry()

    registry.receive(COPY, made(), 0.1)
    registry.tick(WAIT_S)
    assert len(registry) == 0

    assert isinstance(first_word(registry.tick(0.1 + WAIT_S), COPY), Registered)
    assert registry.table.owner_of(STORE).boot == b"copycopy"


def test_a_store_that_was_heard_here_before_waits_no_more():
    registry = make_registry()
    registry.receive(ORIGINAL, RUNNING, 0.1)
    registry.submit(Closed(ORIGINAL, "reset"), 50.0)

    again = Register(make_member(boot=b"next", port=7401), b"origorig", is_back=True)

    assert isinstance(first_word(registry.receive(COPY, again, 50.0), COPY), Registered)


def asked(registry, message, now):
    return words(registry.receive(OTHER, message, now), OTHER)[0]


def test_clients_are_told_who_has_come_and_when_it_is_judged():
    registry = make_registry()
    registry.receive(COPY, made(), 0.5)
    registry.receive(ORIGINAL, made(name="n2", store=b"o" * 16), 1.0)

    assert asked(registry, Find(1, "n1"), 1.0) == Found(1, (), WAIT_S - 0.5)
    assert asked(registry, Find(1, ""), 1.0) == Found(1, (), WAIT_S - 0.5)
    assert asked(registry, Find(1, "n2"), 2.0) == Found(1, (), WAIT_S - 1.0)
    assert asked(registry, Find(1, "n3"), 1.0).code == "unknown"
    listed = asked(registry, Roster(1), 1.0)
    assert listed.rows == ()
    assert listed.arriving == (("n1", "10.0.0.1", 7409, 2.0), ("n2", "10.0.0.1", 7409, WAIT_S))

    registry.tick(0.5 + WAIT_S)
    registry.tick(1.0 + WAIT_S)
    assert asked(registry, Roster(1), 4.0).arriving == ()
    assert asked(registry, Find(1, "n1"), 4.0).arriving_s == -1.0


def test_a_member_that_is_back_elsewhere_is_told_where_it_was_and_when_it_is_judged():
    registry = make_registry()
    registry.table.put(make_member(epoch=1, boot=b"orig", port=7401, status=DEAD), 0.0)
    registry.receive(COPY, made(), 0.5)

    found = asked(registry, Find(1, "n1"), 0.5)

    assert found == Found(1, (("n1", "10.0.0.1", 7401, DEAD, 0),), WAIT_S)


def test_only_so_many_of_those_who_have_come_are_named():
    registry = make_registry()
    for link in range(ARRIVING_MAX + 1):
        registry.receive(link, made(name=f"n{link}", store=bytes([link]) * 16), 0.5)

    (listed,) = words(registry.receive(99, Roster(1), 0.5), 99)

    assert len(listed.arriving) == ARRIVING_MAX


def test_whoever_has_to_wait_says_nothing_more_and_is_forgotten_with_its_stream():
    registry = make_registry()
    registry.receive(COPY, made(), 0.1)

    assert first_word(registry.receive(COPY, made(), 0.2), COPY).code == "unexpected"
    registry.submit(Closed(COPY, "reset"), 0.3)

    assert words(registry.tick(0.1 + WAIT_S), COPY) == []
    assert len(registry) == 0


def test_the_wait_goes_on_from_one_stream_of_a_start_to_the_next():
    arrivals = Arrivals(lambda member: False, 9)

    assert arrivals.puts_off(1, made(), 1.0)
    arrivals.remove(1)
    assert arrivals.puts_off(2, made(), 2.0)
    assert arrivals.puts_off(3, made(boot=b"more"), 2.0)

    assert arrivals.deadline() == 1.0 + WAIT_S
    assert [link for link, _ in arrivals.due(1.0 + WAIT_S)] == [2]
    assert arrivals.deadline() == 2.0 + WAIT_S
    assert arrivals.due(1.0 + WAIT_S) == []
    assert not arrivals.puts_off(2, made(), 1.0 + WAIT_S)
    assert [link for link, _ in arrivals.due(9.0)] == [3]
    assert arrivals.deadline() is None


def test_only_so_many_starts_are_remembered_and_one_that_is_forgotten_waits_anew():
    arrivals = Arrivals(lambda member: False, 1)
    arrivals.puts_off(1, made(), 0.0)
    arrivals.puts_off(2, made(boot=b"more"), 0.0)

    assert arrivals.puts_off(3, made(), WAIT_S)


def test_whoever_starts_again_where_its_store_is_known_to_be_waits_for_nobody():
    registry = make_registry()
    registry.table.put(make_member(epoch=1, boot=b"orig", port=7409, status=3), 0.0)

    again = Register(make_member(), b"origorig", is_back=True)

    assert isinstance(first_word(registry.receive(COPY, again, 0.1), COPY), Registered)


@pytest.mark.parametrize("status", [ALIVE, 1, 2], ids=["alive", "suspect", "dead"])
def test_who_is_known_by_hearsay_alone_is_waited_for_as_well(status):
    registry = make_registry()
    registry.table.put(make_member(epoch=1, boot=b"orig", port=7401, status=status), 0.0)

    assert registry.receive(COPY, made(), 9.0) == []
    assert isinstance(first_word(registry.receive(ORIGINAL, RUNNING, 9.5), ORIGINAL), Registered)


def test_a_store_that_is_only_said_to_live_elsewhere_is_not_waited_for_any_longer():
    registry = make_registry()
    registry.table.put(make_member(epoch=1, boot=b"orig", port=7401), 0.0)
    registry.receive(COPY, Register(make_member(), b"origorig", is_back=True), 0.5)

    assert isinstance(first_word(registry.tick(0.5 + WAIT_S), COPY), Registered)


def told_of(epoch, *, has_joined=False):
    """Return whether a node in this life tells a tracker that it is back."""
    own = make_member(epoch=epoch)
    node = Membership((TRACKER,), own, NOBODY, Random(1), 1.0, 0.1, 1.5)
    node.start(0.0)
    (sent,) = node.submit(Opened(5, TRACKER), 0.0)
    if has_joined:
        node.receive(5, Registered(b"t" * 8, 0, 0, 0), 0.0)
        node.receive(5, Heartbeat(b"t" * 8, 1, 0, news_to_wire([own])), 0.0)
        node.submit(Closed(5, "reset"), 1.0)
        node.tick(3.0)
        (sent,) = node.submit(Opened(6, TRACKER), 3.0)
    return MEMBERSHIP.decode(MEMBERSHIP.encode(sent.message)).is_back


def test_a_node_is_back_in_a_later_life_until_a_tracker_has_let_that_in():
    assert not told_of(1)
    assert told_of(2)
    assert not told_of(2, has_joined=True)


def test_whoever_runs_is_back_before_the_wait_is_over_and_a_node_waits_longer_for_a_word():
    config = NodeConfig(name="n1")

    assert config.reconnect_max_s < module.WAIT_S < SILENT_INTERVALS * config.interval_s


def announced(registry, link, now):
    """Return who is told that all know of it, once one link has acknowledged all news."""
    said = [*registry.submit(Persisted(1), now), *registry.tick(now + 0.5)]
    said += registry.submit(Persisted(2), now + 0.5)
    said += registry.receive(link, Beat(registry.table.version, 0, 0), now + 0.5)
    return {e.to for e in said if isinstance(e, Send) and isinstance(e.message, Announced)}


def test_of_several_starts_of_one_store_none_is_announced_while_a_member_is_away():
    registry = make_registry()
    registry.receive(COPY, made(), 0.1)
    registry.receive(ORIGINAL, made(boot=b"orig", port=7401), 0.2)
    registry.tick(0.1 + WAIT_S)
    away = make_member("n2", store=b"o" * 16, epoch=1)
    registry.receive(COPY, Teach(news_to_wire((away,))), 3.0)

    assert registry.table.owner_of(STORE).boot == b"copycopy"
    assert announced(registry, COPY, 3.1) == set()

    back = Register(make_member("n2", store=b"o" * 16, epoch=1), has_counted=True)
    registry.receive(OTHER, back, 3.7)

    assert announced(registry, OTHER, 3.8) == {COPY, OTHER}


def test_a_start_that_crashed_while_it_waited_is_no_other_one():
    registry = make_registry()
    registry.receive(ORIGINAL, made(boot=b"orig"), 0.1)
    registry.submit(Closed(ORIGINAL, "reset"), 0.2)
    again = Register(make_member(epoch=3, boot=b"next"), b"origorig", is_back=True)
    registry.receive(COPY, again, 0.3)
    registry.tick(0.3 + WAIT_S)
    registry.receive(COPY, Teach(news_to_wire((make_member("n2", store=b"o" * 16, epoch=1),))), 3.0)

    assert announced(registry, COPY, 3.1) == {COPY}
