"""A node in the simulator begins a life: from its disk, with all that this kept.

The rule: as `counter node` does it. Identity first, then every record, then the machine goes on
from the last of them.
"""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from counter.config import GossipConfig, NodeConfig
from counter.gossip import Gossip
from counter.lives import introduce, member_of
from loadtest.simulation.disks import Disk
from tracker.machine import Endpoint

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
