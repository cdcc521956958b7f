"""How the fields of a scenario are written: kinds of values, and tables made of them.

The rule: a dataclass is the schema. Each of its fields carries its kind and one line of help, so
that the reader of files, the refusals and the reference page are made from one thing. Whatever
is refused is refused in plain words, with the field, and the nearest name that would be known.
"""

from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, dataclass, field, fields
from difflib import get_close_matches
from math import isfinite
from re import fullmatch
from typing import TYPE_CHECKING, Any, TypeVar

from tracker.config import parse_duration
from tracker.errors import ConfigError
from tracker.text import printable

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SHOWN_MAX = 60
LINE_MAX = 120
NAMES_MAX = 1_000
TIME_S_MAX = 3_600.0

Table = TypeVar("Table", bound="DataclassInstance")


class FieldError(Exception):
    """A value that makes no sense; `name` is the field, "" for the table as a whole."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value: what it takes, in words, and how it is read."""

    takes: str
    read: Callable[[Any], Any]


def entry(kind: Kind, help: str, default: Any = MISSING, *, written: str = "") -> Any:
    """Declare a field of a table; without a default it must be given.

    `written` is its name in a file, where that is not the name here.
    """
    return field(default=default, metadata={"kind": kind, "help": help, "written": written})


def written_name(of: "Field[Any]") -> str:
    """Return how a field is written in a file: times carry their unit with their value."""
    return of.metadata["written"] or of.name.removesuffix("_s")


def read_table(cls: type[Table], given: dict[str, Any], **fixed: Any) -> Table:
    """Return the dataclass that a table of a file describes. Raises FieldError.

    `fixed` are fields that are not read here: the names of sub-tables, already read.
    """
    known = {written_name(f): f for f in fields(cls) if "kind" in f.metadata}
    for name in given:
        if name not in known:
            raise FieldError(name, f"{shown(name)} is not known{nearest(name, known)}")
    read: dict[str, Any] = dict(fixed)
    for name, one in known.items():
        if name in given:
            try:
                read[one.name] = one.metadata["kind"].read(given[name])
            except (ValueError, ConfigError) as error:
                raise FieldError(name, f"{name}: {error}") from error
        elif one.default is MISSING:
            raise FieldError("", f"{name} is missing ({one.metadata['help']})")
    try:
        return cls(**read)
    except ConfigError as error:
        raise FieldError("", str(error)) from error


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint at the name that was meant, or at all that are known."""
    names = list(known)
    near = get_close_matches(name, names, 1, 0.5)
    return f"; did you mean {near[0]}?" if near else f" (known: {', '.join(names)})"


def shown(value: Any) -> str:
    """Return a value from a file as it may be shown."""
    text = value if isinstance(value, str) else repr(value)
    return f'"{printable(text, SHOWN_MAX)}"'


# -- kinds ----------------------------------------------------------------------------------


def whole(low: int, high: int) -> Kind:
    """A whole number in a range."""

    def read(value: Any) -> int:
        if type(value) is not int:
            raise ValueError(f"{shown(value)} is not a whole number")
        if not low <= value <= high:
            raise ValueError(f"{value} is out of range, needs {low} to {high}")
        return value

    return Kind(f"whole number, {low} to {high}", read)


def number(low: float, high: float) -> Kind:
    """A number in a range."""

    def read(value: Any) -> float:
        if type(value) not in (int, float) or not isfinite(value):
            raise ValueError(f"{shown(value)} is not a number")
        if not low <= value <= high:
            raise ValueError(f"{value:g} is out of range, needs {low:g} to {high:g}")
        return float(value)

    return Kind(f"number, {low:g} to {high:g}", read)


def duration(low_s: float = 0.0, high_s: float = TIME_S_MAX) -> Kind:
    """A time with its unit; seconds inside."""

    def read(value: Any) -> float:
        if type(value) is not str:
            raise ValueError(f'{shown(value)} is not a time; write it with its unit, like "250ms"')
        seconds = parse_duration(value)
        if not low_s <= seconds <= high_s:
            raise ValueError(f"{shown(value)} is out of range, needs {low_s:g}s to {high_s:g}s")
        return seconds

    return Kind('time, like `"250ms"`', read)


def share(high: float = 1.0) -> Kind:
    """A share in percent; a fraction inside."""

    def read(value: Any) -> float:
        match = fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%", value) if type(value) is str else None
        if match is None:
            raise ValueError(f'{shown(value)} is not a share, like "5%"')
        found = round(float(match[1]) / 100, 8)
        if found > high:
            raise ValueError(f"{shown(value)} is out of range, needs 0% to {100 * high:g}%")
        return found

    return Kind('share, like `"5%"`', read)


def one_of(*words: str) -> Kind:
    """One of a few words."""

    def read(value: Any) -> str:
        if value not in words:
            raise ValueError(f"{shown(value)} is none of {', '.join(words)}")
        return str(value)

    return Kind(" or ".join(f'`"{word}"`' for word in words), read)


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(f"{shown(value)} is neither true nor false")
    return value


def _line(value: Any) -> str:
    if type(value) is not str or not value.strip():
        raise ValueError(f"{shown(value)} is not a line of text")
    if printable(value, LINE_MAX) != value:
        text = f"holds what a terminal would obey, or more than {LINE_MAX} characters"
        raise ValueError(f"{shown(value)} {text}")
    return value


FLAG = Kind("`true` or `false`", _flag)
LINE = Kind("text", _line)

# -- who ------------------------------------------------------------------------------------

ALL, TRACKERS, DOWN = "all", "trackers", "down"
GROUPS = (ALL, TRACKERS, DOWN)


@dataclass(frozen=True, slots=True)
class Who:
    """Nodes and trackers, by name, by share, or by group; who they are is found when it happens.

    `names` in the order in which they were written, `share` of the nodes that are up, drawn by
    the seed, `groups` of `GROUPS`.
    """

    names: tuple[str, ...] = ()
    share: float = 0.0
    groups: tuple[str, ...] = ()


def read_who(value: Any) -> Who:
    """Return who is meant by `n3, n5-n8`, `10%`, `all`. Raises ValueError."""
    words = value if type(value) is list else [value]
    if not words or any(type(word) is not str for word in words):
        raise ValueError(f'{shown(value)} names nobody; write "n3", "n5-n8", "10%" or "all"')
    names: dict[str, None] = {}
    groups: dict[str, None] = {}
    part = 0.0
    for word in [w.strip() for text in words for w in text.split(",")]:
        if (
            match := fullmatch(r"([nt])([1-9][0-9]{0,6})(?:-\1([1-9][0-9]{0,6}))?", word)
        ) is not None:
            names.update(dict.fromkeys(_range(match[1], int(match[2]), int(match[3] or match[2]))))
        elif fullmatch(r"[0-9.]+%", word) and not part:
            part = share().read(word)
        elif word in GROUPS:
            groups[word] = None
        else:
            near = nearest(word, GROUPS) if word.isalpha() else ""
            raise ValueError(
                f'{shown(word)} is nobody; write "n3", "n5-n8", "t1", "10%", '
                f'"all", "trackers" or "down"{near if "mean" in near else ""}'
            )
    return Who(tuple(names), part, tuple(groups))


def _range(letter: str, first: int, last: int) -> list[str]:
    if not first <= last < first + NAMES_MAX:
        raise ValueError(
            f"{letter}{first}-{letter}{last} is no range of at most {NAMES_MAX} that goes upward"
        )
    return [f"{letter}{n}" for n in range(first, last + 1)]


def _read_nodes(value: Any) -> Who:
    who = read_who(value)
    strange = [name for name in (*who.names, *who.groups) if name[0] == "t" or name == DOWN]
    if strange:
        raise ValueError(f"{strange[0]} will not do: it takes nodes, by name, by share, or all")
    return who


NODES = Kind('nodes, like `"n3, n5-n8"`, `"10%"`, `"all"`', _read_nodes)
WHO = Kind('who, like `"n3, n5-n8"`, `"10%"`, `"all"`', read_who)
EVERYBODY = Who(groups=(ALL,))
