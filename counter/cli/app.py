"""Which commands there are, and how one run ends.

The rule: only the module of the command that was asked for is imported, and typer only where
a command line is not plain to read; every way to end passes through `run`, which alone turns
errors into screens and exit codes.
"""

import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

import counter
from counter.cli import plain, screens
from counter.cli.options import OfRun
from tracker.errors import ClusterError
from tracker.text import printable

COMMANDS = {
    "tracker": "daemons",
    "node": "daemons",
    "inc": "increments",
    "query": "queries",
    "get": "queries",
    "keys": "keys",
    "reset": "resets",
    "delete": "resets",
    "queries": "following",
    "cancel": "following",
    "members": "membership",
    "forget": "membership",
    "drain": "draining",
    "parked": "parked",
    "metrics": "metrics",
    "config": "configuration",
    "demo": "demonstration",
    "maelstrom": "jepsen",
}

Dispatch = Callable[[list[str], int], int]

_VERBOSE = re.compile(r"-v{1,3}|--verbose")
_DURATION = re.compile(r"[0-9.]+(ms|s|m|h)")
WATCH_DEFAULT = "1s"
# A shell that asks for completions says so in this variable.
COMPLETION = "_COUNTER_COMPLETE"


def rewritten(arguments: Sequence[str]) -> tuple[list[str], int]:
    """Return the arguments in the form typer can parse, and how verbose the run is.

    `-v` may stand anywhere before `--`; `--watch` alone means `--watch=1s`. A duration right
    behind it is its own: nobody who writes `--watch 5s` asks for a key that is called so.
    """
    result: list[str] = []
    verbosity = 0
    for index, argument in enumerate(arguments):
        if result[-1:] == ["--watch"]:
            is_pause = _DURATION.fullmatch(argument) is not None
            result[-1] = f"--watch={argument if is_pause else WATCH_DEFAULT}"
            if is_pause:
                continue
        if argument == "--":
            return result + list(arguments[index:]), verbosity
        if _VERBOSE.fullmatch(argument):
            verbosity += 1 if argument.startswith("--") else len(argument) - 1
        else:
            result.append(argument)
    if result[-1:] == ["--watch"]:
        result[-1] = f"--watch={WATCH_DEFAULT}"
    return result, verbosity


def run(arguments: Sequence[str], dispatch: Dispatch | None = None) -> int:
    """Run one command; returns its exit code. No traceback leaves here without -vv.

    `dispatch` carries it out: the commands of `counter`, unless another program says otherwise.
    """
    screens.prepare_streams()
    rest, verbosity = rewritten(arguments)
    try:
        return _finished(dispatch or _dispatch, rest, verbosity)
    except BrokenPipeError:
        # Whoever read stdout has seen enough (`| head -1`).
        screens.silence_stdout()
        return screens.DONE
    except KeyboardInterrupt:
        return screens.INTERRUPTED
    except ClusterError as error:
        _trace(verbosity)
        return screens.show_error(error)
    except Exception as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            # While a class was made, which tells it as an error of its own.
            return screens.INTERRUPTED
        _trace(verbosity)
        text = printable(str(error))
        screens.note(f"error: this is a bug: {type(error).__name__}: {text}")
        if verbosity < 2:
            screens.note("  the same command with -vv says where")
        return screens.DEFECT


def _finished(dispatch: Dispatch, arguments: list[str], verbosity: int) -> int:
    """Carry a command out, up to the last byte of its result."""
    try:
        code = dispatch(arguments, verbosity)
        screens.finish_stdout()
    except BrokenPipeError:
        raise
    except OSError as error:
        return screens.check_stdout(error)
    return code


def _dispatch(arguments: list[str], verbosity: int) -> int:
    first = next((argument for argument in arguments if not argument.startswith("-")), "")
    if COMMANDS.get(first) != "daemons":
        _be_interrupted()
    if arguments[:1] == ["--version"]:
        return _say_version()
    if arguments[:1] == [first] and first in COMMANDS and COMPLETION not in os.environ:
        code = _plainly(first, arguments[1:], verbosity)
        if code is not None:
            return code
    from counter.cli import full

    if COMPLETION in os.environ:
        full.complete()
    names = [first] if first in COMMANDS else list(COMMANDS)
    return full.invoked(full.build(COMMANDS, names, verbosity), "counter", arguments)


def _be_interrupted() -> None:
    """Have Ctrl-C end what a command does, which then says what is known of it.

    Until here it ended the process; what a daemon loads it still does, until the daemon listens.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _say_version() -> int:
    from tracker.native.inventory import told

    screens.out(f"counter {counter.__version__}")
    screens.note(told())
    return screens.DONE


def _plainly(name: str, arguments: list[str], verbosity: int) -> int | None:
    """Carry out a plainly written command; None if it takes more to say what is meant."""
    command = getattr(import_module(f"counter.cli.{COMMANDS[name]}"), name)
    values = plain.parsed(command, arguments)
    if values is None:
        return None
    for parameter, marker, _ in plain.parameters(command):
        if isinstance(marker, OfRun):
            values[parameter] = verbosity
    try:
        code: int = command(**values)
    except EOFError:
        # Nobody answers a question: the line it stands in ends here.
        screens.note("")
        return screens.INTERRUPTED
    return code


def _trace(verbosity: int) -> None:
    if verbosity >= 2:
        import traceback

        sys.stderr.write(printable_lines(traceback.format_exc()))


def printable_lines(text: str) -> str:
    """Return a text of many lines with each of them made printable."""
    return "".join([printable(line, 2_000) + "\n" for line in text.splitlines()])
