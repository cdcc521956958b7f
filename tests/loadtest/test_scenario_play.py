"""Scenarios as they are played: who is struck by what, and that planted faults are found."""

from collections import Counter

import pytest

from counter.messages import Answered, Counted, Increment, Reply, ShortReply
from counter.query import COMPLETE, CONVERGED, OwnQuery
from counter.relay import Relay
from loadtest.scenarios import stage as stages
from loadtest.scenarios.fields import Who, read_who
from loadtest.scenarios.format import parse
from loadtest.scenarios.judge import (
    ANSWERED,
    BOUNDS,
    EXACT,
    MISSES,
    QUIET,
    STOPS,
    SUMS,
    Judge,
)
from loadtest.scenarios.liars import Answerer
from loadtest.scenarios.play import _Run, play
from loadtest.scenarios.stage import Stage
from tracker.machine import Send

HEAD = 'about = "a test"\nnodes = 6\nduration = "2s"\n[[writers]]\nrate = 40\n'
QUERIES = '[[queries]]\nevery = "200ms"\n'
LOSSY = '[network]\nloss = "20%"\n'


def scenario_of(text, head=HEAD):
    return parse(head + text, "test", "test.toml")


def judged(text, seed=4711, head=HEAD):
    """Return the judge of one run."""
    judge = Judge(scenario_of(text, head))
    play(judge.scenario, seed, judge)
    return judge


def names_of(rows):
    return {row["name"].partition(", all but")[0] for row in rows}


def names_of_failed(judge):
    return names_of(row for row in judge.checks() if not row["ok"])


def run_of(text, head=HEAD):
    scenario = scenario_of(text, head)
    judge = Judge(scenario)
    judge.begin(4711)
    return _Run(scenario, 4711, judge, lambda line: None)


# -- what is found --------------------------------------------------------------------------


def test_a_cluster_in_which_nothing_goes_wrong_passes_every_check():
    lines = []
    judge = Judge(scenario_of(QUERIES))
    play(judge.scenario, 4711, judge, lines.append)
    result = judge.summary()

    assert names_of_failed(judge) == set()
    assert names_of(result["checks"]) == {ANSWERED, BOUNDS, EXACT, MISSES, QUIET, STOPS, SUMS}
    assert (result["ok"], result["seeds"], result["seed"], result["faults"]) == (True, 1, 4711, [])
    assert result["queries"]["reasons"] == {"complete": 10}
    assert result["queries"]["messages_per_node"] == pytest.approx(2 * 5 / 6, abs=0.1)
    assert result["writes"]["acked"] == pytest.approx(80, abs=40)
    assert len(lines) == 10
    assert {line["seed"] for line in lines} == {4711}


def test_one_seed_is_one_result_and_another_seed_another():
    results = [judged(QUERIES, seed).summary() for seed in (1, 1, 2)]

    assert results[0] == results[1]
    assert {**results[0], "seed": 2} != results[2]


class Forgetful(Answerer):
    """Acknowledges every third increment of each client without counting it."""

    def receive(self, sender, message, now):
        if isinstance(message, Increment) and message.sequence % 3 == 0:
            return [Send(sender, Counted(message.sequence, True, False))]
        return super().receive(sender, message, now)


class Generous(Answerer):
    """Says that it has a thousand more than it has."""

    def receive(self, sender, message, now):
        effects = super().receive(sender, message, now)
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, (Reply, ShortReply)):
                effect.message.value += 1_000
        return effects


class Stutterer(Answerer):
    """Tells its client of one member twice."""

    def receive(self, sender, message, now):
        effects = super().receive(sender, message, now)
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, Answered):
                rows = effect.message.rows
                effect.message = Answered(effect.message.request, (*rows, rows[0]))
        return effects


@pytest.mark.parametrize(
    ("fault", "checks"),
    [
        (Forgetful, {BOUNDS, EXACT}),
        (Generous, {BOUNDS, EXACT}),
        (Stutterer, {SUMS}),
    ],
    ids=["an increment that is lost", "counts that nobody made", "a member told twice"],
)
def test_a_node_that_counts_wrong_is_found(monkeypatch, fault, checks):
    monkeypatch.setattr(stages, "Answerer", fault)

    judge = judged(f"{QUERIES}[expect]\nexact_within = '1s'\n")

    assert names_of_failed(judge) == checks
    assert judge.faults
    assert all(fault.startswith("seed 4711, ") for fault in judge.faults)


def test_a_query_that_calls_itself_complete_too_soon_is_found(monkeypatch):
    monkeypatch.setattr(OwnQuery, "verdict", lambda self, now, **known: COMPLETE)

    judge = judged(f"{QUERIES}[expect]\nexact_within = '1s'\n")

    assert {BOUNDS, MISSES, STOPS, EXACT} <= names_of_failed(judge)


def test_a_query_that_gives_up_members_it_could_hear_is_found(monkeypatch):
    monkeypatch.setattr(
        OwnQuery,
        "verdict",
        lambda self, now, **known: CONVERGED if len(self.answers) >= 4 else None,
    )

    judge = judged(f"{LOSSY}{QUERIES}[expect]\nexact_within = '1s'\n")

    assert {STOPS, EXACT} <= names_of_failed(judge)
    assert MISSES not in names_of_failed(judge)


def test_queries_that_are_remembered_for_ever_are_found(monkeypatch):
    monkeypatch.setattr(Relay, "tick", lambda self, now: None)
    monkeypatch.setattr(Relay, "deadline", lambda self: None)

    judge = judged(QUERIES)

    assert names_of_failed(judge) == {QUIET}
    assert "queries of the relay of n1" in judge.faults[0]


def test_what_a_scenario_expects_beside_that_is_checked_too():
    judge = judged(
        f"{QUERIES}[[events]]\ndo = 'crash'\nat = '100ms'\nwho = 'n2'\nuntil = '2s'\n"
        "[expect]\ncomplete = '80%'\nmessages = 1\nstop = '50ms'\nrefused = 'old-backup'\n"
    )

    assert names_of_failed(judge) == {
        "queries that end complete",
        "messages per node and query, at most 1",
        "seeds with a node refused: old-backup",
        ANSWERED,
    }


def test_a_member_that_is_missed_though_it_was_expected_to_be_back_is_found():
    judge = judged(f"{QUERIES}[[events]]\ndo = 'crash'\nat = '1s'\nwho = 'n2'\n")

    assert names_of_failed(judge) == {EXACT}
    assert "converged, not complete" in judge.faults[0]


# -- what happens ---------------------------------------------------------------------------


def test_who_is_meant_is_found_when_it_happens():
    run = run_of("")
    stage = run.stage
    stage.crash("n2")

    def who(written):
        return stage.who(read_who(written), "test")

    assert who("n3, n5-n6, t1") == ["n3", "n5", "n6", "t1"]
    assert who("all") == ["n1", "n3", "n4", "n5", "n6"]
    assert who(["down", "trackers"]) == ["n2", "t1"]
    assert len(who("40%")) == 2
    assert who("40%") == who("40%")
    assert "n2" not in who("99%")
    assert stage.who(Who(), "test") == []


@pytest.mark.parametrize(
    ("event", "lost"),
    [
        ("do = 'partition'\nwho = 'n2'", {"n2"}),
        ("do = 'partition'\nwho = 'n2'\nto = 'n3'", set()),
        ("do = 'partition'\nwho = 'n2'\nto = 'n1'\none_way = true", {"n2"}),
        ("do = 'flap'\nwho = 'n1'\nto = 'n4'\nup = '10s'\nuntil = '1500ms'", {"n4"}),
        ("do = 'crash'\nwho = 'n5'", {"n5"}),
        ("do = 'pause'\nwho = 'n5'\nuntil = '1500ms'", {"n5"}),
        ("do = 'leave'\nwho = 'n6'", {"n6"}),
        ("do = 'slow'\nwho = 'n6'\nby = '1ms'", set()),
    ],
    ids=["cut off", "cut elsewhere", "one way", "flapping", "crashed", "paused", "left", "slow"],
)
def test_whom_a_query_could_have_heard_is_known_while_it_runs(event, lost):
    run = run_of(f"[[events]]\nat = '100ms'\n{event}\n")
    everybody = run.stage.reachable("n1")

    run.stage.world.at(run.stage.began + 1.0, lambda: seen.append(run.stage.reachable("n1")))
    seen = []
    run.load()

    assert everybody == {"n1", "n2", "n3", "n4", "n5", "n6"}
    assert everybody - seen[0] == lost


def test_a_process_that_comes_back_finds_what_the_event_says():
    stores, epochs = {}, {}
    for disk in ("same", "wiped", "backup"):
        run = run_of(
            "[[events]]\ndo = 'backup'\nat = '500ms'\nwho = 'n2'\n"
            f"[[events]]\ndo = 'restart'\nat = '1s'\nwho = 'n2'\ndisk = '{disk}'\n"
        )
        before = run.stage.processes["n2"].store
        run.load()
        stores[disk] = run.stage.processes["n2"].store == before
        epochs[disk] = run.stage.world.disk(run.stage.endpoint("n2")).identity.epoch

    assert stores == {"same": True, "wiped": False, "backup": True}
    assert epochs == {"same": 2, "wiped": 1, "backup": 2}


def test_a_node_that_moves_keeps_its_store_and_is_found_at_its_new_address():
    run = run_of("[[events]]\ndo = 'restart'\nat = '500ms'\nwho = 'n2'\nmoved = true\n")
    before = run.stage.processes["n2"].store, run.stage.endpoint("n2")

    run.load()

    process = run.stage.processes["n2"]
    assert (process.store, process.endpoint) == (before[0], (before[1][0], before[1][1] + 1))
    assert "n2" in run.stage.reachable("n1")


def test_nodes_that_join_are_named_on_from_the_last_and_counted():
    judge = judged(
        f"{QUERIES}[[events]]\ndo = 'join'\nat = '500ms'\ncount = 2\n"
        "[[events]]\ndo = 'count'\nat = '1s'\nwho = 'n7-n8'\namount = 100\n"
    )

    assert names_of_failed(judge) == set()
    assert judge.queries.reasons == {"complete": 10}


def test_a_node_that_leaves_ends_its_process_and_is_waited_for():
    run = run_of("[[events]]\ndo = 'leave'\nat = '500ms'\nwho = 'n2'\n")

    run.load()

    assert "n2" not in run.stage.up
    assert run.stage.node("n1").membership.view.get("n2").expected


def test_a_node_that_is_refused_for_good_ends_as_the_command_does():
    run = run_of(
        "[[events]]\ndo = 'crash'\nat = '500ms'\nwho = 'n2'\n"
        "[[events]]\ndo = 'restart'\nat = '1s'\nwho = 'n2'\ndisk = 'wiped'\n"
    )

    run.load()

    assert "n2" not in run.stage.up
    assert list(run.stage.refused) == ["name-kept"]


def test_a_node_without_a_disk_that_comes_back_gives_up_what_it_held():
    head = HEAD.replace("nodes = 6", "nodes = 6\ndurable = false")
    judge = judged(
        f"{QUERIES}[[events]]\ndo = 'crash'\nat = '500ms'\nwho = 'n2'\nuntil = '1s'\n", head=head
    )

    assert names_of_failed(judge) == set()


def test_the_weather_changes_and_changes_back():
    run = run_of(
        "[[events]]\ndo = 'weather'\nat = '500ms'\nloss = '50%'\nlatency = '20ms'\nuntil = '1s'\n"
    )
    before, seen = run.world.network.config, []

    run.world.at(run.stage.began + 0.7, lambda: seen.append(run.world.network.config))
    run.load()

    assert (seen[0].loss, seen[0].base_s, seen[0].jitter_s) == (0.5, 0.02, before.jitter_s)
    assert run.world.network.config == before


def test_a_client_in_doubt_sends_the_same_increment_again_until_it_is_counted_once():
    sent = Counter()

    class Watched(Answerer):
        def receive(self, sender, message, now):
            if isinstance(message, Increment):
                sent[message.session, message.sequence] += 1
            return super().receive(sender, message, now)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "Answerer", Watched)
        judge = judged(
            f"{QUERIES}[[events]]\ndo = 'crash'\nat = '1s'\nwho = 'all'\nuntil = '1500ms'\n"
        )

    assert names_of_failed(judge) == set()
    assert judge.writes.unknown == 0
    assert max(sent.values()) > 1
    assert judge.writes.acked == len(sent)


# -- lies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["name", "twice", "later", "invented", "holder", "cut"])
def test_a_lie_is_told_and_changes_no_sum_by_more_than_the_liar_s_own_word(how):
    told = []

    class Watched(Answerer):
        def _lies(self, reply):
            lies = super()._lies(reply)
            told.extend(lies)
            return lies

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "Answerer", Watched)
        judge = judged(
            f"{QUERIES}[[events]]\ndo = 'lie'\nat = '0s'\nwho = 'n2'\nhow = '{how}'\n"
            "until = '1900ms'\n"
        )

    assert names_of_failed(judge) == set()
    assert len(told) >= 5
    assert judge.queries.reasons == {"complete": 10}


def test_before_it_boots_a_stage_has_everybody_and_nobody_is_up():
    stage = Stage(scenario_of(""), 4711)

    assert stage.nodes == ["n1", "n2", "n3", "n4", "n5", "n6"]
    assert stage.trackers == ["t1"]
    assert stage.up == []


def test_a_full_disk_refuses_what_is_counted_until_there_is_room_again():
    judge = judged(
        f"{QUERIES}[[events]]\ndo = 'disk-full'\nat = '500ms'\nwho = 'all'\nuntil = '1500ms'\n"
    )
    whole = judged(QUERIES)

    assert names_of_failed(judge) == set()
    assert judge.queries.reasons == {"complete": 10}
    assert 0 < judge.writes.acked < 0.8 * whole.writes.acked
