"""`counter members` and `counter forget`, against trackers that know what a test wants."""

import json
import os
import pty
import subprocess

import pytest

from counter.cli.membership import shown_age
from counter.messages import Recall, Recalled
from tracker.members import ALIVE, DEAD, GONE, Member
from tracker.messages import Forget, Forgotten, Listed, Refused, Roster


def make_member(name, status=ALIVE, endpoint=("127.0.0.1", 7401), note=""):
    return Member(name, name.encode().ljust(16, b"\0"), 1, 1, 0, *endpoint, status, True, note)


@pytest.fixture
def tracking(serve):
    """Start a tracker that knows these members, in two pages, and forgets on request."""

    def start(*members, role="tracker"):
        rows = [(member, 12.0, 3 if member.status == ALIVE else -1) for member in members]

        def script(message):
            if isinstance(message, Roster):
                pages = (tuple(rows[:1]), tuple(rows[1:]))
                return [Listed(message.request, n == 1, page) for n, page in enumerate(pages)]
            assert isinstance(message, Forget)
            status = next(m.status for m in members if m.name == message.name)
            if status == ALIVE:
                return [Refused(message.request, "alive", f"{message.name} is alive")]
            return [Forgotten(message.request, status, 12.0)]

        return serve(script, role=role, name="" if role == "tracker" else "n1")

    return start


def forgotten(server) -> list[str]:
    return [message.name for message in server.heard if isinstance(message, Forget)]


def test_lists_everybody_one_to_a_line(counter, tracking):
    server = tracking(make_member("n10"), make_member("n2", DEAD, note="silent"))

    ran = counter("members", "--tracker", server.address)

    assert ran.out.splitlines() == [
        "n2   dead   127.0.0.1:7401  12 s  -  durable  silent",
        "n10  alive  127.0.0.1:7401  12 s  3  durable",
    ]
    assert (ran.code, ran.err) == (0, "")


def test_as_json_it_is_one_object(counter, tracking):
    server = tracking(make_member("n1"), make_member("n2", DEAD))

    found = json.loads(counter("members", "--json", "--tracker", server.address).out)

    assert found["tracker"] == server.address
    assert [(m["name"], m["status"], m["activity"]) for m in found["members"]] == [
        ("n1", "alive", 3), ("n2", "dead", None),
    ]  # fmt: skip


def test_without_members_it_prints_nothing(counter, tracking):
    ran = counter("members", "--tracker", tracking().address)

    assert (ran.code, ran.out) == (0, "")


@pytest.mark.slow
def test_without_a_tracker_a_node_is_asked_for_its_view(counter, tracking, nobody):
    node = tracking(make_member("n1"), role="node")

    ran = counter("members", "--tracker", nobody, "--node", node.address)

    assert ran.out.startswith("n1  alive")
    assert "no tracker was reached" in ran.err


@pytest.mark.slow
def test_without_a_tracker_and_without_a_node_it_says_what_to_do(counter, nobody):
    ran = counter("members", "--tracker", nobody)

    assert (ran.code, ran.out) == (1, "")
    assert "--node HOST:PORT" in ran.err


def test_a_note_from_outside_cannot_move_the_cursor(counter, tracking):
    server = tracking(make_member("n1", note="\x1b[2J\n"))

    assert "\x1b" not in counter("members", "--tracker", server.address).out


def test_forgetting_says_first_what_is_lost(counter, tracking, serve):
    rows = (("views", 37, 12.0), ("hits", 2, 700.0))
    old = (("views", 30, 60.0),)
    answers = {True: iter([rows, old])}

    def script(message):
        assert isinstance(message, Recall)
        return [Recalled(message.request, next(answers[message.name == "n3"]), 0)]

    first, second = serve(script), serve(script)
    server = tracking(
        make_member("n1", endpoint=first.endpoint),
        make_member("n2", endpoint=second.endpoint),
        make_member("n3", DEAD),
    )

    ran = counter("forget", "n3", "--yes", "--tracker", server.address)

    assert ran.code == 0
    assert "n3 is dead for 12 s" in ran.err
    assert "views  37   12 s ago" in ran.err
    assert "hits  2   12 m ago" in ran.err
    assert forgotten(server) == ["n3"]
    assert ran.out.startswith("n3 is gone (was dead)")


@pytest.mark.slow
def test_forgetting_goes_on_without_those_who_do_not_answer(counter, tracking, nobody):
    host, port = nobody.split(":")
    server = tracking(make_member("n1", endpoint=(host, int(port))), make_member("n3", DEAD))

    ran = counter("forget", "n3", "--yes", "--tracker", server.address)

    assert ran.code == 0
    assert "no living node remembers" in ran.err


def test_a_living_member_is_not_forgotten(counter, tracking):
    server = tracking(make_member("n1"))

    ran = counter("forget", "n1", "--yes", "--tracker", server.address)

    assert (ran.code, ran.out) == (1, "")
    assert ran.err == 'error: "n1" is alive at 127.0.0.1:7401: stop it first\n'
    assert forgotten(server) == []


def test_one_who_is_gone_already_is_left_alone(counter, tracking):
    server = tracking(make_member("n3", GONE))

    ran = counter("forget", "n3", "--tracker", server.address)

    assert (ran.code, forgotten(server)) == (0, [])


@pytest.mark.parametrize(
    ("command", "is_offered"),
    [(["members"], True), (["forget", "n1"], False), (["drain", "n1"], False)],
    ids=["members", "forget", "drain"],
)
def test_without_a_tracker_only_an_option_is_offered_that_there_is(
    counter, nobody, command, is_offered
):
    ran = counter(*command, "--tracker", nobody)

    assert "start one:  counter tracker" in ran.err
    assert ("--node" in ran.err) is is_offered is ("--node" in counter(command[0], "--help").out)


@pytest.mark.parametrize(("name", "code"), [("n9", 1), ("../x", 2), ("", 2)])
def test_a_name_nobody_has_is_refused(counter, tracking, name, code):
    ran = counter("forget", name, "--yes", "--tracker", tracking(make_member("n1")).address)

    assert (ran.code, ran.out) == (code, "")


@pytest.mark.slow
@pytest.mark.parametrize(("typed", "expected"), [(b"y\n", ["n3"]), (b"\n", []), (b"no\n", [])])
def test_a_person_is_asked_before_anything_is_lost(start, tracking, typed, expected):
    server = tracking(make_member("n3", DEAD))
    ours, theirs = pty.openpty()
    process = start("forget", "n3", "--tracker", server.address, stdin=theirs)
    os.write(ours, typed)
    _, err = process.communicate(timeout=50)
    os.close(ours)
    os.close(theirs)

    assert forgotten(server) == expected
    assert b"give up the counts of n3 for good? type y:" in err
    assert process.returncode == (0 if expected else 1)


@pytest.mark.slow
def test_a_script_is_not_asked_and_told_all_the_same_what_is_lost(start, tracking):
    server = tracking(make_member("n3", DEAD))
    process = start("forget", "n3", "--tracker", server.address, stdin=subprocess.PIPE)
    _, err = process.communicate(b"", timeout=50)

    assert (process.returncode, forgotten(server)) == (0, ["n3"])
    assert b"n3 is dead for 12 s" in err
    assert b"type y" not in err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("piped", "expected"),
    [(b"y\n", ["n3"]), (b"YES", ["n3"]), (b"n\n", []), (b"\n", []), (b"counter members\n", [])],
)
def test_an_answer_on_a_pipe_is_heard_and_only_yes_gives_up(start, tracking, piped, expected):
    server = tracking(make_member("n3", DEAD))
    process = start("forget", "n3", "--tracker", server.address, stdin=subprocess.PIPE)
    _, err = process.communicate(piped, timeout=50)

    assert forgotten(server) == expected
    assert process.returncode == (0 if expected else 1)
    assert (b"to agree:  --yes" in err) is (not expected)


@pytest.mark.slow
def test_of_a_pipe_one_line_is_read_and_a_silent_one_is_no_answer(start, tracking):
    server = tracking(make_member("n3", DEAD))
    ours, theirs = os.pipe()
    os.write(theirs, b"no\nnext\n")
    refused = start("forget", "n3", "--tracker", server.address, stdin=ours)
    assert refused.wait(50) == 1
    assert os.read(ours, 99) == b"next\n"

    silent = start("forget", "n3", "--tracker", server.address, stdin=ours)

    assert silent.wait(50) == 0
    assert forgotten(server) == ["n3"]
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize(
    ("rows", "words", "lost"),
    [
        ((("views", 37, 1.0), ("jobs", 0, 2.0)), "views  37", ["views"]),
        ((("jobs", 0, 2.0),), "all that the living have seen of it is 0", []),
    ],
)
def test_what_came_to_nothing_is_not_lost(counter, tracking, serve, rows, words, lost):
    living = serve(lambda message: [Recalled(message.request, rows, 0)])
    server = tracking(make_member("n1", endpoint=living.endpoint), make_member("n3", DEAD))

    ran = counter("forget", "n3", "--yes", "--json", "--tracker", server.address)

    assert words in ran.err
    assert "jobs" not in ran.err
    assert [row["key"] for row in json.loads(ran.out)["lost"]] == lost


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-1.0, "-"), (0.4, "0 s"), (119, "119 s"), (7200, "2 h"), (1e6, "12 d")]
)
def test_ages_are_shown_roughly(seconds, shown):
    assert shown_age(seconds) == shown
