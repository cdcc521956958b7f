"""How the epochs of a key are named, between nodes and in what they keep::

    "views"                       the key in epoch 0, as every client names it
    "views" NUL "3"               the key in epoch 3: what a share holds, and what an ask is about
    "views" NUL "3" NUL "?" mark  look: the same ask, and who knows of this reset says so
    "views" NUL "3" NUL "=" mark  close: epoch 3 is over by this reset; what is the share of it?
    "views" NUL "3" NUL "-" mark  the same, and the key is deleted

A reset begins the next epoch of a key; its mark is a hash of its id, in hex.

The rule: no key from outside holds a NUL, so none of these can be taken for a key, and a peer that
knows no epochs refuses them all; it does not answer for a key of that name.
"""

from typing import Any, Final

from tracker import wire
from tracker.classes import dataclass
from tracker.errors import FrameError

MARK_BYTES: Final = 8

EPOCH_MAX: Final = 10**9 - 1
"""The last epoch of a key: with nine digits, 32 named keys still fit into one ask."""

NUL: Final = "\0"

LOOK, CLOSE, DELETE = "?", "=", "-"


@dataclass(frozen=True, slots=True)
class Subject:
    """What an ask is about: a key in one of its epochs; `kind` is empty for its value alone."""

    key: str
    epoch: int
    kind: str = ""
    mark: bytes = b""

    @property
    def name(self) -> str:
        """The name under which a share holds it."""
        return name_of(self.key, self.epoch)

    @property
    def text(self) -> str:
        """How it stands in an ask."""
        if not self.kind:
            return self.name
        return f"{self.key}{NUL}{self.epoch}{NUL}{self.kind}{self.mark.hex()}"


def name_of(key: str, epoch: int) -> str:
    """Return the name under which a share holds a key in an epoch."""
    return f"{key}{NUL}{epoch}" if epoch else key


def key_in(name: str) -> str:
    """Return the key that a name or a subject is about."""
    return name.partition(NUL)[0]


def subject_in(text: str) -> Subject:
    """Return what a text is about that passed `subject`."""
    key, *rest = text.split(NUL)
    if not rest:
        return Subject(key, 0)
    kind, mark = (rest[1][0], bytes.fromhex(rest[1][1:])) if len(rest) > 1 else ("", b"")
    return Subject(key, int(rest[0]), kind, mark)


def stored_name(text: str) -> str:
    """Return the name under which a share holds what a text is about; a question stays as it is."""
    return subject_in(text).name if NUL in text and text[1:2] != "\n" else text


def epoch_name(value: Any) -> str:
    """Check the name of a key in an epoch."""
    if type(value) is str and NUL in value:
        key, epoch, *rest = value.split(NUL)
        if not rest and _is_epoch(epoch) and epoch != "0":
            return name_of(wire.key(key), int(epoch))
        raise FrameError(f"wanted a key in an epoch, got {wire.shown(value)}")
    return wire.key(value)


def subject(value: Any) -> str:
    """Check what an ask may be about."""
    if type(value) is not str or value.count(NUL) < 2:
        return epoch_name(value)
    key, epoch, *rest = value.split(NUL)
    if len(rest) == 1 and _is_epoch(epoch) and rest[0][:1] in (LOOK, CLOSE, DELETE):
        digits = rest[0][1:]
        if len(digits) == 2 * MARK_BYTES and set(digits) <= set("0123456789abcdef"):
            wire.key(key)
            return value
    raise FrameError(f"wanted a key in an epoch, got {wire.shown(value)}")


def _is_epoch(digits: str) -> bool:
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= len(str(EPOCH_MAX))
    return is_number and (digits == "0" or digits[0] != "0")
