"""How instant `counter inc` is, beside the imports it cannot do without."""

import statistics
import subprocess
import sys
import time

from benchmarks.machine import Row, counter_command, free_port, process

ROUNDS = 21


def _ms(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1000


def measure() -> list[Row]:
    """Measure both in turns; the medians and their ratio."""
    port = free_port()
    listen = ("--listen", f"127.0.0.1:{port}", "--tracker", f"127.0.0.1:{free_port()}")
    bare = [sys.executable, "-c", "import typer, msgpack"]
    inc = counter_command("inc", "views", "5", "--node", f"127.0.0.1:{port}")
    with process(counter_command("node", "--name", "s", "--memory", *listen), port):
        pairs = [(_ms(bare), _ms(inc)) for _ in range(ROUNDS)]
    imports = statistics.median([one for one, _ in pairs])
    whole = statistics.median([two for _, two in pairs])
    command = "python -m benchmarks startup"
    return [
        Row("python -c 'import typer, msgpack'", f"{imports:.0f} ms", "", command),
        Row("`counter inc`, whole command", f"{whole:.0f} ms", "", command),
        Row("that, against the imports", f"{whole / imports:.2f}", "about 1", command),
    ]
