"""A run as it is judged: coverage by those who are really up, checks that can fail."""

import pytest

from counter.client.answers import nothing_heard
from counter.messages import Answer
from loadtest.bookkeeping import SHARES_RIGHT, Word, Work
from loadtest.checker import all_ok
from loadtest.costs import Bill, Cost
from loadtest.plan import Plan
from loadtest.runs import FINAL_READS, MISSES_NOBODY, Run, Stop, shares_heard
from loadtest.timeline import Act
from loadtest.watching import Quiet

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


def make_work(run, amount, key="key-0"):
    return Work(0, 1, key, amount, 0.0)


def count(run, amount, node, after_s=0.001):
    work = make_work(run, amount)
    run.books.attempted(work)
    run.books.counted(work, Word(node, bytes(16), 1, 0.5), after_s)


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
        run.total((key,), {key: 0}, rows_of(*run.up))

    assert names_of_failed(run) == [MISSES_NOBODY]


def test_whoever_heard_all_that_are_up_must_have_every_acknowledged_increment():
    run = make_run(crashed=["n4"])
    count(run, 1, "n1")
    answer = make_answer(0, complete=False)

    record = run.answered(run.asked("key-0"), answer, rows_of("n1", "n2", "n3"), FREE)

    assert record.fault == (
        "query of key-0 at n1, begun 0.000 s into the load: 0 read, 1 were acknowledged before it"
        " began; n1 held 1, gave 0"
    )


def test_a_final_read_that_misses_somebody_fails_the_run_by_name():
    run = make_run()
    for key in run.plan.keys:
        run.total((key,), {key: 0}, rows_of("n1", "n2", "n3"))

    assert names_of_failed(run) == [FINAL_READS]


def test_an_increment_that_is_settled_later_is_in_the_total_and_has_no_time():
    run = make_run()
    count(run, 5, "n2", after_s=None)
    refused = make_work(run, 7)
    run.books.attempted(refused)
    run.books.turned_down(refused)
    for key in run.plan.keys:
        is_counted = key == "key-0"
        rows = [("n2", 5 if is_counted else 0, 1, 1.0), *rows_of("n1", "n3", "n4")]
        run.total((key,), {key: 5 if is_counted else 0}, rows)

    assert all_ok(run.checks())
    assert (run.writes.acked, run.books.refused, run.writes.latency_us.count) == (1, 1, 0)


def test_what_is_at_another_node_than_the_one_that_acknowledged_it_fails_the_run():
    run = make_run()
    count(run, 5, "n2")
    for key in run.plan.keys:
        is_counted = key == "key-0"
        rows = [("n3", 5 if is_counted else 0, 1, 1.0), *rows_of("n1", "n2", "n4")]
        run.total((key,), {key: 5 if is_counted else 0}, rows)

    assert names_of_failed(run) == [SHARES_RIGHT]
    assert [each.split(":")[0] for each in run.sentences()] == ["lost", "doubled"]


def test_of_a_group_of_keys_whose_shares_are_wrong_each_is_looked_at_by_itself():
    run = Run(Plan(nodes=2, seed=1, key_count=40))
    count(run, 5, "n1")
    (first, second) = run.finals.groups
    run.total(first, {"key-00": 0}, [("n1", 0, 1, 1.0), ("n2", 0, 1, 1.0)])
    run.total(second, {}, [("n1", 1, 1, 1.0), ("n2", 0, 1, 1.0)])

    assert run.keys_to_look_at() == list(second)


def test_who_crashed_with_counts_is_missed_by_nobody_who_does_not_call_that_complete():
    run = make_run()
    count(run, 5, "n4")
    run.acted(Act(1.0, "crash", ("n4",)))

    run.answered(run.asked("key-0"), make_answer(0, complete=False), rows_of("n1", "n2"), FREE)
    record = run.answered(
        run.asked("key-0"), make_answer(0, complete=False), rows_of("n1", "n2", "n3"), FREE
    )

    assert record.fault is None
    assert record.coverage == 1.0
    assert run.down == ["n4"]


def test_whoever_comes_or_goes_while_a_query_is_under_way_is_not_expected_in_it():
    run = make_run()
    question = run.asked("key-0")
    run.acted(Act(1.0, "crash", ("n4",)))
    later = run.asked("key-0")
    run.acted(Act(2.0, "restart", ("n4",)))

    for each in (question, later):
        answer = make_answer(0, complete=False)
        record = run.answered(each, answer, rows_of("n1", "n2", "n3"), FREE)
        assert record.coverage == (1.0 if each is later else 0.75)
    assert run.up == ["n1", "n2", "n3", "n4"]


def test_what_was_parked_is_in_the_total_once_all_are_back():
    run = make_run()
    work = make_work(run, 5)
    run.books.attempted(work)
    run.books.parked(work, Word("n2", bytes(16), 1, 0.5))
    rows = rows_of("n1", "n2", "n3", "n4")

    assert run.total(("key-0",), {"key-0": 0}, rows)
    run.everybody_is_back()
    # It may still come: the last read goes on.
    assert not run.total(("key-0",), {"key-0": 0}, rows)
    for key in run.plan.keys:
        run.total((key,), {key: 0}, rows)
    assert "exact total" in names_of_failed(run)
    assert run.sentences()[0].startswith("lost: 5 of key-0 at no node, though one said that it is")


def test_a_query_that_others_share_is_paid_for_once():
    bill, answer = Bill(), make_answer(0)
    dear = Answer(**{**{n: getattr(answer, n) for n in Answer.__match_args__}, "messages": 8})

    assert [bill.cost_of(dear).messages, bill.cost_of(dear).messages] == [8, 0]


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


def test_who_wishes_for_the_end_a_third_time_does_not_cut_the_end_short():
    stop = Stop()
    stop.wish()
    with pytest.raises(KeyboardInterrupt):
        stop.wish()

    stop.wish()


def test_a_wish_that_comes_when_the_run_is_over_takes_the_report_from_nobody():
    stop = Stop()
    stop.over()
    stop.wish()

    assert not stop.is_wished
    with pytest.raises(KeyboardInterrupt):
        stop.wish()


def test_what_is_done_to_nodes_is_told_to_the_log_and_to_whoever_watches():
    heard = []

    class Listening(Quiet):
        def happened(self, what):
            heard.append(what)

    run = Run(Plan(nodes=4, seed=1), watcher=Listening())
    run.acted(Act(at_s=1.5, kind="pause", names=("n1", "n2"), for_s=2.0))
    run.acted(Act(at_s=2.0, kind="loss", loss=0.2))

    assert heard == ["pause of 2 for 2s", "20% of the gossip vanishes"]


def test_what_was_sent_is_in_flight_until_it_is_known_what_became_of_it():
    books = make_run().books
    works = [Work(0, number, "key-0", 5, 0.0) for number in range(1, 6)]
    word = Word("n1", b"s" * 16, 1, 0.1)
    for work in works:
        books.attempted(work)
    seen = [books.in_flight]
    books.counted(works[0], word, 0.001)
    books.turned_down(works[1])
    seen.append(books.in_flight)
    books.parked(works[2], word)
    books.lost_track(works[3])
    seen.append(books.in_flight)
    books.parked_have_counted()
    seen.append(books.in_flight)

    assert seen == [5, 3, 1, 1]
