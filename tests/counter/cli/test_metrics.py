"""`counter metrics`: what Prometheus reads is exact, or missing, whatever breaks."""

import asyncio
import socket
import urllib.error
import urllib.parse
import urllib.request
from contextlib import asynccontextmanager, redirect_stderr, suppress
from io import StringIO
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from counter import Client
from counter.cli import exporter, metrics
from counter.client.answers import Outcome, nothing_heard
from counter.client.exposition import NAMED_MAX, Page
from counter.client.totals import KeyTotal, MemberState, total_of
from counter.testing import cluster
from tracker.classes import replace


def samples(text):
    """Return what Prometheus makes of a page: metric with its labels, and value."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    told = [line.removeprefix("gossip_counter_").rpartition(" ") for line in lines]
    assert len({name for name, _, _ in told}) == len(told), "a sample stands there twice"
    return {name: float(value) for name, _, value in told}


def fetched(url, **options):
    with urllib.request.urlopen(urllib.request.Request(url, **options), timeout=30) as reply:
        return reply.status, reply.headers["Content-Type"], reply.read().decode()


@pytest.fixture
def served(start):
    """Serve pages as a person would; returns where."""

    def serve(*arguments):
        process = start("metrics", "--listen", "127.0.0.1:0", *arguments)
        first = process.stdout.readline().decode().split()
        process.stdout.readline()
        return first[2], process

    return serve


def test_a_page_tells_members_and_exact_totals(counter):
    with cluster(nodes=2) as running, Client(running.trackers) as client:
        client.incr("views", 5)
        client.incr("page:a", 3)
        client.incr("page:b", -4)

        ran = counter("metrics", "views", "page:*", "never", "--tracker", running.trackers)

    told = samples(ran.out)
    assert (ran.code, ran.err) == (0, "")
    assert (told["up"], told['members{status="alive"}'], told['members{status="dead"}']) == (
        1,
        2,
        0,
    )
    assert told['member_alive{name="n1"}'] == 1
    assert {name: value for name, value in told.items() if name.startswith("value")} == {
        'value{key="views"}': 5,
        'value{key="page:a"}': 3,
        'value{key="page:b"}': -4,
        'value{key="never"}': 0,
    }
    assert (told['complete{query="page:*"}'], told['expected{query="views"}']) == (1, 2)
    assert "# TYPE gossip_counter_value gauge\n" in ran.out


def test_a_total_that_somebody_is_missing_from_is_no_sample(counter):
    with cluster(nodes=2) as running:
        with Client(running.trackers, node="n1") as client:
            client.incr("views", 5)
        running.crash("n2")

        ran = counter("metrics", "views", "v*", "--tracker", running.trackers)

    told = samples(ran.out)
    assert ran.code == 3
    assert [name for name in told if name.startswith("value")] == []
    assert (told['seen{key="views"}'], told['complete{query="views"}']) == (5, 0)
    assert (told['answered{query="v*"}'], told['expected{query="v*"}']) == (1, 2)
    assert told['member_alive{name="n2"}'] == 0


def test_a_key_that_is_asked_for_twice_stands_there_once(counter):
    with cluster() as running, Client(running.trackers) as client:
        client.incr('say "hi" \\', 2)

        ran = counter("metrics", "say*", 'say "hi" \\', "say*", "--tracker", running.trackers)

    assert samples(ran.out)['value{key="say \\"hi\\" \\\\"}'] == 2


def test_without_a_tracker_the_page_says_so_and_why(counter):
    ran = counter("metrics", "views", "--tracker", "127.0.0.1:1", "--deadline", "300ms")

    assert (ran.code, samples(ran.out)) == (1, {"up": 0, 'complete{query="views"}': 0})
    assert ran.err.startswith("error: no tracker at 127.0.0.1:1 (connection refused")
    assert (ran.err.count("error"), ran.err.count("start one:  counter tracker")) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a*b"], "a star stands for the rest of a key: at its end, and once"),
        ([""], "a key is 1-256 bytes"),
        ([f"k{n}" for n in range(33)], "33 totals are asked for, at most 32 can be"),
        (["--listen", "here"], "--listen: "),
        (["--listen", "0.0.0.0:0"], "can be reached from other machines"),
    ],
    ids=["star", "empty", "many", "address", "insecure"],
)
def test_what_makes_no_sense_is_refused_before_anybody_is_asked(counter, arguments, said):
    ran = counter("metrics", *arguments)

    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


def test_it_is_served_until_it_is_told_to_stop_and_a_lost_tracker_is_said_once(served):
    with cluster() as running:
        url, process = served("views", "--tracker", running.trackers, "--deadline", "20s")
        with Client(running.trackers) as client:
            client.incr("views", 5)
            status, kind, text = fetched(url)
            client.incr("views", 1)
            again = samples(fetched(url)[2])

    gone = samples(fetched(url)[2])
    fetched(url)
    process.terminate()
    _, err = process.communicate(timeout=50)

    assert (status, kind, samples(text)['value{key="views"}']) == (200, exporter.CONTENT_TYPE, 5)
    assert (again['value{key="views"}'], gone) == (6, {"up": 0, 'complete{query="views"}': 0})
    assert (process.returncode, err.decode().count("going on")) == (0, 1)


@pytest.mark.parametrize(("path", "data", "status"), [("/x", None, 404), ("/", b"x", 501)])
def test_another_request_is_refused(served, path, data, status):
    url, _ = served("--tracker", "127.0.0.1:1")

    with pytest.raises(urllib.error.HTTPError) as refused:
        fetched(url.removesuffix("/metrics") + path, data=data)

    assert refused.value.code == status
    refused.value.close()


MARK = b"\x1b]0;marked"
WORDS = st.sampled_from(
    [b"GET", b"HEAD", b"GET GET", b"/metrics?x", b"HTTP/1.1", b"HTTP/2.0", MARK]
)
WORD = WORDS | st.binary(max_size=20)


@given(st.lists(WORD, max_size=4), st.lists(st.binary(max_size=30) | st.just(MARK), max_size=110))
@example([MARK, b"/", b"HTTP/1.1"], [])
@example([b"GET", MARK, b"HTTP/1.1"], [])
@example([b"GET", b"/", MARK], [])
@example([b"GET", b"/", b"HTTP/1.1"], [MARK] * 110)
def test_whatever_is_asked_is_answered_or_not_and_never_quoted(words, lines):
    with redirect_stderr(StringIO()) as said:
        request = exporter.Request(b"\r\n".join([b" ".join(words), *lines, b"", b""]))

    assert b"marked" not in request.reply
    assert b"\x1b" not in request.reply
    assert not request.is_for_page or words[:1] == [b"GET"]
    assert said.getvalue() == ""


def test_of_a_reply_all_but_its_page_is_the_library_s():
    request = exporter.Request(b"GET /metrics?a=b HTTP/1.1\r\nHost: x\r\n\r\n")

    request.answer("gossip_counter_up 1\n")

    head, _, body = request.reply.partition(b"\r\n\r\n")
    assert (request.is_for_page, body) == (True, b"gossip_counter_up 1\n")
    assert head.startswith(b"HTTP/1.0 200 OK\r\nServer: gossip-counter")
    assert b"\r\nContent-Length: 20" in head


@asynccontextmanager
async def door(look=None):
    """Serve what `look` makes, or a page without a tracker; yields where."""
    port, stop = socket.create_server(("127.0.0.1", 0)), asyncio.Event()
    where = port.getsockname()
    alone = metrics._Look(metrics.Settings({}), [], None, None, "127.0.0.1:1", None, "100ms")
    before = asyncio.all_tasks()
    serving = asyncio.ensure_future(exporter.Door(look or alone.page).serve(port, stop, ""))
    try:
        async with asyncio.timeout(20):
            yield where
    finally:
        stop.set()
        await serving
        assert asyncio.all_tasks() <= before, "somebody is still served"


async def asked(reader, writer, path=b"/metrics"):
    writer.write(b"GET " + path + b" HTTP/1.1\r\n\r\n")
    return await reader.read()


async def test_one_more_than_there_may_be_is_closed_while_the_others_are_served(monkeypatch):
    monkeypatch.setattr(exporter, "READERS_MAX", 2)
    async with door() as where:
        streams = [await asyncio.open_connection(*where) for _ in range(3)]

        assert await streams[2][0].read() == b""
        for reader, writer in streams[:2]:
            assert (await asked(reader, writer)).endswith(b"gossip_counter_up 0\n")
        reader, writer = await asyncio.open_connection(*where)
        assert b"404" in await asked(reader, writer, b"/x")

        writer.close()
        for _, other in streams:
            other.close()


@pytest.mark.parametrize(
    ("said", "seconds"),
    [(b"", 0.2), (b"GET /metrics HTTP/1.1\r\n", 0.2), (b"x" * 100_000, 99)],
    ids=["nothing", "half", "much"],
)
async def test_who_comes_to_no_end_is_closed_and_frees_the_place(monkeypatch, said, seconds):
    monkeypatch.setattr(exporter, "REQUEST_S", seconds)
    monkeypatch.setattr(exporter, "READERS_MAX", 1)
    async with door() as where:
        slow, first = await asyncio.open_connection(*where)
        first.write(said)

        with suppress(ConnectionError):
            assert await slow.read() == b""
        reader, writer = await asyncio.open_connection(*where)
        assert b"200 OK" in await asked(reader, writer)

        first.close()
        writer.close()


async def test_who_sends_byte_by_byte_has_no_more_time_than_others(monkeypatch):
    monkeypatch.setattr(exporter, "REQUEST_S", 0.2)
    async with door() as where:
        reader, writer = await asyncio.open_connection(*where)

        with suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"x")
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        assert await reader.read() == b""

        writer.close()


async def test_who_does_not_read_the_reply_is_cut_off(monkeypatch):
    monkeypatch.setattr(exporter, "REQUEST_S", 0.2)
    monkeypatch.setattr(exporter, "READERS_MAX", 1)
    large = SimpleNamespace(text="x" * 30_000_000)

    async def look():
        return large, []

    async with door(look) as where:
        with socket.create_connection(where) as deaf:
            deaf.sendall(b"GET / HTTP/1.1\r\n\r\n")
            heard = b"nobody"
            while heard != b"HTTP/1.0 404":
                reader, writer = await asyncio.open_connection(*where)
                with suppress(ConnectionError):
                    heard = (await asked(reader, writer, b"/x"))[:12]
                writer.close()
            # What the kernel holds is still to be had, and no more.
            assert sum(map(len, iter(lambda: deaf.recv(1_000_000), b""))) < len(large.text)


async def test_whoever_is_in_the_middle_of_a_request_is_let_go_when_it_stops():
    async with door() as where:
        left, first = await asyncio.open_connection(*where)
        first.write(b"GET /metrics")
        reader, writer = await asyncio.open_connection(*where)
        assert b"404" in await asked(reader, writer, b"/x"), "both are served"

    assert await left.read() == b""
    first.close()
    writer.close()


def test_a_signal_ends_it_without_a_word_while_somebody_is_in_the_middle_of_a_request(served):
    url, process = served("--tracker", "127.0.0.1:1")
    where = urllib.parse.urlsplit(url)
    with socket.create_connection((where.hostname, where.port)) as silent:
        silent.sendall(b"GET /metrics")
        with pytest.raises(urllib.error.HTTPError, match="404") as refused:
            fetched(url + "/none")
        refused.value.close()

        process.terminate()
        _, err = process.communicate(timeout=50)

    assert (process.returncode, err.decode()) == (0, "")


def test_of_very_many_members_those_that_are_not_alive_are_named_first():
    page = Page()
    members = [
        MemberState(f"n{n}", "dead" if n == NAMED_MAX else "alive", "", None, None, True, "")
        for n in range(NAMED_MAX + 1)
    ]

    page.put_members([*members, MemberState("old", "gone", "", None, None, True, "")])

    told = samples(page.text)
    assert (told[f'member_alive{{name="n{NAMED_MAX}"}}'], told['members{status="alive"}']) == (
        0,
        NAMED_MAX,
    )
    assert sum(name.startswith("member_alive") for name in told) == NAMED_MAX


@pytest.mark.parametrize(
    ("complete", "exact", "told"),
    [(True, True, {"a": 5}), (True, False, {}), (False, True, {})],
    ids=["exact", "between two numbers", "somebody is silent"],
)
def test_only_what_is_exact_is_a_value(complete, exact, told):
    outcome = Outcome("a*", replace(nothing_heard("deadline", "n1", ""), complete=complete))
    total = replace(total_of(outcome), keys=(KeyTotal("a", 5, exact, 5, 5 if exact else 9),))
    page = Page()

    page.put_total("a*", total)

    found = samples(page.text)
    assert {f'value{{key="{key}"}}': value for key, value in told.items()} == {
        name: value for name, value in found.items() if name.startswith("value")
    }
    assert found['seen{key="a"}'] == 5
