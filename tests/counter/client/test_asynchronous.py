"""`AsyncClient`, on asyncio and on trio, against servers that count over real sockets."""

import inspect
import threading
from contextlib import aclosing

import anyio
import pytest

from counter import AsyncClient, Client
from counter.client.operations import UncountedError, UnknownOutcomeError
from counter.messages import Increment
from tracker.errors import ClusterError, ConfigError, RefusedError, UnreachableError
from tracker.messages import Refused

WAIT_S = 30.0


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


def sent(server):
    return [message for message in server.heard if isinstance(message, Increment)]


async def test_an_increment_is_acknowledged(cluster):
    node, tracker = cluster()

    async with AsyncClient(tracker.address) as client:
        ack = await client.incr("views", 5)

    assert (ack.counted, ack.on_disk, ack.node, ack.repeated) == (True, True, "n1", False)
    assert node.script.totals == {"views": 5}


async def test_tasks_that_count_in_one_turn_share_a_message(cluster):
    node, tracker = cluster()
    async with AsyncClient(tracker.address) as client:
        await client.incr("views")

        async def work():
            for _ in range(20):
                assert (await client.incr("views")).counted

        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(work)

    assert node.script.totals == {"views": 1001}
    assert node.streams == 1
    assert len(sent(node)) < 200


async def test_a_message_that_a_cut_connection_swallowed_is_counted_once(cluster, close, counting):
    script = counting()
    answers = iter([[close]])

    def cutting(message):
        counted = script(message)
        return next(answers, counted) if isinstance(message, Increment) else counted

    node, tracker = cluster(cutting)

    async with AsyncClient(tracker.address, deadline_s=WAIT_S) as client:
        ack = await client.incr("views", 3)

    assert ack.repeated
    assert script.totals == {"views": 3}
    assert len(sent(node)) == 2


@pytest.mark.slow
async def test_an_unknown_outcome_may_be_retried_even_by_the_other_client(cluster, close, counting):
    script = counting()
    is_cut = [True]

    def cutting(message):
        counted = script(message)
        return [close] if isinstance(message, Increment) and is_cut[0] else counted

    _, tracker = cluster(cutting)
    async with AsyncClient(tracker.address, deadline_s=WAIT_S) as client:
        with pytest.raises(UnknownOutcomeError, match="MAY have been counted") as caught:
            await client.incr("views", 3)
        is_cut[0] = False
        again = await client.retry(caught.value.operation)
    with Client(tracker.address, deadline_s=WAIT_S) as blocking:
        third = await anyio.to_thread.run_sync(blocking.retry, caught.value.operation)

    assert (again.repeated, third.repeated) == (True, True)
    assert script.totals == {"views": 3}


@pytest.mark.slow
async def test_nobody_there_is_said_and_certain(nobody):
    async with AsyncClient(node=nobody) as client:
        with pytest.raises(UnreachableError, match=r"connection refused.*nothing was sent"):
            await client.incr("views")
        with pytest.raises(UnreachableError, match="connection refused after 3 tries"):
            await client.get("views")


async def test_a_refusal_carries_its_code(cluster):
    def refusing(message):
        is_increment = isinstance(message, Increment)
        return [Refused(message.sequence, "no-disk", "in memory only")] if is_increment else []

    _, tracker = cluster(refusing)

    async with AsyncClient(tracker.address, ack="disk") as client:
        with pytest.raises(RefusedError, match="in memory only") as caught:
            await client.incr("views")

    assert caught.value.code == "no-disk"


async def test_a_client_that_was_not_entered_counts_nothing(nobody):
    client = AsyncClient(node=nobody)

    with pytest.raises(ConfigError, match="async with"):
        await client.incr("views")
    with pytest.raises(ConfigError, match="async with"):
        client.add("views")


async def test_outside_its_block_a_client_refuses_every_call(cluster):
    _, tracker = cluster()
    client = AsyncClient(tracker.address)
    calls = {
        **dict.fromkeys(("incr", "query", "get", "reset", "delete"), ("views",)),
        **dict.fromkeys(("flush", "members", "keys"), ()),
    }
    async with client:
        begun_late = client.query("views")

    for name, arguments in calls.items():
        with pytest.raises(ConfigError, match=r"async with|closed"):
            await getattr(client, name)(*arguments)
    with pytest.raises(ConfigError, match="async with"):
        await begun_late
    with pytest.raises(ConfigError, match="async with"):
        await anext(client.watch("views"))
    with pytest.raises(ConfigError, match="closed"):
        await client.__aenter__()


async def test_a_task_that_is_cancelled_does_not_stop_the_others(cluster):
    node, tracker = cluster()
    async with AsyncClient(tracker.address) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.incr, "views")
            group.cancel_scope.cancel()

        assert (await client.incr("views")).counted

    assert node.script.totals["views"] in (1, 2)


# -- add ------------------------------------------------------------------------------------


async def test_what_is_added_is_counted_by_the_flush(cluster):
    node, tracker = cluster()

    async with AsyncClient(tracker.address) as client:
        for _ in range(1000):
            client.add("views")
        await client.flush()

        assert node.script.totals == {"views": 1000}
    assert len(sent(node)) == 1


async def test_what_is_added_is_sent_without_a_flush_and_at_the_end(cluster):
    node, tracker = cluster()
    arrived = anyio.Event()
    async with AsyncClient(tracker.address) as client:
        client.add("views")
        with anyio.fail_after(WAIT_S):
            while not node.script.totals:
                await anyio.lowlevel.checkpoint()
        arrived.set()
        client.add("views")

    assert node.script.totals == {"views": 2}


@pytest.mark.slow
async def test_what_was_added_and_not_counted_is_raised(nobody):
    async with AsyncClient(node=nobody) as client:
        client.add("views", 7)
        with pytest.raises(UncountedError, match="1 key was not counted") as caught:
            await client.flush()

    assert caught.value.uncounted == {"views": 7}


@pytest.mark.slow
async def test_what_was_added_and_not_counted_is_raised_at_the_end(nobody):
    with pytest.raises(UncountedError, match="1 key was not counted"):
        async with AsyncClient(node=nobody) as client:
            client.add("views", 7)


async def test_too_many_keys_are_refused(nobody, monkeypatch):
    monkeypatch.setattr("counter.client.adding.ADDED_KEYS_MAX", 2)
    async with AsyncClient(node=nobody) as client:
        client._amounts = {"a": 1, "b": 1}

        with pytest.raises(RefusedError, match="keys wait to be sent"):
            client.add("c")
        client._take()


async def test_a_cancelled_program_sends_what_it_added(cluster):
    node, tracker = cluster()

    with anyio.CancelScope() as scope:
        async with AsyncClient(tracker.address) as client:
            client.add("views", 3)
            scope.cancel()
            await anyio.lowlevel.checkpoint()

    assert node.script.totals == {"views": 3}


class Held:
    """A node's script that counts once it is let go, and what waits for that."""

    def __init__(self, script):
        self.script = script
        self._has_come = threading.Event()
        self._is_free = threading.Event()

    def __call__(self, message):
        if isinstance(message, Increment):
            self._has_come.set()
            assert self._is_free.wait(WAIT_S)
        return self.script(message)

    async def has_come(self):
        """Return when the first increment is there, and is not counted."""
        assert await anyio.to_thread.run_sync(self._has_come.wait, WAIT_S)

    async def let_go(self):
        """Let it go when everybody else has had many turns."""
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        self._is_free.set()

    @property
    def is_free(self):
        return self._is_free.is_set()


async def test_a_flush_waits_for_what_is_under_way_already(cluster, counting):
    held = Held(counting())
    _, tracker = cluster(held)
    async with (
        AsyncClient(tracker.address, deadline_s=WAIT_S) as client,
        anyio.create_task_group() as group,
    ):
        client.add("views", 3)
        await held.has_come()
        group.start_soon(held.let_go)
        await client.flush()
        assert held.is_free

    assert held.script.totals == {"views": 3}


@pytest.mark.parametrize("is_cancelled", [False, True], ids=["left", "cancelled"])
async def test_a_client_that_is_left_waits_for_what_is_under_way(is_cancelled, cluster, counting):
    held = Held(counting())
    _, tracker = cluster(held)
    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            async with AsyncClient(tracker.address, deadline_s=WAIT_S) as client:
                client.add("views", 3)
                await held.has_come()
                group.start_soon(held.let_go)
                if is_cancelled:
                    scope.cancel()
        assert held.is_free

    assert held.script.totals == {"views": 3}


@pytest.mark.slow
async def test_a_flush_that_is_cancelled_leaves_its_end_to_the_next_one(cluster, close):
    def closing(message):
        return [close]

    _, tracker = cluster(closing)
    async with AsyncClient(tracker.address, deadline_s=WAIT_S) as client:
        client.add("views", 3)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await client.flush()
        with pytest.raises(UncountedError, match="MAY have been counted") as caught:
            await client.flush()

    assert scope.cancelled_caught
    (operation,) = caught.value.unknown
    assert operation.pairs == ("views", 3)


# -- asking ---------------------------------------------------------------------------------


async def test_a_query_is_awaited_for_its_last_answer_or_iterated(cluster):
    node, tracker = cluster()
    node.script.totals["views"] = 37

    async with AsyncClient(tracker.address) as client:
        total = await client.query("views")
        async with aclosing(aiter(client.query("views", live=True))) as asking:
            totals = [one async for one in asking]

    assert (total.value, total.complete, total.end) == (37, True, True)
    assert [(one.value, one.end) for one in totals] == [(37, False), (37, True)]


async def test_a_watch_yields_answers_with_their_growth_over_one_connection(cluster):
    node, tracker = cluster()

    async with (
        AsyncClient(tracker.address) as client,
        aclosing(client.watch("views", every_s=0.01)) as watching,
    ):
        first = await anext(watching)
        node.script.totals["views"] += 10
        second = await anext(watching)

    assert (first.per_s, second.per_s) == (None, 10.0)
    assert node.streams == 1


async def test_a_share_and_the_members_can_be_asked_for(cluster):
    node, tracker = cluster()
    node.script.totals["views"] = 7

    async with AsyncClient(tracker.address) as client:
        held, members = await client.get("views", node="n1"), await client.members()

    assert (held.value, held.node) == (7, "n1")
    assert [member.name for member in members] == ["n1"]


async def test_a_node_that_ends_the_stream_of_a_query_is_a_lost_origin(cluster, close):
    _, tracker = cluster(lambda message: [close])

    async with AsyncClient(tracker.address) as client:
        total = await client.query("views")

    assert (total.reason, total.complete, total.members) == ("origin-lost", False, 0)
    assert "closed the connection" in total.why


async def test_a_node_that_talks_nonsense_is_a_lost_origin_and_a_stranger_an_error(cluster, serve):
    _, tracker = cluster(lambda message: [b"\xff\xff\xff\xff"])

    async with AsyncClient(tracker.address) as client:
        total = await client.query("views")
    async with AsyncClient(node=tracker.address) as client:
        with pytest.raises(RefusedError, match="not a node"):
            await client.get("views")

    assert "nonsense" in total.why


async def test_a_node_that_does_not_answer_in_time_is_said(cluster):
    _, tracker = cluster(lambda message: [])

    async with AsyncClient(tracker.address, deadline_s=0.05) as client:
        with pytest.raises(ClusterError, match=r"did not answer in time|no answer"):
            await client.get("views", node="n1")


@pytest.mark.parametrize("name", ["incr", "retry", "flush", "add", "watch", "get", "members"])
def test_both_clients_take_the_same_words(name):
    one = inspect.signature(getattr(Client, name)).parameters
    other = inspect.signature(getattr(AsyncClient, name)).parameters

    assert list(one.values()) == list(other.values())


def test_both_clients_are_made_alike():
    assert inspect.signature(Client) == inspect.signature(AsyncClient)
