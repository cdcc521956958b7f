"""How soon a command is there: `counter node` until it listens, `counter inc` from start to exit.

The rule: everything is measured in turns, beside the imports that a command line of this kind
cannot do without, so that a busy machine slows both. Byte code is kept between runs, as it is
wherever Python may write it (PYTHONDONTWRITEBYTECODE is taken away); each is run once unmeasured.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks.machine import Row, counter_command, environment, free_port, process

ROUNDS = 25
NODE_FLOOR_MS = 300
COMMAND = "python -m benchmarks startup"
_IMPORTS = "python -c 'import typer, msgpack'"

Run = Callable[[], float]


def _whole(*command: str) -> Run:
    """Return what runs a command once, and gives the ms from its start to its exit."""

    def run() -> float:
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment())
        return (time.perf_counter() - began) * 1000

    return run


def _first_line(*command: str) -> Run:
    """Return what starts a daemon once, and gives the ms until it says that it listens."""

    def run() -> float:
        began = time.perf_counter()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment()
        ) as child:
            assert child.stdout is not None
            line = child.stdout.readline()
            took = (time.perf_counter() - began) * 1000
            child.terminate()
        if not line:
            raise SystemExit(f"it said nothing: {command}")
        return took

    return run


def measure() -> list[Row]:
    """Measure all of them in turns; least and median, and what they are of the imports."""
    port, nobody = free_port(), f"127.0.0.1:{free_port()}"
    there = ("--node", f"127.0.0.1:{port}")

    def node(at: int) -> list[str]:
        listen = ("--listen", f"127.0.0.1:{at}", "--tracker", nobody)
        return counter_command("node", "--name", "s", "--memory", *listen)

    runs: dict[str, Run] = {
        _IMPORTS: _whole(sys.executable, "-c", "import typer, msgpack"),
        "`counter inc`, whole command": _whole(*counter_command("inc", "views", "5", *there)),
        "`counter get`, whole command": _whole(*counter_command("get", "views", *there)),
        "`counter --help`, whole command": _whole(*counter_command("--help")),
        "`counter node --memory`, until it listens": _first_line(*node(0)),
    }
    floors = {"`counter node --memory`, until it listens": f"{NODE_FLOOR_MS} ms"}
    times: dict[str, list[float]] = {what: [] for what in runs}
    with process(node(port), port):
        for run in runs.values():
            run()
        for _ in range(ROUNDS):
            for what, run in runs.items():
                times[what].append(run())
    rows = []
    for what, took in times.items():
        median = statistics.median(took)
        rows.append(
            Row(what, f"{median:.0f} ms (min {min(took):.0f})", floors.get(what, ""), COMMAND)
        )
    ours, bare = times["`counter inc`, whole command"], times[_IMPORTS]
    ratio, least = statistics.median(ours) / statistics.median(bare), min(ours) / min(bare)
    rows.append(
        Row(
            "`counter inc`, against the imports of typer and msgpack",
            f"{ratio:.2f} (min {least:.2f})",
            "about 1",
            COMMAND,
        )
    )
    return rows
