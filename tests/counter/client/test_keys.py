"""What people and programs see of many keys: exact or between two numbers, and what is cut off."""

from counter.client.answers import Outcome
from counter.client.keys import Found, cut_off, keys_object, table_of
from counter.messages import Keyed

ROWS = (("home", 1_234, 1_234, 1_234), ("about", 90, 90, 95), ("blog", -5, -9, -1))


def make_found(*rows, left_out=0, unseen=0):
    found = Found()
    found.take(Keyed(1, rows, len(rows), left_out, unseen))
    return found


def test_pages_are_one_list():
    found = make_found(ROWS[0])
    found.take(Keyed(1, ROWS[1:], 3, 2, 7))

    assert (tuple(found.rows), found.keys, found.left_out, found.unseen) == (ROWS, 3, 2, 7)


def test_the_object_says_of_each_key_whether_it_is_exact():
    told = keys_object(make_found(*ROWS, left_out=2, unseen=7), 2)

    assert told == {
        "keys": [
            {"key": "home", "value": 1_234, "exact": True, "low": 1_234, "high": 1_234},
            {"key": "about", "value": 90, "exact": False, "low": 90, "high": 95},
        ],
        "found": 3,
        "left_out": 2,
        "cut_off_at": 9,
    }


def test_nothing_is_cut_off_where_everything_is_shown():
    assert make_found(*ROWS).cut_off_at(None) is None
    assert make_found(*ROWS).cut_off_at(3) is None


def test_what_is_not_shown_is_bounded_by_the_largest_of_it():
    assert make_found(*ROWS).cut_off_at(1) == 95
    assert make_found(*ROWS, left_out=1, unseen=200).cut_off_at(1) == 200
    assert make_found(("a", 5, 5, None), unseen=2, left_out=1).cut_off_at(0) == 7


def test_the_table_shows_between_which_numbers_the_truth_lies():
    assert table_of(make_found(*ROWS), None) == [
        "home   1 234",
        "about     90   at most 95",
        "blog      -5   -9 to -1",
    ]
    assert table_of(make_found(("a", 5, 5, None)), None) == ["a  5"]
    assert table_of(make_found(), None) == []


def test_the_table_holds_nothing_that_a_terminal_obeys():
    (line,) = table_of(make_found(("a\x1b[2J", 1, 1, 1)), None)

    assert line == "a\\x1b[2J  1"


def test_the_line_below_says_what_is_missing_from_the_table(make_answer):
    whole = Outcome("*", make_answer(complete=True))
    part = Outcome("*", make_answer(complete=False))

    assert cut_off(whole, make_found(*ROWS), None) == ""
    assert cut_off(whole, make_found(*ROWS), 1) == (
        "cut off at 95: no other key has more (2 not shown)"
    )
    assert cut_off(part, make_found(left_out=1, unseen=3), None) == (
        "cut off at 3: no other key has more on the nodes that answered"
    )
    assert cut_off(whole, make_found(*ROWS, left_out=9, unseen=3), 1) == (
        "cut off at 95: no other key has more (at least 2 not shown)"
    )
