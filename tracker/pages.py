"""Lists of members cut into pages: for news on the wire, and for the record on disk.

The rule: a page holds at most NEWS_PER_PAGE members and always fits into one frame, however
long the notes are.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

from tracker import wire
from tracker.errors import FrameError
from tracker.machine import Effect, Link, Send
from tracker.members import Member, View
from tracker.messages import NEWS_PER_PAGE, Listed, Roster, news_from_wire, news_to_wire
from tracker.names import MEMBER_NAME_MAX, is_derived

PAGE_BYTES_MAX: Final = 60_000
"""Leaves room in a frame for what stands around the page."""
PAGE_MEMBERS_MIN: Final = 32
"""Every page that another one follows holds more members than this."""
EMPTY_PAGE: Final = news_to_wire(())
RECORD_FORMAT: Final = 1
MARKS_PER_PAGE: Final = 300
MARK_FIELDS: Final = 3
Mark = tuple[str, bytes, int]
"""A name, the store under it, and the last record that was safe there."""

_FIXED_BYTES = 84


def cut(members: Iterable[Member]) -> Iterator[list[Member]]:
    """Yield the members in order, in lists that each fit into one frame."""
    page: list[Member] = []
    size = 0
    for member in members:
        # Four bytes is the most that one character of a note takes.
        texts = len(member.name) + len(member.host) + len(member.heir) + 4 * len(member.note)
        bytes_max = _FIXED_BYTES + texts
        if page and (len(page) == NEWS_PER_PAGE or size + bytes_max > PAGE_BYTES_MAX):
            yield page
            page, size = [], 0
        page.append(member)
        size += bytes_max
    if page:
        yield page


def listed(view: View, link: Link, roster: Roster) -> list[Effect]:
    """Tell a client, or another node, everybody whom a node knows."""
    pages = roster_of(view, roster.request, lambda member: (-1.0, -1))
    return [Send(link, page) for page in pages]


def roster_of(
    members: Iterable[Member], request: int, known_of: Callable[[Member], tuple[float, int]]
) -> list[Listed]:
    """Return the pages that answer a `Roster`, by name.

    `known_of` says how long a member has had its status, in seconds, and its activity.
    """
    pages = list(cut(sorted(members, key=lambda member: member.name))) or [[]]
    return [
        Listed(request, number == len(pages), tuple([(m, *known_of(m)) for m in page]))
        for number, page in enumerate(pages, 1)
    ]


@lru_cache(maxsize=8)
def pages_of(view: View) -> tuple[bytes, ...]:
    """Return a whole view as pages of news, in the order of names.

    Those that lost a name stand first: the one who has it comes in the same list. Cached, and the
    same for equal views: many nodes teach one tracker the same.
    """
    members = sorted(view, key=lambda member: (not is_derived(member.name), member.name))
    return tuple([news_to_wire(page) for page in cut(members)])


def members_to_record(members: Iterable[Member]) -> bytes:
    """Return the record of kind `members` that a tracker or a node keeps on disk."""
    return wire.packed([RECORD_FORMAT, [news_to_wire(page) for page in cut(members)]])


def kept_to_record(members: Iterable[Member], marks: Iterable[Mark]) -> bytes:
    """Return the record of kind `members` that a tracker keeps: with how much was safe where."""
    fields = [field for mark in marks for field in mark]
    size = MARK_FIELDS * MARKS_PER_PAGE
    marked = [wire.packed(fields[first : first + size]) for first in range(0, len(fields), size)]
    return wire.packed([RECORD_FORMAT, [news_to_wire(page) for page in cut(members)], marked])


def marks_from_record(record: bytes) -> list[Mark]:
    """Return the marks in a record, none if it is older than they; raises FrameError."""
    values = wire.unpacked(record)
    if type(values) is not list or len(values) < 3:
        return []
    check_name, check_written = wire.text(MEMBER_NAME_MAX), wire.integer(-1, 2**63 - 1)
    marks: list[Mark] = []
    for page in wire.listing(wire.blob(1, wire.FRAME_BYTES_MAX), wire.ARRAY_MAX)(values[2]):
        fields = wire.unpacked(page)
        if type(fields) is not list or len(fields) % MARK_FIELDS:
            raise FrameError("not a list of marks")
        rows = zip(fields[::3], fields[1::3], fields[2::3], strict=True)
        marks += [(check_name(n), wire.id16(s), check_written(w)) for n, s, w in rows]
    return marks


def members_from_record(record: bytes) -> Sequence[Member]:
    """Return the members in a record; raises FrameError when it is none of ours."""
    values = wire.unpacked(record)
    if type(values) is not list or len(values) < 2 or type(values[1]) is not list:
        raise FrameError("not a list of members")
    if values[0] != RECORD_FORMAT:
        raise FrameError(f"a list of members in format {wire.shown(values[0])}, wanted 1")
    pages = values[1]
    if not all(type(page) is bytes for page in pages):
        raise FrameError("not a list of members: a page is no bytes")
    return [member for page in pages for member in news_from_wire(page)]
