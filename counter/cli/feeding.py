"""`counter inc -`: count the lines of standard input, in order, over one connection.

    own id      one that nobody used before: only a clock that lags can make it too old
    given id    its first line goes alone: by that one line the others give the id up

The rule: a line is sent once, in order, and what became of each is told by its number. No other
line is sent before the first one has counted: who gave the id up refuses that one, and would take
the others, which have counted elsewhere (`counter.cli.claiming`).
"""

import os
import sys
from collections.abc import Iterable, Iterator

from counter.cli.finding import Finder, shown_node
from counter.cli.increments import (
    AMOUNT,
    GIVEN_AWAY,
    TOO_OLD,
    check_key,
    id_words,
    in_memory,
    increments,
    node_again,
    parse_amount,
    unstamped_token,
)
from counter.cli.screens import (
    DONE,
    INCOMPLETE,
    INTERRUPTED,
    REFUSED,
    USAGE,
    CommandError,
    on_terminal,
    out,
    out_json,
)
from counter.cli.stores import NEW_ID
from counter.client import light
from counter.client.blocking import Connection
from counter.stamps import session_of
from tracker.config import shown_endpoint
from tracker.errors import ConnectionLostError, DeadlineError, InDoubtError
from tracker.text import printable

PIPELINED_MAX = 256
LINE_BYTES_MAX = 1_024
READ_BYTES = 65_536
# A node remembers about the last thousand operations of a session; a fresh session for each
# block keeps a long input repeatable from its first line.
BLOCK_OPERATIONS = 512

Line = tuple[int, str, int]


def feed(
    connection: Connection, finder: Finder, token: str, is_own: bool, promise: int, json: bool
) -> int:
    """Count standard input; `is_own` for a token that nobody used before. Returns the exit code."""
    return _InputRun(connection, finder, token, is_own, promise, json).run(read_lines(_chunks()))


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
        if AMOUNT.fullmatch(written) is None:
            raise CommandError(f'"{printable(written, 60)}" is not a whole number')
        number = parse_amount(written)
    check_key(key)
    return key, number


class _RefusedLine(CommandError):
    """A line was refused, for `word`."""

    def __init__(self, word: str, *texts: str, code: int = REFUSED) -> None:
        super().__init__(*texts, code=code)
        self.word = word


class _InputRun:
    """One run of `counter inc -`: increments in order, a bounded number of them on their way."""

    def __init__(
        self,
        connection: Connection,
        finder: Finder,
        token: str,
        is_own: bool,
        promise: int,
        json: bool,
    ) -> None:
        self.connection = connection
        self.finder = finder
        self.token = token
        self.is_own = is_own
        self.promise = promise
        self.json = json
        self.counted = 0
        self.repeated = 0
        self.on_disk = True
        self.sent = 0

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
            rest = good
            if good and not self.sent:
                self._count_first(good[0])
                rest = good[1:]
            for start in range(0, len(rest), PIPELINED_MAX):
                self._count(rest[start : start + PIPELINED_MAX])
            if len(good) < len(batch):
                bad = batch[-1]
                assert isinstance(bad, CommandError)
                raise CommandError(str(bad), self._so_far(), code=USAGE)

    def _count_first(self, line: Line) -> None:
        """Count the line by which a node knows that it gave this id up, before any other."""
        try:
            self._count([line])
        except _RefusedLine as refused:
            if not (self.is_own and refused.word == TOO_OLD):
                raise
            # Never sent before, so it was not counted: only our clock lags behind.
            self.token, self.sent = unstamped_token(), 0
            self._count([line])

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
                    "not_asked": self.finder.not_asked,
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
        refused: tuple[int, light.Refused] | None = None
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
                    refused = number, reply
                    before = self.counted
        except (ConnectionLostError, DeadlineError, InDoubtError) as error:
            raise self._unknown(str(error), lines[acknowledged:]) from error
        except KeyboardInterrupt:
            raise self._unknown("interrupted", lines[acknowledged:], INTERRUPTED) from None
        if refused is not None:
            raise self._refused(*refused, before)

    def _refused(self, line: int, refused: light.Refused, before: int) -> CommandError:
        after = self.counted - before
        late = f", and {after} after it, already on their way" if after else ""
        text = f"line {line}: refused: {printable(refused.text, 400)}"
        so_far = f"{increments(before)} before it counted{late}"
        word = str(refused.code)
        if word not in (TOO_OLD, GIVEN_AWAY):
            return _RefusedLine(word, text, so_far, self._again())
        if not self.is_own:
            text = f"{text}; it MAY have been counted"
            return _RefusedLine(word, text, so_far, NEW_ID, code=INCOMPLETE)
        # Sent for the first time, so it is certain that it was not counted.
        hints = () if after else (f"to go on, a new run may begin with line {line}",)
        return _RefusedLine(word, text, so_far, *hints)

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
        words = id_words(self.token, node, self.connection.home)
        return (
            f"retrying is safe: the same input into  counter inc - {words}"
            "      (no line counts twice)"
        )
