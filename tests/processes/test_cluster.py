"""One cluster of four, and what its commands print and how they exit (CONTRACT 3 to 5)."""

import json
import signal

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def four(shared):
    return shared.up(4)


def test_every_node_counts_and_any_of_them_answers_with_the_sum(four):
    for name, amount in (("n1", 5), ("n2", -2), ("n3", 30), ("n4", 4)):
        ran = four.run("inc", "sums", str(amount), "--node", name)
        assert (ran.code, ran.out, ran.err) == (0, f"{amount}\n", "")

    for name in four.nodes:
        ran = four.query("sums", "--node", name)
        assert (ran.code, ran.out, ran.err) == (0, "37\n", "")


def test_an_answer_is_one_object_with_the_fields_of_the_contract(four):
    for node in four.nodes.values():
        four.count(node, 3, "fields")

    ran = four.query("fields", "--node", "n2", "--json")

    answer = ran.json
    assert ran.code == 0
    assert len(ran.out.splitlines()) == 1
    expected = {
        "key": "fields", "value": 12, "complete": True, "reason": "complete", "answered": 4,
        "members": 4, "coverage": 1.0, "low": 12, "filled": 12, "filled_age_s": 0.0,
        "missing": [], "origin": "n2", "end": True,
    }  # fmt: skip
    assert {name: answer[name] for name in expected} == expected
    assert answer["elapsed_ms"] > 0
    assert answer["hops"] == 1
    assert answer["messages"] >= 6
    assert answer["bytes"] > 6 * 28
    assert answer["duplicates"] >= 0
    assert len(bytes.fromhex(answer["query"])) == 16


def test_a_key_that_was_decreased_has_no_lower_bound(four):
    four.count(four.nodes["n1"], 9, "down")
    four.count(four.nodes["n3"], -10, "down")

    answer = four.complete(four.nodes["n2"], "down")

    assert (answer["value"], answer["low"], answer["complete"]) == (-1, None, True)


def test_an_unknown_key_is_zero_everywhere(four):
    ran = four.query("never counted")

    assert (ran.code, ran.out) == (0, "0\n")


def test_one_node_s_own_share_is_asked_for_without_gossip(four):
    four.count(four.nodes["n1"], 8, "shares")
    four.count(four.nodes["n2"], 7, "shares")

    assert four.run("get", "shares", "--node", "n1").out == "8\n"
    assert four.run("get", "shares", "--node", "n3").out == "0\n"


def test_lines_are_counted_in_order_and_a_bad_one_is_named_by_its_number(four):
    text = "lines 2\n\nlines\nlines 5_000\nlines 100\n"

    ran = four.run("inc", "-", "--node", "n1", text=text)

    assert ran.code == 2
    assert 'line 4: "5_000" is not a whole number' in ran.err
    assert "2 increments before it counted" in ran.err
    assert four.complete(four.nodes["n4"], "lines")["value"] == 3


def test_the_same_id_never_counts_twice(four):
    first = four.run("inc", "twice", "6", "--node", "n3", "--id", "T1", "--json")
    again = four.run("inc", "twice", "6", "--node", "n3", "--id", "T1", "--json")
    other = four.run("inc", "twice", "7", "--node", "n3", "--id", "T1")

    assert (first.json["repeated"], again.json["repeated"]) == (False, True)
    assert other.code == 1
    assert four.complete(four.nodes["n1"], "twice")["value"] == 6


def test_a_minus_counts_down_and_two_dashes_make_a_key_of_it(four):
    assert four.run("inc", "minus", "-5").out == "-5\n"
    assert four.run("inc", "--", "-k", "5").out == "5\n"

    assert four.query("minus").out == "-5\n"
    assert four.query("--", "-k").out == "5\n"
    assert four.run("inc", "minus", "--bogus").code == 2


def test_members_lists_everybody_with_status_and_address(four):
    rows = four.run("members", "--json").json["members"]

    assert [(row["name"], row["status"]) for row in rows] == [
        (name, "alive") for name in ("n1", "n2", "n3", "n4")
    ]
    assert [row["address"] for row in rows] == [node.address for node in four.nodes.values()]
    assert all(row["durable"] for row in rows)


def test_a_live_query_on_a_pipe_ends_with_its_last_line(four):
    ran = four.query("never counted", "--live")

    assert ran.code == 0
    assert ran.out.splitlines()[-1].startswith("0   4/4 nodes")


def test_ctrl_c_on_a_repeated_query_prints_the_last_value_and_exits_130(four):
    four.count(four.nodes["n2"], 11, "watched")
    watching = four.start("query", "watched", "--watch=50ms", "--json")
    watching.said('"value": 11')

    watching.signal(signal.SIGINT)

    assert watching.ended() == 130
    last = json.loads(watching.lines[-1])
    assert (last["value"], last["end"]) == (11, True)


def test_a_daemon_says_what_it_is_where_it_listens_where_its_data_is_and_what_is_next(four):
    tracker, node = four.trackers[0], four.nodes["n1"]
    where = f"--tracker {tracker.address}"

    assert tracker.lines == [
        f"counter tracker  {tracker.address}   list {four.home}/tracker-0 (0 members)",
        f"next:  counter node --name n1 {where}",
    ]
    assert node.lines[0].startswith("counter node n1 ")
    assert node.lines[0].endswith(f"{node.address}   data {four.home}/n1 (0 keys)")
    assert node.lines[1].startswith(f"joined tracker {tracker.address} in ")
    assert (
        node.lines[2]
        == f"next:  counter inc views 5 {where}   ·   counter query views --live {where}"
    )


def test_a_command_without_any_tracker_fails_within_a_second_and_says_what_to_do(four, nobody):
    ran = four.run("query", "views", "--tracker", nobody)

    assert ran.code == 1
    assert ran.err.startswith(f"error: no tracker at {nobody} (connection refused after 3 tries")
    assert "start one:  counter tracker" in ran.err
