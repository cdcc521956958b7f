"""Sums by key: the Python ones and the native ones are the same to whoever adds."""

import gc
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counter.client.adding import PlainSums
from tracker.native import extension
from tracker.wire import AMOUNT_MAX

LARGE = 2**63 - 2**54
"""So large that the second of `AMOUNT_MAX` more passes what fits into eight bytes."""

NATIVE: Any = extension("counter.native.tally")

pytestmark = pytest.mark.skipif(NATIVE is None, reason="NO NATIVE MODULES: not built here")


class Text(str):
    """A key that is not exactly a string."""

    __slots__ = ()


def sums(base: Any) -> Any:
    """Return sums over `base` that note what did not go the short way."""

    class Noted(base):  # type: ignore[misc]
        def __init__(self) -> None:
            self._amounts = {"views": 0, "large": LARGE}
            self.firsts: list[tuple[object, object]] = []

        def _add_first(self, key: object, n: object) -> None:
            self.firsts.append((key, n))

    return Noted()


amounts = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([AMOUNT_MAX, -AMOUNT_MAX, AMOUNT_MAX + 1, -AMOUNT_MAX - 1, 2**64, -(2**63)]),
    st.sampled_from([True, 1.0, "1", None]),
)
keys = st.sampled_from(["views", "large", "new", "", 7, b"views", None, ["views"]])


@given(st.lists(st.tuples(keys, amounts), max_size=20))
def test_native_sums_are_those_of_python_and_leave_the_same_to_it(adds: list[Any]):
    plain, native = sums(PlainSums), sums(NATIVE.Sums)

    for key, n in adds:
        plain.add(key, n)
        native.add(key, n)

    assert native._amounts == plain._amounts
    assert native.firsts == plain.firsts


def test_sums_past_the_machine_s_numbers_are_exact():
    native = sums(NATIVE.Sums)

    for _ in range(5):
        native.add("large", AMOUNT_MAX)

    assert native._amounts["large"] == LARGE + 5 * AMOUNT_MAX


def test_key_and_amount_may_be_named_as_in_python():
    native = sums(NATIVE.Sums)

    native.add("views")
    native.add(n=4, key="views")
    native.add("views", n=-2)

    assert native._amounts["views"] == 3
    assert native.firsts == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [((), {}), (("a", 1, 2), {}), (("a",), {"key": "a"}), ((), {"n": 1}), (("a",), {"m": 1})],
    ids=["nothing", "too much", "a key twice", "no key", "an unknown name"],
)
def test_a_call_that_python_would_refuse_is_refused(arguments: Any, named: Any):
    for base in (PlainSums, NATIVE.Sums):
        with pytest.raises(TypeError):
            sums(base).add(*arguments, **named)


def test_a_key_that_is_more_than_a_string_takes_the_long_way():
    native = sums(NATIVE.Sums)

    native.add(Text("views"), 2)

    assert native.firsts == [("views", 2)]
    assert native._amounts["views"] == 0


def test_sums_that_hold_themselves_are_collected():
    class Held(NATIVE.Sums):  # type: ignore[misc]
        pass

    one = Held()
    one._amounts = {"self": one}
    trace = weakref.ref(one)

    del one
    gc.collect()

    assert trace() is None
