"""`counter query`, against nodes that answer as a test wants."""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import threading

import pytest

from counter.cli.queries import parse_pause
from counter.cli.screens import CommandError
from counter.messages import (
    UNTIL_SHARE,
    UNTIL_STABLE,
    Answered,
    Cancel,
    Keyed,
    Missing,
    Query,
    Trail,
    named,
    prefixed,
)
from tracker.members import DEAD
from tracker.messages import Found, Refused

ROW = ("n3", DEAD, 7, 2.5, "no answer")


@pytest.fixture
def answering(serve, make_answer):
    """Start a node that gives this answer, with these pages before it."""

    def start(*pages, **changes):
        def script(message):
            if not isinstance(message, Query):
                return []
            number = message.request
            return [
                *[type(page)(number, page.rows) for page in pages],
                make_answer(request=number, end=True, **changes),
            ]

        return serve(script)

    return start


def asked(server) -> Query:
    return next(message for message in server.heard if isinstance(message, Query))


def test_prints_the_bare_value_into_a_pipe(counter, answering):
    ran = counter("query", "views", "--node", answering().address)

    assert (ran.code, ran.out, ran.err) == (0, "37\n", "")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"low": 37, "high": 40, "uncertain": 1}, "1 increment uncertain, at most 40"),
        ({"low": 30, "high": 40, "uncertain": 2}, "2 increments uncertain, 30 to 40"),
        ({"low": None, "high": 40, "uncertain": 2}, "2 increments uncertain, at most 40"),
    ],
    ids=["more", "more or less", "a key that was decreased"],
)
def test_a_value_in_a_pipe_does_not_hide_what_is_uncertain(counter, answering, changes, told):
    ran = counter("query", "views", "--node", answering(**changes).address)

    assert (ran.code, ran.out) == (0, "37\n")
    assert ran.err == f"{told}   which, and why:  counter parked\n"


def test_an_incomplete_answer_says_what_is_uncertain_too(counter, answering):
    fields = {"complete": False, "reason": "converged", "missing": 1, "answered": 3}

    ran = counter("query", "views", "--node", answering(**fields, uncertain=3, high=None).address)

    assert (ran.code, ran.out) == (3, "37\n")
    assert ran.err.splitlines()[-1].startswith("3 increments uncertain   which")


def test_prints_the_object_of_the_contract_as_json(counter, answering):
    ran = counter("query", "views", "--json", "--node", answering().address)

    found = json.loads(ran.out)
    assert (found["key"], found["value"], found["complete"], found["end"]) == (
        "views", 37, True, True,
    )  # fmt: skip


def test_a_value_of_any_size_is_printed_exactly(counter, answering):
    server = answering(value=2**80, low=None, filled=2**80)

    assert counter("query", "k", "--node", server.address).out == f"{2**80}\n"


@pytest.mark.parametrize("reason", ["deadline", "aged", "converged"])
def test_an_incomplete_answer_says_so_on_stderr_and_by_its_code(counter, answering, reason):
    server = answering(
        Missing(0, (ROW,)), complete=False, reason=reason, answered=3, missing=1
    )  # fmt: skip

    ran = counter("query", "k", "--node", server.address)

    assert (ran.code, ran.out) == (3, "37\n")
    assert ran.err.startswith(f"incomplete: 3/4 nodes; {reason}")
    assert "n3 silent" in ran.err


def test_names_the_missing_when_asked(counter, answering):
    server = answering(
        Missing(0, (ROW,)), complete=False, reason="converged", answered=3, missing=1
    )  # fmt: skip

    ran = counter("query", "k", "--missing", "--node", server.address)

    assert "missing n3   dead   last known 7, 2.5 s ago   no answer" in ran.err


def test_what_was_known_long_ago_is_told_in_minutes_and_hours(counter, answering):
    row = (*ROW[:3], 7_200.0, *ROW[4:])
    server = answering(
        Missing(0, (row,)), complete=False, reason="converged", answered=3, missing=1
    )  # fmt: skip

    ran = counter("query", "k", "--missing", "--node", server.address)

    assert "last known 7, 2 h ago" in ran.err


def test_an_answer_that_met_the_wish_is_a_success(counter, answering):
    server = answering(complete=False, reason="satisfied", answered=3, missing=1)

    assert counter("query", "k", "--until", "75%", "--node", server.address).code == 0


def test_shows_the_share_of_each_node_when_asked(counter, answering):
    server = answering(Answered(0, (("n1", 30, 0, 0.0), ("n2", 7, 1, 3.2))))

    ran = counter("query", "k", "--per-node", "--json", "--node", server.address)

    assert asked(server).rows
    assert [row["name"] for row in json.loads(ran.out)["nodes"]] == ["n1", "n2"]


def test_every_wish_travels_with_the_query(counter, answering):
    server = answering()

    counter(
        "query", "k", "--chatter", "3", "--max-age", "7", "--max-visits", "5",
        "--until", "95%", "--deadline", "2s", "--node", server.address,
    )  # fmt: skip

    query = asked(server)
    assert (query.chatter, query.age_max, query.visits) == (3, 7, 5)
    assert (query.until, query.until_value, query.deadline_ms) == (UNTIL_SHARE, 950, 2000)


def test_a_chain_is_asked_with_a_warning(counter, answering):
    server = answering()
    chain = ["--chatter", "1", "--max-visits", "1"]

    warned = counter("query", "k", *chain, "--json", "--node", server.address)
    told = counter("query", "k", *chain[:2], "--json", "--node", server.address)

    assert "a chain" in warned.err
    assert "--max-visits 5" in warned.err
    assert asked(server).chatter == 1
    assert "a chain" not in told.err


def test_without_a_wish_the_defaults_are_the_node_s_and_two_seconds(counter, answering):
    server = answering()

    counter("query", "k", "--node", server.address, "--until", "stable:200ms")

    query = asked(server)
    assert (query.chatter, query.age_max, query.visits, query.deadline_ms) == (0, 0, 0, 2000)
    assert (query.until, query.until_value) == (UNTIL_STABLE, 200)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--chatter", "0"], ["--chatter", "1000000"], ["--chatter", "-1"], ["--chatter", "x"],
        ["--max-age", "1000000000"], ["--max-visits", "0"], ["--deadline", "-1s"],
        ["--deadline", "0s"], ["--until", "half"], ["--watch=0s"], ["--watch=soon"], ["--bogus"],
        ["--trace", "--watch"], ["--trace-json", "x.json", "--watch=1s"], ["--retry", "9"],
        ["--retry", "-1"], ["--retry", "many"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_nonsense_is_refused_before_anybody_is_asked(counter, answering, arguments):
    server = answering()

    ran = counter("query", "k", "--node", server.address, *arguments)

    assert (ran.code, ran.out) == (2, "")
    assert server.streams == 0


def test_a_refused_query_says_why(counter, serve):
    text = "n1 has heard no tracker yet and knows nobody"
    server = serve(lambda message: [Refused(message.request, "no-view", text)])

    ran = counter("query", "k", "--node", server.address)

    assert (ran.code, ran.out, ran.err) == (1, "", f"error: {text}\n")


def test_a_lost_origin_leaves_the_last_value(counter, serve, make_answer, close):
    def script(message):
        return [make_answer(request=message.request, end=False, value=21, complete=False), close]

    ran = counter("query", "k", "--node", serve(script).address, "--json")

    found = json.loads(ran.out)
    assert ran.code == 3
    assert (found["value"], found["reason"], found["end"]) == (21, "origin-lost", True)
    assert "closed the connection" in found["why"]


def test_an_origin_lost_before_any_answer_prints_no_number(counter, serve, close):
    ran = counter("query", "k", "--node", serve(lambda message: [close]).address)

    assert (ran.code, ran.out) == (3, "")
    assert "origin-lost" in ran.err


def test_a_lost_origin_is_replaced_by_another_node_only_when_that_is_wanted(
    counter, serve, make_answer, close
):
    def dying(message):
        return [make_answer(request=message.request, end=False, value=21, complete=False), close]

    lost = serve(dying, name="n1")
    healthy = serve(lambda message: [make_answer(request=message.request)], name="n2")
    tracker = serve(finding(lost, healthy), role="tracker", name="")

    ran = counter("query", "k", "--tracker", tracker.address, "--retry", "1")
    plain = counter("query", "k", "--tracker", tracker.address)

    assert (ran.code, ran.out) == (0, "37\n")
    assert ran.err.startswith("note: origin-lost (node n1 at ")
    assert (plain.code, plain.out) == (3, "21\n")
    assert (lost.streams, healthy.streams) == (2, 1)


def test_where_there_is_no_other_node_the_same_one_is_tried_again(
    counter, serve, make_answer, close
):
    def dying_once(message):
        if sum(isinstance(heard, Query) for heard in server.heard) == 1:
            return [close]
        return [make_answer(request=message.request)]

    server = serve(dying_once)

    ran = counter("query", "k", "--node", server.address, "--retry", "2")

    assert (ran.code, ran.out, server.streams) == (0, "37\n", 2)


def test_a_retry_asks_others_than_the_node_that_was_named(counter, serve, make_answer, close):
    lost = serve(lambda message: [close], name="n1")
    healthy = serve(lambda message: [make_answer(request=message.request)], name="n2")

    def found(message):
        servers = [lost] if message.name else [lost, healthy]
        return finding(*servers)(message)

    tracker = serve(found, role="tracker", name="")
    where = ("--tracker", tracker.address, "--node", "n1")

    ran = counter("query", "k", *where, "--retry", "1")

    assert (ran.code, ran.out) == (0, "37\n")
    assert "asking another node" in ran.err


def test_a_node_that_was_named_by_its_address_is_asked_again_and_no_other(counter, serve, close):
    tracker = serve(lambda message: [], role="tracker", name="")
    server = serve(lambda message: [close])
    where = ("--tracker", tracker.address, "--node", server.address)

    ran = counter("query", "k", *where, "--retry", "1")

    assert (ran.code, server.streams, tracker.streams) == (3, 2, 0)
    assert "asking it again" in ran.err


def test_after_all_retries_the_origin_is_lost(counter, serve, close):
    server = serve(lambda message: [close])

    ran = counter("query", "k", "--node", server.address, "--retry", "2", "--json")

    assert (ran.code, json.loads(ran.out)["reason"], server.streams) == (3, "origin-lost", 3)


@pytest.mark.parametrize("again", ["lost", "refused"])
def test_what_was_seen_of_a_lost_origin_outlives_a_retry_that_hears_less(
    counter, serve, make_answer, close, again
):
    def dying(message):
        if sum(isinstance(heard, Query) for heard in server.heard) == 1:
            part = make_answer(request=message.request, end=False, value=21, complete=False)
            return [part, close]
        return [close if again == "lost" else Refused(message.request, "busy", "come back")]

    server = serve(dying)

    ran = counter("query", "k", "--node", server.address, "--retry", "1", "--json")

    found = json.loads(ran.out)
    assert (ran.code, found["value"], found["reason"]) == (3, 21, "origin-lost")
    assert server.streams == 2
    assert ("come back" in ran.err) == (again == "refused")


def test_a_query_that_another_client_cancels_before_it_began_is_incomplete(counter, serve):
    text = "another client cancelled it"
    server = serve(lambda message: [Refused(message.request, "cancelled", text)])

    ran = counter("query", "k", "--node", server.address, "--json")

    found = json.loads(ran.out)
    assert (ran.code, found["reason"], found["why"]) == (3, "cancelled", text)


def finding(*servers):
    """Return what a tracker says of these nodes: the first one lives, the others are suspect."""
    rows = tuple((s.name, *s.endpoint, min(index, 1), 0) for index, s in enumerate(servers))
    return lambda message: [Found(message.request, rows)]


# -- traces -----------------------------------------------------------------------------------


TRAIL = Trail(
    0,
    (
        ("n1", ("127.0.0.1", 7401), "", 0, -1.0, 0.0, (), 30, 0),
        ("n2", ("127.0.0.1", 7402), "n1", 1, 0.0, 3.2, (), 7, 0),
    ),
)


def test_a_trace_is_asked_for_and_drawn_below_the_answer(counter, answering):
    server = answering(TRAIL)

    ran = counter("query", "k", "--trace", "--node", server.address)

    assert asked(server).trace
    assert ran.out.splitlines() == [
        "37", "n1  origin · +1 below, the last at 3 ms",
        "└─ n2                     hop 1     3 ms",
    ]  # fmt: skip


def test_a_trace_can_be_written_whole_and_stands_in_the_json(counter, answering, tmp_path):
    server = answering(TRAIL)
    file = tmp_path / "trace.json"

    ran = counter(
        "query", "k", "--trace", "--json", "--trace-json", str(file), "--node", server.address
    )

    trace = json.loads(file.read_text())
    assert [node["parent"] for node in trace["nodes"]] == [None, "n1"]
    assert json.loads(ran.out)["trace"] == trace
    assert ran.err == f"trace of 2 members written to {file}\n"


def test_a_trace_for_a_pipe_follows_the_answer_on_stdout(counter, answering):
    ran = counter("query", "k", "--trace-json", "-", "--node", answering(TRAIL).address)

    value, trace = ran.out.splitlines()
    assert value == "37"
    assert [node["parent"] for node in json.loads(trace)["nodes"]] == [None, "n1"]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("nowhere/trace.json", "no such directory"),
        (".", "is a directory"),
        ("", "no file is named"),
    ],
)
def test_a_trace_that_cannot_be_written_is_refused_before_anything_is_asked(
    counter, answering, path, why
):
    server = answering(TRAIL)

    ran = counter("query", "k", "--trace-json", path, "--node", server.address)

    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"error: the trace cannot be written to {path} ({why})\n"
    assert server.heard == []


def test_a_disk_that_fails_the_trace_is_said_after_the_answer(counter, answering):
    ran = counter("query", "k", "--trace-json", "/dev/full", "--node", answering(TRAIL).address)

    assert (ran.code, ran.out) == (1, "37\n")
    assert "(no space left on device)" in ran.err


def test_without_the_wish_nothing_is_traced(counter, answering):
    server = answering()
    counter("query", "k", "--node", server.address)

    assert not asked(server).trace


# -- watching ---------------------------------------------------------------------------------


def test_live_as_json_is_one_object_per_partial(counter, serve, make_answer):
    def script(message):
        frames = [make_answer(request=message.request, end=False, value=n) for n in (5, 20)]
        return [*frames, make_answer(request=message.request)]

    ran = counter("query", "k", "--live", "--json", "--node", serve(script).address)

    frames = [json.loads(line) for line in ran.out.splitlines()]
    assert [(frame["value"], frame["end"]) for frame in frames] == [
        (5, False), (20, False), (37, True),
    ]  # fmt: skip


def test_live_on_a_pipe_is_a_line_a_second_and_the_end(counter, serve, make_answer):
    def script(message):
        frames = [make_answer(request=message.request, end=False, answered=n) for n in (1, 2, 3)]
        return [*frames, make_answer(request=message.request)]

    ran = counter("query", "k", "--live", "--node", serve(script).address)

    assert ran.out.splitlines() == [
        "37  1/4 nodes  25.0 %  8 ms",
        "37   4/4 nodes · 8 ms · 2 hops · 8 messages",
    ]


# -- Ctrl-C -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_ctrl_c_on_a_live_watch_says_why_this_is_the_last_frame_and_who_is_missing(
    start, serve, make_answer
):
    def script(message):
        if not isinstance(message, Query) or message.pause_ms:
            waits.set()  # it asks for its next round: nothing is shown until that is over
            return []
        silent = Missing(message.request, (("n9", 2, None, -1.0, "no answer"),))
        ending = {"reason": "converged", "complete": False, "missing": 1}
        return [silent, make_answer(request=message.request, **ending)]

    waits = threading.Event()
    process = start("query", "k", "--live", "--watch=1h", "--node", serve(script).address)
    assert waits.wait(60)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=50)

    assert process.returncode == 130
    assert out.decode().splitlines()[-1].endswith("incomplete: cancelled; n9 silent")


def own_terminal() -> None:
    """Make what stands on stdout the terminal that controls this process."""
    os.setsid()
    fcntl.ioctl(1, termios.TIOCSCTTY, 0)


def read_until(terminal: int, wanted: bytes) -> bytes:
    """Return what is on the terminal when `wanted` is there, or when nobody writes any more."""
    seen = b""
    while wanted not in seen and select.select([terminal], [], [], 20)[0]:
        try:
            seen += os.read(terminal, 65_536)
        except OSError:
            break
    return seen


@pytest.mark.slow
def test_ctrl_c_on_a_terminal_leaves_the_panel_whole_and_the_terminal_as_it_was(
    start, serve, make_answer
):
    def script(message):
        if isinstance(message, Query) and not message.pause_ms:
            return [make_answer(request=message.request)]
        waits.set()  # it asks for its next round: nothing is drawn until that is over
        return []

    waits = threading.Event()
    server = serve(script)
    terminal, inner = pty.openpty()
    before = termios.tcgetattr(inner)
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    pipes = {"stdin": inner, "stdout": inner, "stderr": inner}
    process = start(
        "query", "k", "--live", "--watch=1h", "--node", server.address,
        preexec_fn=own_terminal, env={**os.environ, "TERM": "xterm"}, **pipes,
    )  # fmt: skip
    read_until(terminal, "╰".encode())
    assert waits.wait(60)

    os.write(terminal, b"\x03")
    after = read_until(terminal, b"cancelled")

    assert process.wait(timeout=50) == 130
    assert b"^C" not in after
    assert termios.tcgetattr(inner) == before
    os.close(inner)
    os.close(terminal)


def interrupted(process) -> list[dict]:
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=50)
    assert err == b""
    return [json.loads(line) for line in (first + out).splitlines()]


@pytest.mark.slow
def test_ctrl_c_cancels_the_query_and_prints_the_last_word(start, serve, make_answer):
    def script(message):
        if isinstance(message, Cancel):
            last = {"reason": "cancelled", "complete": False, "value": 30}
            return [make_answer(request=message.request, **last)]
        return [make_answer(request=message.request, end=False, value=21)]

    server = serve(script)
    process = start("query", "k", "--live", "--json", "--node", server.address)

    frames = interrupted(process)

    assert process.returncode == 130
    assert [(f["value"], f["reason"], f["end"]) for f in frames] == [
        (21, "complete", False), (30, "cancelled", True),
    ]  # fmt: skip
    assert isinstance(server.heard[-1], Cancel)


@pytest.mark.slow
def test_ctrl_c_does_not_wait_for_a_node_that_says_nothing(start, serve, make_answer):
    def script(message):
        if isinstance(message, Cancel):
            return []
        return [make_answer(request=message.request, end=False, value=21)]

    process = start("query", "k", "--live", "--json", "--node", serve(script).address)

    frames = interrupted(process)

    assert process.returncode == 130
    assert (frames[-1]["value"], frames[-1]["reason"]) == (21, "cancelled")


@pytest.mark.slow
def test_watching_repeats_until_ctrl_c_and_then_ends_the_lines(start, answering):
    process = start(
        "query", "k", "--watch=10ms", "--json", "--node", answering().address,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    frames = [json.loads(process.stdout.readline()) for _ in range(3)]

    frames += interrupted(process)

    assert process.returncode == 130
    assert [frame["end"] for frame in frames[:3]] == [False, False, False]
    assert (frames[-1]["end"], frames[-1]["value"]) == (True, 37)


@pytest.mark.slow
def test_a_watch_keeps_its_connection_tells_its_pause_and_shows_what_was_counted(
    start, serve, make_answer
):
    def script(message):
        if not isinstance(message, Query):
            return []  # Ctrl-C may come in the middle of a pause, as a Cancel
        number = sum(isinstance(heard, Query) for heard in server.heard)
        # It answers when the pause is over, as a node does: at once where there is none.
        late.wait(message.pause_ms / 1000)
        return [make_answer(request=message.request, value=10 * number, begun_s=float(number))]

    late = threading.Event()
    server = serve(script)
    process = start("query", "k", "--watch=300ms", "--json", "--node", server.address)
    frames = [json.loads(process.stdout.readline()) for _ in range(3)]
    interrupted(process)

    pauses = [heard.pause_ms for heard in server.heard if isinstance(heard, Query)]
    assert server.streams == 1
    assert pauses[0] == 0
    assert all(0 < pause <= 300 for pause in pauses[1:3])
    assert [frame["per_s"] for frame in frames] == [None, 10.0, 10.0]


@pytest.mark.slow
def test_a_node_that_knows_no_pauses_is_not_asked_faster_than_was_wanted(start, answering):
    server = answering()
    process = start("query", "k", "--watch=200ms", "--json", "--node", server.address)
    for _ in range(4):
        process.stdout.readline()
    interrupted(process)

    pauses = [heard.pause_ms for heard in server.heard if isinstance(heard, Query)]
    assert pauses[0] == 0 < pauses[1]
    assert pauses[2:4] == [0, 0]


@pytest.mark.slow
def test_a_watch_whose_origin_is_lost_goes_on_with_another_node(start, serve, make_answer, close):
    def dying(message):
        if sum(isinstance(heard, Query) for heard in lost.heard) > 1:
            return [close]
        return [make_answer(request=message.request, value=5)]

    lost = serve(dying, name="n1")
    healthy = serve(lambda message: [make_answer(request=message.request)], name="n2")
    tracker = serve(finding(lost, healthy), role="tracker", name="")
    process = start("query", "k", "--watch=20ms", "--json", "--tracker", tracker.address)

    frames = [json.loads(process.stdout.readline()) for _ in range(3)]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=50)

    assert [frame["value"] for frame in frames] == [5, 37, 37]
    assert err.startswith(b"note: origin-lost (node n1 at ")


def test_a_watch_that_fails_for_good_ends_its_lines_with_what_was_seen_last(
    counter, serve, make_answer
):
    def script(message):
        if sum(isinstance(heard, Query) for heard in server.heard) > 1:
            return [Refused(message.request, "busy", "come back in 1 s")]
        return [make_answer(request=message.request)]

    server = serve(script)

    ran = counter("query", "k", "--watch=10ms", "--json", "--node", server.address)

    frames = [json.loads(line) for line in ran.out.splitlines()]
    assert ran.code == 3
    assert [(f["value"], f["reason"], f["end"]) for f in frames] == [
        (37, "complete", False), (37, "origin-lost", True),
    ]  # fmt: skip
    assert "come back in 1 s" in frames[1]["why"]


@pytest.mark.slow
def test_a_watch_that_another_client_cancels_ends_with_what_it_saw_last(start, serve, make_answer):
    def script(message):
        if message.pause_ms:
            return [Refused(message.request, "cancelled", "another client cancelled it")]
        return [make_answer(request=message.request)]

    process = start("query", "k", "--watch=5s", "--json", "--node", serve(script).address)
    out, _ = process.communicate(timeout=50)

    frames = [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 3
    assert [(f["value"], f["reason"], f["end"]) for f in frames] == [
        (37, "complete", False), (37, "cancelled", True),
    ]  # fmt: skip


@pytest.mark.slow
def test_ctrl_c_in_the_pause_of_a_watch_ends_it_at_once(start, serve, make_answer):
    def script(message):
        if isinstance(message, Cancel):
            return [Refused(message.request, "cancelled", "cancelled before it began")]
        return [] if message.pause_ms else [make_answer(request=message.request)]

    process = start("query", "k", "--watch=60s", "--json", "--node", serve(script).address)

    frames = interrupted(process)

    assert process.returncode == 130
    assert [(f["value"], f["reason"], f["end"]) for f in frames] == [
        (37, "complete", False), (37, "cancelled", True),
    ]  # fmt: skip


@pytest.mark.parametrize("written", ["0s", "5", "-1s", "25h"])
def test_a_senseless_pause_is_refused(written):
    with pytest.raises(CommandError, match="--watch"):
        parse_pause(written)


# -- many keys ------------------------------------------------------------------------------

PAGES = (("page:a", 30, 30, 30), ("page:b", 7, 7, 9))


@pytest.fixture
def listing(serve, make_answer):
    """Start a node that lists these keys."""

    def start(*rows, left_out=0, unseen=0, **changes):
        def script(message):
            if not isinstance(message, Query):
                return []
            page = Keyed(message.request, rows, len(rows), left_out, unseen)
            return [page, make_answer(request=message.request, end=True, **changes)]

        return serve(script)

    return start


def test_several_keys_are_asked_for_in_one_query(counter, listing):
    server = listing(("b", 30, 30, 30), ("a", 7, 7, 7))

    ran = counter("query", "a", "b", "a", "--node", server.address)

    assert (ran.code, ran.out, ran.err) == (0, "b\t30\na\t7\n", "")
    assert asked(server).key == named("a", "b")


def test_a_star_at_the_end_stands_for_the_rest_of_a_key(counter, listing):
    server = listing(*PAGES, left_out=1, unseen=2)

    ran = counter("query", "page:*", "--top", "1", "--node", server.address)

    assert asked(server).key == prefixed("page:")
    assert ran.out == "page:a\t30\n"
    assert ran.err == "cut off at 9: no other key has more (at least 1 not shown)\n"


def test_the_object_of_many_keys_holds_each_of_them(counter, listing):
    ran = counter("query", "page:*", "--json", "--node", listing(*PAGES).address)

    told = json.loads(ran.out)
    assert (told["key"], told["value"], told["found"]) == ("page:*", 37, 2)
    assert told["keys"][1] == {"key": "page:b", "value": 7, "exact": False, "low": 7, "high": 9}


def test_literally_a_star_is_a_part_of_the_key(counter, answering):
    server = answering()

    ran = counter("query", "a*", "--literal", "--node", server.address)

    assert (ran.out, asked(server).key) == ("37\n", "a*")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (["a*", "b"], "a key with a star is asked for alone"),
        (["a*b"], "a star stands for the rest of a key: at its end, and once"),
        (["a**"], "a star stands for the rest of a key: at its end, and once"),
        (["a", "--top", "3"], "--top is for several keys, and one was asked for"),
        (["a*", "--top", "0"], "--top is 0, needs 1 to 4096"),
        (["a*", "--top", "x"], '--top: "x" is no whole number'),
        (["a*", "--live"], "--live is for one key"),
        (["a", "b", "--trace"], "--trace is for one key"),
        ([f"k{i}" for i in range(33)], "one query takes 32 keys, not 33"),
        (["a" * 250, "b" * 250], "the keys of one query take 480 bytes, not 500"),
        (["a\x1b*"], "a key is 1-256 bytes of printable text"),
    ],
)
def test_what_cannot_be_asked_of_many_keys_is_refused_in_words(counter, nobody, line, text):
    ran = counter("query", *line, "--node", nobody)

    assert ran.code == 2
    assert text in ran.err


def test_of_many_keys_an_incomplete_answer_says_so_too(counter, listing):
    server = listing(("a", 7, 7, None), complete=False, reason="deadline", answered=3, missing=1)

    ran = counter("query", "a", "b", "--node", server.address)

    assert (ran.code, ran.out) == (3, "a\t7\n")
    assert ran.err.startswith("incomplete: 3/4 nodes")
