"""How many instructions one ask takes, since processor time depends on who else is at work.

`python -m benchmarks counted`, by name alone: it needs `valgrind`, and takes some minutes. What
`held` asks is asked of the same programs, each run twice, with so many asks and with more; the
difference is what the asks took. The rule: only the programs' own instructions are counted, those
of the interpreter and the event loop among them, and none of the kernel's.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import echo
from benchmarks.held import FEW_KEYS, Held, answer_all

FEW, MANY = 1_000, 5_000
END_S = 300.0
COLLECTED = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)


def measure(brief: bool = False) -> None:
    """Print how many it is for each program, one at a time and 32 at a time."""
    if shutil.which("valgrind") is None:
        print("counted: skipped, valgrind is not installed")
        return
    # The same dictionaries are laid out alike in each run.
    os.environ["PYTHONHASHSEED"] = "0"
    node = [sys.executable, "-m", "benchmarks.holder", str(FEW_KEYS)]
    few, many = (FEW // 4, MANY // 4) if brief else (FEW, MANY)
    with echo.commands() as commands:
        for of, command in {**commands, f"a node of {FEW_KEYS} keys": node}.items():
            for at_once in (1, 32):
                more = _counted(command, at_once, many) - _counted(command, at_once, few)
                # So many as are a multiple of those at a time are asked.
                asks = many // at_once * at_once - few // at_once * at_once
                print(
                    f"{of}, {at_once} at a time: {more / asks:,.0f} instructions each", flush=True
                )


def _counted(command: list[str], at_once: int, count: int) -> int:
    """Return the instructions of a whole run in which so many are asked."""
    with TemporaryDirectory() as directory:
        out = Path(directory, "counted")
        under = ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}", "--"]
        pipe = subprocess.PIPE
        with subprocess.Popen([*under, *command], stdin=pipe, stdout=pipe, text=True) as process:
            try:
                node = Held(process)
                answer_all(node.endpoint, node.asks(FEW_KEYS), at_once, count)
                assert process.stdin is not None
                process.stdin.close()
                process.wait(END_S)
            finally:
                process.kill()
        [total] = COLLECTED.findall(out.read_text("utf-8", "replace"))[-1:]
        return int(total)
