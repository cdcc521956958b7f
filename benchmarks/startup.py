"""How instant `counter inc` is, beside the imports it cannot do without."""

import statistics
import subprocess
import sys
import time

from benchmarks.machine import counter_command, described, free_port, process

ROUNDS = 21


def _ms(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1000


def main() -> None:
    """Print the medians of interleaved rounds and their ratio."""
    port = free_port()
    listen = ("--listen", f"127.0.0.1:{port}", "--tracker", f"127.0.0.1:{free_port()}")
    bare = [sys.executable, "-c", "import typer, msgpack"]
    inc = counter_command("inc", "views", "5", "--node", f"127.0.0.1:{port}")
    with process(counter_command("node", "--name", "s", "--memory", *listen), port):
        pairs = [(_ms(bare), _ms(inc)) for _ in range(ROUNDS)]
    imports = statistics.median([one for one, _ in pairs])
    whole = statistics.median([two for _, two in pairs])
    print(f"start  machine: {described()}")
    print(f"start  import typer, msgpack {imports:6.0f} ms")
    print(f"start  counter inc           {whole:6.0f} ms   ratio {whole / imports:.2f}")


if __name__ == "__main__":
    main()
