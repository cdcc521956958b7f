"""Clients of Redis as people use them, against real nodes: redis-cli, redis-benchmark, redis-py."""

import re
import shutil
import signal
import socket
import subprocess
import threading

import pytest

pytestmark = pytest.mark.slow
redis = pytest.importorskip("redis")
asynchronous = pytest.importorskip("redis.asyncio")

WAIT_S = 30.0
NOBODY = ("127.0.0.1", 0)


def port_of(node):
    """Return where a node speaks Redis's protocol, as it says itself."""
    return int(node.said(r"^redis: 127\.0\.0\.1:(\d+)")[1])


def client_of(node, **options):
    """Return redis-py on a node, as it is by default but for a longer patience."""
    options = {"socket_timeout": WAIT_S, "decode_responses": True, **options}
    return redis.Redis(port=port_of(node), **options)


def node_of(machines, name, **options):
    return machines.node(name, "--redis", "127.0.0.1:0", **options)


@pytest.fixture(scope="module")
def two(shared):
    """Return a cluster: n1 in memory, n2 on disk, both with a Redis door."""
    shared.tracker()
    node_of(shared, "n1", data=None)
    node_of(shared, "n2")
    for node in shared.nodes.values():
        shared.until(lambda node=node: shared.ask(node)["members"] == 2)
    return shared


@pytest.fixture(params=["n1", "n2"])
def node(two, request):
    return two.nodes[request.param]


def ran(program, node, *arguments):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (apt install redis-tools)")
    command = [program, "-p", str(port_of(node)), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=WAIT_S, check=True
    ).stdout


# -- programs -------------------------------------------------------------------------------


def test_redis_cli_counts_and_asks(node):
    key = f"cli-{port_of(node)}"

    assert ran("redis-cli", node, "incr", key) == "1\n"
    assert ran("redis-cli", node, "incrby", key, "41") == "42\n"
    assert ran("redis-cli", node, "get", key) == "42\n"
    assert "complete (true)" in ran("redis-cli", node, "-3", "counter.query", key)
    assert ran("redis-cli", node, "set", key, "5").startswith("ERR there is no set")


def test_redis_benchmark_counts_exactly(node):
    key = "counter:__rand_int__"
    with client_of(node) as client:
        before = client.execute_command("COUNTER.GET", key)

        for depth in ("1", "16"):
            ran("redis-benchmark", node, "-t", "incr", "-n", "2000", "-P", depth, "-q")

        # It sends whole pipelines from whole connections, and so perhaps a few more.
        more = client.execute_command("COUNTER.GET", key) - before
        assert 4_000 <= more < 4_000 + 50 * 16


# -- redis-py -------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_connects_and_counts(node, protocol):
    key = f"py-{protocol}-{port_of(node)}"
    with client_of(node, protocol=protocol, client_name="web-1") as client:
        assert [client.incr(key), client.incr(key, 5), client.decr(key)] == [1, 6, 5]
        assert (client.get(key), client.mget([key, "none"])) == ("5", ["5", "0"])
        assert client.client_getname() == "web-1"
        assert client.info()["node"] in ("n1", "n2")
        assert key in list(client.scan_iter(match="py-*"))
        whole = client.execute_command("COUNTER.QUERY", key)
        pairs = whole if protocol == 3 else dict(zip(whole[::2], whole[1::2], strict=True))
        assert (pairs["value"], bool(pairs["complete"])) == (5, True)


def test_a_pipeline_of_redis_py_is_answered_in_order(node):
    key = f"pipeline-{port_of(node)}"
    with client_of(node) as client, client.pipeline(transaction=False) as pipe:
        for _ in range(100):
            pipe.incr(key)
        pipe.get(key)

        assert pipe.execute() == [*range(1, 101), "100"]


def test_a_transaction_of_redis_py_counts_nothing_and_says_so(node):
    key = f"transaction-{port_of(node)}"
    with client_of(node) as client:
        with client.pipeline() as pipe, pytest.raises(redis.ResponseError, match="MULTI"):
            pipe.incr(key).incr(key).execute()

        assert client.execute_command("COUNTER.GET", key) == 0
        assert client.incr(key) == 1


async def test_the_asynchronous_client_counts_exactly(node):
    key = f"async-{port_of(node)}"
    client = asynchronous.Redis(port=port_of(node), socket_timeout=WAIT_S)
    try:
        for _ in range(3):
            await client.incrby(key, 7)
        assert await client.get(key) == b"21"
    finally:
        await client.aclose()


# -- what a retry does ----------------------------------------------------------------------


class Cutter:
    """A proxy that cuts the first connections after a request was applied, before its reply."""

    def __init__(self, port, word, cuts):
        self.applied = 0
        self._word, self._cuts, self._port = word, cuts, port
        self._listener = socket.create_server(NOBODY)
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._carry, args=(near,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _carry(self, near):
        with near, socket.create_connection(("127.0.0.1", self._port)) as far:
            while True:
                try:
                    request = near.recv(65_536)
                except OSError:
                    return
                if not request:
                    return
                far.sendall(request)
                reply = far.recv(65_536)
                if self._word in request:
                    self.applied += 1
                    if self.applied <= self._cuts:
                        return
                near.sendall(reply)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def cut(node):
    cutters = []

    def made(word):
        cutters.append(Cutter(port_of(node), word, cuts=1))
        return redis.Redis(port=cutters[-1].port, socket_timeout=WAIT_S), cutters[-1]

    yield made
    for cutter in cutters:
        cutter.close()


def test_a_retry_of_redis_py_counts_twice_without_an_id(node, cut):
    key = f"retried-{port_of(node)}"
    client, cutter = cut(b"INCRBY")
    with client:
        assert client.incr(key) == 2

    assert cutter.applied == 2


def test_a_retry_of_redis_py_counts_once_with_an_id(node, cut):
    key = f"once-{port_of(node)}"
    client, cutter = cut(b"COUNTER.INCRBY")
    with client:
        assert client.execute_command("COUNTER.INCRBY", key, 5, "ID", f"order-{key}") == 5

    assert cutter.applied == 2


# -- faults ---------------------------------------------------------------------------------


def test_an_answer_without_all_members_is_an_error(machines):
    three = machines.up(1)
    node = node_of(machines, "n2")
    three.until(lambda: machines.ask(node)["members"] == 2)
    machines.count(machines.nodes["n1"], 5)
    with client_of(node) as client:
        assert client.get("views") == "5"
        machines.nodes["n1"].signal(signal.SIGSTOP)
        try:
            with pytest.raises(redis.ResponseError, match="INCOMPLETE 0 seen on 1 of 2 members"):
                client.get("views")
        finally:
            machines.nodes["n1"].signal(signal.SIGCONT)
        machines.until(lambda: _get(client) == "5")


def _get(client):
    try:
        return client.get("views")
    except redis.ResponseError:
        return None


def test_what_was_acknowledged_survives_a_kill_under_load(machines):
    machines.tracker()
    node = node_of(machines, "n1")
    acknowledged, sent, is_warm = 0, 0, threading.Event()
    client = client_of(node, retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0))

    def load():
        nonlocal acknowledged, sent
        try:
            while True:
                with client.pipeline(transaction=False) as pipe:
                    for _ in range(50):
                        pipe.incr("views")
                    sent += 50
                    acknowledged += len(pipe.execute())
                if acknowledged > 2_000:
                    is_warm.set()
        except redis.ConnectionError:
            is_warm.set()

    thread = threading.Thread(target=load)
    thread.start()
    assert is_warm.wait(WAIT_S)
    node.popen.kill()
    thread.join(WAIT_S)
    node.ended()
    again = machines.back("n1")

    assert acknowledged > 2_000
    assert acknowledged <= machines.share(again) <= sent


def test_a_node_with_open_connections_stops_at_once_and_well(machines):
    machines.tracker()
    node = node_of(machines, "n1")
    node.said("joined tracker")
    with client_of(node, retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0)) as client:
        assert client.incr("views") == 1

        assert node.stop() == 0
        with pytest.raises(redis.ConnectionError):
            client.incr("views")


# -- the command line -----------------------------------------------------------------------


def test_where_it_listens_stands_in_the_first_lines(two):
    said = two.nodes["n1"].out

    assert re.search(r"(?m)^redis: 127\.0\.0\.1:(\d+)   try: redis-cli -p \1 incr views$", said)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--redis", "0.0.0.0:0"], "--insecure"),
        (["--redis", "7480"], '--redis: "7480" is not HOST:PORT'),
    ],
)
def test_an_address_that_will_not_do_is_refused(machines, options, why):
    ended = machines.run("node", "--memory", *options)

    assert ended.code == 2
    assert why in ended.err


def test_a_port_that_is_taken_ends_the_node_before_it_begins(machines):
    with socket.create_server(NOBODY) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"

        ended = machines.run("node", "--data", str(machines.home / "n1"), "--redis", place)

    assert ended.code == 2
    assert "pass --redis HOST:0" in ended.err
    assert not (machines.home / "n1").exists()


def test_the_environment_names_the_port_as_well(machines):
    machines.tracker()
    environment = {**machines.environment, "COUNTER_REDIS": "127.0.0.1:0"}
    process = type(machines.trackers[0])(("node", "--memory", "--name", "n1"), environment)
    machines.all.append(process)

    with client_of(process) as client:
        assert client.ping()
