"""What a Redis client may know of the node it talks to, looked up when it is asked for.

The rule: what is said of keys here is what this node holds; of the cluster only a question tells.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from counter import __version__
from counter.messages import NUL
from counter.node import Node
from tracker.boots import BOOT_BYTES
from tracker.config import shown_endpoint


class NodeFacts:
    """One node, as `commands.Facts` wants it."""

    def __init__(self, node: Node, clients: Callable[[], int], port: int) -> None:
        """Look at a node; `clients` says how many connections its Redis door has."""
        self.name = node.settings.name
        self.store = node.member.store.hex()
        self.version = __version__
        self.is_durable = node.settings.data is not None
        self._node = node
        self._clients = clients
        self._port = port
        self._ledger = node.machine.ledger
        self._counters = self._ledger.counters
        self._began_s = time.monotonic()

    @property
    def boots(self) -> bytes:
        """The boots of this life and of those that it goes on from, as far as it can say."""
        return self._ledger.told_boots

    def value(self, key: str) -> int:
        """Return what this node holds of a key."""
        return self._counters.value(self._counters.names.get(key, key))

    def holds(self, key: str) -> bool:
        """Say whether any share that is held here knows of the key."""
        name = self._counters.names.get(key, key)
        return any(name in share.positive for share in self._counters.shares())

    def keys(self) -> int:
        """Return how many keys this node has counted; one that was reset counts twice a while."""
        return len(self._counters.own)

    def page(self, number: int) -> tuple[list[str], bool]:
        """Return one page of the keys that this node has counted, and whether there is another.

        A key that is there all the while is on one of the pages, unless keys were reset meanwhile.
        """
        index = self._node.machine.tables.index(self._counters.store)
        pages = index.runs()
        if number >= pages:
            return [], False
        names, positive = self._counters.names, self._counters.own.positive
        found = [
            name.partition(NUL)[0]
            for name in index.found(number, "")
            if name in positive and names.get(name.partition(NUL)[0], name) == name
        ]
        return found, number + 1 < pages

    def info(self) -> Mapping[str, Mapping[str, Any]]:
        """Return what INFO tells, by section, in the words that Redis has for it where it has."""
        node, membership = self._node, self._node.machine.membership
        view = membership.view
        asker = node.machine.asker
        return {
            "Server": {
                # By this many libraries decide what they may use.
                "redis_version": "7.0.0",
                "redis_mode": "standalone",
                "gossip_counter_version": self.version,
                "tcp_port": self._port,
                "uptime_in_seconds": int(time.monotonic() - self._began_s),
            },
            "Clients": {"connected_clients": self._clients()},
            "Persistence": {"loading": 0, "aof_enabled": int(self.is_durable)},
            "Stats": {
                "total_operations": self._ledger.operations,
                "queries_asked": asker.asked_total,
            },
            "Replication": {"role": "master", "connected_slaves": 0},
            "Counter": {
                "node": self.name,
                "store": self.store,
                "life": self.boots[:BOOT_BYTES].hex(),
                "door": shown_endpoint(node.endpoint),
                "durable": int(self.is_durable),
                "members": len(view.members),
                "expected": view.expected,
                "keys_here": self.keys(),
            },
            "Keyspace": {"db0": f"keys={self.keys()},expires=0,avg_ttl=0"},
        }

    def time_us(self) -> int:
        """Return the time of day in microseconds since 1970."""
        return time.time_ns() // 1000
