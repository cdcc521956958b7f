"""`counter reset`, `delete` and `keys`, against nodes that answer as a test wants."""

import json
import os
import signal

import pytest

from counter.epochs import CLOSED_MAX, DELETED_MAX
from counter.messages import Keyed, Missing, Query, Reset, WasReset, prefixed
from tracker.members import DEAD
from tracker.messages import Refused

ROW = ("n3", DEAD, 7, 2.5, "no answer")
SILENT = {"complete": False, "reason": "converged", "value": 30, "answered": 3, "missing": 1}


@pytest.fixture
def resetting(serve, make_answer):
    """Start a node that tells of a reset."""

    def start(epoch=1, repeated=False, rows=(), **changes):
        def script(message):
            if not isinstance(message, Reset):
                return []
            number = message.request
            return [
                WasReset(number, epoch, repeated),
                *([Missing(number, rows)] if rows else []),
                make_answer(request=number, end=True, **changes),
            ]

        return serve(script)

    return start


def sent(server) -> Reset:
    return next(message for message in server.heard if isinstance(message, Reset))


def test_prints_the_bare_value_into_a_pipe(counter, resetting):
    server = resetting()

    ran = counter("reset", "views", "--node", server.address, "--deadline", "30s")

    assert (ran.code, ran.out, ran.err) == (0, "37\n", "")
    assert (sent(server).key, sent(server).deadline_ms) == ("views", 30_000)
    assert not sent(server).is_delete


def test_the_same_id_is_the_same_operation(counter, resetting):
    servers = [resetting(), resetting(), resetting()]
    for server, token in zip(servers, ("x", "x", "y"), strict=True):
        counter("reset", "views", "--node", server.address, "--id", token)

    ids = [sent(server).id for server in servers]
    assert ids[0] == ids[1] != ids[2]


def test_json_holds_the_fields_of_a_query_and_the_epoch(counter, resetting):
    server = resetting(epoch=4, repeated=True)

    ran = counter("delete", "views", "--json", "--node", server.address, "--id", "x")
    told = json.loads(ran.out)

    assert (told["key"], told["value"], told["complete"]) == ("views", 37, True)
    assert (told["epoch"], told["repeated"], told["id"]) == (4, True, "x")
    assert sent(server).is_delete


def test_who_was_not_reached_is_named_and_the_retry_shown(counter, resetting):
    server = resetting(rows=(ROW,), **SILENT)

    ran = counter("reset", "views", "--node", server.address, "--id", "x y")

    assert (ran.code, ran.out) == (3, "30\n")
    assert "3/4 nodes" in ran.err
    assert "n3 silent" in ran.err
    assert "counter reset views --id 'x y' --again" in ran.err
    assert f"that works until {CLOSED_MAX} more resets of it" in ran.err
    assert not sent(server).is_again


def test_only_to_be_told_again_wants_the_id_of_what_was_done(counter, resetting):
    server = resetting(repeated=True)

    ran = counter("reset", "views", "--id", "x", "--again", "--node", server.address)
    without = counter("reset", "views", "--again", "--node", server.address)

    assert (ran.code, sent(server).is_again) == (0, True)
    assert (without.code, without.out) == (2, "")
    assert "--again wants the --id" in without.err


def test_a_deletion_says_how_long_its_value_is_kept(counter, resetting):
    server = resetting(rows=(ROW,), **SILENT)

    ran = counter("delete", "views", "--node", server.address)

    assert ran.code == 3
    assert f"that works until {DELETED_MAX} other keys are deleted" in ran.err


def test_a_lost_connection_leaves_the_outcome_open_and_shows_the_retry(counter, serve, close):
    server = serve(lambda message: [close])

    ran = counter("delete", "views", "--node", server.address, "--id", "x")

    assert (ran.code, ran.out) == (3, "")
    assert "MAY have been reset" in ran.err
    assert "counter delete views --id x" in ran.err


def test_the_retry_of_a_key_that_looks_like_an_option_names_it_as_a_key(counter, serve, close):
    server = serve(lambda message: [close])

    ran = counter("reset", "--node", server.address, "--id", "x", "--", "-k")

    assert ran.code == 3
    assert "retrying is safe:  counter reset --id x -- -k " in ran.err


@pytest.mark.slow
def test_ctrl_c_while_a_reset_runs_says_how_to_repeat_it(start, serve):
    heard_r, heard_w = os.pipe()

    def script(message):
        os.write(heard_w, b".")
        return []

    process = start("reset", "views", "--node", serve(script).address, "--id", "x")
    os.read(heard_r, 1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=50)
    os.close(heard_r)
    os.close(heard_w)

    assert (process.returncode, out) == (130, b"")
    assert err.startswith(b"error: interrupted; views MAY have been reset\n")
    assert b"retrying is safe:  counter reset views --id x " in err


def test_a_refusal_is_said(counter, serve):
    server = serve(lambda message: [Refused(message.request, "too-old", "long ago")])

    ran = counter("reset", "views", "--node", server.address)

    assert (ran.code, ran.out, ran.err) == (1, "", "error: long ago\n")


@pytest.mark.parametrize(
    ("command", "repeated", "line"),
    [
        ("reset", False, "views: 37 (4/4 nodes) is now 0"),
        ("reset", True, "views: 37 (4/4 nodes) was reset before, by this id"),
        ("delete", False, "views: 37 (4/4 nodes) is deleted"),
        ("delete", True, "views: 37 (4/4 nodes) was deleted before, by this id"),
    ],
)
def test_a_person_reads_a_sentence(resetting, monkeypatch, capsys, command, repeated, line):
    from counter.cli import resets

    monkeypatch.setattr(resets, "on_terminal", lambda: True)
    server = resetting(repeated=repeated)

    assert getattr(resets, command)("views", node=server.address) == 0
    assert capsys.readouterr().out == line + "\n"


def test_keys_are_named_one_a_line_and_what_is_cut_off_is_said(counter, serve, make_answer):
    def script(message):
        if not isinstance(message, Query):
            return []
        rows = (("page:a", 9, 9, 9), ("page:b", 4, 4, 4))
        number = message.request
        return [Keyed(number, rows, 2, 0, 0), make_answer(request=number, end=True)]

    server = serve(script)

    ran = counter("keys", "page:", "--node", server.address, "--top", "1")

    assert (ran.code, ran.out) == (0, "page:a\n")
    assert "cut off at 4" in ran.err
    assert server.heard[-1].key == prefixed("page:")
    told = json.loads(counter("keys", "--node", server.address, "--json").out)
    assert [(row["key"], row["value"]) for row in told["keys"]] == [("page:a", 9), ("page:b", 4)]


def test_keys_of_a_cluster_with_silent_members_are_incomplete(counter, serve, make_answer):
    server = serve(
        lambda message: (
            [make_answer(request=message.request, end=True, **SILENT)]
            if isinstance(message, Query)
            else []
        )
    )

    ran = counter("keys", "--node", server.address)

    assert (ran.code, ran.out) == (3, "")
    assert "incomplete: 3/4 nodes" in ran.err
