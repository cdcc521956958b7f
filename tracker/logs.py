"""What a daemon says while it runs: one line an event, for people or as JSON.

The rule: every string goes through `printable`, so that a name or an error text from outside
stays inside its line.
"""

from collections.abc import Callable
from typing import Any

from tracker.machine import Emit
from tracker.text import printable

Say = Callable[[str], None]


def json_line(event: str, details: dict[str, Any]) -> str:
    """Return one JSON object: the event's name, then its details."""
    # Most daemons write for people, and start sooner without it.
    import json

    row = {"event": event, **{name: _plain(value) for name, value in details.items()}}
    return json.dumps(row, ensure_ascii=True)


def text_line(event: str, details: dict[str, Any]) -> str:
    """Return one line for people: `member-joined  name n1  address 127.0.0.1:7401`."""
    parts = [f"{name} {printable(_shown(value))}" for name, value in details.items()]
    return "  ".join([event, *parts])


def speaker(say: Say, *, as_json: bool) -> Callable[[Emit], None]:
    """Make a function that says what a machine emits."""
    line = json_line if as_json else text_line
    return lambda emit: say(line(emit.event, emit.details))


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return value if isinstance(value, (int, float, bool, type(None))) else str(value)
