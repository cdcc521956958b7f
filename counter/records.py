"""What a ledger writes down, and how it reads that again: records of the log and of a snapshot.

    log        (session, sequence, pairs)       an increment; without pairs, the end of a session
    snapshot   ("owner", store)                 which store wrote it
               ("share", store, epoch, rows)    what one store counted, a page of it
               ("sessions", rows)               which operations were counted
               ("forgotten", row)               the trace of sessions that were dropped

The rule: a record holds an increment with its identity, so that no crash can tear them apart.
"""

from collections.abc import Iterator
from typing import Any, Final

from counter.crdt import Counters, Row, Share
from counter.messages import NUL, Increment, key_in
from counter.sessions import Sessions, content_of
from tracker import wire

ROWS_PER_RECORD: Final = 256


def record_of(message: Increment) -> bytes:
    """Return the log record of an increment: its identity, and what it adds."""
    return wire.packed((message.session, message.sequence, message.pairs))


def ended(session: bytes) -> bytes:
    """Return the log record of a session that its client has ended."""
    return wire.packed((session, 0, ()))


def recount(record: bytes, counters: Counters, sessions: Sessions) -> None:
    """Count what a record of the log says was counted, unless that is known.

    `counter/native/recalling.c` does the same, as does it for the shares of `recall`.
    """
    session, sequence, pairs = wire.unpacked(record)
    counted = tuple(pairs)
    sent = as_sent(counted)
    if not sent:
        sessions.end(session)
        return
    if sessions.recounts(session, sequence, content_of(sent)):
        counters.own.add_all(counted)


def recall(record: bytes, counters: Counters, sessions: Sessions, founder: bytes) -> bytes:
    """Take in a record of a snapshot; returns the store that wrote it, `founder` so far.

    What that one counted is the reader's own.
    """
    kind, *values = wire.unpacked(record)
    if kind == "owner":
        owner: bytes = values[0]
        return owner
    if kind == "share":
        store, epoch, rows = values
        counters.merge(whose(store, counters, founder), epoch, rows)
    elif kind == "sessions":
        for session, sequence, content in values[0]:
            kept = tuple(content) if type(content) is list else content
            sessions.restore(session, sequence, kept)
    elif kind == "forgotten":
        sessions.forgotten.restore(values[0])
    return founder


def whose(store: bytes, counters: Counters, founder: bytes) -> bytes:
    """Return whose rows they are that a snapshot says are of a store: its writer's are our own."""
    return counters.store if store == founder else store


def dump(counters: Counters, due: Share) -> Iterator[bytes]:
    """Yield the records of a snapshot that say what was counted, `due` counted in."""
    yield wire.packed(["owner", counters.store])
    shares = [(counters.store, counters.own), *counters.others.items()]
    for store, share in shares:
        rows = share.rows() if share is not counters.own else _together(share, due)
        for page in pages_of(rows):
            yield wire.packed(["share", store, share.epoch, page])


def dump_sessions(sessions: Sessions) -> Iterator[bytes]:
    """Yield the records of a snapshot that say which operations were counted."""
    for page in pages_of(sessions.rows()):
        yield wire.packed(["sessions", page])
    # Behind the sessions: none of them is one of the forgotten.
    for forgotten in sessions.forgotten.rows():
        yield wire.packed(["forgotten", forgotten])


def _together(own: Share, due: Share) -> Iterator[Row]:
    if not due:
        yield from own.rows()
        return
    for key in {**own.positive, **due.positive}:
        positive = own.positive.get(key, 0) + due.positive.get(key, 0)
        negative = own.negative.get(key, 0) + due.negative.get(key, 0)
        yield key, positive, negative


def as_sent(pairs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what a client sent of which this was counted: the content of its operation."""
    if NUL not in "".join(pairs[::2]):
        return pairs
    sent = list(pairs)
    sent[::2] = [key_in(name) for name in pairs[::2]]
    return tuple(sent)


def pages_of(rows: Iterator[Any]) -> Iterator[list[Any]]:
    """Yield rows by the page, as a snapshot holds them."""
    page: list[Any] = []
    for row in rows:
        page.append(row)
        if len(page) == ROWS_PER_RECORD:
            yield page
            page = []
    if page:
        yield page
