"""A standing answer: what a machine would say to the same frame once more, and while what holds.

At rest a node is told the same thing every second, and says the same. Whoever made such an answer
(`Gossip.reflex`) can say on which of its values that rested; a stream then gives it again without
asking, as long as each of them is what it was (`tracker/native/pulse.c`).

The rule: nothing is remembered that could be out of date. Every value is looked at each time, and
what does not hold any more ends the standing: the machine is asked again.
"""

from typing import Any

from tracker.classes import dataclass

Row = tuple[Any, str]
"""An object, and the name of one of its attributes."""


@dataclass(frozen=True, slots=True)
class Standing:
    """While what an answer given once may be given again, and what changes with each time."""

    same: tuple[tuple[Any, str, Any], ...] = ()
    """Attributes that are the very same object still, or the same whole number."""
    empty: tuple[Any, ...] = ()
    """Objects without content."""
    later: tuple[Row, ...] = ()
    """Attributes that are a time to come."""
    noted: tuple[tuple[Any, str, float], ...] = ()
    """Attributes that become the time of the answer, so many seconds later."""
    counted: tuple[Row, ...] = ()
    """Attributes that count how often it is given."""

    def holds(self, now: float) -> bool:
        """Whether the answer may be given again; `tracker/native/pulse.c` looks at the same."""
        return (
            all(_is_same(getattr(owner, name), was) for owner, name, was in self.same)
            and not any(self.empty)
            and all(getattr(owner, name) > now for owner, name in self.later)
        )

    def note(self, now: float) -> None:
        """Change what giving it changes, as `tracker/native/pulse.c` does."""
        for owner, name, after_s in self.noted:
            setattr(owner, name, now + after_s)
        for owner, name in self.counted:
            setattr(owner, name, getattr(owner, name) + 1)

    def joined(self, other: "Standing") -> "Standing":
        """Return what stands while both do, and changes what both change."""
        return Standing(
            self.same + other.same,
            self.empty + other.empty,
            self.later + other.later,
            self.noted + other.noted,
            self.counted + other.counted,
        )


def _is_same(value: Any, was: Any) -> bool:
    # A whole number may have been worked out anew.
    return value is was or (type(value) is type(was) is int and value == was)


def same(owner: Any, *names: str) -> Standing:
    """Return what stands while these attributes are what they are now."""
    return Standing(tuple([(owner, name, getattr(owner, name)) for name in names]))
