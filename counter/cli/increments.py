"""`counter inc`: count on one node, exactly once.

    counted   the acknowledgement came                                     exit 0
    refused   the node said no, or nobody was reached: nothing changed     exit 1
    unknown   sent, and no word since: the retry that is safe is printed   exit 3

The rule: every increment has an identity from the start (a token, which makes the session),
so that an unknown outcome always comes with a retry that is the same operation.
"""

import os
import re
import time
from contextlib import ExitStack
from typing import Annotated

from counter.cli import options
from counter.cli.finding import CANDIDATES_TRIED_MAX, Finder, shown_node
from counter.cli.options import Argument, Option
from counter.cli.screens import (
    DONE,
    INCOMPLETE,
    INTERRUPTED,
    USAGE,
    CommandError,
    on_terminal,
    out,
    out_json,
)
from counter.cli.settings import Settings
from counter.cli.stores import NEW_ID, NotYetError, enter, parse_store, remembering
from counter.client import light
from counter.client.blocking import Connection, now
from counter.stamps import TOKEN_CHANCE_BYTES, session_of
from counter.stamps import new_token as stamped_token
from tracker import wire
from tracker.boots import shortened
from tracker.config import shown_endpoint
from tracker.errors import (
    ConnectionLostError,
    DeadlineError,
    FrameError,
    InDoubtError,
    RefusedError,
    UnreachableError,
)
from tracker.text import printable

TOKEN_CHARACTERS_MAX = 128

NOT_YET_PAUSE_S = 0.05
"""Pause before a node that was started a moment ago is asked again."""

AMOUNT = re.compile(r"[+-]?[0-9]{1,40}")
_ACKS = {None: light.ACK_DEFAULT, "memory": light.ACK_MEMORY, "disk": light.ACK_DISK}
_USAGE = "usage: counter inc KEY [AMOUNT]"
TOO_OLD, GIVEN_AWAY, NO_DISK = "too-old", "given-away", "no-disk"


def inc(
    key: Annotated[str, Argument(help="What to count; - reads lines.")],
    amount: Annotated[
        str, Argument(metavar="[AMOUNT]", help="A whole number, negative allowed.")
    ] = "1",
    node: options.Node = None,
    pick: options.Pick = None,
    ack: Annotated[
        str | None,
        Option(
            "--ack",
            metavar="memory|disk",
            help="What the acknowledgement promises. [env: COUNTER_ACK]"
            " [default: disk, where the node has one]",
        ),
    ] = None,
    token: Annotated[
        str | None,
        Option(
            "--id",
            metavar="TOKEN",
            help="The same id counts once: in the cluster (all who are up are asked) or at --node.",
        ),
    ] = None,
    store: options.Store = None,
    strict: options.Strict = False,
    tracker: options.Tracker = None,
    cluster: options.Cluster = None,
    deadline: options.Deadline = None,
    json: options.Json = False,
) -> int:
    """Add AMOUNT to KEY. With - for KEY, read `KEY [AMOUNT]` lines from standard input."""
    number = parse_amount(amount)
    is_own = token is None
    token = parse_token(token)
    store = parse_store(store)
    is_stream = key == "-"
    if is_stream and number != 1:
        raise CommandError(
            f"- reads the amounts from its lines, and takes no {number} beside it", code=USAGE
        )
    if not is_stream:
        check_key(key)
    settings = Settings()
    promise = _ACKS[settings.get("ack", ack)]
    finder = Finder(
        settings, tracker=tracker, node=node, pick=pick, cluster=cluster, deadline=deadline
    )
    finder.is_strict = strict and _may_be_strict(finder, is_own)
    with ExitStack() as closing:
        with remembering(finder, token, store, is_own=is_own):
            connection = closing.enter_context(_entered(finder, token, store, is_own))
        if is_stream:
            from counter.cli.feeding import feed

            return feed(connection, finder, token, is_own, promise, json)
        wish = _Wish(finder, key, number, token, is_own, promise)
        connection, counted = wish.settled(closing, connection)
    wish.show(connection, counted, json)
    return DONE


def _may_be_strict(finder: Finder, is_own: bool) -> bool:
    """Say that all members are asked about an id; raises CommandError where none would be."""
    if is_own or finder.node is not None:
        why = "a new id is nobody's yet" if is_own else "at --node nobody else is asked"
        raise CommandError(f"--strict wants --id and no --node: {why}", code=USAGE)
    return True


def _entered(finder: Finder, token: str, store: str, is_own: bool) -> Connection:
    """Connect, once a node that was started a moment ago can say whether it is the one."""
    early: NotYetError | None = None
    while True:
        try:
            connection = _reached(finder, token, is_own)
            try:
                enter(connection, finder, token, store, is_own=is_own)
            except BaseException:
                connection.close()
                raise
            return connection
        except NotYetError as error:
            if now() + NOT_YET_PAUSE_S >= finder.until:
                raise
            early = error
            time.sleep(NOT_YET_PAUSE_S)
        except (CommandError, UnreachableError):
            if early is not None:
                raise early from None
            raise


class _Wish:
    """One increment, and how it is to be counted; `is_own` for a token that nobody used before."""

    __slots__ = ("finder", "is_own", "key", "number", "promise", "token")

    def __init__(
        self, finder: Finder, key: str, number: int, token: str, is_own: bool, promise: int
    ) -> None:
        self.finder = finder
        self.key = key
        self.number = number
        self.token = token
        self.is_own = is_own
        self.promise = promise

    def settled(
        self, closing: ExitStack, connection: Connection
    ) -> tuple[Connection, light.Counted]:
        """Count; where a node has no disk to promise, at another one, unless it must be this."""
        finder = self.finder
        while True:
            try:
                return connection, self._settled(connection)
            except RefusedError as error:
                finder.diskless.add(connection.endpoint)
                is_final = error.code != NO_DISK or not self.is_own or finder.node is not None
                if is_final or len(finder.diskless) >= CANDIDATES_TRIED_MAX:
                    raise
                try:
                    connection = closing.enter_context(finder.open_node())
                except (CommandError, UnreachableError):
                    raise error from None

    def _settled(self, connection: Connection) -> light.Counted:
        """Count, under another token where a new one is taken for old."""
        try:
            return self._count(connection)
        except RefusedError as error:
            if error.code == GIVEN_AWAY or (error.code == TOO_OLD and not self.is_own):
                text = f"{error}; the increment MAY have been counted"
                raise CommandError(text, NEW_ID, code=INCOMPLETE) from error
            if error.code != TOO_OLD:
                raise
        # Never sent before, so it was not counted: only our clock lags behind.
        self.token = unstamped_token()
        return self._count(connection)

    def _count(self, connection: Connection) -> light.Counted:
        pairs = self.key, self.number
        message = light.Increment(session_of(self.token), 1, pairs, self.promise)
        try:
            reply: light.Counted = connection.request(message)
        except (ConnectionLostError, DeadlineError, InDoubtError, KeyboardInterrupt) as error:
            is_interrupted = isinstance(error, KeyboardInterrupt)
            why = "interrupted" if is_interrupted else error
            node = node_again(self.finder, connection)
            retry = retry_command(*pairs, self.token, node, connection.home)
            raise CommandError(
                f"{why}; the increment MAY have been counted",
                f"retrying is safe:  {retry}      (the same id never counts twice)",
                code=INTERRUPTED if is_interrupted else INCOMPLETE,
            ) from error
        return reply

    def show(self, connection: Connection, counted: light.Counted, json: bool) -> None:
        """Show where it was counted, and what that promises."""
        where = shown_node(connection)
        if json:
            out_json(
                {
                    "key": self.key,
                    "amount": self.number,
                    "node": where,
                    "address": shown_endpoint(connection.endpoint),
                    "ack": "disk" if counted.on_disk else "memory",
                    "repeated": counted.repeated,
                    "id": self.token,
                    "not_asked": self.finder.not_asked,
                }
            )
        elif on_terminal():
            again = "   (was counted before)" if counted.repeated else ""
            what = f"{printable(self.key)} {self.number}"
            out(f"{what} on {where}{in_memory(counted.on_disk)}{again}")
        else:
            out(str(self.number))


def _reached(finder: Finder, token: str, is_own: bool) -> Connection:
    if is_own:
        return finder.open_node()
    from counter.cli.homes import open_home

    return open_home(finder, token)


def parse_amount(written: str) -> int:
    """Return an amount; raises CommandError for what is none."""
    if AMOUNT.fullmatch(written) is None:
        raise CommandError(
            f'"{printable(written, 60)}" is not a whole number   {_USAGE}', code=USAGE
        )
    number = int(written)
    if abs(number) > wire.AMOUNT_MAX:
        raise CommandError(
            f"{printable(written, 60)} is too large; an amount is at most {wire.AMOUNT_MAX}"
            " (2^53-1) either way",
            code=USAGE,
        )
    return number


def check_key(key: str) -> None:
    """Refuse what is no key; raises CommandError."""
    try:
        wire.key(key)
    except FrameError as error:
        raise CommandError(str(error), code=USAGE) from error


def new_token() -> str:
    """Return 26 letters that can be read aloud and typed, and tell when they were made."""
    return stamped_token(int(time.time() * 1000), os.urandom(TOKEN_CHANCE_BYTES))


def unstamped_token() -> str:
    """Return a new token whose session tells nothing of its time."""
    return "X" + new_token()


def in_memory(on_disk: bool) -> str:
    """Return what a person is told of an acknowledgement that promises less than a disk."""
    return "" if on_disk else "   (in memory only)"


def parse_token(token: str | None) -> str:
    """Return the id that was given, or a new one; raises CommandError for what is none."""
    if token is None:
        return new_token()
    if not 1 <= len(token) <= TOKEN_CHARACTERS_MAX or printable(token) != token:
        raise CommandError(
            f"--id wants 1 to {TOKEN_CHARACTERS_MAX} printable characters", code=USAGE
        )
    return token


def node_again(finder: Finder, connection: Connection) -> str:
    """Return what names this very node to a later command.

    Its name if a tracker led to it: when it is started again, its address may be another's.
    """
    is_named_by_address = finder.node is not None and ":" in finder.node
    if connection.name and not is_named_by_address:
        return connection.name
    return shown_endpoint(connection.endpoint)


def id_words(token: str, node: str, home: str) -> str:
    """Return the words of a command that say which operation is meant, and who may know it."""
    from shlex import quote

    words = f"--id {quote(token)} --node {quote(node)}"
    return f"{words} --store {shortened(home)}" if home else words


def retry_command(key: str, number: int, token: str, node: str, home: str = "") -> str:
    """Return the command that is the same operation, asked of the node that may know it."""
    from shlex import quote

    named = id_words(token, node, home)
    if key.startswith("-"):
        return f"counter inc {named} -- {quote(key)} {number}"
    return f"counter inc {quote(key)} {number} {named}"


def increments(count: int) -> str:
    """Return a number of increments in words."""
    return f"{count} increment" + ("" if count == 1 else "s")
