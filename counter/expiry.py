"""When queries are to be forgotten, the one whose time is over first before all others.

Most are known for as long as the one before, so the newest is the last to go: it is put at the end
of a line, and whoever goes is taken from its front. Those that are out of order stand in a heap.
`counter/native/node.h` puts and takes at the ends of the line, and leaves the heap to this.

The rule: line and heap are each in order, so the first of all is the first of one of them.
"""

from collections import deque
from heapq import heappop, heappush

Row = tuple[float, bytes]
"""When a query is over, in s, and its id."""


class Expiry:
    """The queries a node knows, by the time at which it forgets them."""

    __slots__ = ("line", "strays")

    def __init__(self) -> None:
        self.line: deque[Row] = deque()
        self.strays: list[Row] = []

    def __len__(self) -> int:
        return len(self.line) + len(self.strays)

    def note(self, until: float, query: bytes) -> None:
        """Have a query forgotten at a time."""
        line = self.line
        if not line or line[-1][0] <= until:
            line.append((until, query))
        else:
            heappush(self.strays, (until, query))

    def first(self) -> float | None:
        """Return when the first one is over, None where there is none."""
        line, strays = self.line, self.strays
        if not strays:
            return line[0][0] if line else None
        return min(line[0][0], strays[0][0]) if line else strays[0][0]

    def pop(self) -> bytes:
        """Take out the one that is over first; raises IndexError where there is none."""
        line, strays = self.line, self.strays
        if strays and not (line and line[0][0] <= strays[0][0]):
            return heappop(strays)[1]
        return line.popleft()[1]

    def last(self) -> float:
        """Return when the last one is over, or minus infinity."""
        ends = [until for until, _ in self.strays]
        if self.line:
            ends.append(self.line[-1][0])
        return max(ends, default=float("-inf"))
