"""An older backup that is put back while a copy of its store holds more of that store as a part.

No tracker is there to judge, or one comes back without its list: no complete answer lacks what the
copy holds, before the backup is found out, in that moment, and after.
"""

from hashlib import blake2b

import pytest
from identity_world import Cluster
from older_backup import found_out, put_back_older

from counter import listener, query
from counter.parents import Parents
from tracker.members import Member
from tracker.membership import Membership


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "restarts"), [(1, 0), (3, 0), (5, 1), (7, 0), (7, 1), (12, 1), (13, 0), (34, 3)]
)
def test_an_older_backup_is_known_to_who_holds_a_part_of_its_store_and_begins_anew(seed, restarts):
    cluster, old = put_back_older(Cluster(seed), restarts)

    assert cluster.wrong == []
    assert "reborn True" in cluster.events
    cluster.start_tracker()
    cluster.go_on(20.0)
    cluster.wanted = lambda: {0, 1} | cluster.holds[old]
    assert cluster.final()
    assert cluster.wrong == []


def wrong_in(seeds):
    """Return what was wrong in the worlds of these seeds, and how many answers were complete."""
    worlds = {seed: found_out(seed) for seed in seeds}
    wrong = {seed: world.wrong for seed, world in worlds.items() if world and world.wrong}
    return wrong, sum([world.completes for world in worlds.values() if world])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 8, 20, 67])
def test_no_complete_answer_takes_the_word_of_an_older_backup_however_it_is_put_back(seed):
    wrong, _ = wrong_in([seed])

    assert wrong == {}


@pytest.mark.soak
@pytest.mark.timeout(7_200)
def test_no_complete_answer_takes_it_in_a_thousand_worlds():
    wrong, completes = wrong_in(range(1_000, 2_000))

    assert wrong == {}
    assert completes > 10_000


# -- planted mistakes -------------------------------------------------------------------------


@pytest.mark.slow
def test_answers_lack_what_only_a_part_has_where_its_holder_asks_nobody(monkeypatch):
    monkeypatch.setattr(Parents, "look", lambda self, now: [])

    assert put_back_older(Cluster(1))[0].wrong != []


@pytest.mark.slow
def test_so_they_do_where_it_answers_by_a_list_that_lacks_what_the_origin_has_learned(monkeypatch):
    monkeypatch.setattr(listener, "tells_parts", lambda reply: False)

    assert put_back_older(Cluster(5))[0].wrong != []


@pytest.mark.slow
def test_so_they_do_where_the_origin_learns_of_a_start_between_asking_and_hearing(monkeypatch):
    monkeypatch.setattr(query, "has_begun_anew", lambda parts, before, after: False)

    assert put_back_older(Cluster(7), restarts=0)[0].wrong != []


@pytest.mark.slow
def test_so_they_do_where_nobody_says_that_it_was_found_out_meanwhile(monkeypatch):
    monkeypatch.setattr(listener, "UNHELD", 0)

    assert put_back_older(Cluster(8), restarts=0)[0].wrong != []


@pytest.mark.slow
def test_so_they_do_where_a_start_answers_that_has_yet_to_tell_others_of_itself(monkeypatch):
    def unjudged(self, *, is_doubtful):
        self.is_doubted = self.is_doubted and is_doubtful

    monkeypatch.setattr(Membership, "unjudged", unjudged)

    assert wrong_in([2])[0] != {}


@pytest.mark.slow
def test_so_they_do_where_a_list_with_another_start_of_that_number_passes_for_the_same(monkeypatch):
    def roll_mark(self):
        told = repr((self.name, self.store, self.reign, self.epoch, self.incarnation)).encode()
        return int.from_bytes(blake2b(told, digest_size=8).digest(), "big")

    monkeypatch.setattr(Member, "roll_mark", property(roll_mark))

    assert wrong_in([67, 70])[0] != {}
