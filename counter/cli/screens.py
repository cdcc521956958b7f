"""What a person sees: errors, exit codes, the two streams.

The rule: results go to stdout, everything else to stderr, and a string from outside passes
`printable` before it reaches either.
"""

import errno
import os
import select
import stat
import sys

from tracker.errors import ClusterError, ConfigError, DeadlineError, LockedError, RefusedError

DONE, REFUSED, USAGE, INCOMPLETE, DEFECT, INTERRUPTED = 0, 1, 2, 3, 70, 130

ANSWER_S = 0.5
"""How long a pipe may take to bring an answer to a question."""
ANSWER_BYTES_MAX = 256
NOT_AGREED = "standard input does not say yes: nothing was changed          to agree:  --yes"

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class CommandError(ClusterError):
    """A command cannot go on: what and why, lines on what to do, and the exit code."""

    def __init__(self, text: str, *hints: str, code: int = REFUSED) -> None:
        super().__init__(text)
        self.hints = hints
        self.code = code


def out(text: str) -> None:
    """Write one line of result."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Write one line that is not a result."""
    sys.stdout.flush()
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def out_json(value: object) -> None:
    """Write one JSON object on a line of its own, at once: somebody may read along.

    Pure ASCII: whatever a key or a name holds is escaped.
    """
    import json

    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def on_terminal() -> bool:
    """Say whether a person reads stdout."""
    try:
        return sys.stdout.isatty()
    except ValueError:
        return False


def confirmed(question: str, *, is_agreed: bool) -> bool:
    """Ask a person before something is lost for good, unless it was agreed to with --yes.

    Without a terminal nobody is there to be asked: a script means what it says. But where a pipe
    holds an answer, that is heard.
    """
    if is_agreed:
        return True
    if sys.stdin.isatty():
        note(f"{question} type y:")
        answer: str | None = sys.stdin.readline()
    else:
        answer = _piped_answer()
    if answer is None or answer.strip().lower() in ("y", "yes"):
        return True
    note("nothing was changed" if sys.stdin.isatty() else NOT_AGREED)
    return False


def _piped_answer() -> str | None:
    """Return the line that waits in a pipe on standard input, and no byte more; None for none.

    A pipe that stays open and silent is no answer, nor is a file, which may be a script's own.
    """
    try:
        descriptor = sys.stdin.fileno()
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return None
    except (OSError, ValueError):
        return None
    line = b""
    while len(line) < ANSWER_BYTES_MAX and not line.endswith(b"\n"):
        if not select.select([descriptor], [], [], ANSWER_S)[0]:
            break
        byte = os.read(descriptor, 1)
        if not byte:
            break
        line += byte
    return line.decode(errors="replace") if line else None


def show_error(error: ClusterError) -> int:
    """Write an error's screen; returns the exit code."""
    note(f"error: {error}")
    for hint in getattr(error, "hints", ()) or _remedies(error):
        if hint:
            note(f"  {hint}")
    if isinstance(error, CommandError):
        return error.code
    return USAGE if isinstance(error, ConfigError) else REFUSED


def _remedies(error: ClusterError) -> tuple[str, ...]:
    """Return what to do about an error that says the same wherever it comes from."""
    if isinstance(error, LockedError):
        return ("stop that one, or give this one a place of its own:  --name NAME or --data DIR",)
    if isinstance(error, RefusedError) and error.code == "cluster":
        return ("name the cluster that is meant:  --cluster NAME or COUNTER_CLUSTER",)
    if isinstance(error, RefusedError) and error.code == "other-content":
        return ("an id stands for one increment; another one takes another:  --id TOKEN",)
    if DeadlineError in (type(error), type(error.__cause__)):
        return ("is it up:  counter members          wait longer:  --deadline 30s",)
    return ()


def prepare_streams() -> None:
    """Make stdout and stderr take any text; a stream that was closed leads nowhere.

    The order matters: what is opened takes the lowest free number, and so its own place.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115 - it stays open as long as the process
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the same
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - the same
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def finish_stdout() -> None:
    """Flush stdout; if its reader is gone, see to it that nobody complains at exit."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        silence_stdout()


def check_stdout(error: OSError) -> int:
    """Say that stdout takes nothing more (a full disk); any other error is raised again.

    A full disk under a store comes as StorageError, so that what comes bare is stdout's. The
    exit code is not 1: what was asked for may have been done, only nobody can read it.
    """
    if error.errno not in _FULL:
        raise error
    silence_stdout()
    reason = (error.strerror or str(error)).lower()
    note(f"error: the result cannot be written to standard output ({reason})")
    note("  what was asked for may have been done all the same")
    return INCOMPLETE


def silence_stdout() -> None:
    """Send what is still buffered nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
