"""A person's wish that a run end.

The rule: what was seen so far is reported all the same; who wishes twice gets it at once.
"""

from collections.abc import Callable


class Stop:
    """A person's wish that the run end; what was seen so far is reported all the same."""

    def __init__(self) -> None:
        self.is_wished = False
        self._on_wish: list[Callable[[], object]] = []

    def wish(self) -> None:
        """Ask for the end; who asks twice gets it at once."""
        if self.is_wished:
            raise KeyboardInterrupt
        self.is_wished = True
        for call in self._on_wish:
            call()

    def on_wish(self, call: Callable[[], object]) -> None:
        """Have `call` called when the end is wished for, at once if it is already."""
        self._on_wish.append(call)
        if self.is_wished:
            call()
