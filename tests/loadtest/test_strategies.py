"""Strategies against each other: each does what its name says, is judged by the truth alone, and
comes to what was found of it elsewhere.

The rule: a comparison with a number from elsewhere has a tolerance made of that number's rounding
and of four standard errors of what was found here; nothing is compared that chance decides.
"""

import json
import re
from dataclasses import replace
from math import exp, sqrt
from pathlib import Path
from statistics import mean, stdev

import pytest

from counter.messages import Reply
from loadtest.simulation.agenda import SimulationError
from loadtest.strategies import comparison, production, serf, trial
from loadtest.strategies.averaging import Averaging
from loadtest.strategies.comparison import COLUMNS, head, line, summed_up
from loadtest.strategies.messages import AVERAGES, RUMOURS, Halved, Marked, Rumour
from loadtest.strategies.rumours import CarryingPush, Unvisited
from loadtest.strategies.stage import QUERY, Collector, Origin, Peer, Setting, Stage, draw
from loadtest.strategies.trial import BY_NAME, OURS, Outcome
from tracker.errors import ConfigError, FrameError
from tracker.machine import Leave, Send

ROOT = Path(__file__).parents[2]
ERRORS = 4.0
SMALL = Setting(nodes=60)
LOSSY, CRASHED = replace(SMALL, loss=0.1), replace(SMALL, crash=0.3)
PUSHES = ("blind-push", "carried-set", "shared-set")


def tried(name: str, setting: Setting = SMALL, seed: int = 1) -> Outcome:
    return trial.run(BY_NAME[name], setting, seed)


def coverages(name: str, setting: Setting, runs: int) -> list[float]:
    return [tried(name, setting, seed).coverage or 0.0 for seed in range(runs)]


def error_of(values) -> float:
    return stdev(values) / sqrt(len(values))


# -- what each strategy is ------------------------------------------------------------------


@pytest.mark.parametrize("name", BY_NAME)
def test_a_trial_is_repeated_by_its_seed(name):
    first, second, other = (tried(name, LOSSY, seed) for seed in (3, 3, 4))

    assert first == second != other


@pytest.mark.parametrize("name", [n for n in BY_NAME if not n.startswith("push-sum")])
@pytest.mark.parametrize("setting", [SMALL, LOSSY, CRASHED], ids=["calm", "lossy", "crashed"])
def test_what_is_told_of_a_trial_fits_together(name, setting):
    found = tried(name, setting)

    assert found.coverage is not None
    assert 0.0 < found.coverage <= 1.0
    assert (found.coverage == 1.0) == (found.error == 0.0) == (found.t100_ms is not None)
    assert found.is_false_stop == (found.coverage < 1.0)
    times = [t for t in (found.t50_ms, found.t99_ms, found.t100_ms) if t is not None]
    assert times == sorted(times)
    assert all(time <= found.stop_ms for time in times)
    assert found.duplicates is not None
    assert found.duplicates >= 0.0


def test_the_product_hears_everybody_who_is_up_with_two_messages_a_node():
    calm, lossy, crashed = (tried(OURS, setting) for setting in (SMALL, LOSSY, CRASHED))

    assert (calm.coverage, lossy.coverage, crashed.coverage) == (1.0, 1.0, 1.0)
    assert calm.messages == pytest.approx(2 * 59 / 60, abs=0.1)
    assert calm.messages < min(crashed.messages, lossy.messages) < 3.0


@pytest.mark.parametrize(("name", "count"), [("one-tree", 1), ("two-trees", 2), ("three-trees", 3)])
def test_each_tree_costs_an_ask_and_an_answer_for_each_member(name, count):
    found = tried(name)

    assert found.coverage == 1.0
    assert found.messages == pytest.approx(2 * count * 59 / 60)
    assert found.duplicates == pytest.approx(2 * (count - 1) * 59 / 60)


@pytest.mark.parametrize("name", PUSHES)
def test_a_push_sends_chatter_messages_for_each_member_it_reached_and_one_answer(name):
    found = tried(name, replace(SMALL, chatter=2))

    assert found.coverage is not None
    reached = found.coverage * 60
    # A visited set that is full leaves nobody to tell.
    assert found.messages * 60 <= 2 * reached + reached - 1
    assert found.messages * 60 >= 2 * reached * (0.8 if name != "blind-push" else 1.0)


def test_blind_push_asks_nobody_who_is_dead_for_an_answer_but_does_tell_him():
    found = tried("blind-push", replace(SMALL, crash=0.5))

    assert found.coverage is not None
    assert found.messages * 60 == pytest.approx(4 * found.coverage * 30 - 1)


def test_the_shared_set_reaches_more_than_blind_push_with_the_same_chatter():
    runs = 12
    blind, shared = (coverages(name, replace(SMALL, chatter=2), runs) for name in PUSHES[::2])

    assert mean(shared) - mean(blind) > ERRORS * (error_of(blind) + error_of(shared))


def test_a_carried_set_costs_bytes_and_helps_little():
    blind, carried = tried("blind-push"), tried("carried-set")

    assert carried.bytes / carried.messages > blind.bytes / blind.messages
    assert carried.messages < blind.messages * 1.2


@pytest.mark.parametrize("visited", [0b1, 0b1011, 0b11101111, 0b11111011])
def test_nobody_is_told_who_is_in_the_carried_set_and_who_is_told_is_put_into_it(visited):
    stage = Stage(replace(SMALL, nodes=8, chatter=3), 1, RUMOURS)
    home = stage.endpoints[0]
    told = Marked(QUERY, "k", home, 1, 255, visited.to_bytes(1, "little"))

    answer, *onward = CarryingPush(stage, 2).receive(home, told, 0.0)

    numbers = [stage.endpoints.index(send.to) for send in onward]
    left = [number for number in range(8) if number != 2 and not visited >> number & 1]
    after = visited | 0b100 | sum(1 << number for number in numbers)
    assert answer == Send(home, stage.reply(2, 1))
    assert set(numbers) <= set(left)
    assert len(numbers) == min(3, len(left))
    assert [send.message.visited for send in onward] == [bytes([after])] * len(onward)
    assert all(send.message.age == 2 for send in onward)


def test_the_unvisited_are_drawn_once_and_leave_in_any_order():
    stage = Stage(replace(SMALL, nodes=6), 1, RUMOURS)
    unvisited = Unvisited(stage)
    for member in (5, 1, 1, 3):
        unvisited.remove(member)

    assert sorted(unvisited.sample(stage, 10)) == [2, 4]
    assert len(unvisited.sample(stage, 1)) == 1


def test_a_draw_is_of_others_only_and_each_is_as_likely():
    stage = Stage(SMALL, 1, RUMOURS)

    drawn = [draw(stage.random, 5, 2, 2) for _ in range(400)]

    assert {len(set(pair)) for pair in drawn} == {2}
    counts = [sum(number in pair for pair in drawn) for number in range(5)]
    # Each of four others is in half of the draws: 200, give or take four times 10.
    assert counts[2] == 0
    assert all(160 <= count <= 240 for count in counts if count)
    assert sorted(draw(stage.random, 3, 1, 7)) == [0, 2]


# -- push-sum -------------------------------------------------------------------------------


def test_push_sum_comes_near_the_sum_and_never_quite_to_it():
    few, many = tried("push-sum-2"), tried("push-sum-30")

    assert (few.messages, many.messages) == (2.0, 30.0)
    assert 0.0 < many.error < 0.02 < few.error
    assert many.coverage is many.t99_ms is many.duplicates is many.is_false_stop is None


def test_push_sum_keeps_all_mass_while_nothing_is_lost_and_loses_it_with_messages():
    def mass(setting):
        stage = Stage(setting, 1, AVERAGES)
        play = Averaging(stage, 5)
        stage.world.run_until(play.is_over)
        nodes = [stage.world.machine(stage.endpoints[number]) for number in stage.up]
        stage.world.run_until(stage.world.now + 1.0)
        return sum(node.total for node in nodes) / stage.truth, sum(node.weight for node in nodes)

    assert mass(SMALL) == (pytest.approx(1.0), pytest.approx(1.0))
    assert mass(replace(SMALL, loss=0.3))[0] < 0.8


# -- Serf -----------------------------------------------------------------------------------


def test_a_serf_query_waits_out_its_timeout_whoever_has_answered():
    found = tried("serf-like")

    assert found.coverage == 1.0
    assert found.stop_ms == pytest.approx(1000 * 0.2 * 16 * 2)
    assert found.t100_ms is not None
    assert found.t100_ms < found.stop_ms / 3


def test_a_serf_broadcast_is_sent_on_four_times_the_log_of_the_cluster():
    found = tried("serf-like")

    assert [serf.scale(nodes) for nodes in (9, 10, 99, 100, 999, 1_000)] == [1, 2, 2, 3, 3, 4]
    assert found.messages == pytest.approx(4 * 2 + 59 / 60)


# -- what was found elsewhere ---------------------------------------------------------------


def fixed_point(chatter: float) -> float:
    share = 1.0
    for _ in range(200):
        share = 1.0 - exp(-chatter * share)
    return share


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "crash", "elsewhere"),
    [(0.0, 0.0, 0.94), (0.05, 0.0, 0.89), (0.05, 0.30, 0.74)],
    ids=["calm", "5 % lost", "5 % lost and 30 % crashed"],
)
def test_blind_push_covers_what_theory_and_another_simulator_say(loss, crash, elsewhere):
    setting = Setting(loss=loss, crash=crash)
    found = coverages("blind-push", setting, 10)

    # Some runs with crashed members die in the first hops; theory is about the others.
    took_off = [coverage for coverage in found if coverage > 0.1]
    reached = fixed_point(3 * (1 - loss) * (1 - crash))
    theory = reached * (1 - loss)
    assert abs(mean(took_off) - theory) <= ERRORS * error_of(took_off) + 0.002
    assert abs(mean(found) - elsewhere) <= 0.005 + ERRORS * error_of(found)


ELSEWHERE = [
    ("carried-set", 0.0, 0.0, 0.94, 3.8),
    ("carried-set", 0.05, 0.0, 0.89, None),
    ("carried-set", 0.05, 0.3, 0.75, None),
    ("one-tree", 0.05, 0.0, 0.68, None),
    ("one-tree", 0.0, 0.3, 0.17, None),
    ("two-trees", 0.05, 0.0, 0.90, None),
    ("two-trees", 0.0, 0.3, 0.35, None),
    ("three-trees", 0.05, 0.0, 0.98, None),
    ("three-trees", 0.0, 0.3, 0.48, None),
    (OURS, 0.0, 0.0, 1.0, 2.00),
    (OURS, 0.05, 0.0, 1.0, 2.17),
    (OURS, 0.0, 0.3, 1.0, 2.36),
]


@pytest.mark.soak
@pytest.mark.parametrize(("name", "loss", "crash", "coverage", "messages"), ELSEWHERE)
def test_strategies_cover_what_another_simulator_found(name, loss, crash, coverage, messages):
    runs = 40
    found = [tried(name, Setting(loss=loss, crash=crash), seed) for seed in range(runs)]
    covered = [outcome.coverage or 0.0 for outcome in found]
    sent = [outcome.messages for outcome in found]

    # What was found elsewhere is a mean over seeds too: its error is taken to be like ours.
    assert abs(mean(covered) - coverage) <= 0.005 + ERRORS * sqrt(2) * error_of(covered)
    if messages is not None:
        assert mean(sent) == pytest.approx(messages, abs=0.05 + ERRORS * sqrt(2) * error_of(sent))


@pytest.mark.slow
def test_one_tree_without_repair_loses_what_hangs_below_a_lost_ask():
    setting = Setting(nodes=300, chatter=3)
    calm, lossy = tried("one-tree", setting), coverages("one-tree", replace(setting, loss=0.05), 10)

    # Each answer needs an unbroken chain of asks: 0.95 to the power of its hops, and itself.
    assert calm.hops == 5
    assert 0.95**6 - ERRORS * error_of(lossy) <= mean(lossy) < 0.95**3


# -- the stage ------------------------------------------------------------------------------


def test_the_origin_is_up_and_only_the_rest_may_be_crashed():
    stage = Stage(replace(SMALL, crash=0.9), 4, RUMOURS)

    assert stage.up[0] == 0
    assert len(stage.up) == 60 - round(0.9 * 59)
    assert stage.truth == sum(stage.values[number] for number in stage.up)


def test_the_situation_of_a_seed_is_the_same_for_every_strategy():
    stages = [Stage(CRASHED, 4, strategy.codec) for strategy in trial.STRATEGIES]

    assert len({(tuple(stage.up), tuple(stage.values)) for stage in stages}) == 1


def test_a_collector_stops_after_a_quiet_time_or_when_nobody_is_missing():
    stage = Stage(replace(SMALL, nodes=3), 1, RUMOURS)
    collector = Collector(stage)
    collector.begin(stage.reply(0, 0), 0.0)
    collector.hear(stage.reply(1, 1), 0.02)
    collector.hear(stage.reply(1, 1), 0.06)
    assert collector.deadline() == pytest.approx(0.07)

    collector.hear(stage.reply(2, 4), 0.065)
    assert (collector.stopped_at, collector.hops, collector.deadline()) == (0.065, 4, None)

    quiet = Collector(stage)
    quiet.begin(stage.reply(0, 0), 0.0)
    quiet.tick(0.04)
    assert quiet.stopped_at is None
    quiet.tick(0.05)
    quiet.hear(stage.reply(1, 1), 0.06)
    assert (quiet.stopped_at, len(quiet.answers)) == (0.05, 1)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"nodes": 1}, "nodes is 1, needs 2 to 8000"),
        ({"nodes": 8_001}, "nodes is 8001, needs 2 to 8000"),
        ({"chatter": 0}, "chatter is 0, needs 1 to 64"),
        ({"loss": 1.0}, "loss is 100%, needs 0% or more, less than 100%"),
        ({"crash": -0.1}, "crash is -10%, needs 0% or more, less than 100%"),
    ],
    ids=["nobody to ask", "a set too large", "no chatter", "all lost", "less than nobody"],
)
def test_a_setting_that_makes_no_sense_is_refused(wrong, words):
    with pytest.raises(ConfigError, match=words):
        Setting(**wrong)


def test_a_strategy_that_does_not_stop_is_an_error(monkeypatch):
    monkeypatch.setattr(trial, "RUN_S_MAX", 0.03)

    with pytest.raises(SimulationError, match=r"one-tree has not stopped after 0\.03 s"):
        tried("one-tree")


def test_the_product_is_tried_only_with_a_tracker_that_speaks(monkeypatch):
    monkeypatch.setattr(production, "BOOT_S_MAX", 0.0)

    with pytest.raises(SimulationError, match="the origin heard no tracker within 0 s"):
        tried(OURS)


def test_nothing_is_found_before_the_query_has_ended():
    strategy = BY_NAME[OURS]
    play = strategy.play(Stage(SMALL, 1, strategy.codec))

    with pytest.raises(SimulationError, match="the query has not ended"):
        play.found()


def test_an_origin_leaves_what_is_no_answer_to_its_peer_and_a_bare_peer_does_nothing():
    stage = Stage(SMALL, 1, RUMOURS)
    origin = Origin(Peer(), Collector(stage), stage.reply(0, 0))

    assert origin.start(0.0) == []
    assert origin.receive(stage.endpoints[1], "?", 0.0) == origin.submit(Leave(), 0.0) == []
    assert origin.tick(0.01) == origin.peer.start(0.0) == origin.peer.tick(0.0) == []
    assert origin.deadline() == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("codec", "message"),
    [
        (RUMOURS, Rumour(QUERY, "k", ("10.0.0.1", 7401), 3, 255)),
        (RUMOURS, Marked(QUERY, "k", ("10.0.0.1", 7401), 3, 255, b"\x05\x00")),
        (RUMOURS, Reply(QUERY, 5, b"s" * 8, 1, 42, 3, 0, (), ())),
        (AVERAGES, Halved(QUERY, 0.5, 0.25)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_messages_of_strategies_come_through_their_codec(codec, message):
    assert codec.decode(codec.encode(message)) == message


def test_half_of_a_sum_is_a_number_and_nothing_else():
    body = AVERAGES.encode(Halved(QUERY, "half", 0.25))
    with pytest.raises(FrameError, match="wanted a number"):
        AVERAGES.decode(body)


def test_a_set_of_the_most_nodes_still_fits_a_datagram():
    found = tried("carried-set", Setting(nodes=8_000, chatter=1), 2)

    # Half of the messages are answers.
    assert found.bytes / found.messages > 8_000 / 8 / 2


# -- the table ------------------------------------------------------------------------------


def outcome(**changed) -> Outcome:
    plain = Outcome(
        coverage=1.0,
        error=0.0,
        messages=2.0,
        duplicates=0.0,
        bytes=188.0,
        t50_ms=50.0,
        t99_ms=80.0,
        t100_ms=90.0,
        hops=6,
        stop_ms=90.0,
        is_false_stop=False,
    )
    return replace(plain, **changed)


def test_a_row_has_means_with_their_errors_and_medians_of_times():
    row = summed_up(
        "one-tree",
        [
            outcome(stop_ms=80.0),
            outcome(coverage=0.5, t100_ms=None, is_false_stop=True, messages=1.0, stop_ms=100.0),
            outcome(t100_ms=70.0),
        ],
    )

    assert row.coverage == pytest.approx(2.5 / 3)
    assert row.coverage_error == pytest.approx(stdev([1, 1, 0.5]) / sqrt(3))
    assert (row.t100_ms, row.stop_ms, row.false_stops) == (90.0, 90.0, pytest.approx(1 / 3))
    assert summed_up("one-tree", [outcome()]).coverage_error is None


@pytest.mark.parametrize(
    ("times", "usual"),
    [([None, None, 5.0], None), ([None, 5.0], None), ([None, 4.0, 5.0], 5.0), ([1.0, 2.0], 1.0)],
)
def test_a_time_that_half_of_the_seeds_never_came_to_is_no_time(times, usual):
    assert summed_up("x", [outcome(t99_ms=time) for time in times]).t99_ms == usual


def test_only_the_whole_is_shown_as_100_percent():
    shown = [comparison._percent(share) for share in (None, 0.0, 0.0001, 0.5, 0.9999, 1.0, 4.364)]

    assert shown == ["–", "0%", "<0.1%", "50.0%", ">99.9", "100%", "436%"]


def test_the_lines_of_the_table_fit_under_their_heads():
    row = summed_up("push-sum-30", [outcome(coverage=None, duplicates=None, is_false_stop=None)])

    assert len(head()) == len(line(row)) == sum(width + 1 for _, width in COLUMNS) - 1 <= 80
    assert line(row).split()[:6] == ["push-sum-30", "–", "0%", "2.00", "–", "188"]
    assert max(len(name) for name in BY_NAME) <= COLUMNS[0][1]


# -- the command, and the page that shows it ------------------------------------------------


def test_compare_prints_a_row_for_each_strategy_and_its_legend_to_stderr(loadtest):
    code, out, err = loadtest("compare", "--nodes", "20", "--seeds", "1")

    lines = out.splitlines()
    assert code == 0
    assert lines[0] == head()
    assert [text.split()[0] for text in lines[1:]] == list(BY_NAME)
    assert "–: never, or no such thing" in err


def test_compare_as_json_is_one_object_that_says_what_was_tried(loadtest):
    arguments = ["--nodes", "20", "--chatter", "4", "--loss", "5%", "--seeds", "2", "--seed", "7"]
    code, out, err = loadtest(
        "compare", *arguments, "--strategies", "counter,one-tree,counter", "--json"
    )

    result = json.loads(out)
    rows = result.pop("rows")
    assert (code, err) == (0, "")
    assert result == {
        "nodes": 20, "chatter": 4, "loss": 0.05, "crash": 0.0, "seeds": 2, "seed": 7,
    }  # fmt: skip
    assert [row["strategy"] for row in rows] == ["counter", "one-tree"]
    assert rows[0]["coverage"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nodes", "1"], "error: --nodes is 1, needs 2 to 8000"),
        (["--loss", "5"], 'error: --loss: "5" is not a share (5%, 0.5%)'),
        (["--seeds", "0"], "error: --seeds is 0, needs 1 to 10000"),
        (["--seed", "-1"], "error: --seed is -1, needs 0 or more"),
        (["--strategies", "a\x1bb"], 'error: --strategies: "a\\x1bb" is none of blind-push, '),
        (["--strategies", ""], 'error: --strategies: "" is none of blind-push, '),
    ],
    ids=["nodes", "loss", "seeds", "seed", "strategy", "no strategy"],
)
def test_compare_refuses_what_makes_no_sense_in_one_line(loadtest, arguments, words):
    code, out, err = loadtest("compare", *arguments)

    assert (code, out) == (2, "")
    assert err.startswith(words)
    assert len(err.splitlines()) == 1


PAGE = "docs/strategies.md"
BLOCK = re.compile(r"```\n\$ loadtest (compare [^\n]+)\n(.*?)```", re.DOTALL)


def test_the_page_shows_every_strategy_in_every_table():
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    blocks = [block.splitlines() for _, block in BLOCK.findall(page)]

    assert len(blocks) == 4
    assert all(block[0] == head() for block in blocks)
    assert all([text.split()[0] for text in block[1:]] == list(BY_NAME) for block in blocks)
    assert [name for name in BY_NAME if f"`{name}`" not in page] == []


@pytest.mark.soak
def test_the_tables_on_the_page_are_what_the_commands_beside_them_print(loadtest, recorded):
    page = (ROOT / PAGE).read_text(encoding="utf-8")

    def printed(match):
        code, out, _ = loadtest(*match[1].split())
        assert code == 0
        return f"```\n$ loadtest {match[1]}\n{out}```"

    recorded(PAGE, BLOCK.sub(printed, page))


def test_every_field_of_a_comparison_stands_on_the_page_of_json(loadtest):
    _, out, _ = loadtest("compare", "--nodes", "5", "--seeds", "1", "--json")
    shown = (ROOT / "docs/reference/json.md").read_text(encoding="utf-8")
    told = shown.partition("## loadtest compare")[2]
    result = json.loads(out)

    assert [name for name in (*result, *result["rows"][0]) if f"`{name}`" not in told] == []
