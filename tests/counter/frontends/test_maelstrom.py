"""Maelstrom's lines, and what they mean to a node: translation alone, without any process."""

import json
from base64 import b64encode

import pytest

from counter.client.answers import nothing_heard
from counter.frontends import maelstrom
from counter.frontends.maelstrom import (
    CRASH,
    LINE_BYTES_MAX,
    MALFORMED,
    NODES_MAX,
    PRECONDITION,
    UNAVAILABLE,
    Clients,
    Lines,
    MaelstromError,
    Message,
    datagram_in,
    error_body,
    gossip_body,
    line_of,
    parsed,
    places_of,
    session_of,
    shortfall,
)
from counter.messages import ACK_DEFAULT, UNTIL_ALL, Counted, Increment, Missing, Query
from tracker.classes import replace
from tracker.messages import Refused
from tracker.wire import AMOUNT_MAX, DATAGRAM_BYTES_MAX


def message(kind, number=7, src="c1", **fields):
    body = {"type": kind, **fields}
    return Message(src, "n1", body if number is None else {**body, "msg_id": number})


def refusal(call, *arguments):
    """Return (code, text) of the error that a call ends with."""
    with pytest.raises(MaelstromError) as caught:
        call(*arguments)
    return caught.value.code, str(caught.value)


# -- lines ----------------------------------------------------------------------------------


def test_lines_come_out_whole_however_the_bytes_came_in():
    lines = Lines()

    found = [list(lines.feed(chunk)) for chunk in (b"ab", b"c\nde\n\nf", b"g\n")]

    assert found == [[], [b"abc", b"de", b""], [b"fg"]]
    assert list(lines.end()) == []


def test_the_last_line_needs_no_newline():
    lines = Lines()
    assert list(lines.feed(b"abc")) == []

    assert list(lines.end()) == [b"abc"]


def test_a_line_that_is_too_long_is_dropped_and_the_next_one_is_taken():
    lines = Lines()
    long = b"x" * (LINE_BYTES_MAX + 1)

    assert list(lines.feed(long)) == []
    assert list(lines.feed(long)) == []
    assert list(lines.feed(b"y\nnext\n")) == [None, b"next"]
    assert list(lines.feed(long + b"\nnext\n")) == [None, b"next"]
    assert list(lines.feed(long[1:] + b"\n")) == [long[1:]]


def test_a_line_that_is_too_long_and_has_no_end_is_told_at_the_end():
    lines = Lines()
    assert list(lines.feed(b"x" * (LINE_BYTES_MAX + 1))) == []

    assert list(lines.end()) == [None]


def test_what_is_said_is_understood():
    line = line_of("n1", "c\u202e1", {"type": "add_ok"})

    assert line.isascii()
    assert line.endswith(b"}\n")
    assert parsed(line) == Message("n1", "c\u202e1", {"type": "add_ok"})


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"\xff",
        b"[1]",
        b"7",
        b'{"src": "c1", "dest": "n1"}',
        b'{"src": "c1", "dest": "n1", "body": []}',
        b'{"src": 1, "dest": "n1", "body": {}}',
        b'{"src": "", "dest": "n1", "body": {}}',
        b'{"src": "c1", "dest": "' + b"n" * 257 + b'", "body": {}}',
        b'{"a":' * 100_000,
        b"9" * 10_000,
    ],
    ids=lambda line: line[:40].decode(errors="replace"),
)
def test_a_line_that_is_no_message_is_malformed(line):
    assert refusal(parsed, line)[0] == MALFORMED


@pytest.mark.parametrize(
    ("body", "kind", "number"),
    [
        ({"type": "add", "msg_id": 0}, "add", 0),
        ({"type": 5, "msg_id": -1}, "", None),
        ({"msg_id": True}, "", None),
        ({"msg_id": 1.0}, "", None),
        ({"msg_id": 2**64 - 1}, "", None),
        ({}, "", None),
    ],
)
def test_a_type_is_a_text_and_a_number_is_a_whole_one(body, kind, number):
    said = Message("c1", "n1", body)

    assert (said.type, said.number) == (kind, number)


# -- nodes ----------------------------------------------------------------------------------


def test_every_node_makes_up_the_same_endpoints():
    names = [f"n{index}" for index in range(NODES_MAX)]
    one = places_of({"node_id": "n0", "node_ids": names})
    other = places_of({"node_id": "n9", "node_ids": names[::-1]})

    assert one.by_name == other.by_name
    assert len(one.by_endpoint) == NODES_MAX
    assert other.own == one.by_name["n9"]
    assert one.by_endpoint[other.own] == "n9"


@pytest.mark.parametrize(
    "body",
    [
        {"node_id": "n1"},
        {"node_id": "n1", "node_ids": []},
        {"node_id": "n1", "node_ids": "n1"},
        {"node_id": "n1", "node_ids": ["n1", "n1"]},
        {"node_id": "n1", "node_ids": ["n1", 2]},
        {"node_id": "n1", "node_ids": ["n1", "../x"]},
        {"node_id": "n3", "node_ids": ["n1", "n2"]},
        {"node_id": ["n1"], "node_ids": ["n1"]},
        {"node_id": "n1", "node_ids": [f"n{i}" for i in range(NODES_MAX + 1)]},
    ],
)
def test_an_init_that_makes_no_sense_is_malformed(body):
    assert refusal(places_of, body)[0] == MALFORMED


def test_a_datagram_travels_whole():
    datagram = bytes(range(256)) * 4

    assert datagram_in(json.loads(json.dumps(gossip_body(datagram)))) == datagram


@pytest.mark.parametrize(
    "data",
    [None, 5, "", "no base64!", "abc", b64encode(bytes(DATAGRAM_BYTES_MAX + 1)).decode()],
    ids=["none", "a number", "empty", "other characters", "cut off", "too long"],
)
def test_gossip_that_carries_no_datagram_is_malformed(data):
    assert refusal(datagram_in, {"type": "gossip", "data": data})[0] == MALFORMED


# -- requests -------------------------------------------------------------------------------


def make_clients(*, is_strict=False):
    return Clients(3, 2.5, is_strict=is_strict)


def asked(clients, said):
    """Let a client ask; returns its link."""
    link, _ = clients.link(said.src)
    assert clients.request(link, said) is not None
    return link


def test_an_add_is_an_increment_under_the_identity_of_its_message():
    clients = make_clients()
    link, _ = clients.link("c1")

    request = clients.request(link, message("add", 7, delta=-5))

    assert request == Increment(session_of("c1"), 8, ("maelstrom", -5), ACK_DEFAULT)


def test_a_client_has_the_same_session_in_each_life_of_a_node_and_no_other_has_it():
    assert session_of("c1") == session_of("c1") != session_of("c2")
    assert len(session_of("\ud800")) == 16


def test_a_read_is_a_query_with_a_deadline():
    clients = make_clients()
    link, _ = clients.link("c1")

    request = clients.request(link, message("read", 0))

    assert request == Query(1, "maelstrom", 0, 0, 0, 2_500, UNTIL_ALL, 0, 0, False)


@pytest.mark.parametrize("delta", [None, 1.0, "5", True, AMOUNT_MAX + 1, -AMOUNT_MAX - 1])
def test_a_delta_that_is_no_whole_number_in_range_is_malformed(delta):
    clients = make_clients()
    link, _ = clients.link("c1")

    assert refusal(clients.request, link, message("add", delta=delta))[0] == MALFORMED
    assert clients.waiting == {}


def test_a_request_without_a_number_is_malformed():
    clients = make_clients()
    link, _ = clients.link("c1")

    assert refusal(clients.request, link, message("read", None))[0] == MALFORMED


def test_a_message_that_comes_twice_is_dealt_with_once():
    clients = make_clients()
    link = asked(clients, message("read"))

    assert clients.request(link, message("read")) is None
    assert len(clients.waiting) == 1


def test_past_the_limit_of_requests_a_client_hears_that_it_is_temporary(monkeypatch):
    monkeypatch.setattr(maelstrom, "REQUESTS_MAX", 1)
    clients = make_clients()
    link = asked(clients, message("read", 1))

    assert refusal(clients.request, link, message("read", 2))[0] == UNAVAILABLE


# -- replies --------------------------------------------------------------------------------


def answered(**changes):
    return replace(nothing_heard("complete", "n1", ""), request=8, end=True, **changes)


def test_each_client_gets_the_reply_to_its_own_request():
    clients = make_clients()
    first, second = (asked(clients, message("add", 7, src=src, delta=1)) for src in ("c1", "c2"))

    replies = [clients.reply(link, Counted(8, True, False)) for link in (second, first)]

    body = {"type": "add_ok", "in_reply_to": 7}
    assert replies == [("c2", body), ("c1", body)]
    assert clients.waiting == {}


def test_a_complete_read_is_the_value():
    clients = make_clients()
    link = asked(clients, message("read"))

    reply = clients.reply(link, answered(value=2**80, complete=True))

    assert reply == ("c1", {"type": "read_ok", "value": 2**80, "in_reply_to": 7})


INCOMPLETE = {"value": 5, "filled": 9, "complete": False, "answered": 2, "members": 3}


def test_an_incomplete_read_takes_the_silent_at_their_last_known_value():
    clients = make_clients()
    link = asked(clients, message("read"))

    reply = clients.reply(link, answered(**INCOMPLETE))

    assert reply == ("c1", {"type": "read_ok", "value": 9, "in_reply_to": 7})


def test_an_incomplete_read_is_an_error_for_the_strict():
    clients = make_clients(is_strict=True)
    link = asked(clients, message("read"))

    reply = clients.reply(link, answered(**INCOMPLETE, reason="deadline"))

    text = "incomplete: 2 of 3 nodes answered (deadline)"
    assert reply == ("c1", {**error_body(UNAVAILABLE, text), "in_reply_to": 7})


def test_a_shortfall_counts_those_too_who_were_never_heard_of():
    answer = answered(**{**INCOMPLETE, "answered": 1, "members": 1, "reason": "converged"})

    assert shortfall(answer, 3) == "incomplete: 1 of 3 nodes answered (converged)"


@pytest.mark.parametrize(
    ("code", "number"),
    [
        ("in-doubt", CRASH),
        ("too-old", CRASH),
        ("other-content", PRECONDITION),
        ("busy", UNAVAILABLE),
        ("disk", UNAVAILABLE),
        ("leaving", UNAVAILABLE),
        ("no-view", UNAVAILABLE),
    ],
)
def test_only_what_certainly_did_not_happen_is_a_definite_error(code, number):
    clients = make_clients()
    link = asked(clients, message("add", delta=1))

    reply = clients.reply(link, Refused(8, code, "no\x1b"))

    body = {"type": "error", "code": number, "text": "no\\x1b", "in_reply_to": 7}
    assert reply == ("c1", body)


def test_pages_before_the_end_are_no_reply():
    clients = make_clients()
    link = asked(clients, message("read"))

    assert clients.reply(link, Missing(8, ())) is None
    assert clients.reply(link, replace(answered(), end=False)) is None
    assert len(clients.waiting) == 1


def test_what_nobody_waits_for_is_said_to_nobody():
    clients = make_clients()
    link = asked(clients, message("read"))

    assert clients.reply(link, Counted(9, True, False)) is None
    assert clients.reply(link + 1, answered()) is None
    assert clients.reply(link, Refused(0, "bad-message", "not of any request")) is None
    assert clients.reply(link, answered(complete=True)) is not None
    assert clients.reply(link, answered(complete=True)) is None


# -- clients --------------------------------------------------------------------------------


def test_a_client_keeps_its_link():
    clients = make_clients()

    assert clients.link("c1") == clients.link("c1")
    assert clients.link("c1") != clients.link("c2")


def test_past_the_limit_of_clients_the_oldest_that_waits_for_nothing_is_forgotten(monkeypatch):
    monkeypatch.setattr(maelstrom, "CLIENTS_MAX", 2)
    clients = make_clients()
    waits = asked(clients, message("read", src="c1"))
    idle, _ = clients.link("c2")

    link, forgotten = clients.link("c3")

    assert (forgotten, link) == (idle, idle + 1)
    assert clients.link("c1") == (waits, None)


def test_clients_that_all_wait_are_not_forgotten(monkeypatch):
    monkeypatch.setattr(maelstrom, "CLIENTS_MAX", 1)
    clients = make_clients()
    asked(clients, message("read", src="c1"))

    assert refusal(clients.link, "c2")[0] == UNAVAILABLE
