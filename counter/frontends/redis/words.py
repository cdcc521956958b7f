"""The words of a request, one by one: keys, amounts, options. Pure.

The rule: a word is understood whole or refused, in a sentence that shows it.
"""

import re
from collections.abc import Callable
from fnmatch import translate
from typing import Any

from counter.config import DEADLINE_MS_MAX
from tracker import wire
from tracker.errors import ClusterError
from tracker.text import printable

_WHOLE = re.compile(rb"-?(?:0|[1-9][0-9]{0,15})")
_DEADLINE = re.compile(rb"[1-9][0-9]{0,5}")

Arguments = list[bytes]


class BadRequestError(ClusterError):
    """A request that is refused with these words; nothing was changed."""

    retry_safe = False


def upper(name: bytes) -> str:
    """Return a name as commands and options are looked up."""
    return name.decode("latin-1").upper()


def text_in(word: bytes, what: str, most: int) -> str:
    """Return a text that is not empty; raises BadRequestError."""
    try:
        text = word.decode()
    except UnicodeDecodeError:
        text = ""
    if not text or len(word) > most:
        raise BadRequestError(f"{what} is 1 to {most} bytes of UTF-8, got {shown(word)}")
    return text


def key_in(word: bytes) -> str:
    """Return a key; raises BadRequestError and FrameError."""
    return wire.key(text_in(word, "a key", wire.KEY_BYTES_MAX))


def amount_in(word: bytes) -> int:
    """Return an amount; raises BadRequestError."""
    if _WHOLE.fullmatch(word) is None or abs(number := int(word)) > wire.AMOUNT_MAX:
        raise BadRequestError(f"an amount is a whole number up to 2^53-1, got {shown(word)}")
    return number


def shown(word: bytes) -> str:
    """Return a word as an error shows it."""
    return f'"{printable(word.decode("utf-8", "backslashreplace"), 40)}"'


def deadline_in(word: bytes) -> int:
    """Return a deadline in ms; raises BadRequestError."""
    if _DEADLINE.fullmatch(word) is None or int(word) > DEADLINE_MS_MAX:
        text = f"a deadline is 1 to {DEADLINE_MS_MAX} ms, got {shown(word)}"
        raise BadRequestError(text)
    return int(word)


def options_in(words: Arguments, *known: str) -> dict[str, bytes]:
    """Return the values of options that come as NAME VALUE, in any order."""
    found = {}
    for at in range(0, len(words), 2):
        name = upper(words[at])
        if name not in known or at + 1 == len(words):
            named = " and ".join(known)
            raise BadRequestError(f"{shown(words[at])} is not understood; options: {named}")
        found[name] = words[at + 1]
    return found


def matcher(pattern: bytes) -> Callable[[str], Any]:
    """Return what says whether a key has the form of a pattern of Redis: * ? [abc] [^a-z] and \\.

    As `fnmatch` does it, which never goes back over what a star has passed.
    """
    text = text_in(pattern, "a pattern", wire.KEY_BYTES_MAX)
    text = re.sub(r"\\(.)|\[\^", lambda m: f"[{m[1]}]" if m[1] else "[!", text, flags=re.DOTALL)
    return re.compile(translate(text)).match
