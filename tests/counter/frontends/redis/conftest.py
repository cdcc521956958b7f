"""What the tests of the Redis front end share: a node's facts, made up."""

from types import SimpleNamespace
from typing import Any

import pytest


def make_facts(**changes: Any) -> Any:
    """Return the facts of a node that holds `views` at 7 and two pages of keys."""
    pages = [["views", "clicks"], ["page:1"]]
    facts = {
        "name": "n1",
        "store": "ab" * 16,
        "boots": b"12345678" + b"abcdefgh",
        "version": "1.2.3",
        "is_durable": True,
        "value": lambda key: 7 if key == "views" else 0,
        "holds": lambda key: key in ("views", "clicks", "page:1"),
        "keys": lambda: 3,
        "page": lambda number: (pages[number], number == 0) if number < 2 else ([], False),
        "info": lambda: {"Server": {"redis_version": "7.0.0"}, "Counter": {"node": "n1"}},
        "time_us": lambda: 1_700_000_000_000_005,
        **changes,
    }
    return SimpleNamespace(**facts)


@pytest.fixture
def facts() -> Any:
    """Return the facts of some node."""
    return make_facts()
