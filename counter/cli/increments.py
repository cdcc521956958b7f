"""`counter inc`: count on one node, exactly once.

    counted   the acknowledgement came                                     exit 0
    refused   the node said no, or nobody was reached: nothing changed     exit 1
    unknown   sent, and no word since: the retry that is safe is printed   exit 3

The rule: every increment has an identity from the start (a token, which makes the session),
so that an unknown outcome always comes with a retry that is the same operation.
"""

import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Annotated

from counter.cli import options
from counter.cli.finding import Finder, shown_node
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
from counter.cli.stores import NEW_ID, STORE_DIGITS, enter, parse_store, remembering
from counter.client import light
from counter.client.blocking import Connection
from counter.stamps import TOKEN_CHANCE_BYTES, session_of
from counter.stamps import new_token as stamped_token
from tracker import wire
from tracker.config import shown_endpoint
from tracker.errors import (
    ConnectionLostError,
    DeadlineError,
    FrameError,
    InDoubtError,
    RefusedError,
)
from tracker.text import printable

TOKEN_CHARACTERS_MAX = 128
PIPELINED_MAX = 256
LINE_BYTES_MAX = 1_024
READ_BYTES = 65_536
# A node remembers about the last thousand operations of a session; a fresh session for each
# block keeps a long input repeatable from its first line.
BLOCK_OPERATIONS = 512

_AMOUNT = re.compile(r"[+-]?[0-9]{1,40}")
_ACKS = {None: light.ACK_DEFAULT, "memory": light.ACK_MEMORY, "disk": light.ACK_DISK}
_USAGE = "usage: counter inc KEY [AMOUNT]"
_TOO_OLD, _GIVEN_AWAY = "too-old", "given-away"

Line = tuple[int, str, int]


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
    strict: Annotated[
        bool, Option("--strict", help="With --id: send nothing while a member is down.")
    ] = False,
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
    roads = {"tracker": tracker, "node": node, "pick": pick, "cluster": cluster}
    finder = _finder(Finder(settings, **roads, deadline=deadline), strict=strict, is_own=is_own)
    with ExitStack() as closing:
        with remembering(finder, token, store, is_own=is_own):
            connection = closing.enter_context(_reached(finder, token, is_own))
            enter(connection, finder, token, store, is_own=is_own)
        if is_stream:
            return _InputRun(connection, finder, token, promise, json).run(read_lines(_chunks()))
        token, counted = _settled(connection, finder, key, number, token, is_own, promise)
    _show(connection, key, number, token, counted, json)
    return DONE


def _finder(finder: Finder, *, strict: bool, is_own: bool) -> Finder:
    """Have all members asked about an id, if so wished; raises CommandError where none would be."""
    if not strict:
        return finder
    if is_own or finder.node is not None:
        why = "a new id is nobody's yet" if is_own else "at --node nobody else is asked"
        raise CommandError(f"--strict wants --id and no --node: {why}", code=USAGE)
    finder.is_strict = True
    return finder


def _reached(finder: Finder, token: str, is_own: bool) -> Connection:
    if is_own:
        return finder.open_node()
    from counter.cli.homes import open_home

    return open_home(finder, token)


def _show(
    connection: Connection, key: str, number: int, token: str, counted: light.Counted, json: bool
) -> None:
    where = shown_node(connection)
    if json:
        out_json(
            {
                "key": key,
                "amount": number,
                "node": where,
                "address": shown_endpoint(connection.endpoint),
                "ack": "disk" if counted.on_disk else "memory",
                "repeated": counted.repeated,
                "id": token,
            }
        )
    elif on_terminal():
        again = "   (was counted before)" if counted.repeated else ""
        out(f"{printable(key)} {number} on {where}{in_memory(counted.on_disk)}{again}")
    else:
        out(str(number))


def parse_amount(written: str) -> int:
    """Return an amount; raises CommandError for what is none."""
    if _AMOUNT.fullmatch(written) is None:
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


def _settled(
    connection: Connection,
    finder: Finder,
    key: str,
    number: int,
    token: str,
    is_own: bool,
    promise: int,
) -> tuple[str, light.Counted]:
    """Count, and return under which token; `is_own` for one that nobody used before."""
    try:
        return token, _count(connection, finder, key, number, token, promise)
    except RefusedError as error:
        if error.code == _GIVEN_AWAY:
            raise _too_old(error) from error
        if error.code != _TOO_OLD:
            raise
        if not is_own:
            raise _too_old(error) from error
    # Never sent before, so it was not counted: only our clock lags behind.
    token = unstamped_token()
    return token, _count(connection, finder, key, number, token, promise)


def _count(
    connection: Connection, finder: Finder, key: str, number: int, token: str, promise: int
) -> light.Counted:
    message = light.Increment(session_of(token), 1, (key, number), promise)
    try:
        reply: light.Counted = connection.request(message)
    except (ConnectionLostError, DeadlineError, InDoubtError, KeyboardInterrupt) as error:
        is_interrupted = isinstance(error, KeyboardInterrupt)
        where = node_again(finder, connection), connection.store
        retry = retry_command(key, number, token, *where)
        raise CommandError(
            f"{'interrupted' if is_interrupted else error}; the increment MAY have been counted",
            f"retrying is safe:  {retry}      (the same id never counts twice)",
            code=INTERRUPTED if is_interrupted else INCOMPLETE,
        ) from error
    return reply


def node_again(finder: Finder, connection: Connection) -> str:
    """Return what names this very node to a later command.

    Its name if a tracker led to it: when it is started again, its address may be another's.
    """
    is_named_by_address = finder.node is not None and ":" in finder.node
    if connection.name and not is_named_by_address:
        return connection.name
    return shown_endpoint(connection.endpoint)


def _too_old(error: RefusedError) -> CommandError:
    return CommandError(
        f"{error}; the increment MAY have been counted",
        NEW_ID,
        code=INCOMPLETE,
    )


def id_words(token: str, node: str, store: bytes) -> str:
    """Return the words of a command that say which operation is meant, and who may know it."""
    from shlex import quote

    words = f"--id {quote(token)} --node {quote(node)}"
    return f"{words} --store {store.hex()[:STORE_DIGITS]}" if store else words


def retry_command(key: str, number: int, token: str, node: str, store: bytes = b"") -> str:
    """Return the command that is the same operation, asked of the node that may know it."""
    from shlex import quote

    named = id_words(token, node, store)
    if key.startswith("-"):
        return f"counter inc {named} -- {quote(key)} {number}"
    return f"counter inc {quote(key)} {number} {named}"


def increments(count: int) -> str:
    """Return a number of increments in words."""
    return f"{count} increment" + ("" if count == 1 else "s")


# -- from standard input --------------------------------------------------------------------


def _chunks() -> Iterator[bytes]:
    """Yield standard input as it comes: a slow writer is counted line by line."""
    descriptor = sys.stdin.fileno()
    while data := os.read(descriptor, READ_BYTES):
        yield data


def read_lines(chunks: Iterable[bytes]) -> Iterator[list[Line | CommandError]]:
    """Yield the increments of each chunk; a bad line is yielded as its error, and ends it."""
    rest = b""
    number = 0
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        batch: list[Line | CommandError] = []
        for line in lines:
            number += 1
            if not _take_line(batch, number, line):
                yield batch
                return
        if len(rest) > LINE_BYTES_MAX:
            batch.append(_bad_line(number + 1, f"is longer than {LINE_BYTES_MAX} bytes"))
            yield batch
            return
        yield batch
    batch = []
    _take_line(batch, number + 1, rest)
    yield batch


def _take_line(batch: list[Line | CommandError], number: int, line: bytes) -> bool:
    """Append what a line says; False if it says nothing that can be counted."""
    try:
        parsed = parse_line(line)
    except CommandError as error:
        batch.append(_bad_line(number, str(error)))
        return False
    if parsed is not None:
        batch.append((number, *parsed))
    return True


def _bad_line(number: int, text: str) -> CommandError:
    return CommandError(f"line {number}: {text}", code=USAGE)


def parse_line(line: bytes) -> tuple[str, int] | None:
    """Return (key, amount) of `KEY [AMOUNT]`, None for a blank line; raises CommandError.

    The last field is the amount, so that a key with blanks needs its amount written out.
    """
    try:
        text = line.decode().strip(" \t\r")
    except UnicodeDecodeError as error:
        raise CommandError("is not UTF-8") from error
    if not text:
        return None
    cut = max(text.rfind(" "), text.rfind("\t"))
    key, number = text, 1
    if cut > 0:
        key, written = text[:cut].rstrip(" \t"), text[cut + 1 :]
        if _AMOUNT.fullmatch(written) is None:
            raise CommandError(f'"{printable(written, 60)}" is not a whole number')
        number = parse_amount(written)
    check_key(key)
    return key, number


class _InputRun:
    """One run of `counter inc -`: increments in order, a bounded number of them on their way."""

    def __init__(
        self, connection: Connection, finder: Finder, token: str, promise: int, json: bool
    ) -> None:
        self.connection = connection
        self.finder = finder
        self.token = token
        self.promise = promise
        self.json = json
        self.counted = 0
        self.repeated = 0
        self.on_disk = True
        self.sent = 0
        self.lines: list[int] = []

    def run(self, batches: Iterator[list[Line | CommandError]]) -> int:
        """Count everything, then say how much it was; so does Ctrl-C."""
        try:
            self._take(batches)
        except KeyboardInterrupt:
            raise CommandError("interrupted", self._so_far(), code=INTERRUPTED) from None
        return self._report()

    def _take(self, batches: Iterator[list[Line | CommandError]]) -> None:
        for batch in batches:
            good = [line for line in batch if not isinstance(line, CommandError)]
            for start in range(0, len(good), PIPELINED_MAX):
                self._count(good[start : start + PIPELINED_MAX])
            if len(good) < len(batch):
                bad = batch[-1]
                assert isinstance(bad, CommandError)
                raise CommandError(str(bad), self._so_far(), code=USAGE)

    def _report(self) -> int:
        where = shown_node(self.connection)
        if self.json:
            out_json(
                {
                    "counted": self.counted,
                    "repeated": self.repeated,
                    "ack": "disk" if self.on_disk else "memory",
                    "node": where,
                    "address": shown_endpoint(self.connection.endpoint),
                    "id": self.token,
                }
            )
        elif on_terminal():
            out(f"{increments(self.counted)} on {where}{in_memory(self.on_disk)}")
        else:
            out(str(self.counted))
        return DONE

    def _count(self, lines: list[Line]) -> None:
        """Send a group of lines and wait for every acknowledgement."""
        messages = []
        for _, key, number in lines:
            block, place = divmod(self.sent, BLOCK_OPERATIONS)
            session = session_of(self.token, block)
            messages.append(light.Increment(session, place + 1, (key, number), self.promise))
            self.sent += 1
        self.finder.restart()
        self.connection.until = self.finder.until
        refused: tuple[int, str] | None = None
        before = self.counted
        acknowledged = 0
        try:
            self.connection.send(*messages)
            for number, _, _ in lines:
                reply = self.connection.reply()
                if reply.TAG == light.Refused.TAG and reply.code == light.IN_DOUBT:
                    raise InDoubtError(printable(reply.text, 400))
                acknowledged += 1
                if reply.TAG == light.Counted.TAG:
                    self.counted += 1
                    self.repeated += reply.repeated
                    self.on_disk &= reply.on_disk
                elif refused is None:
                    refused = number, f"refused: {printable(reply.text, 400)}"
                    before = self.counted
        except (ConnectionLostError, DeadlineError, InDoubtError) as error:
            raise self._unknown(str(error), lines[acknowledged:]) from error
        except KeyboardInterrupt:
            raise self._unknown("interrupted", lines[acknowledged:], INTERRUPTED) from None
        if refused is not None:
            raise self._refused(*refused, before)

    def _refused(self, line: int, text: str, before: int) -> CommandError:
        after = self.counted - before
        late = f", and {after} after it, already on their way" if after else ""
        return CommandError(
            f"line {line}: {text}",
            f"{increments(before)} before it counted{late}",
            self._again(),
        )

    def _unknown(self, text: str, lines: list[Line], code: int = INCOMPLETE) -> CommandError:
        first, last = (lines[0][0], lines[-1][0]) if lines else (0, 0)
        return CommandError(
            f"{text}; lines {first} to {last} MAY have been counted",
            self._so_far(),
            self._again(),
            code=code,
        )

    def _so_far(self) -> str:
        return f"{increments(self.counted)} before it counted"

    def _again(self) -> str:
        node = node_again(self.finder, self.connection)
        words = id_words(self.token, node, self.connection.store)
        return (
            f"retrying is safe: the same input into  counter inc - {words}"
            "      (no line counts twice)"
        )
