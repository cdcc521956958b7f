"""Whether somebody with our store answers where we last were, and what follows from it."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from counter import copies
from counter.copies import refuse_copy
from tracker import wire
from tracker.errors import LockedError
from tracker.members import Member
from tracker.messages import MEMBERSHIP, Welcome

STORE = b"s" * 16
HERE = Member("n1", STORE, 0, 2, 0, "127.0.0.1", 1)


def welcome(store):
    return wire.framed(MEMBERSHIP.encode(Welcome(wire.PROTOCOL, "node", "n1", store)))


@asynccontextmanager
async def answering(word, *, stays=False):
    """Serve a port at which everybody is told `word`; gives the record of a node there."""

    ended = []

    async def serve(reader, writer):
        ended.append(asyncio.current_task())
        with suppress(OSError):
            writer.write(word)
            if stays:
                await reader.read()
            writer.close()
            await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield Member("n1", STORE, 0, 1, 0, *server.sockets[0].getsockname()[:2])
        await asyncio.gather(*ended)


async def test_a_store_that_answers_where_we_last_were_keeps_a_copy_from_starting():
    async with answering(welcome(STORE)) as last:
        with pytest.raises(LockedError) as caught:
            await refuse_copy(HERE, "default", last, ())

    text = str(caught.value)
    assert f'at 127.0.0.1:1 is a copy of that of "n1" at 127.0.0.1:{last.port}' in text


@pytest.mark.parametrize(
    "word", [welcome(b"t" * 16), b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", welcome(STORE)[:-1]],
    ids=["another store", "nothing", "no message", "half a word"],
)  # fmt: skip
async def test_whoever_else_is_there_keeps_nobody_from_starting(word):
    async with answering(word) as last:
        await refuse_copy(HERE, "default", last, ())


async def test_silence_keeps_nobody_from_starting(monkeypatch):
    monkeypatch.setattr(copies, "LOOK_S", 0.05)
    async with answering(b"", stays=True) as last:
        await refuse_copy(HERE, "default", last, ())


async def test_nobody_is_asked_where_the_record_is_unknown_our_own_or_of_another_store():
    async with answering(welcome(STORE)) as last:
        stranger = Member("n1", b"t" * 16, 0, 1, 0, last.host, last.port)
        here = Member("n1", STORE, 0, 2, 0, last.host, last.port)
        for member, known in ((HERE, None), (here, last), (HERE, stranger)):
            await refuse_copy(member, "default", known, ())


async def test_a_tracker_that_is_there_decides():
    async with answering(welcome(STORE)) as last, answering(b"") as tracker:
        await refuse_copy(HERE, "default", last, (HERE.endpoint, tracker.endpoint))
        with pytest.raises(LockedError):
            await refuse_copy(HERE, "default", last, (HERE.endpoint,))
