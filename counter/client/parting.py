"""How a client says goodbye: its node need remember none of its operations any more. Pure.

    nothing on its way, nothing in doubt ──EndSession──▶ asked ──SessionEnded, or the end──▶ over

The rule: a session is ended only if all that was sent under it has had its reply. What was given
up as unknown went under another session (`Lane.renew`), and may still be retried. A goodbye that
nobody hears costs the node some memory for a week, and nothing else.
"""

from collections.abc import Iterable
from typing import Any, Final

from counter.client import light
from counter.client.lane import READY, Effect, Lane, Write

PARTING_S: Final = 0.25
"""Longest wait for the node's word when a client is closed, in seconds."""


class Parting:
    """Goodbyes that were said and not answered: true while there is one."""

    def __init__(self) -> None:
        self._asked: dict[tuple[int, int], None] = {}

    def __len__(self) -> int:
        return len(self._asked)

    def begin(self, lanes: Iterable[Lane]) -> list[Effect]:
        """End the sessions of all nodes at which something was counted and nothing is left."""
        effects: list[Effect] = []
        for lane in lanes:
            is_over = lane.state == READY and not lane.in_flight and not lane.doubtful
            if is_over and lane.sequence:
                effects.append(self._ask(lane))
        return effects

    def _ask(self, lane: Lane) -> Effect:
        assert lane.link is not None
        assert lane.stream is not None
        message = light.EndSession(lane.stream.number(), lane.session)
        self._asked[lane.link, message.request] = None
        return Write(lane.link, lane.stream.send(message))

    def answered(self, lane: Lane, reply: Any) -> bool:
        """Take a reply, a refusal included, if it is about a goodbye."""
        key = lane.link or 0, getattr(reply, "request", 0)
        if key not in self._asked:
            return False
        del self._asked[key]
        return True

    def lost(self, lane: Lane) -> None:
        """Wait no longer for a node whose stream has ended."""
        for key in [key for key in self._asked if key[0] == lane.link]:
            del self._asked[key]
