"""Where and with what a run was made: versions, the machine, the time. For the head of a log.

The rule: nothing here names a person, a host or a directory. A log is passed on.
"""

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import counter
from tracker.native.inventory import used
from tracker.text import printable

PACKAGES: Final = ("anyio", "msgpack", "rich", "typer", "uvloop")
"""What a run stands on, beside Python."""
_CPU_LINES_MAX = 200


def facts() -> dict[str, Any]:
    """Return what is to be known of a run that begins now; a thing nobody knows is None."""
    return {
        "version": counter.__version__,
        "started_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: _version(name) for name in PACKAGES},
        "native": used(),
        "system": platform.system(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpu": _cpu(),
        "cores": cores(),
        "memory_mb": _memory_mb(),
        "load_1m": _load(),
    }


def cores() -> int:
    """Return how many processors this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str | None:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for _, line in zip(range(_CPU_LINES_MAX), lines, strict=False):
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return printable(value.strip(), 80)
    except OSError:
        pass
    return None


def _memory_mb() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    except (OSError, ValueError):
        return None


def _load() -> float | None:
    """Return how many processes wanted a processor in the last minute: who else was at work."""
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None
