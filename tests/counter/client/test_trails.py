"""The way of a query as a tree and as an object, from made-up rows."""

import pytest

from counter.client.answers import Outcome
from counter.client.trails import trace_object, tree_lines
from counter.messages import ANSWERED, CUT, SILENT


def row(name, parent="", age=1, ms=1.0, *, repairs=(), asked=-1.0, fate=ANSWERED):
    answered = ms if fate == ANSWERED else -1.0
    return (name, ("127.0.0.1", 7401), parent, age, asked, answered, repairs, 5, fate)


ORIGIN = row("n1", "", 0, 0.0)


@pytest.fixture
def outcome(make_answer):
    """Return the end of a query that n1 asked."""
    return Outcome("views", make_answer())


def full_tree(width, depth):
    """Return the rows of a tree in which every node asked as many."""
    rows, level = [ORIGIN], ["n1"]
    for age in range(1, depth + 1):
        below = [(f"{parent}.{i}", parent) for parent in level for i in range(width)]
        rows += [row(name, parent, age, float(age)) for name, parent in below]
        level = [name for name, _ in below]
    return rows


def test_a_small_tree_is_shown_whole_each_below_the_one_that_asked_it(outcome):
    rows = [
        ORIGIN, row("n2", "n1", 1, 3.0), row("n3", "n1", 1, 2.0), row("n4", "n2", 2, 9.0),
    ]  # fmt: skip

    assert tree_lines(outcome, rows, 40) == [
        "n1  origin · +3 below, the last at 9 ms",
        "├─ n3                     hop 1     2 ms",
        "└─ n2                     hop 1     3 ms",
        "   └─ n4                  hop 2     9 ms",
    ]


def test_a_thousand_nodes_fit_a_screen_and_none_is_lost_from_the_count(outcome):
    lines = tree_lines(outcome, full_tree(10, 3), 24)

    assert len(lines) <= 24
    assert lines[0] == "n1  origin · +1110 below, the last at 3 ms"
    assert sum("+110 below" in line for line in lines) == 9
    assert any("+10 below" in line for line in lines)


def test_more_branches_than_lines_are_counted(outcome):
    lines = tree_lines(outcome, full_tree(64, 2), 12)

    assert len(lines) <= 12
    assert lines[-1] == "└─ … 55 more branches with 3575 nodes"


def test_repairs_and_silence_are_said_where_they_happened(outcome):
    rows = [
        ORIGIN,
        row("n2", "n1", 1, 63.0, repairs=(50.0,)),
        row("n3", "n1", 1, asked=0.0, repairs=(50.0, 80.0, 110.0), fate=SILENT),
        row("n4", "n3", 2, 9.0),
    ]

    lines = tree_lines(outcome, rows, 40)

    assert lines[1].endswith("hop 1    63 ms   repaired at 50 ms")
    assert lines[2].endswith("silent   repaired 3 times, 50 ms to 110 ms")
    assert lines[3].startswith("   └─ n4")


def test_who_had_answered_and_is_asked_for_a_sign_of_life_is_not_called_repaired(outcome):
    rows = [ORIGIN, row("n2", "n1", 1, 3.0, repairs=(50.0, 80.0))]
    rows += [row("n3", "n1", 1, 63.0, repairs=(50.0, 80.0))]

    lines = tree_lines(outcome, rows, 40)

    assert lines[1].endswith("3 ms   asked for a sign of life 2 times, 50 ms to 80 ms")
    assert lines[2].endswith("63 ms   repaired at 50 ms   asked for a sign of life at 80 ms")


def test_many_that_only_repair_reached_share_a_branch_after_the_first_wave(outcome):
    rows = full_tree(8, 1)
    rows += [row(f"r{i}", "n1", 1, 90.0 + i, repairs=(50.0 + i,)) for i in range(20)]
    rows += [row("below", "r3", 2, 200.0)]

    folded, shown = tree_lines(outcome, rows, 12), tree_lines(outcome, rows, 60)

    assert folded[0] == "n1  origin · +29 below, the last at 200 ms"
    assert folded[-1] == (
        "└─ 20 by repair           hop 1  from 50 ms · +21 below, the last at 200 ms"
    )
    assert len(folded) == 10
    assert len(shown) == 1 + 8 + 1 + 20 + 1


def test_who_is_below_a_closed_branch_and_silent_is_counted_too(outcome):
    rows = full_tree(8, 2)
    rows += [row(f"s{i}", "n1.0", 2, fate=SILENT) for i in range(3)]
    rows += [row(f"c{i}", "n1.1", 2, fate=CUT) for i in range(2)]

    lines = tree_lines(outcome, rows, 10)

    assert any("+8 below, the last at 2 ms, 3 silent" in line for line in lines)
    assert any("2 cut off by age" in line for line in lines)


def test_members_cut_off_by_age_stand_under_the_node_that_left_them_out(outcome):
    rows = [ORIGIN, row("n2", "n1"), *[row(f"c{i}", "n2", 0, fate=CUT) for i in range(6)]]

    lines = tree_lines(outcome, rows, 40)

    assert lines[-1] == "   └─ 6 cut off by age: c0, c1, c2, c3 +2"


def test_what_hangs_on_nothing_stands_apart_and_nothing_is_guessed(outcome):
    rows = [
        ORIGIN, row("old"), row("n8", fate=SILENT, repairs=(9.0, 19.0)), row("c", fate=CUT),
        row("loop1", "loop2"), row("loop2", "loop1"), row("far", "127.0.0.9:5"),
    ]  # fmt: skip

    assert tree_lines(outcome, rows, 40) == [
        "n1  origin",
        "4 answered, asked by an unknown way: old, loop1, loop2, far",
        "1 silent, asked by an unknown way: n8 (asked 2 times)",
        "1 cut off by age: c",
    ]


def test_a_chain_of_two_hundred_hops_can_be_drawn(outcome):
    rows = [ORIGIN] + [row(f"n{i + 1}", f"n{i}", i, float(i)) for i in range(1, 250)]

    assert len(tree_lines(outcome, rows, 500)) == 250


def test_without_the_origin_s_row_it_says_that_there_is_no_trace(outcome):
    assert tree_lines(outcome, [], 40) == [
        "no trace came: the node that ran the query knows none",
    ]  # fmt: skip


def test_names_from_outside_are_harmless(outcome):
    rows = [ORIGIN, row("\x1b[2Jx", "n1"), row("\u202ey"), row("z\x07", fate=CUT)]

    assert not set("".join(tree_lines(outcome, rows, 40))) & set("\x1b\u202e\x07")


def test_the_object_has_every_node_with_what_is_not_known_as_null(outcome):
    rows = [
        ORIGIN,
        row("n2", "n1", 1, 3.0, asked=0.0),
        row("n3", repairs=(50.0,), fate=SILENT),
        (*row("n4", "n2", 0, fate=CUT)[:1], None, *row("n4", "n2", 0, fate=CUT)[2:]),
    ]

    found = trace_object(outcome, rows)

    assert (found["format"], found["version"]) == ("gossip-counter trace", 1)
    assert (found["key"], found["origin"], found["reason"]) == ("views", "n1", "complete")
    known = {"address": "127.0.0.1:7401", "repairs": [], "value": 5, "fate": "answered"}
    assert found["nodes"] == [
        {**known, "name": "n1", "parent": None, "age": 0, "asked_ms": None, "answered_ms": 0.0},
        {**known, "name": "n2", "parent": "n1", "age": 1, "asked_ms": 0.0, "answered_ms": 3.0},
        {
            **known, "name": "n3", "parent": None, "age": None, "asked_ms": None,
            "answered_ms": None, "repairs": [50.0], "value": None, "fate": "silent",
        },
        {
            **known, "name": "n4", "address": None, "parent": "n2", "age": 0, "asked_ms": None,
            "answered_ms": None, "value": None, "fate": "cut",
        },
    ]  # fmt: skip
