"""Every message of every protocol: there and back, cut short, and with nonsense in each field.

A field's values are found by offering it a pool of samples and keeping those its schema takes,
so that a message added later is tested without a line here.
"""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from counter.messages import DOOR, GOSSIP, ROLLS_MAX, Batch, ReplyMany, packed_rows
from tracker import wire
from tracker.errors import FrameError
from tracker.members import GONE, Member
from tracker.messages import (
    MEMBERSHIP,
    NEWS_PER_PAGE,
    Found,
    Register,
    member_to_wire,
    news_from_wire,
    news_to_wire,
)

MEMBER = Member("n1", b"s" * 16, 1, 2, 3, "10.0.0.1", 7401, GONE, False, "a note\x1b")
ROW = list(member_to_wire(MEMBER))

POOL = [
    *(0, 1, 2, 3, 10, 255, 256, 1000, 65_535, 2**32 - 1, 2**53 - 1, 2**62, 2**63, 2**64 - 1),
    *(-1, -5, -(2**53) + 1, -(2**63)),
    *(True, False, None, 0.0, 0.25, -1.0, 1e9),
    *("", "n1", "a key", "größe", "default", "tracker", "10.0.0.1", "::1", "x" * 64, "x" * 400),
    *(b"", b"\x90", b"12345678", b"s" * 16, b"-" + b"9" * 40, b"9" * 63),
    *([b"12345678"], [b"12345678", b"87654321"]),
    *([], [1], [1, 2, 3], [2**64 - 1] * 4, ["a key", 1], ["a key", -5, "größe", 2**53 - 1]),
    *(b"\x7f\0\0\1\x1c\xe9", b"\0" * 15 + b"\1\xff\xff"),
    *([b"\x7f\0\0\1", 7401], [b"\0" * 15 + b"\1", 65_535]),
    *(ROW, [*ROW, "newer"], [[ROW, 1.5, 3]], [[ROW, -1.0, -1], [ROW, 0.0, 2**63]]),
    *([["n1", "10.0.0.1", 7401, 0, 17]], [["n1", 5, 2, 1.5]], [["n1", b"9" * 30, 0, 0.0]]),
    *(
        [["n1", 1, 7, 0.5, "silent"]],
        [["n1", 2, None, -1.0, ""], ["n", 1, b"9" * 30, 0.0, ""]],
        [["a key", -7, 0.5]],
    ),
    *([b"s" * 16, "k", 1, "deadline", 2.0, 0.5, 3, 4, 1, "n1"], [[0.0, "begun", 4, "4 members"]]),
    [[b"s" * 16, "a key", 2, "", 0.0, -1.0, 0, 2**32 - 1, 0, ""]],
    [["n1", [b"\x7f\0\0\1", 7401], "n2", 1, 0.0, -1.0, [1.5, 30.0], 7, 0]],
    [["n1", None, "", 255, -1.0, 9.0, [], b"9" * 30, 2]],
    *([[b"12345678", 3, -9]], [[b"12345678", 0, 2**62], [b"87654321", 1, 0]]),
    *("*\npage:", "=\na key\nanother", [["a key", 7, None, b"9" * 30]]),
]


def accepted(check):
    """Return the samples that a field takes."""
    values = []
    for value in POOL:
        try:
            check(value)
        except FrameError:
            continue
        values.append(value)
    return values


CODECS = {"membership": MEMBERSHIP, "gossip": GOSSIP, "door": DOOR}
CODEC_OF = {cls: codec for codec in CODECS.values() for cls in codec.classes()}
BODIES = {
    cls: st.tuples(st.just(cls.TAG), *[st.sampled_from(accepted(check)) for check in cls.WIRE])
    for cls in CODEC_OF
}
# What a batch holds of rows has to fit together.
BODIES[Batch] = st.builds(
    lambda head, rows, named, rolls: (Batch.TAG, *head, *packed_rows(rows), named, b"", rolls),
    st.tuples(*[st.sampled_from(accepted(check)) for check in Batch.WIRE[:-5]]),
    st.lists(st.sampled_from([(1, b"s" * 8, 2, -3, 4, 1), (2**64 - 1, b"t" * 8, 0, 5, 255, 0)])),
    st.sampled_from([b"", bytes(16)]),
    st.lists(st.sampled_from([[0, 1], [2**64 - 1, 2**32 - 1]]), max_size=ROLLS_MAX),
)
# The stores that it holds are whole ones.
BODIES[ReplyMany] = st.builds(
    lambda head, holds, aside: (ReplyMany.TAG, *head, holds, aside),
    st.tuples(*[st.sampled_from(accepted(check)) for check in ReplyMany.WIRE[:-2]]),
    st.sampled_from([b"", b"12345678", b"s" * 16]),
    st.sampled_from(accepted(ReplyMany.WIRE[-1])),
)
EVERY_MESSAGE = pytest.mark.parametrize(
    ("codec", "cls"),
    [pytest.param(codec, cls, id=cls.__name__) for cls, codec in CODEC_OF.items()],
)
FEW = settings(max_examples=25)


def message_of(codec, values):
    """Return the message of these fields; some are right one by one, but not together."""
    try:
        return codec.decode(wire.packed(values))
    except FrameError:
        assume(False)


@EVERY_MESSAGE
def test_every_field_of_every_message_takes_something_and_not_everything(codec, cls):
    assert len(cls.WIRE) == len(cls.__match_args__)
    for check in cls.WIRE:
        assert 0 < len(accepted(check)) < len(POOL)


@EVERY_MESSAGE
@FEW
@given(data=st.data())
def test_every_message_comes_back_as_it_went(codec, cls, data):
    message = message_of(codec, data.draw(BODIES[cls]))

    body = codec.encode(message)

    assert type(message) is cls
    assert codec.decode(body) == message


@EVERY_MESSAGE
@FEW
@given(data=st.data())
def test_every_message_cut_short_is_a_frame_error(codec, cls, data):
    body = codec.encode(message_of(codec, data.draw(BODIES[cls])))

    end = data.draw(st.integers(0, len(body) - 1))

    with pytest.raises(FrameError):
        codec.decode(body[:end])


@EVERY_MESSAGE
@FEW
@given(data=st.data())
def test_fields_that_came_later_may_be_missing_and_no_others(codec, cls, data):
    fewest = getattr(cls, "FIELDS_MIN", len(cls.WIRE))
    values = data.draw(BODIES[cls])
    whole = message_of(codec, values)

    older = message_of(codec, values[: fewest + 1])

    kept = [getattr(whole, name) for name in cls.__match_args__[:fewest]]
    assert [getattr(older, name) for name in cls.__match_args__[:fewest]] == kept
    with pytest.raises(FrameError):
        codec.decode(wire.packed(values[:fewest]))


nonsense = st.recursive(
    st.sampled_from(POOL) | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=8,
)


@pytest.mark.slow
@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@given(data=st.data())
def test_nonsense_in_a_field_is_a_frame_error_or_a_value_that_can_be_sent(codec, data):
    values = list(data.draw(BODIES[data.draw(st.sampled_from(codec.classes()))]))
    field = data.draw(st.integers(1, len(values) - 1))
    values[field] = data.draw(nonsense)

    try:
        message = codec.decode(wire.packed(values))
    except FrameError:
        return

    assert codec.decode(codec.encode(message)) == message


# -- pages of members -------------------------------------------------------------------------


def row(**changes):
    fields = dict(zip(Member.__match_args__[: len(ROW)], ROW, strict=True))
    return list({**fields, **changes}.values())


BAD_PAGES = {
    "no msgpack": b"\xc1",
    "no list": wire.packed(5),
    "a page too long": wire.packed([row(name=f"n{i}") for i in range(NEWS_PER_PAGE + 1)]),
    "a million members": b"\xdd\x00\x0f\x42\x40" + b"\xc0" * 1000,
    "one name twice": wire.packed([row(), row()]),
    "a field missing": wire.packed([row()[:-2]]),
    "a boot too long": wire.packed([row(boot=bytes(9))]),
    "no name": wire.packed([row(name="")]),
    "a name of 65": wire.packed([row(name="x" * 65)]),
    "a path for a name": wire.packed([row(name="../x")]),
    "a name with a line break": wire.packed([row(name="n1\n")]),
    "a store of 15": wire.packed([row(store=b"s" * 15)]),
    "a reign below zero": wire.packed([row(reign=-1)]),
    "an epoch of 2^32": wire.packed([row(epoch=2**32)]),
    "an incarnation that is true": wire.packed([row(incarnation=True)]),
    "a host that is a name": wire.packed([row(host="localhost")]),
    "a host with a scope": wire.packed([row(host="fe80::1%\x1b")]),
    "a host that is bytes": wire.packed([row(host=b"\x7f\0\0\1")]),
    "port 0": wire.packed([row(port=0)]),
    "port 70000": wire.packed([row(port=70_000)]),
    "status 5": wire.packed([row(status=GONE + 1)]),
    "durable as 1": wire.packed([row(durable=1)]),
    "a note of 401": wire.packed([row(note="x" * 401)]),
}


@pytest.mark.parametrize("page", BAD_PAGES.values(), ids=BAD_PAGES)
def test_a_bad_page_of_members_is_a_frame_error(page):
    with pytest.raises(FrameError):
        news_from_wire(page)


def test_a_full_page_fits_and_the_same_bytes_are_read_once():
    page = news_to_wire(Member(*row(name=f"n{i}")) for i in range(NEWS_PER_PAGE))

    assert len(news_from_wire(page)) == NEWS_PER_PAGE
    assert news_from_wire(page) is news_from_wire(bytes(bytearray(page)))


def test_a_registration_carries_the_whole_record():
    assert MEMBERSHIP.decode(MEMBERSHIP.encode(Register(MEMBER))) == Register(MEMBER)


def test_candidates_past_the_limit_are_refused():
    rows = tuple((f"n{i}", "10.0.0.1", 7401, 0, 0) for i in range(33))

    with pytest.raises(FrameError, match="at most 32"):
        MEMBERSHIP.decode(MEMBERSHIP.encode(Found(1, rows)))
