"""The last value each member was heard to hold of each key: what fills the gap of the silent.

The rule: it is memory, never truth. It only ever feeds `filled` and what an operator is told
before giving a member up, always with its age, and it is bounded: the pair unheard for
longest goes first.
"""

from collections import OrderedDict
from collections.abc import Mapping

from counter.messages import ROWS_PER_PAGE, Recall, Recalled, is_question, key_in, stored_name
from tracker.classes import dataclass
from tracker.machine import Effect, Link, Send
from tracker.members import View


@dataclass(slots=True)
class LastValue:
    """What was heard, and when (seconds on the node's monotonic clock)."""

    value: int
    at: float
    has_decreased: bool


class LastValues:
    """Last known values by (store, key)."""

    def __init__(self, values_max: int) -> None:
        self.values_max = values_max
        self._values: OrderedDict[tuple[bytes, str], LastValue] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def note(self, store: bytes, key: str, value: LastValue) -> None:
        """Remember what a store (its first 8 bytes) holds of a key, in the epoch asked about."""
        pair = store, stored_name(key)
        self._values[pair] = value
        self._values.move_to_end(pair)
        if len(self._values) > self.values_max:
            self._values.popitem(last=False)

    def get(self, store: bytes, key: str) -> LastValue | None:
        """Return what was last heard, None if nothing was."""
        return self._values.get((store, stored_name(key)))

    def of(self, store: bytes, names: Mapping[str, str]) -> list[tuple[str, LastValue]]:
        """Return every key last heard of a store, the youngest first. A question is no key.

        `names` is what keys are called in their present epoch; earlier ones are left out.
        """
        rows = [
            (key_in(name), value)
            for (owner, name), value in self._values.items()
            if owner == store
            and not is_question(name)
            and names.get(key := key_in(name), key) == name
        ]
        return sorted(rows, key=lambda row: (-row[1].at, row[0]))

    def recalled(
        self, link: Link, recall: Recall, view: View, names: Mapping[str, str], now: float
    ) -> list[Effect]:
        """Tell a client the first page of what is known of a member; of nobody that is nothing."""
        member = view.get(recall.name)
        known = [] if member is None else self.of(member.store[:8], names)
        rows = tuple([(key, last.value, now - last.at) for key, last in known[:ROWS_PER_PAGE]])
        return [Send(link, Recalled(recall.request, rows, len(known) - len(rows)))]
