"""Settings of a node and of its gossip, with presets for the size of a network.

The rule: a knob that scales with the cluster says its formula beside it, and none of them is
read from anywhere but here.
"""

from tracker.classes import dataclass, replace
from tracker.errors import ConfigError

CHATTER_MAX = 64
VISITS_MAX = 32
AGE_MAX = 255
DEADLINE_MS_MAX = 600_000
LATE_S = 2.0
"""How long after its deadline a query may still be complete, where its node was stopped."""
PAUSE_MS_MAX = 86_400_000


@dataclass(frozen=True, kw_only=True, slots=True)
class GossipConfig:
    """How a query travels, and when its origin repairs and stops. Times in seconds."""

    chatter: int = 10
    """Peers a node passes a query to, in each visit; 1-64."""
    budget_s: float = 5.0
    """Longest life of a query when the asker names no deadline."""
    hop_s: float = 0.010
    """First guess of one message's time; measured from then on."""
    repair_floor_s: float = 0.030
    """Least time between two repair waves: three hops, and a short pause of a busy machine."""
    settle_floor_s: float = 0.005
    """Least quiet time before the first repair wave, less a quarter of a hop, which it is at
    least; half a hop is put off what a cell tells, and this at least."""
    repair_asks_max: int = 512
    """Repair asks in one wave."""
    stop_epsilon: float = 0.01
    """Wanted chance that a query stops with a living member unheard (GOSSIP: epsilon)."""
    waves_min: int = 2
    """Repair asks each silent member gets at least."""
    waves_max: int = 30
    """Repair asks each silent member gets at most."""
    queries_max: int = 4_096
    """Queries of others a node remembers at once; past it the oldest is dropped."""
    own_queries_max: int = 256
    """Queries a node asks at once; past it a client hears `busy`."""
    shares_per_query_max: int = 64
    """Distinct shares of one query a node passes on; past it it only answers."""
    cell_members_max: int = 1_024
    """Members whose answers one node collects, for one query; 2 or more. Above it: cells."""
    cells_max: int = 64
    """Cells, and arcs above them, that a node heads at once; past it the node refuses."""
    arcs_max: int = 4_096
    """Arcs of one query that are waited for at once; past it the origin asks each member."""
    direct_max: int = 128
    """Members of a silent arc whom the origin asks by itself rather than through new heads."""
    memory_s: float = 2.0
    """How long a query is remembered past its budget."""
    partials_per_s: float = 10.0
    """Partial results a watcher is sent at most."""
    view_fresh_s: float = 3.0
    """Silence of an open tracker link after which the view is not called current."""
    viewers_max: int = 1_024
    """Clients that share one query; past it a client hears `busy`."""
    share_wait_s: float = 0.25
    """Longest wait for the end of an equal query, so as to share the next one; at most a
    quarter of the asker's deadline."""
    stories_max: int = 128
    """Stories of ended queries a node keeps; past it the oldest is forgotten."""
    story_s: float = 60.0
    """How long the story of an ended query is kept."""
    last_values_max: int = 100_000
    """Last-known (member, key) values a node remembers, for `filled`."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense, in plain words."""
        if not 1 <= self.chatter <= CHATTER_MAX:
            raise ConfigError(f"chatter is {self.chatter}, needs 1 to {CHATTER_MAX}")
        if not 0 < self.stop_epsilon < 1:
            raise ConfigError(f"stop-epsilon is {self.stop_epsilon}, needs to be between 0 and 1")
        if not self.share_wait_s >= 0:
            raise ConfigError(f"share-wait is {self.share_wait_s} s, needs 0 or more")
        if self.viewers_max < 1:
            raise ConfigError(f"viewers-max is {self.viewers_max}, needs at least 1")
        if not 1 <= self.waves_min <= self.waves_max:
            raise ConfigError(f"waves-min is {self.waves_min}, needs 1 to {self.waves_max}")
        if self.cell_members_max < 2:
            raise ConfigError(f"cell-members-max is {self.cell_members_max}, needs at least 2")
        for name, least in (("cells_max", 0), ("arcs_max", 1), ("direct_max", 1)):
            if getattr(self, name) < least:
                told = name.replace("_", "-")
                raise ConfigError(f"{told} is {getattr(self, name)}, needs at least {least}")


LOCAL = GossipConfig(hop_s=0.005)
LAN = GossipConfig()
WAN = replace(LAN, hop_s=0.080, repair_floor_s=0.060)
PRESETS = {"local": LOCAL, "lan": LAN, "wan": WAN}


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeConfig:
    """What one node is. Times in seconds."""

    name: str
    cluster: str = "default"
    interval_s: float = 1.0
    """Time between two beats."""
    reconnect_min_s: float = 0.1
    """First pause after a tracker could not be reached; doubles, with jitter."""
    reconnect_max_s: float = 1.5
    """Longest pause; below 2 s so that a restarted tracker is found within 2 s."""
    sessions_max: int = 100_000
    """Clients whose increments are remembered, so that a retry is known."""
    operations_max: int = 1_000_000
    """Increments remembered, over all sessions."""
    session_age_s_max: float = 604_800.0
    """How long a client's increments are remembered after its last one: a week. A restart of
    the node begins that time anew."""
    counters_max: int = 50_000_000
    """Keys a node holds."""
    inflight_max: int = 100_000
    """Increments waiting for the disk; past it a client hears `busy`."""
    parked_max: int = 100_000
    """Amounts held for nodes that may have counted them; past it a client hears `busy`."""
