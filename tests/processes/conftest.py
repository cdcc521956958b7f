"""Real processes: a tracker and nodes as people start them, killed and stopped by their pids.

The rule: a process is waited for by what it says or by what a query answers, never by time;
every process ends with its fixture, and none of them may have written a traceback.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ports import free_ports

from counter.client.answers import Outcome, as_object, nothing_heard
from counter.client.blocking import Connection, now
from counter.messages import (
    ACK_DEFAULT,
    DOOR,
    UNTIL_ALL,
    Answer,
    Counted,
    Get,
    Increment,
    Missing,
    Query,
)
from tracker.config import parse_endpoint
from tracker.errors import RefusedError
from tracker.machine import Endpoint
from tracker.members import STATUS_NAMES
from tracker.messages import Roster

ROOT = str(Path(__file__).parents[2])
COMMAND = (sys.executable, "-c", "from counter.cli import main; main()")
WAIT_S = 60.0
POLL_S = 0.02
NOWHERE = "127.0.0.1:1"
PASSING = frozenset({"busy", "no-view", "not-announced"})
"""Refusals that say themselves to come back, as clients do."""


@dataclass
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return the last line of stdout as an object."""
        return json.loads(self.out.splitlines()[-1])


class Process:
    """One running command; what it says is kept line by line."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: dict[str, str],
        command: Sequence[str] = COMMAND,
        **options: Any,
    ):
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.popen = subprocess.Popen(
            [*command, *arguments], env=environment, text=True, **{**pipes, **options}
        )
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._said = threading.Condition()
        self._open = 0
        self._readers = []
        for stream, lines in ((self.popen.stdout, self.lines), (self.popen.stderr, self.errors)):
            if stream is not None:
                self._open += 1
                self._readers.append(threading.Thread(target=self._read, args=(stream, lines)))
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, lines: list[str]) -> None:
        with stream:
            for line in stream:
                with self._said:
                    lines.append(line.rstrip("\n"))
                    self._said.notify_all()
        with self._said:
            self._open -= 1
            self._said.notify_all()

    @property
    def out(self) -> str:
        return "\n".join(self.lines)

    @property
    def err(self) -> str:
        return "\n".join(self.errors)

    @property
    def endpoint(self) -> Endpoint:
        """Where a daemon listens, as its first line says."""
        return parse_endpoint(self.said(r"^counter .*?(127\.0\.0\.1:\d+)")[1])

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.endpoint[1]}"

    @property
    def is_alive(self) -> bool:
        return self.popen.poll() is None

    def said(self, pattern: str) -> re.Match[str]:
        """Wait for a line, on either stream, in which the pattern is found."""
        found: list[re.Match[str] | None] = [None]

        def look() -> bool:
            matches = (re.search(pattern, line) for line in [*self.lines, *self.errors])
            found[0] = next((match for match in matches if match), None)
            return found[0] is not None or self._open == 0

        with self._said:
            self._said.wait_for(look, WAIT_S)
        assert found[0] is not None, f"never said {pattern!r}:\n{self.out}\n{self.err}"
        return found[0]

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def ended(self) -> int:
        """Wait for the end, and for what was said last; returns the exit code."""
        code = self.popen.wait(WAIT_S)
        for reader in self._readers:
            reader.join(WAIT_S)
        return code

    def stop(self) -> int:
        """Ask it to end; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.ended()

    def kill(self) -> None:
        """End it as a crash would."""
        if self.is_alive:
            self.signal(signal.SIGCONT)
            self.popen.kill()
        self.ended()


def free_place() -> str:
    """Return an address at which a daemon can be started, and once more after its end."""
    return f"127.0.0.1:{free_ports(1)[0]}"


class Machines:
    """The processes of one cluster, and the ways to talk to them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.all: list[Process] = []
        self.trackers: list[Process] = []
        self.nodes: dict[str, Process] = {}

    @property
    def environment(self) -> dict[str, str]:
        # Where there is no tracker of this test none is asked: at the usual port may be somebody's.
        where = ",".join([tracker.address for tracker in self.trackers]) or NOWHERE
        own = {"PYTHONPATH": ROOT, "XDG_STATE_HOME": str(self.home / "state")}
        return {**os.environ, **own, "COUNTER_TRACKER": where}

    # -- processes ----------------------------------------------------------------------------

    def start(self, *arguments: str, **options: Any) -> Process:
        """Start a command."""
        process = Process(arguments, self.environment, **options)
        self.all.append(process)
        return process

    def run(self, *arguments: str, text: str = "") -> Ran:
        """Run a command to its end, with this on its standard input."""
        ran = subprocess.run(
            [*COMMAND, *arguments], input=text, capture_output=True, text=True,
            env=self.environment, timeout=WAIT_S, check=False,
        )  # fmt: skip
        assert "Traceback" not in ran.stderr, ran.stderr
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    def tracker(self, *options: str, listen: str = "", data: str = "") -> Process:
        """Start one more tracker, and wait until it listens."""
        data = data or f"tracker-{len(self.trackers)}"
        place = ("--listen", listen or free_place(), "--data", str(self.home / data))
        process = self.start("tracker", *place, *options)
        assert process.endpoint
        self.trackers.append(process)
        return process

    def node(
        self,
        name: str,
        *options: str,
        listen: str = "",
        data: str | None = "",
        **process_options: Any,
    ) -> Process:
        """Start a node; None for data keeps its counts in memory."""
        kept = ("--memory",) if data is None else ("--data", str(self.home / (data or name)))
        place = ("--name", name, "--listen", listen or free_place())
        process = self.start("node", *place, *kept, *options, **process_options)
        self.nodes[name] = process
        return process

    def back(self, name: str, **options: Any) -> Process:
        """Start a node once more where it was; returns when a tracker has taken it in."""
        node = self.node(name, listen=self.nodes[name].address, **options)
        node.said("joined tracker")
        return node

    def up(self, count: int, *options: str) -> "Machines":
        """Start a tracker and nodes n1, n2, …, and wait until each of them asks all others."""
        self.tracker(*options)
        for number in range(1, count + 1):
            self.node(f"n{number}")
        for node in self.nodes.values():
            self.until(lambda node=node: self.ask(node)["members"] == count)
        return self

    def end(self) -> None:
        """Kill whatever still runs."""
        for process in self.all:
            process.kill()

    # -- talking to them ----------------------------------------------------------------------

    def connection(self, process: Process, role: str = "node") -> Connection:
        return Connection([process.endpoint], now() + WAIT_S, role=role, codec=DOOR)

    def ask(self, node: Process, key: str = "views", deadline_ms: int = 2_000) -> dict[str, Any]:
        """Ask a node for a total; returns the JSON object of the answer."""
        outcome = Outcome(key, nothing_heard("", "", ""))
        with self.connection(node) as connection:
            number = connection.number()
            query = Query(number, key, 0, 0, 0, deadline_ms, UNTIL_ALL, 0, 0, False)
            for reply in connection.stream(query):
                if isinstance(reply, Missing):
                    outcome.missing.extend(reply.rows)
                elif isinstance(reply, Answer):
                    outcome.answer = reply
        return as_object(outcome)

    def complete(self, node: Process, key: str = "views") -> dict[str, Any]:
        """Ask until everybody answers: who gets no processor for a moment is silent."""
        answer: dict[str, Any] = self.until(lambda: (a := self.ask(node, key))["complete"] and a)
        return answer

    def answered(self, node: Process, count: int, key: str = "views") -> dict[str, Any]:
        """Ask until so many answer, of whom others are silent."""
        answer: dict[str, Any] = self.until(
            lambda: (a := self.ask(node, key))["answered"] == count and a
        )
        return answer

    def query(self, *arguments: str) -> Ran:
        """Run the command until it exits with another code than that somebody was silent."""
        ran: Ran = self.until(lambda: (r := self.run("query", *arguments)).code != 3 and r)
        return ran

    def count(self, node: Process, amount: int, key: str = "views") -> None:
        """Count on a node, and wait for the acknowledgement."""
        message = Increment(os.urandom(16), 1, (key, amount), ACK_DEFAULT)

        def counted() -> Any:
            with self.connection(node) as connection:
                return connection.request(message)

        assert isinstance(self.until(counted), Counted)

    def share(self, node: Process, key: str = "views") -> int:
        """Return a node's own share."""
        with self.connection(node) as connection:
            value: int = connection.request(Get(connection.number(), key)).value
            return value

    def statuses(self, process: Process | None = None) -> dict[str, str]:
        """Return who is what, as a tracker (the first one, if none is named) or a node says."""
        role = "node" if process in self.nodes.values() else "tracker"
        with self.connection(process or self.trackers[0], role) as connection:
            rows = [
                row for page in connection.stream(Roster(connection.number())) for row in page.rows
            ]
        return {member.name: STATUS_NAMES[member.status] for member, _, _ in rows}

    def until(self, holds: Callable[[], Any]) -> Any:
        """Ask again and again until the answer is true; returns it."""
        until = now() + WAIT_S
        pause = threading.Event()
        while True:
            try:
                result = holds()
            except RefusedError as error:
                if error.code not in PASSING or now() > until:
                    raise
                result = None
            if result or now() > until:
                assert result, "it never came true"
                return result
            pause.wait(POLL_S)


@contextmanager
def _machines(home: Path) -> Iterator[Machines]:
    machines = Machines(home)
    try:
        yield machines
    finally:
        machines.end()
    for process in machines.all:
        assert "Traceback" not in process.err, process.err


@pytest.fixture
def nobody() -> Iterator[str]:
    """Return an address at which nobody listens, and nobody will during the test."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    """Return no processes yet; those that are started end with the test."""
    with _machines(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Return no processes yet; those that are started end with the module."""
    with _machines(tmp_path_factory.mktemp("shared")) as made:
        yield made
