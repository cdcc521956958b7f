"""What a tracker is taught, keeps on disk, and may forget."""

import pytest
from one_tracker import (
    EPOCH,
    beat,
    emitted,
    join,
    make_member,
    make_registry,
    persists,
    refusal,
    register,
    run,
    sent,
    status,
    teach,
)

from tracker.errors import FrameError
from tracker.machine import (
    Closed,
    Emit,
    Leave,
    Persisted,
    PersistFailed,
)
from tracker.members import ALIVE, AWAY, DEAD, GONE, SUSPECT, View
from tracker.messages import (
    Departing,
    Forget,
    Heartbeat,
    Refused,
    Teach,
    news_from_wire,
)
from tracker.pages import members_from_record, members_to_record
from tracker.table import Table


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


def test_a_restarted_tracker_forgets_those_first_that_have_been_gone_longest(monkeypatch):
    """Its list was in the order in which they had joined."""
    monkeypatch.setattr("tracker.table.TOMBSTONES_MAX", 2)
    table = Table(EPOCH)
    for name in ("n0", "n1", "n2"):
        table.put(make_member(name), 0.0)
    for name in ("n1", "n0"):
        table.put(make_member(name).became(GONE), 0.0)

    again = make_registry(members_to_record(table.members.values())).table
    again.put(make_member("n2").became(GONE), 0.0)

    assert sorted(again.members) == ["n0", "n2"]


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
