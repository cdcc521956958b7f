"""`counter reset` and `counter delete`: a key begins anew, and what it came to is told.

    reset       everybody who is expected moved, and the old value is whole     exit 0
    in part     members were not reached: they are named                        exit 3
    refused     nothing was changed                                             exit 1
    unknown     sent, and no word since: the retry that is safe is printed      exit 3

The rule: a reset has an identity from the start, as an increment has; the same one sent again, to
any node, resets nothing and tells the same old value.
"""

from typing import Annotated, Final

from counter.cli import options
from counter.cli.finding import Finder, shown_node
from counter.cli.increments import check_key, parse_token
from counter.cli.options import Argument, Option
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
from counter.client.answers import Outcome, as_object, grouped, nothing_heard, shortfall
from counter.client.blocking import now
from counter.epochs import CLOSED_MAX, DELETED_MAX
from counter.messages import DOOR, Answer, Missing, Reset, WasReset
from counter.stamps import session_of
from tracker.classes import replace
from tracker.errors import ConnectionLostError, DeadlineError
from tracker.text import printable

RESET_S = 5.0
GRACE_S = 3.0

_HOW_LONG: Final = (
    f"that works until {CLOSED_MAX} more resets of it; what the silent have counted is in no value"
    " then",
    f"that works until {DELETED_MAX} other keys are deleted; what the silent have counted is in no"
    " value then",
)

Key = Annotated[str, Argument(help="Which key.")]
Token = Annotated[
    str | None,
    Option(
        "--id", metavar="TOKEN", help="The same id never resets twice, whichever node is asked."
    ),
]

Again = Annotated[
    bool,
    Option("--again", help="Only tell what the reset by this --id came to: nothing is reset."),
]


def reset(
    key: Key,
    token: Token = None,
    again: Again = False,
    node: options.Node = None,
    pick: options.Pick = None,
    tracker: options.Tracker = None,
    cluster: options.Cluster = None,
    deadline: options.Deadline = None,
    json: options.Json = False,
) -> int:
    """Begin KEY anew at 0 on all nodes, and print what it came to.

    Increments that run at the same time are in the old value or in the new one.
    """
    finder = Finder(tracker=tracker, node=node, pick=pick, cluster=cluster, deadline=deadline)
    return _Renewal(finder, key, token, json, is_delete=False, is_again=again).run()


def delete(
    key: Key,
    token: Token = None,
    again: Again = False,
    node: options.Node = None,
    pick: options.Pick = None,
    tracker: options.Tracker = None,
    cluster: options.Cluster = None,
    deadline: options.Deadline = None,
    json: options.Json = False,
) -> int:
    """Reset KEY for good, and print what it came to.

    That is not kept for long; if the key is counted again it begins at 0.
    """
    finder = Finder(tracker=tracker, node=node, pick=pick, cluster=cluster, deadline=deadline)
    return _Renewal(finder, key, token, json, is_delete=True, is_again=again).run()


class _Renewal:
    """One run of either command."""

    def __init__(
        self,
        finder: Finder,
        key: str,
        token: str | None,
        json: bool,
        *,
        is_delete: bool,
        is_again: bool,
    ) -> None:
        check_key(key)
        if is_again and token is None:
            raise CommandError("--again wants the --id of what was done", code=USAGE)
        self.is_again = is_again
        self.finder = finder
        self.key = key
        self.token = parse_token(token)
        self.is_delete = is_delete
        self.json = json
        self.outcome = Outcome(key, nothing_heard("origin-lost", "", ""))
        self.was = WasReset(0, 1, False)

    def run(self) -> int:
        """Send it, and show what came back; returns the exit code."""
        budget_s = self.finder.deadline_s or RESET_S
        session = session_of(self.token)
        with self.finder.open_node(codec=DOOR) as connection:
            connection.until = now() + budget_s + GRACE_S
            number, budget_ms = connection.number(), round(budget_s * 1000)
            message = Reset(number, session, self.key, budget_ms, self.is_delete, self.is_again)
            try:
                for reply in connection.stream(message):
                    self._take(reply)
            except (ConnectionLostError, DeadlineError, KeyboardInterrupt) as error:
                is_interrupted = isinstance(error, KeyboardInterrupt)
                why = "interrupted" if is_interrupted else error
                more = " --again" if self.is_again else ""
                raise CommandError(
                    f"{why}; {printable(self.key)} MAY have been reset",
                    f"retrying is safe:  {self._again(more)}      (the same id never resets twice)",
                    code=INTERRUPTED if is_interrupted else INCOMPLETE,
                ) from error
        if not self.outcome.answer.origin:
            self.outcome.answer = replace(self.outcome.answer, origin=shown_node(connection))
        self._show()
        return DONE if self.outcome.is_success else INCOMPLETE

    def _take(self, reply: object) -> None:
        if isinstance(reply, WasReset):
            self.was = reply
        elif isinstance(reply, Missing):
            self.outcome.missing.extend(reply.rows)
        elif isinstance(reply, Answer):
            self.outcome.answer = reply

    def _again(self, more: str = "") -> str:
        from shlex import quote

        command = f"counter {'delete' if self.is_delete else 'reset'}"
        key, named = quote(printable(self.key)), f"--id {quote(self.token)}{more}"
        return f"{command} {named} -- {key}" if key.startswith("-") else f"{command} {key} {named}"

    def _show(self) -> None:
        outcome, answer = self.outcome, self.outcome.answer
        if self.json:
            more = {"epoch": self.was.epoch, "repeated": self.was.repeated, "id": self.token}
            out_json({**as_object(outcome), **more})
        elif on_terminal():
            out(self._sentence())
        else:
            out(str(answer.value))
        if outcome.is_success or self.json:
            return
        note(f"incomplete: {answer.answered}/{answer.members} nodes; {shortfall(outcome)}")
        note("  what the silent count until they hear of it stays in the old value")
        note(f"  to ask for the old value again, once they are back:  {self._again(' --again')}")
        note(f"  {_HOW_LONG[self.is_delete]}")

    def _sentence(self) -> str:
        answer = self.outcome.answer
        nodes = f"({answer.answered}/{answer.members} nodes)"
        became = "is deleted" if self.is_delete else "is now 0"
        if self.was.repeated:
            became = f"{'was deleted' if self.is_delete else 'was reset'} before, by this id"
        return f"{printable(self.key)}: {grouped(answer.value)} {nodes} {became}"
