"""Whom a tracker takes in under which name, and whom it refuses."""

import pytest
from one_tracker import (
    beat,
    emitted,
    join,
    make_member,
    make_registry,
    refusal,
    register,
    run,
    sent,
    status,
)

from tracker.machine import (
    Close,
    Closed,
)
from tracker.members import ALIVE, DEAD, GONE, Member
from tracker.messages import (
    MEMBERSHIP,
    Departing,
    Refused,
    Registered,
    Teach,
    news_to_wire,
)
from tracker.pages import members_to_record
from tracker.table import COUNT_MAX


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
