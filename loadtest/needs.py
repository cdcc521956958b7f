"""What a load test needs of its machine, and how many nodes would fit: known before it starts.

The figures for one node are measured (`python -m benchmarks fleet`), with room to spare. The
rule: nothing is started that cannot end well; what does not fit is refused with the number that
would, for each way to run it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

NODES_MAX = 20_000
"""Nodes on one machine: each has a port, and the system has less than 65,536."""
FILES_PER_NODE = 4
"""A node opens three: two to listen, and its stream to the tracker."""
FILES_PER_STORE = 4
"""And these where it keeps its counts on disk: lock, directory, log, word of its appends."""
FILES_PER_CLIENT = 2
FILES_BESIDE = 64
"""What a process has open beside: its loop, its sockets to the others, what Python reads."""
NODE_BYTES = 120_000
STORE_BYTES = 60_000
PROCESS_BYTES = 13_000_000
"""A process that holds nodes, beside them: what it does not share with the others."""
BESIDE_BYTES = 80_000_000
"""The load generator, the tracker, and the process that forks the others."""
VIRTUAL_BYTES = 16_000_000
"""Addresses that a process of nodes takes beyond those of the one that was started."""
VIRTUAL_BYTES_PER_STORE = 23_000_000
"""Addresses of a store's threads: their stacks are 8 MiB, and the allocator sets more aside."""
THREADS_PER_STORE = 2
"""The worker, and the native one that appends to the log, where it was built."""
TRACKER_BYTES_PER_NODE = 20_000
FILES_BYTES = 20_000
"""The files of a store at its start: each takes at least a page."""
MEMBER_BYTES = 2 * 64
"""Each store holds a list of all members, and for a moment the one that replaces it."""
INCREMENT_BYTES = 80
"""An increment alone in its record, as it stands in the log."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How a load test would run: nodes over processes, and clients of the load generator."""

    nodes: int
    processes: int
    is_each: bool = False
    """Whether each node has a process of its own."""
    is_durable: bool = False
    kept_in: str = ""
    """Where durable nodes keep their counts, if that is memory."""
    increments: int = 0
    """About as many as they will count."""
    clients: int = 0

    @property
    def most(self) -> int:
        """Nodes in the process that holds most."""
        return -(-self.nodes // max(1, self.processes))

    @property
    def files(self) -> int:
        """Open files of the process that needs most: of nodes, of clients, the tracker's."""
        each = FILES_PER_NODE + (FILES_PER_STORE if self.is_durable else 0)
        clients = FILES_PER_CLIENT * self.clients
        holder = self.most * each + clients
        generator = self.processes + clients
        return FILES_BESIDE + max(holder, generator, self.nodes)

    @property
    def memory_bytes(self) -> int:
        """Memory of all processes together."""
        each = NODE_BYTES + (STORE_BYTES if self.is_durable else 0)
        kept = store_bytes(self.nodes, self.increments) if self.kept_in else 0
        return BESIDE_BYTES + self.processes * PROCESS_BYTES + self.nodes * each + kept

    @property
    def addresses(self) -> int:
        """Bytes of address space of the process that needs most."""
        each = NODE_BYTES + (VIRTUAL_BYTES_PER_STORE if self.is_durable else 0)
        return VIRTUAL_BYTES + max(self.most * each, self.nodes * TRACKER_BYTES_PER_NODE)

    @property
    def tasks(self) -> int:
        """Processes and threads."""
        return self.processes + 2 + (THREADS_PER_STORE * self.nodes if self.is_durable else 0)

    def of(self, nodes: int) -> "Shape":
        """Return the same with so many nodes."""
        return replace(self, nodes=nodes, processes=nodes if self.is_each else self.processes)


@dataclass(frozen=True, kw_only=True)
class Room:
    """What the machine has left; None where nothing limits it."""

    files: int | None = None
    memory_bytes: int | None = None
    memory_where: str = ""
    """What they are left of, if not of the whole machine; stands behind the number."""
    addresses: int | None = None
    tasks: int | None = None


def store_bytes(nodes: int, increments: int) -> int:
    """Return what the files of so many nodes take when all have counted so much together."""
    return nodes * (FILES_BYTES + MEMBER_BYTES * nodes) + increments * INCREMENT_BYTES


Lack = tuple[str, str]
"""What is needed, and what there is, for people."""


def lack(shape: Shape, room: Room) -> Lack | None:
    """Return what a load test of this shape would not find, None if it finds everything."""
    if shape.nodes > NODES_MAX:
        return (
            f"need {grouped(shape.nodes)} ports",
            f"one machine has {grouped(NODES_MAX)} for them",
        )
    if room.files is not None and shape.files > room.files:
        files = grouped(shape.files)
        return (
            f"need {files} open files a process",
            f"the limit is {grouped(room.files)} (ulimit -n)",
        )
    if room.memory_bytes is not None and shape.memory_bytes > room.memory_bytes:
        free = f"{megabytes(room.memory_bytes)} are free{room.memory_where}"
        return f"need about {megabytes(shape.memory_bytes)} of memory", free
    if room.addresses is not None and shape.addresses > room.addresses:
        most = f"{megabytes(room.addresses)} are left (ulimit -v)"
        return f"need {megabytes(shape.addresses)} of addresses a process", most
    if room.tasks is not None and shape.tasks > room.tasks:
        return (
            f"need {grouped(shape.tasks)} processes and threads",
            f"{grouped(room.tasks)} are left",
        )
    return None


def fitting(shape: Shape, room: Room) -> int:
    """Return the most nodes of this shape that would fit, 0 if none would."""
    return most(lambda nodes: lack(shape.of(nodes), room) is None, shape.nodes)


def most(fits: Callable[[int], bool], limit: int) -> int:
    """Return the greatest number up to `limit` that fits; whatever is below one that fits, fits."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low


def told(shape: Shape, room: Room) -> str:
    """Return the line that says what will be needed, before anything starts."""
    plural, many = "" if shape.nodes == 1 else "s", "" if shape.processes == 1 else "es"
    free = ""
    if room.memory_bytes is not None:
        free = f" of {megabytes(room.memory_bytes)} free{room.memory_where}"
    kept = f", counts in {shape.kept_in}" if shape.kept_in else ""
    return (
        f"{grouped(shape.nodes)} node{plural} in {grouped(shape.processes)} process{many}:"
        f" about {megabytes(shape.memory_bytes)} of memory{free},"
        f" {grouped(shape.files)} open files a process{kept}"
    )


def refusal(shape: Shape, lacking: Lack, room: Room, other: Shape | None = None) -> str:
    """Return why a shape does not fit, and how many nodes would, this way or another."""
    needed, there = lacking
    text = (
        f"{grouped(shape.nodes)} nodes {needed}, {there}: {grouped(fitting(shape, room))} would fit"
    )
    if other is not None and (fits := fitting(other, room)) > fitting(shape, room):
        text += f", or {grouped(fits)} with --sockets"
    return text


def grouped(number: float) -> str:
    """Return a whole number with a space between its thousands."""
    return f"{round(number):,}".replace(",", " ")


def megabytes(count: int) -> str:
    """Return bytes as people read them."""
    if count >= 10_000_000_000:
        return f"{count / 1e9:.0f} GB"
    return f"{grouped(round(count / 1e6))} MB"
