"""Which commands there are, and how one run ends.

The rule: only the module of the command that was asked for is imported; every way to end
passes through `run`, which alone turns errors into screens and exit codes.
"""

import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

import counter
from counter.cli import screens
from tracker.errors import ClusterError
from tracker.text import printable

COMMANDS = {
    "tracker": "daemons",
    "node": "daemons",
    "inc": "increments",
    "query": "queries",
    "get": "queries",
    "members": "membership",
    "forget": "membership",
    "config": "configuration",
    "demo": "demonstration",
}

Dispatch = Callable[[list[str], int], int]

_NEGATIVE = re.compile(r"-[0-9]")
_VERBOSE = re.compile(r"-v{1,3}|--verbose")
# No argument of a process can hold NUL, so a mark made of it is unmistakable.
_MARK = "\0"
WATCH_DEFAULT = "1s"


class Command(TyperCommand):
    """A command that takes `-5` as an argument, and still refuses `--bogus`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Hide the minus of numbers from the option parser, and bring it back."""
        rest = super().parse_args(ctx, [_marked(arg) for arg in args])
        for name, value in ctx.params.items():
            if isinstance(value, str):
                ctx.params[name] = value.removeprefix(_MARK)
        return rest


def _marked(argument: str) -> str:
    return _MARK + argument if _NEGATIVE.match(argument) else argument


def _root(
    ctx: typer.Context,
    verbose: Annotated[
        int,
        typer.Option(
            "-v",
            "--verbose",
            count=True,
            show_default=False,
            help="Say more; -vv adds tracebacks.",
        ),
    ] = 0,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """A leaderless distributed counter: count on any node, ask all of them."""


def build(names: Sequence[str]) -> typer.Typer:
    """Return the application with these commands only."""
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in names:
        module = import_module(f"counter.cli.{COMMANDS[name]}")
        app.command(name, cls=Command)(getattr(module, name))
    return app


def rewritten(arguments: Sequence[str]) -> tuple[list[str], int]:
    """Return the arguments in the form typer can parse, and how verbose the run is.

    `-v` may stand anywhere before `--`; `--watch` alone means `--watch=1s`.
    """
    result: list[str] = []
    verbosity = 0
    for index, argument in enumerate(arguments):
        if argument == "--":
            return result + list(arguments[index:]), verbosity
        if _VERBOSE.fullmatch(argument):
            verbosity += 1 if argument.startswith("--") else len(argument) - 1
        elif argument == "--watch":
            result.append(f"--watch={WATCH_DEFAULT}")
        else:
            result.append(argument)
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
    if arguments[:1] == ["--version"]:
        screens.out(f"counter {counter.__version__}")
        return screens.DONE
    names = [first] if first in COMMANDS else list(COMMANDS)
    return invoked(build(names), "counter", arguments, verbosity)


def invoked(app: typer.Typer, name: str, arguments: list[str], verbosity: int) -> int:
    """Parse the arguments and call the command they name; what is refused is shown here."""
    command = typer.main.get_command(app)
    try:
        code = command.main(arguments, prog_name=name, standalone_mode=False, obj=verbosity)
    except typer.Abort:
        return screens.INTERRUPTED
    except SystemExit as error:
        # typer makes an exit of its own out of a reader who has gone.
        if isinstance(error.__context__, BrokenPipeError):
            raise error.__context__ from None
        raise
    except Exception as error:
        # typer keeps its own copy of click: its errors are known by what they can do.
        if not hasattr(error, "format_message"):
            raise
        return _usage(error)
    return code if isinstance(code, int) else screens.DONE


def _usage(error: Any) -> int:
    """Show what typer refuses; with no arguments at all this is the help."""
    text = error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":
        screens.note(text)
        return screens.USAGE
    context = getattr(error, "ctx", None)
    for index, line in enumerate(text.splitlines()):
        screens.note(("error: " if index == 0 else "  ") + printable(line, 400))
    if context is not None:
        screens.note(f"  {context.command.get_usage(context).strip()}")
        screens.note(f"  more:  {context.command_path} --help")
    return screens.USAGE


def _trace(verbosity: int) -> None:
    if verbosity >= 2:
        import traceback

        sys.stderr.write(printable_lines(traceback.format_exc()))


def printable_lines(text: str) -> str:
    """Return a text of many lines with each of them made printable."""
    return "".join([printable(line, 2_000) + "\n" for line in text.splitlines()])
