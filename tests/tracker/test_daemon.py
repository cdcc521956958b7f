"""What every daemon does to the process it runs in, and takes back."""

import asyncio
import gc
import signal
import subprocess
import sys

import pytest

from tracker import daemon, defects
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


@pytest.fixture(autouse=True)
def _own_signals():
    """Take back the signals that a daemon leaves ignored once it was told to stop."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_daemon_that_nobody_stopped_gives_the_signals_back():
    before = [signal.getsignal(one) for one in STOPPING]

    async def serve(stop):
        assert [signal.getsignal(one) for one in STOPPING] != before
        return 7

    assert run_daemon(serve) == 7
    assert [signal.getsignal(one) for one in STOPPING] == before


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_while_a_daemon_stops_changes_nothing_and_is_answered_once(number, capsys):
    async def serve(stop):
        signal.raise_signal(signal.SIGTERM)
        await stop.wait()
        for _ in range(3):
            signal.raise_signal(number)
            await asyncio.sleep(0)
        return 7

    assert run_daemon(serve) == 7
    assert capsys.readouterr().err == f"{daemon.STOPPING_ALREADY}\n"


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_at_the_very_end_of_a_daemon_that_was_stopped_does_not_end_it(number, monkeypatch):
    async def serve(stop):
        signal.raise_signal(signal.SIGTERM)
        await stop.wait()
        return 7

    monkeypatch.setattr(gc, "unfreeze", lambda: signal.raise_signal(number))

    assert run_daemon(serve) == 7
    assert [signal.getsignal(one) for one in STOPPING] == [signal.SIG_IGN] * 2
    signal.raise_signal(number)


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_that_comes_before_the_loop_listens_stops_the_daemon_once_it_does(
    number, monkeypatch
):
    has_uvloop = daemon.has_uvloop

    def told_meanwhile():
        signal.raise_signal(number)
        return has_uvloop()

    async def serve(stop):
        return 7 if stop.is_set() else 8

    monkeypatch.setattr(daemon, "has_uvloop", told_meanwhile)

    assert run_daemon(serve) == 7


# -- what nobody foresaw --------------------------------------------------------------------


def serving(*mistakes):
    """Return a service that makes these mistakes, one after the other, and ends by itself."""

    def make(mistake):
        raise mistake

    async def serve(stop):
        for mistake in mistakes:
            asyncio.get_running_loop().call_soon(make, mistake)
            await asyncio.sleep(0)
        return 7

    return serve


def test_a_mistake_in_a_daemon_is_one_line_each_and_the_others_are_served_on(capsys):
    assert run_daemon(serving(ValueError("\x1b[2Jodd"), ValueError("\x1b[2Jodd"), KeyError(5))) == 7

    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert "\x1b" not in err
    said = [line.partition(" (")[0] for line in err.splitlines() if line.startswith("error")]
    assert said == [
        r"error: this is a bug: ValueError: \x1b[2Jodd", "error: this is a bug: KeyError: 5",
    ]  # fmt: skip
    assert "(tests/tracker/test_daemon.py:" in err


def test_no_more_mistakes_are_told_than_there_is_room_for(capsys):
    mistakes = [ValueError(str(number)) for number in range(defects.TOLD_MAX + 5)]

    assert run_daemon(serving(*mistakes)) == 7

    assert capsys.readouterr().err.count("this is a bug") == defects.TOLD_MAX


def test_a_daemon_that_finds_no_memory_ends_at_once():
    program = (
        "import asyncio\n"
        "from tracker.daemon import run_daemon\n"
        "def fail():\n"
        "    raise MemoryError\n"
        "async def serve(stop):\n"
        "    asyncio.get_running_loop().call_soon(fail)\n"
        "    await stop.wait()\n"
        "run_daemon(serve)\n"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )

    assert ran.returncode == defects.DEFECT
    assert ran.stderr.startswith("error: there is no memory left; ended")
    assert "Traceback" not in ran.stderr
