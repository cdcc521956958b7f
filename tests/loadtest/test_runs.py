"""A run as it is judged: coverage by those who are really up, checks that can fail."""

import pytest

from counter.client.answers import nothing_heard
from counter.messages import Answer
from loadtest.checker import all_ok
from loadtest.plan import Plan
from loadtest.runs import FINAL_READS, MISSES_NOBODY, Cost, Run, Stop, shares_heard

FREE = Cost(messages=0, bytes=0, duplicates=0, busiest=0, drain_ms=0.0)


def make_run(nodes=4, crashed=()):
    run = Run(Plan(nodes=nodes, seed=1))
    run.crashed(list(crashed))
    return run


def make_answer(value, *, complete=True):
    empty = nothing_heard("complete" if complete else "converged", "n1", "")
    fields = {name: getattr(empty, name) for name in Answer.__match_args__}
    return Answer(**{**fields, "value": value, "complete": complete})


def rows_of(*names):
    return [(name, 0, 1, 10.0 * place) for place, name in enumerate(names, 1)]


def names_of_failed(run):
    return [row["name"] for row in run.checks() if not row["ok"]]


def test_coverage_counts_those_who_are_up_and_nobody_else():
    run = make_run(crashed=["n4"])
    reading = run.asked("key-0")

    record = run.answered(reading, make_answer(0, complete=False), rows_of("n1", "n2", "n4"), FREE)

    assert record.coverage == pytest.approx(2 / 3)
    assert (record.t50_ms, record.t100_ms) == (20.0, None)


def test_the_time_of_a_share_is_that_of_the_answer_that_reached_it():
    assert shares_heard([30.0, 10.0, 20.0, 40.0], 4) == {
        "t50_ms": 20.0, "t90_ms": 40.0, "t99_ms": 40.0, "t100_ms": 40.0,
    }  # fmt: skip
    assert shares_heard([5.0], 2) == {
        "t50_ms": 5.0, "t90_ms": None, "t99_ms": None, "t100_ms": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("crashed", "heard"),
    [((), ["n1", "n2", "n3"]), (["n4"], ["n1", "n2", "n3"])],
    ids=["a live node is missed", "an ended node is forgotten"],
)
def test_a_read_called_complete_that_missed_a_member_fails_the_run(crashed, heard):
    run = make_run(crashed=crashed)
    run.answered(run.asked("key-0"), make_answer(0), rows_of(*heard), FREE)
    for key in run.plan.keys:
        run.total(key, 0, rows_of(*run.up))

    assert names_of_failed(run) == [MISSES_NOBODY]


def test_whoever_heard_all_that_are_up_must_have_every_acknowledged_increment():
    run = make_run(crashed=["n4"])
    run.sent("key-0", 1)
    run.counted("key-0", 1, 0.001)
    answer = make_answer(0, complete=False)

    record = run.answered(run.asked("key-0"), answer, rows_of("n1", "n2", "n3"), FREE)

    assert record.fault == "0 read, 1 were acknowledged before it began"


def test_a_final_read_that_misses_somebody_fails_the_run_by_name():
    run = make_run()
    for key in run.plan.keys:
        run.total(key, 0, rows_of("n1", "n2", "n3"))

    assert names_of_failed(run) == [FINAL_READS]


def test_an_increment_that_is_settled_later_is_in_the_total_and_has_no_time():
    run = make_run()
    run.sent("key-0", 1)
    run.settled("key-0", 1, is_counted=True)
    run.sent("key-0", 1)
    run.settled("key-0", 1, is_counted=False)
    for key in run.plan.keys:
        run.total(key, 1 if key == "key-0" else 0, rows_of(*run.up))

    assert all_ok(run.checks())
    assert (run.writes.acked, run.writes.latency_us.count) == (1, 0)


def test_a_query_that_never_came_back_is_counted_by_its_reason_and_covers_nobody():
    run = make_run()

    run.failed(run.asked("key-0"), "n1", "no answer")

    assert run.queries.as_dict()["reasons"] == {"no answer": 1}
    assert run.queries.as_dict()["coverage_min"] == 0.0


def test_the_end_is_wished_for_once_and_taken_the_second_time():
    stop, told = Stop(), []
    stop.on_wish(lambda: told.append("early"))
    stop.wish()
    stop.on_wish(lambda: told.append("late"))

    assert (stop.is_wished, told) == (True, ["early", "late"])
    with pytest.raises(KeyboardInterrupt):
        stop.wish()
