"""Worlds whose faults are drawn from a seed: all of them hold, and planted mistakes do not.

The rule: a mistake is planted in the product, never in the test, and is to be found by the very
checks and among the very seeds that the product passes.
"""

from itertools import count

import pytest

from counter import lives
from counter.hearsay import Hearsay
from counter.ledger import Ledger
from counter.messages import ACK_MEMORY
from counter.sessions import Known, Sessions
from loadtest.scenarios.drawn import drawn
from loadtest.scenarios.judge import Judge
from loadtest.scenarios.play import play
from loadtest.simulation import lives as nodes
from tracker import admission, reputation
from tracker.announcement import Announcement
from tracker.digest import blake2b
from tracker.membership import Membership
from tracker.written import Written

WORLDS = 200
PARTS = 8
WORLDS_OF_A_SOAK = 5_000


def failed(seed):
    """Play the world of a seed; returns what did not hold in it, and how."""
    judge = Judge(drawn(seed))
    play(judge.scenario, seed, judge)
    return [row["name"] for row in judge.checks() if not row["ok"]], judge.faults


# -- the worlds -------------------------------------------------------------------------------


def test_one_seed_draws_one_world_and_another_seed_another():
    assert drawn(4711) == drawn(4711)
    assert drawn(4711) != drawn(4712)


def test_the_worlds_hold_every_kind_of_fault_and_more_than_one_at_a_time():
    worlds = [drawn(seed) for seed in range(WORLDS)]
    kinds = {event.do for world in worlds for event in world.events}

    assert kinds >= {"crash", "restart", "partition", "pause", "slow", "disk-full", "join"}
    assert kinds >= {"backup", "forget"}
    assert {world.fsync_s for world in worlds} >= {0.001, 0.1}
    assert any(world.network.loss and world.network.duplicates for world in worlds)
    assert sum(len({event.do for event in world.events}) > 1 for world in worlds) > WORLDS / 2


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_goes_wrong_nothing_is_lost_and_nothing_counted_twice(part):
    found = {seed: failed(seed) for seed in range(part, WORLDS, PARTS)}

    assert {seed: what for seed, what in found.items() if what[0]} == {}


@pytest.mark.soak
@pytest.mark.timeout(1_800)
def test_in_thousands_of_worlds_nothing_is_lost_and_nothing_counted_twice():
    for seed in range(WORLDS, WORLDS_OF_A_SOAK):
        assert (seed, *failed(seed)) == (seed, [], [])


# -- planted mistakes -------------------------------------------------------------------------


def acknowledge_before_fsync(patch):
    taken = Ledger._taken

    def early(self, link, message):
        message.ack = ACK_MEMORY
        return taken(self, link, message)

    patch.setattr(Ledger, "_taken", early)


def no_dedup(patch):
    patch.setattr(Sessions, "look_up", lambda self, session, sequence, pairs: Known.NEW)


def identity_by_name(patch):
    """Count as whoever had the name before; each start knows itself for the latest."""
    starts = count(1)

    def by_name(identity, name, endpoint):
        store = blake2b(name.encode(), digest_size=16).digest()
        member = lives.member_of(identity, name, endpoint)
        return replace_fields(member, store=store, boot=b"", epoch=next(starts))

    patch.setattr(nodes, "member_of", by_name)


def old_backups_let_in(patch):
    """Know a start by its number alone."""

    def by_epoch(newcomer, known, lineage):
        return newcomer.epoch < known.epoch

    patch.setattr(admission, "is_overtaken", by_epoch)
    patch.setattr(reputation, "is_overtaken", by_epoch)
    patch.setattr(Written, "of", lambda self, member: -1)


def complete_by_own_list(patch):
    """Believe the own list, hear of no other, and wait for nobody to hear of this node."""
    patch.setattr(Membership, "known_until", lambda self, now, fresh_s: float("inf"))
    patch.setattr(Hearsay, "hear", lambda self, roll, source: None)
    patch.setattr(Announcement, "look", lambda self, now, *, is_seeking: True)


def replace_fields(member, **changes):
    fields = {name: getattr(member, name) for name in type(member).__match_args__}
    return type(member)(**{**fields, **changes})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "first"),
    [
        pytest.param(acknowledge_before_fsync, 0, id="acknowledge before fsync"),
        pytest.param(no_dedup, 0, id="no dedup"),
        # In world 1 it is found as well, but two who fight for one identity take long to play.
        pytest.param(identity_by_name, 2, id="identity by name"),
        pytest.param(old_backups_let_in, 0, id="old backups let in"),
        pytest.param(complete_by_own_list, 0, id="complete by own list"),
    ],
)
def test_a_planted_mistake_is_found_among_the_worlds_that_hold_without_it(
    monkeypatch, plant, first
):
    plant(monkeypatch)

    assert any(failed(seed)[0] for seed in range(first, WORLDS))
