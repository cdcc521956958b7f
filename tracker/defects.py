"""What becomes of an error in a daemon that nobody foresaw: a sentence, and the end without memory.

What somebody sent that ends in a mistake of this program is dropped, and the others are served on.
The rule: a person reads one line of each mistake, never a traceback. Where no memory is found a
change may be half done, and nobody can tell; so the process ends at once, and begins again with
what it has on disk.
"""

import os
from collections.abc import Callable
from typing import Any, Final

from tracker.text import printable

TOLD_MAX: Final = 100
"""Mistakes that are told, each once; past it they happen in silence."""
DEFECT: Final = 70
"""The exit code of a process that ends because of one, as `sysexits.h` has it."""

# Made before it is needed: then there may be nothing to make it of.
_NO_MEMORY: Final = (
    b"error: there is no memory left; ended, so that nothing half done stays\n"
    b"  start it again: it goes on with what is on its disk\n"
)
_ROOT: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def handler(complain: Callable[[str], None]) -> Callable[[Any, dict[str, Any]], None]:
    """Return what a loop calls with an error that nobody caught."""
    told: set[str] = set()

    def take(loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, MemoryError):
            os.write(2, _NO_MEMORY)
            os._exit(DEFECT)
        text = _text(error, context)
        if loop.get_debug():
            loop.default_exception_handler(context)
        elif text not in told and len(told) < TOLD_MAX:
            told.add(text)
            complain(text)

    return take


def _text(error: BaseException | None, context: dict[str, Any]) -> str:
    if error is None:
        return f"error: this is a bug: {printable(str(context.get('message')), 400)}"
    from traceback import extract_tb  # a start would have to wait for it

    frames = extract_tb(error.__traceback__)
    where = f" ({_shown(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    what = f"{type(error).__name__}: {printable(str(error), 400)}"
    return (
        f"error: this is a bug: {what}{where}; what was asked for is dropped"
        "\n  everything, from a start with PYTHONASYNCIODEBUG=1"
    )


def _shown(filename: str) -> str:
    is_own = filename.startswith(_ROOT + os.sep)
    return os.path.relpath(filename, _ROOT) if is_own else os.path.basename(filename)
