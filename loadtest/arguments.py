"""What a person types for a load test, and what it means.

The rule: what cannot be read is refused with the option's name and an example.
"""

import re

from counter.cli.screens import USAGE, CommandError
from tracker.text import printable

_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")


def share(written: str | None, name: str) -> float | None:
    """Return the share in `5%`; None if nothing was written. Raises CommandError."""
    if written is None or written == "0":
        return None if written is None else 0.0
    match = _SHARE.fullmatch(written)
    if match is None:
        shown = printable(written, 40)
        raise CommandError(f'--{name}: "{shown}" is not a share (5%, 0.5%)', code=USAGE)
    return round(float(match[1]) / 100, 8)
