"""How a query may be wished for, by type checkers and editors.

The rule: `Client` and `AsyncClient` take the same words for the same things.
"""

from typing import TypedDict


class Wishes(TypedDict, total=False):
    """How a query is to be asked; every wish may be left out.

    `until` is `all`, a share like `95%`, or `stable:200ms`; `chatter`, `max_age`, `max_visits`
    as on the command line; `deadline_s` seconds, 2 without it; `literal`: a star is a star.
    """

    until: str
    chatter: int
    max_age: int
    max_visits: int
    deadline_s: float
    literal: bool
