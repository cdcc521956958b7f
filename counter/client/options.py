"""How a client is set up: where the cluster is, which node it takes, how long it waits. Pure.

The rule: what the command line refuses is refused here in the same words, before anything is
sent.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from counter.client import light
from counter.client.choice import PICKS
from tracker.address import Endpoint
from tracker.classes import dataclass
from tracker.config import TRACKER_PORT, parse_endpoint, parse_name
from tracker.errors import ConfigError
from tracker.text import printable

TRACKERS_MAX: Final = 16
DEADLINE_S_MAX: Final = 600.0
DEADLINE_S: Final = 5.0
ACKS: Final = {None: light.ACK_DEFAULT, "memory": light.ACK_MEMORY, "disk": light.ACK_DISK}

Trackers = str | Sequence[str] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Settings of a client.

    `address` is the one node to talk to, if it was given by its address; `node` its name, if it
    was given by that; with neither, `pick` chooses one of those a tracker knows. `deadline_s`
    is the time that one increment, or one request, may take in all, in seconds.
    """

    trackers: tuple[Endpoint, ...]
    address: Endpoint | None = None
    node: str = ""
    pick: str = "least-active"
    deadline_s: float = DEADLINE_S
    ack: int = light.ACK_DEFAULT
    cluster: str = "default"

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
    address = parse_endpoint(node) if ":" in node else None
    name = parse_name(node) if node and address is None else ""
    return Options(
        trackers=_trackers(environment, trackers),
        address=address,
        node=name,
        pick=pick,
        deadline_s=float(deadline_s),
        ack=ACKS[ack],
        cluster=parse_name(cluster),
    )


def _trackers(environment: Mapping[str, str], trackers: Trackers) -> tuple[Endpoint, ...]:
    if trackers is None:
        trackers = environment.get("COUNTER_TRACKER") or f"127.0.0.1:{TRACKER_PORT}"
    parts = trackers.split(",") if isinstance(trackers, str) else list(trackers)
    if not 1 <= len(parts) <= TRACKERS_MAX:
        raise ConfigError(f"trackers names {len(parts)} addresses, needs 1 to {TRACKERS_MAX}")
    return tuple([parse_endpoint(part.strip()) for part in parts])


def _shown(value: object) -> str:
    return printable(str(value), 40)
