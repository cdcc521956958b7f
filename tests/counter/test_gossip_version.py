"""Datagrams as this version of gossip has always written them, byte for byte.

The rule: `gossip-1.txt` is recorded once for a version, and only added to. Where it and the code
come apart, either the change is undone, or it is a new version: raise `GOSSIP_VERSION` in
`tracker/wire.py`, and begin a book of that number. An entry is a name and its datagram, then the
fields that are read from it.
"""

from pathlib import Path

import pytest

from counter.messages import GOSSIP
from tracker.errors import FrameError
from tracker.transport.base import PlainSeal
from tracker.wire import GOSSIP_VERSION

BOOK = Path(__file__).parent / f"gossip-{GOSSIP_VERSION}.txt"
SEAL = PlainSeal()

LINES = BOOK.read_text(encoding="utf-8").splitlines() if BOOK.exists() else []


def fields_of(message):
    """Return the fields of a message in words, by name."""
    return {name: repr(getattr(message, name)) for name in type(message).__match_args__}


def entries():
    """Return what the book has: the message's name, its datagram, its fields in words."""
    found, fields = [], {}
    for line in LINES:
        if line.startswith("  "):
            name, _, value = line.strip().partition(" = ")
            fields[name] = value
        elif line:
            name, _, written = line.partition(" ")
            found.append((name, bytes.fromhex(written), fields := {}))
    return found


ENTRIES = entries()


@pytest.mark.parametrize(("name", "datagram", "fields"), ENTRIES, ids=[e[0] for e in ENTRIES])
def test_a_datagram_of_this_version_means_what_it_has_always_meant(name, datagram, fields):
    message = GOSSIP.decode(SEAL.open(datagram))

    assert type(message).__name__ == name
    # A field that came later is not in the book; it does not travel while it says nothing.
    assert {known: fields_of(message).get(known) for known in fields} == fields
    assert SEAL.close(GOSSIP.encode(message)) == datagram


def test_every_message_of_gossip_stands_in_the_book():
    assert sorted({name for name, _, _ in ENTRIES}) == sorted(
        cls.__name__ for cls in GOSSIP.classes()
    )


def test_of_another_version_nothing_is_read():
    for version in {2, GOSSIP_VERSION + 1}:
        for _, datagram, _ in ENTRIES:
            with pytest.raises(FrameError, match="another version"):
                PlainSeal(version).open(datagram)
