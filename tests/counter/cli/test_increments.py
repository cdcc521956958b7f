"""`counter inc`, against servers that answer as a test wants."""

import os
import re
import signal
import subprocess
from random import Random

import pytest

from counter.cli.feeding import LINE_BYTES_MAX, parse_line, read_lines
from counter.cli.increments import new_token, parse_amount, retry_command, session_of
from counter.cli.screens import CommandError
from counter.client.blocking import SystemDice
from counter.client.operations import checked_amount
from counter.messages import Counted, Increment
from counter.stamps import stamp_of
from tracker.errors import ConfigError
from tracker.members import ALIVE
from tracker.messages import Find, Found, Refused


def counting(message):
    return [Counted(message.sequence, True, False)]


def sent(server) -> list[Increment]:
    return [message for message in server.heard if isinstance(message, Increment)]


@pytest.mark.parametrize(
    ("arguments", "pairs"),
    [
        pytest.param(["k"], ("k", 1), id="one by itself"),
        pytest.param(["k", "5"], ("k", 5), id="an amount"),
        pytest.param(["k", "-5"], ("k", -5), id="a negative amount"),
        pytest.param(["--json", "--", "-k", "5"], ("-k", 5), id="a key with a dash"),
        pytest.param(["k", str(2**53 - 1)], ("k", 2**53 - 1), id="the largest amount"),
        pytest.param(["ключ 1", "0"], ("ключ 1", 0), id="a key in cyrillic, nothing"),
    ],
)
def test_counts_what_was_asked_for(counter, serve, arguments, pairs):
    server = serve(counting)

    ran = counter("inc", "--node", server.address, *arguments)

    assert (ran.code, ran.err) == (0, "")
    assert [message.pairs for message in sent(server)] == [pairs]


def test_prints_the_bare_amount_into_a_pipe(counter, serve):
    ran = counter("inc", "k", "5", "--node", serve(counting).address)

    assert ran.out == "5\n"


@pytest.mark.parametrize(
    "arguments",
    [
        *[["k", amount] for amount in
          ("1e3", "0x10", "½", "5_000", " 5 ", str(10**20), "", "five", "1.0", "NaN", "٣")],
        ["k", "--", "--5"],
        [""],
        ["k" * 300],
        ["\x1b[2J"],
        ["a\nb"],
        ["\udcff"],
        ["\u202e"],
        ["k", "--bogus"],
        ["k", "-x"],
        ["k", "1", "2"],
        [],
        ["k", "--id", ""],
        ["k", "--ack", "maybe"],
        ["k", "--node", "../x"],
        ["k", "--node", "host:70000"],
        ["k", "--deadline", "soon"],
    ],
    ids=ascii,
)  # fmt: skip
def test_nonsense_is_refused_before_anybody_is_asked(counter, serve, arguments):
    server = serve(counting)

    ran = counter("inc", "--tracker", server.address, *arguments)

    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: ")
    assert ran.err.replace("\n", "").isprintable()
    assert server.streams == 0


def test_the_same_id_is_the_same_operation(counter, serve):
    server = serve(counting)

    counter("inc", "k", "--id", "once", "--node", server.address)
    counter("inc", "k", "--id", "once", "--node", server.address)
    counter("inc", "k", "--node", server.address)

    first, second, other = [(message.session, message.sequence) for message in sent(server)]
    assert first == second == (session_of("once"), 1)
    assert other != first


def test_the_wanted_promise_is_passed_on(counter, serve):
    server = serve(counting)

    counter("inc", "k", "--ack", "disk", "--node", server.address)

    assert sent(server)[0].ack == 2


def test_a_tracker_that_is_not_there_is_said_to_be_missing(counter, nobody):
    ran = counter("inc", "k", "--tracker", nobody)

    assert ran.code == 1
    assert f"error: no tracker at {nobody} (connection refused after 3 tries" in ran.err
    assert "counter tracker" in ran.err


def test_the_least_active_living_node_is_picked(counter, serve, monkeypatch):
    monkeypatch.setattr(SystemDice, "random", Random(1).random)
    busy, idle, dead = serve(counting), serve(counting), serve(counting)
    rows = tuple(
        (name, *server.endpoint, status, activity)
        for name, server, status, activity in (
            ("n1", busy, ALIVE, 90), ("n2", idle, ALIVE, 3), ("n3", dead, ALIVE + 1, 0),
        )
    )  # fmt: skip
    tracker = serve(lambda message: [Found(message.request, rows)], role="tracker")

    ran = counter("inc", "k", "--tracker", tracker.address)

    assert ran.code == 0
    assert [len(sent(server)) for server in (busy, idle, dead)] == [0, 1, 0]


def test_a_node_that_cannot_be_reached_is_passed_over(counter, serve, nobody):
    server = serve(counting)
    host, port = nobody.split(":")
    rows = (("n1", host, int(port), ALIVE, 0), ("n2", *server.endpoint, ALIVE, 5))
    tracker = serve(lambda message: [Found(message.request, rows)], role="tracker")

    assert counter("inc", "k", "--tracker", tracker.address).code == 0


def test_without_a_node_a_disk_is_found_where_there_is_one(counter, serve):
    def refuse(message):
        return [Refused(message.sequence, "no-disk", "in memory only")]

    bare = [serve(refuse), serve(refuse), serve(refuse)]
    servers = [*bare, serve(counting)]
    rows = [(f"n{at}", *server.endpoint, ALIVE, 0) for at, server in enumerate(servers)]
    found = serve(lambda message: [Found(message.request, tuple(rows))], role="tracker")
    to_disk = ("inc", "k", "5", "--ack", "disk", "--tracker", found.address)

    for tries in range(1, 9):
        ran = counter(*to_disk, "--pick", "random")
        assert (ran.code, ran.out) == (0, "5\n")
        assert [len(sent(server)) <= tries for server in bare] == [True] * 3

    for named in (("--node", "n1"), ("--node", bare[1].address)):
        assert counter(*to_disk, *named).code == 1
    rows.pop()
    ran = counter(*to_disk)
    assert (ran.code, ran.out, "in memory only" in ran.err) == (1, "", True)


def test_a_named_node_is_looked_up(counter, serve):
    server = serve(counting)
    rows = (("n7", *server.endpoint, ALIVE, 0),)
    tracker = serve(lambda message: [Found(message.request, rows)], role="tracker")

    ran = counter("inc", "k", "--tracker", tracker.address, "--node", "n7")

    assert ran.code == 0
    assert [message.name for message in tracker.heard if isinstance(message, Find)] == ["n7"]


def test_a_name_nobody_has_is_refused(counter, serve):
    tracker = serve(lambda message: [Found(message.request, ())], role="tracker")

    ran = counter("inc", "k", "--tracker", tracker.address, "--node", "n7")

    assert ran.code == 1
    assert 'knows no node "n7"' in ran.err


def test_a_refusal_says_that_and_why(counter, serve):
    server = serve(lambda message: [Refused(message.sequence, "disk-full", "the disk is full")])

    ran = counter("inc", "k", "--node", server.address)

    assert (ran.code, ran.out, ran.err) == (1, "", "error: the disk is full\n")


def test_a_lost_acknowledgement_is_unknown_and_comes_with_the_retry(counter, serve, close):
    answers = iter([[close], [Counted(1, True, True)]])
    server = serve(lambda message: next(answers))

    ran = counter("inc", "k v", "-5", "--node", server.address)
    retry = ran.err.partition("retrying is safe:")[2].partition("(")[0].split()
    again = counter("inc", "k v", "-5", *retry[retry.index("--id") :])

    assert (ran.code, ran.out) == (3, "")
    assert "MAY have been counted" in ran.err
    assert again.code == 0
    assert sent(server)[0] == sent(server)[1]


def test_an_increment_that_may_be_on_disk_is_unknown_and_not_refused(counter, serve):
    server = serve(lambda m: [Refused(m.sequence, "in-doubt", "cannot tell: fsync failed")])

    ran = counter("inc", "k", "--node", server.address)

    assert (ran.code, ran.out) == (3, "")
    assert "fsync failed; the increment MAY have been counted" in ran.err


def test_a_node_that_never_answers_is_unknown_after_the_deadline(counter, serve):
    ran = counter("inc", "k", "--node", serve().address, "--deadline", "50ms")

    assert ran.code == 3
    assert "did not answer within" in ran.err


def test_the_retry_of_a_key_with_a_dash_can_be_pasted():
    assert retry_command("-k", -5, "T", "h:1") == "counter inc --id T --node h:1 -- -k -5"


def test_tokens_are_readable_and_new_each_time():
    first, second = new_token(), new_token()

    assert first != second
    assert len(first) == 26
    assert first.isalnum()


@pytest.mark.parametrize("written", ["٣", "+-1", "1 ", "--1"])
def test_only_ascii_digits_make_an_amount(written):
    with pytest.raises(CommandError):
        parse_amount(written)


# -- from standard input --------------------------------------------------------------------


@pytest.fixture
def feed(start):
    def run(text: bytes, *arguments: str):
        process = start("inc", "-", *arguments, stdin=subprocess.PIPE)
        out, err = process.communicate(text, timeout=50)
        return process.returncode, out.decode(), err.decode()

    return run


@pytest.fixture
def feed_here(counter, monkeypatch):
    """The same in this process, which is faster."""

    def run(text: bytes, *arguments: str):
        monkeypatch.setattr("counter.cli.feeding._chunks", lambda: iter([text]))
        ran = counter("inc", "-", *arguments)
        return ran.code, ran.out, ran.err

    return run


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        (b"views", ("views", 1)),
        (b"views 5", ("views", 5)),
        (b"  views\t-5 \r", ("views", -5)),
        (b"two words 5", ("two words", 5)),
        (b"7", ("7", 1)),
        (b" \t ", None),
        (b"", None),
    ],
)
def test_a_line_is_a_key_and_perhaps_an_amount(line, meant):
    assert parse_line(line) == meant


@pytest.mark.parametrize(
    "line", [b"k five", b"k 1e3", b"k " + b"9" * 20, b"\xff", b"\x1b[2J", b"k" * 300, b"a\0b"]
)
def test_a_line_that_is_none_is_refused(line):
    with pytest.raises(CommandError):
        parse_line(line)


def test_lines_are_the_same_however_they_are_cut():
    text = b"a 1\n\nb\nc 3"

    whole = [line for batch in read_lines([text]) for line in batch]
    bytewise = [line for batch in read_lines(text[i : i + 1] for i in range(11)) for line in batch]

    assert whole == bytewise == [(1, "a", 1), (3, "b", 1), (4, "c", 3)]


def test_a_line_without_end_is_refused_before_it_fills_the_memory():
    chunks = (b"x" * 1000 for _ in range(10**9))

    lines = [line for batch in read_lines(chunks) for line in batch]

    assert str(lines[-1]) == f"line 1: is longer than {LINE_BYTES_MAX} bytes"


@pytest.mark.slow
def test_counts_lines_in_order_over_one_connection(feed, serve):
    server = serve(counting)
    text = b"".join(b"k%d %d\n" % (n % 3, n) for n in range(700))

    code, out, err = feed(text, "--node", server.address)

    assert (code, out, err) == (0, "700\n", "")
    assert [message.pairs for message in sent(server)] == [(f"k{n % 3}", n) for n in range(700)]
    assert server.streams == 1
    assert len({(message.session, message.sequence) for message in sent(server)}) == 700


@pytest.mark.slow
def test_an_amount_beside_a_dash_is_refused_and_nothing_is_read(counter):
    ran = counter("inc", "-", "3")

    assert (ran.code, ran.out) == (2, "")
    assert "takes no 3 beside it" in ran.err


def test_a_bad_line_stops_the_run_after_what_stood_before_it(feed, serve):
    server = serve(counting)

    code, out, err = feed(b"a 1\n\nb 2\nc three\nd 4\n", "--node", server.address)

    assert (code, out) == (2, "")
    assert 'error: line 4: "three" is not a whole number' in err
    assert "2 increments before it counted" in err
    assert [message.pairs for message in sent(server)] == [("a", 1), ("b", 2)]


@pytest.mark.slow
def test_a_refused_line_is_named_with_all_that_was_counted(feed, serve):
    def script(message):
        if message.pairs[0] == "c":
            return [Refused(message.sequence, "range", "past the range of a share")]
        return counting(message)

    code, out, err = feed(b"a\nb\nc\nd\n", "--node", serve(script).address)

    assert (code, out) == (1, "")
    assert "error: line 3: refused: past the range" in err
    assert "2 increments before it counted, and 1 after it" in err


@pytest.mark.parametrize("word", ["given-away", "too-old", "range"])
def test_no_line_is_sent_before_the_first_one_has_counted(feed_here, serve, word):
    """Who gave an id up refuses its first line alone: the others would count a second time."""

    def script(message):
        is_first = message.sequence == 1
        return [Refused(1, word, "not here")] if is_first else counting(message)

    server = serve(script)

    code, out, err = feed_here(b"a\nb\nc\n", "--node", server.address, "--id", "T")

    assert [message.pairs for message in sent(server)] == [("a", 1)]
    assert (code, out) == (1 if word == "range" else 3, "")
    assert "0 increments before it counted\n" in err
    assert ("it MAY have been counted" in err) == (word != "range")
    assert ("retrying is safe" in err) == (word == "range")


def test_lines_of_an_id_that_is_too_old_may_have_counted(feed_here, serve):
    old = Refused(2, "too-old", "so far behind that nobody can tell")
    server = serve(lambda m: [old] if m.sequence == 2 else counting(m))

    code, _, err = feed_here(b"a\nb\n", "--node", server.address, "--id", "T")

    assert code == 3
    assert "line 2: refused: so far behind that nobody can tell; it MAY have been counted" in err
    assert "under a new id it counts for certain" in err


def test_lines_go_on_where_only_the_own_clock_lags(feed_here, serve):
    """Under an id that tells no time, since a new one was never sent before."""

    def script(message):
        if stamp_of(message.session):
            return [Refused(message.sequence, "too-old", "made before those that were dropped")]
        return counting(message)

    server = serve(script)

    code, out, err = feed_here(b"a\nb\nc\n", "--node", server.address)

    assert (code, out, err) == (0, "3\n", "")
    assert [(m.sequence, m.pairs[0]) for m in sent(server)] == [
        (1, "a"),
        (1, "a"),
        (2, "b"),
        (3, "c"),
    ]


def test_a_run_that_its_node_has_forgotten_says_where_a_new_one_may_begin(feed_here, serve):
    def script(message):
        if message.sequence == 1:
            return counting(message)
        return [Refused(message.sequence, "too-old", "forgotten")]

    code, _, err = feed_here(b"a\nb\nc\n", "--node", serve(script).address)

    assert (code, "MAY" in err) == (1, False)
    assert "line 2: refused: forgotten" in err
    assert "a new run may begin with line 2" in err


@pytest.mark.slow
def test_a_lost_connection_names_the_lines_that_are_unknown(feed, serve, close):
    server = serve(lambda m: [close] if m.pairs[0] == "c" else counting(m))

    code, out, err = feed(b"a\nb\nc\nd\n", "--node", server.address, "--id", "T")

    assert (code, out) == (3, "")
    assert "lines 3 to 4 MAY have been counted" in err
    assert f"counter inc - --id T --node {server.address}" in err


def test_lines_that_may_be_on_disk_are_named_as_unknown(feed, serve):
    doubt = Refused(2, "in-doubt", "cannot tell: fsync failed")
    server = serve(lambda m: [doubt] if m.pairs[0] == "b" else counting(m))

    code, out, err = feed(b"a\nb\nc\n", "--node", server.address)

    assert (code, out) == (3, "")
    assert "lines 2 to 3 MAY have been counted" in err


@pytest.mark.slow
def test_a_slow_writer_is_counted_line_by_line(start, serve):
    heard_r, heard_w = os.pipe()

    def script(message):
        os.write(heard_w, b".")
        return counting(message)

    process = start("inc", "-", "--node", serve(script).address, stdin=subprocess.PIPE)
    process.stdin.write(b"a\n")
    process.stdin.flush()
    heard = os.read(heard_r, 1)
    out, _ = process.communicate(b"b\n", timeout=50)
    os.close(heard_r)
    os.close(heard_w)

    assert (heard, out) == (b".", b"2\n")


@pytest.mark.slow
def test_ctrl_c_says_what_was_counted_and_what_may_have_been(start, serve):
    heard_r, heard_w = os.pipe()

    def script(message):
        os.write(heard_w, b".")
        return counting(message) if message.pairs[0] == "a" else []

    process = start("inc", "-", "--node", serve(script).address, stdin=subprocess.PIPE)
    for line in (b"a\n", b"b\n"):
        process.stdin.write(line)
        process.stdin.flush()
        os.read(heard_r, 1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=50)
    os.close(heard_r)
    os.close(heard_w)

    assert (process.returncode, out) == (130, b"")
    assert err.startswith(b"error: interrupted; lines 2 to 2 MAY have been counted\n")
    assert b"  1 increment before it counted\n  retrying is safe" in err


@pytest.mark.slow
def test_ctrl_c_while_one_increment_waits_says_how_to_repeat_it(start, serve):
    heard_r, heard_w = os.pipe()

    def script(message):
        os.write(heard_w, b".")
        return []

    server = serve(script)
    process = start("inc", "views", "5", "--node", server.address)
    os.read(heard_r, 1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=50)
    os.close(heard_r)
    os.close(heard_w)

    assert (process.returncode, out) == (130, b"")
    assert err.startswith(b"error: interrupted; the increment MAY have been counted\n")
    assert re.search(rb"retrying is safe:  counter inc views 5 --id \w+ --node ", err)


def test_a_name_the_tracker_refuses_comes_with_where_to_look(counter, serve):
    tracker = serve(lambda message: [Refused(message.request, "unknown", "no")], role="tracker")

    ran = counter("inc", "k", "--tracker", tracker.address, "--node", "n7")

    assert (ran.code, ran.out) == (1, "")
    said = f'tracker at {tracker.address} knows no node "n7"'
    assert ran.err == f"error: {said}\n  who is there:  counter members\n"


@pytest.mark.parametrize("number", [2**53, -(2**53), 10**30])
def test_an_amount_too_large_is_refused_in_the_words_of_the_clients(number):
    with pytest.raises(CommandError) as of_the_command:
        parse_amount(str(number))
    with pytest.raises(ConfigError, match="too large") as of_the_client:
        checked_amount(number)

    assert str(of_the_command.value) == str(of_the_client.value)
