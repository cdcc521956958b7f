"""Toy machines for the simulator's own tests.

The rule: a toy has no opinion; it notes what it was told and returns what the test wants.
"""

from collections.abc import Callable
from typing import Any

import pytest

from tracker.machine import Address, Effect, Event


class Toy:
    """Notes every call with its time, and answers with what `react` returns."""

    def __init__(self, react: Callable[..., list[Effect]] | None = None) -> None:
        self.react = react or (lambda what, detail, now: [])
        self.heard: list[tuple[str, Any, float]] = []
        self.wants: float | None = None

    def _note(self, what: str, detail: Any, now: float) -> list[Effect]:
        self.heard.append((what, detail, now))
        return self.react(what, detail, now)

    def start(self, now: float) -> list[Effect]:
        return self._note("start", None, now)

    def receive(self, sender: Address, message: Any, now: float) -> list[Effect]:
        return self._note("receive", (sender, message), now)

    def submit(self, event: Event, now: float) -> list[Effect]:
        return self._note("submit", event, now)

    def tick(self, now: float) -> list[Effect]:
        self.wants = None
        return self._note("tick", None, now)

    def deadline(self) -> float | None:
        return self.wants

    def messages(self) -> list[Any]:
        """Return what was received, without senders and times."""
        return [detail[1] for what, detail, _ in self.heard if what == "receive"]

    def events(self) -> list[Any]:
        """Return what was submitted."""
        return [detail for what, detail, _ in self.heard if what == "submit"]

    def times(self, what: str) -> list[float]:
        """Return when it was told `what`."""
        return [now for kind, _, now in self.heard if kind == what]


@pytest.fixture
def toy() -> type[Toy]:
    """Return the class of toy machines."""
    return Toy
