"""The client's side of a stream, without any stream."""

import pytest

from counter.client.session import PENDING_MAX, Session
from counter.messages import DOOR, Answer, Cancel, Counted, Get, Increment, Query, Value
from tracker import wire
from tracker.errors import FrameError, RefusedError
from tracker.messages import Hello, Listed, Refused, Roster, Welcome

WELCOME = Welcome(wire.PROTOCOL, "node", "n1")


def framed(*messages) -> bytes:
    return b"".join(wire.framed(DOOR.encode(message)) for message in messages)


def bodies(data: bytes) -> list:
    return [DOOR.decode(body) for body in wire.FrameReader().feed(data)]


def make_welcomed(*requests) -> Session:
    session = Session(DOOR)
    for request in requests:
        session.send(request)
    session.received(framed(WELCOME))
    return session


def make_increment(sequence=1):
    return Increment(bytes(16), sequence, ("k", 1), 0)


def make_query(request=1):
    return Query(request, "k", 0, 0, 0, 0, 0, 0, 100, False)


def test_says_hello_before_the_first_request_and_only_then():
    session = Session(DOOR, "blue")

    first, second = session.send(Get(1, "k")), session.send(Get(2, "k"))

    assert bodies(first) == [Hello(wire.PROTOCOL, "blue"), Get(1, "k")]
    assert bodies(second) == [Get(2, "k")]


def test_hands_out_the_reply_to_a_request_and_then_waits_for_nothing():
    session = make_welcomed(Get(5, "k"))

    replies = session.received(framed(Value(5, 3, True)))

    assert replies == [Value(5, 3, True)]
    assert session.pending == 0


def test_knows_by_whom_it_was_welcomed():
    session = make_welcomed(Get(5, "k"))

    assert (session.is_welcome, session.role, session.name) == (True, "node", "n1")


def test_reads_a_stream_that_comes_byte_by_byte():
    session = Session(DOOR)
    session.send(Get(5, "k"))

    replies = [
        reply
        for byte in framed(WELCOME, Value(5, 3, True))
        for reply in session.received(bytes([byte]))
    ]

    assert replies == [Value(5, 3, True)]


def test_takes_acknowledgements_in_the_order_of_the_increments():
    session = make_welcomed(make_increment(1), make_increment(2))

    replies = session.received(framed(Counted(1, True, False), Refused(2, "busy", "later")))

    assert [type(reply) for reply in replies] == [Counted, Refused]
    assert session.pending == 0


def test_an_acknowledgement_out_of_order_is_a_broken_stream():
    session = make_welcomed(make_increment(1), make_increment(2))

    with pytest.raises(FrameError, match="out of order"):
        session.received(framed(Counted(2, True, False)))


def test_a_query_ends_with_its_last_answer_only(make_answer):
    session = make_welcomed(make_query(4))

    session.received(framed(make_answer(request=4, end=False)))
    before = session.pending
    replies = session.received(framed(make_answer(request=4, end=True)))

    assert (before, session.pending) == (1, 0)
    assert isinstance(replies[0], Answer)


def test_a_roster_ends_with_its_last_page_only():
    session = make_welcomed(Roster(4))

    session.received(framed(Listed(4, False, ())))
    before = session.pending
    session.received(framed(Listed(4, True, ())))

    assert (before, session.pending) == (1, 0)


def test_a_cancelled_query_is_still_waited_for():
    session = make_welcomed(make_query(4), Cancel(4))

    assert session.pending == 1


def test_drops_the_answer_to_nothing():
    session = make_welcomed(Get(5, "k"))

    assert session.received(framed(Value(6, 3, True))) == []
    assert session.pending == 1


def test_a_refused_stream_says_why_in_printable_words():
    session = Session(DOOR)
    session.send(Get(5, "k"))

    with pytest.raises(RefusedError, match=r"\\x1b\[31m") as caught:
        session.received(framed(Refused(0, "cluster", "\x1b[31mother cluster")))

    assert caught.value.code == "cluster"


def test_another_protocol_is_refused_by_its_number():
    session = Session(DOOR)
    session.send(Get(5, "k"))

    with pytest.raises(RefusedError, match="protocol 9"):
        session.received(framed(Welcome(9, "node", "n1")))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(framed(Value(5, 3, True)), id="a reply before the welcome"),
        pytest.param(framed(WELCOME, WELCOME), id="two welcomes"),
        pytest.param(framed(WELCOME, Get(5, "k")), id="a request, numbered like ours"),
        pytest.param(framed(WELCOME, make_increment()), id="an increment"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="HTTP"),
        pytest.param(b"\0\0\0\0", id="an empty frame"),
    ],
)
def test_what_is_no_reply_breaks_the_stream(data):
    session = Session(DOOR)
    session.send(Get(5, "k"))

    with pytest.raises(FrameError):
        session.received(data)


def test_requests_are_numbered_apart_from_increments():
    session = Session(DOOR)

    assert session.number() > 2**32
    assert session.number() != session.number()


def test_more_than_the_limit_of_pending_requests_is_refused():
    session = Session(DOOR)
    for sequence in range(1, PENDING_MAX + 1):
        session.send(make_increment(sequence))

    with pytest.raises(FrameError, match="without a reply"):
        session.send(make_increment(PENDING_MAX + 1))
