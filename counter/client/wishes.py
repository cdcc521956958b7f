"""How a query may be wished for, by type checkers and editors.

The rule: `Client` and `AsyncClient` take the same words for the same things.
"""

from typing import TypedDict


class Wishes(TypedDict, total=False):
    """How a query is to be asked; every wish may be left out.

    `until` is `all`, a share like `95%`, or `stable:200ms`; `chatter`, `age_max`, `visits_max`
    as on the command line; `deadline_s` seconds, 2 without it; `literal`: a star is a star.
    """

    until: str
    chatter: int
    age_max: int
    visits_max: int
    deadline_s: float
    literal: bool
