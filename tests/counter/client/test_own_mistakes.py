"""Errors in the client's own code, planted: whoever waits is told, nobody hangs."""

import threading

import anyio
import pytest

from counter import AsyncClient, Client
from counter.client.dialogue import Dialogue
from counter.client.lane import Lane
from counter.client.operations import UncountedError, UnknownOutcomeError
from counter.client.parting import Parting
from counter.client.search import Search
from tracker.errors import ClusterError, ConfigError, UnreachableError

WAIT_S = 30.0
THREADS = 6
TOLD = r"this client failed, by a mistake of its own \(ZeroDivisionError: planted\)"


def plant(monkeypatch, owner, name, *, after=0):
    """Let a method raise, from its call number `after` on."""
    method, calls = getattr(owner, name), iter(range(10**9))

    def broken(self, *arguments, **words):
        if next(calls) >= after:
            raise ZeroDivisionError("planted")
        return method(self, *arguments, **words)

    monkeypatch.setattr(owner, name, broken)


SENT = [(Lane, "replied"), (Dialogue, "received")]
UNSENT = [(Search, "told"), (Dialogue, "opened"), (Dialogue, "deadline")]


@pytest.mark.parametrize(("owner", "name"), SENT[:1] + UNSENT, ids=lambda part: str(part))
def test_a_caller_is_told_of_a_mistake_in_words_and_the_client_is_closed(
    cluster, monkeypatch, owner, name
):
    _, tracker = cluster()
    plant(monkeypatch, owner, name)
    is_sent = (owner, name) in SENT

    with Client(tracker.address, deadline_s=WAIT_S) as client:
        error = UnknownOutcomeError if is_sent else UnreachableError
        with pytest.raises(error, match=TOLD) as caught:
            client.incr("views")
        assert caught.value.definite is not is_sent
        with pytest.raises(ConfigError, match="this client is closed"):
            client.incr("views")


def ends_of(count, work):
    """Let threads do this; returns what each of them ended with."""
    ends = []

    def run():
        try:
            work()
        except ClusterError as error:
            ends.append(error)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert not any(thread.is_alive() for thread in threads), "somebody waits for ever"
    return ends


@pytest.mark.parametrize("owner_and_name", [*SENT, *UNSENT], ids=lambda part: part[1])
def test_every_thread_that_waits_is_told(cluster, monkeypatch, owner_and_name):
    _, tracker = cluster()
    with Client(tracker.address, deadline_s=WAIT_S) as client:
        plant(monkeypatch, *owner_and_name)

        def work():
            for _ in range(1_000):
                client.incr("views")

        ends = ends_of(THREADS, work)

    assert len(ends) == THREADS
    assert any("planted" in str(error) for error in ends)


def test_what_was_added_is_told_as_uncounted(cluster, monkeypatch):
    _, tracker = cluster()
    plant(monkeypatch, Lane, "replied")
    client = Client(tracker.address, deadline_s=WAIT_S)

    client.add("views", 3)
    with pytest.raises(UncountedError, match=TOLD) as caught:
        client.flush()
    assert [operation.pairs for operation in caught.value.unknown] == [("views", 3)]
    with pytest.raises(ConfigError, match="closed"):
        client.add("others", 4)
    client.close()


def test_what_was_added_before_the_client_failed_is_told_as_uncounted(cluster, monkeypatch):
    _, tracker = cluster()
    plant(monkeypatch, Lane, "replied")
    client = Client(tracker.address, deadline_s=WAIT_S)
    client._wish_flush = lambda: None
    client.add("views", 5)
    with pytest.raises(UnknownOutcomeError):
        client.incr("others")

    with pytest.raises(UncountedError, match="this client is closed") as caught:
        client.close()

    assert caught.value.uncounted == {"views": 5}


def test_a_mistake_while_a_client_is_closed_leaves_nothing_open(cluster, monkeypatch):
    _, tracker = cluster()
    plant(monkeypatch, Parting, "begin")

    with Client(tracker.address, deadline_s=WAIT_S) as client:
        client.incr("views")

    with pytest.raises(ConfigError, match="closed"):
        client.incr("views")


def test_what_has_ended_by_a_mistake_does_not_end_again(cluster, monkeypatch):
    _, tracker = cluster()
    client = Client(tracker.address, deadline_s=WAIT_S)
    plant(monkeypatch, Lane, "replied")
    with pytest.raises(UnknownOutcomeError, match=TOLD) as caught:
        client.incr("views")
    operation = caught.value.operation
    (lane,) = client._dialogue._lanes
    (batch,) = [entry.batch for entry in lane.entries()] or [None]

    client.close()

    assert batch is None or batch.outcome == (UnknownOutcomeError, (*caught.value.args, operation))


# -- tasks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("owner_and_name", SENT + UNSENT[2:], ids=lambda part: part[1])
def test_every_task_that_waits_is_told(cluster, monkeypatch, owner_and_name, backend, after):
    _, tracker = cluster()
    ends = []

    async def work(client):
        try:
            for _ in range(1_000):
                await client.incr("views")
        except ClusterError as error:
            ends.append(error)

    async def main():
        with anyio.fail_after(WAIT_S):
            async with AsyncClient(tracker.address, deadline_s=WAIT_S) as client:
                plant(monkeypatch, *owner_and_name, after=after)
                async with anyio.create_task_group() as group:
                    for _ in range(THREADS):
                        group.start_soon(work, client)

    anyio.run(main, backend=backend)

    assert any("planted" in str(error) for error in ends)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_mistake_while_tasks_say_goodbye_is_no_error_of_theirs(cluster, monkeypatch, backend):
    node, tracker = cluster()
    plant(monkeypatch, Parting, "begin")

    async def main():
        async with AsyncClient(tracker.address, deadline_s=WAIT_S) as client:
            assert (await client.incr("views")).counted

    anyio.run(main, backend=backend)

    assert node.script.totals == {"views": 1}
