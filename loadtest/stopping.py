"""A person's wish that a run end.

The rule: what was seen so far is reported all the same; who wishes twice gets the end at once,
and who wishes more often gets no more than that: the end itself is not to be cut short.
"""

from collections.abc import Callable


class Stop:
    """A person's wish that the run end; what was seen so far is reported all the same."""

    def __init__(self) -> None:
        self.is_wished = False
        self.is_over = False
        """Whether nothing is left to stop: what was seen is told."""
        self._is_late = False
        self._is_ending = False
        self._on_wish: list[Callable[[], object]] = []

    def wish(self) -> None:
        """Ask for the end; who asks twice gets it at once, by a KeyboardInterrupt."""
        if self._is_ending:
            return
        if self.is_wished or self._is_late:
            self._is_ending = True
            raise KeyboardInterrupt
        if self.is_over:
            # The end has come by itself, and the report is as good as any.
            self._is_late = True
            return
        self.is_wished = True
        for call in self._on_wish:
            call()

    def over(self) -> None:
        """Note that the run has ended, and that its report comes next."""
        self.is_over = True

    def on_wish(self, call: Callable[[], object]) -> None:
        """Have `call` called when the end is wished for, at once if it is already."""
        self._on_wish.append(call)
        if self.is_wished:
            call()
