"""`counter inc --id`: where an id belongs, what is said when nobody can tell, what was promised."""

import json
from dataclasses import replace

import pytest

from counter.cli.homes import home_of
from counter.cli.increments import session_of, unstamped_token
from counter.messages import Counted, Increment
from counter.stamps import stamp_of
from tracker.members import AWAY, DEAD, GONE, Member
from tracker.messages import Find, Found, Listed, Refused, Roster

TOO_OLD = "this id is so far behind that nobody can tell whether it was counted"


def make_member(name, endpoint=("127.0.0.1", 9), **fields):
    return Member(name, name.encode().ljust(16), 1, 1, 0, *endpoint, **fields)


def knowing(members):
    """Return a script for a tracker that knows these members."""

    def script(message):
        if isinstance(message, Roster):
            return [Listed(message.request, True, tuple((m, 1.0, 0) for m in members))]
        if isinstance(message, Find):
            found = [m for m in members if m.name == message.name]
            rows = tuple((m.name, m.host, m.port, m.status, 0) for m in found)
            return [Found(message.request, rows)]
        return []

    return script


def counting(message):
    return [Counted(message.sequence, True, False)]


def sent(server):
    return [message for message in server.heard if isinstance(message, Increment)]


# -- the home of an id ------------------------------------------------------------------------


def test_an_id_has_one_home_and_ids_have_homes_everywhere():
    members = [make_member(f"n{number}") for number in range(5)]
    homes = {token: home_of(token, members).name for token in map(str, range(100))}

    assert {home_of(t, members[::-1]).name == home for t, home in homes.items()} == {True}
    assert set(homes.values()) == {member.name for member in members}


def test_the_home_of_an_id_stays_when_it_is_down_or_another_one_leaves():
    members = [make_member(f"n{number}") for number in range(5)]
    home = home_of("T", members)
    down = [replace(m, status=DEAD) if m == home else m for m in members]
    left = [m if m == home else replace(m, status=GONE) for m in members]

    assert home_of("T", down).name == home_of("T", left).name == home.name


def test_an_id_belongs_to_a_node_with_a_disk_where_there_is_one():
    members = [make_member(f"n{number}", durable=number == 3) for number in range(5)]

    assert {home_of(str(token), members).name for token in range(20)} == {"n3"}
    assert home_of("T", [make_member("m", durable=False)]).name == "m"
    assert home_of("T", []) is None


def test_an_id_without_a_node_is_counted_at_its_home_each_time(counter, serve):
    nodes = {name: serve(counting, name=name) for name in ("n1", "n2", "n3")}
    members = [make_member(name, node.endpoint) for name, node in nodes.items()]
    tracker = serve(knowing(members), role="tracker")

    for token in ("a", "b", "c", "d", "e", "a", "b"):
        assert counter("inc", "k", "--id", token, "--tracker", tracker.address).code == 0

    for token in "abcde":
        home = nodes[home_of(token, members).name]
        assert session_of(token) in [message.session for message in sent(home)]
    assert sum(len({message.session for message in sent(node)}) for node in nodes.values()) == 5


@pytest.mark.parametrize("status", [AWAY, DEAD])
def test_an_id_whose_home_is_down_is_counted_nowhere_else(counter, serve, status):
    members = [make_member("n1"), make_member("n2")]
    home = home_of("T", members)
    members = [replace(m, status=status) if m == home else m for m in members]
    tracker = serve(knowing(members), role="tracker")

    ran = counter("inc", "k", "--id", "T", "--tracker", tracker.address)

    assert (ran.code, ran.out) == (1, "")
    assert f"belongs to {home.name}, which is" in ran.err


def test_an_id_in_a_cluster_without_nodes_is_refused(counter, serve):
    tracker = serve(knowing([]), role="tracker")

    ran = counter("inc", "k", "--id", "T", "--tracker", tracker.address)

    assert (ran.code, "knows no node" in ran.err) == (1, True)


def test_an_id_at_a_named_node_is_counted_there_whoever_its_home_is(counter, serve):
    server = serve(counting)

    assert counter("inc", "k", "--id", "T", "--node", server.address).code == 0
    assert len(sent(server)) == 1


def test_the_safe_retry_names_the_node_by_its_name_where_a_tracker_led_to_it(counter, serve, close):
    answers = iter([[Refused(1, "in-doubt", "cannot tell")]])
    node = serve(lambda message: next(answers, [close]), name="n7")
    tracker = serve(knowing([make_member("n7", node.endpoint)]), role="tracker")

    ran = counter("inc", "k", "5", "--tracker", tracker.address, "--node", "n7", "--id", "T")

    assert ran.code == 3
    assert "retrying is safe:  counter inc k 5 --id T --node n7 " in ran.err


# -- too old to tell --------------------------------------------------------------------------


def test_an_id_too_old_to_tell_is_an_unknown_outcome(counter, serve):
    server = serve(lambda m: [Refused(m.sequence, "too-old", TOO_OLD)])

    ran = counter("inc", "k", "--id", "T", "--node", server.address)

    assert (ran.code, ran.out) == (3, "")
    assert f"{TOO_OLD}; the increment MAY have been counted" in ran.err
    assert "under a new id it counts for certain, perhaps a second time" in ran.err


def test_a_clock_that_lags_behind_keeps_nobody_from_counting(counter, serve):
    def script(message):
        if stamp_of(message.session):
            return [Refused(message.sequence, "too-old", TOO_OLD)]
        return counting(message)

    server = serve(script)

    ran = counter("inc", "k", "--node", server.address, "--json")

    assert ran.code == 0
    first, second = sent(server)
    assert second.session == session_of(json.loads(ran.out)["id"]) != first.session


def test_any_other_refusal_of_a_new_id_stays_a_refusal(counter, serve):
    server = serve(lambda m: [Refused(m.sequence, "full", "this node is full")])

    ran = counter("inc", "k", "--node", server.address)

    assert (ran.code, len(sent(server))) == (1, 1)


def test_a_token_without_a_time_is_as_new_as_one_with_it():
    first, second = unstamped_token(), unstamped_token()

    assert first != second
    assert stamp_of(session_of(first)) == 0


# -- what was promised ------------------------------------------------------------------------


@pytest.mark.parametrize(("on_disk", "promise"), [(True, "disk"), (False, "memory")])
def test_the_promise_that_was_met_stands_in_the_json_object(counter, serve, on_disk, promise):
    server = serve(lambda m: [Counted(m.sequence, on_disk, False)])

    ran = counter("inc", "k", "--node", server.address, "--json")

    assert json.loads(ran.out)["ack"] == promise


@pytest.mark.parametrize(
    ("on_disk", "line"),
    [(True, "k 5 on n1\n"), (False, "k 5 on n1   (in memory only)\n")],
)
def test_a_person_is_told_when_the_acknowledgement_is_from_memory(
    counter, serve, monkeypatch, on_disk, line
):
    monkeypatch.setattr("counter.cli.increments.on_terminal", lambda: True)
    server = serve(lambda m: [Counted(m.sequence, on_disk, False)])

    assert counter("inc", "k", "5", "--node", server.address).out == line
