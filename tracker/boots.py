"""The boots of a store's lives: whether one life goes on from another. Pure.

Each start of a store draws 8 random bytes, its boot. `boots` are those of a life and of the lives
before it, the latest first, one behind the other; where they are not told (older peers, stores in
memory) they are empty, and a store is taken by its id alone.

The rule: what was first sent to a life is looked for only in that life and in those that have it
among their boots. The same store in another life is a copy's, or the copy's original: it can
neither have counted it, nor promise that nobody has.
"""

import re
from typing import Final, NamedTuple

BOOT_BYTES: Final = 8
LINEAGE_MAX: Final = 16
"""Earlier starts of a store that a node can name."""
BOOTS_BYTES_MAX: Final = BOOT_BYTES * (LINEAGE_MAX + 1)

UNSAID: Final = bytes(BOOT_BYTES)
"""Stands behind the boot of a life that cannot say yet whether it goes on from those before it."""


class Life(NamedTuple):
    """One start of a store: its number, what it drew, and the last record before it.

    The record is -1 where that was not told.
    """

    epoch: int
    boot: bytes
    begin: int


def lives_in(epoch: int, boots: bytes, begins: bytes) -> list[Life]:
    """Return the lives of these boots, the latest first, whose number is `epoch`."""
    found = []
    for back, at in enumerate(range(0, len(boots), BOOT_BYTES)):
        begin = begins[at : at + BOOT_BYTES]
        token = int.from_bytes(begin, "big") if begin else -1
        found.append(Life(epoch - back, boots[at : at + BOOT_BYTES], token))
    return found


def told(boots: bytes, *, is_believed: bool) -> bytes:
    """Return the boots that a life tells: of those before it only once it is believed.

    Until then it may be a copy of a store that still runs, and no restart of it.
    """
    is_first = len(boots) <= BOOT_BYTES
    return boots if is_believed or is_first else boots[:BOOT_BYTES] + UNSAID


def says_later(boots: bytes, life: bytes) -> bool:
    """Whether a life cannot say yet if it goes on from this one."""
    return bool(life) and boots.endswith(UNSAID) and not holds(boots, life)


def holds(boots: bytes, boot: bytes) -> bool:
    """Whether a life, or one before it, drew this boot, or one that begins with these bytes."""
    return any(boots.startswith(boot, at) for at in range(0, len(boots), BOOT_BYTES))


def goes_on(store: bytes, boots: bytes, home: bytes, life: bytes) -> bool:
    """Whether a store, with these boots, is the store `home` in `life`, or goes on from that.

    A copy that goes on beside its store, or in its place, has another id, and its lives.
    """
    return holds(boots, life) if boots and life else store == home


# -- as people and programs write it ----------------------------------------------------------

HOME_DIGITS_MIN: Final = 8
"""Of 32 hexadecimal digits of a store, or 16 of a boot, that are shown, and at least wanted."""

_HOME = re.compile(r"[0-9a-f]{8,32}(\.[0-9a-f]{8,16})?")


def home_text(store: bytes, boots: bytes) -> str:
    """Return a store and its life as `STORE.LIFE`; without a boot the store alone."""
    life = boots[:BOOT_BYTES].hex()
    return f"{store.hex()}.{life}" if life else store.hex()


def shortened(home: str) -> str:
    """Return the first digits of both."""
    return ".".join([part[:HOME_DIGITS_MIN] for part in home.split(".")])


def is_home_text(written: str) -> bool:
    """Whether this can be the beginning of a store, or of one and of a life of it."""
    return _HOME.fullmatch(written) is not None


def is_home(written: str, store: bytes, boots: bytes) -> bool:
    """Whether a store, with these boots, is what `home_text` said, or goes on from it."""
    home, _, life = written.partition(".")
    if not (life and boots):
        return store.hex().startswith(home)
    starts = range(0, len(boots), BOOT_BYTES)
    return any(boots[at : at + BOOT_BYTES].hex().startswith(life) for at in starts)
