"""What every daemon does to the process it runs in, and takes back."""

import gc
import sys

import pytest

from tracker.daemon import SWITCH_S, run_daemon


def test_a_daemon_lets_threads_in_soon_and_collects_seldom_while_it_runs_and_no_longer():
    before = sys.getswitchinterval(), gc.get_threshold()
    meanwhile = []

    async def serve(stop):
        meanwhile.extend([sys.getswitchinterval(), gc.get_threshold()[0]])
        return 7

    assert run_daemon(serve) == 7

    assert meanwhile == [pytest.approx(SWITCH_S), 50_000]
    assert (sys.getswitchinterval(), gc.get_threshold()) == before
