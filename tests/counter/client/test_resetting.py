"""Resets, deletions and lists of keys as programs ask for them: by hand, and over sockets."""

from random import Random

import anyio
import pytest

from counter import AsyncClient, Client
from counter.client.answers import nothing_heard
from counter.client.inquiry import HEAR, Dial, Say, keys_for
from counter.client.options import made
from counter.client.resetting import TRIES_MAX, UnknownResetError, resetting
from counter.messages import Missing, Reset, WasReset
from counter.stamps import session_of
from tracker.classes import replace
from tracker.errors import (
    ConfigError,
    ConnectionLostError,
    DeadlineError,
    RefusedError,
    UnreachableError,
)
from tracker.members import ALIVE, DEAD
from tracker.messages import Find, Found, Refused

ROWS = tuple((f"n{number}", "127.0.0.1", 7400 + number, ALIVE, 0) for number in (1, 2, 3))
GONE = ConnectionLostError("node n1 closed the connection")


def options(**changes):
    plain = {"trackers": "127.0.0.1:7400", "node": None, "pick": "random", "deadline_s": 5.0,
             "ack": None, "cluster": "default"}  # fmt: skip
    return made({}, **{**plain, **changes})


def answer(**changes):
    plain = replace(nothing_heard("complete", "n1", ""), value=37, complete=True, answered=3)
    return replace(plain, members=3, **changes)


def held(conversation, *wanted):
    """Hold a conversation whose resets bring these, in turn; returns its steps and its end."""
    steps, coming = [], list(wanted)
    said = came = None
    try:
        while True:
            step = conversation.send(came)
            steps.append(step)
            came = None
            if isinstance(step, Say):
                said = step.message
            if isinstance(step, Dial) and step.role == "node" and isinstance(coming[0], OSError):
                coming.pop(0)
                came = UnreachableError("nobody is there")
            if step is HEAR:
                reply = Found(said.request, ROWS) if isinstance(said, Find) else coming.pop(0)
                came = reply if isinstance(reply, Exception) else (reply, "n7")
    except StopIteration as end:
        return steps, end.value


def resets(steps):
    return [s.message for s in steps if isinstance(s, Say) and isinstance(s.message, Reset)]


def test_a_reset_returns_what_the_key_came_to():
    steps, renewed = held(resetting(options(), Random(1), "views"), WasReset(1, 4, False), answer())

    assert (renewed.key, renewed.value, renewed.epoch, renewed.repeated) == ("views", 37, 4, False)
    assert (renewed.was.complete, renewed.was.origin, renewed.was.end) == (True, "n1", True)
    (message,) = resets(steps)
    assert (message.key, message.deadline_ms, message.is_delete) == ("views", 5_000, False)
    assert message.id == session_of(renewed.id)


def test_who_was_not_reached_is_named():
    silent = Missing(1, (("n3", DEAD, 5, 1.0, "silent"),))
    last = answer(complete=False, reason="deadline", missing=1, origin="")

    _, renewed = held(
        resetting(options(), Random(1), "views"), WasReset(1, 4, True),
        replace(last, end=False), silent, last,
    )  # fmt: skip

    assert (renewed.was.complete, renewed.repeated, renewed.was.origin) == (False, True, "n7")
    assert [(row.name, row.last_value) for row in renewed.was.missing] == [("n3", 5)]


def test_an_id_that_is_given_is_the_one_that_is_sent():
    wish = resetting(options(), Random(1), "views", id="nightly", deadline_s=1.5, is_delete=True)

    steps, renewed = held(wish, WasReset(1, 1, False), answer())

    (message,) = resets(steps)
    assert (message.id, renewed.id) == (session_of("nightly"), "nightly")
    assert (message.deadline_ms, message.is_delete) == (1_500, True)


@pytest.mark.parametrize(
    "error", [GONE, DeadlineError("node n1 did not answer in time")], ids=["lost", "late"]
)
def test_a_reset_without_a_reply_is_sent_again_to_another_node_under_the_same_id(error):
    wish = resetting(options(), Random(1), "views")

    steps, renewed = held(wish, error, WasReset(1, 1, True), answer())

    first, second = resets(steps)
    assert first.id == second.id == session_of(renewed.id)
    dials = [step.endpoints[0] for step in steps if isinstance(step, Dial) and step.role == "node"]
    assert dials[0] != dials[1]


def test_a_reset_that_nobody_answers_is_unknown_and_tells_its_id():
    wish = resetting(options(), Random(1), "views", id="nightly")

    with pytest.raises(UnknownResetError, match="views MAY have been reset") as caught:
        held(wish, *[GONE] * TRIES_MAX)

    assert (caught.value.id, caught.value.definite) == ("nightly", False)


@pytest.mark.parametrize("then", ["refused", "unreachable"])
def test_a_refusal_of_a_second_try_proves_nothing_about_the_first(then):
    wish = resetting(options(), Random(1), "views")
    no = Refused(1, "busy", "not now") if then == "refused" else OSError()

    with pytest.raises(UnknownResetError):
        held(wish, GONE, no, GONE)


def test_a_first_try_that_is_refused_or_reaches_nobody_has_changed_nothing():
    with pytest.raises(RefusedError, match="not now"):
        held(resetting(options(), Random(1), "views"), Refused(1, "busy", "not now"))
    with pytest.raises(UnreachableError, match="nobody is there"):
        held(resetting(options(), Random(1), "views"), OSError())


@pytest.mark.parametrize(
    ("wishes", "text"),
    [
        ({"key": ""}, "a key is 1-256 bytes"),
        ({"id": ""}, "id needs 1 to 128 printable characters"),
        ({"id": "x\n"}, "id needs 1 to 128 printable characters"),
        ({"deadline_s": 0.0}, "deadline_s is 0.0, needs"),
        ({"deadline_s": 601.0}, "deadline_s is 601.0, needs"),
    ],
)
def test_resets_that_make_no_sense_are_refused(wishes, text):
    with pytest.raises(ConfigError, match=text):
        resetting(options(), Random(1), wishes.pop("key", "views"), **wishes)


def test_keys_are_asked_for_by_what_they_begin_with_a_star_included():
    assert keys_for("", 2.0).key == "*\n"
    assert (keys_for("a*", 1.5).key, keys_for("a*", 1.5).deadline_ms) == ("*\na*", 1_500)
    for prefix, text in ((7, "a prefix is text"), ("\n", "wanted a prefix")):
        with pytest.raises(ConfigError, match=text):
            keys_for(prefix, 2.0)


# -- over sockets -----------------------------------------------------------------------------


def renewing(message):
    if not isinstance(message, Reset):
        return []
    number = message.request
    return [WasReset(number, 2, message.is_delete), answer(request=number)]


def test_a_client_resets_and_deletes(cluster):
    node, tracker = cluster(renewing)

    with Client(tracker.address) as client:
        first, second = client.reset("views"), client.delete("views", id="T")

    assert (first.value, first.epoch, first.repeated) == (37, 2, False)
    assert (second.repeated, second.id) == (True, "T")
    assert [m.is_delete for m in node.heard if isinstance(m, Reset)] == [False, True]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tasks_reset_and_delete(cluster, backend):
    node, tracker = cluster(renewing)

    async def work():
        async with AsyncClient(tracker.address) as client:
            return await client.reset("views"), await client.delete("views", id="T")

    first, second = anyio.run(work, backend=backend)

    assert (first.value, second.repeated, second.id) == (37, True, "T")
    assert [m.is_delete for m in node.heard if isinstance(m, Reset)] == [False, True]
