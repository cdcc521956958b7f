"""RESP alone: requests out of bytes however they come, limits before memory, replies as bytes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counter.frontends.redis import resp
from counter.frontends.redis.resp import (
    ARGUMENTS_MAX,
    HEADER_BYTES_MAX,
    REQUEST_BYTES_MAX,
    Requests,
    RespError,
    words_in,
)

LARGE = b"*2\r\n$65000\r\n" + b"x" * 65_000


def packed(*arguments: bytes) -> bytes:
    return resp.array([resp.bulk(argument) for argument in arguments])


def requests_in(*chunks: bytes) -> list[list[bytes]]:
    """Return all requests that come out of these chunks."""
    requests, found = Requests(), []
    for chunk in chunks:
        requests.feed(chunk)
        while (request := requests.next()) is not None:
            found.append(request)
    return found


def refusal(*chunks: bytes) -> str:
    with pytest.raises(RespError) as caught:
        requests_in(*chunks)
    return str(caught.value)


# -- requests -------------------------------------------------------------------------------


@given(
    st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=4), min_size=1, max_size=4),
    st.lists(st.integers(0, 300), max_size=6),
)
def test_requests_come_out_whole_however_the_bytes_were_cut(wanted, cuts):
    data = b"".join([packed(*arguments) for arguments in wanted])
    places = sorted({0, len(data), *[cut % (len(data) + 1) for cut in cuts]})
    chunks = [data[a:b] for a, b in pairwise(places)]

    assert requests_in(*chunks) == wanted


def test_a_request_comes_out_of_single_bytes():
    data = packed(b"INCRBY", b"views", b"7") + b"PING\r\n"

    assert requests_in(*[bytes([byte]) for byte in data]) == [
        [b"INCRBY", b"views", b"7"],
        [b"PING"],
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"INCR views", [b"INCR", b"views"]),
        (b"  incr\tviews  ", [b"incr", b"views"]),
        (b'echo "a b"', [b"echo", b"a b"]),
        (b'echo "a\\n\\x41\\"\\q"', [b"echo", b'a\nA"q']),
        (b"echo 'a \\'b\\' \\n'", [b"echo", b"a 'b' \\n"]),
        (b"echo ''", [b"echo", b""]),
        (b"", []),
    ],
)
def test_an_inline_request_is_cut_into_words(line, words):
    assert words_in(line) == words


def test_blank_lines_and_empty_arrays_ask_for_nothing():
    assert requests_in(b"\r\n\n*0\r\n*-1\r\nPING\n") == [[b"PING"]]


@pytest.mark.parametrize("line", [b'echo "a', b"echo 'a", b'echo "a"b', b"a'b'"])
def test_unbalanced_quotes_break_the_protocol(line):
    assert refusal(line + b"\r\n") == "unbalanced quotes in request"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"*1025\r\n", "invalid multibulk length, the limit here is 1024"),
        (b"*4294967295\r\n", "invalid multibulk length, the limit here is 1024"),
        (b"*x\r\n", "invalid multibulk length, the limit here is 1024"),
        (b"*\r\n", "invalid multibulk length, the limit here is 1024"),
        (b"*--1\r\n", "invalid multibulk length, the limit here is 1024"),
        (b"*" + b"1" * HEADER_BYTES_MAX, "invalid multibulk length"),
        (b"*1\r\n$65537\r\n", "invalid bulk length, the limit here is 65536"),
        (LARGE + b"\r\n$537\r\n", "invalid bulk length, the limit here is 536"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n:5\r\n", "expected '$', got ':'"),
        (b"*1\r\n\x1b[2J", "expected '$', got '\\x1b'"),
        (b"*1\r\n$1\r\nxyz", "a bulk string is longer than its length says"),
    ],
)  # fmt: skip
def test_what_breaks_the_protocol_is_said(data, why):
    assert refusal(data) == why


def test_a_line_without_an_end_is_not_collected_for_ever():
    requests = Requests()
    requests.feed(b"x" * (REQUEST_BYTES_MAX - 1))
    assert requests.next() is None

    requests.feed(b"x")

    with pytest.raises(RespError, match="too big inline request"):
        requests.next()


def test_a_line_of_too_many_words_is_refused():
    assert "too many words" in refusal(b"x " * (ARGUMENTS_MAX + 1) + b"\n")


def test_one_takes_what_stands_first_and_the_rest_is_cut_up():
    requests = Requests()
    requests.feed(b"abc" + packed(b"PING"))

    made = requests.taken(lambda data, at: (data[at : at + 3], at + 3))

    assert made == b"abc"
    assert requests.next() == [b"PING"]
    assert requests.is_empty


def test_nothing_is_taken_from_the_middle_of_a_request():
    requests = Requests()
    requests.feed(b"*2\r\n$4\r\nECHO\r\n")
    assert requests.next() is None

    assert requests.taken(lambda data, at: pytest.fail("it was asked")) is None
    assert not requests.is_empty


# -- replies --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "in_2", "in_3"),
    [
        (None, b"$-1\r\n", b"_\r\n"),
        (True, b":1\r\n", b"#t\r\n"),
        (False, b":0\r\n", b"#f\r\n"),
        (-7, b":-7\r\n", b":-7\r\n"),
        (2**63, b"$19\r\n9223372036854775808\r\n", b"(9223372036854775808\r\n"),
        (0.5, b"$3\r\n0.5\r\n", b",0.5\r\n"),
        ("é", b"$2\r\n\xc3\xa9\r\n", b"$2\r\n\xc3\xa9\r\n"),
        ([1, "a"], b"*2\r\n:1\r\n$1\r\na\r\n", b"*2\r\n:1\r\n$1\r\na\r\n"),
        ({"a": 1}, b"*2\r\n$1\r\na\r\n:1\r\n", b"%1\r\n$1\r\na\r\n:1\r\n"),
    ],
)
def test_a_value_is_said_in_the_words_of_each_protocol(value, in_2, in_3):
    assert [resp.plain(value, 2), resp.plain(value, 3)] == [in_2, in_3]


def test_an_error_is_one_printable_line():
    assert resp.error("a\r\nb\x1b", "CODE") == b"-CODE a\\x0d\\x0ab\\x1b\r\n"
    assert len(resp.error("x" * 9_999)) < 500


def test_a_status_is_one_line():
    assert resp.simple("PONG") == b"+PONG\r\n"
