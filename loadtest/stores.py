"""Where the durable nodes of a load test keep their counts while it lasts.

A load test ends processes, never the machine: what a store has synced to a file system in memory
is there when its node comes back, as it would be on a disk. A thousand stores on one disk would
measure that disk, and a boot would be nothing but waiting for it. So they go into memory where
that has room to spare. The rule: whoever names a directory (`TMPDIR`) gets it, and where memory
could fill up it is not used: a load test never takes what others need.
"""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from loadtest.needs import store_bytes

MEMORY: Final = Path("/dev/shm")
SHARE_MAX: Final = 0.5
"""Of what is free there, as much is taken at most."""


def parent(nodes: int, increments: int = 0, *, memory: Path = MEMORY) -> Path:
    """Return below which directory the stores of so many nodes belong."""
    wanted = store_bytes(nodes, increments)
    if "TMPDIR" not in os.environ and os.access(memory, os.W_OK):
        with suppress(OSError):
            if wanted <= SHARE_MAX * shutil.disk_usage(memory).free:
                return memory
    return Path(tempfile.gettempdir())


def is_memory(directory: Path) -> bool:
    """Say whether what is kept in a directory that `parent` returned takes memory."""
    return directory == MEMORY
