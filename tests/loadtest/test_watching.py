"""The pulse of a run: what it did in each second adds up to what it did."""

from loadtest import watching
from loadtest.report import Queries, Writes
from loadtest.watching import Pulse


class Clocked:
    """A pulse over numbers and a clock that are moved by hand."""

    def __init__(self):
        self.writes, self.queries = Writes(), Queries(nodes=3)
        self.told = []
        self.now = 50.0
        self.pulse = Pulse(self.writes, self.queries, self.told.append)

    def count(self, times, micros):
        for _ in range(times):
            self.writes.acked += 1
            self.writes.latency_us.record(micros)

    def look(self, after_s, in_flight=0, **options):
        self.now += after_s
        self.pulse.look(in_flight, 0, **options)


def test_a_second_is_told_by_what_came_in_it_and_not_before():
    run = Clocked()
    run.pulse.begin(run.now, lambda: run.now)
    run.count(100, 40.0)
    run.look(0.9)
    run.look(0.1, in_flight=3)
    run.count(10, 900.0)
    run.queries.reasons["complete"] = 2
    run.look(2.0)

    first, second = run.told
    assert (first.at_s, first.acked, first.acked_per_s, first.in_flight) == (1.0, 100, 100.0, 3)
    assert (second.at_s, second.period_s, second.acked, second.acked_per_s) == (3.0, 2.0, 110, 5.0)
    assert (second.queries, second.queries_per_s) == (2, 1.0)
    assert abs(first.p99_us - 40.0) < 0.5
    assert abs(second.p50_us - 900.0) < 5.0


def test_a_second_without_an_increment_has_a_rate_of_zero_and_no_times():
    run = Clocked()
    run.pulse.begin(run.now, lambda: run.now)
    run.look(1.0)

    (rate,) = run.told
    assert (rate.acked_per_s, rate.p50_us, rate.slowest_us) == (0.0, None, None)
    assert list(rate.as_dict()["rates"]) == list(rate.__match_args__)


def test_the_last_second_is_told_as_short_as_it_was_and_ends_with_the_load():
    run = Clocked()
    run.pulse.begin(run.now, lambda: run.now)
    run.look(1.0)
    run.count(10, 40.0)
    run.writes.elapsed_s = 1.5
    run.look(9.0, is_last=True)
    run.look(0.0, is_last=True)

    assert [rate.at_s for rate in run.told] == [1.0, 1.5]
    assert run.told[1].acked_per_s == 20.0


def test_before_the_load_nothing_is_told_and_nobody_knows_the_time():
    run = Clocked()
    run.look(9.0)

    assert (run.told, run.pulse.now_s()) == ([], None)


def test_a_log_takes_no_more_rates_than_its_limit(monkeypatch):
    monkeypatch.setattr(watching, "RATES_MAX", 2)
    run = Clocked()
    run.pulse.begin(run.now, lambda: run.now)
    for _ in range(5):
        run.look(1.0)

    assert len(run.told) == 2
