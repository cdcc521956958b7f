"""Reads the plain command line: known flags with their values, arguments in their places.

The rule: it reads only what typer would read the same way, and leaves everything else (help,
mistakes, `--`, a flag given twice, an empty value) to typer, by returning nothing.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from counter.cli.options import Argument, Option

NEGATIVE = re.compile(r"-[0-9]")

_Flags = dict[str, tuple[str, bool]]
_DOUBT = "", ""


def parameters(command: Any) -> list[tuple[str, Any, Any]]:
    """Return (name, marker of `options`, type) of each parameter of a command, in order."""
    return [
        (name, kind.__metadata__[0], kind.__origin__)
        for name, kind in command.__annotations__.items()
        if name != "return"
    ]


def parsed(command: Any, arguments: Sequence[str]) -> dict[str, Any] | None:
    """Return what a command is called with; None if that is not plain to see."""
    places: list[str] = []
    many = ""
    flags: _Flags = {}
    known = parameters(command)
    for name, marker, kind in known:
        if isinstance(marker, Argument):
            places.append(name)
            many = name if kind == list[str] else many
        elif isinstance(marker, Option):
            flags.update(dict.fromkeys(marker.flags, (name, kind is bool)))
    values: dict[str, Any] = {}
    rest = iter(arguments)
    for argument in rest:
        if argument.startswith("-") and argument != "-" and not NEGATIVE.match(argument):
            name, value = _flagged(argument, flags, rest)
        else:
            name, value = (places[0], argument) if places else _DOUBT
            if name and name == many and value:
                values[name] = (*values.get(name, ()), value)
                continue
            del places[:1]
        if not value or name in values:
            return None
        values[name] = value
    required = known[: len(known) - len(command.__defaults__ or ())]
    return values if all(name in values for name, _, _ in required) else None


def _flagged(argument: str, flags: _Flags, rest: Iterator[str]) -> tuple[str, Any]:
    """Return the parameter that a flag means, and its value; an empty one if in doubt."""
    flag, joint, value = argument.partition("=")
    name, is_switch = flags.get(flag, ("", False))
    if not name or (is_switch and joint):
        return _DOUBT
    if is_switch:
        return name, True
    if not joint:
        value = next(rest, "")
        if value.startswith("-"):
            return _DOUBT
    return name, value
