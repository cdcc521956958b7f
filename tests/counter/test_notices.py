"""What a node says to a person about its own life."""

from counter.notices import (
    drained_line,
    held_text,
    joined_line,
    lost_line,
    name_lost_line,
    reborn_line,
    refusal_text,
    seeking_line,
)
from counter.storage.base import Rebirth
from tracker.machine import Emit


def refused(code):
    return Emit("registration-refused", {"code": code, "text": "it is a copy"})


def test_a_copy_that_ends_says_how_much_it_has_counted_that_is_in_no_total():
    assert refusal_text(refused("clone"), 1) == (
        "it is a copy\n  what this one has counted since its start (1 record) is in no total"
    )
    assert "(12 records)" in refusal_text(refused("in-use"), 12)


def test_who_has_counted_nothing_or_is_no_copy_only_says_why_it_ends():
    assert refusal_text(refused("clone"), 0) == "it is a copy"
    assert refusal_text(refused("name-taken"), 3) == "it is a copy"


def test_a_lost_name_is_told_with_the_one_that_is_left():
    details = {"name": "n1", "address": "", "as": "n1~00", "text": "n1 belongs to another"}

    assert name_lost_line(Emit("name-lost", details)).split("\n") == [
        "note: n1 belongs to another",
        "  this node goes on as n1~00, with all it has counted, and keeps that name until it is"
        " told another --name",
    ]


def test_an_old_backup_says_that_it_goes_on_as_a_new_store():
    said = refused("old-backup")

    assert reborn_line(said, Rebirth(0)).startswith("note: it is a copy\n")
    assert reborn_line(said, Rebirth(6)).endswith("begins with what the backup holds")
    assert reborn_line(said, Rebirth(6, is_beside=True)).endswith("what only this copy has counted")


def test_a_node_without_a_tracker_counts_meanwhile_but_not_once_it_was_drained():
    lost = Emit("tracker-lost", {"tracker": "10.0.0.1:7400", "reason": "connection refused"})

    assert seeking_line(lost, is_leaving=False).split("\n")[0] == (
        "no tracker at 10.0.0.1:7400 yet (connection refused); still trying, and counting meanwhile"
    )
    assert "counting nothing" in seeking_line(lost, is_leaving=True)


def test_a_drained_node_says_where_its_counts_are_and_that_its_directory_is_used_up():
    drained = Emit("drained", {"keys": 1, "to": "n2"})

    assert drained_line(Emit("drained", {"keys": 0, "to": ""}), "n1", "d") == (
        "n1 is gone; it held no counts"
    )
    assert drained_line(drained, "n1", "") == "n1 is gone; 1 key went to n2"
    assert "note: d is used up" in drained_line(drained, "n1", "d")


def test_a_node_that_joined_says_what_to_type_next():
    details = {"tracker": "10.0.0.1:7400", "ms": 4.2, "members": 3}

    assert joined_line(Emit("joined", details)).startswith(
        "joined tracker 10.0.0.1:7400 in 4 ms · 3 members\nnext:  counter inc views 5 --tracker"
    )
    usual = {**details, "tracker": "127.0.0.1:7400", "members": 1}
    assert "--tracker" not in joined_line(Emit("joined", usual))


def test_what_is_held_for_others_is_told_beside_the_own_keys():
    assert held_text(1, []) == "1 key"
    assert held_text(0, [3]) == "0 keys, and 3 in a share of another store"
    assert held_text(2, [3, 4]) == "2 keys, and 7 in shares of 2 other stores"


def test_who_ends_with_its_counts_says_what_to_type_about_it():
    usual, other = ("127.0.0.1", 7400), ("10.0.0.1", 7400)

    assert lost_line("m1", 2, [usual], "default").split("\n") == [
        "this node kept its counts in memory: 2 keys end with it",
        "  queries miss it as long as it is a member",
        "  begin anew in its place:  counter node --memory --name m1",
        "  or give its counts up:    counter forget m1",
    ]
    away = lost_line("m1", 1, [usual, other], "blue").split("\n")
    options = "m1 --tracker 127.0.0.1:7400,10.0.0.1:7400 --cluster blue"
    assert away[2].endswith(f"--name {options}")
    assert away[3].endswith(f"counter forget {options}")


def test_who_was_never_taken_in_is_missed_by_nobody():
    line = "this node kept its counts in memory: 1 key ends with it"

    assert lost_line("m1", 1, None, "default") == line
