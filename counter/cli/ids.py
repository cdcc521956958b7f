"""Which store each id of a person was first sent to: one small file of this user's.

A cron job repeats its command line, and that names no store. Should the node have begun anew in
the meantime, its new store would count the id once more, so whoever sends it has to remember. The
rule: an id is written down before it is sent. What is not known here is not guessed: such an id
is new, as far as anybody can tell.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tracker.digest import blake2b

FILE_BYTES_MAX: Final = 1_048_576
"""Past it the older half of the ids is let go of."""


class Ids:
    """The ids that were sent from here to nodes of one cluster."""

    def __init__(self, cluster: str) -> None:
        base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
        self._directory = os.path.join(base, "counter")
        self._path = os.path.join(self._directory, "ids")
        self._cluster = cluster

    def sent_to(self, token: str) -> list[tuple[str, str]]:
        """Return (node, store and life) of each node that an id was sent to, in this order."""
        mark = self._mark(token)
        try:
            with open(self._path, encoding="ascii", errors="replace") as file:
                rows = [line.split() for line in file if line.startswith(mark)]
        except OSError:
            return []
        return [(row[1], row[2]) for row in rows if len(row) == 3]

    def note(self, token: str, node: str, home: str) -> None:
        """Write down where an id is about to be sent; raises OSError."""
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        with _locked(self._directory), open(self._path, "ab+") as file:
            if file.tell() > FILE_BYTES_MAX:
                self._halve()
                with open(self._path, "ab+") as shorter:
                    self._append(shorter.fileno(), token, node, home)
            else:
                self._append(file.fileno(), token, node, home)

    def _append(self, file: int, token: str, node: str, home: str) -> None:
        line = f"{self._mark(token)} {node} {home}\n".encode()
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":
            line = b"\n" + line  # behind half a line, of a full disk or a power cut
        if os.write(file, line) < len(line):
            raise OSError("the disk is full")
        os.fsync(file)

    def _halve(self) -> None:
        with open(self._path, "rb") as file:
            file.seek(FILE_BYTES_MAX // 2)
            file.readline()
            kept = file.read()
        with open(self._path + ".new", "wb") as file:
            file.write(kept)
        os.replace(self._path + ".new", self._path)

    def _mark(self, token: str) -> str:
        mark: str = blake2b(f"{token}\0{self._cluster}".encode(), digest_size=12).hexdigest()
        return mark


@contextmanager
def _locked(directory: str) -> Iterator[None]:
    """Keep other commands of this user from writing meanwhile."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
