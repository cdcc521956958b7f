"""`loadtest` with real processes, as a person runs it: tight limits, Ctrl-C, a node killed."""

import ctypes
import json
import os
import re
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LONG = ["--nodes", "4", "--writers", "2", "--queries", "1000", "--duration", "30m"]
SHORT = ["--writers", "2", "--queries", "2", "--duration", "300ms", "--latency", "0"]
MODES = pytest.mark.parametrize("mode", ["--sockets", "--processes"])
END_S = 45.0
PATIENCE_S = 0.1
DROP_FROM_BOUND, SYS_RESOURCE = 24, 24


def limited(limit, most):
    """Return what a new process does first: it takes a limit, and the right to raise it away."""

    def take():
        ctypes.CDLL(None).prctl(DROP_FROM_BOUND, SYS_RESOURCE, 0, 0, 0)
        resource.setrlimit(limit, (most, most))

    return take


@pytest.fixture
def loadtest(tmp_path):
    """Start the command in a session of its own; ends it at the end, if it has not."""

    @contextmanager
    def started(*arguments, first=None):
        child = subprocess.Popen(
            [sys.executable, "-c", "from loadtest.start import main; main()", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=first,
        )
        try:
            yield child
        finally:
            child.kill()
            child.wait()
            child.stdout.close()
            child.stderr.close()

    return started


def line_with(words, stream):
    return next(line for line in stream if words in line)


def children_of(pid):
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def are_there(pids):
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@MODES
def test_what_will_be_needed_is_said_first_and_the_mode_stands_in_the_report(loadtest, mode):
    with loadtest("--nodes", "4", *SHORT, mode, "--json") as child:
        out, err = child.communicate(timeout=END_S)

    report = json.loads(out)
    assert re.match(r"4 nodes in \d+ processes: about \d+ MB of memory", err)
    assert (child.returncode, f"--{report['mode']}") == (0, mode)
    assert [check["ok"] for check in report["checks"]] == [True] * len(report["checks"])


@MODES
def test_too_few_open_files_are_refused_with_a_number_of_nodes_that_really_fits(loadtest, mode):
    first = limited(resource.RLIMIT_NOFILE, 90)
    with loadtest("--nodes", "300", *SHORT, mode, first=first) as child:
        _, err = child.communicate(timeout=END_S)
    assert child.returncode == 2
    fits = re.fullmatch(
        r"error: 300 nodes need \d+ open files a process, the limit is 90 \(ulimit -n\):"
        r" (\d+) would fit\n",
        err,
    )

    with loadtest("--nodes", fits[1], *SHORT, mode, first=first) as child:
        child.communicate(timeout=END_S)
    assert child.returncode == 0


@MODES
def test_too_little_room_for_addresses_is_refused_before_anything_starts(loadtest, mode):
    own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    first = limited(resource.RLIMIT_AS, own + 2**30)
    with loadtest("--nodes", "19000", *SHORT, mode, first=first) as child:
        _, err = child.communicate(timeout=END_S)

    assert child.returncode == 2
    assert re.match(r"error: 19 000 nodes need .* would fit", err)


@MODES
def test_ctrl_c_in_a_terminal_ends_the_load_the_checks_and_then_the_nodes(loadtest, mode):
    with loadtest(*LONG, mode, "--json") as child:
        line_with("nodes 4/4 up after", child.stderr)
        [nursery] = children_of(child.pid)
        pids = [nursery, *children_of(nursery)]
        # A terminal sends it to the whole group.
        os.killpg(child.pid, signal.SIGINT)
        out, err = child.communicate(timeout=END_S)

    report = json.loads(out)
    assert child.returncode == 130
    assert report["interrupted"]
    assert [check["ok"] for check in report["checks"]] == [True] * len(report["checks"])
    assert "Traceback" not in err
    assert are_there(pids) == []


@MODES
def test_whoever_loses_patience_gets_the_end_at_once_and_nothing_is_left(loadtest, mode):
    with loadtest(*LONG, mode, "--json") as child:
        line_with("nodes 4/4 up after", child.stderr)
        [nursery] = children_of(child.pid)
        pids = [nursery, *children_of(nursery)]
        for _ in range(5):
            # Those that come before the one before was taken count as one.
            child.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                child.wait(PATIENCE_S)
        out, err = child.communicate(timeout=END_S)

    assert child.returncode == 130
    assert "interrupted" in out + err
    assert "Traceback" not in err
    assert are_there(pids) == []


@pytest.mark.parametrize(
    ("mode", "number", "words"),
    [
        ("--processes", 2, "error: the process of node n2 was ended by SIGKILL"),
        ("--processes", 0, "error: the process of the tracker was ended by SIGKILL"),
        ("--sockets", 1, "error: the process of nodes? n1( to n.)? was ended by SIGKILL"),
    ],
)
def test_a_process_that_somebody_kills_ends_the_run_with_its_name(loadtest, mode, number, words):
    with loadtest(*LONG, mode) as child:
        line_with("nodes 4/4 up after", child.stderr)
        [nursery] = children_of(child.pid)
        pids = children_of(nursery)
        os.kill(pids[number], signal.SIGKILL)
        _, err = child.communicate(timeout=END_S)

    assert child.returncode == 1
    assert re.search(f"^{words}$", err, re.MULTILINE)
    assert "Traceback" not in err
    assert are_there([nursery, *pids]) == []
