"""What happens at a time: how it is written, what is refused, and whom the seed strikes."""

from random import Random

import pytest

from loadtest import timeline
from loadtest.timeline import (
    CRASH,
    HAPPENINGS_MAX,
    LOSS,
    PARTITION,
    PAUSE,
    RESTART,
    Act,
    Happening,
    acts,
    check,
    gathered,
    parse,
    parse_share,
)
from tracker.errors import ConfigError

NAMES = [f"n{number}" for number in range(1, 11)]


def acts_of(*happenings, loss=0.0, names=NAMES, seed=1):
    return acts(happenings, names, loss=loss, draw=lambda name: Random(f"{seed}/{name}"))


@pytest.mark.parametrize(
    ("kind", "written", "happening"),
    [
        (CRASH, "10%@5s", Happening(CRASH, 5.0, 0.1)),
        (CRASH, "10%:2s@500ms", Happening(CRASH, 0.5, 0.1, 2.0)),
        (PAUSE, "2s@0", Happening(PAUSE, 0.0, 0.1, 2.0)),
        (PARTITION, "3s@4s", Happening(PARTITION, 4.0, 0.5, 3.0)),
        (PARTITION, "20%:3s@4s", Happening(PARTITION, 4.0, 0.2, 3.0)),
        (LOSS, "20%:3s@4s", Happening(LOSS, 4.0, 0.2, 3.0)),
    ],
)
def test_one_grammar_says_whom_for_how_long_and_when(kind, written, happening):
    found = parse(kind, written)

    assert found == happening
    assert parse(kind, found.written) == happening


@pytest.mark.parametrize(
    ("kind", "written", "words"),
    [
        (CRASH, "@5s", "--crash 0%@5s: needs a share of more than 0%"),
        (CRASH, "100%@5s", "--crash 100%@5s: needs a share of more than 0%, less than 100%"),
        (CRASH, "10@5s", '"10" is not a duration'),
        (CRASH, "10%:2@5s", '"2" is not a duration'),
        (CRASH, "a:2s@5s", '"a" is not a share'),
        (PAUSE, "10%@5s", "--pause 10%@5s: needs to say for how long"),
        (LOSS, "3s@4s", "--loss 0%:3s@4s: needs a share of more than 0%"),
        (PARTITION, "3s@soon", '"soon" is not a duration'),
    ],
)
def test_what_is_written_wrong_is_refused_with_an_example(kind, written, words):
    with pytest.raises(ConfigError, match=words) as refused:
        parse(kind, written)

    assert timeline.EXAMPLES[kind] in str(refused.value)


def test_what_has_no_time_holds_from_the_beginning_on():
    always, happenings = gathered({CRASH: ["10%", "20%@1s"], LOSS: ["0"]}, None)

    assert always == {"crash": 0.1, "loss": 0.0}
    assert happenings == (parse(CRASH, "20%@1s"),)


def test_how_long_a_crash_lasts_may_be_said_for_all_that_do_not_say_it():
    _, happenings = gathered({CRASH: ["20%@1s", "20%:5s@2s"], PAUSE: ["1s@1s"]}, 3.0)

    assert [each.for_s for each in happenings] == [3.0, 5.0, 1.0]


@pytest.mark.parametrize(
    ("written", "restart_s", "words"),
    [
        ({PAUSE: ["10%"]}, None, '--pause: "10%" lacks @ and a time'),
        ({CRASH: ["10%", "20%"]}, None, "--crash 20%: one holds from the beginning on"),
        ({LOSS: ["five"]}, None, '--loss: "five" is not a share'),
        ({CRASH: ["10%"]}, 2.0, "--restart needs a --crash with a time"),
    ],
)
def test_what_does_not_go_together_is_refused(written, restart_s, words):
    with pytest.raises(ConfigError, match=words):
        gathered(written, restart_s)


def test_a_share_is_a_number_of_percent():
    assert parse_share("0.5%") == 0.005
    with pytest.raises(ConfigError, match="is not a share"):
        parse_share("1e2%")


@pytest.mark.parametrize(
    ("happenings", "nodes", "words"),
    [
        ([Happening(CRASH, 10.0, 0.1)], 10, "crash 10%@10s: it does not fit into a load of 10 s"),
        ([Happening(PAUSE, 9.0, 0.1, 2.0)], 10, "pause 10%:2s@9s: it does not fit"),
        ([Happening(PAUSE, 1.0, 0.1, 2.0)], 1, "pause 10%:2s@1s: needs at least 2 nodes"),
        ([Happening(LOSS, 1.0, 0.1, 1.0)] * (HAPPENINGS_MAX + 1), 10, "101 happenings, at most"),
    ],
    ids=["begins too late", "ends too late", "one node", "too many"],
)
def test_what_cannot_happen_in_a_run_is_refused(happenings, nodes, words):
    with pytest.raises(ConfigError, match=words):
        check(happenings, nodes, 10.0)


def test_a_crash_may_last_longer_than_the_load_and_loss_needs_no_second_node():
    check([Happening(CRASH, 9.0, 0.1, 20.0)], 10, 10.0)
    check([Happening(LOSS, 1.0, 0.1, 2.0)], 1, 10.0)


def test_everything_is_done_in_its_order_and_has_its_end():
    found = acts_of(
        Happening(PARTITION, 4.0, 0.5, 3.0),
        Happening(CRASH, 1.0, 0.2, 2.0),
        Happening(PAUSE, 2.0, 0.1, 1.0),
    )

    assert [(act.at_s, act.kind, len(act.names), act.for_s) for act in found] == [
        (1.0, CRASH, 2, 0.0), (2.0, PAUSE, 1, 1.0), (3.0, RESTART, 2, 0.0), (4.0, PARTITION, 5, 3.0)
    ]  # fmt: skip
    assert found[0].names == found[2].names


def test_who_is_down_is_not_struck_again_until_it_is_back():
    first, second, third = (
        Happening(CRASH, 1.0, 0.5, 2.0), Happening(CRASH, 2.0, 0.5), Happening(PAUSE, 3.0, 0.9, 1.0)
    )  # fmt: skip

    struck = {act.at_s: set(act.names) for act in acts_of(first, second, third)}

    assert not struck[1.0] & struck[2.0]
    assert len(struck[2.0]) == 2
    assert struck[3.0] & struck[1.0]
    assert not struck[3.0] & struck[2.0]


def test_somebody_is_always_left_up():
    assert acts_of(Happening(CRASH, 1.0, 0.99), names=["n1", "n2"])[0].names in (("n1",), ("n2",))
    with pytest.raises(ConfigError, match=r"crash 99%@1s: it would strike nobody"):
        acts_of(Happening(CRASH, 1.0, 0.99), names=["n1"])


def test_the_worst_loss_that_holds_is_what_vanishes_and_then_what_vanishes_anyway():
    found = acts_of(
        Happening(LOSS, 1.0, 0.2, 4.0),
        Happening(LOSS, 2.0, 0.5, 1.0),
        Happening(LOSS, 2.5, 0.01, 0.1),
        loss=0.05,
    )

    assert [(act.at_s, act.loss) for act in found] == [
        (1.0, 0.2), (2.0, 0.5), (3.0, 0.2), (5.0, 0.05)
    ]  # fmt: skip


def test_the_seed_says_who_is_struck():
    crash = Happening(CRASH, 1.0, 0.5)

    assert acts_of(crash) == acts_of(crash)
    assert acts_of(crash) != acts_of(crash, seed=2)


def test_a_person_is_told_what_is_done_in_a_few_words():
    assert Act(1.0, CRASH, ("n1", "n2")).sentence == "crash of 2"
    assert Act(1.0, PARTITION, ("n1",), for_s=3.0).sentence == "partition of 1 for 3s"
    assert Act(1.0, LOSS, loss=0.2).sentence == "20% of the gossip vanishes"


def test_a_report_tells_whom_it_struck_but_not_a_thousand_names():
    many = tuple([f"n{number}" for number in range(100)])

    told = Act(1.0, PAUSE, many, for_s=2.0).as_dict()

    assert (told["nodes"], len(told["names"]), told["for_s"]) == (100, 20, 2.0)
    assert Act(1.0, LOSS, loss=0.2).as_dict() == {"at_s": 1.0, "what": LOSS, "loss": 0.2}
    assert "for_s" not in Act(1.0, CRASH, many).as_dict()
