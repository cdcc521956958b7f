"""Maelstrom's g-counter and pn-counter workloads, against real processes of `counter maelstrom`.

Maelstrom itself is a program for the JVM and is not run here. In its place stands a router that
does what Maelstrom's does: it carries each message after a random delay, in any order, drops some,
cuts links, kills processes and starts them again; clients send one request at a time, and go on
under another name when no reply comes (at once, where the router knows that none can). The
checker has Maelstrom's rule (`workload/pn_counter.clj`):

    a final read is the sum of all acknowledged adds and of any of those whose outcome is unknown

The rule here: faults end before the final reads, and a final read is asked again for as long as
the node itself says that it is incomplete (`--strict`). No value is ever given a second chance.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from loadtest.checker import Ledger

ROOT = str(Path(__file__).parents[2])
COMMAND = (sys.executable, "-c", "from counter.cli import main; main()", "maelstrom")
KEY = "maelstrom"
PATIENCE_S = 45.0
REPLY_S = 1.0
DEFINITE = {1, 10, 11, 12, 14, 22}
EVERYBODY: frozenset[str] = frozenset()

Body = dict[str, Any]


class Node:
    """One process; what it writes to stderr is kept."""

    def __init__(self, process: asyncio.subprocess.Process, take: Callable[[bytes], None]) -> None:
        self.process = process
        self.errors: list[str] = []
        self.is_up = True
        self._readers = [
            asyncio.create_task(self._read(process.stdout, take)),
            asyncio.create_task(self._read(process.stderr, self._complained)),
        ]

    async def _read(self, stream: Any, take: Callable[[bytes], None]) -> None:
        while line := await stream.readline():
            take(line)

    def _complained(self, line: bytes) -> None:
        self.errors.append(line.decode())

    def write(self, line: bytes) -> None:
        if self.is_up:
            self.process.stdin.write(line)  # type: ignore[union-attr]

    async def kill(self) -> None:
        self.is_up = False
        self.process.kill()
        await self.ended()

    async def ended(self) -> int:
        """Let it read to the end of its stdin; returns its exit code."""
        self.is_up = False
        self.process.stdin.close()  # type: ignore[union-attr]
        code = await self.process.wait()
        await asyncio.gather(*self._readers)
        return code


class Network:
    """A router with its nodes and clients."""

    def __init__(
        self,
        random: Random,
        *options: str,
        latency_s: float = 0.0,
        loss: float = 0.0,
        duplicates: float = 0.0,
    ) -> None:
        self.random = random
        self.latency_s = latency_s
        self.loss = loss
        self.duplicates = duplicates
        self.nodes: dict[str, Node] = {}
        self.old: list[Node] = []
        self.cut: frozenset[str] = EVERYBODY
        self._options = options
        self._clients: dict[str, Client] = {}
        self._numbers = count()

    async def __aenter__(self) -> "Network":
        return self

    async def __aexit__(self, *error: object) -> None:
        for node in self.nodes.values():
            if node.is_up:
                await node.kill()
        said = "".join([line for node in [*self.old, *self.nodes.values()] for line in node.errors])
        assert "Traceback" not in said, said
        assert "this is a bug" not in said, said

    # -- nodes --------------------------------------------------------------------------------

    async def boot(self, names: list[str]) -> None:
        """Start all nodes, and tell each who they are."""
        await asyncio.gather(*[self.start(name, names) for name in names])

    async def start(self, name: str, names: list[str]) -> None:
        """Start one node, again if it was there before."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *COMMAND, *self._options, stdin=pipe, stdout=pipe, stderr=pipe,
            env={**os.environ, "PYTHONPATH": ROOT},
        )  # fmt: skip
        if name in self.nodes:
            self.old.append(self.nodes[name])
        self.nodes[name] = Node(process, self._from_node)
        body = {"type": "init", "node_id": name, "node_ids": names}
        assert await self.client().ask(name, body, PATIENCE_S) == {"type": "init_ok"}

    async def kill(self, name: str) -> None:
        """Kill a node; whoever waits for it hears that no reply will come."""
        await self.nodes[name].kill()
        for client in list(self._clients.values()):
            if client.asked == name:
                client.replies.put_nowait(None)

    def part(self, *names: str) -> None:
        """Cut these nodes off from the others; nobody for none."""
        self.cut = frozenset(names)

    # -- messages -----------------------------------------------------------------------------

    def client(self) -> "Client":
        name = f"c{next(self._numbers)}"
        client = self._clients[name] = Client(self, name)
        return client

    def another(self, client: "Client") -> "Client":
        """Return a client under a new name; the old one hears nothing any more."""
        del self._clients[client.name]
        return self.client()

    def _from_node(self, line: bytes) -> None:
        message = json.loads(line)
        assert set(message) == {"src", "dest", "body"}, message
        self.route(message)

    def route(self, message: Body) -> None:
        """Let a message leave; it arrives never, once, or (not in Maelstrom) twice."""
        is_between = message["src"] in self.nodes and message["dest"] in self.nodes
        if is_between and self.random.random() < self.loss:
            return
        loop = asyncio.get_running_loop()
        copies = 2 if self.random.random() < self.duplicates else 1
        client = self._clients.get(message["src"])
        if client is not None:
            client.copies = copies
        for _ in range(copies):
            loop.call_later(self.random.random() * self.latency_s, self._arrive, message)

    def _arrive(self, message: Body) -> None:
        src, dest = message["src"], message["dest"]
        node = self.nodes.get(dest)
        if node is None:
            client = self._clients.get(dest)
            if client is not None:
                client.replies.put_nowait(message["body"])
        elif src not in self.nodes or (src in self.cut) == (dest in self.cut):
            node.write(json.dumps(message).encode() + b"\n")
            if src in self._clients and not node.is_up:
                self._clients[src].replies.put_nowait(None)


class Client:
    """One client: one request at a time."""

    def __init__(self, network: Network, name: str) -> None:
        self.name = name
        self.asked = ""
        # How many of the last request arrive, if any does.
        self.copies = 1
        self.replies: asyncio.Queue[Body | None] = asyncio.Queue()
        self._network = network
        self._numbers = count(1)

    async def ask(self, dest: str, body: Body, longest_s: float) -> Body | None:
        """Send a request; returns the reply without its number, None if none came."""
        number = next(self._numbers)
        self.asked = dest
        asked = {"src": self.name, "dest": dest, "body": {**body, "msg_id": number}}
        self._network.route(asked)
        try:
            async with asyncio.timeout(longest_s):
                while True:
                    reply = await self.replies.get()
                    if reply is None:
                        return None
                    if reply["in_reply_to"] == number:
                        return {name: reply[name] for name in reply if name != "in_reply_to"}
        except TimeoutError:
            return None


@dataclass
class Test:
    """One run of a workload: what was asked, what was told, and whether both can be true."""

    network: Network
    names: list[str]
    decrements: bool
    ledger: Ledger = field(default_factory=Ledger)
    definite: int = 0
    unknown: list[int] = field(default_factory=list)
    reads: int = 0
    counted: asyncio.Event = field(default_factory=asyncio.Event)
    __test__ = False

    async def work(self, operations: int, workers: int = 6) -> None:
        """Let clients add and read, each at its own node."""
        await asyncio.gather(
            *[self._worker(self.names[i % len(self.names)], operations) for i in range(workers)]
        )

    async def _worker(self, node: str, operations: int) -> None:
        network = self.network
        client = network.client()
        for _ in range(operations):
            if network.random.random() < 0.4:
                if await self._read(client, node) is None:
                    client = network.another(client)
                continue
            delta = network.random.randrange(-5 if self.decrements else 0, 5)
            self.ledger.attempted(KEY, delta)
            reply = await client.ask(node, {"type": "add", "delta": delta}, REPLY_S)
            if reply == {"type": "add_ok"}:
                self.definite += delta
                self.ledger.acked(KEY, delta)
                self.counted.set()
            elif reply is not None and reply["code"] in DEFINITE and client.copies == 1:
                self.ledger.refused(KEY, delta)
            else:
                # Also where one copy was refused, before `init` as it may be: the other may count.
                self.unknown.append(delta)
                client = network.another(client)

    async def _read(self, client: Client, node: str) -> int | None:
        reading = self.ledger.begin_read(KEY)
        reply = await client.ask(node, {"type": "read"}, PATIENCE_S)
        if reply is None or reply["type"] == "error":
            return None
        assert set(reply) == {"type", "value"}, reply
        self.reads += 1
        assert self.ledger.end_read(reading, reply["value"], is_complete=True) is None
        value: int = reply["value"]
        return value

    async def check(self) -> None:
        """Read on every node, and judge what they say."""
        values = await asyncio.gather(*[self._final(name) for name in self.names])
        acceptable = {self.definite}
        for delta in self.unknown:
            acceptable |= {value + delta for value in acceptable}

        assert set(values) <= acceptable, f"{values}, acceptable: {sorted(acceptable)}"
        assert len(set(values)) == 1, values
        assert self.ledger.accounts, "nothing was added"

    async def _final(self, name: str) -> int:
        client = self.network.client()
        async with asyncio.timeout(PATIENCE_S):
            while True:
                value = await self._read(client, name)
                if value is not None:
                    return value


def names_of(number: int) -> list[str]:
    return [f"n{i}" for i in range(number)]


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


Scenario = Callable[[Test], Awaitable[None]]


async def calm(test: Test) -> None:
    await test.work(20)


async def partitions(test: Test) -> None:
    await test.work(3)
    for names in (test.names[:1], test.names[1:3], test.names[:2]):
        test.network.part(*names)
        await test.work(3)
        test.network.part()
        await test.work(3)


async def kill(test: Test, name: str) -> None:
    """Kill a node in the middle of the work, and start it again."""
    working = asyncio.create_task(test.work(8))
    test.counted.clear()
    await test.counted.wait()
    await test.network.kill(name)
    await test.network.start(name, test.names)
    await working


async def kills(test: Test) -> None:
    for name in test.names[:2]:
        await kill(test, name)


async def rough(test: Test) -> None:
    await test.work(3)
    test.network.part(test.names[0])
    await kill(test, test.names[1])
    test.network.part()


async def everything(test: Test) -> None:
    await partitions(test)
    await kills(test)
    test.network.part(test.names[0])
    await kills(test)
    test.network.part()


WEATHER = {
    calm: {"latency_s": 0.01},
    partitions: {"latency_s": 0.01},
    kills: {"latency_s": 0.01},
    rough: {"latency_s": 0.02, "loss": 0.1, "duplicates": 0.1},
    everything: {"latency_s": 0.02, "loss": 0.1, "duplicates": 0.05},
}


async def play(scenario: Scenario, seed: int, nodes: int, data: Path, *, decrements: bool) -> None:
    options = ("--strict", "--deadline", "1s", "--data", str(data))
    names = names_of(nodes)
    async with Network(Random(seed), *options, **WEATHER[scenario]) as network:
        test = Test(network, names, decrements)
        await network.boot(names)
        await scenario(test)
        await test.check()
        for name, node in network.nodes.items():
            assert await node.ended() == 0, name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "decrements"),
    [(calm, True), (partitions, False), (kills, True)],
    ids=["calm pn-counter", "g-counter with partitions", "pn-counter with kills"],
)
def test_the_final_reads_are_sums_of_what_was_acknowledged(scenario, decrements, tmp_path):
    run(play(scenario, 7, 3, tmp_path, decrements=decrements))


@pytest.mark.slow
def test_loss_duplicates_partitions_and_kills_together_lose_nothing_and_double_nothing(tmp_path):
    run(play(rough, 3, 3, tmp_path, decrements=True))


async def read(network: Network, name: str) -> Any:
    reply = await network.client().ask(name, {"type": "read"}, PATIENCE_S)
    assert reply is not None
    return reply.get("value")


async def add(network: Network, name: str, delta: int) -> None:
    reply = await network.client().ask(name, {"type": "add", "delta": delta}, PATIENCE_S)
    assert reply == {"type": "add_ok"}


async def read_until(network: Network, name: str, value: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await read(network, name) != value:
            pass


@pytest.mark.slow
def test_without_strict_a_read_in_a_partition_takes_the_silent_at_their_last_known_value():
    async def scenario() -> None:
        names = names_of(3)
        async with Network(Random(1)) as network:
            await network.boot(names)
            for name in names:
                await add(network, name, 5)
            for name in names:
                await read_until(network, name, 15)
            network.part("n2")
            await add(network, "n2", 2)

            assert [await read(network, name) for name in names] == [15, 15, 17]

            network.part()
            for name in names:
                await read_until(network, name, 17)
            assert await network.nodes["n0"].ended() == 0
            assert "of 3 nodes answered" in "".join(network.nodes["n0"].errors)

    run(scenario())


# -- one process, by hand -------------------------------------------------------------------


def said(src: str, dest: str, **body: Any) -> bytes:
    return json.dumps({"src": src, "dest": dest, "body": body}).encode() + b"\n"


def begun(*names: str, node_id: str = "n1") -> bytes:
    names = names or ("n1",)
    return said("c0", "n1", type="init", msg_id=1, node_id=node_id, node_ids=names)


def spoken(*lines: bytes, options: tuple[str, ...] = (), code: int = 0) -> tuple[list[Body], str]:
    """Let a process read these lines to their end; returns the replies, and its stderr."""
    ran = subprocess.run(
        [*COMMAND, *options], input=b"".join(lines), capture_output=True, timeout=PATIENCE_S,
        env={**os.environ, "PYTHONPATH": ROOT}, check=False,
    )  # fmt: skip
    errors = ran.stderr.decode()
    assert (ran.returncode, "Traceback" in errors) == (code, False), errors
    return [json.loads(line)["body"] for line in ran.stdout.splitlines()], errors


@pytest.mark.slow
def test_every_line_up_to_the_end_of_stdin_is_answered():
    replies, errors = spoken(
        said("c1", "n1", type="read", msg_id=1),
        begun(),
        said("c1", "n1", type="topology", msg_id=2, topology={"n1": []}),
        said("c1", "n1", type="add", msg_id=3, delta=5),
        said("c2", "n1", type="add", msg_id=3, delta=-7),
        begun(),
        begun("n1", "n2"),
        said("c1", "n1", type="echo", msg_id=4),
        said("c1", "n1", type="add", msg_id=5, delta="x"),
        said("c1", "n1", type="read", msg_id=6)[:-1],
    )

    first, *rest = replies
    assert (first["code"], first["in_reply_to"]) == (11, 1)
    rows = [(r["type"], r.get("code") or r.get("value"), r["in_reply_to"]) for r in rest]
    assert sorted(rows, key=str) == sorted(
        [
            ("init_ok", None, 1), ("topology_ok", None, 2), ("add_ok", None, 3),
            ("add_ok", None, 3), ("init_ok", None, 1), ("error", 22, 1), ("error", 10, 4),
            ("error", 12, 5), ("read_ok", -2, 6),
        ],
        key=str,
    )  # fmt: skip
    assert errors.startswith("counter maelstrom n1 of 1 nodes   in memory only")


@pytest.mark.slow
def test_lines_that_cannot_be_answered_are_named_by_their_number():
    _, errors = spoken(
        said("n2", "n1", type="gossip", data="AAAA"),
        begun(),
        b"nonsense\x1b[2J\n",
        b"\n",
        b"x" * 1_100_000 + b"\n",
        said("c1", "n1", type="add", delta=1),
        said("n7", "n1", type="gossip", data="AAAA"),
        said("n1", "n1", type="gossip", data="AAAA"),
        said("c1", "n1", type="error", in_reply_to=3, code=11),
        said("c1", "n1", type="error", in_reply_to=3, msg_id=9, code=11),
    )

    assert "\x1b" not in errors
    assert [line.partition(":")[0] for line in errors.splitlines()[1:]] == [
        "line 3 is dropped",
        "line 5 is too long; dropped",
        "line 6 is dropped",
        "line 7 is dropped",
    ]


@pytest.mark.slow
def test_the_same_message_counts_once_though_the_process_was_started_again(tmp_path):
    options = ("--data", str(tmp_path / "run"))
    lines = begun(), said("c1", "n1", type="add", msg_id=2, delta=5)
    spoken(*lines, options=options)

    replies, errors = spoken(
        *lines, said("c1", "n1", type="add", msg_id=3, delta=1), options=options
    )
    assert [reply["type"] for reply in replies] == ["init_ok", "add_ok", "add_ok"]
    replies, _ = spoken(begun(), said("c2", "n1", type="read", msg_id=1), options=options)

    assert replies[-1] == {"type": "read_ok", "value": 6, "in_reply_to": 1}
    assert "data " in errors


@pytest.mark.slow
def test_a_directory_that_cannot_be_used_ends_the_process_and_init_says_why(tmp_path):
    (tmp_path / "file").write_text("")

    replies, errors = spoken(begun(), begun(), options=("--data", str(tmp_path / "file")), code=1)

    (reply,) = replies
    assert (reply["type"], reply["code"], reply["in_reply_to"]) == ("error", 22, 1)
    assert errors == f"error: {reply['text']}\n"


@pytest.mark.slow
def test_a_directory_of_another_list_of_nodes_is_refused(tmp_path):
    async def scenario() -> None:
        names = names_of(2)
        async with Network(Random(1), "--data", str(tmp_path)) as network:
            await network.boot(names)
            for name in names:
                await add(network, name, 1)
            await read_until(network, "n1", 2)
            # The view is on disk half a second after it changed; a record of it tells when.
            async with asyncio.timeout(PATIENCE_S):
                while not (tmp_path / "n1" / "members").exists():
                    await read(network, "n1")

    run(scenario())

    replies, errors = spoken(begun("n1"), options=("--data", str(tmp_path)), code=1)

    assert replies[0]["code"] == 22
    assert "is of another list of nodes" in errors


@pytest.mark.slow
def test_stdin_may_be_a_file_and_stdout_may_be_closed(tmp_path):
    lines = tmp_path / "lines"
    lines.write_bytes(begun() + said("c1", "n1", type="read", msg_id=2))
    environment = {**os.environ, "PYTHONPATH": ROOT}
    with lines.open() as file:
        out = subprocess.run(
            COMMAND,
            stdin=file,
            capture_output=True,
            env=environment,
            check=True,
            timeout=PATIENCE_S,
        ).stdout
    assert b'"read_ok", "value": 0' in out

    reader, writer = os.pipe()
    os.close(reader)
    with lines.open() as file:
        ran = subprocess.run(
            COMMAND, stdin=file, stdout=writer, stderr=subprocess.PIPE, env=environment,
            check=False, timeout=PATIENCE_S,
        )  # fmt: skip
    os.close(writer)

    assert (ran.returncode, b"Traceback" in ran.stderr) == (0, False), ran.stderr


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("decrements", [False, True], ids=["g-counter", "pn-counter"])
def test_many_seeds_of_everything_at_once_stay_exact(seed, decrements, tmp_path):
    run(play(everything, seed, 3 + seed % 3, tmp_path, decrements=decrements))
