"""Settings of a tracker and of a node's link to it, and how durations are written.

Times are in seconds everywhere inside; people write `250ms`, `2s`, `1m`, `24h`.
"""

import re

from tracker.address import Endpoint
from tracker.classes import dataclass
from tracker.errors import ConfigError
from tracker.names import SIGN, is_store_end
from tracker.text import printable

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
TRACKER_PORT = 7400
MEMBERS_MAX = 100_000
FORGET_AFTER_S_MAX = 31_536_000.0

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackerConfig:
    """How a tracker watches its members."""

    interval_s: float = 1.0
    """Time between two heartbeats; 0.05-60."""
    suspect_after_s: float = 3.0
    """Silence after which a member with an open connection is suspect; at least 2 intervals."""
    dead_after_s: float = 10.0
    """Time after which a suspect member is dead; 0.1 or more."""
    forget_after_s: float | None = None
    """Time after which a dead or away member is given up; None: never."""
    publish_gap_s: float = 0.05
    """Least time between two publications of changes; bounds what a thousand joins cost."""
    members_max: int = 100_000
    """Members and tombstones the table holds."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in plain words."""
        _within("interval", self.interval_s, 0.05, 60.0)
        _within("dead-after", self.dead_after_s, 0.1, 86_400.0)
        if not 2 * self.interval_s <= self.suspect_after_s <= 86_400.0:
            raise ConfigError(
                f"suspect-after is {self.suspect_after_s:g} s, needs at least two intervals"
                f" of {self.interval_s:g} s, at most a day"
            )
        _within("publish-gap", self.publish_gap_s, 0.0, self.interval_s)
        if not 1 <= self.members_max <= MEMBERS_MAX:
            raise ConfigError(f"members-max is {self.members_max}, needs 1 to {MEMBERS_MAX}")
        if self.forget_after_s is not None:
            _within("forget-after", self.forget_after_s, self.dead_after_s, FORGET_AFTER_S_MAX)


def _within(what: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        # Not as {:g}, which writes a year as 3.1536e+07.
        raise ConfigError(f"{what} is {value:.10g} s, needs {low:.10g} to {high:.10g} s")


def parse_duration(written: str) -> float:
    """Return the seconds in `250ms`, `2s`, `1.5m`, `24h`; raises ConfigError for the rest."""
    match = _DURATION.fullmatch(written)
    if match is None:
        raise ConfigError(f'"{printable(written, 40)}" is not a duration (250ms, 2s, 1m)')
    return float(match[1]) * _UNITS[match[2]]


def parse_name(written: str, *, what: str = "node name") -> str:
    """Return the name of a node, or of `what` else has such names; raises ConfigError."""
    if NAME_PATTERN.fullmatch(written) is None:
        raise ConfigError(
            f'"{printable(written, 80)}" is not a {what}'
            " (1-64 letters, digits, dots, dashes and underscores; begins with a letter or digit)"
        )
    return written


def is_member_name(written: str) -> bool:
    """Whether a member can be called so: what a person named it, or what is left of a lost name."""
    own, sign, store = written.partition(SIGN)
    return NAME_PATTERN.fullmatch(own) is not None and (not sign or is_store_end(store))


def parse_member_name(written: str) -> str:
    """Return the name of a member, one that lost its name included; raises ConfigError."""
    return written if is_member_name(written) else parse_name(written)


def parse_endpoint(written: str, *, port_min: int = 1) -> Endpoint:
    """Return (host, port) of `host:port` or `[v6]:port`; raises ConfigError."""
    host, separator, port = written.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        separator = ""
    is_number = port.isascii() and port.isdigit() and len(port) <= 5
    if not separator or not host or not is_number:
        raise ConfigError(f'"{printable(written, 80)}" is not HOST:PORT')
    if not port_min <= int(port) <= 65_535:
        raise ConfigError(f"port {port} is out of range ({port_min}-65535)")
    return host, int(port)


def shown_endpoint(endpoint: Endpoint) -> str:
    """Return an address as people write it."""
    host, port = endpoint
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
