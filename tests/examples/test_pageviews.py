"""The example of a program with workers, and the Python of README and how-to, on a real cluster."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from counter.client.blocking import Connection, now
from counter.messages import DOOR
from tracker.config import parse_endpoint
from tracker.members import ALIVE
from tracker.messages import Roster

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-c", "from counter.cli import main; main()")
WAIT_S = 30.0
BLOCKS = [
    pytest.param(block, id=f"{document}:{number}")
    for document in ("README.md", "docs/how-to/clients.md")
    for number, block in enumerate(
        re.findall(r"(?ms)^```python\n(.*?)^```$", (ROOT / document).read_text("utf-8")), 1
    )
]


def run(command, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=WAIT_S
    )


@pytest.fixture(scope="module")
def tracker(tmp_path_factory):
    """Run a tracker and two nodes; returns where the tracker listens."""
    home = tmp_path_factory.mktemp("home")
    processes = []

    def start(*arguments):
        process = subprocess.Popen(
            [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        processes.append(process)
        return re.search(r"127\.0\.0\.1:\d+", process.stdout.readline())[0]

    try:
        where = start("tracker", "--listen", "127.0.0.1:0", "--data", str(home / "t"))
        for name in ("n1", "n2"):
            listen = ("--listen", "127.0.0.1:0", "--tracker", where)
            start("node", "--name", name, "--memory", *listen)
        until = now() + WAIT_S
        while living(where) != {"n1", "n2"}:
            assert now() < until, "the nodes never came"
        yield where
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def living(where):
    endpoint = parse_endpoint(where)
    with Connection([endpoint], now() + WAIT_S, role="tracker", codec=DOOR) as connection:
        rows = [row for page in connection.stream(Roster(1)) for row in page.rows]
    return {member.name for member, _, _ in rows if member.status == ALIVE}


@pytest.mark.slow
def test_every_page_of_the_example_is_counted_exactly(tracker):
    command = [sys.executable, str(ROOT / "examples" / "pageviews.py"), "--tracker", tracker]

    ran = run(command)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[-2:] == [
        "     100  orders", "all 5 pages are complete and exact",
    ]  # fmt: skip


@pytest.mark.slow
def test_the_example_says_in_one_line_that_nobody_is_there():
    command = [sys.executable, str(ROOT / "examples" / "pageviews.py")]

    ran = run([*command, "--tracker", "127.0.0.1:1"])

    assert ran.returncode == 1
    assert ran.stderr.startswith("error: no tracker at 127.0.0.1:1")
    assert len(ran.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS)
def test_the_python_that_a_document_shows_runs(tracker, block):
    ran = run([sys.executable, "-W", "error", "-c", block], COUNTER_TRACKER=tracker)

    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_documents_show_python():
    assert len(BLOCKS) >= 6
