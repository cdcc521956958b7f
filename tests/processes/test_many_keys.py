"""Many keys in one query, from outside: named or by their prefix, complete, cut off, repeated."""

import json
import signal

import pytest

PAGES = {"page:home": 70, "page:about": 12, "page:blog": 5}


@pytest.fixture(scope="module")
def three(shared):
    cluster = shared.up(3)
    for number, node in enumerate(["n1", "n2", "n3"], 1):
        for key, amount in PAGES.items():
            cluster.count(cluster.nodes[node], amount * number, key)
    cluster.count(cluster.nodes["n2"], 4, "errors")
    return cluster


def test_a_prefix_finds_every_key_and_its_sum_over_the_cluster(three):
    ran = three.query("page:*", "--node", "n2")

    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "page:home\t420\npage:about\t72\npage:blog\t30\n"


def test_who_puts_a_star_behind_a_prefix_is_told_that_none_is_wanted(three):
    wanted, starred = three.run("keys", "page:"), three.run("keys", "page:*")

    assert (wanted.out, wanted.err) == ("page:home\npage:about\npage:blog\n", "")
    assert (starred.code, starred.out) == (0, "")
    assert "counter keys PREFIX, without one" in starred.err


def test_a_node_that_says_nothing_is_asked_for_with_what_to_do(three):
    asleep = three.nodes["n2"]
    asleep.signal(signal.SIGSTOP)
    try:
        commands = ("get",), ("inc",), ("inc", "--id", "monday")
        said = [
            three.run(what, "k", "--node", asleep.address, "--deadline", "300ms", *more)
            for what, *more in commands
        ]
    finally:
        asleep.signal(signal.SIGCONT)

    assert [ran.code for ran in said] == [1, 1, 1]
    assert all("is it up:  counter members" in ran.err for ran in said)


def test_named_keys_are_told_even_if_nobody_counted_them(three):
    told = three.query("errors", "page:blog", "never", "--node", "n1", "--json").json

    assert (told["key"], told["value"], told["complete"]) == ("errors page:blog never", 34, True)
    assert [(row["key"], row["value"], row["exact"]) for row in told["keys"]] == [
        ("page:blog", 30, True), ("errors", 4, True), ("never", 0, True),
    ]  # fmt: skip
    assert told["cut_off_at"] is None


def test_what_top_does_not_show_is_bounded(three):
    told = three.query("*", "--top", "2", "--node", "n3", "--json").json

    assert [row["key"] for row in told["keys"]] == ["page:home", "page:about"]
    assert (told["found"], told["left_out"], told["cut_off_at"]) == (4, 0, 30)
    assert told["value"] == 526


def test_a_watch_asks_for_many_keys_again_and_again(three):
    watching = three.start("query", "page:*", "--watch=100ms", "--node", "n1", "--json")
    watching.said(r'"value": 522.*"per_s": 0.0')
    three.count(three.nodes["n3"], 1, "page:new")
    watching.said(r'"value": 523')

    watching.signal(signal.SIGINT)
    assert watching.ended() == 130
    assert json.loads(watching.lines[-1])["end"] is True


def test_the_list_of_queries_names_what_was_asked_for(three):
    three.query("page:ho*", "--node", "n1")

    rows = three.run("queries", "--node", "n1", "--json").json["queries"]

    assert "page:ho*" in [row["key"] for row in rows]


def test_more_keys_than_a_datagram_holds_are_cut_off_at_a_certain_size(three):
    lines = "".join([f"word:{i:03} {1000 - i}\n" for i in range(600)])
    three.run("inc", "-", "--node", "n1", text=lines)
    three.run("inc", "-", "--node", "n3", text=lines)

    told = three.query("word:*", "--node", "n2", "--json").json

    assert told["complete"]
    assert told["value"] == 2 * sum([1000 - i for i in range(600)])
    assert told["left_out"] > 0
    assert told["cut_off_at"] < 2_000
    for row in told["keys"]:
        assert row["low"] <= 2 * (1000 - int(row["key"][5:])) <= row["high"]
    assert told["keys"][0] == {
        "key": "word:000", "value": 2_000, "exact": True, "low": 2_000, "high": 2_000,
    }  # fmt: skip


def test_a_silent_node_leaves_the_upper_bounds_open(three):
    three.nodes["n3"].kill()

    told, prefix = [
        three.until(lambda q=query: (r := three.run("query", *q)).json["answered"] == 2 and r)
        for query in (
            ("never", "errors", "--node", "n1", "--json"), ("page:*", "--node", "n1", "--json"),
        )
    ]  # fmt: skip

    assert (told.code, prefix.code) == (3, 3)
    (errors,) = [row for row in told.json["keys"] if row["key"] == "errors"]
    assert (errors["value"], errors["low"], errors["high"]) == (4, 4, None)
    assert [row["name"] for row in prefix.json["missing"]] == ["n3"]
