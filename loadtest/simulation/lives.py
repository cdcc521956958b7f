"""A node or a tracker in the simulator begins a life: from its disk, with all that this kept.

The rule: as `counter node` and `counter tracker` do it. Of a node the identity first, then every
record, then the machine goes on from the last of them.
"""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from counter.config import GossipConfig, NodeConfig
from counter.gossip import Gossip
from counter.lives import introduce, member_of
from loadtest.simulation.disks import Disk
from tracker.config import TrackerConfig
from tracker.machine import Endpoint
from tracker.registry import MEMBERS_KIND, Registry

Node = TypeVar("Node", bound=Gossip)


def begun(
    kind: type[Node],
    name: str,
    endpoint: Endpoint,
    disk: Disk,
    *,
    gossip: GossipConfig,
    trackers: Sequence[Endpoint],
    random: Random,
) -> Node:
    """Return the machine of a node that begins a life on a disk, ready to be added to a world."""
    identity, disk.name = disk.open(), name
    node = kind(
        NodeConfig(name=name),
        gossip,
        member_of(identity, name, endpoint),
        tuple(trackers),
        random,
    )
    introduce(node, identity)
    for record_kind, record in disk.recover(node.forks.at):
        node.restore(record_kind, record)
    node.resume(disk.token)
    return node


def tracker_begun(disk: Disk, random: Random, config: TrackerConfig | None = None) -> Registry:
    """Return the machine of a tracker that begins a life with the list on its disk, if any is."""
    saved = [record for kind, record in disk.recover() if kind == MEMBERS_KIND]
    kept = saved[-1] if saved else None
    return Registry(config or TrackerConfig(), random.randbytes(8), kept, random, disk.token)
