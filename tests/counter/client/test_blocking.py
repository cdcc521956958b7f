"""The blocking connection, on real sockets."""

import socket

import pytest

from counter.client.blocking import Connection, now, shown_s
from counter.client.light import LIGHT, Increment
from counter.messages import DOOR, Counted, Get, Query, Value
from tracker.config import parse_endpoint
from tracker.errors import (
    ConnectionLostError,
    DeadlineError,
    FrameError,
    RefusedError,
    UnreachableError,
)
from tracker.messages import Refused


def connect(*endpoints, within_s=2.0, role="node", codec=DOOR):
    return Connection(endpoints, now() + within_s, role=role, codec=codec)


def test_a_request_gets_its_reply(serve):
    server = serve(lambda message: [Value(message.request, 3, True)])

    with connect(server.endpoint) as connection:
        reply = connection.request(Get(connection.number(), "k"))

    assert reply.value == 3
    assert connection.name == "n1"


def test_a_refused_request_is_an_error_with_its_code(serve):
    server = serve(lambda message: [Refused(message.request, "busy", "come back in 2 s")])

    with connect(server.endpoint) as connection, pytest.raises(RefusedError, match="2 s") as caught:
        connection.request(Get(connection.number(), "k"))

    assert (caught.value.code, caught.value.definite) == ("busy", True)


def test_a_stream_ends_with_its_last_reply(serve, make_answer):
    server = serve(
        lambda message: [
            make_answer(request=message.request, end=False, value=1),
            make_answer(request=message.request, end=True, value=2),
        ]
    )

    with connect(server.endpoint) as connection:
        query = Query(connection.number(), "k", 0, 0, 0, 0, 0, 0, 100, False)
        values = [answer.value for answer in connection.stream(query)]

    assert values == [1, 2]


def test_increments_may_be_sent_many_at_once(serve):
    server = serve(lambda message: [Counted(message.sequence, True, False)])
    messages = [Increment(bytes(16), n, ("k", 1), 0) for n in range(1, 201)]

    with connect(server.endpoint, codec=LIGHT) as connection:
        connection.send(*messages)
        sequences = [reply.sequence for reply in connection.replies()]

    assert sequences == list(range(1, 201))


@pytest.mark.slow
def test_nobody_at_the_address_is_told_soon_and_with_the_number_of_tries(nobody):
    began = now()

    with pytest.raises(UnreachableError, match=f"no node at {nobody}.*refused after 3 tries"):
        connect(parse_endpoint(nobody))

    assert now() - began < 1.0


def test_the_second_address_is_taken_when_the_first_is_dead(serve, nobody):
    server = serve(lambda message: [Value(message.request, 3, True)])

    with connect(parse_endpoint(nobody), server.endpoint) as connection:
        assert connection.endpoint == server.endpoint


def test_an_unknown_host_is_not_tried_again():
    with pytest.raises(UnreachableError, match="unknown host after 1 try in"):
        connect(("no..host", 7400))  # refused by the resolver without asking anybody


def test_a_silent_listener_is_given_up_at_the_deadline():
    # A full backlog stands for a black hole: the kernel answers no further handshake.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as silent:
        endpoint = silent.getsockname()[:2]
        with connect(endpoint, within_s=0.05) as connection, pytest.raises(DeadlineError) as caught:
            connection.request(Get(connection.number(), "k"))

    assert not caught.value.definite


def test_a_closed_stream_leaves_the_outcome_unknown(serve, close):
    server = serve(lambda message: [close])

    with (
        connect(server.endpoint) as connection,
        pytest.raises(ConnectionLostError, match=r"node n1 at .* closed the connection") as caught,
    ):
        connection.request(Get(connection.number(), "k"))

    assert not caught.value.definite


def test_nonsense_after_the_welcome_leaves_the_outcome_unknown(serve):
    server = serve(lambda message: [b"\xff\xff\xff\xff"])

    with (
        connect(server.endpoint) as connection,
        pytest.raises(ConnectionLostError, match="nonsense"),
    ):
        connection.request(Get(connection.number(), "k"))


def test_a_port_that_speaks_something_else_is_said_to():
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        connect(other.getsockname()[:2]) as connection,
    ):
        stream, _ = other.accept()
        with stream:
            stream.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            with pytest.raises(FrameError, match="is no node of ours"):
                connection.request(Get(connection.number(), "k"))


@pytest.mark.parametrize("replies", [[], [Refused(0, "unknown", "a tracker counts nothing")]])
def test_a_tracker_is_not_taken_for_a_node(serve, replies):
    server = serve(lambda message: replies, role="tracker", name="")

    with connect(server.endpoint) as connection, pytest.raises(RefusedError, match="not a node"):
        connection.request(Get(connection.number(), "k"))


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.0002, "1 ms"), (0.0416, "42 ms"), (0.994, "994 ms"), (2.04, "2.0 s")]
)
def test_a_duration_is_told_in_a_unit_that_fits_and_never_as_nothing(seconds, shown):
    assert shown_s(seconds) == shown
