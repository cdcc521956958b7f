"""What a node's log says of a disk that takes no records."""

from counter.storage.batches import no_room_for
from counter.unwritten import AGAIN_S, CALM_S, Unwritten
from tracker.machine import PersistFailed

FULL = "cannot write counts-1.log: the disk is full"


class Disk:
    """The log of a node, and the clock that it is timed by."""

    def __init__(self):
        self.now = 0.0
        self.said = []
        self.records = Unwritten(self.said.append, lambda: self.now)

    def refuses(self, reason=FULL, times=1):
        for token in range(times):
            self.records.failed(PersistFailed(token, reason, definite=True))

    @property
    def lines(self):
        return [(emit.event, *emit.details.values()) for emit in self.said]


def test_a_full_disk_is_said_once_however_many_records_it_refuses():
    disk = Disk()

    disk.refuses(times=1000)

    assert disk.lines == [("write-failed", FULL, 1)]


def test_while_it_lasts_it_is_said_once_a_minute_with_how_many_there_were():
    disk = Disk()
    disk.refuses(times=10)
    disk.now = AGAIN_S
    disk.refuses(times=10)

    assert disk.lines == [("write-failed", FULL, 1), ("write-failed", FULL, 11)]


def test_another_cause_is_said_at_once():
    disk = Disk()
    disk.refuses()
    disk.refuses("cannot write counts-1.log: read-only file system")

    assert [line[1][-9:] for line in disk.lines] == ["k is full", "le system"]


def test_a_disk_that_takes_records_again_is_said_when_it_has_done_so_for_a_while():
    disk = Disk()
    disk.refuses(times=3)
    disk.records.written()
    disk.now = CALM_S - 0.1
    disk.records.written()
    assert len(disk.lines) == 1

    disk.now = CALM_S
    disk.records.written()

    assert disk.lines[1:] == [("write-made", 3)]
    assert disk.records.records == 0


def test_a_disk_that_wavers_for_an_hour_is_said_once_a_minute():
    disk = Disk()
    for second in range(3600):
        disk.now = float(second)
        disk.refuses()
        disk.records.written()

    assert len(disk.lines) == 60


def test_what_fails_again_after_a_calm_is_said_again():
    disk = Disk()
    disk.refuses()
    disk.now = CALM_S
    disk.records.written()
    disk.refuses()

    assert [line[0] for line in disk.lines] == ["write-failed", "write-made", "write-failed"]


def test_a_node_that_is_merely_busy_says_nothing():
    disk = Disk()

    disk.refuses(no_room_for(100))

    assert (disk.lines, disk.records.records) == ([], 0)
