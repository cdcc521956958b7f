"""What was added to a `Client` is sent, or told, however the client and its program end."""

import gc
import os
import subprocess
import sys
import threading
import weakref

import pytest

import counter
from counter import Client
from counter.client import flushing
from counter.client.operations import UncountedError
from counter.messages import EndSession

WAIT_S = 30.0

WORKERS = """
import multiprocessing
from counter import Client

if {is_made_before}:
    client = Client({address!r}, deadline_s=30)

def work():
    if not {is_made_before}:
        global client
        client = Client({address!r}, deadline_s=30)
    for _ in range(100):
        client.add("views")

if __name__ == "__main__":
    workers = [multiprocessing.get_context({method!r}).Process(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
"""


@pytest.mark.slow
@pytest.mark.parametrize("is_made_before", [True, False], ids=["client before", "client inside"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_what_a_worker_of_multiprocessing_added_is_sent_when_it_ends(
    method, is_made_before, cluster, tmp_path
):
    # It ends by `os._exit`: whatever was told to `atexit` is not called.
    node, tracker = cluster()
    program = tmp_path / "program.py"
    program.write_text(
        WORKERS.format(address=tracker.address, method=method, is_made_before=is_made_before)
    )
    root = os.path.dirname(os.path.dirname(counter.__file__))

    subprocess.run(
        [sys.executable, str(program)], env={**os.environ, "PYTHONPATH": root}, check=True,
        timeout=120,
    )  # fmt: skip

    assert node.script.totals == {"views": 200}


DAEMON = """
import os
from counter import Client

client = Client({address!r}, deadline_s=30)
client.add("views", 3)
if os.fork():
    os._exit(0)
client.add("views", 4)
client.close()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_what_was_added_is_sent_before_a_fork_whose_parent_ends_at_once(cluster):
    node, tracker = cluster()
    root = os.path.dirname(os.path.dirname(counter.__file__))

    # Its output ends with the child.
    subprocess.run(
        [sys.executable, "-c", DAEMON.format(address=tracker.address)], check=True, timeout=120,
        env={**os.environ, "PYTHONPATH": root}, capture_output=True,
    )  # fmt: skip

    assert node.script.totals == {"views": 7}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_waits_no_longer_than_a_moment_for_what_was_added(nobody, monkeypatch):
    monkeypatch.setattr(flushing, "FORK_S", 0.01)
    client = Client(node=nobody, deadline_s=WAIT_S)
    client.add("views")
    with client._flushing:  # so that it does not end before
        child = os.fork()
        if child == 0:
            os._exit(0)
    _, status = os.waitpid(child, 0)

    assert status == 0
    with pytest.raises(UncountedError, match="1 key was not counted"):
        client.close()


def inodes():
    """Return the pipes that this process has open."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(os.stat(f"/proc/self/fd/{name}").st_ino)
        except OSError:
            continue  # the directory that is being listed
    return found


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored:pytest.PytestUnraisableExceptionWarning")
def test_a_client_that_nobody_holds_leaves_neither_a_thread_nor_a_descriptor(cluster):
    node, tracker = cluster()
    client = Client(tracker.address, deadline_s=WAIT_S)
    client.add("views")
    client.flush()
    thread = client._flusher._thread
    pipe = os.fstat(client._sockets._woken).st_ino
    held = weakref.ref(client)

    del client
    thread.join(WAIT_S)
    gc.collect()

    assert not thread.is_alive()
    assert held() is None
    assert pipe not in inodes()
    assert node.script.totals == {"views": 1}


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored:pytest.PytestUnraisableExceptionWarning")
def test_what_was_added_is_sent_though_nobody_holds_the_client_any_more(cluster):
    node, tracker = cluster()
    client = Client(tracker.address, deadline_s=WAIT_S)
    client.add("views", 5)
    thread = client._flusher._thread

    del client
    thread.join(WAIT_S)

    assert not thread.is_alive()
    assert node.script.totals == {"views": 5}


def test_what_nobody_is_left_to_be_told_goes_to_stderr(nobody, capsys):
    client = Client(node=nobody, deadline_s=0.05)
    client.add("views", 5)
    thread = client._flusher._thread

    del client
    thread.join(WAIT_S)

    assert capsys.readouterr().err.startswith("error: 1 key was not counted (views 5): no node at")


def test_what_is_added_while_a_client_is_closed_is_counted_or_told(cluster, counting):
    script = counting()

    def adding(message):
        if isinstance(message, EndSession):
            client.add("late", 3)
        return script(message)

    _, tracker = cluster(adding)
    client = Client(tracker.address, deadline_s=WAIT_S)
    client.add("views")
    told = {}
    try:
        client.close()
    except UncountedError as error:
        told = error.uncounted

    assert script.totals["views"] == 1
    assert script.totals["late"] + told.get("late", 0) == 3


@pytest.mark.parametrize("is_begun", [True, False], ids=["its thread has ended", "never begun"])
def test_without_its_thread_a_flush_sends_by_itself(is_begun, cluster, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread at interpreter shutdown")

    node, tracker = cluster()
    client = Client(tracker.address, deadline_s=WAIT_S)
    if is_begun:
        client.add("views")
        client._flusher.end(wait=True)
    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", refuse)
        client.add("views", 2)

    client.flush()

    assert node.script.totals == {"views": 3 if is_begun else 2}
    client.close()


def test_only_a_worker_is_told_to_close_what_is_open():
    flushing.close_at_the_end()

    assert not flushing._ends_with
