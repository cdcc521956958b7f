"""How long a node of a million keys takes to hand them over: `python -m benchmarks.handover`.

A tracker and nodes as processes; one is filled, then drained as `counter drain` does it, while
another client asks for one key all the time. The rule: it is over when the tracker calls the
node gone, and the total of what was counted is asked for afterwards.
"""

import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread

from benchmarks.machine import counter_command, cpu_s, described, free_port, process
from counter.client.blocking import Connection, now
from counter.messages import (
    ACK_DEFAULT,
    DOOR,
    DRAINED,
    LEAVING,
    UNTIL_ALL,
    Drain,
    Increment,
    Query,
    prefixed,
)

KEYS = 1_000_000
GOAL_S = 10.0
PER_MESSAGE = 512
PATIENCE_S = 120.0
HOST = "127.0.0.1"


def main() -> None:
    """Measure with durable nodes, and with nodes in memory."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else KEYS
    print(described())
    print(f"{count} keys; the goal is {GOAL_S:g} s for a million\n")
    print("nodes      all counts stored s   gone s   leaver CPU s   heir CPU s   longest query ms")
    for kind in ("durable", "memory"):
        measure(kind, count)


def measure(kind: str, count: int) -> None:
    """Drain one node, and print a row."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tracker = free_port()
        place = ("--listen", f"{HOST}:{tracker}", "--data", str(home / "t"))
        stack.enter_context(process(counter_command("tracker", *place), tracker))
        ports, pids = [], []
        for name in ("n1", "n2"):
            port = free_port()
            kept = ("--data", str(home / name)) if kind == "durable" else ("--memory",)
            where = ("--listen", f"{HOST}:{port}", "--tracker", f"{HOST}:{tracker}")
            command = counter_command("node", "--name", name, *where, *kept)
            pids.append(stack.enter_context(process(command, port)))
            ports.append(port)
        leaver, heir = ports
        fill(leaver, count)
        wait_for(heir, 2, count)
        before = [cpu_s(pid) for pid in pids]
        over, pauses = Event(), [0.0]
        asker = Thread(target=ask_on, args=(heir, over, pauses))
        asker.start()
        stored_s, gone_s, leaver_s = drained(leaver, pids[0])
        over.set()
        asker.join()
        wait_for(heir, 1, count)
        spent = (leaver_s - before[0], cpu_s(pids[1]) - before[1])
        print(
            f"{kind:10} {stored_s:19.1f} {gone_s:8.1f} {spent[0]:14.1f} {spent[1]:12.1f}"
            f" {max(pauses) * 1000:18.0f}"
        )


def opened(port: int) -> Connection:
    """Return a connection to a node."""
    return Connection([(HOST, port)], now() + PATIENCE_S, codec=DOOR)


def fill(port: int, count: int) -> None:
    """Count 1 under so many keys."""
    with opened(port) as connection:
        for sequence, first in enumerate(range(0, count, PER_MESSAGE), 1):
            pairs: list[object] = []
            for number in range(first, min(count, first + PER_MESSAGE)):
                pairs += (f"page:{number:07d}", 1)
            connection.request(Increment(b"f" * 16, sequence, tuple(pairs), ACK_DEFAULT))


def answer(port: int, key: str) -> tuple[int, bool, int]:
    """Ask once; returns value, whether it is complete, and how many members there are."""
    with opened(port) as connection:
        query = Query(connection.number(), key, 0, 0, 0, 20_000, UNTIL_ALL, 0, 0, False)
        last = [reply for reply in connection.stream(query) if hasattr(reply, "complete")][-1]
        return last.value, last.complete, last.members


def wait_for(port: int, members: int, count: int) -> None:
    """Wait until the total is complete with so many members; it must be what was counted."""
    while True:
        value, complete, found = answer(port, prefixed("page:"))
        if complete and found == members:
            if value != count:
                raise SystemExit(f"the total is {value}, and {count} were counted")
            return
        time.sleep(0.1)


def ask_on(port: int, over: Event, pauses: list[float]) -> None:
    """Ask for one key again and again; keeps the longest answer, and checks each."""
    while not over.is_set():
        began = now()
        value, complete, _ = answer(port, "page:0000007")
        pauses.append(now() - began)
        if complete and value != 1:
            raise SystemExit(f"a complete answer of {value}, and 1 was counted")


def drained(port: int, pid: int) -> tuple[float, float, float]:
    """Drain a node; returns when all was stored, when it was gone, and its CPU by then."""
    began, stored_s = now(), 0.0
    with opened(port) as connection:
        while True:
            state = connection.request(Drain(connection.number()))
            if state.phase >= LEAVING and not stored_s:
                stored_s = now() - began
            if state.phase >= DRAINED:
                return stored_s, now() - began, cpu_s(pid)
            time.sleep(0.01)


if __name__ == "__main__":
    main()
