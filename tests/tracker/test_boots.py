"""Which life of a store goes on from which, by the bytes that each start drew."""

import pytest

from tracker.boots import BOOT_BYTES, goes_on, holds, home_text, is_home, is_home_text, shortened

STORE, OTHER = b"s" * 16, b"t" * 16
X, Y, B = b"xxxxxxxx", b"yyyyyyyy", b"bbbbbbbb"


@pytest.mark.parametrize(
    ("store", "boots", "life", "is_there"),
    [
        pytest.param(STORE, X, X, True, id="the life itself"),
        pytest.param(STORE, Y + X, X, True, id="started again"),
        pytest.param(STORE, X, B, False, id="sent to a copy, and the original is here"),
        pytest.param(STORE, B + X, Y, False, id="sent to the original later, and a copy is here"),
        pytest.param(OTHER, Y + B, B, True, id="a copy that goes on beside its store"),
        pytest.param(OTHER, Y, X, False, id="another store"),
        pytest.param(STORE, b"", X, True, id="a node that tells no boots"),
        pytest.param(STORE, Y, b"", True, id="a node that told none then"),
        pytest.param(OTHER, b"", X, False, id="another store that tells none"),
        pytest.param(OTHER, Y, b"", False, id="another store than one that told none"),
    ],
)
def test_a_store_goes_on_from_the_lives_that_it_has_among_its_boots(store, boots, life, is_there):
    assert goes_on(store, boots, STORE, life) is is_there
    told = home_text(STORE, life)
    assert is_home(told, store, boots) is is_home(shortened(told), store, boots) is is_there


def test_a_boot_is_none_that_stands_across_two_of_them():
    across = (X + Y)[BOOT_BYTES // 2 : BOOT_BYTES // 2 + BOOT_BYTES]

    assert not holds(X + Y, across)


@pytest.mark.parametrize(
    ("written", "is_one"),
    [
        ("41414141", True),
        ("41414141.42424242", True),
        (home_text(STORE, X), True),
        ("41414141.", False),
        ("41414141.4242424", False),
        ("41414141.42424242.43434343", False),
        (".42424242", False),
        ("4141414g.42424242", False),
        ("4" * 33, False),
        ("41414141." + "4" * 17, False),
    ],
)
def test_a_home_is_written_as_a_store_and_perhaps_a_life(written, is_one):
    assert is_home_text(written) is is_one
