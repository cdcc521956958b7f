"""Counting and asking: every node counts by itself, a read is a question that gossips.

Where things live, for the newcomer: `counter.gossip` is the node's machine, `counter.query`
the life of one query at its origin, `counter.crdt` what is counted. How bytes travel (codec,
frames, transports, the driver) and who is a member is one floor below, in `tracker`.
"""

__version__ = "0.1.0"
