"""Memory that ends in the middle of a call, at any allocation of it.

The rule: one allocation fails, and the next one has memory again, so that what is left half done
is found by whoever goes on.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

CALLS_MAX = 200
"""Longest sequence of allocations in one call that is gone through."""


def half_way(make: Callable[[], Any], call: Callable[[Any], Any]) -> Iterator[Any]:
    """Yield what was made and called once for each of the call's allocations, which failed."""
    memory: Any = pytest.importorskip("_testcapi")
    for number in range(CALLS_MAX):
        made = make()
        memory.set_nomemory(number, number + 1)
        try:
            call(made)
        except MemoryError:
            memory.remove_mem_hooks()
            yield made
        else:
            memory.remove_mem_hooks()
            return
    raise AssertionError(f"it allocates more than {CALLS_MAX} times")
