"""Whether a data directory that was copied is in use where it was copied from.

A tracker refuses the copy of a store that runs, for as long as that runs. Where none can be
reached a node counts all the same, and what a copy counts would be in no total once it is refused.
So a node that finds its own record with another address than its own asks there, before it counts:
a move has left nobody behind, or somebody with another store.

The rule: only the very store, answering under its own word, keeps a node from starting; silence,
a refusal, or anybody else does not.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from tracker import wire
from tracker.config import shown_endpoint
from tracker.errors import FrameError, LockedError
from tracker.machine import Endpoint
from tracker.members import Member
from tracker.messages import MEMBERSHIP, Hello, Welcome

LOOK_S: Final = 0.5
"""Longest that a node waits, before it counts, for who may be where it last was."""
_READ_BYTES: Final = 4_096


async def refuse_copy(
    member: Member, cluster: str, last: Member | None, trackers: Sequence[Endpoint]
) -> None:
    """Raise LockedError if a store is in use where its `last` record says, and no tracker is there.

    `member` is this node as it is now.
    """
    if last is None or last.store != member.store or last.endpoint == member.endpoint:
        return
    name, here, there = member.name, member.endpoint, last.endpoint
    if not await _runs_at(there, member.store, cluster) or await _is_any_there(trackers):
        return
    raise LockedError(
        f'the data directory of "{name}" at {shown_endpoint(here)} is a copy of that of "{name}"'
        f" at {shown_endpoint(there)}, which is running: stop one of them, or start this one with"
        " a new directory"
    )


async def _is_any_there(trackers: Sequence[Endpoint]) -> bool:
    return any(await asyncio.gather(*[_is_there(tracker) for tracker in trackers]))


async def _is_there(endpoint: Endpoint) -> bool:
    try:
        async with asyncio.timeout(LOOK_S):
            _, writer = await asyncio.open_connection(*endpoint)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def _runs_at(endpoint: Endpoint, store: bytes, cluster: str) -> bool:
    try:
        async with asyncio.timeout(LOOK_S):
            reader, writer = await asyncio.open_connection(*endpoint)
            try:
                writer.write(wire.framed(MEMBERSHIP.encode(Hello(wire.PROTOCOL, cluster))))
                frames = wire.FrameReader()
                while data := await reader.read(_READ_BYTES):
                    for body in frames.feed(data):
                        word = MEMBERSHIP.decode(body)
                        return isinstance(word, Welcome) and word.store == store
            finally:
                writer.close()
    except (OSError, TimeoutError, FrameError):
        pass
    return False
