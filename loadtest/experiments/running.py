"""One run of an experiment: its progress, its log, its result.

The rule: a run that is interrupted, or that finds what must not be, keeps the rows it has, in
its log and in its result, and says that it is not whole.
"""

import os
import platform
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, Final, TextIO

import counter
from loadtest.experiments.library import Experiment
from loadtest.experiments.tables import ROWS_MAX, Asked, CheckFailedError, Row, rounded
from loadtest.report import json_line, new_file
from loadtest.runs import Stop
from tracker.native.inventory import in_use
from tracker.text import printable

LOGS: Final = "logs"
LINES_PER_S_MAX: Final = 0.5
COLUMNS_SHOWN_MAX: Final = 79

Result = dict[str, Any]


class Progress:
    """One line on stderr that is written over; in a pipe, a line now and then."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._writes_over = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._due = 0.0
        self._began = monotonic()

    def say(self, text: str) -> None:
        """Say what is being measured."""
        seconds = monotonic() - self._began
        line = f"{seconds:5.0f} s  {text}"
        if self._writes_over:
            self._stream.write(f"\r\x1b[K{line[:COLUMNS_SHOWN_MAX]}")
        elif monotonic() >= self._due:
            self._due = monotonic() + 1 / LINES_PER_S_MAX
            self._stream.write(line + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Leave nothing behind on a terminal."""
        if self._writes_over:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def run(experiment: Experiment, mode: str, *, seed: int, is_quick: bool, repeat: str) -> Result:
    """Carry an experiment out; returns its result. Raises ConfigError without a place for logs.

    `failed` in the result says what was found that must not be, `interrupted` that a person
    wished for its end.
    """
    rows: list[Row] = []
    stop = Stop()
    progress = Progress(sys.stderr)
    stem = f"experiment-{experiment.name}-{mode}-{'quick-' if is_quick else ''}{seed}"
    path, log = new_file(Path(LOGS), stem)
    result: Result = {
        "experiment": experiment.name,
        "mode": mode,
        "quick": is_quick,
        "seed": seed,
        "version": counter.__version__,
        "machine": described(),
        "repeat": repeat,
    }

    def found(row: Row) -> None:
        if len(rows) >= ROWS_MAX:
            raise CheckFailedError(f"more than {ROWS_MAX} rows")
        rows.append(rounded(row))
        log.write(json_line({"row": rows[-1]}) + "\n")
        log.flush()

    began, cpu_began = monotonic(), _cpu_s()
    with log:
        log.write(json_line({"header": result}) + "\n")
        asked = Asked(
            seed=seed,
            is_quick=is_quick,
            say=progress.say,
            found=found,
            is_over=lambda: stop.is_wished,
        )
        try:
            with _interruptible(stop):
                experiment.modes[mode](asked)
        except CheckFailedError as error:
            result["failed"] = printable(str(error))
        finally:
            progress.close()
        result["elapsed_s"] = round(monotonic() - began, 1)
        result["cpu_s"] = round(_cpu_s() - cpu_began, 1)
        if stop.is_wished:
            result["interrupted"] = True
        result["rows"] = rows
        result["log"] = str(path)
        log.write(json_line({"summary": {**result, "rows": len(rows)}}) + "\n")
    return result


@contextmanager
def _interruptible(stop: Stop) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM ask for the end; who asks twice gets it at once."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    old = [signal.signal(number, lambda *_: stop.wish()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, old, strict=True):
            signal.signal(number, handler)


def _cpu_s() -> float:
    """Return the CPU of this process and of all that have ended below it, in seconds."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def described() -> str:
    """Return what a run was measured on: processor, cores, kernel, Python."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except (OSError, UnicodeDecodeError):
        pass
    return printable(
        f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()},"
        f" Python {platform.python_version()}, {in_use()}",
        300,
    )
