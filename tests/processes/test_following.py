"""Queries followed from outside, with real processes: shared, listed, told, cancelled, traced."""

import json
import os
import socket
import struct
import threading

import pytest

from counter.messages import ENDED, GOSSIP, Ask, KillQuery, ListQueries, QueryKilled
from tracker.errors import FrameError
from tracker.messages import Refused

ETH_P_ALL = 3
OUTGOING = 4
SO_RCVBUFFORCE = 33
SOL_PACKET, PACKET_STATISTICS = 263, 6
WIRE_BYTES = 64 * 1024 * 1024
WIRE_TRIES = 5
WATCHERS = 4
"""As many as a busy machine has processor for in a quarter of a second: so long one waits."""


@pytest.fixture(scope="module")
def seven(shared):
    return shared.up(7)


def test_those_who_watch_one_key_on_one_node_cost_one_query_a_round(seven):
    seven.count(seven.nodes["n2"], 4, "shared")
    watching = [
        seven.start("query", "shared", "--watch=400ms", "--node", "n1", "--json")
        for _ in range(WATCHERS)
    ]  # fmt: skip

    def queries_of(stream):
        pages = stream.stream(ListQueries(stream.number()))
        return [row for page in pages for row in page.rows if row[1] == "shared"]

    def is_shared():
        with seven.connection(seven.nodes["n1"]) as stream:
            viewers = [row[8] for row in queries_of(stream) if row[2] == ENDED]
        return viewers.count(WATCHERS) >= 2

    def are_cancelled():
        """Cancel the round there is; who had just begun to ask for the next one is in that.

        Over one stream: a round is over before another command has begun.
        """
        with seven.connection(seven.nodes["n1"]) as stream:
            for row in queries_of(stream):
                # It may be over by now.
                if row[2] != ENDED:
                    stream.send(KillQuery(stream.number(), row[0].hex()))
                    assert isinstance(stream.reply(), (QueryKilled, Refused))
        return all(process.popen.poll() is not None for process in watching)

    seven.until(is_shared)
    seven.until(are_cancelled)

    for process in watching:
        assert process.ended() == 3
        last = json.loads(process.lines[-1])
        # A round that was cancelled before anybody answered has heard nothing.
        assert (last["reason"], last["end"]) == ("cancelled", True)
        assert last["value"] in (0, 4)
        assert last["why"] == "another client cancelled it"


def test_a_query_s_story_can_be_asked_of_the_node_that_ran_it(seven):
    answer = seven.query("story", "--node", "n3", "--json").json

    told = seven.run("queries", answer["query"][:12], "--json").json

    assert (told["query"], told["node"], told["reason"]) == (answer["query"], "n3", "complete")
    # Whoever gets no processor for a moment is asked once more.
    events = [event["event"] for event in told["events"] if event["event"] != "wave"]
    assert events == ["asked", "begun", "answers", "answers", "ended"]
    assert told["asked_by"].startswith("127.0.0.1:")


def test_a_killed_origin_is_lost_for_who_asks_once_and_replaced_for_who_watches(machines):
    machines.up(3)
    machines.count(machines.nodes["n2"], 8)
    watching = machines.start("query", "views", "--watch=100ms", "--json")
    watching.said('"value": 8')
    origin = json.loads(watching.lines[0])["origin"]

    machines.nodes[origin].kill()

    watching.said(f"^note: origin-lost .node {origin} at ")
    machines.until(
        lambda: json.loads(watching.lines[-1])["origin"] != origin and len(watching.lines) > 3
    )
    watching.stop()


class Wire:
    """What the kernel carries on the loopback interface, datagram by datagram."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        except (AttributeError, PermissionError):
            pytest.skip("only root may look at what passes over the loopback interface")
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, WIRE_BYTES)
        self._socket.bind(("lo", 0))
        self.dropped = 0
        self.asks: list[tuple[str, str, Ask]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def close(self) -> None:
        """Stop, once everything sent before has been read: a last packet ends the reading."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.bind(("127.0.0.1", 0))
            end.sendto(b"end of " + str(os.getpid()).encode(), end.getsockname())
        self._reader.join()
        _, self.dropped = struct.unpack(
            "II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        )
        self._socket.close()

    def _read(self) -> None:
        while True:
            packet, where = self._socket.recvfrom(65_536)
            # Each packet passes twice here: on its way out, and in.
            if where[2] != OUTGOING and not self._take(packet[14:]):
                return

    def _take(self, packet: bytes) -> bool:
        if packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_UDP:
            return True
        head = (packet[0] & 15) * 4
        sender, to, length = struct.unpack_from(">HHH", packet, head)
        body = packet[head + 8 : head + length]
        if body == b"end of " + str(os.getpid()).encode():
            return False
        try:
            message = GOSSIP.decode(body[1:])
        except FrameError:
            return True
        if isinstance(message, Ask):
            self.asks.append((f"127.0.0.1:{sender}", f"127.0.0.1:{to}", message))
        return True


def test_a_trace_agrees_with_what_passed_over_the_wire(seven, tmp_path):
    file = tmp_path / "trace.json"
    # What others send over this interface may be more than can be looked at: then once more.
    for _ in range(WIRE_TRIES):
        wire = Wire()
        try:
            ran = seven.run(
                "query", "traced", "--chatter", "2", "--max-visits", "1", "--trace",
                "--trace-json", str(file),
            )  # fmt: skip
        finally:
            wire.close()
        if not wire.dropped:
            break

    trace = json.loads(file.read_text())
    names = {node["address"]: node["name"] for node in trace["nodes"]}
    first: dict[str, tuple[str, int]] = {}
    for sender, to, ask in wire.asks:
        if ask.query.hex() == trace["query"]:
            first.setdefault(names[to], (names[sender], ask.age))
    assert len(first) == 6
    found = {node["name"]: (node["parent"], node["age"]) for node in trace["nodes"]}
    assert found.pop(trace["origin"]) == (None, 0)
    assert found == first
    assert len(ran.out.splitlines()) == 1 + 7
