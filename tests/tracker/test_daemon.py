"""What every daemon does to the process it runs in, and takes back."""

import gc
import signal
import sys

import pytest

from tracker import daemon
from tracker.daemon import STOPPING, SWITCH_S, run_daemon


def test_a_daemon_lets_threads_in_soon_and_collects_seldom_while_it_runs_and_no_longer():
    before = sys.getswitchinterval(), gc.get_threshold()
    meanwhile = []

    async def serve(stop):
        meanwhile.extend([sys.getswitchinterval(), gc.get_threshold()[0]])
        return 7

    assert run_daemon(serve) == 7

    assert meanwhile == [pytest.approx(SWITCH_S), 50_000]
    assert (sys.getswitchinterval(), gc.get_threshold()) == before


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_that_comes_before_the_loop_listens_stops_the_daemon_once_it_does(
    number, monkeypatch
):
    has_uvloop = daemon.has_uvloop
    before = [signal.getsignal(one) for one in STOPPING]

    def told_meanwhile():
        signal.raise_signal(number)
        return has_uvloop()

    async def serve(stop):
        return 7 if stop.is_set() else 8

    monkeypatch.setattr(daemon, "has_uvloop", told_meanwhile)

    assert run_daemon(serve) == 7
    assert [signal.getsignal(one) for one in STOPPING] == before
