"""Keys and amounts as programs have them: of their own classes, and past what can be counted."""

from enum import IntEnum, StrEnum

import pytest

from counter import Client
from counter.client.inquiry import asked_for
from counter.client.operations import checked_amount, checked_key
from tracker.errors import ConfigError


class Page(StrEnum):
    HOME = "home"
    ABOUT = "about"


class Size(IntEnum):
    LARGE = 3


class Whole:
    """What numpy's whole numbers are to Python."""

    def __index__(self):
        return 4


class Disguised(str):
    """A string that says it is another one."""

    __slots__ = ()

    def __eq__(self, other):
        return True

    def __hash__(self):
        return hash("home")


def test_keys_and_amounts_of_a_program_s_own_classes_are_what_they_stand_for(cluster):
    node, tracker = cluster()

    with Client(tracker.address) as client:
        client.incr(Page.HOME, Size.LARGE)
        client.incr("home", Whole())
        client.incr(Page.HOME)
        client.add(Page.ABOUT, Size.LARGE)
        client.add("about")
        client.add(Page.ABOUT, Whole())

    assert node.script.totals == {"home": 8, "about": 8}
    assert all(type(key) is str for key in node.script.totals)
    assert type(checked_key(Page.HOME)) is str
    assert type(checked_amount(Size.LARGE)) is int
    assert asked_for([Page.HOME, "home"], literal=False) == "home"


def test_a_key_is_not_taken_for_the_one_that_it_says_to_be(cluster):
    node, tracker = cluster()

    with Client(tracker.address) as client:
        client.incr("home")
        with pytest.raises(ConfigError, match="printable text"):
            client.incr(Disguised("\x1b[2J"))

    assert node.script.totals == {"home": 1}


@pytest.mark.parametrize("amount", [10**5_000, -(10**5_000)], ids=["up", "down"])
def test_an_amount_too_long_to_be_written_out_is_refused_in_words(amount):
    with pytest.raises(ConfigError, match="this amount is too large"):
        checked_amount(amount)


@pytest.mark.parametrize("amount", [True, 1.0, "1", None, object()])
def test_what_is_no_whole_number_is_refused(amount):
    with pytest.raises(ConfigError, match="not a whole number"):
        checked_amount(amount)
