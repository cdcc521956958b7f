"""A `Client` that signal handlers break into, or use: at any line of it nothing hangs or breaks."""

import linecache
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from counter import Client
from counter.client import threaded
from counter.client.ending import Ending
from counter.client.lane import Settled
from counter.client.operations import Acknowledgement, Batch, UnknownOutcomeError, mistake
from counter.messages import Increment
from tracker.errors import RefusedError, UnreachableError

WAIT_S = 30.0
LINES = 300
"""More lines than an increment takes."""
HERE = str(Path(threaded.__file__).parent)


class Interrupt(BaseException):
    """What a handler raises: KeyboardInterrupt, or a limit of time of a framework."""


@pytest.fixture
def on_signal():
    """Set what is done on SIGUSR1, in this thread, whatever it is at."""
    before = signal.getsignal(signal.SIGUSR1)

    def set_handler(work):
        signal.signal(signal.SIGUSR1, lambda number, frame: work())

    yield set_handler
    signal.signal(signal.SIGUSR1, before)


def signalling(script, over, is_ready=lambda: True):
    """Return a node's script that signals this process at the first increment, and waits then."""
    is_sent = []

    def handled(message):
        replies = script(message)
        if isinstance(message, Increment) and not is_sent:
            is_sent.append(True)
            while not is_ready():
                os.sched_yield()
            os.kill(os.getpid(), signal.SIGUSR1)
            assert over.wait(WAIT_S)
        return replies

    return handled


def test_a_signal_handler_may_add_but_is_refused_to_wait_for_the_call_it_interrupts(
    cluster, counting, on_signal
):
    script, over, refused = counting(), threading.Event(), []
    _, tracker = cluster(signalling(script, over))
    client = Client(tracker.address, deadline_s=WAIT_S)

    def handle():
        for call in (lambda: client.incr("handler"), client.flush, client.close):
            with pytest.raises(RefusedError, match="a signal handler may use `add`") as caught:
                call()
            refused.append(caught.value.code)
        client.add("handler", 2)
        over.set()

    on_signal(handle)
    client.incr("views")
    client.close()

    assert refused == ["busy"] * 3
    assert script.totals == {"views": 1, "handler": 2}


def test_a_handler_that_raises_while_a_reply_is_awaited_spoils_nothing(
    cluster, counting, on_signal
):
    script, over = counting(), threading.Event()
    _, tracker = cluster(signalling(script, over, lambda: client._sockets.receiving))

    def handle():
        over.set()
        raise Interrupt

    on_signal(handle)
    with Client(tracker.address, deadline_s=WAIT_S) as client:
        with pytest.raises(Interrupt):
            client.incr("views")
        client.incr("views")

    assert script.totals == {"views": 2}


class Interrupting:
    """Raises in this thread at the `line`-th line of the clients' code that it comes to.

    Not at the end of a `with`, which is traced as a line of it: Python looks for signals after
    calls and jumps back, and there is none between leaving the block and the call that ends it.
    """

    def __init__(self, line):
        self.left = line
        self.where = ""

    def __enter__(self):
        self._before = sys.gettrace()
        sys.settrace(self._called)
        return self

    def __exit__(self, *ended):
        sys.settrace(self._before)

    def _called(self, frame, event, argument):
        return self._traced if frame.f_code.co_filename.startswith(HERE) else None

    def _traced(self, frame, event, argument):
        name, number = frame.f_code.co_filename, frame.f_lineno
        if event == "line" and not linecache.getline(name, number).lstrip().startswith("with "):
            self.left -= 1
            if self.left == 0:
                self.where = f"{frame.f_code.co_name}:{frame.f_lineno}"
                raise Interrupt
        return self._traced


class Others:
    """A thread that counts meanwhile, and repeats what is unknown."""

    def __init__(self, client):
        self.client = client
        self.counted = 0
        self.error = None
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self):
        try:
            while not self._is_over.is_set():
                try:
                    self.client.incr("others")
                except UnknownOutcomeError as error:
                    self.client.retry(error.operation)
                except UnreachableError:
                    continue  # certainly not counted
                self.counted += 1
        except BaseException as error:
            self.error = error

    def end(self):
        self._is_over.set()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        assert self.error is None


def interrupted(client, line):
    """Count 1 and break off there; returns whether it was counted, and where it was broken off."""
    with Interrupting(line) as interrupting:
        try:
            client.incr("mine")
        except Interrupt:
            return False, interrupting.where
    return True, interrupting.where


@pytest.mark.slow
@pytest.mark.parametrize("is_alone", [True, False], ids=["alone", "beside another thread"])
def test_an_increment_may_be_broken_off_at_any_line(is_alone, cluster):
    node, tracker = cluster()
    client = Client(tracker.address, deadline_s=WAIT_S / 3)
    others = None if is_alone else Others(client)
    counted, where = 0, []
    for line in range(1, LINES):
        was_counted, at = interrupted(client, line)
        where += [at] if at else []
        counted += was_counted
        client.incr("mine")
        counted += 1
    if others is not None:
        others.end()
        assert node.script.totals["others"] == others.counted
    client.close()

    assert len(set(where)) > (100 if is_alone else 10)
    assert counted <= node.script.totals["mine"] <= counted + len(where)


@pytest.mark.parametrize("line", range(1, 8))
def test_whoever_sleeps_is_woken_or_left_to_be_woken_by_an_end_that_was_broken_off(line, cluster):
    _, tracker = cluster()
    client, batch, woken = Client(tracker.address), Batch(0.0, 5.0, 0.0), []
    client._sleepers[batch] = SimpleNamespace(notify_all=lambda: woken.append(batch))

    with Interrupting(line), suppress(Interrupt):
        client._carry_out([Settled(batch)])

    assert woken or batch in client._sleepers
    client._sleepers.clear()
    client.close()


def test_what_broke_into_a_call_is_named_and_is_no_mistake():
    assert mistake(KeyboardInterrupt()) == "this client was interrupted (KeyboardInterrupt)"
    assert "mistake of its own (ValueError: no)" in mistake(ValueError("no"))


@pytest.mark.parametrize("in_halves", [False, True], ids=["whole", "in halves"])
@pytest.mark.parametrize("line", range(1, 25))
def test_whoever_waits_is_told_of_an_end_that_was_broken_off_at_any_line(line, in_halves):
    ending = Ending([], lambda: b"s" * 16)
    batch = Batch(0.0, 5.0, 0.0)
    batch.amounts = {"a": 1, "b": 2}
    ending.begin(batch)
    counted = Acknowledgement(True, True, "n1", False, "1")

    with Interrupting(line), suppress(Interrupt):
        for part in ending.halves(batch) if in_halves else [batch]:
            ending.settle(part, counted)
    assert not batch.is_settled or batch.outcome or batch.outcomes.keys() == {"a", "b"}
    ending.fail(Interrupt())

    assert batch.is_settled
    for key in batch.amounts:
        end = batch.end_of(key)
        assert end == counted or end[0] is UnreachableError
