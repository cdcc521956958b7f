"""RESP, the protocol of Redis: bytes in, requests out; replies in, bytes out. Pure.

After redis.io/docs/latest/develop/reference/protocol-spec. A request is an array of bulk strings,
or a line of words as a person types it::

    *2 CRLF $4 CRLF INCR CRLF $5 CRLF views CRLF          INCR views LF

The rule: nothing is kept that a limit does not bound, and a number from outside is compared with
its limit before anything is made of it. What breaks the protocol ends the connection, since nobody
knows where the next request would begin.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from tracker.errors import ClusterError
from tracker.text import printable

ARGUMENTS_MAX: Final = 1_024
"""Arguments of one request."""
REQUEST_BYTES_MAX: Final = 65_536
"""What the arguments of one request take together, and an inline request with its end."""
HEADER_BYTES_MAX: Final = 24
"""A length with what stands before it: a sign and 20 digits."""
TEXT_CHARACTERS_MAX: Final = 400
"""Of an error, in a reply."""
INTEGER_MAX: Final = 2**63 - 1

NEWLINE: Final = b"\r\n"
OK: Final = b"+OK\r\n"

_ARRAY, _BULK = b"*", b"$"
_WORD = re.compile(
    rb"""\s* (?: "(?P<double> (?: [^"\\] | \\. )* )"
             | '(?P<single> (?: [^'\\] | \\. )* )'
             | (?P<bare> [^\s"']+ ) )  (?= \s | $ )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPED: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


class RespError(ClusterError):
    """What came is not the protocol; the connection ends with these words."""

    retry_safe = False


class Requests:
    """Bytes in, requests out: each the list of its arguments, at least one."""

    __slots__ = ("_arguments", "_at", "_buffer", "_bytes", "_length", "_wanted", "is_midway")

    def __init__(self) -> None:
        # Whether no shorter way may look at what comes next; whoever drives this says so.
        self.is_midway = False
        self._buffer = b""
        self._at = 0
        # Of a request that has begun: what there is of it, how many arguments are still wanted,
        # how long the next one is (None: not known), how many bytes they take.
        self._arguments: list[bytes] = []
        self._wanted = 0
        self._length: int | None = None
        self._bytes = 0

    @property
    def is_empty(self) -> bool:
        """Whether everything that came was taken."""
        return not self._wanted and self._at == len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take what was read. Whoever drives this reads no more than it takes."""
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0

    def taken(self, take: Callable[[bytes, int], tuple[Any, int]]) -> Any:
        """Let a shorter way take what stands first, where a request begins; None: none does.

        It is handed the buffer and where to begin; it returns what it made of it, and its end.
        """
        if self._wanted:
            return None
        made, self._at = take(self._buffer, self._at)
        return made

    def next(self) -> list[bytes] | None:
        """Return the next request; None: there is no whole one. Raises RespError."""
        while self._wanted == 0:
            if self._buffer[self._at : self._at + 1] != _ARRAY:
                words = self._inline()
                if words:
                    return words
                if words is None:
                    return None
            else:
                count = self._number(ARGUMENTS_MAX, "multibulk length")
                if count is None:
                    return None
                # An empty array asks for nothing, and is no error.
                self._wanted = max(0, count)
        while self._wanted:
            argument = self._argument()
            if argument is None:
                return None
            self._arguments.append(argument)
            self._wanted -= 1
        arguments, self._arguments, self._bytes = self._arguments, [], 0
        return arguments

    def _argument(self) -> bytes | None:
        if self._length is None:
            begins = self._buffer[self._at : self._at + 1]
            if begins not in (b"", _BULK):
                raise RespError(f"expected '$', got '{_shown(begins)}'")
            length = self._number(REQUEST_BYTES_MAX - self._bytes, "bulk length")
            if length is None:
                return None
            if length < 0:
                raise RespError("invalid bulk length")
            self._length = length
            self._bytes += length
        end = self._at + self._length
        if len(self._buffer) < end + 2:
            return None
        if self._buffer[end : end + 2] != NEWLINE:
            raise RespError("a bulk string is longer than its length says")
        argument = self._buffer[self._at : end]
        self._at, self._length = end + 2, None
        return argument

    def _number(self, most: int, what: str) -> int | None:
        """Take a line of a type and a whole number; None if it has not come yet."""
        end = self._buffer.find(NEWLINE, self._at, self._at + HEADER_BYTES_MAX)
        if end < 0:
            if len(self._buffer) - self._at >= HEADER_BYTES_MAX:
                raise RespError(f"invalid {what}")
            return None
        digits = self._buffer[self._at + 1 : end]
        if not digits.removeprefix(b"-").isdigit() or int(digits) > most:
            raise RespError(f"invalid {what}, the limit here is {most}")
        self._at = end + 2
        return int(digits)

    def _inline(self) -> list[bytes] | None:
        """Take a line of words, [] for a blank one; None if it has not come yet."""
        end = self._buffer.find(b"\n", self._at)
        if (len(self._buffer) if end < 0 else end) - self._at >= REQUEST_BYTES_MAX:
            raise RespError("too big inline request")
        if end < 0:
            return None
        line = self._buffer[self._at : end]
        self._at = end + 1
        return words_in(line)


def words_in(line: bytes) -> list[bytes]:
    """Return the words of an inline request, unquoted; raises RespError."""
    words, at, line = list[bytes](), 0, line.strip()
    while at < len(line):
        match = _WORD.match(line, at)
        if match is None:
            raise RespError("unbalanced quotes in request")
        double, single, bare = match.group("double", "single", "bare")
        if double is not None:
            words.append(_ESCAPE.sub(_unescaped, double))
        else:
            words.append(bare if single is None else single.replace(b"\\'", b"'"))
        at = match.end()
        if len(words) > ARGUMENTS_MAX:
            raise RespError(f"too many words, the limit here is {ARGUMENTS_MAX}")
    return words


def _unescaped(match: re.Match[bytes]) -> bytes:
    digits, letter = match.groups()
    return bytes([int(digits, 16)]) if digits else _ESCAPED.get(letter, letter)


def _shown(data: bytes) -> str:
    return printable(data.decode("latin-1"), 40)


# -- replies ----------------------------------------------------------------------------------


def simple(text: str) -> bytes:
    """Return a status."""
    return b"+" + _line(text) + NEWLINE


def error(text: str, code: str = "ERR") -> bytes:
    """Return an error: a word in capitals that programs look at, and a sentence."""
    return f"-{code} ".encode() + _line(text) + NEWLINE


def integer(number: int, protocol: int = 2) -> bytes:
    """Return a whole number; one past 64 bits is no integer there, and keeps its digits."""
    if -INTEGER_MAX <= number <= INTEGER_MAX:
        return b":%d\r\n" % number
    return b"(%d\r\n" % number if protocol >= 3 else bulk(str(number))


def bulk(text: str | bytes) -> bytes:
    """Return a string of any bytes."""
    data = text if isinstance(text, bytes) else text.encode()
    return b"$%d\r\n%s\r\n" % (len(data), data)


def null(protocol: int) -> bytes:
    """Return nothing."""
    return b"_\r\n" if protocol >= 3 else b"$-1\r\n"


def array(parts: list[bytes]) -> bytes:
    """Return replies as one."""
    return b"*%d\r\n" % len(parts) + b"".join(parts)


def mapping(pairs: Iterable[tuple[str, Any]], protocol: int) -> bytes:
    """Return names and their values, in RESP2 in turns; see `plain` for the values."""
    parts = [part for name, value in pairs for part in (bulk(name), plain(value, protocol))]
    head = b"%%%d\r\n" % (len(parts) // 2) if protocol >= 3 else b"*%d\r\n" % len(parts)
    return head + b"".join(parts)


def plain(value: Any, protocol: int) -> bytes:
    """Return a value of Python as a reply; what RESP2 has no type for is a string, or 0 and 1."""
    if value is None:
        return null(protocol)
    if isinstance(value, bool):
        return (b"#t\r\n" if value else b"#f\r\n") if protocol >= 3 else integer(int(value))
    if isinstance(value, int):
        return integer(value, protocol)
    if isinstance(value, float):
        return b",%s\r\n" % f"{value:g}".encode() if protocol >= 3 else bulk(f"{value:g}")
    if isinstance(value, dict):
        return mapping(value.items(), protocol)
    if isinstance(value, list | tuple):
        return array([plain(part, protocol) for part in value])
    return bulk(value)


def _line(text: str) -> bytes:
    return printable(text, TEXT_CHARACTERS_MAX).encode()
