"""Questions for many keys: what they may ask for, how they travel, what people call them."""

import pytest

from counter.messages import (
    DOOR,
    GOSSIP,
    KEYS_BYTES_MAX,
    KEYS_PER_PAGE,
    KEYS_PER_QUERY_MAX,
    LATE_MAX,
    LEAF,
    RING,
    SKIP_MAX,
    UNTIL_ALL,
    Ask,
    AskMany,
    Keyed,
    Query,
    ReplyMany,
    is_question,
    label,
    named,
    names_in,
    prefix_in,
    prefixed,
)
from tracker import wire
from tracker.errors import FrameError

HOME = ("2001:db8::1", 65_535)


def make_ask(question, low=0, high=RING, flags=0, places=()):
    return AskMany(
        b"q" * 16, question, HOME, 64, 32, 255, 255, 600_000, 2**32 - 1, low, high,
        places[:SKIP_MAX], places[:LATE_MAX], flags,
    )  # fmt: skip


def make_reply(rows=(), cut=(), value=0, holds=b""):
    return ReplyMany(b"q" * 16, 7, b"s" * 8, 1, value, 1, 0, cut, 0, rows, 0, 0, holds)


def test_a_question_says_what_it_asks_for():
    assert names_in(named("views", "clicks")) == ("views", "clicks")
    assert (names_in(prefixed("page:")), prefix_in(prefixed("page:"))) == (None, "page:")
    assert prefix_in(prefixed("")) == ""


REFUSED = {
    "a key named twice": lambda: named("a", "a"),
    "an empty key": lambda: named("a", ""),
    "a key that holds a newline": lambda: named("a\nb", "a"),
    "no key": lambda: named(),
    "too many keys": lambda: named(*[f"k{i}" for i in range(KEYS_PER_QUERY_MAX + 1)]),
    "keys that are too long": lambda: named("a" * 250, "b" * (KEYS_BYTES_MAX - 249)),
    "a prefix no key has": lambda: prefixed("a\x1b"),
    "two prefixes": lambda: prefixed("a\nb"),
}


@pytest.mark.parametrize("question", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_asked_is_refused(question):
    with pytest.raises(FrameError):
        question()


@pytest.mark.parametrize("value", ["views", "", "?\na", b"=\na", 5, None])
def test_what_is_no_question_is_no_field_of_an_ask_for_many(value):
    with pytest.raises(FrameError):
        GOSSIP.decode(GOSSIP.encode(make_ask(value)))


def test_a_question_cannot_be_taken_for_a_key():
    with pytest.raises(FrameError):
        wire.key(prefixed("page:"))
    assert not is_question("=")
    assert not is_question("*a")


def test_the_longest_ask_for_many_fits_a_datagram():
    keys = [f"{i:02}" + "k" * 13 for i in range(KEYS_PER_QUERY_MAX)]
    assert sum(map(len, keys)) == KEYS_BYTES_MAX
    ask = make_ask(named(*keys), 2**63, 2**64 - 1, 255, (2**64 - 1,) * SKIP_MAX)

    body = GOSSIP.encode(ask)

    assert len(body) < wire.DATAGRAM_BYTES_MAX
    assert GOSSIP.decode(body) == ask


def test_a_leaf_needs_no_arc_and_any_other_ask_does():
    leaf = make_ask(prefixed(""), 1, 1, LEAF)

    assert GOSSIP.decode(GOSSIP.encode(leaf)) == leaf
    with pytest.raises(FrameError, match="arc"):
        GOSSIP.decode(GOSSIP.encode(make_ask(prefixed(""), 2, 1)))


def test_a_plain_ask_takes_no_question():
    fields = [getattr(make_ask(prefixed("")), name) for name in Ask.__match_args__]

    with pytest.raises(FrameError):
        GOSSIP.decode(GOSSIP.encode(Ask(*fields)))


def test_a_reply_travels_whole_at_any_size_of_its_total():
    reply = make_reply((("a", 5), ("b", -(2**62))), (1, 2, 2), 2**90)

    assert GOSSIP.decode(GOSSIP.encode(reply)) == reply


@pytest.mark.parametrize(
    "reply",
    [
        make_reply(cut=(1,)),
        make_reply(cut=(2, 1)),
        make_reply((("a", 1), ("a", 2))),
        make_reply(holds=b"nine byte"),
    ],
)
def test_a_reply_that_cannot_be_is_refused(reply):
    with pytest.raises(FrameError):
        GOSSIP.decode(GOSSIP.encode(reply))


def test_a_page_of_the_longest_keys_fits_a_frame():
    rows = tuple([(f"{i:03}" + "k" * 253, 2**80, None, 2**80) for i in range(KEYS_PER_PAGE)])
    page = Keyed(1, rows, 2**32 - 1, 2**64 - 1, 2**90)

    assert DOOR.decode(wire.framed(DOOR.encode(page))[4:]) == page


@pytest.mark.parametrize("key", ["views", prefixed("page:"), named("a", "b")])
def test_a_client_may_ask_for_a_key_or_for_many(key):
    query = Query(1, key, 0, 0, 0, 0, UNTIL_ALL, 0, 0, False)

    assert DOOR.decode(DOOR.encode(query)) == query


def test_people_read_keys_with_blanks_and_a_prefix_with_a_star():
    assert label(named("a", "b")) == "a b"
    assert label(prefixed("page:")) == "page:*"
    assert label("views") == "views"


def test_a_label_fits_where_a_key_stands():
    told = label(named("ä" * 120, "ö" * 120))

    assert wire.key(told).endswith("…")
