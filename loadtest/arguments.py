"""What a person types for a load test, and what it means.

The rule: what cannot be read is refused with the option's name and an example.
"""

from counter.cli.screens import USAGE, CommandError
from loadtest.timeline import parse_share
from tracker.errors import ConfigError


def share(written: str | None, name: str) -> float | None:
    """Return the share in `5%`; None if nothing was written. Raises CommandError."""
    if written is None or written == "0":
        return None if written is None else 0.0
    try:
        return parse_share(written)
    except ConfigError as error:
        raise CommandError(f"--{name}: {error}", code=USAGE) from error
