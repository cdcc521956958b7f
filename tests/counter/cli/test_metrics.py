"""`counter metrics`: what Prometheus reads is exact, or missing, whatever breaks."""

import asyncio
import socket
import urllib.error
import urllib.request

import pytest

from counter import Client
from counter.cli import metrics
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
    with urllib.request.urlopen(urllib.request.Request(url, **options), timeout=10) as reply:
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
        url, process = served("views", "--tracker", running.trackers, "--deadline", "300ms")
        with Client(running.trackers) as client:
            client.incr("views", 5)
            status, kind, text = fetched(url)
            client.incr("views", 1)
            again = samples(fetched(url)[2])

    gone = samples(fetched(url)[2])
    fetched(url)
    process.terminate()
    _, err = process.communicate(timeout=20)

    assert (status, kind, samples(text)['value{key="views"}']) == (200, metrics.CONTENT_TYPE, 5)
    assert (again['value{key="views"}'], gone) == (6, {"up": 0, 'complete{query="views"}': 0})
    assert (process.returncode, err.decode().count("going on")) == (0, 1)


@pytest.mark.parametrize(("path", "data", "status"), [("/x", None, 404), ("/", b"x", 405)])
def test_another_request_is_refused(served, path, data, status):
    url, _ = served("--tracker", "127.0.0.1:1")

    with pytest.raises(urllib.error.HTTPError) as refused:
        fetched(url.removesuffix("/metrics") + path, data=data)

    assert refused.value.code == status
    refused.value.close()


async def test_who_says_nothing_or_nonsense_is_closed_and_holds_nobody_up(monkeypatch):
    monkeypatch.setattr(metrics, "REQUEST_S", 0.2)
    monkeypatch.setattr(metrics, "READERS_MAX", 2)
    port, stop = socket.create_server(("127.0.0.1", 0)), asyncio.Event()
    where = port.getsockname()
    look = metrics._Look(metrics.Settings({}), [], None, None, "127.0.0.1:1", None, "100ms")
    serving = asyncio.ensure_future(metrics._Door(look).serve(port, stop))

    (silent, one), (large, two), (third, three), (asking, four) = [
        await asyncio.open_connection(*where) for _ in range(4)
    ]
    assert (await third.read(), await asking.read()) == (b"", b""), "two more than there may be"
    two.write(b"x" * (metrics.REQUEST_BYTES_MAX + 70_000))
    assert (await silent.read(), await large.read()) == (b"", b"")
    asking, five = await asyncio.open_connection(*where)
    five.write(b"GET /metrics HTTP/1.1\r\n\r\n")
    assert (await asking.read()).endswith(b"gossip_counter_up 0\n")

    for writer in (one, two, three, four, five):
        writer.close()
    stop.set()
    assert await serving == 0


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
