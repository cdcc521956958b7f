"""Memory that ends in the middle of a call, at any allocation of it.

The rule: one allocation fails, and the next one has memory again, so that what is left half done
is found by whoever goes on.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CALLS_MAX = 200
"""Longest sequence of allocations in one call that is gone through."""


def half_way(make: Callable[[], Any], call: Callable[[Any], Any]) -> Iterator[Any]:
    """Yield what was made and called once for each of the call's allocations, which failed."""
    memory: Any = pytest.importorskip("_testcapi")
    for number in range(CALLS_MAX):
        made = make()
        if not _fails(memory, number, call, made):
            return
        yield made
    raise AssertionError(f"it allocates more than {CALLS_MAX} times")


def _fails(memory: Any, number: int, call: Callable[[Any], Any], made: Any) -> bool:
    """Call it with that allocation failing; says whether it needed it."""
    with _untraced():
        memory.set_nomemory(number, number + 1)
        try:
            call(made)
        except MemoryError:
            return True
        finally:
            memory.remove_mem_hooks()
    return False


@contextmanager
def _untraced() -> Iterator[None]:
    """Let nobody else need memory: where there is none, the tracer of `coverage` ends all."""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)
