"""Many keys in one query: what a command line asks for, and how it is shown; `counter keys`.

The rule: a star at the end of the only key stands for the rest of a key, a star anywhere else is
refused unless `--literal` says that it is a part of the key.
"""

from collections.abc import Sequence
from contextlib import closing
from typing import Annotated

from counter.cli import options
from counter.cli.asking import QUERY_S, Asker
from counter.cli.finding import Finder
from counter.cli.options import Argument
from counter.cli.screens import (
    DONE,
    INCOMPLETE,
    INTERRUPTED,
    USAGE,
    CommandError,
    note,
    on_terminal,
    out,
    out_json,
)
from counter.cli.settings import whole
from counter.client import inquiry
from counter.client.answers import Outcome, as_object, shortfall
from counter.client.keys import Found, cut_off, keys_object, table_of
from counter.messages import KEYS_KEPT_MAX, UNTIL_ALL, Query, is_question, prefixed
from tracker.errors import ConfigError, FrameError
from tracker.text import printable

TOP_ON_TERMINAL = 20


def asked_for(keys: Sequence[str], *, literal: bool) -> str:
    """Return what to ask for: one key, or a question for many. Raises CommandError."""
    try:
        return inquiry.asked_for(keys, literal=literal)
    except ConfigError as error:
        hint = "--literal takes a star for a part of the key" if "star" in str(error) else ""
        raise CommandError(str(error), hint, code=USAGE) from error


def keys(
    prefix: Annotated[str, Argument(metavar="[PREFIX]", help="What the keys begin with.")] = "",
    top: options.Top = None,
    node: options.Node = None,
    pick: options.Pick = None,
    tracker: options.Tracker = None,
    cluster: options.Cluster = None,
    deadline: options.Deadline = None,
    json: options.Json = False,
) -> int:
    """Name the keys that are counted, the largest first.

    With --json their values, too. A key that stands at 0 on every node is not named.
    """
    try:
        question = prefixed(prefix)
    except FrameError as error:
        raise CommandError(str(error), code=USAGE) from error
    number = parse_top(top, question)
    finder = Finder(tracker=tracker, node=node, pick=pick, cluster=cluster, deadline=deadline)
    deadline_ms = round((finder.deadline_s or QUERY_S) * 1000)
    query = Query(0, question, 0, 0, 0, deadline_ms, UNTIL_ALL, 0, 0, rows=False)
    with closing(Asker(finder, query)) as asker:
        outcome = asker.ask(lambda answer: None)
    found = outcome.found or Found()
    if json:
        out_json({**as_object(outcome), **keys_object(found, number)})
    else:
        for row in found.rows[:number]:
            out(printable(row[0]) if on_terminal() else row[0])
        show_cut_off(outcome, found, number)
        if prefix.endswith("*") and not found.rows:
            note("no key has a star there; all that begin alike:  counter keys PREFIX, without one")
        if not outcome.is_success:
            answer = outcome.answer
            note(f"incomplete: {answer.answered}/{answer.members} nodes; {shortfall(outcome)}")
    if asker.interrupted:
        return INTERRUPTED
    return DONE if outcome.is_success else INCOMPLETE


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
