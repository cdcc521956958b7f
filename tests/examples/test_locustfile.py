"""The example for Locust, headless, against a small real cluster; and a client under gevent.

Skipped, and said so, where Locust is not installed (`pip install -e '.[locust]'`).
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from counter.client.blocking import Connection, now
from counter.messages import DOOR
from tracker.config import parse_endpoint
from tracker.members import ALIVE
from tracker.messages import Roster

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-c", "from counter.cli import main; main()")
LOCUST = (sys.executable, "-m", "locust", "-f", str(ROOT / "examples" / "locustfile.py"))
BRIEFLY = ("-u", "4", "-r", "4", "-t", "2s", "-s", "20")
WAIT_S = 50.0
RIGHT = re.compile(
    r"\nevery acknowledged increment is in the total: (\d+) counted, (\d+) unknown, (\d+) found"
)
PATIENT = """
import os, signal, sys
from gevent import monkey
monkey.patch_all()
from counter import Client
from counter.client.operations import UnknownOutcomeError
with Client(sys.argv[1], node=sys.argv[2], deadline_s=1.0) as client:
    client.incr("patience")
    os.kill(int(sys.argv[3]), signal.SIGSTOP)
    try:
        client.incr("patience")
    except UnknownOutcomeError as error:
        print("unknown", type(error.operation).__name__)
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("locust") is None, reason="Locust is not installed: pip install -e '.[locust]'"
    ),
]


def environment(**own):
    return {**os.environ, "PYTHONPATH": str(ROOT), **own}


def run(*command):
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=WAIT_S, env=environment()
    )


def living(where):
    with Connection(
        [parse_endpoint(where)], now() + WAIT_S, role="tracker", codec=DOOR
    ) as connection:
        rows = [row for page in connection.stream(Roster(1)) for row in page.rows]
    return {member.name for member, _, _ in rows if member.status == ALIVE}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Run a tracker and two nodes; returns their addresses, and the process of the last."""
    home = tmp_path_factory.mktemp("home")
    processes = []

    def start(*arguments):
        process = subprocess.Popen(
            [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=environment(),
        )  # fmt: skip
        processes.append(process)
        return re.search(r"127\.0\.0\.1:\d+", process.stdout.readline())[0]

    try:
        where = start("tracker", "--listen", "127.0.0.1:0", "--data", str(home / "t"))
        nodes = [
            start("node", "--name", name, "--memory", "--listen", "127.0.0.1:0", "--tracker", where)
            for name in ("n1", "n2")
        ]
        until = now() + WAIT_S
        while living(where) != {"n1", "n2"}:
            assert now() < until, "the nodes never came"
        yield where, nodes[-1], processes[-1]
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.communicate()


def of_names(out):
    """Return (requests, failures) by name, of what `--json` printed."""
    rows = json.loads(out)
    return {row["name"]: (row["num_requests"], row["num_failures"]) for row in rows}


def counted_by(ran):
    """Return how much was acknowledged, of what is there and what may be."""
    counted, unknown, found = (int(number) for number in RIGHT.search(ran.stderr).groups())
    assert 0 < counted <= found <= counted + unknown
    return counted


def test_the_users_of_locust_are_measured_and_every_increment_of_theirs_is_there(cluster):
    where, *_ = cluster

    ran = run(*LOCUST, "--headless", *BRIEFLY, "--host", where, "--key", "alone", "--json")

    assert ran.returncode == 0, ran.stderr
    requests = of_names(ran.stdout[ran.stdout.index("[") :])
    assert counted_by(ran) == requests["incr"][0]
    assert {failures for _, failures in requests.values()} == {0}
    assert "Traceback" not in ran.stderr


def test_the_workers_of_locust_count_together_and_the_master_checks_all_of_them(cluster):
    where, *_ = cluster
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    workers = [
        subprocess.Popen(
            [*LOCUST, "--worker", "--master-host", "127.0.0.1", "--master-port", port],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment(),
        )
        for _ in range(2)
    ]  # fmt: skip
    try:
        ran = run(
            *LOCUST, "--headless", *BRIEFLY, "--host", where, "--key", "together", "--master",
            "--master-bind-host", "127.0.0.1", "--master-bind-port", port,
            "--expect-workers", "2", "--json",
        )  # fmt: skip
        said = [worker.communicate(timeout=WAIT_S)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()

    assert ran.returncode == 0, ran.stderr
    assert counted_by(ran) > 0
    assert [text for text in said if "Traceback" in text] == []


def test_a_total_that_is_not_what_was_acknowledged_ends_with_99(cluster, tmp_path):
    where, *_ = cluster
    liar = tmp_path / "liar.py"
    example = ROOT / "examples" / "locustfile.py"
    liar.write_text(f"exec(open({str(example)!r}).read())\nbooks.counted = 1_000_000\n")

    ran = run(
        sys.executable, "-m", "locust", "-f", str(liar), "--headless", *BRIEFLY, "--host", where,
        "--key", "liar",
    )  # fmt: skip

    assert ran.returncode == 99, ran.stderr
    assert "NOT every acknowledged increment is in the total: 1000" in ran.stderr


def test_nobody_to_talk_to_is_said_in_one_line_before_anybody_counts():
    ran = run(*LOCUST, "--headless", *BRIEFLY, "--host", "127.0.0.1:1")

    assert ran.returncode == 1
    assert "error: no tracker at 127.0.0.1:1" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_under_gevent_a_client_waits_for_a_silent_node_no_longer_than_its_deadline(cluster):
    where, node, process = cluster

    try:
        ran = run(sys.executable, "-c", PATIENT, where, node, str(process.pid))
    finally:
        process.send_signal(signal.SIGCONT)

    assert (ran.returncode, ran.stdout) == (0, "unknown Operation\n"), ran.stderr
