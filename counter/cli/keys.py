"""Many keys in one query: what a command line asks for, and how it is shown.

The rule: a star at the end of the only key stands for the rest of a key, a star anywhere else is
refused unless `--literal` says that it is a part of the key.
"""

from collections.abc import Sequence

from counter.cli.screens import USAGE, CommandError, note, on_terminal, out
from counter.cli.settings import whole
from counter.client import inquiry
from counter.client.answers import Outcome
from counter.client.keys import Found, cut_off, table_of
from counter.messages import KEYS_KEPT_MAX, is_question
from tracker.errors import ConfigError

TOP_ON_TERMINAL = 20


def asked_for(keys: Sequence[str], *, literal: bool) -> str:
    """Return what to ask for: one key, or a question for many. Raises CommandError."""
    try:
        return inquiry.asked_for(keys, literal=literal)
    except ConfigError as error:
        hint = "--literal takes a star for a part of the key" if "star" in str(error) else ""
        raise CommandError(str(error), hint, code=USAGE) from error


def parse_top(top: str | None, question: str) -> int | None:
    """Return how many keys to show, None for all that come. Raises CommandError."""
    number: int | None = whole(top, "top")
    if number is None:
        return TOP_ON_TERMINAL if on_terminal() else None
    if not is_question(question):
        raise CommandError("--top is for several keys, and one was asked for", code=USAGE)
    if not 1 <= number <= KEYS_KEPT_MAX:
        raise CommandError(f"--top is {number}, needs 1 to {KEYS_KEPT_MAX}", code=USAGE)
    return number


def check_asked_alone(question: str, *, live: bool, traced: bool) -> None:
    """Refuse what can be shown of one key only; raises CommandError."""
    if is_question(question) and (live or traced):
        flag = "--live" if live else "--trace"
        text = f"{flag} is for one key; of several keys --watch shows each round"
        raise CommandError(text, code=USAGE)


def show_table(found: Found, top: int | None) -> None:
    """Show the keys to a person, the largest first."""
    for line in table_of(found, top):
        out(line)


def show_lines(found: Found, top: int | None) -> None:
    """Show the keys to a program: key, tab, value."""
    for key, value, _, _ in found.rows[:top]:
        out(f"{key}\t{value}")


def show_cut_off(outcome: Outcome, found: Found, top: int | None) -> None:
    """Say what is not shown: to a person with the table, else beside the result."""
    line = cut_off(outcome, found, top)
    if line:
        (out if on_terminal() else note)(line)
