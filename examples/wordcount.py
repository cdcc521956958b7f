"""Count the words of CPython's standard library on a cluster, and check every single total.

    python examples/wordcount.py                    the whole library, on a cluster of its own
    python examples/wordcount.py --part json email  two packages of it
    python examples/wordcount.py --path src         the Python files below another directory
    python examples/wordcount.py --tracker 127.0.0.1:7400     on a cluster that is running

Three pipes, one to each of three nodes, each a plain `counter inc -` that is fed one word a line.
Then every word is asked for by a gossip query, and compared with what `collections.Counter` says
of the same files. The rule: nothing is added up before it is counted, and no total is taken on
trust: a query must be complete, and its value exact.
"""

import argparse
import re
import secrets
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from counter.client.blocking import Connection, now
from counter.messages import DOOR, UNTIL_ALL, Answer, Query
from tracker.config import parse_endpoint, shown_endpoint
from tracker.errors import ClusterError
from tracker.machine import Endpoint
from tracker.members import ALIVE
from tracker.messages import Find

NODES = 3
QUERIES_IN_FLIGHT_MAX = 64
ANSWER_S = 10.0
START_S = 10.0
STOP_S = 5.0
KEY_BYTES_MAX = 256
WRONG_SHOWN_MAX = 5

_WORD = re.compile(r"\w+")
_COMMAND = [sys.executable, "-c", "from counter.cli import main; main()"]


def library() -> Path:
    """Return where the sources of the standard library are."""
    return Path(sysconfig.get_path("stdlib"))


def sources(root: Path, parts: Sequence[str]) -> list[Path]:
    """Return the Python files below `root`, or below these parts of it, installed ones left out."""
    found = []
    for start in [root / part for part in parts] or [root]:
        module = start.with_suffix(".py")
        if not start.is_dir() and not module.is_file():
            raise SystemExit(f"error: there is no {start.name} in {root}")
        found += sorted(start.rglob("*.py")) if start.is_dir() else [module]
    return [file for file in found if "site-packages" not in file.relative_to(root).parts]


def words(file: Path, prefix: str) -> list[str]:
    """Return the words of a file as keys; the few too long to be one are left out."""
    text = file.read_text(encoding="utf-8", errors="replace")
    keys = [prefix + word for word in _WORD.findall(text)]
    return [key for key in keys if len(key.encode()) <= KEY_BYTES_MAX]


# -- the cluster ----------------------------------------------------------------------------


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], Endpoint]]:
    """Run a tracker or a node for as long as the context lasts; yields it and its address."""
    daemon = subprocess.Popen(
        [*_COMMAND, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    assert daemon.stdout is not None
    try:
        line = daemon.stdout.readline()
        address = re.search(r"127\.0\.0\.1:[0-9]+", line)
        if address is None:
            raise SystemExit(f"error: counter {arguments[0]} did not start")
        yield daemon, parse_endpoint(address[0])
    finally:
        daemon.terminate()
        try:
            daemon.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.communicate()


@contextmanager
def cluster() -> Iterator[list[Endpoint]]:
    """Run a tracker and three durable nodes on free ports; yields the nodes' addresses."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wordcount-")))
        listen = ("--listen", "127.0.0.1:0")
        _, tracker = stack.enter_context(
            process("tracker", *listen, "--data", str(home / "tracker"))
        )
        where = ("--tracker", shown_endpoint(tracker))
        nodes = []
        for number in range(1, NODES + 1):
            name = f"n{number}"
            daemon = process("node", "--name", name, *listen, *where, "--data", str(home / name))
            nodes.append(stack.enter_context(daemon)[1])
        wait_for_each_other(nodes)
        yield nodes


def wait_for_each_other(nodes: list[Endpoint]) -> None:
    """Wait until every node asks all the others."""
    until = now() + START_S
    for node in nodes:
        with Connection([node], until, codec=DOOR) as connection:
            while connection.request(question(connection, "-")).members < len(nodes):
                time.sleep(0.02)


def living(tracker: Endpoint) -> list[Endpoint]:
    """Return three nodes of a running cluster."""
    with Connection([tracker], now() + START_S, role="tracker", codec=DOOR) as connection:
        found = connection.request(Find(connection.number(), "")).candidates
    nodes = [(host, port) for _, host, port, status, _ in found if status == ALIVE][:NODES]
    if not nodes:
        raise SystemExit(f"error: the tracker at {shown_endpoint(tracker)} knows no living node")
    return nodes


# -- counting -------------------------------------------------------------------------------


def count(node: Endpoint, files: list[Path], prefix: str) -> Counter[str]:
    """Pipe the words of these files into `counter inc -`; returns what the truth is."""
    truth: Counter[str] = Counter()
    pipe = subprocess.Popen(
        [*_COMMAND, "inc", "-", "--node", shown_endpoint(node)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    assert pipe.stdin is not None
    try:
        with pipe.stdin as lines:
            for file in files:
                found = words(file, prefix)
                truth.update(found)
                lines.writelines([word + "\n" for word in found])
    except BrokenPipeError:
        pass  # the command has said why, on stderr
    assert pipe.stdout is not None
    counted = pipe.stdout.read().strip()
    if pipe.wait() != 0 or int(counted) != truth.total():
        raise SystemExit(f"error: {truth.total()} words into {shown_endpoint(node)}: {counted!r}")
    return truth


# -- asking ---------------------------------------------------------------------------------


def question(connection: Connection, key: str) -> Query:
    """Return a query with the node's defaults."""
    return Query(connection.number(), key, 0, 0, 0, 0, UNTIL_ALL, 0, 0, False)


def answers(node: Endpoint, keys: Sequence[str]) -> Iterator[tuple[str, Answer]]:
    """Ask for every key over one connection, some of them at once; yields as they come."""
    waiting: dict[int, str] = {}
    todo = iter(keys)
    with Connection([node], now() + ANSWER_S, codec=DOOR) as connection:
        while True:
            queries = []
            for key in todo:
                queries.append(question(connection, key))
                waiting[queries[-1].request] = key
                if len(waiting) == QUERIES_IN_FLIGHT_MAX:
                    break
            if not waiting:
                return
            connection.until = now() + ANSWER_S
            if queries:
                connection.send(*queries)
            reply = connection.reply()
            if not isinstance(reply, Answer):
                continue  # the pages that name the silent; the answer itself says how many
            yield waiting.pop(reply.request), reply


def wrong(node: Endpoint, truth: Counter[str]) -> list[str]:
    """Return a sentence for each total that is not exact, or not complete."""
    faults = []
    for key, answer in answers(node, list(truth)):
        if not answer.complete:
            faults.append(f"{key!r}: {answer.reason}, {answer.answered}/{answer.members} nodes")
        elif answer.value != truth[key]:
            faults.append(f"{key!r}: the cluster says {answer.value}, the files {truth[key]}")
    return faults


def compare(nodes: list[Endpoint], files: list[Path], prefix: str) -> int:
    """Count, ask, and say how it went; returns the exit code."""
    began = now()
    with ThreadPoolExecutor(len(nodes)) as pool:
        parts = [files[index :: len(nodes)] for index in range(len(nodes))]
        truths = list(pool.map(count, nodes, parts, [prefix] * len(nodes)))
    truth = sum(truths, Counter[str]())
    took = now() - began
    print(
        f"counted  {truth.total():,} words of {len(files):,} files through {len(nodes)} pipes"
        f" in {took:.1f} s  ({truth.total() / took:,.0f} increments/s)"
    )
    began = now()
    faults = wrong(nodes[0], truth)
    took = now() - began
    print(f"asked    {len(truth):,} words in {took:.1f} s  ({len(truth) / took:,.0f} queries/s)")
    for fault in faults[:WRONG_SHOWN_MAX]:
        print(f"  {fault}")
    if faults:
        print(f"✗ {len(faults):,} of {len(truth):,} totals are not what collections.Counter says")
        return 1
    print(f"✓ all {len(truth):,} totals are complete, and what collections.Counter says")
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run the example."""
    parser = argparse.ArgumentParser(description="Count words on a cluster, check every total.")
    parser.add_argument("--path", type=Path, default=library(), help="where the sources are")
    parser.add_argument("--part", nargs="+", default=[], help="only these packages of it")
    parser.add_argument("--tracker", help="HOST:PORT of a running cluster; default: an own one")
    options = parser.parse_args(arguments)
    files = sources(options.path, options.part)
    try:
        if options.tracker is None:
            with cluster() as nodes:
                return compare(nodes, files, "")
        # Others may count there, and so may an earlier run: keys of its own.
        nodes = living(parse_endpoint(options.tracker))
        return compare(nodes, files, f"{secrets.token_hex(4)}:")
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
