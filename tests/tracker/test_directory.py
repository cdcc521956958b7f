"""What clients are told of the members, and whom they may give up."""

import pytest
from one_tracker import beat, emitted, join, make_member, make_registry, register, run, sent, status

from tracker.machine import (
    Close,
    Closed,
)
from tracker.members import ALIVE, DEAD, GONE, SUSPECT
from tracker.messages import (
    CANDIDATES_MAX,
    MEMBERSHIP,
    Find,
    Forget,
    Forgotten,
    Found,
    Listed,
    Refused,
    Roster,
)
from tracker.pages import members_to_record
from tracker.wire import FRAME_BYTES_MAX


def test_a_client_finds_a_member_by_name_without_registering():
    registry = make_registry()
    join(registry, 1, make_member())
    beat(registry, 1, activity=42)

    [found] = sent(registry.receive(9, Find(5, "n1"), 0.0), Found, 9)

    assert found == Found(5, (("n1", "10.0.0.11", 7401, ALIVE, 42),))


@pytest.mark.parametrize("name", ["nobody", "\x1b[2J", "gone"])
def test_a_name_nobody_has_is_unknown_and_printed_safely(name):
    registry = make_registry(members_to_record([make_member("gone", status=GONE)]))

    [refused] = sent(registry.receive(9, Find(5, name), 0.0), Refused, 9)

    assert (refused.request, refused.code) == (5, "unknown")
    assert "\x1b" not in refused.text


def test_candidates_are_living_members_in_random_order_and_not_too_many():
    members = [make_member(f"n{i}", port=1000 + i) for i in range(100)]
    dead = [make_member(f"d{i}", status=DEAD) for i in range(100)]
    registry = make_registry(members_to_record(members + dead))

    draws = [sent(registry.receive(9, Find(1, ""), 0.0), Found)[0].candidates for _ in range(3)]

    assert all(len(draw) == len(set(draw)) == CANDIDATES_MAX for draw in draws)
    assert all(row[0].startswith("n") for draw in draws for row in draw)
    assert len(set(draws)) == 3


def test_turns_go_round_all_who_live_however_many_they_are():
    members = [make_member(f"n{i}", port=1000 + i) for i in range(100)]
    dead = [make_member(f"d{i}", status=DEAD) for i in range(10)]
    registry = make_registry(members_to_record(members + dead))

    rounds = [
        [row[0] for row in sent(registry.receive(9, Find(1, "", turn), 0.0), Found)[0].candidates]
        for turn in range(200)
    ]

    firsts = [names[0] for names in rounds]
    assert sorted(firsts[:100]) == sorted(member.name for member in members)
    assert firsts[100:] == firsts[:100]
    # Whoever finds the first one gone goes on with those who have their turns behind it.
    assert all(names == (firsts * 2)[i : i + CANDIDATES_MAX] for i, names in enumerate(rounds))


def test_a_turn_among_few_names_each_of_them_once():
    registry = make_registry()
    for link in range(3):
        join(registry, link, make_member(f"n{link}", port=7000 + link))

    [found] = sent(registry.receive(9, Find(1, "", 2**62), 0.0), Found)

    assert sorted(row[0] for row in found.candidates) == ["n0", "n1", "n2"]


def test_those_who_died_are_no_candidates_any_more():
    registry = make_registry()
    for link in range(5):
        join(registry, link, make_member(f"n{link}", port=7000 + link))
    for link in (1, 4, 0):
        registry.submit(Closed(link, "reset"), 0.0)

    [found] = sent(registry.receive(9, Find(1, ""), 0.0), Found)

    assert {row[0] for row in found.candidates} == {"n2", "n3"}


def test_an_empty_tracker_has_no_candidates_and_an_empty_roster():
    registry = make_registry()

    assert sent(registry.receive(9, Find(1, ""), 0.0), Found) == [Found(1, ())]
    assert sent(registry.receive(9, Find(1, "", 7), 0.0), Found) == [Found(1, ())]
    assert sent(registry.receive(9, Roster(2), 0.0), Listed) == [Listed(2, True, ())]


def test_the_roster_says_who_is_how_for_how_long():
    registry = make_registry()
    join(registry, 1, make_member("n2"))
    beat(registry, 1, activity=3)
    join(registry, 2, make_member("n1"))
    registry.submit(Closed(2, "reset"), 1.0)

    [listed] = sent(registry.receive(9, Roster(7), 3.5), Listed, 9)

    rows = [(m.name, m.status, seconds, activity) for m, seconds, activity in listed.rows]
    assert rows == [("n1", SUSPECT, 2.5, -1), ("n2", ALIVE, 3.5, 3)]
    assert listed.end


def test_a_long_roster_comes_in_pages_that_fit():
    members = [make_member(f"n{i}", note="\N{SNOWMAN}" * 400) for i in range(600)]
    registry = make_registry(members_to_record(members))

    pages = sent(registry.receive(9, Roster(7), 1.0), Listed, 9)

    assert [page.end for page in pages] == [False] * (len(pages) - 1) + [True]
    assert sum(len(page.rows) for page in pages) == 600
    assert all(MEMBERSHIP.decode(MEMBERSHIP.encode(p)) == p for p in pages)
    assert all(len(MEMBERSHIP.encode(p)) <= FRAME_BYTES_MAX for p in pages)


def test_a_member_that_is_not_alive_can_be_given_up():
    registry = make_registry()
    join(registry, 1, make_member())
    registry.submit(Closed(1, "reset"), 1.0)

    effects = registry.receive(9, Forget(4, "n1"), 3.0)

    assert sent(effects, Forgotten, 9) == [Forgotten(4, SUSPECT, 2.0)]
    assert emitted(effects) == ["gone"]
    assert status(registry) == GONE
    assert sent(registry.receive(9, Forget(5, "n1"), 4.0), Forgotten) == [Forgotten(5, GONE, 1.0)]


@pytest.mark.parametrize(("name", "code"), [("n1", "alive"), ("n2", "unknown")])
def test_the_living_and_the_unknown_cannot_be_given_up(name, code):
    registry = make_registry()
    join(registry, 1, make_member())

    [refused] = sent(registry.receive(9, Forget(4, name), 3.0), Refused, 9)

    assert (refused.request, refused.code) == (4, code)
    assert status(registry) == ALIVE


def test_a_forgotten_member_that_was_only_paused_has_to_register_and_is_alive_again():
    registry = make_registry()
    join(registry, 1, make_member())
    run(registry, 14.0)

    effects = registry.receive(9, Forget(4, "n1"), 14.5)
    assert Close(1) in effects
    [refused] = sent(beat(registry, 1, now=15.0), Refused, 1)
    assert refused.code == "not-registered"
    register(registry, 2, make_member(), now=15.5)

    assert status(registry) == ALIVE
    assert registry.table.get("n1").incarnation == 1
