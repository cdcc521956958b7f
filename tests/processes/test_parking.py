"""An increment whose node is gone is parked at another real node, and counts once in the end."""

import signal

import pytest

from counter import Client

pytestmark = pytest.mark.slow

DEADLINE_S = 9.0


@pytest.mark.parametrize("wakes", [False, True], ids=["killed", "woken"])
def test_an_increment_parked_while_its_node_was_paused_counts_once_in_the_end(machines, wakes):
    three = machines.up(3)
    trackers = [tracker.address for tracker in three.trackers]
    with Client(trackers, deadline_s=DEADLINE_S) as client:
        first = client.incr("views")
        home = three.nodes[first.node]
        home.signal(signal.SIGSTOP)

        parked = client.incr("views")

        assert (parked.counted, parked.parked, parked.on_disk) == (False, True, True)
        assert parked.node != first.node
        found = client.query("views")
        assert (found.value, found.uncertain, found.complete) == (0, 1, False)
        if wakes:
            home.signal(signal.SIGCONT)
        else:
            address = home.address
            home.kill()
            three.node(first.node, listen=address)

        def is_settled():
            found = client.query("views")
            return found.complete and not found.uncertain

        three.until(is_settled)
        total = client.query("views")
        assert (total.value, total.low, total.high, total.uncertain) == (2, 2, 2, 0)
