"""How the end of a query is put into words and pages for whoever asked.

The rule: nothing is decided here; what it weighs and how it is cut up follows from the query.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from counter.lastknown import LastValues
from counter.many import ManyQuery
from counter.messages import GOSSIP, ROWS_PER_PAGE, Answer, Keyed, ShortReply
from counter.query import OwnQuery
from tracker.classes import replace
from tracker.members import Member

HEADER_BYTES = 28
"""An IPv4 and a UDP header: what a datagram costs beyond its body."""

UNCONFIRMED = (
    "who belongs to the cluster could not be confirmed:"
    " no tracker spoke, or another node knows more"
)


def bytes_of(query: OwnQuery) -> int:
    """Return what the query's messages weigh on the wire, headers included: one ask and one
    reply are measured, all are taken to be like them."""
    if not query.messages:
        return 0
    ask = len(GOSSIP.encode(query.sample_ask())) + HEADER_BYTES
    plain = ShortReply(query.id, query.members // 2, 1, query.value % 2**32, 1)
    sample = query.reply if isinstance(query, ManyQuery) else None
    reply = len(GOSSIP.encode(sample or plain)) + HEADER_BYTES
    return query.replies * reply + (query.messages - query.replies) * ask


def numbered(number: int, answer: Answer) -> Answer:
    """Return the answer as it is told to the request of this number."""
    return answer if answer.request == number else replace(answer, request=number)


def silent_rows(
    key: str, missing: Sequence[tuple[Member, str]], known: LastValues, now: float
) -> list[tuple[str, int, int | None, float, str]]:
    """Return a row for each silent member: what it held when last heard, and how long ago."""
    rows = []
    for member, why in missing:
        last = known.get(member.store[:8], key)
        value, age_s = (last.value, now - last.at) if last is not None else (None, -1.0)
        rows.append((member.name, member.status, value, age_s, why))
    return rows


def pages_of(rows: Sequence[Any], length: int = ROWS_PER_PAGE) -> Iterator[tuple[Any, ...]]:
    """Cut rows into pages that fit a frame."""
    for first in range(0, len(rows), length):
        yield tuple(rows[first : first + length])


def keyed_of(query: OwnQuery, number: int, why: str) -> list[Keyed]:
    """Return the pages that tell each key of a query for many; none for a query for one."""
    return query.pages(number, why) if isinstance(query, ManyQuery) else []
