"""`counter queries` and `counter cancel`, against nodes that answer as a test wants."""

import json

import pytest

from counter.messages import KillQuery, ListQueries, QueryKilled, QueryList, Story, TellStory
from tracker.members import DEAD, Member
from tracker.messages import Listed, Refused, Roster

RUNNING = (b"\xab" * 16, "views", 1, "", 3.5, 3.5, 2, 4, 3, "127.0.0.1:5000")
WAITING = (b"\xcd" * 16, "views", 0, "pause", 0.2, -1.0, 0, 0, 1, "127.0.0.1:5001")
ENDED = (b"\xef" * 16, "another", 2, "complete", 65.0, 0.0123, 4, 4, 1, "a\x1bclient")
EVENTS = ((0.0, "asked", 1, "client 7"), (0.0125, "ended", 1, "complete"))
UNKNOWN = "n1 asks no such query, and did not in the last 60 s"


@pytest.fixture
def node(serve):
    """Start a node that asks these queries, and knows the story of the last of them."""

    def start(*rows, name="n1"):
        def script(message):
            number = message.request
            if isinstance(message, ListQueries):
                first = [QueryList(number, False, (row,)) for row in rows[:-1]]
                return [*first, QueryList(number, True, rows[-1:])]
            found = [row for row in rows if row[0].hex().startswith(message.id)]
            if not found:
                return [Refused(number, "unknown", UNKNOWN)]
            if isinstance(message, TellStory):
                return [Story(number, found[0], EVENTS, 3)]
            return [QueryKilled(number, found[0][0], found[0][1], found[0][8])]

        return serve(script, name=name)

    return start


@pytest.fixture
def tracker(serve):
    """Start a tracker that lists these nodes; one that is dead stands among them."""

    def start(*nodes):
        members = [
            Member(n.name, bytes([i]) * 16, 0, 1, 0, *n.endpoint) for i, n in enumerate(nodes)
        ]
        members.append(Member("gone", b"x" * 16, 0, 1, 0, "127.0.0.1", 1, DEAD))
        rows = tuple((member, 1.0, 0) for member in members)

        def script(message):
            assert isinstance(message, Roster)
            return [Listed(message.request, True, rows)]

        return serve(script, role="tracker", name="").address

    return start


def killed(*nodes):
    return [m.id for node in nodes for m in node.heard if isinstance(m, KillQuery)]


# -- listing ----------------------------------------------------------------------------------


def test_the_queries_of_a_node_are_listed_with_those_that_go_on_first(counter, node):
    ran = counter("queries", "--node", node(ENDED, RUNNING, WAITING).address)

    assert (ran.code, ran.err) == (0, "")
    assert [line.split() for line in ran.out.splitlines()] == [
        ["cdcdcdcd", "waiting:", "pause", "n1", "0", "s", "-", "-", "1", "127.0.0.1:5001", "views"],
        ["abababab", "running", "n1", "4", "s", "3.5", "s", "2/4", "3", "127.0.0.1:5000", "views"],
        [
            "efefefef", "complete", "n1", "65", "s", "12", "ms", "4/4", "1", "a\\x1bclient",
            "another",
        ],
    ]  # fmt: skip


def test_the_list_is_an_object_as_json(counter, node):
    ran = counter("queries", "--json", "--node", node(WAITING).address)

    assert json.loads(ran.out) == {
        "queries": [
            {
                "query": "cd" * 16, "key": "views", "node": "n1", "state": "waiting",
                "reason": "pause", "age_s": 0.2, "took_ms": None, "answered": 0, "members": 0,
                "viewers": 1, "asked_by": "127.0.0.1:5001",
            },
        ],
    }  # fmt: skip


def test_without_a_node_every_living_one_is_asked(counter, node, tracker):
    nodes = [node(RUNNING), node(WAITING, name="n2"), node(name="n3")]

    ran = counter("queries", "--json", "--tracker", tracker(*nodes))

    found = [(row["node"], row["query"][:2]) for row in json.loads(ran.out)["queries"]]
    assert found == [("n2", "cd"), ("n1", "ab")]


def test_a_node_that_is_lost_meanwhile_is_noted_and_the_others_are_listed(
    counter, node, tracker, serve, close
):
    dying = serve(lambda message: [close], name="n2")

    ran = counter("queries", "--tracker", tracker(dying, node(RUNNING)))

    assert (ran.code, ran.out[:8]) == (0, "abababab")
    assert ran.err.startswith("note: node n2 at ")


def test_more_nodes_than_are_asked_are_noted(counter, node, tracker, monkeypatch):
    monkeypatch.setattr("counter.cli.following.NODES_ASKED_MAX", 1)

    ran = counter("queries", "--tracker", tracker(node(RUNNING), node(WAITING, name="n2")))

    assert len(ran.out.splitlines()) == 1
    assert ran.err == "note: 1 of 2 nodes are asked; --node names another one\n"


# -- stories ----------------------------------------------------------------------------------


def test_a_story_is_told_with_its_times(counter, node, tracker):
    ran = counter("queries", "EFEF", "--tracker", tracker(node(RUNNING), node(ENDED, name="n2")))

    assert ran.out.splitlines() == [
        f"query {'ef' * 16} of n2: another",
        "complete, asked by a\\x1bclient, 65 s ago",
        "      0.0 ms  asked         1  client 7",
        "     12.5 ms  ended         1  complete",
        "… and 3 more events, of which only the number was kept",
    ]


def test_a_story_is_an_object_as_json(counter, node):
    ran = counter("queries", "efef", "--json", "--node", node(ENDED).address)

    story = json.loads(ran.out)
    assert (story["query"], story["left_out"]) == ("ef" * 16, 3)
    assert story["events"][1] == {
        "at_ms": 12.5, "event": "ended", "number": 1, "text": "complete",
    }  # fmt: skip


@pytest.mark.parametrize("command", ["queries", "cancel"])
@pytest.mark.parametrize("id", ["", "abc", "x" * 8, "ab" * 17, "ab cd", "½½½½"])
def test_what_is_no_id_is_refused_before_anybody_is_asked(counter, node, command, id):
    server = node(RUNNING)

    ran = counter(command, id, "--node", server.address)

    assert (ran.code, ran.out, server.streams) == (2, "", 0)
    assert "is not the id of a query" in ran.err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("queries", "none of 2 nodes knows one query whose id begins with beef: a story is told"),
        ("cancel", "no living node asks a query whose id begins with beef"),
    ],
)
def test_an_unknown_id_is_refused_in_plain_words(counter, node, tracker, command, words):
    one = counter(command, "beef", "--node", node(RUNNING).address)
    many = counter(command, "beef", "--tracker", tracker(node(RUNNING), node(name="n2")))

    assert (one.code, many.code) == (1, 1)
    assert one.err.startswith(f"error: {UNKNOWN}\n  which there are:  counter queries")
    assert words in many.err


# -- cancelling -------------------------------------------------------------------------------


def test_a_query_is_cancelled_on_the_node_that_asks_it_and_on_no_other(counter, node, tracker):
    first, second = node(RUNNING), node(WAITING, name="n2")

    ran = counter("cancel", "cdcd", "--tracker", tracker(first, second))

    assert (ran.code, ran.out) == (0, "cancelled cdcdcdcd on n2: views, 1 viewer\n")
    assert (killed(first), killed(second)) == ([], ["cdcd"])


def test_a_cancelled_query_is_an_object_as_json(counter, node):
    ran = counter("cancel", "abab", "--json", "--node", node(RUNNING).address)

    assert json.loads(ran.out) == {
        "query": "ab" * 16, "key": "views", "node": "n1", "viewers": 3,
    }  # fmt: skip


def test_where_two_nodes_ask_queries_that_begin_alike_none_is_cancelled(counter, node, tracker):
    nodes = [node(RUNNING), node(RUNNING, name="n2")]

    ran = counter("cancel", "abab", "--tracker", tracker(*nodes))

    assert ran.code == 1
    assert "2 queries have an id that begins with abab" in ran.err
    assert killed(*nodes) == []


def test_of_two_that_begin_alike_the_one_that_goes_on_is_meant(counter, node, tracker):
    over = (RUNNING[0], "old", 2, "complete", *RUNNING[4:])
    nodes = [node(over), node(RUNNING, name="n2")]

    ran = counter("cancel", "abab", "--tracker", tracker(*nodes))

    assert (ran.code, killed(nodes[0]), killed(nodes[1])) == (0, [], ["abab"])


def test_a_refusal_for_another_reason_is_passed_on(counter, serve):
    server = serve(lambda message: [Refused(message.request, "unexpected", "no answer to that")])

    for command in ("queries", "cancel"):
        ran = counter(command, "abab", "--node", server.address)
        assert (ran.code, ran.err.splitlines()[0]) == (1, "error: no answer to that")
