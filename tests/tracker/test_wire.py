"""The codec against bytes that are wrong in every way: one FrameError, and little memory."""

import struct
import tracemalloc
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from counter.messages import DOOR, GOSSIP
from tracker import wire
from tracker.errors import FrameError
from tracker.wire import FRAME_BYTES_MAX, Codec, FrameReader, framed

CODECS = {"gossip": GOSSIP, "door": DOOR}
GET_TAG = 34


def get(key):
    """Return the body of a Get with whatever stands where its key should."""
    return msgpack.packb([GET_TAG, 7, key], unicode_errors="surrogatepass")


# -- bodies -----------------------------------------------------------------------------------

HOSTILE = {
    "nothing": b"",
    "the byte that is never used": b"\xc1",
    "no array": b"\x05",
    "an empty array": b"\x90",
    "a map": b"\x80",
    "an unknown tag": b"\x92\x7f\x01",
    "a huge tag": msgpack.packb([2**64 - 1]),
    "a tag that is true": msgpack.packb([True, 1, "k"]),
    "a tag that is a text": msgpack.packb(["34", 1, "k"]),
    "a tag that is a list": msgpack.packb([[34], 1, "k"]),
    "a missing field": msgpack.packb([GET_TAG, 7]),
    "trailing bytes": get("k") + b"\x00",
    "a short end": get("key")[:-1],
    "an array of 2^32-1": b"\xdd\xff\xff\xff\xff",
    "a map of 2^32-1": b"\xdf\xff\xff\xff\xff",
    "a text of 2^32-1": b"\x92\x22\xdb\xff\xff\xff\xff",
    "bytes of 2^32-1": b"\x92\x22\xc6\xff\xff\xff\xff",
    "an extension of 2^32-1": b"\x92\x22\xc9\xff\xff\xff\xff\x01",
    "nesting of 17": b"\x91" * 17,
    "nesting of 64 Ki": b"\x91" * FRAME_BYTES_MAX,
    "nesting in a field": b"\x93\x22\x07" + b"\x91" * 1000 + b"\x90",
    "a thousand wide lists": b"\xdc\x04\x00" * 1000,
    "64 KiB of empty maps": b"\xdc\x04\x00" + b"\x80" * (FRAME_BYTES_MAX - 3),
    "empty maps in a field": b"\x93\x22\x07\xdc\x04\x00" + b"\x80" * 1024,
    "lists of empty maps": b"\xdc\x00\x3f" + (b"\xdc\x03\xe8" + b"\x80" * 1000) * 63,
    "a map with a list for a key": b"\x93\x22\x07\x81\x90\x01",
    "a timestamp": b"\x93\x22\x07\xd6\xff\x00\x00\x00\x00",
    "a key that is a number": get(5),
    "a key that is bytes": get(b"k"),
    "a key that is nil": get(None),
    "an empty key": get(""),
    "a key of 257 bytes": get("k" * 257),
    "a key of 129 two-byte letters": get("ü" * 129),
    "a key with NUL": get("a\0b"),
    "a key with ESC": get("a\x1bb"),
    "a key with a line break": get("a\nb"),
    "a key with a direction mark": get("a\u202eb"),
    "a key with a lone surrogate": get("a\ud800b"),
    "a key of bad UTF-8": b"\x93\x22\x07\xa2\xff\xfe",
    "a number that is true": msgpack.packb([GET_TAG, True, "k"]),
    "a number that is 1.0": msgpack.packb([GET_TAG, 1.0, "k"]),
    "a number that is NaN": msgpack.packb([GET_TAG, float("nan"), "k"]),
    "a number that is a text": msgpack.packb([GET_TAG, "7", "k"]),
    "a number below zero": msgpack.packb([GET_TAG, -1, "k"]),
}


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_body_is_one_frame_error_and_builds_little(codec, body):
    tracemalloc.start()
    try:
        with pytest.raises(FrameError) as caught:
            codec.decode(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 10_000_000
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@given(st.binary(max_size=200))
def test_random_bytes_are_a_message_or_a_frame_error(body):
    for codec in CODECS.values():
        try:
            codec.decode(body)
        except FrameError:
            continue


def test_a_key_of_256_bytes_is_the_longest():
    assert DOOR.decode(get("k" * 256)).key == "k" * 256
    assert DOOR.decode(get("ü" * 128)).key == "ü" * 128


def test_fields_of_newer_peers_are_ignored():
    assert DOOR.decode(msgpack.packb([GET_TAG, 7, "k", "new", {"a": 1}])).request == 7


def test_a_message_that_does_not_fit_its_fields_cannot_be_sent():
    codec = Codec(type(DOOR.decode(get("k"))))
    [kind] = codec.classes()

    for number in (2**64, -(2**63) - 1, object()):
        with pytest.raises(FrameError, match="cannot be sent"):
            codec.encode(kind(number, "k"))
    with pytest.raises(FrameError, match="cannot be sent"):
        codec.encode(kind(1, "\ud800"))
    assert codec.decode(codec.encode(kind(1, "k"))) == kind(1, "k")


def test_a_tag_stands_for_one_message_only():
    [kind] = [c for c in DOOR.classes() if c.TAG == GET_TAG]

    with pytest.raises(ValueError, match="tag 34 is used twice"):
        Codec(kind, kind)


def test_a_message_without_fields_is_its_tag():
    @dataclass(frozen=True, slots=True)
    class Nothing:
        TAG: ClassVar[int] = 1
        WIRE: ClassVar[wire.Schema] = ()

    codec = Codec(Nothing)

    assert codec.decode(codec.encode(Nothing())) == Nothing()


# -- checks -----------------------------------------------------------------------------------

REFUSED = {
    "a text too long": (wire.text(3), "abcd"),
    "bytes too short": (wire.blob(2, 3), b"a"),
    "bytes too long": (wire.blob(2, 3), b"abcd"),
    "a text for bytes": (wire.blob(0, 9), "abc"),
    "a list too long": (wire.listing(wire.u8, 2), [1, 2, 3]),
    "a list for a listing of others": (wire.listing(wire.u8, 2), [256]),
    "a record too short": (wire.record(wire.u8, wire.u8), [1]),
    "a record that is a text": (wire.record(wire.u8), "a"),
    "an optional of another kind": (wire.optional(wire.u8), "a"),
    "a flag that is 1": (wire.flag, 1),
    "seconds that are whole": (wire.seconds, 1),
    "seconds below zero": (wire.seconds, -0.5),
    "endless seconds": (wire.seconds, float("inf")),
    "seconds that are none": (wire.seconds, float("nan")),
    "a total that is true": (wire.total, True),
    "a total that is a float": (wire.total, 1.0),
    "a total of letters": (wire.total, b"1x"),
    "a total of nothing": (wire.total, b""),
    "a total of a sign": (wire.total, b"-"),
    "a total of 65 digits": (wire.total, b"1" * 65),
    "port 0": (wire.endpoint, [b"\x7f\0\0\1", 0]),
    "port 70000": (wire.endpoint, [b"\x7f\0\0\1", 70_000]),
    "an address of 5 bytes": (wire.endpoint, [b"12345", 7400]),
    "an address that is a text": (wire.endpoint, ["127.0.0.1", 7400]),
    "an address without a port": (wire.endpoint, [b"\x7f\0\0\1"]),
    "an address that is no list": (wire.endpoint, 5),
}


@pytest.mark.parametrize(("check", "value"), REFUSED.values(), ids=REFUSED)
def test_a_check_refuses(check, value):
    with pytest.raises(FrameError):
        check(value)


@given(st.integers(-(10**60), 10**60))
def test_a_total_of_any_size_travels_exactly(total):
    body = wire.packed(wire.wire_total(total))

    assert wire.total(wire.unpacked(body)) == total


def test_what_stands_within_lists_and_records_travels_in_its_own_form():
    @dataclass(frozen=True, slots=True)
    class Deep:
        home: tuple
        rows: tuple
        TAG: ClassVar[int] = 1
        WIRE: ClassVar[wire.Schema] = (
            wire.endpoint,
            wire.listing(wire.record(wire.flag, wire.optional(wire.total)), 3),
        )

    codec = Codec(Deep)
    message = Deep(("127.0.0.1", 7401), ((True, 2**80), (False, None), (True, -5)))
    body = codec.encode(message)

    digits = str(2**80).encode()
    rows = [[True, digits], [False, None], [True, -5]]
    assert msgpack.unpackb(body) == [1, [b"\x7f\x00\x00\x01", 7401], rows]
    assert codec.decode(body) == message


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "2001:db8::1"])
def test_addresses_travel_as_packed_bytes(host):
    travelled = wire.unpacked(wire.packed(wire.wire_endpoint((host, 7401))))

    assert wire.endpoint(travelled) == (host, 7401)


@pytest.mark.parametrize("host", ["localhost", "", "1.2.3", "fe80::1%eth0", "fe80::1%\x1b[2J"])
def test_what_is_no_address_does_not_travel(host):
    with pytest.raises(FrameError, match="is not an IP address"):
        wire.packed_ip(host)


def test_what_is_shown_of_a_strange_value_is_short_and_safe():
    assert wire.shown([1] * 900) == "a list of 900"
    assert wire.shown({}) == "a dict of 0"
    assert len(wire.shown("x" * 70_000)) <= 60
    assert wire.shown("\x1b").isprintable()


# -- frames -----------------------------------------------------------------------------------


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.data())
def test_bodies_come_out_as_they_went_in_however_the_stream_is_cut(bodies, data):
    stream = b"".join(map(framed, bodies))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=9)))
    edges = [0, *cuts, len(stream)]
    reader = FrameReader()

    heard = [body for low, high in pairwise(edges) for body in reader.feed(stream[low:high])]

    assert heard == bodies
    assert not reader.is_midway


@pytest.mark.parametrize(
    ("head", "complaint"),
    [
        (struct.pack(">I", 0), "a frame of 0 bytes"),
        (struct.pack(">I", FRAME_BYTES_MAX + 1), "a frame of 65537 bytes"),
        (b"\xff\xff\xff\xff", "a frame of 4294967295 bytes"),
        (b"GET / HTTP/1.1\r\n", "this is HTTP"),
        (b"POST /", "this is HTTP"),
        (b"\x16\x03\x01\x02\x00", "this is TLS"),
    ],
    ids=["zero", "one too many", "all ones", "get", "post", "tls"],
)
def test_a_length_no_frame_has_says_what_it_may_be(head, complaint):
    with pytest.raises(FrameError, match=complaint):
        list(FrameReader().feed(head))


def test_half_a_frame_is_held_and_nothing_more():
    reader = FrameReader()
    whole = framed(b"x" * FRAME_BYTES_MAX)

    assert list(reader.feed(whole[:-1])) == []
    assert reader.is_midway
    assert len(reader._buffer) < len(whole)
    assert list(reader.feed(whole[-1:])) == [b"x" * FRAME_BYTES_MAX]


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (framed(b"abc"), b"abc"),
        (framed(b"abc")[:-1], None),
        (framed(b"abc") + b"\0", None),
        (b"\0\0\0\0", None),
        (struct.pack(">I", FRAME_BYTES_MAX + 1) + b"x" * (FRAME_BYTES_MAX + 1), None),
    ],
    ids=["whole", "short", "long", "empty", "past 64 KiB"],
)
def test_one_whole_frame_is_taken_at_once_and_nothing_else_is(data, body):
    assert FrameReader().single(data) == body


def test_a_frame_behind_half_a_frame_is_not_taken_at_once():
    reader = FrameReader()
    list(reader.feed(b"\0\0"))

    assert reader.single(framed(b"abc")) is None


def test_a_body_past_64_kib_gets_no_frame():
    with pytest.raises(FrameError, match="does not fit into a frame"):
        framed(b"x" * (FRAME_BYTES_MAX + 1))
