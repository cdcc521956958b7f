"""A queue that is empty most of the time, and then takes next to no memory.

A `deque` sets room for 64 aside when it is made, 0.7 kB; a node has many queues, most of which wait
for things that hardly ever happen, and a thousand nodes live in one process. The rule: for short
queues alone, since to take the first one moves all the others.
"""

from typing import TypeVar

Item = TypeVar("Item")


class Line(list[Item]):
    """Put in at the end with `append`, taken out at the front."""

    __slots__ = ()

    def popleft(self) -> Item:
        """Take out the one that waits longest; raises IndexError where there is none."""
        return self.pop(0)
