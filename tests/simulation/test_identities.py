"""Backups put back, directories copied and started twice, trackers that lose their lists, stretches
without any: no answer counts an increment twice, and a complete one lacks none that a member holds.
"""

from random import Random

import identity_world
import pytest
from identity_world import (
    APART_S,
    HOMES,
    SPARE,
    TRACKER,
    Cluster,
    RestartedCluster,
    RetryingCluster,
    StricterCluster,
    UnnoticedCluster,
    played,
)

from counter import ledger, moving, partial
from counter.embargo import Embargo
from counter.forks import Forks
from counter.newcomers import Newcomers
from loadtest.simulation import disks
from tracker.arrivals import Arrivals


@pytest.mark.slow
def test_backups_and_copies_make_no_complete_answer_wrong_and_count_nothing_twice():
    wrong, completes, events = played(range(10))

    assert wrong == {}
    assert completes > 1_000
    assert {"reborn True", "name-lost", "drained", "introduction-refused"} <= set(events)


@pytest.mark.slow
def test_what_copies_that_began_anew_go_on_with_beside_their_stores_counts_once():
    wrong, completes, events = played(range(6), RestartedCluster)

    assert wrong == {}
    assert completes > 1_000
    assert {"beside", "drained", "introduction-refused", "reborn True"} <= set(events)


@pytest.mark.slow
def test_a_backup_of_a_store_that_was_handed_over_is_believed_by_no_node_that_knows_it():
    # Its heir is away, and the tracker has lost its list.
    wrong, completes, events = played([20133], RetryingCluster)

    assert wrong == {}
    assert completes > 100
    assert {"drained", "introduction-refused"} <= set(events)


@pytest.mark.slow
def test_what_one_of_several_copies_acknowledged_alone_counts_when_another_one_is_the_store():
    # It had counted where it found nobody, and was the first to come to a tracker without a list.
    cluster = StricterCluster(20117)
    cluster.play()

    assert "beside" in cluster.events
    assert 14 in cluster.wanted()
    assert cluster.final()
    assert cluster.wrong == []


@pytest.mark.slow
def test_a_start_that_was_announced_yields_to_no_copy_that_one_with_an_old_list_believes():
    # The tracker dies, a backup of another node is put back, and hears of the copy first.
    wrong, completes, events = played([30213], StricterCluster)

    assert wrong == {}
    assert completes > 100
    assert "introduction-refused" in events


@pytest.mark.slow
def test_what_clients_send_again_to_lives_that_go_on_from_the_one_they_sent_it_to_counts_once():
    wrong, completes, events = played(range(6), RetryingCluster)

    assert wrong == {}
    assert completes > 1_000
    assert {"beside", "drained", "introduction-refused", "reborn True"} <= set(events)


@pytest.mark.slow
def test_an_answer_of_many_keys_lacks_no_part_of_a_store_that_is_given_up_meanwhile():
    wrong, completes, _ = played([1270, 1301, 1308], RestartedCluster)

    assert wrong == {}
    assert completes > 150


@pytest.mark.slow
def test_no_complete_answer_lacks_a_node_that_a_tracker_without_its_list_has_yet_to_hear():
    wrong, completes, _ = played([58, 66, 100, 106, 117, 155], StricterCluster)

    assert wrong == {}
    assert completes > 300


def copied_twice():
    """Let a copy count where nobody reaches it, and copy it once more.

    Returns the cluster once both have gone on beside their store, or ended.
    """
    cluster = Cluster(1)
    home, (first, second, *_) = HOMES["n1"], SPARE
    cluster.count(home)
    cluster.pause(1.5)
    cluster.world.crash(TRACKER)
    for place, origin in ((first, home), (second, first)):
        cluster.copy_apart(origin, place)
    cluster.crash(first)
    cluster.start(first)
    cluster.start_tracker()
    cluster.go_on(20.0)
    return cluster


@pytest.mark.slow
def test_what_a_copy_wrote_before_it_was_told_counts_once_however_often_it_is_copied():
    cluster = copied_twice()

    # The one that comes second goes on beside the other's store in its turn.
    assert cluster.events.count("beside") == 3
    assert cluster.final()
    assert cluster.wrong == []


def test_that_world_counts_it_twice_where_each_copy_becomes_a_store_of_its_own(monkeypatch):
    ids = Random(1)
    monkeypatch.setattr(disks, "forked", lambda store, boot: ids.randbytes(16))

    assert copied_twice().wrong != []


def sent_again(cluster, between=None):
    """Send an increment to a copy that is cut off, and no tracker there, and again to its store.

    The acknowledgement was lost. Returns what came of it, once something else has happened and all
    reach each other again.
    """
    home, copy = HOMES["n1"], SPARE[0]
    cluster.count(home)
    cluster.pause(1.5)
    cluster.world.crash(TRACKER)
    cut = cluster.world.partition(SPARE)
    cluster.copy(home, copy)
    cluster.count(copy)
    cluster.pause(APART_S)
    cluster.holds[copy].remove(1)
    cluster.doubtful[1] = cluster.told[1]
    cluster.count_again(home)
    between(cluster)
    cluster.world.heal(cut)
    cluster.start_tracker()
    cluster.go_on(20.0)
    assert cluster.final()
    assert "registration-refused" in cluster.events
    return cluster


def the_copy_crashes(cluster):
    cluster.crash(SPARE[0])
    cluster.start(SPARE[0])
    cluster.pause(0.5)


def the_copy_is_copied(cluster):
    cluster.copy_apart(SPARE[0], SPARE[1])


def the_copy_acknowledges_another(cluster):
    cluster.count(SPARE[0])
    assert cluster.holds[SPARE[0]] == {0, 2}


BETWEEN = [the_copy_crashes, the_copy_is_copied, the_copy_acknowledges_another]


@pytest.mark.slow
@pytest.mark.parametrize("between", BETWEEN)
def test_what_was_sent_to_a_copy_and_again_to_its_store_counts_once_whatever_came_between(between):
    cluster = sent_again(Cluster(1), between)

    assert cluster.wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("between", BETWEEN)
def test_it_counts_twice_where_clients_send_again_to_the_store_alone(between, monkeypatch):
    monkeypatch.setattr(identity_world, "goes_on", lambda store, boots, home, life: store == home)

    assert sent_again(Cluster(1), between).wrong != []


def sent_to_both(cluster):
    """Send an increment to a store, and again to a copy that was made of its life before that."""
    home, copy = HOMES["n1"], SPARE[0]
    cluster.count(home)
    cluster.copy(home, copy)
    cluster.count(home)
    # As a client would that knows of no lives.
    cluster._send(copy, cluster.told[1][0], 1)
    cluster.go_on(12.0)
    assert cluster.final()
    assert "registration-refused" in cluster.events
    return cluster


def sent_to_the_store_first(cluster):
    """The same the other way around: to a store that runs, and again to a copy of it."""
    home, copy = HOMES["n1"], SPARE[0]
    cluster.count(home)
    cluster.pause(1.5)
    cluster.world.crash(TRACKER)
    cut = cluster.world.partition(SPARE)
    cluster.copy(home, copy)
    cluster.count(home)
    cluster.doubtful[1] = cluster.told[1]
    cluster.count_again(copy)
    cluster.pause(APART_S)
    cluster.world.heal(cut)
    cluster.start_tracker()
    cluster.go_on(20.0)
    assert cluster.final()
    return cluster


@pytest.mark.slow
def test_what_was_sent_to_a_store_is_not_sent_again_to_a_copy_that_nobody_believes():
    assert sent_to_the_store_first(Cluster(1)).wrong == []


@pytest.mark.slow
def test_it_counts_twice_where_a_copy_tells_its_originals_lives_unasked(monkeypatch):
    monkeypatch.setattr(ledger, "told", lambda boots, is_believed: boots)

    assert sent_to_the_store_first(Cluster(1)).wrong != []


def test_what_was_sent_to_a_copy_that_others_know_as_one_counts_at_its_store_alone():
    cluster = sent_to_both(Cluster(1))

    assert cluster.wrong == []
    assert (cluster.holds[HOMES["n1"]], cluster.ended) == ({0, 1}, {SPARE[0]})


def test_it_counts_twice_where_a_copy_counts_before_anybody_knows_of_it(monkeypatch):
    def increment(self, link, message, now):
        return self.kept(self._ledger.increment(link, message))

    monkeypatch.setattr(Embargo, "increment", increment)

    assert sent_to_both(Cluster(1)).wrong != []


@pytest.mark.slow
def test_where_a_copy_of_a_node_that_ended_passes_for_its_move_nothing_acknowledged_is_missed():
    cluster = Cluster(1)
    home, copy = HOMES["n1"], SPARE[0]
    cluster.count(home)
    cluster.pause(1.5)
    cluster.world.crash(TRACKER)
    cluster.count(home)
    cluster.crash(home)
    cluster.copy(home, copy)
    cluster.pause(2.0)
    cluster.count(copy)
    cluster.start(home)
    cluster.count(home)
    before = cluster.completes

    def wanted():
        return cluster.holds[home] | cluster.holds[copy]

    cluster.wanted = wanted
    cluster.go_on(5.0)

    assert cluster.wrong == []
    assert cluster.completes > before
    assert (cluster.holds[home], cluster.holds[copy]) == ({0, 1}, {0, 1, 2})
    cluster.start_tracker()
    cluster.go_on(10.0)
    assert cluster.final()
    assert cluster.wrong == []


@pytest.mark.slow
def test_no_answer_is_complete_where_two_backups_of_one_store_went_on_apart():
    # One was put back unnoticed, by a tracker without its list; a later one lacks what it counted.
    cluster = StricterCluster(6536)
    cluster.play()

    assert cluster.wrong == []
    assert cluster.completes > 50
    assert not cluster.final()


@pytest.mark.slow
def test_what_a_copy_wrote_before_it_became_a_store_of_its_own_is_not_told_by_a_backup_of_it():
    # Nobody knew that the backup was of a copy: it was taken for the store.
    wrong, completes, events = played([68], UnnoticedCluster)

    assert wrong == {}
    assert completes > 50
    assert "reborn True" in events


@pytest.mark.slow
def test_of_many_backups_that_are_put_back_unnoticed_those_that_hold_all_of_others_count():
    wrong, completes, events = played([38, 43], UnnoticedCluster)

    assert wrong == {}
    assert completes > 300
    assert {"reborn True", "drained", "name-lost"} <= set(events)


@pytest.mark.slow
def test_a_copy_that_was_refused_does_not_end_the_store_that_took_the_place_of_its_own():
    # That one asks who else tells what it tells, and the copy would.
    wrong, completes, events = played([90073], UnnoticedCluster)

    assert wrong == {}
    assert completes > 50
    assert "reborn True" in events or "reborn False" in events


@pytest.mark.slow
def test_no_start_that_may_be_a_copy_tells_its_clients_what_another_store_tells_as_well():
    wrong, completes, _ = played([1060], RetryingCluster)
    wrong |= played([3033], Cluster)[0]

    assert wrong == {}
    assert completes > 100


@pytest.mark.slow
def test_two_stores_that_tell_all_of_one_old_store_as_their_own_do_not_both_count():
    wrong, completes, _ = played([3167], Cluster)

    assert wrong == {}
    assert completes > 100


@pytest.mark.slow
def test_a_node_that_runs_is_not_taken_for_a_copy_on_the_word_of_one_that_may_be_one():
    wrong, completes, _ = played([3020], StricterCluster)

    assert wrong == {}
    assert completes > 100


@pytest.mark.soak
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("kind", [Cluster, StricterCluster, RestartedCluster, RetryingCluster])
def test_backups_and_copies_make_no_answer_wrong_in_two_thousand_worlds(kind):
    wrong, completes, _ = played(range(1_000, 3_000), kind)

    assert wrong == {}
    assert completes > 100_000


def parts_count_beside_the_whole(patch):
    patch.setattr(partial, "is_counted", lambda query, store: False)
    patch.setattr(moving, "is_counted", lambda query, store: store in query.answers)


def the_part_that_goes_furthest_is_taken_for_all(patch):
    patch.setattr(partial, "are_divided", lambda stems: False)


def everything_stays_the_copys_own(patch):
    patch.setattr(Forks, "_part", lambda self, store, token, before, boot: True)


def newcomers_are_believed_unasked(patch):
    def believed(self, member, known, sender, now):
        return self._believed(member, sender, now)

    patch.setattr(Newcomers, "_sought", believed)
    patch.setattr(Newcomers, "_refused", lambda self, member, other, sender: [])


def clients_send_again_to_the_store_alone(patch):
    patch.setattr(identity_world, "goes_on", lambda store, boots, home, life: store == home)


def a_tracker_takes_in_whoever_comes_first(patch):
    patch.setattr(Arrivals, "puts_off", lambda self, link, message, now: False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "kind", "seeds"),
    [
        (parts_count_beside_the_whole, RestartedCluster, [0]),
        (the_part_that_goes_furthest_is_taken_for_all, StricterCluster, [6536]),
        (everything_stays_the_copys_own, RestartedCluster, [0]),
        (newcomers_are_believed_unasked, StricterCluster, [11]),
        (a_tracker_takes_in_whoever_comes_first, StricterCluster, [100]),
        (clients_send_again_to_the_store_alone, RetryingCluster, [14, 21]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_these_worlds_find_each_planted_mistake(plant, kind, seeds, monkeypatch):
    plant(monkeypatch)

    assert any(played([seed], kind)[0] for seed in seeds)
