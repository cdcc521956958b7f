"""How a client is set up: where the cluster is, which node it takes, how long it waits. Pure.

The rule: what the command line refuses is refused here in the same words, before anything is
sent.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from counter.client import light
from counter.client.choice import PICKS
from tracker.address import Endpoint
from tracker.classes import dataclass, replace
from tracker.config import (
    TRACKER_PORT,
    parse_duration,
    parse_endpoint,
    parse_member_name,
    parse_name,
)
from tracker.errors import ConfigError
from tracker.text import printable

TRACKERS_MAX: Final = 16
DEADLINE_S_MAX: Final = 600.0
DEADLINE_S: Final = 5.0
ACKS: Final = {None: light.ACK_DEFAULT, "memory": light.ACK_MEMORY, "disk": light.ACK_DISK}

Trackers = str | Sequence[str] | None

_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9])?)%")


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Settings of a client.

    `address` is the one node to talk to, if it was given by its address; `node` its name, if it
    was given by that; with neither, `pick` chooses one of those a tracker knows. `deadline_s`
    is the time that one increment, or one request, may take in all, in seconds. With `park` an
    increment whose node is gone is left at another one.
    """

    trackers: tuple[Endpoint, ...]
    address: Endpoint | None = None
    node: str = ""
    pick: str = "least-active"
    deadline_s: float = DEADLINE_S
    ack: int = light.ACK_DEFAULT
    cluster: str = "default"
    park: bool = True

    def of_node(self, node: str) -> "Options":
        """Return these options with one node, by its name or HOST:PORT. Raises ConfigError."""
        if ":" in node:
            return replace(self, address=parse_endpoint(node), node="")
        return replace(self, address=None, node=parse_member_name(node))

    @property
    def join_s(self) -> float:
        """How long others may join an increment that waits: their deadline is a bit shorter."""
        return self.deadline_s / 10

    @property
    def attempt_s(self) -> float:
        """How long one try to reach somebody may take, so that three fit into the deadline."""
        return self.deadline_s / 3

    @property
    def silent_s(self) -> float:
        """Silence after which new increments go to another node."""
        return min(1.0, self.deadline_s / 4)


def made(
    environment: Mapping[str, str],
    *,
    trackers: Trackers,
    node: str | None,
    pick: str,
    deadline_s: float,
    ack: str | None,
    cluster: str,
    park: bool = True,
) -> Options:
    """Return checked options; raises ConfigError. What is None comes from the environment."""
    if pick not in PICKS:
        raise ConfigError(f'pick is "{_shown(pick)}", needs one of {", ".join(PICKS)}')
    if ack not in ACKS:
        raise ConfigError(f'ack is "{_shown(ack)}", needs memory or disk')
    is_number = type(deadline_s) in (int, float)
    if not is_number or not 0.001 <= deadline_s <= DEADLINE_S_MAX:
        raise ConfigError(f"deadline_s is {_shown(deadline_s)}, needs 0.001 to {DEADLINE_S_MAX:g}")
    if node is None:
        node = environment.get("COUNTER_NODE") or ""
    options = Options(
        trackers=_trackers(environment, trackers),
        pick=pick,
        deadline_s=float(deadline_s),
        ack=ACKS[ack],
        cluster=parse_name(cluster),
        park=park,
    )
    return options.of_node(node) if node else options


def _trackers(environment: Mapping[str, str], trackers: Trackers) -> tuple[Endpoint, ...]:
    if trackers is None:
        trackers = environment.get("COUNTER_TRACKER") or f"127.0.0.1:{TRACKER_PORT}"
    parts = trackers.split(",") if isinstance(trackers, str) else list(trackers)
    if not 1 <= len(parts) <= TRACKERS_MAX:
        raise ConfigError(f"trackers names {len(parts)} addresses, needs 1 to {TRACKERS_MAX}")
    return tuple([parse_endpoint(part.strip()) for part in parts])


def _shown(value: object) -> str:
    return printable(str(value), 40)


# -- what a query may be asked with ---------------------------------------------------------


def parse_until(written: str) -> tuple[str, int]:
    """Return (`all`, 0), (`share`, thousandths) or (`stable`, ms); raises ConfigError."""
    if written == "all":
        return "all", 0
    share = _SHARE.fullmatch(written)
    if share is not None and 0 < float(share[1]) <= 100:
        return "share", round(float(share[1]) * 10)
    if written.startswith("stable:"):
        quiet_ms = round(parse_duration(written[7:]) * 1000)
        if 1 <= quiet_ms <= 600_000:
            return "stable", quiet_ms
    raise ConfigError(f'is "{_shown(written)}", needs all, a share like 95%, or stable:200ms')


def whole_option(name: str, value: int | None, most: int) -> int:
    """Return an option that is a whole number, 0 for none; raises ConfigError."""
    if value is None:
        return 0
    if type(value) is not int or not 1 <= value <= most:
        raise ConfigError(f"{name} is {_shown(value)}, needs 1 to {most}")
    return value
