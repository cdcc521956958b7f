"""`counter members --watch`: hours in which trackers come and go, on any terminal."""

import json
import signal

import pytest

from counter.cli import rosters
from counter.cli.rosters import FAILURES_MAX, GONE_SHOWN_MAX, Picture, cropped
from tracker.members import ALIVE, AWAY, DEAD, GONE, Member
from tracker.messages import Listed, Roster


def make_row(name, status=ALIVE, endpoint=("127.0.0.1", 9)):
    store = name.encode().ljust(16, b"\0")
    member = Member(name, store, 1, 1, 0, *endpoint, status, True, "")
    return member, 12.0, 3 if status == ALIVE else -1


def make_rows(alive, *others):
    """Return rows as they are told: whoever is gone stands at the end."""
    return [*[make_row(f"n{n}") for n in range(alive)], *others]


def listing(*rows, then=None):
    """Return a script that lists these members, and after the first time says `then`."""
    heard = []

    def script(message):
        assert isinstance(message, Roster)
        heard.append(message)
        if then is not None and len(heard) > 1:
            return then
        return [Listed(message.request, True, tuple(rows))]

    return script


# -- what is drawn ----------------------------------------------------------------------------


def test_a_table_that_fits_is_shown_whole_and_in_its_order():
    shown = cropped(make_rows(3, make_row("x", DEAD)), 80, 10)

    assert [line.split()[0] for line in shown] == ["name", "n0", "n1", "n2", "x"]


def test_of_one_that_does_not_fit_whoever_is_not_alive_stands_first_and_the_rest_is_counted():
    rows = make_rows(300, make_row("d", DEAD), make_row("a", AWAY), make_row("g", GONE))

    shown = cropped(rows, 80, 6)

    assert [line.split()[0] for line in shown] == ["name", "d", "a", "n0", "n1", "…"]
    assert shown[-1] == "… 299 more: 298 alive, 1 gone"


def gone_for(name, since_s):
    return make_row(name, GONE)[0], since_s, -1


def test_a_terminal_shows_those_who_went_last_and_counts_the_others(counter, serve, monkeypatch):
    gone = [gone_for(f"g{n}", float(n)) for n in range(40)] + [gone_for("never-seen", -1.0)]
    tracker = serve(listing(*make_rows(2, *gone)), role="tracker", name="")

    piped = counter("members", "--tracker", tracker.address).out.splitlines()
    monkeypatch.setattr(rosters, "on_terminal", lambda: True)
    shown = counter("members", "--tracker", tracker.address).out.splitlines()

    assert len(piped) == 43
    last = [f"g{n}" for n in range(GONE_SHOWN_MAX)]
    assert [line.split()[0] for line in shown[:-2]] == ["name", "n0", "n1", *last]
    assert shown[-2] == f"… {41 - GONE_SHOWN_MAX} more: {41 - GONE_SHOWN_MAX} gone"
    assert shown[-1].startswith("2 alive of 2 expected")


@pytest.mark.parametrize("width", [10, 20, 40, 80, 120])
@pytest.mark.parametrize("height", [3, 5, 14, 40])
def test_a_picture_never_takes_more_lines_than_the_terminal_has(monkeypatch, capsys, width, height):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("LINES", str(height))

    Picture().draw(make_rows(300, make_row("d", DEAD)), ["note: nobody", "300 alive"])

    shown = capsys.readouterr().out.splitlines()
    assert len(shown) <= height - 1
    assert all(len(line) <= width for line in shown)


def test_a_picture_is_drawn_over_the_last_one_and_anew_where_the_terminal_has_changed(
    monkeypatch, capsys
):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    picture = Picture()

    picture.draw(make_rows(2), ["2 alive"])
    first = capsys.readouterr().out
    picture.draw(make_rows(2), ["2 alive"])
    second = capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "60")
    picture.draw(make_rows(2), ["2 alive"])
    third = capsys.readouterr().out

    assert "\x1b" not in first
    assert second == "\x1b[4F\x1b[J" + first
    assert third.startswith("\x1b[H\x1b[2J")


# -- what is unreachable ----------------------------------------------------------------------


@pytest.mark.slow
def test_a_watch_goes_on_with_the_nodes_it_knows_while_no_tracker_answers(start, serve, close):
    known = []
    node = serve(lambda message: listing(*known)(message), name="n1")
    known += [make_row("n1", endpoint=node.endpoint), make_row("n2", DEAD)]
    tracker = serve(listing(known[0], then=[close]), role="tracker", name="")

    process = start("members", "--watch=20ms", "--json", "--tracker", tracker.address)
    frames = [json.loads(process.stdout.readline()) for _ in range(3)]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=50)

    assert [frame["tracker"] for frame in frames] == [tracker.address, None, None]
    assert [frame["node"] for frame in frames] == [None, "n1", "n1"]
    assert [len(frame["members"]) for frame in frames] == [1, 2, 2]
    assert json.loads(out.splitlines()[-1])["end"] is True
    assert process.returncode == 130
    assert err.count(b"note: tracker at ") == 1


@pytest.mark.slow
def test_a_watch_says_so_when_a_tracker_answers_again(start, serve, close):
    node = serve(listing(make_row("n1")), name="n1")
    member = make_row("n1", endpoint=node.endpoint)
    answers = iter([True, False, *[True] * 10_000])

    def script(message):
        return [Listed(message.request, True, (member,))] if next(answers) else [close]

    tracker = serve(script, role="tracker", name="")

    process = start("members", "--watch=20ms", "--json", "--tracker", tracker.address)
    frames = [json.loads(process.stdout.readline()) for _ in range(3)]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=50)

    assert [frame["node"] for frame in frames] == [None, "n1", None]
    assert err.splitlines()[-1] == b"note: a tracker answers again"


def test_a_watch_that_nobody_answers_any_more_ends(counter, serve, close):
    member = make_row("n1", endpoint=serve(lambda message: [close]).endpoint)
    tracker = serve(listing(member, then=[close]), role="tracker", name="")

    ran = counter("members", "--watch=10ms", "--tracker", tracker.address)

    asked = [heard for heard in tracker.heard if isinstance(heard, Roster)]
    assert (ran.code, len(asked)) == (1, 1 + FAILURES_MAX)
    assert ran.out.count("n1") == 1
    assert "error: tracker at " in ran.err


def test_a_watch_that_reaches_nobody_at_first_ends_at_once(counter, serve, close):
    tracker = serve(lambda message: [close], role="tracker", name="")

    ran = counter("members", "--watch", "--tracker", tracker.address)

    assert (ran.code, ran.out) == (1, "")
    assert len([heard for heard in tracker.heard if isinstance(heard, Roster)]) == 1
