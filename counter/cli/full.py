"""The same commands through typer: help, usage errors, and every unusual way to write a command.

The rule: a command is declared once, with `options`; what typer needs to know is made of that.
"""

import inspect
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from counter.cli import screens
from counter.cli.options import Argument, Option
from counter.cli.plain import NEGATIVE, parameters
from tracker.text import printable

# No argument of a process can hold NUL, so a mark made of it is unmistakable.
_MARK = "\0"


class Command(TyperCommand):
    """A command that takes `-5` as an argument, and still refuses `--bogus`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Hide the minus of numbers from the option parser, and bring it back."""
        rest = super().parse_args(ctx, [_marked(arg) for arg in args])
        for name, value in ctx.params.items():
            if isinstance(value, str):
                ctx.params[name] = value.removeprefix(_MARK)
            elif isinstance(value, tuple):
                ctx.params[name] = tuple([one.removeprefix(_MARK) for one in value])
        return rest

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Show what has to be given without typer's braces."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


def _marked(argument: str) -> str:
    return _MARK + argument if NEGATIVE.match(argument) else argument


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


def build(modules: dict[str, str], names: Sequence[str], verbosity: int = 0) -> typer.Typer:
    """Return the application with the commands of these names; `modules` says where they are."""
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in names:
        module = import_module(f"counter.cli.{modules[name]}")
        app.command(name, cls=Command)(_declared(getattr(module, name), verbosity))
    return app


def complete() -> None:
    """Have typer know the shells, since one has asked what could stand in a command line."""
    from typer.completion import completion_init  # type: ignore[attr-defined]

    completion_init()


def _declared(command: Any, verbosity: int) -> Callable[..., int]:
    """Return a command as typer wants it: the same parameters, in typer's own words."""
    own = inspect.signature(command)
    shown = []
    given = {}
    for name, marker, kind in parameters(command):
        word: Any
        if isinstance(marker, Argument):
            word = typer.Argument(metavar=marker.metavar or name.upper(), help=marker.help)
        elif isinstance(marker, Option):
            word = typer.Option(*marker.flags, metavar=marker.metavar, help=marker.help)
        else:
            given[name] = verbosity
            continue
        shown.append(own.parameters[name].replace(annotation=Annotated[kind, word]))

    def call(**values: Any) -> int:
        code: int = command(**values, **given)
        return code

    call.__doc__ = command.__doc__
    call.__signature__ = own.replace(parameters=shown)  # type: ignore[attr-defined]
    return call


def invoked(app: typer.Typer, name: str, arguments: list[str]) -> int:
    """Parse the arguments and call the command they name; what is refused is shown here."""
    command = typer.main.get_command(app)
    try:
        code = command.main(arguments, prog_name=name, standalone_mode=False)
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
