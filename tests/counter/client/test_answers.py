"""What a query's outcome looks like, as JSON and as a sentence."""

import json

import pytest

from counter.client.answers import Outcome, as_object, coverage, ended, grouped, sentence
from tracker.members import DEAD

MISSING = [("n3", DEAD, 7, 2.5, "no answer"), ("n4", DEAD, None, -1.0, "")]


def test_the_json_has_the_fields_of_the_contract(make_answer):
    found = as_object(Outcome("views", make_answer()))

    assert {
        "key": "views", "value": 37, "complete": True, "reason": "complete", "answered": 4,
        "members": 4, "coverage": 1.0, "low": 37, "filled": 37, "filled_age_s": 0.0,
        "missing": [], "elapsed_ms": 8.1, "hops": 2, "messages": 8, "bytes": 512,
        "duplicates": 0, "query": bytes(range(16)).hex(), "origin": "n1", "end": True,
    }.items() <= found.items()  # fmt: skip
    assert json.loads(json.dumps(found)) == found


def test_the_json_says_null_where_nothing_is_known(make_answer):
    found = as_object(Outcome("k", make_answer(filled_age_s=-1.0, low=None), MISSING))

    assert (found["filled_age_s"], found["low"]) == (None, None)
    assert found["missing"] == [
        {"name": "n3", "state": "dead", "last_value": 7, "last_age_s": 2.5, "why": "no answer"},
        {"name": "n4", "state": "dead", "last_value": None, "last_age_s": None, "why": ""},
    ]


def test_the_rows_of_the_nodes_are_there_when_asked_for(make_answer):
    outcome = Outcome("k", make_answer(), [], [("n1", 30, 0, 0.0), ("n2", 7, 1, 3.2)])

    assert "nodes" not in as_object(outcome)
    assert as_object(outcome, per_node=True)["nodes"][1] == {
        "name": "n2", "value": 7, "hops": 1, "answered_ms": 3.2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answered", "members", "complete", "expected"),
    [
        pytest.param(3, 4, False, 0.75, id="some"),
        pytest.param(5, 4, True, 1.0, id="more than expected is all"),
        pytest.param(0, 0, False, 0.0, id="nobody known"),
        pytest.param(0, 0, True, 1.0, id="nobody to expect"),
    ],
)
def test_coverage_is_a_share_and_never_above_one(
    make_answer, answered, members, complete, expected
):
    answer = make_answer(answered=answered, members=members, complete=complete)

    assert coverage(answer) == expected


def test_the_sentence_of_a_complete_answer(make_answer):
    answer = make_answer(
        value=1_204_881, answered=1000, members=1000, elapsed_ms=64.2, hops=3, messages=2002
    )

    assert sentence(Outcome("k", answer)) == (
        "1 204 881   1000/1000 nodes · 64 ms · 3 hops · 2 002 messages"
    )


def test_the_sentence_of_an_incomplete_answer_names_two_and_counts_the_rest(make_answer):
    answer = make_answer(
        value=1_204_881, answered=963, members=1000, complete=False, reason="deadline",
        elapsed_ms=1000.4, missing=37,
    )  # fmt: skip
    rows = [(f"n{n}", DEAD, None, -1.0, "") for n in (418, 733, 800)]

    assert sentence(Outcome("k", answer, rows)) == (
        "1 204 881 seen on 963/1000 nodes   incomplete: deadline 1 s; n418, n733 +35 silent"
    )


def test_an_answer_that_met_the_wish_is_not_called_incomplete(make_answer):
    outcome = Outcome("k", make_answer(complete=False, reason="satisfied", answered=3, missing=1))

    assert outcome.is_success
    assert "incomplete" not in sentence(outcome)


def test_a_lost_origin_keeps_the_value_and_claims_nothing(make_answer):
    last = ended(make_answer(end=False, value=21), "origin-lost", "n1 is gone")

    assert (last.value, last.end, last.complete, last.reason) == (21, True, False, "origin-lost")


def test_negative_numbers_are_grouped_too():
    assert grouped(-1_204_881) == "-1 204 881"


def test_a_name_from_outside_cannot_move_the_cursor(make_answer):
    answer = make_answer(complete=False, reason="converged", missing=1, why="\x1b[2J")

    assert "\x1b" not in sentence(Outcome("k", answer, [("\x1b[2J", DEAD, None, -1.0, "")]))
