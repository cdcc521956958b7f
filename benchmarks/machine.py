"""The machine a benchmark ran on, and the processes it starts there.

The rule: a benchmark prints where it ran, measures its reference in the same run, and ends
only the processes it began.
"""

import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tracker.native.inventory import in_use

START_S = 30.0


@dataclass(frozen=True, slots=True)
class Row:
    """One measured number: what, how much, the floor to reach, and the command that repeats it."""

    what: str
    measured: str
    floor: str
    command: str


TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def described() -> str:
    """Return one line: processor, cores, kernel, Python."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()},"
        f" Python {platform.python_version()}, {in_use()}"
    )


def cpu_s(pid: int) -> float:
    """Return the processor time a process has used, user and system, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def rss_mb(pid: int) -> float:
    """Return the memory a process holds, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    return 0.0


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def counter_command(*arguments: str) -> list[str]:
    """Return the command line of this very installation."""
    return [sys.executable, "-c", "from counter.cli import main; main()", *arguments]


def environment() -> dict[str, str]:
    """Return that of a command as people run it: Python keeps its byte code between runs."""
    kept = dict(os.environ)
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return kept


@contextmanager
def process(command: list[str], port: int, core: int | None = None) -> Iterator[int]:
    """Run a server, pinned to a core, until the block ends; gives its pid once it listens."""
    if core is not None and (os.cpu_count() or 1) > 1 and shutil.which("taskset"):
        command = ["taskset", "-c", str(core), *command]
    child = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
    )
    try:
        _wait_for(port, child)
        yield child.pid
    finally:
        child.terminate()
        try:
            child.wait(START_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _wait_for(port: int, child: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if child.poll() is not None:
            raise SystemExit(f"a server ended at once: {child.args!r}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise SystemExit(f"nobody listens on port {port} after {START_S:g} s")
